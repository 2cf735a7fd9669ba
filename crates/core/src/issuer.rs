//! What makes credentials, as a session's keeper sees it.

use std::future::Future;
use std::pin::Pin;

use crate::clock::Reading;
use crate::credentials::Credentials;
use crate::credentials::Origin;
use crate::failure::Failure;

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
