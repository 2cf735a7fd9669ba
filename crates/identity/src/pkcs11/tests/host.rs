//! The daemon's side against a process that says what a test wants.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use anchord_emulator::KeyKind as EmulatorKind;
use proptest::prelude::*;

use super::bench::Bench;
use super::bench::Contents;
use super::bench::PIN;
use super::bench::Pair;
use super::bench::contents;
use crate::Algorithm;
use crate::pkcs11::Error;
use crate::pkcs11::Launcher;
use crate::pkcs11::PinFault;
use crate::pkcs11::TokenQuery;
use crate::pkcs11::certificates;
use crate::pkcs11::open_key;
use crate::pkcs11::pins::lock;
use crate::pkcs11::protocol;
use crate::pkcs11::protocol::HostReply;
use crate::pkcs11::protocol::ModuleFault;
use crate::pkcs11::protocol::PinOutcome;
use crate::pkcs11::protocol::TokenResponse;
use anchord_core::failure::Class;
use anchord_core::failure::Classify as _;
use anchord_core::secret::Secret;

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
fn a_probe_tells_keys_of_every_kind_from_each_other() {
    let kinds = [EmulatorKind::Rsa2048, EmulatorKind::P256, EmulatorKind::P384, EmulatorKind::P521];
    let pairs: Vec<_> = kinds.into_iter().chain(kinds).map(Pair::new).collect();
    let infos: Vec<_> = pairs.iter().map(Pair::info).collect();
    for (number, pair) in pairs.iter().enumerate() {
        let token =
            Contents { private_keys: vec![pair.hidden("leaf", &[1])], ..contents(&number.to_string()) };
        let bench = Bench::new(vec![token]);

        let key = open_key(&bench.options("pkcs11:object=leaf"), &infos).unwrap();

        assert_eq!(key.public_key(), pair.key.public_key());
    }
}

#[test]
fn a_key_whose_public_half_nobody_knows_is_reported() {
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
    assert!(error.to_string().contains("matches several tokens: `robots` (serial 1"), "{error}");
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

    assert!(token.to_string().contains("available: `robots` (serial 1"), "{token}");
    for error in [key, certificate] {
        assert!(error.to_string().ends_with("available: `leaf` (id %01)"), "{error}");
        assert_eq!(error.class(), Class::Misconfigured);
    }
}

#[test]
fn a_wrong_pin_is_given_to_the_token_once() {
    let pair = Pair::new(EmulatorKind::P256);
    let bench = Bench::new(vec![Contents { private_keys: vec![pair.hidden("leaf", &[1])], ..contents("1") }]);
    let with = |pin: &str| {
        let pin = Some(Secret::new(pin.as_bytes().to_vec()));
        open_key(&TokenQuery { pin, ..bench.options("pkcs11:object=leaf") }, &[pair.info()])
    };
    let pin_fault = |error| match error {
        Error::Pin { fault, .. } => fault,
        other => panic!("{other}"),
    };

    assert!(matches!(pin_fault(with("0000").unwrap_err()), PinFault::Refused(_)));
    assert_eq!(pin_fault(with("0000").unwrap_err()), PinFault::RefusedBefore);
    assert_eq!(bench.seen().pins, ["0000"]);
    assert!(matches!(pin_fault(with("1111").unwrap_err()), PinFault::Refused(_)));
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
        |bench: &Bench| TokenQuery { pin: Some(Secret::new(b"0000".to_vec())), ..bench.options("pkcs11:") };

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

    let seen = bench.seen();
    assert_eq!(seen.starts, 1);
    assert_eq!(seen.careful, [true], "the first one may have been counted as wrong");
    key.sign(b"message").unwrap();
    assert_eq!(bench.seen().careful, [false]);
}

#[test]
fn a_process_that_crashes_at_once_is_reported_and_tried_again_only_when_asked() {
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
    let options =
        TokenQuery { launcher: options.launcher.with_patience(Duration::from_millis(50)), ..options };

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

    assert!(error.to_string().contains("was removed"), "{error}");
}

