//! A module played by a thread: tokens with what they hold, and what they were asked.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use anchord_emulator::Authority;
use anchord_emulator::KeyForm;
use anchord_emulator::KeyKind as EmulatorKind;
use anchord_emulator::Leaf;
use anchord_emulator::LeafRequest;
use x509_parser::prelude::FromDer as _;
use x509_parser::prelude::X509Certificate;

use crate::Algorithm;
use crate::SigningKey;
use crate::Source;
use crate::pkcs11::Error;
use crate::pkcs11::Launcher;
use crate::pkcs11::TokenQuery;
use crate::pkcs11::open_key;
use crate::pkcs11::pins::lock;
use crate::pkcs11::protocol;
use crate::pkcs11::protocol::Bytes;
use crate::pkcs11::protocol::HostReply;
use crate::pkcs11::protocol::HostRequest;
use crate::pkcs11::protocol::Library;
use crate::pkcs11::protocol::ModuleFault;
use crate::pkcs11::protocol::Object;
use crate::pkcs11::protocol::ObjectClass;
use crate::pkcs11::protocol::PinOutcome;
use crate::pkcs11::protocol::Token;
use crate::pkcs11::protocol::TokenKeyType;
use crate::pkcs11::protocol::TokenName;
use crate::pkcs11::protocol::TokenOperation;
use crate::pkcs11::protocol::TokenResponse;
use crate::support::Folder;
use anchord_core::secret::Secret;

pub(super) const PIN: &str = "1234";

/// What a token holds, as PKCS#11 shows it.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) serial: String,
    pub(super) certificates: Vec<Object>,
    pub(super) public_keys: Vec<Object>,
    pub(super) private_keys: Vec<(Object, Option<Arc<dyn SigningKey>>)>,
}

/// A module with tokens, and what it was asked.
#[derive(Default)]
pub(super) struct Module {
    pub(super) tokens: Vec<Contents>,
    pub(super) starts: usize,
    pub(super) pins: Vec<String>,
    /// Of each request with a PIN, whether it was to be given with care.
    pub(super) careful: Vec<bool>,
    pub(super) signatures: usize,
    /// The process ends instead of answering so many requests.
    pub(super) crashes: usize,
    /// Faults that come first.
    pub(super) faults: Vec<ModuleFault>,
}

pub(super) struct Bench {
    pub(super) folder: Folder,
    pub(super) module: Arc<Mutex<Module>>,
}

impl Bench {
    pub(super) fn new(tokens: Vec<Contents>) -> Self {
        let bench = Self { folder: Folder::new(), module: Arc::default() };
        bench.folder.write("module.so", "its content is not looked at here");
        lock(&bench.module).tokens = tokens;
        bench
    }

    pub(super) fn options(&self, uri: &str) -> TokenQuery {
        let module = Arc::clone(&self.module);
        let launcher = Launcher::script(move || {
            lock(&module).starts += 1;
            let (ours, theirs) = UnixStream::pair().unwrap();
            let module = Arc::clone(&module);
            std::thread::spawn(move || play(&module, &theirs));
            ours
        });
        self.options_with(uri, launcher)
    }

