//! A model that says what it was told. The same words come back each time, and a word is a token.

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::reply::Refusal;

/// What was said to the model, and what it says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Chat {
    said: Vec<String>,
    answer: String,
}

impl Chat {
    /// The body of `Converse`: messages of blocks.
    pub(crate) fn of_converse(body: &[u8]) -> Result<Self, Refusal> {
        let body = object(body)?;
        let messages = body.get("messages").and_then(Value::as_array).filter(|messages| !messages.is_empty());
        let messages = messages.ok_or_else(|| {
            Refusal::invalid("The messages field is required and must have at least one message.")
        })?;
        for message in messages {
            let blocks = message["content"].as_array().filter(|blocks| !blocks.is_empty());
            if blocks.is_none() || !matches!(message["role"].as_str(), Some("user" | "assistant")) {
                return Err(Refusal::invalid(
                    "The content field in the Message object is empty or has no role.",
                ));
            }
        }
        let system = body.get("system").map(texts).unwrap_or_default();
        Self::of_messages(system, messages)
    }

    /// The body of `InvokeModel`: Anthropic's messages, or of another provider one prompt.
    pub(crate) fn of_invocation(model_id: &str, body: &[u8]) -> Result<Self, Refusal> {
        let body = object(body)?;
        if !model_id.contains("anthropic") {
            let prompt = ["prompt", "inputText"].iter().find_map(|name| body.get(*name)?.as_str());
            if let Some(prompt) = prompt {
                return Ok(Self::new(vec![prompt.to_owned()], prompt));
            }
        }
        if let Some(missing) =
            ["anthropic_version", "max_tokens", "messages"].iter().find(|name| !body.contains_key(**name))
        {
            return Err(malformed(&format!("#: required key [{missing}] not found")));
        }
        let messages = body["messages"].as_array().filter(|messages| !messages.is_empty());
        let messages =
            messages.ok_or_else(|| Refusal::invalid("messages: at least one message is required"))?;
        Self::of_messages(body.get("system").map(texts).unwrap_or_default(), messages)
    }

    fn of_messages(mut said: Vec<String>, messages: &[Value]) -> Result<Self, Refusal> {
        said.extend(messages.iter().flat_map(|message| texts(&message["content"])));
        let of_user = messages.iter().rev().find(|message| message["role"] == "user");
        let last = of_user.map(|message| texts(&message["content"]).join(" "));
        let last = last.ok_or_else(|| {
            Refusal::invalid("A conversation must start with a user message. Try again with a conversation that starts with a user message.")
        })?;
        Ok(Self::new(said, &last))
    }

    fn new(said: Vec<String>, last: &str) -> Self {
        Self { said, answer: format!("You said: {last}") }
    }

    pub(crate) fn input_tokens(&self) -> usize {
        self.said.iter().map(|text| words(text)).sum()
    }

    pub(crate) fn output_tokens(&self) -> usize {
        words(&self.answer)
    }

    fn usage(&self) -> Value {
        let (input, output) = (self.input_tokens(), self.output_tokens());
        json!({ "inputTokens": input, "outputTokens": output, "totalTokens": input + output })
    }

    pub(crate) fn converse_answer(&self) -> Value {
        json!({
            "metrics": { "latencyMs": 1 },
            "output": { "message": { "content": [{ "text": self.answer }], "role": "assistant" } },
            "stopReason": "end_turn",
            "usage": self.usage(),
        })
    }

    /// The events of `ConverseStream`, by kind.
    pub(crate) fn converse_events(&self) -> Vec<(&'static str, Value)> {
        let delta =
            |text: &str| ("contentBlockDelta", json!({ "contentBlockIndex": 0, "delta": { "text": text } }));
        let mut events = vec![("messageStart", json!({ "role": "assistant" }))];
        events.extend(self.pieces().map(delta));
        events.push(("contentBlockStop", json!({ "contentBlockIndex": 0 })));
        events.push(("messageStop", json!({ "stopReason": "end_turn" })));
        events.push(("metadata", json!({ "metrics": { "latencyMs": 1 }, "usage": self.usage() })));
        events
    }

    pub(crate) fn invocation_answer(&self, model_id: &str) -> Value {
        let mut answer = self.message(model_id);
        answer["content"] = json!([{ "text": self.answer, "type": "text" }]);
        answer["stop_reason"] = json!("end_turn");
        answer["usage"]["output_tokens"] = json!(self.output_tokens());
        answer
    }

    /// Anthropic's events, as `InvokeModelWithResponseStream` wraps them into chunks.
    pub(crate) fn invocation_events(&self, model_id: &str) -> Vec<Value> {
        let delta = |text: &str| {
            let delta = json!({ "text": text, "type": "text_delta" });
            json!({ "delta": delta, "index": 0, "type": "content_block_delta" })
        };
        let block = json!({ "text": "", "type": "text" });
        let (input, output) = (self.input_tokens(), self.output_tokens());
        let mut events = vec![
            json!({ "message": self.message(model_id), "type": "message_start" }),
            json!({ "content_block": block, "index": 0, "type": "content_block_start" }),
        ];
        events.extend(self.pieces().map(delta));
        events.push(json!({ "index": 0, "type": "content_block_stop" }));
        events.push(json!({
            "delta": { "stop_reason": "end_turn", "stop_sequence": null },
            "type": "message_delta",
            "usage": { "output_tokens": output },
        }));
        events.push(json!({
            "amazon-bedrock-invocationMetrics": {
                "firstByteLatency": 1, "inputTokenCount": input, "invocationLatency": 1, "outputTokenCount": output,
            },
            "type": "message_stop",
        }));
        events
    }

    fn message(&self, model_id: &str) -> Value {
        json!({
            "content": [],
            "id": "msg_bdrk_emulated",
            "model": model_id,
            "role": "assistant",
            "stop_reason": null,
            "stop_sequence": null,
            "type": "message",
            "usage": { "input_tokens": self.input_tokens(), "output_tokens": 0 },
        })
    }

    /// The answer word by word, with its blanks.
    fn pieces(&self) -> impl Iterator<Item = &str> {
        self.answer.split_inclusive(' ')
    }
}

fn object(body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) | Err(_) => Err(malformed("it is no JSON object")),
    }
}

fn malformed(what: &str) -> Refusal {
    Refusal::invalid(format!("Malformed input request: {what}, please reformat your input and try again."))
}

/// The texts of a content: a string, or blocks of which some have a text.
fn texts(content: &Value) -> Vec<String> {
    match content {
        Value::String(text) => vec![text.clone()],
        Value::Array(blocks) => {
            blocks.iter().filter_map(|block| block["text"].as_str()).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

fn words(text: &str) -> usize {
    text.split_whitespace().count()
}
