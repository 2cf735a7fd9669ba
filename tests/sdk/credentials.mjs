// Prints the credentials that a Bedrock client of the AWS SDK for JavaScript v3 finds by its default chain.

import { BedrockRuntimeClient } from "@aws-sdk/client-bedrock-runtime";

const keys = await new BedrockRuntimeClient({}).config.credentials();
console.log(JSON.stringify([keys.accessKeyId, keys.secretAccessKey, keys.sessionToken, "default chain"]));
