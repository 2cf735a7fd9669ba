//! Bytes that are neither printed nor left in memory.
//!
//! Everything that opens a door lives here: private keys, secret access keys, session tokens, bearers.
//! A `Secret` must never gain `Display` or `Serialize`: whoever wants the content says `expose()`, and a
//! reviewer can search for that word.

use std::fmt;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroize;

/// A value that prints as `[redacted]`, compares in constant time and is overwritten when dropped.
#[derive(Clone)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Takes `value` into custody.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// Changes the content where it is. Whoever makes it longer than it has room for leaves a copy behind.
    pub fn change<R>(&mut self, change: impl FnOnce(&mut T) -> R) -> R {
        change(&mut self.0)
    }

    /// The content, for the one place that has to send, write or sign with it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

/// Constant in time for equal lengths; a difference in length is told at once, which is why bearers have a
/// published length.
impl<T: Zeroize + AsRef<[u8]>> PartialEq for Secret<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_ref().ct_eq(other.0.as_ref()).into()
    }
}

impl<T: Zeroize + AsRef<[u8]>> Eq for Secret<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_shows_in_debug_output() {
        let secret = Secret::new(String::from("wJalrXUtnFEMI"));

        assert_eq!(format!("{secret:?} {:#?}", Some(&secret)), "[redacted] Some(\n    [redacted],\n)");
    }

    #[test]
    fn secrets_compare_by_content() {
        let bearer = |text: &str| Secret::new(text.to_owned());

        assert_eq!(bearer("abc"), bearer("abc"));
        assert_ne!(bearer("abc"), bearer("abd"));
        assert_ne!(bearer("abc"), bearer("ab"));
    }
}
