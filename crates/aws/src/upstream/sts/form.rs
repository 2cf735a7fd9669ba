//! A request in the AWS Query protocol: its parameters, encoded as a web form.

use percent_encoding::AsciiSet;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;

use crate::upstream::Operation;

const VERSION: &str = "2011-06-15";

/// Everything except the unreserved characters of RFC 3986, so that each reader decodes the same text.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// An operation with its parameters.
pub(in crate::upstream) struct QueryRequest {
    operation: Operation,
    encoded: String,
}

impl QueryRequest {
    /// A request without parameters.
    pub(in crate::upstream) fn new(operation: Operation) -> Self {
        Self { operation, encoded: format!("Action={operation}&Version={VERSION}") }
    }

    /// The same with one more parameter.
    #[must_use]
    pub(in crate::upstream) fn with(mut self, name: &str, value: &str) -> Self {
        self.encoded.push('&');
        self.encoded.push_str(name);
        self.encoded.push('=');
        self.encoded.extend(utf8_percent_encode(value, RESERVED));
        self
    }

    /// The same with one more parameter if it has a value.
    #[must_use]
    pub(in crate::upstream) fn with_any(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// The same with one more parameter for each value. The Query protocol counts them from 1: `name.member.1suffix`.
    #[must_use]
    pub(in crate::upstream) fn with_each<'a>(
        mut self,
        name: &str,
        suffix: &str,
        values: impl Iterator<Item = &'a str>,
    ) -> Self {
        for (number, value) in (1..).zip(values) {
            self = self.with(&format!("{name}.member.{number}{suffix}"), value);
        }
        self
    }

    /// The operation.
    pub(super) fn operation(&self) -> Operation {
        self.operation
    }

    /// The body to send.
    pub(super) fn encoded(&self) -> &str {
        &self.encoded
    }
}
