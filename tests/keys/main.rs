//! Every key source with its real component: the shipped binary, the emulator, and what holds the keys.
//!
//! Not part of `cargo test --workspace`, because it needs programs of other people: `tests/run` installs them and runs it.
#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage has failed")]
#![allow(clippy::disallowed_methods, reason = "tests read their own environment and files")]

#[cfg(all(feature = "pkcs12", feature = "ml-dsa"))]
mod files;
mod load;
mod softhsm;

#[cfg(feature = "spiffe")]
mod grpc_go;
#[cfg(all(feature = "pkcs11", feature = "tpm"))]
mod helper;
mod pinned;
#[cfg(feature = "pkcs11")]
mod pkcs11;
mod prompt;
#[cfg(feature = "spiffe")]
mod spiffe;
#[cfg(feature = "tpm")]
mod tpm;
