//! SoftHSM 2 with tokens of one test's own, and a module in front of it that misbehaves on request.

use anchord_core::event;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anchord_emulator::Certificate;
use anchord_emulator::KeyKind;
use anchord_emulator::LeafRequest;
use tempfile::TempDir;

use anchord_testing::stage::Daemon;
use anchord_testing::stage::Ran;
use anchord_testing::stage::Stage;
use anchord_testing::stage::process;

/// Of every token; long enough to be found in a log if it were there.
pub(crate) const PIN: &str = "pin-7c41a9-of-tests";

pub(crate) const WRONG_PIN: &str = "pin-000000-is-wrong";

/// Where Debian, and where others install it.
const MODULES: [&str; 3] =
    ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so", "/usr/lib/pkcs11/libsofthsm2.so"];

/// The kinds of key that tokens make here, as pkcs11-tool names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Rsa2048,
    P256,
    P384,
    P521,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Rsa2048, Self::P256, Self::P384, Self::P521];

    fn name(self) -> &'static str {
        match self {
            Self::Rsa2048 => "rsa:2048",
            Self::P256 => "EC:prime256v1",
            Self::P384 => "EC:secp384r1",
            Self::P521 => "EC:secp521r1",
        }
    }

    fn point_length(self) -> usize {
        match self {
            Self::Rsa2048 => 0,
            Self::P256 => 65,
            Self::P384 => 97,
            Self::P521 => 133,
        }
    }

    /// What stands before the point in a `SubjectPublicKeyInfo` (RFC 5480); nothing for RSA.
    fn head(self) -> &'static [u8] {
        match self {
            Self::Rsa2048 => b"",
            Self::P256 => b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00",
            Self::P384 => b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00",
            Self::P521 => {
                b"\x30\x81\x9b\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x23\x03\x81\x86\x00"
            }
        }
    }
}

pub(crate) struct SoftHsm {
    folder: TempDir,
}

