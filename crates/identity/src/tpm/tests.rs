//! The client against a TPM that is played, over a real socket; its parsers against whatever comes.

#[cfg(feature = "tpm")]
mod fake;
#[cfg(feature = "tpm")]
mod files;
#[cfg(feature = "tpm")]
mod operations;
mod settings;
