//! A user's keys, exchanged and as they are.

use std::path::PathBuf;

use super::*;
use crate::upstream::support::NOW;
use crate::upstream::support::ONE;
use crate::upstream::support::Script;
use crate::upstream::support::granted;
use crate::upstream::support::is_signed;
use crate::upstream::support::keys;
use crate::upstream::support::parameters;
use crate::upstream::support::refusal;
use crate::upstream::support::reply;
use crate::upstream::support::sts;
use anchord_core::failure::Class;
use anchord_testing::Folder;

const HOUR: Duration = Duration::from_secs(3600);

fn exchanged() -> AccessKeyMode {
    AccessKeyMode::SessionToken { duration: HOUR, sts: sts() }
}

fn write(folder: &Folder, id: &str) -> PathBuf {
    folder.write("keys", format!("{id}:canary-secret-of-{id}\n"))
}

fn file() -> (Folder, AccessKeys) {
    let folder = Folder::new();
    let path = write(&folder, "AKIAUSER");
    (folder, AccessKeys::file(path))
}

#[tokio::test(start_paused = true)]
async fn keys_are_exchanged_for_temporary_credentials() {
    let (_folder, keys_in_file) = file();
    let script = Script::new([reply(200, &[], &granted("GetSessionToken", "ASIAMADE", ONE))]);
    let issuer = AccessKeySession::new(keys_in_file, exchanged(), script.caller());

    let credentials = issuer.issue().await.unwrap();

    assert_eq!(credentials.access_key_id(), "ASIAMADE");
    assert_eq!(credentials.session_token().unwrap().expose(), "canary-token-of-ASIAMADE");
    assert_eq!(credentials.expires_at(), NOW + time::Duration::HOUR);
    assert_eq!(credentials.account_id(), None, "which AWS does not say");
    let [request] = script.sent().try_into().unwrap();
    assert!(is_signed(&request, &keys("AKIAUSER", None)), "{request:?}");
    let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let expected = [("Action", "GetSessionToken"), ("Version", "2011-06-15"), ("DurationSeconds", "3600")];
    assert_eq!(parameters(&request), expected.map(pair));
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_not_exchanged_are_handed_out_until_it_is_time_to_read_them_again() {
    let (folder, keys_in_file) = file();
    let script = Script::new([]);
    let issuer = AccessKeySession::new(keys_in_file, AccessKeyMode::AsIs { life: HOUR }, script.caller());

    let credentials = issuer.issue().await.unwrap();
    write(&folder, "AKIAOTHER");
    let renewed = issuer.issue().await.unwrap();

    assert_eq!(credentials.access_key_id(), "AKIAUSER");
    assert_eq!(credentials.secret_access_key().expose(), "canary-secret-of-AKIAUSER");
    assert!(credentials.session_token().is_none());
    assert_eq!(credentials.expires_at(), NOW + time::Duration::HOUR);
    assert_eq!(renewed.access_key_id(), "AKIAOTHER");
    assert!(script.sent().is_empty(), "AWS is not asked");
}

#[tokio::test(start_paused = true)]
async fn keys_are_not_read_again_more_often_than_sdks_can_bear() {
    let given = AccessKeys::given(keys("AKIAUSER", None), "variables");
    let life = Duration::from_secs(1);
    let issuer = AccessKeySession::new(given, AccessKeyMode::AsIs { life }, Script::new([]).caller());

    assert_eq!(issuer.issue().await.unwrap().life(), time::Duration::minutes(15));
}

#[tokio::test(start_paused = true)]
async fn without_keys_nothing_is_sent_and_no_other_endpoint_is_tried() {
    let (folder, keys_in_file) = file();
    fs_err::remove_file(folder.path("keys")).unwrap();
    for exchange in [exchanged(), AccessKeyMode::AsIs { life: HOUR }] {
        let script = Script::new([]);
        let issuer = AccessKeySession::new(keys_in_file.clone(), exchange, script.caller());

        let failure = issuer.issue().await.unwrap_err();

        assert_eq!(failure.class(), Class::Misconfigured, "{failure}");
        assert!(failure.is_local() && failure.hint().is_some(), "{failure}");
        assert!(script.sent().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn keys_that_were_deleted_are_named_as_the_cause() {
    let (_folder, keys_in_file) = file();
    let gone = refusal("InvalidClientTokenId", "The security token included in the request is invalid.");
    let script = Script::new([reply(403, &[], &gone)]);
    let issuer = AccessKeySession::new(keys_in_file, exchanged(), script.caller());

    let failure = issuer.issue().await.unwrap_err();

    let text = failure.to_string();
    assert!(
        text.starts_with("AWS answered GetSessionToken with 403 Forbidden InvalidClientTokenId"),
        "{text}"
    );
    assert_eq!(failure.class(), Class::Denied, "{text}");
    assert!(text.contains("deleted or deactivated") && !text.contains("canary"), "{text}");
}
