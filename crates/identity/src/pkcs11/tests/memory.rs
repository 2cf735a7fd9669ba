//! No token is given a wrong PIN twice.

use crate::pkcs11::pins;
use crate::pkcs11::pins::Permission;
use crate::pkcs11::pins::lock;
use crate::pkcs11::protocol::PinOutcome;
use crate::pkcs11::protocol::TokenName;
use anchord_core::secret::Secret;

fn pin(text: &str) -> Secret<Vec<u8>> {
    Secret::new(text.as_bytes().to_vec())
}

fn token(label: &str, serial: &str) -> TokenName {
    TokenName { label: label.into(), manufacturer: "memory".into(), model: "m".into(), serial: serial.into() }
}

fn permission(token: &TokenName, text: &str) -> Permission {
    lock(&pins::record(token)).permission(&pin(text))
}

fn note(token: &TokenName, text: &str, outcome: PinOutcome) {
    lock(&pins::record(token)).note(&pin(text), outcome);
}

#[test]
fn a_refused_pin_is_denied_although_another_one_is_taken() {
    let token = token("a", "1");
    assert_eq!(permission(&token, "1111"), Permission::Granted);

    note(&token, "1111", PinOutcome::Refused);
    note(&token, "2222", PinOutcome::Refused);

    assert_eq!([permission(&token, "1111"), permission(&token, "2222")], [Permission::Denied; 2]);
    assert_eq!(permission(&token, "3333"), Permission::Granted);
    note(&token, "3333", PinOutcome::Untried);
    assert_eq!(permission(&token, "1111"), Permission::Denied);
    note(&token, "3333", PinOutcome::Taken);
    assert_eq!([permission(&token, "1111"), permission(&token, "2222")], [Permission::Denied; 2]);
    assert_eq!(permission(&token, "3333"), Permission::Granted);
}

#[test]
fn a_token_is_remembered_by_its_serial_number_and_not_by_its_label() {
    note(&token("before", "2"), "1111", PinOutcome::Refused);

    assert_eq!(permission(&token("after", "2"), "1111"), Permission::Denied);
    assert_eq!(permission(&token("before", "3"), "1111"), Permission::Granted);
}

#[test]
fn a_pin_whose_outcome_is_unknown_is_tried_with_care() {
    let token = token("a", "4");

    note(&token, "1111", PinOutcome::Unknown);

    assert_eq!(permission(&token, "1111"), Permission::Careful);
    assert_eq!(permission(&token, "2222"), Permission::Granted);
    note(&token, "2222", PinOutcome::Unknown);
    assert_eq!(permission(&token, "1111"), Permission::Careful, "another one does not make it safe");
    note(&token, "2222", PinOutcome::Taken);
    assert_eq!(permission(&token, "2222"), Permission::Granted);
    note(&token, "1111", PinOutcome::Refused);
    assert_eq!(permission(&token, "1111"), Permission::Denied);
}
