//! Opening and signing, when all is well and when it is not.

use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::fake::AUTH;
use super::fake::CREATE_PRIMARY;
use super::fake::FLUSH;
use super::fake::Fake;
use super::fake::GET_CAPABILITY;
use super::fake::HANDLE;
use super::fake::LOAD;
use super::fake::READ_PUBLIC;
use super::fake::SIGN;
use super::fake::auth;
use super::fake::public_area;
use super::fake::refusal;
use super::fake::response;
use super::fake::rsa_area;
use crate::Algorithm;
use crate::SigningKey;
use crate::tpm::Device;
use crate::tpm::Error;
use crate::tpm::KeyLocation;
use crate::tpm::client::Root;
use crate::tpm::client::TpmClient;
use crate::tpm::key::TpmKey;
use crate::tpm::open;
use crate::tpm::operation::Limit;
use crate::tpm::public::Public;
use crate::tpm::transport::TpmTransport;
use crate::tpm::transport::pause;
use crate::tpm::tss2::TpmKeyFile;
use anchord_core::failure::Class;
use anchord_core::failure::Classify as _;
use anchord_core::failure::Failure;
use anchord_core::secret::Secret;

const OWNER: u32 = 0x4000_0001;
const PERSISTENT: KeyLocation = KeyLocation::Persistent(HANDLE);

fn opened(fake: &Fake, key: &KeyLocation) -> Arc<dyn SigningKey> {
    open(&fake.device, key, auth().as_ref()).unwrap()
}

/// What signing fails with.
fn trouble(key: &dyn SigningKey) -> Failure {
    Failure::new(&key.sign(b"message").unwrap_err())
}

#[test]
fn a_persistent_key_signs_and_says_what_its_certificate_does() {
    let fake = Fake::start(1);

    let key = opened(&fake, &PERSISTENT);

    assert_eq!(key.algorithm(), Algorithm::EcdsaSha256);
    assert_eq!(key.public_key(), fake.state().point());
    fake.verify(b"message", &key.sign(b"message").unwrap());
    assert_eq!(fake.count(LOAD), 0);
}

#[test]
fn a_key_file_is_loaded_for_each_signature_and_nothing_stays_in_the_tpm() {
    let fake = Fake::start(2);

    let key = opened(&fake, &fake.file(OWNER));
    for message in [b"one", b"two"] {
        fake.verify(message, &key.sign(message).unwrap());
    }

    assert_eq!(fake.count(LOAD), 3);
    assert_eq!(fake.loaded(), 0);
}

#[test]
fn a_key_under_a_persistent_parent_needs_no_primary() {
    let fake = Fake::start(3);

    opened(&fake, &fake.file(0x8100_0001)).sign(b"message").unwrap();

    assert_eq!(fake.count(CREATE_PRIMARY), 0);
    assert_eq!(fake.loaded(), 0);
}

#[test]
fn the_rsa_root_is_tried_where_the_usual_one_does_not_fit_and_then_kept() {
    let fake = Fake::start(4);
    fake.state().root = 1;

    let key = opened(&fake, &fake.file(OWNER));
    assert_eq!(fake.count(CREATE_PRIMARY), 2);
    key.sign(b"message").unwrap();

    assert_eq!(fake.count(CREATE_PRIMARY), 3);
    assert_eq!(fake.loaded(), 0);
}

#[test]
fn a_key_file_of_another_tpm_is_told_apart_from_a_damaged_one() {
    let fake = Fake::start(5);
    fake.state().root = 9;

    let error = open(&fake.device, &fake.file(OWNER), None).unwrap_err();

    assert!(matches!(error, Error::NotLoadable { parent: OWNER, .. }), "{error}");
    assert_eq!(fake.loaded(), 0);
}

#[test]
fn whatever_fails_nothing_stays_in_the_tpm() {
    for (seed, command, code) in [(6, LOAD, 0x902), (7, SIGN, 0x2d2), (8, SIGN, 0x921), (9, LOAD, 0x1c4)] {
        let fake = Fake::start(seed);
        let key = opened(&fake, &fake.file(OWNER));
        fake.instead(command, refusal(code));

        key.sign(b"message").unwrap_err();

        assert_eq!(fake.loaded(), 0, "{code:#x}");
        fake.verify(b"again", &key.sign(b"again").unwrap());
    }
}

