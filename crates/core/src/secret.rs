//! Values that are never printed and are wiped from memory.
//!
//! Every secret is kept in one: private keys, secret access keys, session tokens, bearer tokens. A `Secret` must never
//! implement `Display` or `Serialize`: code that needs the content calls `expose()`, and a reviewer can search for
//! that.

use std::fmt;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroize;

/// A value that prints as `[redacted]`, compares in constant time and is overwritten when dropped.
#[derive(Clone)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Wraps a value.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// Changes the content in place. A `change` that makes the content grow beyond its capacity leaves a copy in
    /// memory.
    pub fn change<R>(&mut self, change: impl FnOnce(&mut T) -> R) -> R {
        change(&mut self.0)
    }

    /// The content, for code that sends, writes or signs with it.
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

/// Takes constant time for equal lengths. Different lengths show in the time, so the length of bearer tokens is public.
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
