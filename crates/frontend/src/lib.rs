//! Gives credentials to local clients in each way that SDKs support, and to no other client.
//!
//! A request takes three steps. [`Route::route`] turns its head into a [`Decision`] without waiting. [`Server`] waits
//! for the session if the decision needs credentials; no other code waits. The decision then renders the reply. A front
//! end never answers 200 with credentials that are incomplete or expired, never calls AWS, and never logs a secret.

mod api_key;
pub mod caller;
pub mod credentials_file;
mod document;
pub mod files;
pub mod guard;

pub mod container;
pub mod imds;
pub mod process;
pub mod socket;

pub mod reply;
pub mod router;

pub mod http;

#[cfg(test)]
mod support;
#[cfg(test)]
mod tests;

pub use api_key::ApiKeys;
pub use caller::Caller;
pub use caller::Callers;
pub use caller::Connection;
pub use caller::Peer;
pub use container::Container;
pub use guard::Bearer;
pub use guard::RequestGuard;
pub use http::Listen;
pub use http::Server;
pub use http::ServerLimits;
pub use imds::Imds;
pub use imds::RoleName;
pub use imds::TokenAuthority;
pub use reply::CredentialsRequest;
pub use reply::Decision;
pub use reply::Reply;
pub use router::Route;
pub use router::Router;
pub use socket::Background;
pub use socket::CertificateStatus;
pub use socket::FailureStatus;
pub use socket::ListenerStatus;
pub use socket::SessionStatus;
pub use socket::Socket;
pub use socket::StatusDocument;