#[test]
fn a_wrong_authorization_value_is_tried_once() {
    let fake = Fake::start(10);
    let wrong = Secret::new(b"wrong".to_vec());
    let key = open(&fake.device, &PERSISTENT, Some(&wrong)).unwrap();

    let first = trouble(&*key);
    let again = trouble(&*key);
    let opened_again = trouble(&*open(&fake.device, &fake.file(OWNER), Some(&wrong)).unwrap());

    assert!(first.message().contains("refused the authorization value"), "{first}");
    assert!(again.message().contains("does not try it again"), "{again}");
    assert_eq!(again, opened_again);
    assert_eq!(first.class(), Class::Misconfigured);
    assert!(first.hint().unwrap().contains("passphrase"));
    assert_eq!(fake.state().wrong, 1);
    // A corrected one is tried immediately.
    opened(&fake, &PERSISTENT).sign(b"message").unwrap();
}

#[test]
fn a_value_whose_refusal_was_lost_is_tried_again_only_if_nothing_was_counted() {
    let fake = Fake::start(28);
    let wrong = Secret::new(b"wrong".to_vec());
    let key = open(&fake.device, &PERSISTENT, Some(&wrong)).unwrap();
    fake.instead(SIGN, Vec::new());
    trouble(&*key);
    // The TPM had judged it before the connection broke.
    fake.state().wrong += 1;

    let again = trouble(&*key);
    let from_file = trouble(&*open(&fake.device, &fake.file(OWNER), Some(&wrong)).unwrap());

    assert!(again.message().contains("may have refused this authorization value"), "{again}");
    assert_eq!(again.class(), Class::Misconfigured);
    assert!(again.hint().unwrap().contains("`passphrase`"), "{again}");
    assert_eq!(again, from_file);
    assert_eq!(fake.count(SIGN), 1);

    fake.state().wrong = 0;
    assert!(trouble(&*key).message().contains("refused the authorization value"));
    assert!(trouble(&*key).message().contains("does not try it again"));
    assert_eq!(fake.count(SIGN), 2);
}

#[test]
fn a_tpm_that_does_not_tell_its_count_is_not_sent_a_lost_value_again() {
    let fake = Fake::start(29);
    let key = opened(&fake, &PERSISTENT);
    fake.instead(SIGN, Vec::new());
    trouble(&*key);
    fake.instead(GET_CAPABILITY, response(0x8001, 0, &[0; 9]));

    assert!(trouble(&*key).message().contains("may have refused"));

    key.sign(b"message").unwrap();
}

#[test]
fn a_value_that_has_signed_is_not_doubted_when_an_answer_is_lost() {
    let fake = Fake::start(30);
    let key = opened(&fake, &PERSISTENT);
    key.sign(b"message").unwrap();
    fake.instead(SIGN, Vec::new());
    trouble(&*key);
    fake.state().wrong += 1;

    key.sign(b"message").unwrap();
}

#[test]
fn a_value_is_not_sent_with_too_little_time_left_to_hear_a_refusal() {
    let fake = Fake::start(31);
    let key = TpmKey::open(&fake.device, &PERSISTENT, auth().as_ref()).unwrap();

    let error = key.sign_within(Duration::from_millis(1900), b"message").unwrap_err();
    assert!(matches!(error, Error::Silent { .. }), "{error}");
    assert_eq!(fake.count(SIGN), 0);

    // Nor is it sent again then.
    fake.instead(SIGN, refusal(0x922));
    fake.instead(SIGN, refusal(0x922));
    let error = key.sign_within(Duration::from_millis(2025), b"message").unwrap_err();
    assert_eq!(error.class(), Class::Transient, "{error}");
    assert!(fake.count(SIGN) <= 2, "{}", fake.count(SIGN));
    assert!(key.sign_within(Duration::from_secs(9), b"message").is_ok());
}

