//! Which intermediates are sent, where an issuer has several certificates.

use anchord_emulator::Authority;
use anchord_emulator::AuthorityRequest;
use anchord_emulator::KeyKind;
use time::Duration;

use crate::Loaded;
use crate::Locator;
use crate::Source;
use crate::support::Folder;
use crate::support::key;
use crate::support::leaf_of;
use crate::support::now;
use crate::support::root;

fn below(issuer: &Authority, name: &str) -> Authority {
    issuer.intermediate(name, KeyKind::P256).unwrap()
}

/// The certificate of `other` that `issuer` signs, which ends in so many days.
fn cross(issuer: &Authority, other: &Authority, days: i64) -> Vec<u8> {
    issuer.cross_sign(other, now() + Duration::days(days)).unwrap().der().to_vec()
}

fn der(authority: &Authority) -> Vec<u8> {
    authority.certificate_der().to_vec()
}

fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::prelude::BASE64_STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

/// What a leaf of `issuer` is loaded as, with these certificates around it, and where its paths end.
fn loaded(issuer: &Authority, certificates: &[Vec<u8>]) -> (Loaded, Vec<String>) {
    let (folder, leaf) = (Folder::new(), leaf_of(issuer, KeyKind::P256));
    let bundle: String = certificates.iter().map(|der| pem(der)).collect();
    let loaded = folder.load(format!("{bundle}{}", leaf.certificate_pem()), key(&leaf)).unwrap();
    let inspection = folder.source().inspect(now()).unwrap();
    assert!(inspection.refusals.is_empty(), "{:?}", inspection.refusals);
    (loaded, inspection.ends_at)
}

/// The certificates that are sent, and the warnings.
fn sent(issuer: &Authority, certificates: &[Vec<u8>]) -> (Vec<Vec<u8>>, Vec<String>) {
    let (loaded, _) = loaded(issuer, certificates);
    let warnings = loaded.warnings.iter().map(ToString::to_string).collect();
    (loaded.identity.intermediates().to_vec(), warnings)
}

#[test]
fn both_certificates_of_a_cross_signed_intermediate_are_sent() {
    let (one, two) = (root(), Authority::root("Other root", KeyKind::P256).unwrap());
    let issuing = below(&one, "Issuing");
    let (short, long) = (cross(&two, &issuing, 30), der(&issuing));

    for order in [
        [der(&one), short.clone(), long.clone(), der(&two)],
        [long.clone(), der(&two), short.clone(), der(&one)],
    ] {
        let (loaded, ends_at) = loaded(&issuing, &order);

        assert_eq!(loaded.identity.intermediates(), [long.clone(), short.clone()]);
        assert_eq!(loaded.warnings, []);
        assert_eq!(ends_at, ["CN=Test root", "CN=Other root"]);
    }
}