impl SoftHsm {
    /// Tokens with these labels, empty.
    pub(crate) fn with(tokens: &[&str]) -> Self {
        let hsm = Self { folder: tempfile::tempdir().unwrap() };
        fs_err::create_dir(hsm.path("tokens")).unwrap();
        let text = format!("directories.tokendir = {}\nlog.level = ERROR\n", hsm.path("tokens").display());
        fs_err::write(hsm.path("softhsm2.conf"), text).unwrap();
        for label in tokens {
            let arguments =
                ["--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "so-pin-1"];
            hsm.run(hsm.tool("softhsm2-util").args(arguments));
        }
        hsm
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn module(&self) -> &'static Path {
        MODULES
            .iter()
            .map(Path::new)
            .find(|path| path.exists())
            .expect("softhsm2 is not installed; see tests/run")
    }

    /// `pkcs11:token=TOKEN;REST` with the real module.
    pub(crate) fn uri(&self, token: &str, rest: &str) -> String {
        format!("pkcs11:token={token};{rest}?module-path={}", self.module().display())
    }

    /// The same with the module in front of it.
    pub(crate) fn shim_uri(&self, token: &str, rest: &str) -> String {
        format!("pkcs11:token={token};{rest}?module-path={}", self.shim().display())
    }

    /// Makes a key pair in a token; the public key as `SubjectPublicKeyInfo`.
    pub(crate) fn generate(&self, token: &str, label: &str, id: &str, kind: Kind) -> Vec<u8> {
        self.generate_with(token, label, id, kind, &[])
    }

    pub(crate) fn generate_with(
        &self,
        token: &str,
        label: &str,
        id: &str,
        kind: Kind,
        more: &[&str],
    ) -> Vec<u8> {
        let arguments = ["--keypairgen", "--key-type", kind.name(), "--label", label, "--id", id];
        self.run(self.pkcs11_tool(token).args(arguments).args(more));
        self.public_key(token, label, kind)
    }

    fn public_key(&self, token: &str, label: &str, kind: Kind) -> Vec<u8> {
        let of_label = ["--type", "pubkey", "--label", label];
        if kind == Kind::Rsa2048 {
            let file = self.path("public.der");
            self.run(
                self.pkcs11_tool(token).arg("--read-object").args(of_label).arg("--output-file").arg(&file),
            );
            return fs_err::read(file).unwrap();
        }
        // OpenSC 0.23 cannot write P-384 to a file, and lists without regard to labels.
        let listed = self.run(self.pkcs11_tool(token).args(["--list-objects", "--type", "pubkey"]));
        let object = listed
            .split("Public Key Object")
            .find(|object| object.contains(&format!("label:      {label}\n")));
        let line = object.unwrap().lines().find_map(|line| line.trim().strip_prefix("EC_POINT:")).unwrap();
        let point = hex(line.trim());
        // Its OCTET STRING is left out.
        [kind.head(), &point[point.len() - kind.point_length()..]].concat()
    }

    /// Puts a key that was made elsewhere into a token.
    pub(crate) fn import(&self, token: &str, label: &str, id: &str, key_pem: &str) {
        let file = self.path("key.pem");
        fs_err::write(&file, key_pem).unwrap();
        let arguments = ["--token", token, "--label", label, "--id", id, "--pin", PIN];
        self.run(self.tool("softhsm2-util").arg("--import").arg(&file).args(arguments));
        fs_err::remove_file(file).unwrap();
    }

    pub(crate) fn put_certificate(&self, token: &str, label: &str, id: &str, certificate: &[u8]) {
        let file = self.path("certificate.der");
        fs_err::write(&file, certificate).unwrap();
        let arguments = ["--type", "cert", "--label", label, "--id", id];
        self.run(self.pkcs11_tool(token).arg("--write-object").arg(&file).args(arguments));
    }

    pub(crate) fn remove(&self, token: &str, kind: &str, label: &str) {
        self.run(self.pkcs11_tool(token).args(["--delete-object", "--type", kind, "--label", label]));
    }

    /// All tokens with their flags.
    pub(crate) fn listed(&self) -> String {
        self.run(self.tool("pkcs11-tool").arg("--module").arg(self.module()).arg("--list-slots"))
    }

    pub(crate) fn take_out(&self) {
        fs_err::rename(self.path("tokens"), self.path("elsewhere")).unwrap();
        fs_err::create_dir(self.path("tokens")).unwrap();
    }

    pub(crate) fn put_back(&self) {
        // SoftHSM may have left something in the empty folder.
        fs_err::remove_dir_all(self.path("tokens")).unwrap();
        fs_err::rename(self.path("elsewhere"), self.path("tokens")).unwrap();
    }

    /// The module in front of the real one, compiled when it is first asked for.
    pub(crate) fn shim(&self) -> PathBuf {
        let (module, source) =
            (self.path("shim.so"), Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys/softhsm/shim.c"));
        if !module.exists() {
            self.run(
                Command::new("cc").args(["-std=gnu17", "-shared", "-fPIC", "-o"]).arg(&module).arg(source),
            );
        }
        module
    }

    /// Lets the shim misbehave in this way from now on, or well again.
    pub(crate) fn let_shim(&self, behave: &str, now: bool) {
        match now {
            true => fs_err::write(self.path(behave), "").unwrap(),
            false => fs_err::remove_file(self.path(behave)).unwrap(),
        }
    }

    /// The users as whom the shim was asked to log in: 1 is the user, 2 consents to one signature.
    pub(crate) fn logins(&self) -> Vec<String> {
        let text = fs_err::read_to_string(self.path("logins")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// A daemon that finds these tokens.
    pub(crate) async fn daemon(&self, stage: &Stage) -> Daemon {
        let mut command = process::anchord();
        self.tell(&mut command).args(["run", "--config"]).arg(stage.path("anchord.toml"));
        let daemon = Daemon::of(command);
        daemon.wait_for(event::DAEMON_READY).await;
        daemon
    }

    pub(crate) async fn verb(&self, stage: &Stage, arguments: &[&str]) -> Ran {
        let mut command = process::anchord();
        self.tell(&mut command).args(arguments).arg("--config").arg(stage.path("anchord.toml"));
        process::to_the_end(command).await
    }

    fn pkcs11_tool(&self, token: &str) -> Command {
        let mut command = self.tool("pkcs11-tool");
        command.arg("--module").arg(self.module()).args(["--token-label", token, "--login", "--pin", PIN]);
        command
    }

    fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        self.tell(&mut command);
        command
    }

    /// Tells a program which tokens there are.
    pub(crate) fn tell<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("SOFTHSM2_CONF", self.path("softhsm2.conf"));
        command.env("SHIM_MODULE", self.module()).env("SHIM_FOLDER", self.folder.path());
        command.env("ANCHORD_PKCS11_ENVIRONMENT", "SHIM_*")
    }

    fn run(&self, command: &mut Command) -> String {
        let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; see tests/run"));
        let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        assert!(output.status.success(), "{command:?}: {stdout}{stderr}");
        stdout
    }
}

/// A leaf of the stage's CA for a key in a token.
pub(crate) fn leaf(stage: &Stage, public_key: &[u8], serial: u8) -> Certificate {
    let mut request = LeafRequest::new("robot-7", KeyKind::P256);
    request.serial = Some(vec![serial]);
    stage.root.leaf_for(public_key, &request).unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|digits| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap())
        .collect()
}
