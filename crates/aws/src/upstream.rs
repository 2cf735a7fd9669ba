//! Asks AWS for credentials, and explains each refusal.

mod access_key_session;
mod answer;
mod assumed_role;
mod caller;
mod create_session;
mod error;
mod failover;
mod proxy;
mod skew;
mod sts;
mod tls;
mod transport;

pub use access_key_session::AccessKeyMode;
pub use access_key_session::AccessKeySession;
pub use answer::retry_after;
pub use assumed_role::AssumeRole;
pub use assumed_role::AssumedRole;
pub use caller::Caller;
pub use create_session::CreateSession;
pub use create_session::RolesAnywhere;
pub use error::CLOCK_TOLERANCE;
pub use error::Error;
pub(crate) use error::ErrorBody;
pub use error::Foreign;
pub use error::Operation;
#[cfg(feature = "bedrock")]
pub(crate) use error::UNTYPED;
pub use failover::Failover;
pub use proxy::NoTunnel;
pub use proxy::Proxy;
pub use sts::CallerIdentity;
pub use sts::Sts;
pub use sts::caller_identity;
pub use tls::RootsError;
pub use tls::ca_file_doubts;
pub use tls::client_config;
pub use tls::unverified_client_config;
pub use transport::Chunks;
pub use transport::HttpReply;
pub use transport::Https;
pub use transport::Replaceable;
pub use transport::SendPermit;
pub use transport::Timeouts;
pub use transport::Transport;
pub use transport::TransportError;

#[cfg(test)]
mod support;
