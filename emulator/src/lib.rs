//! Plays IAM Roles Anywhere `CreateSession`, STS and Bedrock over TLS on loopback, so that a client can be tested and
//! shown with no AWS account.
//!
//! It exists to disagree: it rebuilds the canonical request from what arrived, verifies signature and chain with
//! another cryptographic library than its client's, and refuses with the service's own status codes, error types
//! and messages. Hence it shares no code with any client, and must never: two users of one canonicaliser prove
//! only that they agree with themselves.
//!
//! The flow of a request, in the order of the modules below:
//!
//! ```text
//!   ca              makes roots, intermediates and leaves for tests, demonstrations and examples
//!   keys            the kinds and forms of their keys
//!   clock           the time that the services go by
//!   canonical       the canonical request, rebuilt from what arrived
//!   reply           a refusal and (for the log only) its reason
//!   answer          what is sent, and how the connection ends
//!   readings        the other ways to read AWS's documentation
//!   setup           what the played account contains: trust anchors, profiles, users, models, refusals, a clock
//!   keyring         which secret keys are known, and who has them
//!   log             what was asked and answered; never a signature, never a secret
//!
//!   Roles Anywhere
//!   chain           leaf -> intermediates -> trust anchor
//!   verify          Authorization, X-Amz-Date and signature, against the leaf that came along
//!   input           the members of CreateSession, from body or query, within their limits
//!   roles_anywhere  the decision: request in, grant out, no sockets
//!
//!   STS and Bedrock
//!   sigv4           the signature made with such a key, in header or query
//!   sts             the decision: caller and form in, identity or grant out, no sockets
//!   bedrock         the decision: caller and request in, what a model says out, no sockets; API keys
//!
//!   service         the services that are played
//!   route           which service a request is for
//!   faults          what goes wrong on purpose
//!   damage          what a fault makes of an answer
//!   state           what the services remember between requests; applies the faults
//!   server          listener, TLS, connections
//! ```
//!
//! Apart from that flow `spiffe` plays the agent that a client may have its certificates from.
//!
//! It is no AWS: every answer comes from public documentation and from what clients have seen.

pub mod ca;
pub mod setup;
pub mod spiffe;

mod answer;
mod bedrock;
mod canonical;
mod chain;
mod clock;
mod damage;
mod encode;
mod faults;
mod input;
mod keyring;
mod keys;
mod log;
mod names;
mod readings;
mod reply;
mod roles_anywhere;
mod route;
mod server;
mod service;
mod sigv4;
mod state;
mod sts;
mod tls;
mod verify;
mod wait;

pub use ca::Authority;
pub use ca::AuthorityRequest;
pub use ca::Certificate;
pub use ca::Leaf;
pub use ca::LeafRequest;
pub use clock::Clock;
pub use faults::Fault;
pub use keyring::IssuedCredentials;
pub use keys::KeyForm;
pub use keys::KeyKind;
pub use log::LoggedRequest;
pub use readings::DateHeader;
pub use readings::Expiration;
pub use readings::Length;
pub use readings::NAMES as READINGS;
pub use readings::Readings;
pub use readings::Throttling;
pub use readings::TypePlace;
pub use server::Emulator;
pub use service::Service;
pub use setup::AccessKey;
pub use setup::Model;
pub use setup::ModelKind;
pub use setup::Profile;
pub use setup::Role;
pub use setup::Setup;
pub use setup::TrustAnchor;

/// Why a certificate could not be made or the emulator could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A key or certificate could not be made.
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// A private key refused to be encoded.
    #[error("cannot encode the {kind} key as {form}")]
    Key {
        /// The key's kind.
        kind: KeyKind,
        /// The form that was asked for.
        form: KeyForm,
    },
    /// The trust anchor's certificate is none.
    #[error("trust anchor `{arn}` has no readable certificate")]
    TrustAnchor {
        /// Which trust anchor.
        arn: String,
    },
    /// The operating system gave no random bytes.
    #[error("no random bytes")]
    Entropy,
    /// The listener could not be bound.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: std::net::SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A Unix socket could not be bound.
    #[error("cannot listen on `{}`", path.display())]
    Socket {
        /// Where.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The TLS server could not be set up.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
}
