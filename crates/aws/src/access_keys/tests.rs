//! Access keys in every form that people have them in, and in some that they should not.

mod watched;

use std::os::unix::fs::PermissionsExt as _;

use proptest::prelude::*;

use super::*;
use anchord_core::failure::Class;
use anchord_core::secret::Secret;
use anchord_testing::Folder;
use anchord_testing::Log;

const ID: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "canary/K7MDENG+bPxRfiCYEXAMPLEKEY=";

fn ini() -> String {
    format!("aws_access_key_id = {ID}\naws_secret_access_key = {SECRET}\n")
}

fn json() -> String {
    let key = serde_json::json!({
        "UserName": "robot", "Status": "Active", "CreateDate": "2026-03-11T12:00:00+00:00",
        "SecretAccessKey": SECRET, "AccessKeyId": ID,
    });
    serde_json::to_string_pretty(&serde_json::json!({ "AccessKey": key })).unwrap()
}

fn given(id: &str, token: Option<&str>) -> AccessKeys {
    let keys = Keys {
        access_key_id: id.into(),
        secret_access_key: Secret::new(SECRET.into()),
        session_token: token.map(|token| Secret::new(token.into())),
    };
    AccessKeys::given(keys, "ANCHORD_ACCESS_KEY_ID")
}

#[test]
fn keys_are_read_in_every_form_that_people_have_them_in() {
    let forms = [
        ini(),
        ini().replace('\n', "\r\n"),
        ini().replace(" = ", "=").to_uppercase().replace(&SECRET.to_uppercase(), SECRET),
        format!("# of the robot\n[default]\nregion = us-east-1\n{}", ini()),
        format!("[robot]\n{}\naws_session_token =\n", ini()),
        format!("[robot]\nregion = us-east-1\n[other]\n{}", ini()),
        format!("[other]\n{}[default]\n{}", ini().replace("AKIA", "AKIB"), ini()),
        format!("[default]\n{}s3 =\n  aws_access_key_id = none\n", ini()),
        format!("{ID}:{SECRET}"),
        format!("  {ID}:{SECRET}\r\n"),
        format!("\u{feff}Access key ID,Secret access key\r\n{ID},{SECRET}\r\n"),
        format!("Access key ID,Secret access key\n{ID},{SECRET}"),
        format!(
            "User name,Password,Access key ID,Secret access key,Console login link\n\
             \"a,b\",,{ID},\"{SECRET}\",https://x"
        ),
        json(),
        format!("\u{feff}{}", json()),
        format!(r#"{{"AccessKeyId":"{ID}","SecretAccessKey":"{}"}}"#, SECRET.replace('/', "\\/")),
    ];
    for form in forms {
        let keys = AccessKeys::parse(&form).unwrap_or_else(|fault| panic!("{fault}: {form}"));

        assert_eq!((keys.access_key_id.as_str(), keys.secret_access_key.expose().as_str()), (ID, SECRET));
        assert!(keys.session_token.is_none());
    }
}

#[test]
fn what_is_wrong_is_said_without_what_was_read() {
    let missing = |part| format!("has no {part}");
    let cases = [
        (String::new(), "is not in a known format of access keys".to_owned()),
        (
            "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----".into(),
            "is not in a known format".into(),
        ),
        (SECRET.into(), "is not in a known format".into()),
        (ini().lines().next().unwrap().into(), missing("secret access key")),
        (ini().lines().nth(1).unwrap().into(), missing("access key ID")),
        (ini().replace(SECRET, ""), missing("secret access key")),
        (format!("{ID}:"), missing("secret access key")),
        (format!("{}{}", ini(), ini()), "has more than one access key ID".into()),
        (format!("[default]\n{}[default]\n{}", ini(), ini()), "has more than one access key ID".into()),
        (
            format!("[one]\n{}[two]\n{}[{}]\n{}", ini(), ini(), "canary".repeat(9), ini()),
            "has keys in several sections, and none in [default]: [one], [two], […]".into(),
        ),
        (ini().replace(ID, SECRET), "has no usable access key ID".into()),
        (format!("{ID}:canary canary"), "has no usable secret access key".into()),
        (format!("{ID}:canary\ncanary"), "has no usable secret access key".into()),
        ("Access key ID,Secret access key\n".into(), missing("access key ID")),
        (format!("Access key ID,Password\n{ID},canary"), missing("secret access key")),
        (format!("Access key ID,Secret access key\n{ID},canary\n{ID},canary"), "has more than one".into()),
        (json().replace("SecretAccessKey", "Canary"), "is not the JSON of an access key (line".into()),
        (json().replace("AccessKey\":", "canary\":"), "is not the JSON of an access key (line".into()),
        (json().replace(&format!("\"{SECRET}\""), "\"canary"), "is not the JSON of an access key".into()),
    ];
    for (text, expected) in cases {
        let fault = AccessKeys::parse(&text).unwrap_err();

        assert!(fault.to_string().starts_with(&expected), "{fault}: {text}");
        assert!(!format!("{fault} {fault:?} {}", fault.hint()).contains("canary"), "{fault:?}");
    }
}

#[tokio::test]
async fn temporary_keys_are_refused_because_they_end() {
    let temporary = [
        ini().replace("AKIA", "ASIA"),
        format!("{}aws_session_token = canary\n", ini()),
        format!("ASIAEXAMPLE:{SECRET}"),
        json().replace("AKIA", "ASIA"),
        json().replace("\"UserName\": \"robot\"", "\"SessionToken\": \"canary\""),
    ];
    for text in temporary {
        let fault = AccessKeys::parse(&text).unwrap_err();

        assert_eq!(fault, ParseError::Temporary, "{text}");
        assert_eq!(fault.hint(), "temporary keys expire; use a user's access keys (AKIA…)");
    }
    for keys in [given("ASIAEXAMPLE", None), given(ID, Some("canary-token"))] {
        let error = keys.load().await.unwrap_err();

        assert_eq!(error.to_string(), "ANCHORD_ACCESS_KEY_ID has temporary keys");
        assert_eq!(error.class(), Class::Misconfigured);
    }
}

#[tokio::test]
async fn a_file_is_read_anew_each_time() {
    let folder = Folder::new();
    let keys = AccessKeys::file(folder.write("keys", ini()));

    assert_eq!(keys.load().await.unwrap().access_key_id, ID);
    folder.write("keys", format!("AKIAOTHER:{SECRET}"));
    assert_eq!(keys.load().await.unwrap().access_key_id, "AKIAOTHER");
}

#[tokio::test]
async fn each_fault_of_a_file_names_it_and_says_what_to_do() {
    let folder = Folder::new();
    let fifo = folder.path("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let cases = [
        (folder.path("none"), "cannot read", "put the file there"),
        (folder.root().into(), "is a directory, not a regular file", "name the file itself"),
        (fifo, "is a pipe, not a regular file", "name a regular file"),
        (folder.write("empty", " \n"), "is empty", "still writing it"),
        (
            folder.write("large", vec![b'a'; MAX_BYTES + 1]),
            "is larger than 65536 bytes",
            "contains only the access keys",
        ),
        (
            folder.write("huge", vec![b'a'; 2 << 20]),
            "is larger than 65536 bytes",
            "contains only the access keys",
        ),
        (folder.write("binary", b"canary\xff"), "is not in a known format", "shared credentials file"),
        (folder.write("text", "canary"), "is not in a known format", "shared credentials file"),
    ];
    for (path, what, hint) in cases {
        let error = AccessKeys::file(path.clone()).load().await.unwrap_err();

        let text = error.to_string();
        assert!(text.contains(&path.display().to_string()) && text.contains(what), "{text}");
        assert!(error.hint().unwrap().contains(hint), "{text}");
        assert_eq!(error.class(), Class::Misconfigured, "{text}");
        assert!(!format!("{text} {error:?}").contains("canary"), "{text}");
    }
}

#[tokio::test]
async fn that_others_may_read_the_file_is_told_once() {
    let (folder, log) = (Folder::new(), Log::start());
    let path = folder.write("keys", ini());
    let mode = |mode| fs_err::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    let keys = AccessKeys::file(path.clone());
    keys.load().await.unwrap();
    assert_eq!(log.news(), [""; 0]);

    mode(0o644);
    keys.load().await.unwrap();
    keys.clone().load().await.unwrap();

    let told = log.news();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("is accessible to other users (mode 0644)")
            && told[0].contains("run `chmod 0600` on it"),
        "{told:?}"
    );
    mode(0o600);
    keys.load().await.unwrap();
    assert_eq!(log.news(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_file_system_that_hangs_is_given_up_and_costs_one_thread() {
    let folder = Folder::new();
    let keys = AccessKeys::file(folder.write("keys", ini()));
    let (_end, hanging) = std::sync::mpsc::channel::<()>();
    keys.reading.read(std::time::Duration::ZERO, move || hanging.recv().is_err()).await.unwrap_err();

    let error = keys.load().await.unwrap_err();

    assert!(error.to_string().ends_with("could not be read within 5 s"), "{error}");
}

#[tokio::test]
async fn keys_are_neither_printed_nor_part_of_what_fingerprints_are_made_of() {
    let keys = given(ID, None);

    assert!(!format!("{keys:?} {keys:#?}").contains("canary"), "{keys:?}");
    assert_eq!(keys.fact(), ID.as_bytes());
    assert_eq!(keys.load().await.unwrap().secret_access_key.expose(), SECRET);
}

#[test]
fn keys_are_the_same_where_their_place_is_or_where_they_are_given_alike() {
    let file = |path: &str| AccessKeys::file(path.into());

    assert_eq!(file("/a"), file("/a"));
    assert_ne!(file("/a"), file("/b"));
    assert_eq!(given(ID, None), given(ID, None));
    assert_ne!(given(ID, None), given("AKIAOTHER", None));
    assert_ne!(given(ID, None), file("/a"));
}

proptest! {
    #[test]
    fn no_text_whatever_makes_the_reader_panic(text in any::<String>()) {
        let _ = AccessKeys::parse(&text);
    }

    #[test]
    fn no_arrangement_of_what_keys_are_made_of_makes_it_panic_or_tells_the_secret(
        parts in proptest::collection::vec(prop_oneof![
            Just("["), Just("]"), Just("default"), Just("\n"), Just("\r\n"), Just("="), Just(":"), Just(","),
            Just("\""), Just("{"), Just("}"), Just("aws_access_key_id"), Just("aws_secret_access_key"),
            Just("Access key ID"), Just("Secret access key"), Just("\"AccessKey\""), Just("\"AccessKeyId\""),
            Just("AKIAEXAMPLE"), Just("canary\u{e9}canary"), Just("\u{feff}"),
        ], 0..30),
    ) {
        if let Err(fault) = AccessKeys::parse(&parts.concat()) {
            let text = format!("{fault} {}", fault.hint());
            prop_assert!(!text.contains("canary\u{e9}"), "{}", text);
        }
    }
}
