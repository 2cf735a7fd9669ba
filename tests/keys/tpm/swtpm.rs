//! swtpm, a TPM 2.0 in software, and keys made in it with the tools that operators use.

use std::net::TcpListener;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::poll;
use tempfile::TempDir;

/// The TCG's storage root key, as tpm2_createprimary spells its attributes.
const ROOT_ATTRIBUTES: &str = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt";

/// The kinds of key that swtpm makes and Roles Anywhere takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Rsa2048,
    Rsa3072,
    P256,
    P384,
    P521,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [Self::Rsa2048, Self::Rsa3072, Self::P256, Self::P384, Self::P521];

    /// As tpm2-tools name it.
    fn algorithm(self) -> &'static str {
        match self {
            Self::Rsa2048 => "rsa2048",
            Self::Rsa3072 => "rsa3072",
            Self::P256 => "ecc256",
            Self::P384 => "ecc384",
            Self::P521 => "ecc521",
        }
    }
}

/// A key that was made: its public half, and both blobs as files.
pub(crate) struct Made {
    /// `SubjectPublicKeyInfo`, DER.
    pub(crate) public_key: Vec<u8>,
    name: String,
}

/// A TPM with state of its own, on TCP for the tools, on a Unix socket besides if asked for.
pub(crate) struct Swtpm {
    folder: TempDir,
    port: u16,
    process: Option<Child>,
    made: usize,
}

impl Swtpm {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs_err::create_dir(folder.path().join("state")).unwrap();
        let mut swtpm = Self { folder, port: 0, process: None, made: 0 };
        for _ in 0..20 {
            swtpm.port = free_pair();
            if swtpm.run() {
                return swtpm;
            }
        }
        panic!("swtpm does not start");
    }

    /// Its address as settings have it.
    pub(crate) fn address(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.port)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// As a power cut would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Starts it again, with the state and at the address it had.
    pub(crate) fn restart(&mut self) {
        self.kill();
        assert!((0..20).any(|_| self.run()), "swtpm does not start again");
    }

    /// The same TPM behind a Unix socket instead of TCP; the tools cannot reach it there.
    pub(crate) fn restart_on_a_unix_socket(&mut self) -> String {
        self.kill();
        let path = self.path("tpm.sock");
        assert!(self.spawn(&[format!("type=unixio,path={}", path.display())]));
        format!("swtpm:path={}", path.display())
    }

    fn run(&mut self) -> bool {
        let [server, control] = [self.port, self.port + 1].map(|port| format!("type=tcp,port={port}"));
        self.spawn(&[server, control])
    }

    /// Sockets listen before the process id is written (swtpm, `swtpm.c`), so once it is in the pipe anybody can
    /// connect.
    fn spawn(&mut self, channels: &[String]) -> bool {
        let ready = self.pipe();
        let mut command = Command::new("swtpm");
        command.args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"]);
        command.arg("--pid").arg(format!("file={}", self.path("ready").display()));
        command.arg("--tpmstate").arg(format!("dir={}", self.path("state").display()));
        for (option, channel) in ["--server", "--ctrl"].into_iter().zip(channels) {
            command.arg(option).arg(channel);
        }
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().expect("swtpm is not installed; tests/run installs it");
        let ended = process.stdout.take().unwrap();
        let mut either = [PollFd::new(&ready, PollFlags::IN), PollFd::new(&ended, PollFlags::IN)];
        poll(&mut either, None).unwrap();
        if either[0].revents().is_empty() {
            process.wait().unwrap();
            return false;
        }
        self.process = Some(process);
        true
    }

    /// A named pipe, open at both ends so that opening waits for nobody.
    fn pipe(&self) -> fs_err::File {
        let path = self.path("ready");
        let _ = fs_err::remove_file(&path);
        let made = Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        fs_err::OpenOptions::new().read(true).write(true).open(path).unwrap()
    }

    /// Runs one of tpm2-tools, in the folder; its output.
    pub(crate) fn tool(&self, line: &str) -> String {
        let output = self.ran(line);
        // Without a resource manager tools leave what they loaded.
        self.ran("tpm2_flushcontext -t");
        output
    }

    fn ran(&self, line: &str) -> String {
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().unwrap());
        let command = command.args(words).current_dir(self.folder.path());
        let command = command.env("TPM2TOOLS_TCTI", self.address()).env("TPM2OPENSSL_TCTI", self.address());
        let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(output.status.success(), "{line}\n{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A key under the storage root key of the owner, in files of its own; with `auth` if it is not empty.
    pub(crate) fn make(&mut self, kind: Kind, auth: &str) -> Made {
        self.make_with(kind.algorithm(), auth, "")
    }

    /// The same of anything that tpm2_create makes, without a public key that OpenSSL could read.
    pub(crate) fn make_any(&mut self, algorithm: &str, options: &str) -> Made {
        self.create_root("ecc");
        self.made += 1;
        let name = format!("key-{}", self.made);
        let command = format!("tpm2_create -Q -C root.ctx -G {algorithm} -u {name}.pub -r {name}.priv");
        self.tool(&format!("{command} {options}"));
        Made { public_key: Vec::new(), name }
    }

    pub(crate) fn make_with(&mut self, algorithm: &str, auth: &str, options: &str) -> Made {
        self.create_root("ecc");
        self.create(algorithm, auth, options)
    }

    /// The same under an RSA root, which only older tools use.
    pub(crate) fn make_under_rsa(&mut self, kind: Kind) -> Made {
        self.create_root("rsa");
        self.create(kind.algorithm(), "", "")
    }

    fn create_root(&self, algorithm: &str) {
        self.tool(&format!("tpm2_createprimary -Q -C o -G {algorithm} -a {ROOT_ATTRIBUTES} -c root.ctx"));
    }

    fn create(&mut self, algorithm: &str, auth: &str, options: &str) -> Made {
        self.made += 1;
        let name = format!("key-{}", self.made);
        let auth = if auth.is_empty() { String::new() } else { format!("-p {auth}") };
        self.tool(&format!(
            "tpm2_create -Q -C root.ctx -G {algorithm} -u {name}.pub -r {name}.priv -f der -o {name}.der {auth} {options}"
        ));
        Made { public_key: fs_err::read(self.path(&format!("{name}.der"))).unwrap(), name }
    }

    /// Stores it at a persistent handle.
    pub(crate) fn persist(&self, made: &Made, handle: &str) {
        let name = &made.name;
        self.tool(&format!("tpm2_load -Q -C root.ctx -u {name}.pub -r {name}.priv -c {name}.ctx"));
        self.tool(&format!("tpm2_evictcontrol -Q -C o -c {name}.ctx {handle}"));
    }

    /// Its key file, whose parent is `0x40000001` or the handle.
    pub(crate) fn key_file(&self, made: &Made, parent: u32) -> String {
        let read = |end: &str| fs_err::read(self.path(&format!("{}.{end}", made.name))).unwrap();
        key_file(&read("pub"), &read("priv"), parent)
    }

    /// The key file that tpm2-tools make of it.
    pub(crate) fn encode(&self, made: &Made, options: &str, output: &str) {
        let name = &made.name;
        self.tool(&format!(
            "tpm2_encodeobject -C root.ctx -u {name}.pub -r {name}.priv -o {output} {options}"
        ));
    }

    /// Loads keys until there is no slot left.
    pub(crate) fn fill(&self) {
        for _ in 0..3 {
            self.ran("tpm2_createprimary -Q -C o -G ecc");
        }
    }

    /// How many wrong authorization values it has counted.
    pub(crate) fn lockout_counter(&self) -> u32 {
        let properties = self.tool("tpm2_getcap properties-variable");
        let value = properties.lines().find_map(|line| line.strip_prefix("TPM2_PT_LOCKOUT_COUNTER: 0x"));
        u32::from_str_radix(value.unwrap(), 16).unwrap()
    }

    /// How many objects are loaded.
    pub(crate) fn loaded(&self) -> usize {
        self.ran("tpm2_getcap handles-transient").lines().count()
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Two ports in a row that nobody listens on (the tools expect the control channel at the second), and that the kernel
/// gives to nobody who asks for any: while a TPM is down, its address has to stay free for it.
fn free_pair() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let range = fs_err::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let first_given: u32 = range.split_whitespace().next().unwrap().parse().unwrap();
    let pairs = first_given.saturating_sub(LOWEST_PORT) / 2;
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    for _ in 0..pairs {
        // Runs beside each other begin at different places.
        let pair = std::process::id().wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % pairs;
        let port = u16::try_from(LOWEST_PORT + 2 * pair).unwrap();
        if [port, port + 1].iter().all(is_free) {
            return port;
        }
    }
    // A host that gives all ports away has none that stays free.
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if port < u16::MAX && is_free(&(port + 1)) {
            return port;
        }
    }
}

