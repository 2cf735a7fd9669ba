//! Gives credentials to local callers in each way SDKs know, and to nobody else.
//!
//! Front ends decide, the server waits, front ends render: [`Route::route`] turns a request's head into a
//! [`Decision`] without waiting for anything, [`Server`] is the only place that waits for a session, and what a
//! decision answers is built from bytes alone. A front end must never answer 200 with anything but complete,
//! living credentials, never ask AWS itself, and never put a secret into a log line.

mod api_key;
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
pub use container::Container;
pub use guard::Bearer;
pub use guard::Door;
pub use guard::Peer;
pub use http::Limits;
pub use http::Listen;
pub use http::Server;
pub use imds::Imds;
pub use imds::RoleName;
pub use imds::TokenAuthority;
pub use reply::Decision;
pub use reply::Hand;
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
