//! The parameters of a call, as a web form carries them.

use percent_encoding::AsciiSet;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;

use crate::upstream::Operation;

const VERSION: &str = "2011-06-15";

/// Everything but RFC 3986's unreserved characters, so that no reader can take one for another.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// An operation with its parameters.
pub(in crate::upstream) struct Form {
    operation: Operation,
    encoded: String,
}

impl Form {
    /// Without parameters.
    pub(in crate::upstream) fn new(operation: Operation) -> Self {
        Self { operation, encoded: format!("Action={operation}&Version={VERSION}") }
    }

    /// With one more.
    #[must_use]
    pub(in crate::upstream) fn with(mut self, name: &str, value: &str) -> Self {
        self.encoded.push('&');
        self.encoded.push_str(name);
        self.encoded.push('=');
        self.encoded.extend(utf8_percent_encode(value, RESERVED));
        self
    }

    /// With one more where there is a value for it.
    #[must_use]
    pub(in crate::upstream) fn with_any(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// With one more for each of a list, which the Query protocol counts from 1: `name.member.1suffix`.
    #[must_use]
    pub(in crate::upstream) fn with_each<'a>(
        self,
        name: &str,
        suffix: &str,
        values: impl Iterator<Item = &'a str>,
    ) -> Self {
        let numbered = (1..).zip(values);
        numbered
            .fold(self, |form, (number, value)| form.with(&format!("{name}.member.{number}{suffix}"), value))
    }

    /// What is asked.
    pub(super) fn operation(&self) -> Operation {
        self.operation
    }

    /// As it is sent.
    pub(super) fn encoded(&self) -> &str {
        &self.encoded
    }
}
