//! The values that the command line gives to each flag.

use clap::ArgMatches;
use clap::parser::ValueSource;

/// The flags of a verb that have a value. An empty value counts as none, as in AWS's tool, because scripts write
/// `--intermediates "$CHAIN"`.
pub(in crate::cli) struct Words<'a>(pub(in crate::cli) &'a ArgMatches);

impl<'a> Words<'a> {
    /// All values of a flag, in the order of the command line.
    pub(in crate::cli) fn all(&self, flag: &str) -> Vec<&'a str> {
        // An error means that the verb does not have the flag.
        let Ok(Some(values)) = self.0.try_get_many::<String>(flag) else { return Vec::new() };
        if self.0.value_source(flag) != Some(ValueSource::CommandLine) {
            return Vec::new();
        }
        values.map(String::as_str).filter(|value| !value.is_empty()).collect()
    }

    pub(in crate::cli) fn get(&self, flag: &str) -> Option<&'a str> {
        self.all(flag).pop()
    }

    /// Whether the flag has a value and, if it is a switch, is on.
    pub(in crate::cli) fn has(&self, flag: &str) -> bool {
        self.get(flag).is_some_and(|value| value != "false")
    }
}
