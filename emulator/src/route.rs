//! Which of the played services a request is for.

use crate::bedrock;
use crate::canonical::Incoming;
use crate::sigv4::Claim;
use crate::sts;

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

impl Service {
    /// The path decides; where two services have it, the scope of the signature does.
    pub(crate) fn of(incoming: &Incoming) -> Self {
        if bedrock::is_for(incoming) {
            return Self::Bedrock;
        }
        let elsewhere = Claim::of(incoming).is_some_and(|claim| claim.service == "rolesanywhere");
        if sts::is_for(incoming) && !elsewhere { Self::Sts } else { Self::RolesAnywhere }
    }
}
