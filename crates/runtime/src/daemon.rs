//! Builds the daemon from settings, runs it, reloads settings, and ends it.

mod addresses;
mod build;
mod confinement;
mod credentials_files;
mod error;
mod front_ends;
mod handover;
mod reloadable;
mod restorer;
mod run;
mod running_sessions;
mod runtime_directory;
mod secrets;
mod sockets;
mod state;
mod systemd;

pub use build::build;
pub use confinement::Confinement;
pub use confinement::enter_sandbox;
pub use confinement::log_sandbox;
pub use error::Error;
pub use front_ends::Bound;
pub use run::Daemon;
pub use run::Reload;
pub use runtime_directory::make_runtime_directory;
pub use sockets::Error as SocketError;
pub use systemd::Passed;
pub use systemd::passed_descriptors;