#[test]
fn a_key_that_has_an_authorization_value_asks_for_the_setting() {
    let fake = Fake::start(11);
    let key = open(&fake.device, &PERSISTENT, None).unwrap();

    assert!(trouble(&*key).to_string().ends_with("none is set; hint: set `passphrase`"));
    trouble(&*key);

    assert_eq!(fake.state().wrong, 1);
}

#[test]
fn a_refusal_that_counts_towards_no_lockout_may_be_tried_again() {
    let fake = Fake::start(12);
    let key = opened(&fake, &PERSISTENT);
    fake.instead(SIGN, refusal(0x9a2));

    assert_eq!(trouble(&*key).hint(), Some("correct `passphrase`"));

    key.sign(b"message").unwrap();
}

#[test]
fn a_parent_that_wants_a_value_is_asked_once() {
    let fake = Fake::start(13);
    let file = fake.file(0x8100_0001);
    fake.instead(LOAD, refusal(0x98e));

    for _ in 0..2 {
        let error = open(&fake.device, &file, auth().as_ref()).unwrap_err();
        assert!(error.to_string().contains("0x81000001"), "{error}");
    }

    assert_eq!(fake.count(LOAD), 1);
}

#[test]
fn a_parent_that_wants_a_value_is_asked_once_for_all_files_under_it() {
    let fake = Fake::start(32);
    let files = [5_u8, 6, 7].map(|point| Fake::file_of(&public_area(&[point; 65]), 0x8100_0002));
    fake.instead(LOAD, refusal(0x98e));

    for file in &files {
        let error = open(&fake.device, file, None).unwrap_err();
        assert!(matches!(error, Error::ParentLocked { parent: 0x8100_0002, .. }), "{error}");
    }

    assert_eq!(fake.count(LOAD), 1);
}

#[test]
fn a_parent_whose_refusal_was_lost_is_not_asked_again() {
    let fake = Fake::start(33);
    let file = fake.file(0x8100_0003);
    fake.instead(LOAD, Vec::new());
    open(&fake.device, &file, None).unwrap_err();
    fake.state().wrong += 1;

    let error = open(&fake.device, &file, None).unwrap_err();

    assert!(error.to_string().contains("the parent 0x81000003"), "{error}");
    assert_eq!(fake.count(LOAD), 1);
}

#[test]
fn each_refusal_has_its_words_and_its_class() {
    let fake = Fake::start(14);
    let key = opened(&fake, &fake.file(OWNER));
    for (command, code, words, class) in [
        (SIGN, 0x921, "lockout", Class::Misconfigured),
        (LOAD, 0x902, "no slot left", Class::Transient),
        (GET_CAPABILITY, 0x100, "has not been started", Class::Misconfigured),
        (GET_CAPABILITY, 0x101, "failure mode (0x101)", Class::Misconfigured),
        (CREATE_PRIMARY, 0x9a2, "needs an authorization value", Class::Misconfigured),
        (CREATE_PRIMARY, 0x185, "hierarchy", Class::Misconfigured),
        (SIGN, 0x2d2, "the signing scheme does not fit the key (0x2d2)", Class::Misconfigured),
        (SIGN, 0x907, "locality", Class::Transient),
        (SIGN, 0x000b_0143, "response code 0xb0143", Class::Misconfigured),
    ] {
        fake.instead(command, refusal(code));

        let failure = trouble(&*key);

        assert!(failure.message().contains(words), "{failure}");
        assert_eq!(failure.class(), class, "{failure}");
    }
}

#[test]
fn what_the_tpm_wants_to_be_asked_again_is_asked_again() {
    let fake = Fake::start(15);
    let key = opened(&fake, &PERSISTENT);
    for code in [0x922, 0x908, 0x90a, 0x920] {
        fake.instead(SIGN, refusal(code));
    }

    key.sign(b"message").unwrap();

    assert_eq!(fake.count(SIGN), 5);
}

#[test]
fn a_tpm_that_never_stops_asking_for_it_is_left_alone() {
    let fake = Fake::start(16);
    let key = opened(&fake, &PERSISTENT);
    for _ in 0..20 {
        fake.instead(SIGN, refusal(0x922));
    }

    assert_eq!(trouble(&*key).class(), Class::Transient);
    assert_eq!(fake.count(SIGN), 8);
}

