//! Entry points for `fuzz/`, only in builds for fuzzing (`--cfg fuzzing`).

use super::AccessKeys;

/// Parses the text of a user's access keys.
pub fn access_keys(text: &str) {
    match AccessKeys::parse(text) {
        Ok(keys) => keys.check().expect("parsed keys are complete"),
        Err(fault) => drop((fault.to_string(), fault.hint())),
    }
}
