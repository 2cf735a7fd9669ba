//! A cache of private keys: sessions that read the same file share one key, which is checked once.
//!
//! Checking an EC key takes a millisecond, decrypting one a second, and a thousand sessions may name one file. The
//! cache holds fingerprints and weak references, so it keeps no key alive. Content that differs in one byte is another
//! key. Each session still checks that the key belongs to its certificate.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::Weak;

use ring::hmac;
use ring::rand::SystemRandom;

use super::Error;
use super::SigningKey;

/// Random for each process: a plain hash of a short passphrase could be guessed.
static HASH_KEY: LazyLock<hmac::Key> = LazyLock::new(|| {
    hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).expect("the kernel has random bytes")
});

static KEYS: LazyLock<Mutex<KeyCache>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct KeyCache {
    known: HashMap<Vec<u8>, Weak<dyn SigningKey>>,
    /// The number of entries after dropped keys were last removed.
    swept_at: usize,
}

/// Returns the cached key for `facts` (label and content of a PEM section, and the passphrase), or else reads it.
pub(super) fn cached(
    facts: &[&[u8]],
    read: impl FnOnce() -> Result<Arc<dyn SigningKey>, Error>,
) -> Result<Arc<dyn SigningKey>, Error> {
    let fingerprint = fingerprint(facts);
    let known = keys(|keys| keys.known.get(&fingerprint).and_then(Weak::upgrade));
    if let Some(key) = known {
        return Ok(key);
    }
    // Without the lock: two threads may read the same key twice, but no thread waits for another's key.
    let key = read()?;
    keys(|keys| keys.insert(fingerprint, &key));
    Ok(key)
}

fn fingerprint(facts: &[&[u8]]) -> Vec<u8> {
    let mut hash = hmac::Context::with_key(&HASH_KEY);
    for fact in facts {
        // With their lengths, so that different lists have different bytes.
        hash.update(&fact.len().to_be_bytes());
        hash.update(fact);
    }
    hash.sign().as_ref().to_vec()
}

fn keys<T>(use_them: impl FnOnce(&mut KeyCache) -> T) -> T {
    use_them(&mut KEYS.lock().unwrap_or_else(PoisonError::into_inner))
}

impl KeyCache {
    fn insert(&mut self, fingerprint: Vec<u8>, key: &Arc<dyn SigningKey>) {
        if self.known.len() >= 2 * self.swept_at + 16 {
            self.known.retain(|_, key| key.strong_count() > 0);
            self.swept_at = self.known.len();
        }
        self.known.insert(fingerprint, Arc::downgrade(key));
    }
}

#[cfg(test)]
mod tests {
    use anchord_emulator::KeyKind;

    use super::*;
    use crate::support::Folder;
    use crate::support::key;
    use crate::support::leaf_of;
    use crate::support::now;
    use crate::support::root;

    #[test]
    fn sessions_of_one_key_file_have_one_key_as_long_as_one_of_them_holds_it() {
        let (folder, root) = (Folder::new(), root());
        for kind in [KeyKind::P256, KeyKind::P384, KeyKind::Rsa2048] {
            let leaf = leaf_of(&root, kind);
            folder.install(&leaf);

            let first = folder.source().load(now()).unwrap().identity;
            let second = folder.source().load(now()).unwrap().identity;

            assert!(Arc::ptr_eq(first.key(), second.key()), "{kind}: it was read and checked twice");
            let key = Arc::downgrade(first.key());
            drop((first, second));
            assert_eq!(key.strong_count(), 0, "{kind}: it outlives its sessions");
            folder.source().load(now()).unwrap();
        }
    }

    #[test]
    fn a_key_that_is_known_is_proven_to_belong_to_each_certificate() {
        let (folder, root) = (Folder::new(), root());
        let (leaf, other) = (leaf_of(&root, KeyKind::P256), leaf_of(&root, KeyKind::P256));
        folder.install(&leaf);
        let _known = folder.source().load(now()).unwrap();

        let result = folder.load(other.certificate_pem(), key(&leaf));

        assert!(matches!(result, Err(crate::Error::Mismatch { .. })), "{result:?}");
    }

    #[test]
    fn another_key_in_the_same_file_is_another_key() {
        let (folder, root) = (Folder::new(), root());
        let load = || {
            folder.install(&leaf_of(&root, KeyKind::P256));
            folder.source().load(now()).unwrap().identity
        };

        let (before, after) = (load(), load());

        assert!(!Arc::ptr_eq(before.key(), after.key()));
        assert_ne!(before.key().public_key(), after.key().public_key());
    }

    #[test]
    fn keys_that_nobody_holds_are_forgotten() {
        let root = root();
        let of =
            |leaf: &anchord_emulator::Leaf| Folder::new().load(leaf.certificate_pem(), key(leaf)).unwrap();
        let held: Vec<_> = (0..3).map(|_| of(&leaf_of(&root, KeyKind::P256))).collect();
        let mut keys = KeyCache::default();

        for round in 0..100_u8 {
            let gone = of(&leaf_of(&root, KeyKind::P256));
            keys.insert(vec![round], gone.identity.key());
            keys.insert(vec![200 + round % 3], held[usize::from(round % 3)].identity.key());
        }

        assert!(keys.known.len() <= 2 * 16 + 3, "{} entries", keys.known.len());
        assert!((200..203).all(|number| keys.known[&vec![number]].strong_count() > 0));
    }
}
