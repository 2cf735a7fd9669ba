//! Builds the graph from settings and real seams, supervises it, ends it.
//!
//! The only module that knows both the settings and the stages.

mod addresses;
mod build;
mod credentials_files;
mod embedded;
mod engine;
mod error;
mod handover;
mod harden;
mod issuer;
mod premises;
mod roster;
mod run;
mod runtime_directory;
mod sockets;
mod supervise;
mod systemd;

pub use build::Bound;
pub use build::Seams;
pub use build::build;
pub use build::https;
pub use build::identity;
pub use build::policy;
pub use build::transport;
pub use credentials_files::keep_credentials_file;
pub use embedded::Embedded;
pub use embedded::watch;
pub use error::Error;
pub use harden::no_core_files;
pub use harden::raise_descriptor_limit;
pub use issuer::issuer;
pub use issuer::steps;
pub use issuer::sts;
pub use run::Daemon;
pub use run::Reload;
pub use runtime_directory::make_runtime_directory;
pub use sockets::Error as SocketError;
pub use systemd::Passed;
pub use systemd::passed_descriptors;
