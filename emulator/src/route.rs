//! Which of the played services a request is for.

use crate::bedrock;
use crate::canonical::Incoming;
use crate::service::Service;
use crate::sigv4::Claim;
use crate::sts;

/// The path decides. Where two services have the path, the scope of the signature decides.
pub(crate) fn service(incoming: &Incoming) -> Service {
    if bedrock::is_for(incoming) {
        return Service::Bedrock;
    }
    let elsewhere = Claim::of(incoming).is_some_and(|claim| claim.service == "rolesanywhere");
    if sts::is_for(incoming) && !elsewhere { Service::Sts } else { Service::RolesAnywhere }
}
