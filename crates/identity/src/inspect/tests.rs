//! What people see of good and bad certificates.

use anchord_emulator::AuthorityRequest;
use anchord_emulator::KeyKind;
use anchord_emulator::LeafRequest;
use time::Duration;

use super::*;
use crate::LeafSelection;
use crate::support::Folder;
use crate::support::key;
use crate::support::leaf_of;
use crate::support::now;
use crate::support::root;

fn refusals(inspection: &Inspection) -> Vec<&str> {
    inspection.refusals.iter().map(Failure::message).collect()
}

fn roles(inspection: &Inspection) -> Vec<(CertificateRole, &str)> {
    inspection.certificates.iter().map(|seen| (seen.role, seen.subject.as_str())).collect()
}

/// A good leaf below an intermediate that is not.
fn below_an_issuer(spoil: impl FnOnce(&mut AuthorityRequest)) -> Inspection {
    let (folder, root) = (Folder::new(), root());
    let mut request = AuthorityRequest::new("Issuing", KeyKind::P256);
    spoil(&mut request);
    let issuing = root.subordinate(&request).unwrap();
    let leaf = leaf_of(&issuing, KeyKind::P256);
    folder.write("leaf.pem", [leaf.certificate_pem(), issuing.certificate_pem()].concat());
    folder.write("key.pem", key(&leaf));
    folder.source().inspect(now()).unwrap()
}

#[test]
fn a_chain_is_shown_in_the_order_in_which_it_is_sent() {
    let (folder, root) = (Folder::new(), root());
    let issuing = root.subordinate(&AuthorityRequest::new("Issuing", KeyKind::P256)).unwrap();
    let leaf = leaf_of(&issuing, KeyKind::P256);
    let bundle = [root.certificate_pem(), issuing.certificate_pem(), leaf.certificate_pem()].concat();
    folder.write("leaf.pem", bundle);
    folder.write("key.pem", key(&leaf));

    let inspection = folder.source().inspect(now()).unwrap();

    assert_eq!(
        roles(&inspection),
        [
            (CertificateRole::Leaf, "CN=robot-7"),
            (CertificateRole::Intermediate, "CN=Issuing"),
            (CertificateRole::NotSent, "CN=Test root")
        ]
    );
    assert_eq!(inspection.ends_at, ["CN=Test root"]);
    assert_eq!(inspection.key.unwrap().unwrap(), "the EC private key belongs to the leaf");
    assert!(inspection.refusals.is_empty());
    let seen = &inspection.certificates[0];
    assert_eq!(seen.fingerprint, Fingerprint::of(leaf.certificate_der()));
    assert_eq!((seen.key.as_str(), seen.issuer.as_str()), ("EC P-256", "CN=Issuing"));
    assert!(seen.usage.contains(&"digitalSignature".into()) && seen.usage.contains(&"CA:false".into()));
}

#[test]
fn every_reason_against_a_leaf_is_reported() {
    let (folder, root) = (Folder::new(), root());
    let mut request = LeafRequest::new("robot-7", KeyKind::P256);
    request.digital_signature = false;
    request.not_after = now() - Duration::MINUTE;
    let leaf = root.leaf(&request).unwrap();
    folder.install(&leaf);

    let inspection = folder.source().inspect(now()).unwrap();

    let refusals = refusals(&inspection);
    assert!(refusals[0].ends_with("has no key usage digitalSignature"), "{refusals:?}");
    assert!(refusals[1].contains("expired at"), "{refusals:?}");
    assert_eq!(refusals.len(), 2);
    assert!(inspection.refusals.iter().all(|refusal| refusal.hint().is_some()));
}

#[test]
fn an_issuer_that_may_not_sign_certificates_is_reported() {
    let inspection = below_an_issuer(|request| request.key_cert_sign = false);

    let refusals = refusals(&inspection);
    assert!(refusals[0].starts_with("the intermediate `CN=Issuing` in"), "{refusals:?}");
    assert_eq!(refusals.len(), 1);
}