#[test]
fn a_handle_at_which_nothing_is_has_a_message_of_its_own() {
    let fake = Fake::start(17);

    let error = open(&fake.device, &KeyLocation::Persistent(0x8100_0099), None).unwrap_err();

    assert!(error.to_string().ends_with("holds nothing at 0x81000099"), "{error}");
    assert!(error.hint().unwrap().contains("handles-persistent"));
}

#[test]
fn another_key_at_the_handle_is_not_given_the_value_of_the_one_before() {
    let fake = Fake::start(18);
    let key = opened(&fake, &PERSISTENT);
    let stranger = public_area(&[4; 65]);
    let length = u16::try_from(stranger.len()).unwrap().to_be_bytes();
    fake.instead(READ_PUBLIC, response(0x8001, 0, &[&length[..], &stranger, &[0; 4]].concat()));

    assert!(trouble(&*key).message().contains("another key at 0x81000005"));
    assert_eq!(fake.count(SIGN), 0);
}

#[test]
fn a_tpm_that_breaks_off_does_so_once() {
    let fake = Fake::start(19);
    let key = opened(&fake, &PERSISTENT);
    fake.instead(SIGN, Vec::new());

    let failure = trouble(&*key);

    assert!(failure.message().contains("broke: "), "{failure}");
    assert_eq!(failure.class(), Class::Transient);
    key.sign(b"message").unwrap();
}

#[test]
fn signers_on_one_tpm_take_turns() {
    let fake = Fake::start(20);
    let key = opened(&fake, &fake.file(OWNER));

    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| fake.verify(b"message", &key.sign(b"message").unwrap()));
        }
    });

    // A fourth object would have been refused.
    assert_eq!(fake.loaded(), 0);
    assert_eq!(fake.count(FLUSH), 2 * 9);
}

#[test]
fn a_tpm_1_2_and_what_is_no_tpm_are_told_apart() {
    let fake = Fake::start(21);
    fake.instead(GET_CAPABILITY, response(0x00c4, 30, b""));
    let old = open(&fake.device, &PERSISTENT, None).unwrap_err();
    fake.instead(GET_CAPABILITY, b"HTTP/1.1 400".to_vec());
    let garbled = open(&fake.device, &PERSISTENT, None).unwrap_err();

    assert!(old.to_string().contains("TPM 1.2"), "{old}");
    assert!(matches!(garbled, Error::Garbled { .. }), "{garbled}");
}

#[test]
fn a_tpm_that_cannot_be_reached_says_where_to_look() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs_err::write(&file, "").unwrap();
    let gone = folder.path().join("gone");
    for (device, words) in [
        (Device::Character(gone.clone()), "ls /dev/tpm*"),
        (Device::Character(file), "resource manager"),
        (Device::Unix(gone), "start the emulator"),
        (Device::Tcp { host: "127.0.0.1".into(), port: 1 }, "start the emulator"),
    ] {
        let error = open(&device, &PERSISTENT, None).unwrap_err();

        assert_eq!(error.class(), Class::Misconfigured);
        assert!(error.hint().unwrap().contains(words), "{error}");
        assert!(error.to_string().contains(&device.to_string()), "{error}");
    }
}

#[test]
fn a_device_that_is_no_tpm_is_refused_and_not_waited_for() {
    let zero = open(&Device::Character("/dev/zero".into()), &PERSISTENT, None).unwrap_err();
    let null = open(&Device::Character("/dev/null".into()), &PERSISTENT, None).unwrap_err();

    assert!(matches!(zero, Error::Garbled { .. }), "{zero}");
    assert!(matches!(null, Error::Garbled { .. }), "{null}");
}

#[test]
fn a_character_device_takes_commands_and_gives_responses_whole() {
    let fake = Fake::start_as_device(25);

    let key = opened(&fake, &fake.file(OWNER));

    for message in [b"one", b"two"] {
        fake.verify(message, &key.sign(message).unwrap());
    }
    assert_eq!(fake.loaded(), 0);
}

