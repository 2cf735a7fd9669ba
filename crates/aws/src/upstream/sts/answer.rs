//! Reads STS's XML, in place: what it holds may be secret, so it is not copied and never told.

use std::time::Duration;

use roxmltree::Document;
use roxmltree::Node;
use roxmltree::ParsingOptions;

use crate::upstream::Error;
use crate::upstream::Operation;
use crate::upstream::answer::Answer;
use crate::upstream::answer::Granted;
use anchord_core::credentials::Keys;
use anchord_core::secret::Secret;

/// Far above any honest answer's.
const MAX_NODES: u32 = 1000;
/// As for the session token in it, which is all there is to speak of.
const MAX_BYTES: usize = 48 << 10;

/// The result of a call, of which parts can be asked for.
pub(in crate::upstream) struct Found<'a> {
    node: Node<'a, 'a>,
    operation: Operation,
    answer: &'a Answer,
}

impl<'a> Found<'a> {
    /// The text of a part, which must be there.
    pub(in crate::upstream) fn text(&self, name: &str) -> Result<&'a str, Error> {
        let missing = || self.answer.not_understood(self.operation, format!("{name} is missing or empty"));
        part(self.node, name).ok_or_else(missing)
    }

    /// The ARN of the session of a role that the credentials are for, if it is there.
    pub(in crate::upstream) fn assumed_role(&self) -> Option<&'a str> {
        part(child(self.node, "AssumedRoleUser")?, "Arn")
    }

    /// The credentials that are part of the result: their keys, and when they end.
    pub(in crate::upstream) fn granted(
        &self,
        asked: Duration,
        account_id: Option<String>,
    ) -> Result<Granted<'a>, Error> {
        let missing = || self.answer.not_understood(self.operation, "it holds no credentials");
        let node = child(self.node, "Credentials").ok_or_else(missing)?;
        let parts = Found { node, ..*self };
        let keys = Keys {
            access_key_id: parts.text("AccessKeyId")?.to_owned(),
            secret_access_key: Secret::new(parts.text("SecretAccessKey")?.to_owned()),
            session_token: Some(Secret::new(parts.text("SessionToken")?.to_owned())),
        };
        Ok(Granted { keys, expiration: parts.text("Expiration")?, asked, account_id })
    }
}

/// Takes what is asked for from `<…Response><…Result>`.
pub(super) fn read<T>(
    answer: &Answer,
    operation: Operation,
    take: impl FnOnce(&Found<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let not_understood = |why: String| answer.not_understood(operation, why);
    let text = std::str::from_utf8(answer.body()).map_err(|_| not_understood("it is not UTF-8".into()))?;
    // The parser's messages can quote the input, which holds secrets: only the place is told.
    let document = parse(text).map_err(|error| {
        let at = error.pos();
        not_understood(format!("not the expected XML at line {} column {}", at.row, at.col))
    })?;
    let root = document.root_element();
    let result = (root.tag_name().name() == format!("{operation}Response"))
        .then(|| child(root, &format!("{operation}Result")))
        .flatten();
    let node = result.ok_or_else(|| not_understood(format!("it is no result of {operation}")))?;
    take(&Found { node, operation, answer })
}

/// The error in a refusal; `keys` are those that asked.
pub(super) fn refusal(answer: &Answer, operation: Operation, keys: &Keys) -> Error {
    let document = std::str::from_utf8(answer.body()).ok().and_then(|text| parse(text).ok());
    let error = document.as_ref().and_then(|document| child(document.root_element(), "Error"));
    let kind = error.and_then(|error| part(error, "Code")).unwrap_or_default();
    let message = error.and_then(|error| part(error, "Message")).map(|text| harmless(text, keys));
    answer.refused(operation, kind, message)
}

/// A refused signature may be answered with the request as it should have been signed, session token included.
fn harmless<'a>(message: &'a str, keys: &Keys) -> &'a str {
    let message = message.split(['\r', '\n']).next().unwrap_or_default();
    let message = message.split("The Canonical String").next().unwrap_or_default().trim_end();
    let token = keys.session_token.as_ref().map(Secret::expose);
    let quotes = |secret: &String| message.contains(secret.as_str());
    if token.is_some_and(quotes) || quotes(keys.secret_access_key.expose()) { "" } else { message }
}

fn parse(text: &str) -> Result<Document<'_>, roxmltree::Error> {
    // Attributes are compared with each other: an element full of them would take seconds.
    if text.len() > MAX_BYTES {
        return Err(roxmltree::Error::NodesLimitReached);
    }
    let options = ParsingOptions { allow_dtd: false, nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    Document::parse_with_options(text, options)
}

fn child<'a>(node: Node<'a, 'a>, name: &str) -> Option<Node<'a, 'a>> {
    node.children().find(|child| child.tag_name().name() == name)
}

/// The text of a child, if it has any and nothing else.
fn part<'a>(node: Node<'a, 'a>, name: &str) -> Option<&'a str> {
    let part = child(node, name).filter(|part| part.first_child() == part.last_child())?;
    part.text().map(str::trim).filter(|text| !text.is_empty())
}
