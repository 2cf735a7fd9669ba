//! What the connection shall send, and how it shall end.

use serde_json::Value;
use time::OffsetDateTime;

use crate::encode;
use crate::reply::Refusal;

/// What the connection shall do.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The type of a refusal, which services that speak JSON also say in a header.
    pub(crate) error_type: Option<&'static str>,
    pub(crate) retry_after: Option<u32>,
    pub(crate) content_type: &'static str,
    /// Empty where AWS did not make the answer.
    pub(crate) request_id: String,
    /// Headers of this answer alone.
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Body,
    /// What its `Date` says, if it has one.
    pub(crate) at: Option<OffsetDateTime>,
    pub(crate) ending: Ending,
}

/// What is sent.
#[derive(Debug)]
pub(crate) enum Body {
    Whole(Vec<u8>),
    /// Sent one after the other, without saying how many there are.
    Pieces(Vec<Vec<u8>>),
}

/// How an answer reaches the client, or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Usual,
    Late(std::time::Duration),
    Held,
    Closed,
    /// The first half of the pieces, and the others after a release.
    HeldMidway,
    /// More bytes are announced than sent; of pieces, the last is missing.
    Cut,
    Reset,
}

impl Answer {
    fn new(status: u16, content_type: &'static str, request_id: String, body: Vec<u8>) -> Self {
        Self {
            status,
            error_type: None,
            retry_after: None,
            content_type,
            request_id,
            headers: Vec::new(),
            body: Body::Whole(body),
            at: None,
            ending: Ending::Usual,
        }
    }

    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::new(status, "application/json", encode::request_id(), body.to_string().into_bytes())
    }

    /// XML names the request in its text, too.
    pub(crate) fn xml(status: u16, text: impl FnOnce(&str) -> String) -> Self {
        let request_id = encode::request_id();
        let body = text(&request_id).into_bytes();
        Self::new(status, "text/xml", request_id, body)
    }

    /// An event stream. Its first frame comes in two pieces: nobody may take a piece for a frame.
    pub(crate) fn events(frames: Vec<Vec<u8>>) -> Self {
        let mut pieces: Vec<Vec<u8>> = Vec::with_capacity(frames.len() + 1);
        for mut frame in frames {
            let rest = if pieces.is_empty() { frame.split_off(frame.len() / 2) } else { Vec::new() };
            pieces.push(frame);
            pieces.extend(Some(rest).filter(|rest| !rest.is_empty()));
        }
        let answer = Self::new(200, "application/vnd.amazon.eventstream", encode::request_id(), Vec::new());
        Self { body: Body::Pieces(pieces), ..answer }
    }

    /// A page of a proxy: nothing about it is AWS's.
    pub(crate) fn html(status: u16) -> Self {
        let text = format!("<html><body><h1>{status}</h1>\nTry again later\n</body></html>\n");
        let answer = Self::new(status, "text/html", String::new(), text.into_bytes());
        Self { headers: vec![("server", "proxy".to_owned())], ..answer }
    }

    /// A refusal of a service that speaks JSON.
    pub(crate) fn refused(refusal: &Refusal) -> Self {
        Self { error_type: Some(refusal.kind), ..Self::json(refusal.status, &refusal.body()) }
    }

    /// 413, before anything is read into memory without end.
    pub(crate) fn too_large(at: OffsetDateTime) -> Self {
        let refusal = Refusal::new(413, "RequestEntityTooLargeException", "Request entity too large", "body");
        Self { at: Some(at), ..Self::refused(&refusal) }
    }
}
