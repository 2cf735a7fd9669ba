//! A TPM that is played: one P-256 key, at a persistent handle or to be loaded, behind a Unix socket.

use std::collections::VecDeque;
use std::io::Read;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;

use p256::ecdsa::Signature;
use p256::ecdsa::SigningKey;
use p256::ecdsa::VerifyingKey;
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use rustix::pty::OpenptFlags;
use rustix::pty::openpt;
use rustix::pty::ptsname;
use rustix::pty::unlockpt;
use rustix::termios::OptionalActions;
use rustix::termios::tcgetattr;
use rustix::termios::tcsetattr;
use tempfile::TempDir;

use crate::tpm::Device;
use crate::tpm::KeyLocation;
use crate::tpm::tss2::TpmKeyFile;
use anchord_core::secret::Secret;

pub(super) const CREATE_PRIMARY: u32 = 0x131;
pub(super) const LOAD: u32 = 0x157;
pub(super) const SIGN: u32 = 0x15d;
pub(super) const FLUSH: u32 = 0x165;
pub(super) const READ_PUBLIC: u32 = 0x173;
pub(super) const GET_CAPABILITY: u32 = 0x17a;

pub(super) const HANDLE: u32 = 0x8100_0005;
pub(super) const AUTH: &[u8] = b"s3cret";

/// The `TPMT_PUBLIC` of a P-256 signing key without a scheme, from an uncompressed point.
pub(super) fn public_area(point: &[u8]) -> Vec<u8> {
    let head = [0, 0x23, 0, 0x0b, 0, 4, 0, 0x72, 0, 0, 0, 0x10, 0, 0x10, 0, 3, 0, 0x10];
    [&head[..], &[0, 32], &point[1..33], &[0, 32], &point[33..65]].concat()
}

/// The same of an RSA key.
pub(super) fn rsa_area(exponent: u32, modulus: &[u8]) -> Vec<u8> {
    let length = u16::try_from(modulus.len()).unwrap();
    let head = [0, 1, 0, 0x0b, 0, 4, 0, 0x72, 0, 0, 0, 0x10, 0, 0x10];
    let bits = (length * 8).to_be_bytes();
    [&head[..], &bits, &exponent.to_be_bytes(), &length.to_be_bytes(), modulus].concat()
}

pub(super) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).ok().filter(|length| *length < 0x80);
    let head = match length {
        Some(length) => vec![tag, length],
        None => [&[tag, 0x82], &u16::try_from(content.len()).unwrap().to_be_bytes()[..]].concat(),
    };
    [&head, content].concat()
}

fn sized(content: &[u8]) -> Vec<u8> {
    [&u16::try_from(content.len()).unwrap().to_be_bytes(), content].concat()
}

/// A response that is a code.
pub(super) fn refusal(code: u32) -> Vec<u8> {
    response(0x8001, code, b"")
}

pub(super) fn response(tag: u16, code: u32, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(10 + body.len()).unwrap();
    [&tag.to_be_bytes(), &size.to_be_bytes()[..], &code.to_be_bytes(), body].concat()
}

pub(super) struct State {
    key: SigningKey,
    loaded: Vec<u32>,
    /// The codes of the commands that came.
    pub(super) commands: Vec<u32>,
    /// Answers to be given instead, each to the next command of its code.
    pub(super) instead: VecDeque<(u32, Vec<u8>)>,
    /// Wrong authorization values since the start.
    pub(super) wrong: usize,
    /// Which parent's template the key was made under: the type in it.
    pub(super) root: u8,
    next: u32,
    last_root: u8,
}

pub(super) struct Fake {
    pub(super) device: Device,
    state: Arc<Mutex<State>>,
    /// What must stay for as long as the TPM: the folder of its socket, the other end of its device.
    _kept: Kept,
}

#[expect(dead_code, reason = "they are kept, not used")]
enum Kept {
    Folder(TempDir),
    Device(fs_err::File),
}