#[test]
fn a_certificate_that_two_paths_share_is_sent_once_behind_those_it_issued() {
    let root = root();
    let upper = below(&root, "Upper");
    let (left, right) = (below(&upper, "Left"), below(&upper, "Right"));
    let issuing = below(&left, "Issuing");
    let by_right = cross(&right, &issuing, 30);

    let (sent, warnings) =
        sent(&issuing, &[der(&upper), der(&right), by_right.clone(), der(&left), der(&issuing)]);

    assert_eq!(sent, [der(&issuing), der(&left), der(&upper), by_right, der(&right)]);
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn a_path_is_sent_whole_or_not_at_all() {
    let (root, mut upper) = (root(), Authority::root("Other root", KeyKind::P256).unwrap());
    let issuing = below(&root, "Issuing");
    let mut certificates = vec![der(&issuing)];
    for depth in 1..=4 {
        upper = below(&upper, &format!("Depth {depth}"));
        certificates.push(der(&upper));
        let mut certificates = certificates.clone();
        certificates.push(cross(&upper, &issuing, 30));

        let (sent, warnings) = sent(&issuing, &certificates);

        // The issuer, its other certificate, and those above that one.
        let fits = 2 + depth <= 5;
        assert_eq!(sent.len(), if fits { 2 + depth } else { 1 }, "{depth}");
        assert_eq!(sent[0], der(&issuing));
        assert_eq!(warnings.is_empty(), fits, "{warnings:?}");
    }
}

#[test]
fn a_path_that_fits_is_sent_where_another_one_is_too_long() {
    let mut upper = root();
    let mut certificates = Vec::new();
    for depth in 1..=5 {
        upper = below(&upper, &format!("Depth {depth}"));
        certificates.push(der(&upper));
    }
    let issuing = below(&upper, "Issuing");
    let short = cross(&Authority::root("Other root", KeyKind::P256).unwrap(), &issuing, 30);
    certificates.extend([der(&issuing), short.clone()]);

    let (sent, warnings) = sent(&issuing, &certificates);

    assert_eq!(sent, [short]);
    assert!(warnings[0].starts_with("6 of the certificates in"), "{warnings:?}");
    assert!(warnings[0].contains("are not sent: they are too many"), "{warnings:?}");
}

#[test]
fn an_expired_certificate_of_an_issuer_is_not_sent_beside_a_good_one() {
    let (root, mut request) = (root(), AuthorityRequest::new("Issuing", KeyKind::P256));
    request.not_before = now() - Duration::days(9);
    let issuing = root.subordinate(&request).unwrap();
    let (expired, other) =
        (cross(&root, &issuing, -1), Authority::root("Other root", KeyKind::P256).unwrap());
    let by_other = cross(&other, &issuing, 30);

    let (sent, warnings) = sent(&issuing, &[expired, by_other.clone(), der(&issuing)]);

    assert_eq!(sent, [der(&issuing), by_other]);
    assert!(warnings[0].contains("1 of the certificates in"), "{warnings:?}");
    assert!(warnings[0].ends_with("is not sent: it has expired"), "{warnings:?}");
}

#[test]
fn a_certificate_that_is_not_sent_is_reported_with_its_own_file_and_the_reason() {
    let root = root();
    let (issuing, stray) = (below(&root, "Issuing"), below(&root, "Stray"));
    let mut request = AuthorityRequest::new("Old", KeyKind::P256);
    (request.not_before, request.not_after) = (now() - Duration::days(9), now() - Duration::DAY);
    let old = root.subordinate(&request).unwrap();
    let (folder, leaf) = (Folder::new(), leaf_of(&issuing, KeyKind::P256));
    folder.install(&leaf);
    let more = folder.write("more.pem", [der(&issuing), der(&stray)].map(|der| pem(&der)).concat());
    let source = Source { intermediates: Some(Locator::File(more.clone())), ..folder.source() };
    let leaf_file = folder.path("leaf.pem");

    let warnings =
        || -> Vec<String> { source.load(now()).unwrap().warnings.iter().map(ToString::to_string).collect() };

    let of_one = warnings();
    folder.write("leaf.pem", leaf.certificate_pem().to_owned() + &pem(&der(&below(&root, "Other"))));
    folder.write("more.pem", [der(&issuing), der(&stray), der(&old)].map(|der| pem(&der)).concat());
    let of_both = warnings();

    let stray = "it is not on a path from the leaf to a root";
    assert_eq!(of_one, [format!("1 of the certificates in `{}` is not sent: {stray}", more.display())]);
    let mixed = "1 has expired, 1 is not on a path from the leaf to a root";
    let expected = [
        format!("1 of the certificates in `{}` is not sent: {stray}", leaf_file.display()),
        format!("2 of the certificates in `{}` are not sent: {mixed}", more.display()),
    ];
    assert_eq!(of_both, expected);
}

/// The first path leads into a certificate that has expired, the second one to its end.
#[test]
fn a_path_that_ends_early_comes_behind_a_whole_one() {
    let root = root();
    let mut request = AuthorityRequest::new("Upper", KeyKind::P256);
    (request.not_before, request.not_after) = (now() - Duration::days(9), now() - Duration::DAY);
    let expired = root.subordinate(&request).unwrap();
    let issuing = below(&expired, "Issuing");
    let good = cross(&root, &issuing, 30);

    let (sent, _) = sent(&issuing, &[der(&issuing), der(&expired), good.clone()]);

    assert_eq!(sent, [good, der(&issuing)]);
}

/// RFC 4210 (4.4) has a CA that changes its key certify the new one with the old one, under one name.
#[test]
fn a_root_whose_new_key_is_certified_with_its_old_one_leads_to_both() {
    let (old, new) = (root(), root());
    let issuing = below(&new, "Issuing");
    let link = cross(&old, &new, 30);

    for roots in [vec![], vec![der(&new)], vec![der(&new), der(&old)]] {
        let (sent, _) = sent(&issuing, &[roots, vec![link.clone(), der(&issuing)]].concat());

        assert_eq!(sent, [der(&issuing), link.clone()]);
    }
}

#[test]
fn authorities_that_certify_each_other_lead_around_only_once() {
    let (one, two) = (root(), Authority::root("Other root", KeyKind::P256).unwrap());
    let issuing = below(&one, "Issuing");
    let (one_by_two, two_by_one) = (cross(&two, &one, 30), cross(&one, &two, 30));

    let (sent, _) = sent(&issuing, &[two_by_one, one_by_two.clone(), der(&issuing)]);

    assert_eq!(sent, [der(&issuing), one_by_two]);
}

/// Seven levels of nine certificates make millions of paths.
#[test]
fn a_bundle_with_very_many_paths_is_read_in_no_time() {
    let mut upper = root();
    let mut certificates = Vec::new();
    for depth in 0..7 {
        let lower = below(&upper, &format!("Depth {depth}"));
        certificates.extend((1..10).map(|days| cross(&upper, &lower, days)));
        upper = lower;
    }
    let parsed: Vec<_> = certificates
        .iter()
        .enumerate()
        .map(|(position, der)| super::Certificate {
            origin: crate::Origin::named("a bundle".to_owned()),
            position,
            der: der.clone(),
        })
        .collect();
    let leaf = super::Certificate {
        origin: crate::Origin::named("a bundle".to_owned()),
        position: 0,
        der: leaf_of(&upper, KeyKind::P256).certificate_der().to_vec(),
    };

    let sent = super::order(&leaf, &parsed, now()).unwrap();

    assert_eq!(sent.len(), 7, "the length of a path, which is too long");
}
