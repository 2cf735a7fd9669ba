//! What the files of a source show quickly, without unlocking a key or asking an agent.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use super::Error;
use super::Locator;
use super::Source;
use super::pem;
#[cfg(feature = "pkcs12")]
use super::pkcs12;
use anchord_core::digest::sha256_hex;

/// Shows whether files have changed since the last stamp.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceStamp {
    /// Identifies the leaf. For PEM it is the SHA-256 fingerprint, or a digest of all possible leaves if only the key
    /// could tell them apart. For PKCS#12, which would have to be unlocked, it is the file's SHA-256. `None` if no file
    /// holds the leaf (a token would need its PIN, an agent may be slow), or if the file cannot be used.
    pub leaf: Option<String>,
    /// Changes whenever a file of the identity changes: certificate, key or passphrase.
    pub files: String,
}

/// A file system that hangs must not delay callers that can do without the stamp.
const PATIENCE: Duration = Duration::from_millis(500);

impl Source {
    /// Looks at the files; the result is empty if that takes too long.
    pub async fn stamp(&self) -> SourceStamp {
        let source = self.clone();
        let stamp = tokio::task::spawn_blocking(move || SourceStamp {
            leaf: source.leaf_seen(),
            files: source.stamps(),
        });
        match tokio::time::timeout(PATIENCE, stamp).await {
            Ok(Ok(stamp)) => stamp,
            Ok(Err(_)) | Err(_) => SourceStamp::default(),
        }
    }

    /// Identifies what is behind names that mean something else in each process: the content of variables and pipes, and
    /// the paths of systemd's credentials. Empty if there are none. A passphrase is left out: a short text can be guessed
    /// from its digest.
    pub fn input_contents(&self) -> String {
        let mut contents = String::new();
        for place in self.places().chain(&self.intermediates) {
            if let Locator::Input(input) = place {
                contents += &input.identifier();
                contents.push('\n');
            }
        }
        contents
    }

    /// Identifies the leaf as [`SourceStamp::leaf`] does, if this process got the certificate in a variable or pipe.
    /// `None` otherwise: another process may have another certificate under the same name.
    pub fn input_leaf(&self) -> Option<String> {
        let Locator::Input(_) = &self.certificate else { return None };
        match (self.leaf_seen(), self.certificate.content()) {
            (Some(leaf), _) => Some(leaf),
            // There is content, but no certificate in it.
            (None, Some(_)) => Some(String::new()),
            (None, None) => None,
        }
    }

    /// The SPIFFE ID that the agent gives now; `None` if there is no agent, or if it does not answer soon.
    ///
    /// # Errors
    /// If the agent answers that it has nothing for this process: then cached credentials may be another workload's.
    pub async fn agents_id(&self) -> Result<Option<String>, Error> {
        let Some(agent) = self.agent().cloned() else { return Ok(None) };
        let fetched = tokio::task::spawn_blocking(move || agent.fetch());
        match tokio::time::timeout(PATIENCE, fetched).await {
            Ok(Ok(Ok(svid))) => Ok(Some(svid.id)),
            Ok(Ok(Err(error))) if error.is_refusal() => Err(error.into()),
            Ok(_) | Err(_) => Ok(None),
        }
    }

    /// Whether a token or TPM holds the key, which counts wrong PINs and may lock itself.
    pub fn counts_mistakes(&self) -> bool {
        self.places().any(|place| match place {
            Locator::File(_) | Locator::Input(_) => place.read().is_some_and(|file| {
                file.is_ok_and(|file| matches!(file.labelled("TSS2 PRIVATE KEY"), Ok(Some(_))))
            }),
            Locator::Token(_) | Locator::Tpm(_) => true,
            Locator::Agent(_) => false,
        })
    }

    fn leaf_seen(&self) -> Option<String> {
        let file = self.certificate.read()?.ok()?;
        #[cfg(feature = "pkcs12")]
        if pkcs12::is_pfx(file.bytes().expose()) {
            return Some(sha256_hex(file.bytes().expose()));
        }
        let certificates = pem::certificates(&file).ok()?;
        let may_be_leaf = |certificate: &&pem::Certificate| {
            certificate.parse().is_ok_and(|parsed| {
                !parsed.is_ca() && self.selection.names(&parsed) && self.selection.pins(&certificate.der)
            })
        };
        let leaves: Vec<&[u8]> =
            certificates.iter().filter(may_be_leaf).map(|certificate| certificate.der.as_slice()).collect();
        // DER has its own length, so no two lists have the same bytes.
        (!leaves.is_empty()).then(|| sha256_hex(&leaves.concat()))
    }

    pub(super) fn stamps(&self) -> String {
        let mut stamps: Vec<String> = self.paths().iter().map(|path| stamp(path)).collect();
        // Input from variables and pipes has no file times.
        for place in self.places() {
            if let Locator::Input(_) = place
                && let Some(Ok(file)) = place.read()
            {
                stamps.push(sha256_hex(file.bytes().expose()));
            }
        }
        sha256_hex(stamps.join("\n").as_bytes())
    }
}

