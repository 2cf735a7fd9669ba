//! The client against a TPM that is played, over a real socket; its parsers against whatever comes.

mod fake;
mod files;
mod operations;
mod settings;
