//! Finds the text in an event of a model's answer.

use serde_json::Value;

use super::StreamEvent;

/// The JSON pointers of the next piece of text: of ConverseStream, then of the models' own formats.
const PLACES: &[&str] = &[
    "/contentBlockDelta/delta/text",
    // Anthropic's messages, then its older completions.
    "/delta/text",
    "/completion",
    // Amazon Titan. Nova uses the format of ConverseStream.
    "/outputText",
    // Meta.
    "/generation",
    // Mistral, then OpenAI's chat format.
    "/outputs/0/text",
    "/choices/0/delta/content",
    "/choices/0/message/content",
    "/choices/0/text",
    // Cohere's chats and generations.
    "/text",
    "/generations/0/text",
];

/// The text that an event adds to the answer; `None` if it adds none, or if its format is unknown.
pub fn text_of(event: &StreamEvent) -> Option<&str> {
    // Cohere's last event repeats the whole answer.
    if event.value.pointer("/event_type").and_then(Value::as_str) == Some("stream-end") {
        return None;
    }
    PLACES.iter().find_map(|place| event.value.pointer(place)?.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_is_found_wherever_a_model_puts_it() {
        for value in [
            json!({"contentBlockDelta": {"delta": {"text": "Hi"}, "contentBlockIndex": 0}}),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}}),
            json!({"outputText": "Hi", "index": 0, "completionReason": null}),
            json!({"generation": "Hi", "stop_reason": null}),
            json!({"outputs": [{"text": "Hi", "stop_reason": null}]}),
            json!({"choices": [{"delta": {"content": "Hi"}}]}),
            json!({"event_type": "text-generation", "text": "Hi"}),
        ] {
            let event = StreamEvent { kind: "chunk".into(), value };
            assert_eq!(text_of(&event), Some("Hi"), "{}", event.value);
        }
    }

    #[test]
    fn what_is_not_said_is_not_text() {
        for value in [
            json!({"metadata": {"usage": {"inputTokens": 1}}}),
            json!({"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": "{"}}),
            json!({"event_type": "stream-end", "text": "all of it"}),
            json!("Hi"),
        ] {
            assert_eq!(text_of(&StreamEvent { kind: "chunk".into(), value }), None);
        }
    }
}
