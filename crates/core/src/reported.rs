//! Remembers what was last reported, so that a lasting state is reported only once.
//!
//! It holds one state at a time. Code that counts repetitions, keeps several states, or decides more than the report has
//! its own memory.

/// The state that was last reported, if any.
#[derive(Debug)]
pub struct Reported<T = String>(Option<T>);

impl<T> Default for Reported<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: PartialEq> Reported<T> {
    /// Remembers `state`. Returns whether it differs from the state that was last reported.
    pub fn is_new(&mut self, state: T) -> bool {
        let differs = self.0.as_ref() != Some(&state);
        self.0 = Some(state);
        differs
    }

    /// Forgets the reported state. Returns whether there was one: only then is its end worth a report.
    pub fn clear(&mut self) -> bool {
        self.0.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_lasts_is_new_once_and_again_after_its_end() {
        let mut reported = Reported::default();

        assert!(!reported.clear(), "nothing was reported yet");
        assert!(reported.is_new("down"));
        assert!(!reported.is_new("down"));
        assert!(reported.is_new("out of reach"));
        assert!(reported.is_new("down"), "another state came between");
        assert!(reported.clear());
        assert!(!reported.clear());
        assert!(reported.is_new("down"));
    }
}