#[test]
fn a_certificate_is_shown_without_a_key_and_beside_one_that_is_unusable() {
    let (folder, root) = (Folder::new(), root());
    let leaf = leaf_of(&root, KeyKind::Rsa2048);
    folder.write("leaf.pem", [root.certificate_pem(), leaf.certificate_pem()].concat());
    let alone = Source { private_key: None, ..folder.source() };

    let inspection = alone.inspect(now()).unwrap();
    assert_eq!(
        roles(&inspection),
        [(CertificateRole::Leaf, "CN=robot-7"), (CertificateRole::NotSent, "CN=Test root")]
    );
    assert!(inspection.key.is_none() && inspection.refusals.is_empty() && inspection.warnings.is_empty());

    folder.write("key.pem", "garbage");
    let inspection = folder.source().inspect(now()).unwrap();
    assert_eq!(inspection.certificates.len(), 2);
    assert!(inspection.key.unwrap().is_err());
    assert!(inspection.refusals[0].message().contains("holds no private key"));

    folder.write("key.pem", key(&leaf_of(&root, KeyKind::P256)));
    let inspection = folder.source().inspect(now()).unwrap();
    assert!(inspection.refusals[0].message().starts_with("no certificate in"));
    assert_eq!(inspection.key.unwrap().unwrap(), "the EC private key matches no usable certificate");
}

#[test]
fn a_certificate_that_is_not_meant_is_refused_without_a_key_too() {
    let (folder, root) = (Folder::new(), root());
    folder.write("leaf.pem", leaf_of(&root, KeyKind::P256).certificate_pem());
    let refusal = |selection: LeafSelection| {
        let alone = Source { private_key: None, selection, ..folder.source() };
        refusals(&alone.inspect(now()).unwrap())[0].to_owned()
    };

    let other = Fingerprint::of(b"another certificate");
    let pinned = LeafSelection { fingerprints: vec![other], ..LeafSelection::default() };
    assert!(refusal(pinned).ends_with("which is not pinned"));
    let named = LeafSelection { subject: Some("CN=robot-8".parse().unwrap()), ..LeafSelection::default() };
    assert!(refusal(named).contains("has the selected subject, issuer or serial number"));
}

#[test]
fn an_intermediate_that_has_ended_is_a_reason_against_it() {
    let inspection = below_an_issuer(|request| request.not_after = now() - Duration::DAY);

    let refusals = refusals(&inspection);
    assert!(refusals[0].contains("the intermediate `CN=Issuing`") && refusals[0].contains("expired at"));
    assert_eq!(refusals.len(), 1);
}

/// The maker of a certificate chooses its names.
#[test]
fn names_write_no_lines_of_their_own_and_are_taken_by_settings() {
    let (folder, root) = (Folder::new(), root());
    let leaf = root.leaf(&LeafRequest::new("a\n  acceptable, really", KeyKind::P256)).unwrap();
    folder.install(&leaf);
    let seen = folder.source().inspect(now()).unwrap().certificates.remove(0);
    assert_eq!(seen.subject, "CN=a?  acceptable\\, really");

    folder.install(&root.leaf(&LeafRequest::new("robots, inc", KeyKind::P256)).unwrap());
    let seen = folder.source().inspect(now()).unwrap().certificates.remove(0);
    let selection =
        LeafSelection { subject: Some(seen.subject.parse().unwrap()), ..LeafSelection::default() };
    assert!(Source { selection, ..folder.source() }.load(now()).is_ok(), "{}", seen.subject);
}

#[test]
fn a_serial_number_is_shown_in_both_notations() {
    let (folder, root) = (Folder::new(), root());
    for (serial, decimal, hexadecimal) in
        [(vec![0x00, 0x0a, 0xff], "2815", "0xaff"), (vec![16], "16", "0x10")]
    {
        let mut request = LeafRequest::new("robot-7", KeyKind::P256);
        request.serial = Some(serial);
        folder.install(&root.leaf(&request).unwrap());

        let inspection = folder.source().inspect(now()).unwrap();

        let seen = &inspection.certificates[0];
        assert_eq!((seen.serial.as_str(), seen.serial_hex.as_str()), (decimal, hexadecimal));
        for shown in [&seen.serial, &seen.serial_hex] {
            let selection =
                LeafSelection { serial: Some(shown.parse().unwrap()), ..LeafSelection::default() };
            assert!(Source { selection, ..folder.source() }.load(now()).is_ok(), "{shown} selects it");
        }
    }
}

