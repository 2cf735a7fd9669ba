// Says something to a model of Bedrock, and prints each piece of text of the answer when it comes.
//
// Arguments: the client; `whole`, `stream` or `bare` (whole, without the setting that the client needs); the model. An
// error ends the program as Node does by default.

import { readFileSync } from "node:fs";

const [client, how, model] = process.argv.slice(2);
const SAID = "Tell me of one ship and two seas";

const clients = {
  anthropic: ["@anthropic-ai/bedrock-sdk", async function* () {
    const { AnthropicBedrock } = await import("@anthropic-ai/bedrock-sdk");
    const { messages } = new AnthropicBedrock();
    const request = { model, max_tokens: 100, messages: [{ role: "user", content: SAID }] };
    if (how === "stream") {
      for await (const event of await messages.create({ ...request, stream: true })) {
        yield event.delta?.text;
      }
    } else {
      yield (await messages.create(request)).content[0].text;
    }
  }],

  langchain: ["@langchain/aws", async function* () {
    const { ChatBedrockConverse } = await import("@langchain/aws");
    // Of an endpoint it takes the host alone, and no variable.
    const endpointHost = new URL(process.env.AWS_ENDPOINT_URL_BEDROCK_RUNTIME).host;
    const chat = new ChatBedrockConverse({ model, endpointHost });
    if (how === "stream") {
      for await (const chunk of await chat.stream(SAID)) {
        yield chunk.text;
      }
    } else {
      yield (await chat.invoke(SAID)).text;
    }
  }],

  "ai-sdk": ["@ai-sdk/amazon-bedrock", async function* () {
    const { createAmazonBedrock } = await import("@ai-sdk/amazon-bedrock");
    const { fromNodeProviderChain } = await import("@aws-sdk/credential-providers");
    const { generateText, streamText } = await import("ai");
    const settings = how === "bare" ? {} : { credentialProvider: fromNodeProviderChain() };
    const request = { model: createAmazonBedrock(settings)(model), prompt: SAID };
    if (how === "stream") {
      yield* streamText({ ...request, onError: ({ error }) => { throw error; } }).textStream;
    } else {
      yield (await generateText(request)).text;
    }
  }],
};

const [name, pieces] = clients[client];
const manifest = new URL(`node_modules/${name}/package.json`, import.meta.url);
console.log(`version: ${JSON.parse(readFileSync(manifest)).version}`);
for await (const piece of pieces()) {
  if (piece) {
    console.log(`piece: ${JSON.stringify(piece)}`);
  }
}