/// Above what services of this host are likely to have.
const LOWEST_PORT: u32 = 16384;

/// `TPMKey` (draft-bottomley-tpm2-keys), PEM.
fn key_file(public: &[u8], private: &[u8], parent: u32) -> String {
    let parent = [&[0][..], &parent.to_be_bytes()].concat();
    let parent = if parent[1] & 0x80 == 0 { &parent[1..] } else { &parent };
    let oid = [0x67, 0x81, 0x05, 0x0a, 0x01, 0x03];
    let body = [tlv(6, &oid), tlv(2, parent), tlv(4, public), tlv(4, private)].concat();
    let text = STANDARD.encode(tlv(0x30, &body));
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN TSS2 PRIVATE KEY-----\n{}\n-----END TSS2 PRIVATE KEY-----\n", lines.join("\n"))
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x82, length[0], length[1]], content].concat()
}

/// The content of a key file.
pub(crate) fn der(pem: &str) -> Vec<u8> {
    let lines = pem.lines().skip_while(|line| !line.starts_with("-----BEGIN TSS2")).skip(1);
    let body: String = lines.take_while(|line| !line.starts_with('-')).collect();
    STANDARD.decode(body).unwrap()
}

/// Whether OpenSSL, which shares nothing with who signed, finds the signature good.
pub(crate) fn verify(folder: &Path, public_key: &[u8], message: &[u8], signature: &[u8]) {
    for (name, content) in [("spki", public_key), ("message", message), ("signature", signature)] {
        fs_err::write(folder.join(name), content).unwrap();
    }
    let arguments = "dgst -sha256 -keyform DER -verify spki -signature signature message";
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
