//! Credentials for a Rust program's own AWS clients, from an X.509 certificate or from a running anchord daemon.
//!
//! [`provider::Provider`] is what a program needs: `aws-config` and every client of the AWS SDK for Rust take it as
//! `credentials_provider`. Its [builder](provider::Builder) has a method for each common setting and
//! [`option`](provider::Builder::option) for all others. It needs the feature `aws-config` (on by default).
//!
//! | type | what it is |
//! |---|---|
//! | [`Failure`], [`Reason`], [`Class`] | why there are no credentials, who can change that, and a hint |
//! | [`Credentials`] | one complete set with its expiry, for programs that sign without the SDK |
//! | [`Handle`], [`Snapshot`], [`Phase`] | the session as its callers see it, for programs that watch it |
//! | [`Environment`] | variables and a current folder to use instead of the process's own |
//! | [`Secret`] | a value that is never printed and is wiped from memory |
//!
//! Turn off the feature `cli` to leave out the dependencies of the command line. The features `pkcs11`, `pkcs12`, `spiffe`,
//! `tpm` and `ml-dsa` add kinds of keys. With `pkcs11`, call `hold_pkcs11_modules` first in `main`.
//!
//! The crates named `anchord-…` are the stages behind this one and change without notice. ARCHITECTURE.md of the
//! repository describes them.

#[cfg(feature = "aws-config")]
pub mod provider;

#[doc(inline)]
pub use anchord_config::Environment;
#[doc(inline)]
pub use anchord_core::credentials::Credentials;
#[doc(inline)]
pub use anchord_core::failure::Class;
#[doc(inline)]
pub use anchord_core::failure::Failure;
#[doc(inline)]
pub use anchord_core::failure::Reason;
#[doc(inline)]
pub use anchord_core::secret::Secret;
#[cfg(feature = "pkcs11")]
#[doc(inline)]
pub use anchord_identity::pkcs11::hold_modules as hold_pkcs11_modules;
#[doc(inline)]
pub use anchord_session::Handle;
#[doc(inline)]
pub use anchord_session::Phase;
#[doc(inline)]
pub use anchord_session::Snapshot;
