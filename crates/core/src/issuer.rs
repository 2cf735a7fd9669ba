//! The interface between a session's keeper and whatever makes its credentials.

use std::future::Future;
use std::pin::Pin;

use crate::clock::ClockOffset;
use crate::credentials::Credentials;
use crate::credentials::SignerId;
use crate::failure::Failure;

/// A boxed future. Traits return it so that they stay object-safe.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Makes one fresh set of credentials: by Roles Anywhere, from a user's access keys, or through a chain of roles.
///
/// One call is one attempt; the session decides about pauses and retries.
pub trait Issuer: Send + Sync + 'static {
    /// Makes credentials. Cancel-safe: dropping the future leaves nothing half done.
    ///
    /// # Errors
    /// Why the attempt failed.
    fn issue(&self) -> BoxFuture<'_, Result<Credentials, Failure>>;

    /// How far AWS's clock was ahead by the last reply that had a `Date`, even if that reply was a refusal. `None` if
    /// no reply has had one yet.
    fn clock_offset(&self) -> Option<ClockOffset> {
        None
    }

    /// Whether the current call is still waiting for other calls to end, so that nothing has been sent yet.
    fn is_waiting(&self) -> bool {
        false
    }

    /// The certificate or access key that would sign the next call, as last loaded; `None` if that is unknown.
    fn signer(&self) -> Option<SignerId> {
        None
    }
}
