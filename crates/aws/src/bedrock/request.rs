//! A request to Bedrock before it is signed: path, headers and body.

use bytes::Bytes;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;

use super::ModelId;
use anchord_core::endpoint::Service;
use anchord_core::failure::Classify;
use anchord_core::failure::Reason;
use anchord_core::text::Text;

/// One call of Bedrock's API. Its body may be confidential, so it does not implement `Debug`.
#[derive(Clone)]
pub struct Request {
    pub(super) method: &'static str,
    pub(super) service: Service,
    /// The path with its query.
    pub(super) path: String,
    /// Names in lower case, each once.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
}

/// The media types of InvokeModel's body and answer. Each model has its own format.
#[derive(Clone, Copy, Debug)]
pub struct MediaTypes<'a> {
    /// The type of the body.
    pub content_type: &'a str,
    /// The requested type of the answer. By default AWS uses `application/json`.
    pub accept: Option<&'a str>,
}

/// A header that cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderRefused {
    /// It is not `NAME:VALUE`, or contains characters that a header cannot have.
    #[error("`{0}` is not a header that can be sent")]
    Malformed(String),
    /// The signature or the HTTP client sets it.
    #[error("the header `{0}` cannot be set")]
    Ours(String),
    /// An option sets it.
    #[error("the header `{0}` is set by `--{1}`")]
    HasOption(String, &'static str),
    /// It occurs twice.
    #[error("the header `{0}` is given twice")]
    Twice(String),
}

impl Classify for HeaderRefused {
    fn reason(&self) -> Reason {
        Reason::InvalidSetting
    }

    fn hint(&self) -> Option<Text> {
        match self {
            Self::Malformed(_) => {
                Some("the form is `NAME:VALUE`, in ASCII, such as `X-Amzn-Bedrock-Trace:ENABLED`".into())
            }
            Self::Ours(_) => Some("leave it out: the signature or the HTTP client sets it".into()),
            Self::HasOption(_, option) => Some(format!("use `--{option}`").into()),
            Self::Twice(_) => Some("join the values with a comma".into()),
        }
    }
}

/// The headers that the signature or the HTTP client sets.
const OURS: &[&str] = &[
    "authorization",
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-security-token",
];

impl Request {
    /// InvokeModel: body and answer are in the model's own format.
    pub fn invoke_model(model: &ModelId, media_types: MediaTypes<'_>) -> Self {
        Self::to_model(model, "invoke", media_types, "accept")
    }

    /// InvokeModelWithResponseStream: the same, with a stream as the answer.
    pub fn invoke_model_with_response_stream(model: &ModelId, media_types: MediaTypes<'_>) -> Self {
        Self::to_model(model, "invoke-with-response-stream", media_types, "x-amzn-bedrock-accept")
    }

    /// Converse: the same JSON format for all models.
    pub fn converse(model: &ModelId) -> Self {
        Self::to_model(model, "converse", JSON, "accept")
    }

    /// ConverseStream: the same, with a stream as the answer.
    pub fn converse_stream(model: &ModelId) -> Self {
        Self::to_model(model, "converse-stream", JSON, "accept")
    }

    /// ListFoundationModels.
    pub fn list_foundation_models() -> Self {
        Self::listing("/foundation-models".into())
    }

    /// ListInferenceProfiles: a page of the profiles of a `kind`, `SYSTEM_DEFINED` or `APPLICATION`.
    pub fn list_inference_profiles(kind: &str, next_token: Option<&str>) -> Self {
        let mut path = format!("/inference-profiles?maxResults=1000&type={kind}");
        if let Some(token) = next_token {
            path.push_str("&nextToken=");
            path.extend(utf8_percent_encode(token, NON_ALPHANUMERIC));
        }
        Self::listing(path)
    }

    /// The same with one more header, `NAME:VALUE`, which is signed too.
    ///
    /// # Errors
    /// If the header is malformed, occurs twice, or is set elsewhere.
    pub fn with_header(mut self, text: &str) -> Result<Self, HeaderRefused> {
        let (name, value) = header(text)?;
        if self.headers.iter().any(|(known, _)| *known == name) {
            return Err(HeaderRefused::Twice(name));
        }
        self.headers.push((name, value));
        Ok(self)
    }

    /// The same with this body.
    #[must_use]
    pub fn with_body(mut self, body: Bytes) -> Self {
        self.body = body;
        self
    }

