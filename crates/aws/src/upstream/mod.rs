//! Asks AWS for credentials and says what each refusal means.

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

pub use access_key_session::AccessKeySession;
pub use access_key_session::Exchange;
pub use answer::retry_after;
pub use assumed_role::AssumeRole;
pub use assumed_role::AssumedRole;
pub use caller::Caller;
pub use create_session::CreateSession;
pub use create_session::RolesAnywhere;
pub use error::CLOCK_TOLERANCE;
pub use error::Error;
pub use error::Foreign;
pub use error::Operation;
pub use failover::Failover;
pub use proxy::NoTunnel;
pub use proxy::Proxy;
pub use sts::CallerIdentity;
pub use sts::Sts;
pub use sts::caller_identity;
pub use tls::RootsError;
pub use tls::ca_file_doubts;
pub use tls::client_config;
pub use tls::client_config_for_anybody;
pub use transport::Chunks;
pub use transport::Https;
pub use transport::Limits;
pub use transport::Replaceable;
pub use transport::Reply;
pub use transport::Transport;
pub use transport::TransportError;
pub use transport::Turn;

#[cfg(test)]
mod support;
