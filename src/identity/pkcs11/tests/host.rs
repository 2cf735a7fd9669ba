//! The daemon's side against a process that says what a test wants.

use std::io::Write as _;
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
use proptest::prelude::*;
use x509_parser::prelude::FromDer as _;
use x509_parser::prelude::X509Certificate;

use crate::failure::Class;
use crate::failure::Classify as _;
use crate::identity::Algorithm;
use crate::identity::SigningKey;
use crate::identity::Source;
use crate::identity::pkcs11::Error;
use crate::identity::pkcs11::Launcher;
use crate::identity::pkcs11::Options;
use crate::identity::pkcs11::PinTrouble;
use crate::identity::pkcs11::certificates;
use crate::identity::pkcs11::open_key;
use crate::identity::pkcs11::pins::lock;
use crate::identity::pkcs11::protocol;
use crate::identity::pkcs11::protocol::Answer;
use crate::identity::pkcs11::protocol::Bytes;
use crate::identity::pkcs11::protocol::Fault;
use crate::identity::pkcs11::protocol::KeyKind;
use crate::identity::pkcs11::protocol::Library;
use crate::identity::pkcs11::protocol::Object;
use crate::identity::pkcs11::protocol::ObjectClass;
use crate::identity::pkcs11::protocol::PinOutcome;
use crate::identity::pkcs11::protocol::Reply;
use crate::identity::pkcs11::protocol::Request;
use crate::identity::pkcs11::protocol::Task;
use crate::identity::pkcs11::protocol::Token;
use crate::identity::pkcs11::protocol::TokenName;
use crate::identity::support::Folder;
use crate::secret::Secret;

const PIN: &str = "1234";

/// What a token holds, as PKCS#11 shows it.
#[derive(Default)]
struct Contents {
    serial: String,
    certificates: Vec<Object>,
    public_keys: Vec<Object>,
    private_keys: Vec<(Object, Option<Arc<dyn SigningKey>>)>,
}

/// A module with tokens, and what it was asked.
#[derive(Default)]
struct Module {
    tokens: Vec<Contents>,
    starts: usize,
    pins: Vec<String>,
    signatures: usize,
    /// The process ends instead of answering so many requests.
    crashes: usize,
    /// Faults that come first.
    faults: Vec<Fault>,
}

struct Bench {
    folder: Folder,
    module: Arc<Mutex<Module>>,
}

impl Bench {
    fn new(tokens: Vec<Contents>) -> Self {
        let bench = Self { folder: Folder::new(), module: Arc::default() };
        bench.folder.write("module.so", "its content is not looked at here");
        lock(&bench.module).tokens = tokens;
        bench
    }