    fn to_model(model: &ModelId, verb: &str, media_types: MediaTypes<'_>, accept: &str) -> Self {
        let content_type = ("content-type".to_owned(), media_types.content_type.to_owned());
        let accept = media_types.accept.map(|value| (accept.to_owned(), value.to_owned()));
        Self {
            method: "POST",
            service: Service::BedrockRuntime,
            path: format!("/model/{}/{verb}", model.label()),
            headers: std::iter::once(content_type).chain(accept).collect(),
            body: Bytes::new(),
        }
    }

    fn listing(path: String) -> Self {
        let headers = vec![("accept".into(), "application/json".into())];
        Self { method: "GET", service: Service::Bedrock, path, headers, body: Bytes::new() }
    }
}

/// Converse accepts only JSON. It answers in JSON or a stream of it.
const JSON: MediaTypes<'_> = MediaTypes { content_type: "application/json", accept: None };

fn header(text: &str) -> Result<(String, String), HeaderRefused> {
    let malformed =
        || HeaderRefused::Malformed(text.split(':').next().unwrap_or_default().escape_debug().to_string());
    let (name, value) = text.split_once(':').ok_or_else(malformed)?;
    let name = http::HeaderName::try_from(name.trim()).map_err(|_| malformed())?.as_str().to_owned();
    let value = value.trim();
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
        return Err(malformed());
    }
    if OURS.contains(&name.as_str()) {
        return Err(HeaderRefused::Ours(name));
    }
    match name.as_str() {
        "content-type" => Err(HeaderRefused::HasOption(name, "content-type")),
        "accept" | "x-amzn-bedrock-accept" => Err(HeaderRefused::HasOption(name, "accept")),
        _ => Ok((name, value.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> ModelId {
        ModelId::parse("amazon.nova-lite-v1:0").unwrap()
    }

    #[test]
    fn each_call_has_its_path_and_the_header_its_api_names() {
        let media_types = MediaTypes { content_type: "image/png", accept: Some("text/csv") };
        let headers = |request: &Request| {
            let shown: Vec<_> =
                request.headers.iter().map(|(name, value)| format!("{name}:{value}")).collect();
            shown.join(" ")
        };

        let invoke = Request::invoke_model(&model(), media_types);
        assert_eq!(invoke.path, "/model/amazon.nova-lite-v1%3A0/invoke");
        assert_eq!(headers(&invoke), "content-type:image/png accept:text/csv");
        let stream = Request::invoke_model_with_response_stream(&model(), media_types);
        assert_eq!(stream.path, "/model/amazon.nova-lite-v1%3A0/invoke-with-response-stream");
        assert_eq!(headers(&stream), "content-type:image/png x-amzn-bedrock-accept:text/csv");
        let converse = Request::converse(&model());
        assert_eq!(converse.path, "/model/amazon.nova-lite-v1%3A0/converse");
        assert_eq!(headers(&converse), "content-type:application/json");
        let stream = Request::converse_stream(&model());
        assert_eq!(stream.path, "/model/amazon.nova-lite-v1%3A0/converse-stream");
        let page = Request::list_inference_profiles("APPLICATION", Some("a/b="));
        assert_eq!(page.path, "/inference-profiles?maxResults=1000&type=APPLICATION&nextToken=a%2Fb%3D");
        assert_eq!((page.method, page.service), ("GET", Service::Bedrock));
    }

    #[test]
    fn a_header_is_sent_as_it_was_given_but_for_case_and_space_around_it() {
        let request = Request::converse(&model()).with_header("X-Amzn-Bedrock-Trace: ENABLED ").unwrap();

        assert_eq!(request.headers[1], ("x-amzn-bedrock-trace".into(), "ENABLED".into()));
    }

    #[test]
    fn headers_that_signing_owns_or_that_an_option_sets_are_refused() {
        let refusal = |text: &str| Request::converse(&model()).with_header(text).err().unwrap();

        for name in OURS {
            assert_eq!(refusal(&format!("{}:x", name.to_uppercase())), HeaderRefused::Ours((*name).into()));
        }
        assert_eq!(refusal("Accept:a/b"), HeaderRefused::HasOption("accept".into(), "accept"));
        for text in ["x", "x:", ":x", "x y:z", "x:é", "x:a\r\ny:b", "x\ny:a"] {
            assert!(matches!(refusal(text), HeaderRefused::Malformed(_)), "{text:?}");
        }
        let twice = Request::converse(&model()).with_header("a:1").unwrap().with_header("A:2");
        assert_eq!(twice.err().unwrap(), HeaderRefused::Twice("a".into()));
    }
}
