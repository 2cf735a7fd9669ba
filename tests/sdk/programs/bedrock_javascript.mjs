// Talks to the model named, at once and in a stream, with the AWS SDK for JavaScript v3 as it is by default, and prints
// what came of each call.

import { BedrockRuntimeClient, ConverseCommand, ConverseStreamCommand } from "@aws-sdk/client-bedrock-runtime";

const client = new BedrockRuntimeClient({});
const input = {
  modelId: process.argv[2],
  messages: [{ role: "user", content: [{ text: "Hello from JavaScript" }] }],
};

const calls = {
  converse: async () => (await client.send(new ConverseCommand(input))).output.message.content[0].text,
  converse_stream: async () => {
    let text = "";
    for await (const event of (await client.send(new ConverseStreamCommand(input))).stream) {
      text += event.contentBlockDelta?.delta?.text ?? "";
    }
    return text;
  },
};

const came = {};
for (const [name, call] of Object.entries(calls)) {
  came[name] = await call().catch((error) => `${error.name}: ${error.message}`);
}
console.log(JSON.stringify(came));
client.destroy();
