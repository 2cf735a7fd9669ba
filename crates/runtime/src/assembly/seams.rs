//! The inputs from outside the process, which tests replace.

use std::sync::Arc;

use anchord_aws::upstream::Transport;
use anchord_core::clock::Clock;
use anchord_core::entropy::Entropy;
use anchord_core::entropy::Jitter;
use anchord_identity as identity;

/// The clock, randomness, the transport to AWS and file events. Tests replace them.
#[derive(Clone)]
pub struct Seams {
    /// Wall time.
    pub clock: Clock,
    /// Random bytes for tokens and bearers.
    pub entropy: Entropy,
    /// Spreads renewals and retries.
    pub jitter: Jitter,
    /// The transport to AWS; `None` for HTTPS according to the settings.
    pub transport: Option<Arc<dyn Transport>>,
    /// The source of file events.
    pub watches: identity::Watches,
}

impl Seams {
    /// The operating system's clock and randomness, and HTTPS.
    pub fn real() -> Self {
        let entropy = Entropy::system();
        Self {
            clock: Clock::system(),
            jitter: Jitter::uniform(entropy.clone()),
            entropy,
            transport: None,
            watches: identity::Watches::default(),
        }
    }
}
