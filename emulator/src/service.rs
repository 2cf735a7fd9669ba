//! The services that are played.

/// A service that is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Service {
    /// IAM Roles Anywhere.
    RolesAnywhere,
    /// The Security Token Service.
    Sts,
    /// Bedrock, control and runtime, which sign alike.
    Bedrock,
}
