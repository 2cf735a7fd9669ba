//! The type and the message of a refusal in JSON, as Roles Anywhere and Bedrock write it.

use serde::Deserialize;

/// The body of an error response (Smithy, AWS restJson1, "Operation error serialization").
#[derive(Default, Deserialize)]
pub(crate) struct ErrorBody {
    #[serde(rename = "__type", alias = "code")]
    kind: Option<String>,
    #[serde(alias = "Message")]
    pub(crate) message: Option<String>,
}

impl ErrorBody {
    /// The type and message in `body`; neither if it is not such a body.
    pub(crate) fn parse(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_default()
    }

    /// The type of the error; empty if there is none. `header` is `x-amzn-errortype`, which goes first.
    pub(crate) fn kind<'a>(&'a self, header: Option<&'a str>) -> &'a str {
        // `AccessDeniedException:http://internal…` and `com.amazonaws#AccessDeniedException` both occur.
        let kind = header.or(self.kind.as_deref()).unwrap_or_default();
        let kind = kind.split(':').next().unwrap_or_default();
        kind.rsplit('#').next().unwrap_or_default()
    }
}