impl Fake {
    /// A TPM whose key is made from `seed`: each test has its own, for what was refused is remembered by process.
    pub(super) fn start(seed: u8) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tpm.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let state = State::new(seed);
        let served = Arc::clone(&state);
        std::thread::spawn(move || {
            // One connection at a time, as swtpm has it.
            for stream in listener.incoming() {
                serve(stream.unwrap(), &served);
            }
        });
        Self { device: Device::Unix(path), state, _kept: Kept::Folder(folder) }
    }

    /// The same behind a character device: a terminal that changes nothing of what passes through.
    pub(super) fn start_as_device(seed: u8) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        unlockpt(&master).unwrap();
        let mut settings = tcgetattr(&master).unwrap();
        settings.make_raw();
        tcsetattr(&master, OptionalActions::Now, &settings).unwrap();
        let path = PathBuf::from(ptsname(&master, Vec::new()).unwrap().into_string().unwrap());
        // While nobody has the device open, reading at the other end fails.
        let kept = fs_err::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let state = State::new(seed);
        let served = Arc::clone(&state);
        std::thread::spawn(move || serve(std::fs::File::from(master), &served));
        Self { device: Device::Character(path), state, _kept: Kept::Device(kept) }
    }

    pub(super) fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn instead(&self, command: u32, answer: Vec<u8>) {
        self.state().instead.push_back((command, answer));
    }

    pub(super) fn count(&self, command: u32) -> usize {
        self.state().commands.iter().filter(|code| **code == command).count()
    }

    /// How many objects are loaded now.
    pub(super) fn loaded(&self) -> usize {
        self.state().loaded.len()
    }

    /// The key as a file under `parent`.
    pub(super) fn file(&self, parent: u32) -> KeyLocation {
        Self::file_of(&public_area(&self.state().point()), parent)
    }

    /// Any key as a file under `parent`.
    pub(super) fn file_of(area: &[u8], parent: u32) -> KeyLocation {
        let strings = [tlv(4, &sized(area)), tlv(4, &sized(b"wrapped"))].concat();
        let oid = tlv(6, &[0x67, 0x81, 0x05, 0x0a, 0x01, 0x03]);
        let parent = [&[0][..], &parent.to_be_bytes()].concat();
        let der = tlv(0x30, &[oid, tlv(2, &parent), strings].concat());
        KeyLocation::File(TpmKeyFile::from_der(&der).unwrap())
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) {
        let key = VerifyingKey::from(&self.state().key);
        key.verify(message, &Signature::from_der(signature).unwrap()).unwrap();
    }
}

pub(super) fn auth() -> Option<Secret<Vec<u8>>> {
    Some(Secret::new(AUTH.to_vec()))
}

fn serve(mut stream: impl Read + Write, state: &Mutex<State>) {
    let mut header = [0; 10];
    while stream.read_exact(&mut header).is_ok() {
        let size = u32::from_be_bytes(header[2..6].try_into().unwrap());
        let mut body = vec![0; usize::try_from(size).unwrap() - 10];
        stream.read_exact(&mut body).unwrap();
        let code = u32::from_be_bytes(header[6..].try_into().unwrap());
        let answer = state.lock().unwrap().answer(code, &body);
        // An empty answer breaks the connection off.
        if answer.is_empty() || stream.write_all(&answer).is_err() {
            return;
        }
    }
}

impl State {
    fn new(seed: u8) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            key: SigningKey::from_slice(&[seed; 32]).unwrap(),
            loaded: Vec::new(),
            commands: Vec::new(),
            instead: VecDeque::new(),
            wrong: 0,
            root: 0x23,
            next: 0x8000_0000,
            last_root: 0,
        }))
    }

    pub(super) fn point(&self) -> Vec<u8> {
        VerifyingKey::from(&self.key).to_sec1_point(false).as_bytes().to_vec()
    }

    fn answer(&mut self, code: u32, body: &[u8]) -> Vec<u8> {
        self.commands.push(code);
        if let Some(at) = self.instead.iter().position(|(command, _)| *command == code) {
            return self.instead.remove(at).unwrap().1;
        }
        let handle = u32::from_be_bytes(body[..4].try_into().unwrap());
        match code {
            GET_CAPABILITY => {
                let counted = u32::try_from(self.wrong).unwrap();
                let numbers = [6, 1, 0x20e, counted].map(u32::to_be_bytes).concat();
                response(0x8001, 0, &[&[1][..], &numbers].concat())
            }
            READ_PUBLIC if handle == HANDLE => {
                response(0x8001, 0, &[sized(&public_area(&self.point())), vec![0; 4]].concat())
            }
            READ_PUBLIC => refusal(0x18b),
            FLUSH => {
                assert!(self.loaded.contains(&handle), "{handle:#x} is not loaded");
                self.loaded.retain(|loaded| *loaded != handle);
                response(0x8001, 0, b"")
            }
            CREATE_PRIMARY => {
                // After handle, session and sensitive part comes the template: its size, its type.
                self.last_root = body[4 + 4 + 9 + 6 + 3];
                self.load()
            }
            LOAD if self.last_root == self.root || handle >> 24 == 0x81 => self.load(),
            LOAD => refusal(0x1df),
            SIGN => self.sign(handle, body),
            _ => refusal(0x143),
        }
    }

    fn load(&mut self) -> Vec<u8> {
        if self.loaded.len() == 3 {
            return refusal(0x902);
        }
        let handle = self.next;
        self.next += 1;
        self.loaded.push(handle);
        response(0x8002, 0, &[&handle.to_be_bytes()[..], &[0; 8]].concat())
    }

    fn sign(&mut self, handle: u32, body: &[u8]) -> Vec<u8> {
        assert!(handle == HANDLE || self.loaded.contains(&handle), "{handle:#x} is not loaded");
        let length = usize::from(body[16]);
        let (password, rest) = body[17..].split_at(length);
        if password != AUTH {
            self.wrong += 1;
            return refusal(0x98e);
        }
        let signature: Signature = self.key.sign_prehash(&rest[2..34]).unwrap();
        let (r, s) = signature.split_bytes();
        let parameters = [&[0, 0x18, 0, 0x0b][..], &sized(&r), &sized(&s)].concat();
        let size = u32::try_from(parameters.len()).unwrap().to_be_bytes();
        response(0x8002, 0, &[&size[..], &parameters, &[0; 5]].concat())
    }
}
