//! The whole program, offline: the shipped binary (or the daemon in this process, where the clock must be ours)
//! against the emulator over TLS.
#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage has failed")]
#![allow(clippy::disallowed_methods, reason = "tests read their own environment")]

mod access_keys;
mod asked;
mod bad_input;
mod bedrock;
mod blocked_logs;
mod cache;
mod callers;
mod certificate;
mod chain;
mod channels;
mod check;
mod clocks;
mod crowd;
mod daemonless;
mod dead_ends;
mod deleted;
mod exec;
mod failover;
mod handover;
mod hanging_files;
mod helper;
mod hosts;
mod lifecycle;
mod limits;
mod many_sessions;
mod memory;
mod neighbours;
mod outage;
mod places;
#[cfg(feature = "aws-config")]
mod provider;
mod readings;
mod reload;
mod restart;
mod rotation;
mod sandbox;
mod secrets;
mod stdout;
mod supervision;
mod systemd;
mod taken_back;
mod transport;
mod update;
mod waiting;
