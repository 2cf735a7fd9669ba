//! What `fuzz/` throws bytes at; only there in builds for fuzzing (`--cfg fuzzing`).

use super::AccessKeys;

/// What holds a user's access keys.
pub fn access_keys(text: &str) {
    match AccessKeys::parse(text) {
        Ok(keys) => keys.check().expect("keys that were taken are complete"),
        Err(fault) => drop((fault.to_string(), fault.hint())),
    }
}
