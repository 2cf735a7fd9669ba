//! The only source of random bytes and of jitter.

use std::fmt;
use std::sync::Arc;

use ring::rand::SecureRandom as _;
use ring::rand::SystemRandom;

/// A source of random bytes for tokens and names of files.
#[derive(Clone)]
pub struct Entropy(Arc<Fill>);

type Fill = dyn Fn(&mut [u8]) -> Result<(), Exhausted> + Send + Sync;

/// The operating system gave no random bytes. Operations that need a secret must stop.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct Exhausted;

impl Entropy {
    /// The operating system's generator.
    pub fn system() -> Self {
        let random = SystemRandom::new();
        Self(Arc::new(move |bytes| random.fill(bytes).map_err(|_| Exhausted)))
    }

    /// Bytes from `fill`, for tests that must be repeatable.
    pub fn from_fn(fill: impl Fn(&mut [u8]) + Send + Sync + 'static) -> Self {
        Self(Arc::new(move |bytes| {
            fill(bytes);
            Ok(())
        }))
    }

    /// `N` random bytes.
    ///
    /// # Errors
    /// If the operating system gives none.
    pub fn bytes<const N: usize>(&self) -> Result<[u8; N], Exhausted> {
        let mut bytes = [0; N];
        (self.0)(&mut bytes)?;
        Ok(bytes)
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Entropy")
    }
}

/// Numbers in `[0, 1)` that spread deadlines. Draw once when a deadline is set, never when it is checked.
#[derive(Clone)]
pub struct Jitter(Arc<dyn Fn() -> f64 + Send + Sync>);

impl Jitter {
    /// Uniform numbers from `entropy`; 0.5 if that fails, because a deadline needs spread, not secrecy.
    pub fn uniform(entropy: Entropy) -> Self {
        const MANTISSA_BITS: u32 = 53;
        Self(Arc::new(move || match entropy.bytes::<8>() {
            Ok(bytes) => {
                let bits = u64::from_le_bytes(bytes) >> (u64::BITS - MANTISSA_BITS);
                #[expect(clippy::cast_precision_loss, reason = "53 bits fit an f64 exactly")]
                let number = bits as f64 / (1_u64 << MANTISSA_BITS) as f64;
                number
            }
            Err(Exhausted) => 0.5,
        }))
    }

    /// The same numbers while `wanted` returns true, and 0 otherwise.
    #[must_use]
    pub fn while_true(self, wanted: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(move || if wanted() { self.draw() } else { 0.0 }))
    }

    /// Always `value`: for tests, or 0 for deadlines that must not be early.
    pub fn fixed(value: f64) -> Self {
        Self(Arc::new(move || value))
    }

    /// The next number.
    pub fn draw(&self) -> f64 {
        (self.0)()
    }
}

impl fmt::Debug for Jitter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Jitter")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_fills_the_half_open_unit_interval() {
        let highest = Jitter::uniform(Entropy::from_fn(|bytes| bytes.fill(0xff)));
        let lowest = Jitter::uniform(Entropy::from_fn(|bytes| bytes.fill(0)));

        assert!(highest.draw() < 1.0 && highest.draw() > 0.999);
        assert!(lowest.draw().abs() < f64::EPSILON);
    }
}
