//! Folders and certificates that the tests of this stage share.

use anchord_emulator::Authority;
use anchord_emulator::KeyForm;
use anchord_emulator::KeyKind;
use anchord_emulator::Leaf;
use anchord_emulator::LeafRequest;
use time::OffsetDateTime;

use super::Error;
use super::Loaded;
use super::Source;
use anchord_core::clock::Clock;

/// A folder for the two files of a source.
pub(super) struct Folder(anchord_testing::Folder);

impl std::ops::Deref for Folder {
    type Target = anchord_testing::Folder;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Folder {
    pub(super) fn new() -> Self {
        Self(anchord_testing::Folder::new())
    }

    /// The two files that [`Folder::install`] writes.
    pub(super) fn source(&self) -> Source {
        Source::of_files(self.path("leaf.pem"), self.path("key.pem"))
    }

    pub(super) fn install(&self, leaf: &Leaf) {
        self.write("leaf.pem", leaf.certificate_pem());
        self.write("key.pem", key(leaf));
    }

    pub(super) fn load(
        &self,
        certificate: impl AsRef<[u8]>,
        private_key: impl AsRef<[u8]>,
    ) -> Result<Loaded, Error> {
        self.write("leaf.pem", certificate);
        self.write("key.pem", private_key);
        self.source().load(now())
    }
}

pub(super) fn now() -> OffsetDateTime {
    Clock::system().now()
}

pub(super) fn root() -> Authority {
    Authority::root("Test root", KeyKind::P256).unwrap()
}

pub(super) fn leaf_of(root: &Authority, key: KeyKind) -> Leaf {
    root.leaf(&LeafRequest::new("robot-7", key)).unwrap()
}

pub(super) fn key(leaf: &Leaf) -> String {
    leaf.key_pem(KeyForm::Pkcs8).unwrap()
}