#[test]
fn faults_of_a_module_are_reported_with_class_and_hint() {
    let pair = Pair::new(EmulatorKind::P256);
    let bench = Bench::new(vec![Contents { private_keys: vec![pair.hidden("leaf", &[1])], ..contents("1") }]);
    for (fault, said, class) in [
        (
            ModuleFault::NotAModule("no symbol".into()),
            "is not a PKCS#11 module: no symbol",
            Class::Misconfigured,
        ),
        (
            ModuleFault::Initialize("C_Initialize says X".into()),
            "does not start: C_Initialize says X",
            Class::Misconfigured,
        ),
        (ModuleFault::PinNeeded, "needs a PIN", Class::Misconfigured),
        (ModuleFault::PinLocked, "has locked its PIN", Class::Misconfigured),
        (ModuleFault::PinFinalTry, "would lock its PIN at the next wrong one", Class::Misconfigured),
        (ModuleFault::PinUncertain, "counts a wrong PIN", Class::Misconfigured),
        (
            ModuleFault::Mechanism("C_SignInit says Y".into()),
            "as AWS needs: C_SignInit says Y",
            Class::Misconfigured,
        ),
        (ModuleFault::TooMany, "more than 1000 objects", Class::Misconfigured),
        (
            ModuleFault::Failed("C_FindObjects says Z".into()),
            "failed: C_FindObjects says Z",
            Class::Transient,
        ),
    ] {
        lock(&bench.module).faults = vec![fault];

        let error = bench.open("pkcs11:object=leaf").unwrap_err();

        assert!(error.to_string().contains(said), "{error}");
        assert_eq!(error.class(), class, "{error}");
        assert!(error.hint().is_some(), "{error}");
    }
}

#[test]
fn a_module_that_is_missing_or_no_file_is_reported_before_anything_is_started() {
    let bench = Bench::new(vec![]);
    let missing = TokenQuery { module: Some(bench.folder.path("none.so")), ..bench.options("pkcs11:") };
    let folder = TokenQuery { module: Some(bench.folder.root().into()), ..bench.options("pkcs11:") };
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

    open_key(&TokenQuery { pin: None, ..bench.options(&uri) }, &[pair.info()]).unwrap();

    assert!(bench.seen().pins.iter().all(|pin| pin == PIN));
    fs_err::remove_file(path).unwrap();
    let error = open_key(&TokenQuery { pin: None, ..bench.options(&uri) }, &[]).unwrap_err();
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
    let unasked =
        HostReply { number: 77, pin: PinOutcome::Taken, result: Ok(TokenResponse::Objects(vec![])) };
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
        let _ = protocol::read::<HostReply>(&mut bytes.as_slice());
        let mut framed = (bytes.len() as u32).to_be_bytes().to_vec();
        framed.extend([0; 4]);
        framed.extend(bytes);
        let _ = protocol::read::<HostReply>(&mut framed.as_slice());
    }

    #[test]
    fn no_attribute_of_a_token_panics(
        bytes in prop::collection::vec(any::<u8>(), 0..150),
        more in prop::collection::vec(any::<u8>(), 0..150),
    ) {
        use crate::pkcs11::der;
        let _ = (der::ecdsa_signature(&bytes), der::ec_point(&bytes), der::key_of_certificate(&bytes));
        let _ = (der::key_of_info(&bytes), der::rsa_public_key(&bytes, &more));
    }

    #[test]
    fn a_frame_that_is_cut_off_is_no_frame(length in 1..60_usize) {
        let mut frame = Vec::new();
        let reply = HostReply { number: 7, pin: PinOutcome::Untried, result: Ok(TokenResponse::Objects(vec![])) };
        protocol::write(&mut frame, &reply, Some(&Secret::new(b"1234".to_vec()))).unwrap();
        let length = length.min(frame.len() - 1);
        prop_assert!(protocol::read::<HostReply>(&mut &frame[..length]).is_err());
    }
}
