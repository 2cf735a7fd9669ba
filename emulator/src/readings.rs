//! The other ways to read AWS's documentation.
//!
//! Where it leaves open how the service behaves, the emulator plays the likelier reading, and the other one on request:
//! a client has to live with both.

/// Which readings are played; the default is the likelier of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Readings {
    /// Refuses a leaf without basicConstraints, as the guide has it ("Basic constraints MUST include CA: false").
    pub strict: bool,
}