#[test]
fn a_subject_is_shown_and_selects_its_leaf_whatever_kind_of_string_it_is() {
    const COMMON_NAME: &[u8] = &[0x55, 4, 3];
    const ORGANIZATION: &[u8] = &[0x55, 4, 10];
    let (folder, root) = (Folder::new(), root());
    let utf16: Vec<u8> = "Müller Söhne".encode_utf16().flat_map(u16::to_be_bytes).collect();
    let utf32: Vec<u8> = "Müller Söhne".chars().flat_map(|letter| u32::from(letter).to_be_bytes()).collect();
    let leaf = leaf_of(&root, KeyKind::P256);
    for (tag, organization) in
        [(0x0c, "Müller Söhne".as_bytes()), (0x14, b"M\xfcller S\xf6hne"), (0x1c, &utf32), (0x1e, &utf16)]
    {
        let subject = [(ORGANIZATION, tag, organization), (COMMON_NAME, 0x13, b"robot-7".as_slice())];
        folder.install(&root.with_subject(&leaf, &subject).unwrap());

        let seen = folder.source().inspect(now()).unwrap().certificates.remove(0);

        assert_eq!(seen.subject, "O=Müller Söhne,CN=robot-7", "{tag:#x}");
        for wanted in ["O=Müller Söhne", "CN=robot-7", "CN=robot-7,O=Müller Söhne"] {
            let selection =
                LeafSelection { subject: Some(wanted.parse().unwrap()), ..LeafSelection::default() };
            let loaded = Source { selection, ..folder.source() }.load(now()).unwrap();
            assert_eq!(loaded.identity.subject(), seen.subject, "{tag:#x}");
        }
    }
}

#[test]
fn a_negative_serial_number_is_refused_by_name() {
    let (folder, root) = (Folder::new(), root());
    let leaf = leaf_of(&root, KeyKind::P256);
    for (content, decimal, hexadecimal) in
        [([0x80].as_slice(), "-128", "-0x80"), (&[0xff], "-1", "-0x1"), (&[0xfe, 0xff], "-257", "-0x101")]
    {
        folder.install(&root.with_serial(&leaf, content).unwrap());

        let inspection = folder.source().inspect(now()).unwrap();
        let refused = folder.source().load(now()).unwrap_err();

        let said = format!("has a negative serial number ({decimal})");
        assert_eq!(refusals(&inspection).len(), 1);
        assert!(refusals(&inspection)[0].ends_with(&said), "{:?}", inspection.refusals);
        assert!(refused.to_string().ends_with(&said), "{refused}");
        let seen = &inspection.certificates[0];
        assert_eq!((seen.serial.as_str(), seen.serial_hex.as_str()), (decimal, hexadecimal));
    }
}

/// Made by `openssl req -x509 -newkey ed25519`, which no leaf of Roles Anywhere can be.
#[test]
fn a_kind_of_key_that_is_not_accepted_is_named() {
    let folder = Folder::new();
    folder.write("leaf.pem", include_str!("tests/ed25519.pem"));
    let alone = Source { private_key: None, ..folder.source() };

    let inspection = alone.inspect(now()).unwrap();

    let refusals = refusals(&inspection);
    assert!(refusals.iter().any(|refusal| refusal.ends_with("has a key that is Ed25519")), "{refusals:?}");
}

/// Roles Anywhere makes tags of it.
#[test]
fn a_directory_name_beside_the_subject_is_shown() {
    use x509_parser::prelude::FromDer as _;
    use x509_parser::x509::X509Name;
    // CN=Rö in BMPString.
    let der = b"\x30\x0f\x31\x0d\x30\x0b\x06\x03\x55\x04\x03\x1e\x04\x00R\x00\xf6";

    let name = GeneralName::DirectoryName(X509Name::from_der(der).unwrap().1);

    assert_eq!(alternative_name(&name).map(|name| name.to_string()).as_deref(), Some("Name:CN=R\u{f6}"));
}
