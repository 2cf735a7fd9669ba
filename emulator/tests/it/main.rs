//! The emulator over its wire: signed requests through TLS, and what comes back.
//!
//! Each module is `cfg(test)` by name too: clippy grants helpers a test's licence to unwrap only there.

#[cfg(test)]
mod bedrock;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod life;
#[cfg(test)]
mod program;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod resources;
#[cfg(test)]
mod sessions;
#[cfg(test)]
mod sigv4;
#[cfg(test)]
mod sts;
#[cfg(test)]
mod support;