    fn options(&self, uri: &str) -> Options {
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

    fn options_with(&self, uri: &str, launcher: Launcher) -> Options {
        Options {
            uri: uri.parse().unwrap(),
            module: Some(self.path()),
            pin: Some(Secret::new(PIN.as_bytes().to_vec())),
            launcher: launcher.with_patience(Duration::from_secs(20)),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path("module.so")
    }

    fn open(&self, uri: &str) -> Result<Arc<dyn SigningKey>, Error> {
        open_key(&self.options(uri), &[])
    }

    /// What was asked for since the last call of this.
    fn seen(&self) -> Module {
        let mut module = lock(&self.module);
        let tokens = std::mem::take(&mut module.tokens);
        let seen = std::mem::take(&mut *module);
        module.tokens = tokens;
        seen
    }
}

fn play(module: &Mutex<Module>, stream: &UnixStream) {
    while let Ok(Some((request, pin))) = protocol::read::<Request>(&mut &*stream) {
        let mut module = lock(module);
        if module.crashes > 0 {
            module.crashes -= 1;
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
        let (pin, result) = module.answer(&request.task, &pin);
        let _ = protocol::write(&mut &*stream, &Reply { number: request.number, pin, result }, None);
    }
}

impl Module {
    fn answer(&mut self, task: &Task, pin: &Secret<Vec<u8>>) -> (PinOutcome, Result<Answer, Fault>) {
        if matches!(task, Task::Tokens) {
            let library =
                Library { manufacturer: "us".into(), description: "a thread".into(), version: (1, 0) };
            let tokens = self.tokens.iter().enumerate().map(|(slot, token)| token.shown(slot as u64));
            return (PinOutcome::Untried, Ok(Answer::Tokens { library, tokens: tokens.collect() }));
        }
        if let Some(fault) = self.faults.pop() {
            return (PinOutcome::Untried, Err(fault));
        }
        let mut outcome = PinOutcome::Untried;
        if !pin.expose().is_empty() {
            let pin = String::from_utf8(pin.expose().clone()).unwrap();
            self.pins.push(pin.clone());
            if pin != PIN {
                return (PinOutcome::Refused, Err(Fault::PinRefused("C_Login says PinIncorrect".into())));
            }
            outcome = PinOutcome::Taken;
        }
        let slot = task.place().unwrap().slot as usize;
        let Some(token) = self
            .tokens
            .get(slot)
            .filter(|token| token.shown(slot as u64).name == task.place().unwrap().token)
        else {
            return (outcome, Err(Fault::TokenGone));
        };
        let answer = match task {
            Task::Tokens => unreachable!(),
            Task::Find { class, id, label, .. } => {
                Ok(Answer::Objects(token.find(*class, id.as_ref(), label.as_deref())))
            }
            Task::Sign { key, message, .. } => {
                self.signatures += 1;
                let found = token
                    .private_keys
                    .iter()
                    .find(|(object, _)| object.id == key.id && object.label == key.label);
                found.ok_or(Fault::KeyGone).map(|(_, signer)| {
                    let signature = signer.as_ref().unwrap().sign(&message.0).unwrap();
                    Answer::Signature(Bytes(as_token(key.kind, signature)))
                })
            }
        };
        (outcome, answer)
    }
}

/// A DER signature as a token has it.
fn as_token(kind: KeyKind, signature: Vec<u8>) -> Vec<u8> {
    match kind {
        KeyKind::Ec => p256::ecdsa::Signature::from_der(&signature).unwrap().to_bytes().to_vec(),
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
struct Pair {
    leaf: Leaf,
    key: Arc<dyn SigningKey>,
}

impl Pair {
    fn new(kind: EmulatorKind) -> Self {
        let folder = Folder::new();
        let leaf = Authority::root("root", EmulatorKind::P256).unwrap();
        let leaf = leaf.leaf(&LeafRequest::new("robot", kind)).unwrap();
        let (certificate, key) = (
            folder.write("leaf.pem", leaf.certificate_pem()),
            folder.write("key.pem", leaf.key_pem(KeyForm::Pkcs8).unwrap()),
        );
        let loaded = Source::of_files(certificate, key).load(crate::identity::support::now()).unwrap();
        Self { leaf, key: Arc::clone(loaded.identity.key()) }
    }

    fn info(&self) -> Vec<u8> {
        let (_, certificate) = X509Certificate::from_der(self.leaf.certificate_der()).unwrap();
        certificate.public_key().raw.to_vec()
    }

    fn certificate(&self, label: &str, id: &[u8]) -> Object {
        let value = Bytes(self.leaf.certificate_der().to_vec());
        Object { label: label.into(), id: Bytes(id.to_vec()), value, ..Object::default() }
    }

    /// The private key; nothing of the public one shows.
    fn hidden(&self, label: &str, id: &[u8]) -> (Object, Option<Arc<dyn SigningKey>>) {
        let kind = match self.key.algorithm() {
            Algorithm::RsaSha256 => KeyKind::Rsa,
            _ => KeyKind::Ec,
        };
        let object =
            Object { label: label.into(), id: Bytes(id.to_vec()), kind: Some(kind), ..Object::default() };
        (object, Some(Arc::clone(&self.key)))
    }

    fn public(&self, label: &str, id: &[u8]) -> Object {
        let (mut object, _) = self.hidden(label, id);
        object.public_key_info = Bytes(self.info());
        object
    }
}

fn contents(serial: &str) -> Contents {
    Contents { serial: format!("{serial} of {:?}", std::thread::current().id()), ..Contents::default() }
}

#[test]
fn a_key_signs_as_its_certificate_expects_wherever_its_public_key_is_shown() {
    let pair = Pair::new(EmulatorKind::P256);
    let with = |certificates, public_keys| Contents {
        certificates,
        public_keys,
        private_keys: vec![pair.hidden("leaf", &[1])],
        ..contents("shown")
    };
    for token in [
        with(vec![pair.certificate("leaf", &[1])], vec![]),
        with(vec![], vec![pair.public("leaf", &[1])]),
        with(vec![], vec![]),
    ] {
        let bench = Bench::new(vec![token]);
        let key = open_key(&bench.options("pkcs11:token=robots;object=leaf"), &[pair.info()]).unwrap();

        assert_eq!(key.public_key(), pair.key.public_key());
        assert_eq!(key.algorithm(), Algorithm::EcdsaSha256);
        let signature = key.sign(b"message").unwrap();
        let public = ring::signature::UnparsedPublicKey::new(
            &ring::signature::ECDSA_P256_SHA256_ASN1,
            key.public_key(),
        );
        public.verify(b"message", &signature).unwrap();
    }
}

#[test]
fn a_key_whose_public_half_nobody_knows_is_told() {
    let pair = Pair::new(EmulatorKind::Rsa2048);
    let bench = Bench::new(vec![Contents { private_keys: vec![pair.hidden("leaf", &[1])], ..contents("1") }]);

    for candidates in [vec![], vec![Pair::new(EmulatorKind::P256).info(), b"no key".to_vec()]] {
        let error = open_key(&bench.options("pkcs11:object=leaf"), &candidates).unwrap_err();

        assert!(matches!(error, Error::NoPublicKey { .. }), "{error}");
    }
}

#[test]
fn the_uri_of_a_certificate_finds_its_key_by_id_and_else_by_label() {
    let pair = Pair::new(EmulatorKind::P256);
    let other = Pair::new(EmulatorKind::P256);
    let keys = || vec![other.hidden("other", &[9]), pair.hidden("key of leaf", &[1])];
    let by_id = Contents {
        certificates: vec![pair.certificate("leaf", &[1])],
        private_keys: keys(),
        ..contents("1")
    };
    let bench = Bench::new(vec![by_id]);

    let key = bench.open("pkcs11:object=leaf;type=cert").unwrap();

    assert_eq!(key.public_key(), pair.key.public_key());
    assert_eq!(certificates(&bench.options("pkcs11:object=leaf")).unwrap()[0].id, [1]);
    let by_label = Contents {
        certificates: vec![pair.certificate("leaf", &[7])],
        private_keys: vec![other.hidden("other", &[9]), pair.hidden("leaf", &[])],
        ..contents("2")
    };
    let bench = Bench::new(vec![by_label]);
    let key = open_key(&bench.options("pkcs11:id=%07;type=cert"), &[pair.info()]).unwrap();
    assert_eq!(key.public_key(), pair.key.public_key());
}

#[test]
fn of_several_keys_the_one_that_fits_a_certificate_is_used() {
    let (pair, other) = (Pair::new(EmulatorKind::P256), Pair::new(EmulatorKind::P256));
    let keys = vec![other.hidden("other", &[2]), pair.hidden("leaf", &[1])];
    let bench = Bench::new(vec![Contents { private_keys: keys, ..contents("1") }]);

    let key = open_key(&bench.options("pkcs11:token=robots"), &[pair.info()]).unwrap();
    let error = bench.open("pkcs11:token=robots").unwrap_err();

    assert_eq!(key.public_key(), pair.key.public_key());
    assert!(error.to_string().contains("`other` (id %02), `leaf` (id %01)"), "{error}");
    assert!(error.hint().unwrap().contains("id="));
}

#[test]
fn of_several_tokens_none_but_the_right_one_is_given_the_pin() {
    let (pair, other) = (Pair::new(EmulatorKind::P256), Pair::new(EmulatorKind::P256));
    let token = |pair: &Pair, serial| Contents {
        certificates: vec![pair.certificate("leaf", &[1])],
        private_keys: vec![pair.hidden("leaf", &[1])],
        ..contents(serial)
    };
    let bench = Bench::new(vec![token(&other, "1"), token(&pair, "2")]);

    let error = bench.open("pkcs11:object=leaf").unwrap_err();
    assert!(error.to_string().contains("fits several tokens: `robots` (serial 1"), "{error}");
    assert!(bench.seen().pins.is_empty());
    let key = open_key(&bench.options("pkcs11:object=leaf"), &[pair.info()]).unwrap();

    assert_eq!(key.public_key(), pair.key.public_key());
    assert_eq!(certificates(&bench.options("pkcs11:object=leaf")).unwrap().len(), 2);
}

#[test]
fn what_is_there_is_listed_where_nothing_fits() {
    let pair = Pair::new(EmulatorKind::P256);
    let token = Contents {
        certificates: vec![pair.certificate("leaf", &[1])],
        private_keys: vec![pair.hidden("leaf", &[1])],
        ..contents("1")
    };
    let bench = Bench::new(vec![token]);

    let token = bench.open("pkcs11:token=others").unwrap_err();
    let key = bench.open("pkcs11:object=other").unwrap_err();
    let certificate = certificates(&bench.options("pkcs11:object=other")).unwrap_err();

    assert!(token.to_string().contains("only these are there: `robots` (serial 1"), "{token}");
    for error in [key, certificate] {
        assert!(error.to_string().ends_with("only these are there: `leaf` (id %01)"), "{error}");
        assert_eq!(error.class(), Class::Misconfigured);
    }
}

#[test]
fn a_wrong_pin_is_given_to_the_token_once() {
    let pair = Pair::new(EmulatorKind::P256);
    let bench = Bench::new(vec![Contents { private_keys: vec![pair.hidden("leaf", &[1])], ..contents("1") }]);
    let with = |pin: &str| {
        let pin = Some(Secret::new(pin.as_bytes().to_vec()));
        open_key(&Options { pin, ..bench.options("pkcs11:object=leaf") }, &[pair.info()])
    };
    let trouble = |error| match error {
        Error::Pin { trouble, .. } => trouble,
        other => panic!("{other}"),
    };

    assert!(matches!(trouble(with("0000").unwrap_err()), PinTrouble::Refused(_)));
    assert_eq!(trouble(with("0000").unwrap_err()), PinTrouble::RefusedBefore);
    assert_eq!(bench.seen().pins, ["0000"]);
    assert!(matches!(trouble(with("1111").unwrap_err()), PinTrouble::Refused(_)));
    assert_eq!(bench.seen().pins, ["1111"]);
    with(PIN).unwrap();
}

#[test]
fn two_sessions_with_the_same_wrong_pin_give_it_once_together() {
    let pair = Pair::new(EmulatorKind::P256);
    let token = || Contents {
        serial: "shared by two modules".into(),
        private_keys: vec![pair.hidden("leaf", &[1])],
        ..contents("")
    };
    let benches = [Bench::new(vec![token()]), Bench::new(vec![token()])];
    let wrong =
        |bench: &Bench| Options { pin: Some(Secret::new(b"0000".to_vec())), ..bench.options("pkcs11:") };

    std::thread::scope(|scope| {
        for bench in benches.iter().cycle().take(8) {
            scope.spawn(|| open_key(&wrong(bench), &[]).unwrap_err());
        }
    });

    let pins: Vec<_> = benches.iter().flat_map(|bench| bench.seen().pins).collect();
    assert_eq!(pins, ["0000"]);
}

#[test]
fn a_process_that_was_well_and_crashes_is_replaced_without_an_error() {
    let pair = Pair::new(EmulatorKind::P256);
    let bench = Bench::new(vec![Contents { private_keys: vec![pair.hidden("leaf", &[1])], ..contents("1") }]);
    let key = open_key(&bench.options("pkcs11:object=leaf"), &[pair.info()]).unwrap();
    bench.seen();
    lock(&bench.module).crashes = 1;

    key.sign(b"message").unwrap();

    assert_eq!(bench.seen().starts, 1);
}

#[test]
fn a_process_that_crashes_at_once_is_told_and_tried_again_only_when_asked() {
    let bench = Bench::new(vec![contents("1")]);
    lock(&bench.module).crashes = 2;

    let error = bench.open("pkcs11:").unwrap_err();

    assert!(matches!(error, Error::Crashed { .. }), "{error}");
    assert_eq!((error.class(), bench.seen().starts), (Class::Transient, 1));
}

#[test]
fn a_process_that_says_nothing_is_given_up_in_time() {
    let bench = Bench::new(vec![]);
    let ends = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&ends);
    let launcher = Launcher::script(move || {
        let (ours, theirs) = UnixStream::pair().unwrap();
        lock(&kept).push(theirs);
        ours
    });
    let options = bench.options_with("pkcs11:", launcher);
    let options = Options { launcher: options.launcher.with_patience(Duration::from_millis(50)), ..options };

    let error = open_key(&options, &[]).unwrap_err();

    assert!(matches!(error, Error::NoAnswer { .. }), "{error}");
    assert_eq!(error.class(), Class::Transient);
}

#[test]
fn a_token_that_has_changed_its_slot_is_found_again() {
    let pair = Pair::new(EmulatorKind::P256);
    let bench = Bench::new(vec![Contents { private_keys: vec![pair.hidden("leaf", &[1])], ..contents("1") }]);
    let key = open_key(&bench.options("pkcs11:object=leaf"), &[pair.info()]).unwrap();

    lock(&bench.module).tokens.insert(0, contents("2"));
    key.sign(b"message").unwrap();
    lock(&bench.module).tokens.truncate(1);
    let error = key.sign(b"message").unwrap_err();

    assert!(error.to_string().contains("is not there any more"), "{error}");
}

#[test]
fn faults_of_a_module_are_told_with_class_and_hint() {
    let pair = Pair::new(EmulatorKind::P256);
    let bench = Bench::new(vec![Contents { private_keys: vec![pair.hidden("leaf", &[1])], ..contents("1") }]);
    for (fault, said, class) in [
        (Fault::NotAModule("no symbol".into()), "is not a PKCS#11 module: no symbol", Class::Misconfigured),
        (
            Fault::Initialize("C_Initialize says X".into()),
            "does not start: C_Initialize says X",
            Class::Misconfigured,
        ),
        (Fault::PinNeeded, "wants a PIN", Class::Misconfigured),
        (Fault::PinLocked, "has locked its PIN", Class::Misconfigured),
        (Fault::PinFinalTry, "would lock its PIN at the next wrong one", Class::Misconfigured),
        (Fault::PinUncertain, "counts a wrong PIN", Class::Misconfigured),
        (
            Fault::Mechanism("C_SignInit says Y".into()),
            "as AWS wants it: C_SignInit says Y",
            Class::Misconfigured,
        ),
        (Fault::TooMany, "more than 1000 objects", Class::Misconfigured),
        (Fault::Failed("C_FindObjects says Z".into()), "failed: C_FindObjects says Z", Class::Transient),
    ] {
        lock(&bench.module).faults = vec![fault];

        let error = bench.open("pkcs11:object=leaf").unwrap_err();

        assert!(error.to_string().contains(said), "{error}");
        assert_eq!(error.class(), class, "{error}");
        assert!(error.hint().is_some(), "{error}");
    }
}

#[test]
fn a_module_that_is_missing_or_no_file_is_told_before_anything_is_started() {
    let bench = Bench::new(vec![]);
    let missing = Options { module: Some(bench.folder.path("none.so")), ..bench.options("pkcs11:") };
    let folder = Options { module: Some(bench.folder.0.path().into()), ..bench.options("pkcs11:") };
    let unnamed = bench.options("pkcs11:?module-name=no-such-module-anywhere");

    assert!(matches!(open_key(&missing, &[]).unwrap_err(), Error::ModuleMissing { .. }));
    assert!(matches!(open_key(&folder, &[]).unwrap_err(), Error::NotAModule { .. }));
    assert!(matches!(open_key(&unnamed, &[]).unwrap_err(), Error::NoModuleOfName { .. }));
    assert_eq!(bench.seen().starts, 0);
}

#[test]
fn the_pin_is_read_from_the_file_that_the_uri_names() {
    let pair = Pair::new(EmulatorKind::P256);
    let bench = Bench::new(vec![Contents { private_keys: vec![pair.hidden("leaf", &[1])], ..contents("1") }]);
    let path = bench.folder.write("pin", format!("{PIN}\n"));
    let uri = format!("pkcs11:object=leaf?pin-source=file:{}", path.display());

    open_key(&Options { pin: None, ..bench.options(&uri) }, &[pair.info()]).unwrap();

    assert!(bench.seen().pins.iter().all(|pin| pin == PIN));
    fs_err::remove_file(path).unwrap();
    let error = open_key(&Options { pin: None, ..bench.options(&uri) }, &[]).unwrap_err();
    assert!(matches!(error, Error::PinFile { .. }), "{error}");
}

fn against(garbage: &[u8]) -> Error {
    let bench = Bench::new(vec![]);
    let garbage = garbage.to_vec();
    let launcher = Launcher::script(move || {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        // The other side may have heard enough before this is over.
        let _ = theirs.write_all(&garbage);
        ours
    });
    open_key(&bench.options_with("pkcs11:", launcher), &[]).unwrap_err()
}

#[test]
fn garbage_from_the_process_is_a_crash() {
    let huge = [0xff; 64];
    let unasked = Reply { number: 77, pin: PinOutcome::Taken, result: Ok(Answer::Objects(vec![])) };
    let mut frame = Vec::new();
    protocol::write(&mut frame, &unasked, None).unwrap();

    for garbage in [b"".as_slice(), b"\0\0\0\x02\0\0\0\0{}", b"Segmentation fault\n", &huge, &frame] {
        let error = against(garbage);

        assert!(matches!(error, Error::Crashed { .. }), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_from_the_process_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = protocol::read::<Reply>(&mut bytes.as_slice());
        let mut framed = (bytes.len() as u32).to_be_bytes().to_vec();
        framed.extend([0; 4]);
        framed.extend(bytes);
        let _ = protocol::read::<Reply>(&mut framed.as_slice());
    }

    #[test]
    fn no_attribute_of_a_token_panics(
        bytes in prop::collection::vec(any::<u8>(), 0..150),
        more in prop::collection::vec(any::<u8>(), 0..150),
    ) {
        use crate::identity::pkcs11::der;
        let _ = (der::ecdsa_signature(&bytes), der::ec_point(&bytes), der::key_of_certificate(&bytes));
        let _ = (der::key_of_info(&bytes), der::rsa_public_key(&bytes, &more));
    }

    #[test]
    fn a_frame_that_is_cut_off_is_no_frame(length in 1..60_usize) {
        let mut frame = Vec::new();
        let reply = Reply { number: 7, pin: PinOutcome::Untried, result: Ok(Answer::Objects(vec![])) };
        protocol::write(&mut frame, &reply, Some(&Secret::new(b"1234".to_vec()))).unwrap();
        let length = length.min(frame.len() - 1);
        prop_assert!(protocol::read::<Reply>(&mut &frame[..length]).is_err());
    }
}
