"""Says something to a model of Bedrock, and prints each piece of text of the answer when it comes.

Arguments: the client; `whole` or `stream`; the model. An error ends the program as Python does by default.
"""

import json
import sys
from importlib.metadata import version

client, how, model = sys.argv[1:]
SAID = "Tell me of one ship and two seas"


def print_piece(text):
    print("piece: " + json.dumps(text), flush=True)


def anthropic():
    from anthropic import AnthropicBedrock

    messages = AnthropicBedrock().messages
    request = {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": SAID}]}
    if how == "stream":
        with messages.stream(**request) as stream:
            yield from stream.text_stream
    else:
        yield messages.create(**request).content[0].text


def langchain(chat):
    if how == "stream":
        for chunk in chat.stream(SAID):
            yield chunk.text
    else:
        yield chat.invoke(SAID).text


def langchain_invoke():
    from langchain_aws import ChatBedrock

    return langchain(ChatBedrock(model=model))


def langchain_converse():
    from langchain_aws import ChatBedrockConverse

    return langchain(ChatBedrockConverse(model=model))


def litellm(route):
    from litellm import completion

    request = {"model": f"bedrock/{route}{model}", "messages": [{"role": "user", "content": SAID}]}
    if how == "stream":
        for chunk in completion(stream=True, **request):
            yield chunk.choices[0].delta.content or ""
    else:
        yield completion(**request).choices[0].message.content


CLIENTS = {
    "anthropic": ("anthropic", anthropic),
    "langchain": ("langchain-aws", langchain_invoke),
    "langchain-converse": ("langchain-aws", langchain_converse),
    "litellm": ("litellm", lambda: litellm("")),
    "litellm-invoke": ("litellm", lambda: litellm("invoke/")),
}
package, pieces = CLIENTS[client]
print("version: " + version(package), flush=True)
for piece in pieces():
    if piece:
        print_piece(piece)
