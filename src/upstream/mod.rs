//! Asks AWS for credentials and says what each refusal means.

use std::future::Future;
use std::pin::Pin;

use crate::credentials::Credentials;
use crate::failure::Failure;

/// A future that owns what it needs, as object-safe traits return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Whatever can make one fresh set of credentials: Roles Anywhere today, role chains and access keys later.
///
/// One call is one attempt; pauses and repetitions are the session's business.
pub trait Issuer: Send + Sync + 'static {
    /// Makes credentials. Cancel-safe: dropping the future leaves nothing half done.
    fn issue(&self) -> BoxFuture<'_, Result<Credentials, Failure>>;
}
