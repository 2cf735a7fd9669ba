#![no_main]
//! Edits shared credentials files, which any tool may have written.

use anchord_core::clock::Moment;
use anchord_core::clock::parse_rfc3339;
use anchord_core::credentials::Credentials;
use anchord_core::credentials::Keys;
use anchord_core::profile::Profile;
use anchord_core::secret::Secret;
use anchord_frontend::credentials_file::edit;

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let keys = Keys {
        access_key_id: "ASIANEW".into(),
        secret_access_key: Secret::new("new/secret+=".into()),
        session_token: Some(Secret::new("new-token==".into())),
    };
    let at = |text| parse_rfc3339(text).expect("it is a date");
    let (from, to) = (at("2026-03-11T12:00:00Z"), at("2026-03-11T13:00:00Z"));
    let credentials = Credentials::new(
        keys,
        Moment { wall: from, up: Default::default() },
        to,
        Some("123456789012".into()),
    )
    .expect("they are complete");
    let profile = Profile::parse("a").expect("it is a name");

    let Some(once) = edit(text, &profile, &credentials) else { return };
    let twice = edit(once.expose(), &profile, &credentials).expect("it has no more sections than before");

    let id = b"aws_access_key_id";
    assert!(once.expose().windows(id.len()).any(|found| found == id));
    assert_eq!(once, twice, "what was written is found again");
});