/// Changes whenever the file changes.
fn stamp(path: &Path) -> String {
    match fs_err::metadata(path) {
        Ok(file) => {
            let (changed, modified) = ((file.ctime(), file.ctime_nsec()), (file.mtime(), file.mtime_nsec()));
            format!("{} {} {} {changed:?} {modified:?}", file.dev(), file.ino(), file.len())
        }
        Err(error) => error.kind().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fingerprint;
    use crate::LeafSelection;
    use crate::Passphrase;
    use crate::support::Folder;
    use crate::support::leaf_of;
    use crate::support::root;
    use anchord_emulator::KeyForm;
    use anchord_emulator::KeyKind;

    #[tokio::test]
    async fn a_leaf_in_pem_is_known_by_its_fingerprint_whatever_stands_around_it() {
        let (folder, root) = (Folder::new(), root());
        let leaf = leaf_of(&root, KeyKind::P256);
        let expected = Fingerprint::of(leaf.certificate_der()).to_string();
        let key = folder.write("key.pem", leaf.key_pem(KeyForm::Pkcs8).unwrap());
        let chain = format!("{}{}", root.certificate_pem(), leaf.certificate_pem());
        let alone = folder.write("leaf.pem", leaf.certificate_pem());
        let in_chain = folder.write("chain.pem", &chain);

        for path in [alone, in_chain] {
            let seen = Source::of_files(path, &key).stamp().await;
            assert_eq!(seen.leaf.map(|leaf| format!("sha256:{leaf}")), Some(expected.clone()));
        }
    }

    #[tokio::test]
    async fn what_cannot_be_read_or_is_not_pinned_is_no_news() {
        let (folder, root) = (Folder::new(), root());
        let (leaf, other) = (leaf_of(&root, KeyKind::P256), leaf_of(&root, KeyKind::P256));
        let whole = folder.write("leaf.pem", leaf.certificate_pem());
        let half = folder.write("half.pem", &leaf.certificate_pem()[..200]);
        let missing = folder.write("x", "").with_file_name("missing.pem");

        let pinned = Source {
            selection: LeafSelection {
                fingerprints: vec![Fingerprint::of(other.certificate_der())],
                ..LeafSelection::default()
            },
            ..Source::of_files(&whole, "key.pem")
        };

        assert!(Source::of_files(&whole, "key.pem").stamp().await.leaf.is_some());
        assert_eq!(Source::of_files(half, "key.pem").stamp().await.leaf, None);
        assert_eq!(Source::of_files(missing, "key.pem").stamp().await.leaf, None);
        assert_eq!(pinned.stamp().await.leaf, None);
    }

    #[cfg(feature = "pkcs12")]
    #[tokio::test]
    async fn pkcs12_is_known_by_its_bytes_and_nobody_is_asked_to_unlock_it() {
        let folder = Folder::new();
        let file = |last: u8| folder.write("leaf.p12", [0x30, 0x82, 1, 0, 2, 1, 3, last]);
        let prompted = Passphrase::Prompted(std::sync::Arc::default());
        let source = Source { passphrase: Some(prompted), ..Source::of_files(file(1), "key.pem") };

        let one = source.stamp().await.leaf;
        let same = source.stamp().await.leaf;
        file(2);
        let other = source.stamp().await.leaf;

        assert!(one.is_some() && one == same && other.is_some() && one != other);
    }

    #[tokio::test]
    async fn each_file_that_is_replaced_is_seen() {
        let folder = Folder::new();
        let paths = ["leaf.pem", "key.pem", "passphrase"].map(|name| folder.write(name, "before"));
        let source = Source {
            passphrase: Some(Passphrase::File(paths[2].clone())),
            ..Source::of_files(&paths[0], &paths[1])
        };
        let mut before = source.stamp().await.files;
        assert_eq!(before, source.stamp().await.files);

        for path in &paths {
            fs_err::write(path, "behind").unwrap();
            let after = source.stamp().await.files;
            assert_ne!(before, after, "{}", path.display());
            before = after;
        }
    }

    /// There a mistake is remembered, so that one try must do for all processes.
    #[test]
    fn only_tokens_and_tpms_count_mistakes() {
        let folder = Folder::new();
        let tss2 = "-----BEGIN TSS2 PRIVATE KEY-----\nAAAA\n-----END TSS2 PRIVATE KEY-----\n";
        let keys = ["-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", tss2];
        let of_file = |content: &str| Source::of_files("leaf.pem", folder.write("key.pem", content));
        let with_key = |key| Source { private_key: Some(key), ..Source::of_files("leaf.pem", "") };

        assert_eq!(keys.map(|key| of_file(key).counts_mistakes()), [false, true]);
        assert!(!Source::of_files("leaf.pem", "missing.pem").counts_mistakes());
        assert!(with_key(Locator::Tpm(0x8100_0001)).counts_mistakes());
        assert!(with_key(Locator::Token(Box::new("pkcs11:object=key".parse().unwrap()))).counts_mistakes());
    }
}
