"""Calls Bedrock with the model named, in each way that boto3 has, and prints what came of each call."""

import json
import sys

import boto3

model = sys.argv[1]
control = boto3.client("bedrock")
runtime = boto3.client("bedrock-runtime")
said = [{"role": "user", "content": [{"text": "Hello from boto3"}]}]
body = {
    "anthropic_version": "bedrock-2023-05-31",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "Hello from boto3"}],
}


def list_foundation_models():
    models = control.list_foundation_models(byProvider="Anthropic")["modelSummaries"]
    return " ".join(model["modelId"] for model in models)


def converse():
    return runtime.converse(modelId=model, messages=said)["output"]["message"]["content"][0]["text"]


def converse_stream():
    text = ""
    for event in runtime.converse_stream(modelId=model, messages=said)["stream"]:
        text += event.get("contentBlockDelta", {}).get("delta", {}).get("text", "")
    return text


def invoke_model():
    answer = runtime.invoke_model(modelId=model, body=json.dumps(body))
    return json.load(answer["body"])["content"][0]["text"]


def invoke_model_with_response_stream():
    text = ""
    for event in runtime.invoke_model_with_response_stream(modelId=model, body=json.dumps(body))["body"]:
        chunk = json.loads(event["chunk"]["bytes"])
        text += chunk.get("delta", {}).get("text", "")
    return text


def attempt(call):
    try:
        return call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


calls = [list_foundation_models, converse, converse_stream, invoke_model, invoke_model_with_response_stream]
print(json.dumps({call.__name__: attempt(call) for call in calls}))
