//! One daemon turns an X.509 certificate into AWS credentials every SDK can use.
//!
//! ```text
//!            config ────────────► daemon ◄──────────── cli · provider
//!        (text → Settings)   (builds, supervises)   (verbs, exit codes · for Rust programs)
//!                                   │ builds in this order
//!   identity ──► signing ──► upstream ──► session ──► frontend ──► SDKs, tools
//!                    telemetry (logs; known only to cli)
//!
//!   words: arn  clock  content  credentials  endpoint  entropy  failure  private_file  profile  secret
//! ```
//!
//! Programs that want credentials, not a daemon, begin at `provider` (feature `aws-config`), and do without the feature
//! `cli`: the program `anchord` and what only its verbs need.
//!
//! A folder of `src` is a stage of the flow, a single file a word that all stages share. ARCHITECTURE.md describes
//! each, and `tests/architecture.rs` lists what each may name.

pub mod arn;
pub mod clock;
pub mod content;
pub mod credentials;
pub mod endpoint;
pub mod entropy;
pub mod failure;
pub mod private_file;
pub mod profile;
pub mod secret;

// Stages, in the order of the flow.
pub mod identity;
pub mod signing;
pub mod upstream;

#[cfg(feature = "cli")]
pub mod bedrock;

pub mod session;

pub mod frontend;

// Around them.
pub mod config;
#[cfg(feature = "cli")]
pub mod telemetry;

pub mod client;
pub mod daemon;
#[cfg(feature = "aws-config")]
pub mod provider;

#[cfg(feature = "cli")]
pub mod cli;
