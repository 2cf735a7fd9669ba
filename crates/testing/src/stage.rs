//! A stage for one test: a folder, certificates, an emulator, and daemons started on them.
#![allow(clippy::disallowed_methods, reason = "tests read their own environment")]

pub mod client;
pub mod process;
mod systemd;
pub mod terminal;

use std::path::Path;
use std::path::PathBuf;

use anchord_emulator::Authority;
use anchord_emulator::Emulator;
use anchord_emulator::KeyForm;
use anchord_emulator::KeyKind;
use anchord_emulator::Leaf;
use anchord_emulator::LeafRequest;
use anchord_emulator::Setup;

use crate::Folder;
pub use client::Reply;
pub use process::Daemon;
pub use process::Ran;
pub use systemd::Systemd;

/// What a test plays on.
pub struct Stage {
    folder: Folder,
    /// AWS, which trusts `root`.
    pub emulator: Emulator,
    /// The authority of the certificates.
    pub root: Authority,
    trust_anchor: String,
    /// The profile's ARN.
    pub profile: String,
    /// The role's ARN.
    pub role: String,
}

fn quarter_of_an_hour(setup: &mut Setup) {
    setup.profiles[0].duration_seconds = 900;
}

impl Stage {
    /// An emulator in `us-east-1`, a P-256 leaf, and a configuration with one session, `bedrock`.
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// The same with another setup of the emulator.
    pub async fn with(change: impl FnOnce(&mut Setup)) -> Self {
        Self::within(&std::env::temp_dir(), change).await
    }

    /// The same with sessions of a quarter of an hour, of which renewals for a new certificate are spread over a part.
    pub async fn of_short_sessions() -> Self {
        Self::with(quarter_of_an_hour).await
    }

    /// The same in a folder that is in memory, where a daemon leaves credentials to its successor.
    pub async fn in_memory() -> Self {
        let stage = Self::within(Path::new("/dev/shm"), quarter_of_an_hour).await;
        assert!(stage.is_in_memory(), "/dev/shm is not in memory here");
        stage
    }

    /// Whether the folder is in memory.
    pub fn is_in_memory(&self) -> bool {
        const TMPFS: u64 = 0x0102_1994;
        u64::try_from(rustix::fs::statfs(self.folder.root()).unwrap().f_type).unwrap() == TMPFS
    }

    async fn within(parent: &Path, change: impl FnOnce(&mut Setup)) -> Self {
        let root = Authority::root("Test root", KeyKind::P256).unwrap();
        let mut setup = Setup::sample("us-east-1", &root);
        change(&mut setup);
        let (trust_anchor, profile, role) = (setup.trust_anchor_arn(), setup.profile_arn(), setup.role_arn());
        let emulator = Emulator::start(setup).await.unwrap();
        let folder = Folder::within(parent);
        let stage = Self { folder, emulator, root, trust_anchor, profile, role };
        stage.write("tls-ca.pem", stage.emulator.tls_ca_pem());
        stage.install(&stage.leaf());
        stage.configure(&stage.session("bedrock"));
        stage
    }

    /// A new certificate of `root`, with its key.
    pub fn leaf(&self) -> Leaf {
        self.root.leaf(&LeafRequest::new("robot-7", KeyKind::P256)).unwrap()
    }

    /// Writes a certificate and its key where the configuration has them.
    pub fn install(&self, leaf: &Leaf) {
        self.write("leaf.pem", leaf.certificate_pem());
        self.write("key.pem", &leaf.key_pem(KeyForm::Pkcs8).unwrap());
    }

    /// Where a file with this name is, or would be.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path(name)
    }

    /// Everything is 0600, as a key should be.
    pub fn write(&self, name: &str, text: &str) {
        self.folder.write(name, text);
    }

    /// A session's table that works.
    pub fn session(&self, name: &str) -> String {
        self.session_of(name, "certificate = \"leaf.pem\"\nprivate_key = \"key.pem\"")
    }

    /// The same with these lines on where its certificate and key are.
    pub fn session_of(&self, name: &str, identity: &str) -> String {
        format!(
            "[session.{name}]\n{identity}\ntrust_anchor_arn = \"{}\"\nprofile_arn = \"{}\"\nrole_arn = \"{}\"\nendpoint = \"{}\"\n",
            self.trust_anchor,
            self.profile,
            self.role,
            self.emulator.endpoint()
        )
    }

    /// Writes the configuration: these tables after what every test needs.
    pub fn configure(&self, tables: &str) {
        let text = format!(
            "runtime_directory = \"run\"\n[log]\nlevel = \"trace\"\nformat = \"json\"\n\
             [http]\nlisten = [\"127.0.0.1:0\"]\n[upstream]\nca_file = \"tls-ca.pem\"\n{tables}"
        );
        self.write("anchord.toml", &text);
    }

    /// The daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.path("run/anchord.sock")
    }

    /// The token of a session's container endpoint.
    pub fn bearer(&self, session: &str) -> String {
        fs_err::read_to_string(self.path(&format!("run/{session}.token"))).unwrap()
    }

    /// The shipped binary as a daemon, once it says that it is ready.
    pub async fn daemon(&self) -> Daemon {
        Daemon::start(&self.path("anchord.toml")).await
    }

    /// A verb of the shipped binary, to its end.
    pub async fn run(&self, arguments: &[&str]) -> Ran {
        process::run(&self.path("anchord.toml"), self.folder.root(), arguments).await
    }

    /// Fails if `output` holds any secret that this stage knows.
    pub fn assert_no_secrets(&self, output: &str, more: &[String]) {
        let issued = self.emulator.issued();
        let mut secrets: Vec<String> = more.to_vec();
        secrets
            .extend(issued.iter().flat_map(|set| [set.secret_access_key.clone(), set.session_token.clone()]));
        secrets.extend(key_lines(&self.path("key.pem")));
        for entry in fs_err::read_dir(self.path("run")).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "token") {
                secrets.push(fs_err::read_to_string(path).unwrap());
            }
        }
        assert!(!output.is_empty(), "no output is no proof");
        for secret in secrets {
            assert!(!output.contains(&secret), "a secret of {} characters is in the output", secret.len());
        }
    }
}

/// Says what a test could not play on this host, and fails where all is to be played.
#[expect(clippy::print_stderr, reason = "the output has to show what was not played")]
pub fn not_played(why: &str) {
    eprintln!("not played: {why}");
    assert!(std::env::var_os("ANCHORD_TEST_ALL").is_none(), "{why}");
}

/// The lines of a PEM body, each of which would give a part of the key away.
fn key_lines(path: &Path) -> Vec<String> {
    let text = fs_err::read_to_string(path).unwrap_or_default();
    text.lines().filter(|line| !line.starts_with('-') && line.len() > 20).map(str::to_owned).collect()
}
