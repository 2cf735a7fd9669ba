// Prints, for each line read, the credentials that a Bedrock client of the AWS SDK for JavaScript v3 holds at that
// moment, by its default chain.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

import { BedrockRuntimeClient } from "@aws-sdk/client-bedrock-runtime";

const answer = (fields) => console.log(JSON.stringify(fields));

answer({ version: createRequire(import.meta.url)("@aws-sdk/client-bedrock-runtime/package.json").version });
const client = new BedrockRuntimeClient({});

for await (const _ of createInterface({ input: process.stdin })) {
  try {
    const keys = await client.config.credentials();
    answer({ id: keys.accessKeyId, secret: keys.secretAccessKey, token: keys.sessionToken });
  } catch (error) {
    answer({ error: `${error.name}: ${error.message}` });
  }
}
