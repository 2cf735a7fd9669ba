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

use std::future::Future;
use std::pin::Pin;

pub use access_key_session::AccessKeySession;
pub use access_key_session::Exchange;
pub use answer::retry_after;
pub use assumed_role::AssumedRole;
pub use assumed_role::Step;
pub use caller::Caller;
pub use create_session::Options;
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

use anchord_core::clock::Reading;
use anchord_core::credentials::Credentials;
use anchord_core::credentials::Origin;
use anchord_core::failure::Failure;

/// A future that owns what it needs, as object-safe traits return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Whatever can make one fresh set of credentials: Roles Anywhere, a user's access keys, a chain of roles.
///
/// One call is one attempt; pauses and repetitions are the session's business.
pub trait Issuer: Send + Sync + 'static {
    /// Makes credentials. Cancel-safe: dropping the future leaves nothing half done.
    fn issue(&self) -> BoxFuture<'_, Result<Credentials, Failure>>;

    /// The `Date` of the last reply that had one, be it a refusal; `None` where no reply has told.
    fn last_date(&self) -> Option<Reading> {
        None
    }

    /// Whether the call under way waits for the calls of others, so that nothing has been sent yet.
    fn is_waiting(&self) -> bool {
        false
    }

    /// What the next call would be signed with, as far as it has been loaded; `None` where that is unknown.
    fn signs_with(&self) -> Option<Origin> {
        None
    }
}

#[cfg(test)]
mod support;
