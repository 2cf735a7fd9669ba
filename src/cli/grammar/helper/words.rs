//! What was given on the command line, by flag.

use clap::ArgMatches;
use clap::parser::ValueSource;

/// The flags of a verb that were given with a value. An empty one is as good as none, as in AWS's tool: scripts write
/// `--intermediates "$CHAIN"`.
pub(in crate::cli) struct Words<'a>(pub(in crate::cli) &'a ArgMatches);

impl<'a> Words<'a> {
    /// All values of a flag, in their order.
    pub(in crate::cli) fn all(&self, flag: &str) -> Vec<&'a str> {
        // Not every verb has every flag.
        let Ok(Some(values)) = self.0.try_get_many::<String>(flag) else { return Vec::new() };
        if self.0.value_source(flag) != Some(ValueSource::CommandLine) {
            return Vec::new();
        }
        values.map(String::as_str).filter(|value| !value.is_empty()).collect()
    }

    pub(in crate::cli) fn get(&self, flag: &str) -> Option<&'a str> {
        self.all(flag).pop()
    }

    /// Whether it was given; a switch that was turned off was not.
    pub(in crate::cli) fn has(&self, flag: &str) -> bool {
        self.get(flag).is_some_and(|value| value != "false")
    }
}
