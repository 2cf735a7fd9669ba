//! Reads STS's XML in place. It may contain secrets, so they are not copied and appear in no error.

use std::time::Duration;

use roxmltree::Document;
use roxmltree::Node;
use roxmltree::ParsingOptions;

use crate::upstream::Error;
use crate::upstream::Operation;
use crate::upstream::answer::AwsAnswer;
use crate::upstream::answer::Granted;
use anchord_core::credentials::Keys;
use anchord_core::secret::Secret;

/// Far more than in any answer of STS.
const MAX_NODES: u32 = 1000;
/// Larger than any answer of STS; most of it is the session token.
const MAX_BYTES: usize = 48 << 10;

/// The result of a call, with access to its parts.
pub(in crate::upstream) struct StsResult<'a> {
    node: Node<'a, 'a>,
    operation: Operation,
    answer: &'a AwsAnswer,
}

impl<'a> StsResult<'a> {
    /// The text of a required part.
    ///
    /// # Errors
    /// If the part is missing or empty.
    pub(in crate::upstream) fn text(&self, name: &str) -> Result<&'a str, Error> {
        let missing = || self.answer.not_understood(self.operation, format!("{name} is missing or empty"));
        part(self.node, name).ok_or_else(missing)
    }

    /// The ARN of the role's session that the credentials are for, if the result names it.
    pub(in crate::upstream) fn assumed_role(&self) -> Option<&'a str> {
        part(child(self.node, "AssumedRoleUser")?, "Arn")
    }

    /// The credentials in the result: their keys and their expiration.
    ///
    /// # Errors
    /// If a part of them is missing.
    pub(in crate::upstream) fn granted(
        &self,
        asked: Duration,
        account_id: Option<String>,
    ) -> Result<Granted<'a>, Error> {
        let missing = || self.answer.not_understood(self.operation, "it contains no credentials");
        let node = child(self.node, "Credentials").ok_or_else(missing)?;
        let parts = StsResult { node, ..*self };
        let keys = Keys {
            access_key_id: parts.text("AccessKeyId")?.to_owned(),
            secret_access_key: Secret::new(parts.text("SecretAccessKey")?.to_owned()),
            session_token: Some(Secret::new(parts.text("SessionToken")?.to_owned())),
        };
        Ok(Granted { keys, expiration: parts.text("Expiration")?, asked, account_id })
    }
}

/// Finds `<…Response><…Result>` and calls `take` with it.
pub(super) fn read<T>(
    answer: &AwsAnswer,
    operation: Operation,
    take: impl FnOnce(&StsResult<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let not_understood = |why: String| answer.not_understood(operation, why);
    let text = std::str::from_utf8(answer.body()).map_err(|_| not_understood("it is not UTF-8".into()))?;
    // The parser's messages can quote the input, which contains secrets, so the error has only the position.
    let document = parse(text).map_err(|error| {
        let at = error.pos();
        not_understood(format!("not the expected XML at line {} column {}", at.row, at.col))
    })?;
    let root = document.root_element();
    let is_response = root.tag_name().name() == format!("{operation}Response");
    let result = child(root, &format!("{operation}Result")).filter(|_| is_response);
    let node = result.ok_or_else(|| not_understood(format!("it is not a result of {operation}")))?;
    take(&StsResult { node, operation, answer })
}

/// The error in a refusal of a call with `keys`.
pub(super) fn refusal(answer: &AwsAnswer, operation: Operation, keys: &Keys) -> Error {
    let document = std::str::from_utf8(answer.body()).ok().and_then(|text| parse(text).ok());
    let error = document.as_ref().and_then(|document| child(document.root_element(), "Error"));
    let kind = error.and_then(|error| part(error, "Code")).unwrap_or_default();
    let message = error.and_then(|error| part(error, "Message")).map(|text| harmless(text, keys));
    answer.refused(operation, kind, message)
}

/// The message without secrets: the answer to a wrong signature may quote the request that AWS expected, including the
/// session token.
fn harmless<'a>(message: &'a str, keys: &Keys) -> &'a str {
    let message = message.split(['\r', '\n']).next().unwrap_or_default();
    let message = message.split("The Canonical String").next().unwrap_or_default().trim_end();
    let token = keys.session_token.as_ref().map(Secret::expose);
    let quotes = |secret: &String| message.contains(secret.as_str());
    if token.is_some_and(quotes) || quotes(keys.secret_access_key.expose()) { "" } else { message }
}

fn parse(text: &str) -> Result<Document<'_>, roxmltree::Error> {
    // The parser compares all attributes of an element with each other: a large element would take seconds.
    if text.len() > MAX_BYTES {
        return Err(roxmltree::Error::NodesLimitReached);
    }
    let options = ParsingOptions { allow_dtd: false, nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    Document::parse_with_options(text, options)
}

fn child<'a>(node: Node<'a, 'a>, name: &str) -> Option<Node<'a, 'a>> {
    node.children().find(|child| child.tag_name().name() == name)
}

/// The text of a child, if the child contains nothing else.
fn part<'a>(node: Node<'a, 'a>, name: &str) -> Option<&'a str> {
    let part = child(node, name).filter(|part| part.first_child() == part.last_child())?;
    part.text().map(str::trim).filter(|text| !text.is_empty())
}