#[test]
fn a_device_that_never_answers_is_not_waited_for_longer_than_allowed() {
    let fake = Fake::start_as_device(26);
    // Half a command, for which the other end waits.
    let mut transport = fake.device.connect(Limit::of(Duration::ZERO)).unwrap();

    let outcome = transport.exchange(&[0x80, 1], Instant::now() + Duration::from_millis(50));

    assert_eq!(outcome.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
}

#[test]
fn an_operation_whose_time_is_over_still_flushes() {
    let fake = Fake::start(27);
    let KeyLocation::File(file) = fake.file(OWNER) else { unreachable!("a file was asked for") };
    let limit = Limit::of(Duration::from_millis(500));
    let mut client = TpmClient::connect(&fake.device, limit).unwrap();
    client.load(&file, &[Root::Ecc]).unwrap();

    pause(limit.remaining());
    assert_eq!(fake.loaded(), 1);
    drop(client);

    assert_eq!(fake.loaded(), 0);
}

#[test]
fn a_socket_that_never_answers_is_not_waited_for_longer_than_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tpm.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();

    let outcome = TpmClient::connect(&Device::Unix(path), Limit::of(Duration::from_millis(50)));

    assert!(matches!(outcome.err(), Some(Error::Silent { .. })));
}

#[test]
fn a_value_that_no_tpm_can_have_is_not_sent() {
    let fake = Fake::start(22);
    let long = Secret::new(vec![7; 65]);

    let error = open(&fake.device, &PERSISTENT, Some(&long)).unwrap_err();

    assert!(matches!(error, Error::AuthTooLong { length: 65, .. }), "{error}");
    assert!(fake.state().commands.is_empty());
}

#[test]
fn neither_debug_output_nor_errors_show_the_value() {
    let fake = Fake::start(23);
    let key = opened(&fake, &PERSISTENT);
    fake.instead(SIGN, refusal(0x98e));

    let text = format!("{key:?} {:?}", key.sign(b"message"));

    assert!(!text.contains(std::str::from_utf8(AUTH).unwrap()), "{text}");
}

/// Sends the given answers in order, and then closes the connection.
struct Scripted(Vec<Vec<u8>>);

impl TpmTransport for Scripted {
    fn exchange(&mut self, _: &[u8], _: Instant) -> std::io::Result<Vec<u8>> {
        self.0.pop().ok_or_else(|| std::io::ErrorKind::BrokenPipe.into())
    }
}

/// Bytes, or bytes behind a header that holds.
fn answer() -> impl Strategy<Value = Vec<u8>> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..200);
    let code = prop_oneof![Just(0_u32), Just(0x922), Just(0x98e), any::<u32>()];
    let tag = prop_oneof![Just(0x8001_u16), Just(0x8002), any::<u16>()];
    let framed = (tag, code, bytes()).prop_map(|(tag, code, body)| response(tag, code, &body));
    let loaded = bytes().prop_map(|rest| response(0x8002, 0, &[&[0x80, 0, 0, 1], &rest[..]].concat()));
    prop_oneof![bytes(), framed, loaded]
}

proptest! {
    #[test]
    fn whatever_a_tpm_answers_each_command_ends(
        answers in proptest::collection::vec(answer(), 0..12),
        is_rsa in any::<bool>(),
    ) {
        let fake_file = file_of_a_fake();
        let area = if is_rsa { rsa_area(0, &[0xc1; 256]) } else { public_area(&[4; 65]) };
        let public = Public::parse(&area).unwrap().unwrap();
        // Pauses between attempts are as long as there is time.
        let client = || TpmClient::over(&Device::default(), Box::new(Scripted(answers.clone())), Limit::of(Duration::ZERO));

        let _ = client().greet();
        let _ = client().read_public(HANDLE).and_then(|area| client().public(&area));
        let _ = client().load(&fake_file, &[Root::Ecc, Root::Rsa]);
        let _ = client().sign(HANDLE, b"", &public, &[0; 32]);
    }
}

fn file_of_a_fake() -> TpmKeyFile {
    static FILE: OnceLock<TpmKeyFile> = OnceLock::new();
    FILE.get_or_init(|| match Fake::start(24).file(OWNER) {
        KeyLocation::File(file) => file,
        KeyLocation::Persistent(_) => unreachable!("a file was asked for"),
    })
    .clone()
}
