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
//! each, and `tests/architecture` lists what each may name.

#[cfg(feature = "aws-config")]
pub mod provider;

pub use anchord_core::failure;