    pub(super) fn options_with(&self, uri: &str, launcher: Launcher) -> TokenQuery {
        TokenQuery {
            uri: uri.parse().unwrap(),
            module: Some(self.path()),
            pin: Some(Secret::new(PIN.as_bytes().to_vec())),
            launcher: launcher.with_patience(Duration::from_secs(20)),
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path("module.so")
    }

    pub(super) fn open(&self, uri: &str) -> Result<Arc<dyn SigningKey>, Error> {
        open_key(&self.options(uri), &[])
    }

    /// What was asked for since the last call of this.
    pub(super) fn seen(&self) -> Module {
        let mut module = lock(&self.module);
        let tokens = std::mem::take(&mut module.tokens);
        let seen = std::mem::take(&mut *module);
        module.tokens = tokens;
        seen
    }
}

pub(super) fn play(module: &Mutex<Module>, stream: &UnixStream) {
    while let Ok(Some((request, pin))) = protocol::read::<HostRequest>(&mut &*stream) {
        let mut module = lock(module);
        if module.crashes > 0 {
            module.crashes -= 1;
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
        if !pin.expose().is_empty() {
            module.careful.push(request.careful);
        }
        let (pin, result) = module.answer(&request.task, &pin);
        let _ = protocol::write(&mut &*stream, &HostReply { number: request.number, pin, result }, None);
    }
}

impl Module {
    fn answer(
        &mut self,
        task: &TokenOperation,
        pin: &Secret<Vec<u8>>,
    ) -> (PinOutcome, Result<TokenResponse, ModuleFault>) {
        if matches!(task, TokenOperation::Tokens) {
            let library =
                Library { manufacturer: "us".into(), description: "a thread".into(), version: (1, 0) };
            let tokens = self.tokens.iter().enumerate().map(|(slot, token)| token.shown(slot as u64));
            return (PinOutcome::Untried, Ok(TokenResponse::Tokens { library, tokens: tokens.collect() }));
        }
        if let Some(fault) = self.faults.pop() {
            return (PinOutcome::Untried, Err(fault));
        }
        let mut outcome = PinOutcome::Untried;
        if !pin.expose().is_empty() {
            let pin = String::from_utf8(pin.expose().clone()).unwrap();
            self.pins.push(pin.clone());
            if pin != PIN {
                return (
                    PinOutcome::Refused,
                    Err(ModuleFault::PinRefused("C_Login says PinIncorrect".into())),
                );
            }
            outcome = PinOutcome::Taken;
        }
        let slot = task.place().unwrap().slot as usize;
        let Some(token) = self
            .tokens
            .get(slot)
            .filter(|token| token.shown(slot as u64).name == task.place().unwrap().token)
        else {
            return (outcome, Err(ModuleFault::TokenGone));
        };
        let answer = match task {
            TokenOperation::Tokens => unreachable!(),
            TokenOperation::Find { class, id, label, .. } => {
                Ok(TokenResponse::Objects(token.find(*class, id.as_ref(), label.as_deref())))
            }
            TokenOperation::Sign { key, message, .. } => {
                self.signatures += 1;
                let found = token
                    .private_keys
                    .iter()
                    .find(|(object, _)| object.id == key.id && object.label == key.label);
                found.ok_or(ModuleFault::KeyGone).map(|(_, signer)| {
                    let signer = signer.as_ref().unwrap();
                    let signature = signer.sign(&message.0).unwrap();
                    TokenResponse::Signature(Bytes(as_token(key.kind, signer.public_key().len(), signature)))
                })
            }
        };
        (outcome, answer)
    }
}

/// A DER signature as a token has it: two halves, as long as the curve's numbers.
fn as_token(kind: TokenKeyType, point: usize, signature: Vec<u8>) -> Vec<u8> {
    match (kind, point) {
        (TokenKeyType::Ec, 65) => p256::ecdsa::Signature::from_der(&signature).unwrap().to_bytes().to_vec(),
        (TokenKeyType::Ec, 97) => p384::ecdsa::Signature::from_der(&signature).unwrap().to_bytes().to_vec(),
        (TokenKeyType::Ec, _) => p521::ecdsa::Signature::from_der(&signature).unwrap().to_bytes().to_vec(),
        _ => signature,
    }
}

impl Contents {
    fn shown(&self, slot: u64) -> Token {
        let name = TokenName {
            label: "robots".into(),
            manufacturer: "us".into(),
            model: "thread".into(),
            serial: self.serial.clone(),
        };
        Token { slot, name, slot_description: "slot".into(), slot_manufacturer: "us".into() }
    }

    fn find(&self, class: ObjectClass, id: Option<&Bytes>, label: Option<&str>) -> Vec<Object> {
        let keys: Vec<_> = self.private_keys.iter().map(|(object, _)| object.clone()).collect();
        let objects = match class {
            ObjectClass::Certificate => &self.certificates,
            ObjectClass::PublicKey => &self.public_keys,
            ObjectClass::PrivateKey => &keys,
        };
        let fits = |object: &&Object| {
            id.is_none_or(|id| *id == object.id) && label.is_none_or(|label| label == object.label)
        };
        objects.iter().filter(fits).cloned().collect()
    }
}

/// A certificate, its key, and how a token would show both.
pub(super) struct Pair {
    pub(super) leaf: Leaf,
    pub(super) key: Arc<dyn SigningKey>,
}

impl Pair {
    pub(super) fn new(kind: EmulatorKind) -> Self {
        let folder = Folder::new();
        let leaf = Authority::root("root", EmulatorKind::P256).unwrap();
        let leaf = leaf.leaf(&LeafRequest::new("robot", kind)).unwrap();
        let (certificate, key) = (
            folder.write("leaf.pem", leaf.certificate_pem()),
            folder.write("key.pem", leaf.key_pem(KeyForm::Pkcs8).unwrap()),
        );
        let loaded = Source::of_files(certificate, key).load(crate::support::now()).unwrap();
        Self { leaf, key: Arc::clone(loaded.identity.key()) }
    }

    pub(super) fn info(&self) -> Vec<u8> {
        let (_, certificate) = X509Certificate::from_der(self.leaf.certificate_der()).unwrap();
        certificate.public_key().raw.to_vec()
    }

    pub(super) fn certificate(&self, label: &str, id: &[u8]) -> Object {
        let value = Bytes(self.leaf.certificate_der().to_vec());
        Object { label: label.into(), id: Bytes(id.to_vec()), value, ..Object::default() }
    }

    /// The private key; nothing of the public one shows.
    pub(super) fn hidden(&self, label: &str, id: &[u8]) -> (Object, Option<Arc<dyn SigningKey>>) {
        let kind = match self.key.algorithm() {
            Algorithm::RsaSha256 => TokenKeyType::Rsa,
            _ => TokenKeyType::Ec,
        };
        let object =
            Object { label: label.into(), id: Bytes(id.to_vec()), kind: Some(kind), ..Object::default() };
        (object, Some(Arc::clone(&self.key)))
    }

    pub(super) fn public(&self, label: &str, id: &[u8]) -> Object {
        let (mut object, _) = self.hidden(label, id);
        object.public_key_info = Bytes(self.info());
        object
    }
}

pub(super) fn contents(serial: &str) -> Contents {
    Contents { serial: format!("{serial} of {:?}", std::thread::current().id()), ..Contents::default() }
}
