//! Who is refused, one test a check: a good request with one thing wrong, signed anew where the signature would tell
//! otherwise.

use anchord_emulator::Authority;
use anchord_emulator::AuthorityRequest;
use anchord_emulator::Clock;
use anchord_emulator::KeyKind;
use anchord_emulator::LeafRequest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use time::Duration;

use crate::support::Draft;
use crate::support::World;
use crate::support::hex;
use crate::support::sign;

fn sha1_in_place_of_sha256(der: &[u8]) -> Vec<u8> {
    let (sha256, sha1) = ([42, 134, 72, 134, 247, 13, 1, 1, 11], [42, 134, 72, 134, 247, 13, 1, 1, 5]);
    replace(der, &sha256, &sha1)
}

fn replace(der: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut der = der.to_vec();
    while let Some(at) = der.windows(old.len()).position(|window| window == old) {
        der[at..at + new.len()].copy_from_slice(new);
    }
    der
}

async fn untrusted_leaf(change: impl FnOnce(&mut LeafRequest), reason: &str) {
    let world = World::new().await;
    let mut request = LeafRequest::new("host-7", KeyKind::P256);
    change(&mut request);
    let leaf = world.root.leaf(&request).unwrap();

    world.untrusted(&Draft::new(&world.emulator, &leaf, &[]), reason).await;
}

async fn untrusted_intermediate(change: impl FnOnce(&mut AuthorityRequest), reason: &str) {
    let world = World::new().await;
    let mut request = AuthorityRequest::new("between", KeyKind::P256);
    change(&mut request);
    let between = world.root.subordinate(&request).unwrap();
    let leaf = between.leaf(&LeafRequest::new("host-7", KeyKind::P256)).unwrap();

    world.untrusted(&Draft::new(&world.emulator, &leaf, &[between.certificate_der()]), reason).await;
}

async fn untrusted_root(change: impl FnOnce(&mut AuthorityRequest), reason: &str) {
    let world = World::new().await;
    let mut request = AuthorityRequest::new("root", KeyKind::P256);
    change(&mut request);
    let root = Authority::self_signed(&request).unwrap();
    let leaf = root.leaf(&LeafRequest::new("host-7", KeyKind::P256)).unwrap();
    world.emulator.change(|setup| setup.trust_anchors[0].certificate_pem = root.certificate_pem().to_owned());

    world.untrusted(&Draft::new(&world.emulator, &leaf, &[]), reason).await;
}

#[tokio::test]
async fn a_leaf_without_basic_constraints_is_refused_where_the_guide_is_read_strictly() {
    let world = World::new().await;
    let mut request = LeafRequest::new("host-7", KeyKind::P256);
    request.basic_constraints = false;
    let leaf = world.root.leaf(&request).unwrap();
    let draft = Draft::new(&world.emulator, &leaf, &[]);
    assert_eq!(world.send(&draft).await.status, 201);

    world.emulator.change(|setup| setup.readings.strict = true);

    world.untrusted(&draft, "the leaf has no basicConstraints").await;
}

// Routes.

#[tokio::test]
async fn other_paths_and_methods_are_unknown() {
    let world = World::new().await;
    for line in ["GET /sessions", "POST /", "POST /sessions/", "GET /profiles"] {
        let mut request = world.draft().sign();
        request.line = line.to_owned();
        let expected = (404, "UnknownOperationException", "Unknown operation");
        world.refused(&request, expected, "is no operation").await;
    }
}

// Signature.

#[tokio::test]
async fn without_authorization() {
    let world = World::new().await;
    let mut request = world.draft().sign();
    request.headers.retain(|(name, _)| name != "authorization");

    let expected = (403, "MissingAuthenticationTokenException", "Missing Authentication Token");
    world.refused(&request, expected, "not one Authorization").await;
}

#[tokio::test]
async fn a_changed_body() {
    let world = World::new().await;
    let mut request = world.draft().sign();
    request.body = request.body.replace("900", "901");

    world.invalid_signature(&request, "does not verify").await;
}

#[tokio::test]
async fn a_changed_signed_header() {
    let world = World::new().await;
    let mut request = world.draft().sign();
    request.set("host", "rolesanywhere.eu-central-1.amazonaws.com");

    world.invalid_signature(&request, "does not verify").await;
}

#[tokio::test]
async fn a_changed_query() {
    let world = World::new().await;
    let mut request = world.draft().sign();
    request.line = "POST /sessions?a=b".to_owned();

    world.invalid_signature(&request, "does not verify").await;
}

#[tokio::test]
async fn the_key_of_another_leaf() {
    let world = World::new().await;
    let mut draft = world.draft();
    draft.leaf = world.root.leaf(&LeafRequest::new("host-7", KeyKind::P256)).unwrap();

    world.invalid_signature(&draft.sign(), "does not verify").await;
}

#[tokio::test]
async fn sha384_on_p384() {
    let world = World::new().await;
    let leaf = world.root.leaf(&LeafRequest::new("host-7", KeyKind::P384)).unwrap();

    world.invalid_signature(&Draft::new(&world.emulator, &leaf, &[]).sign(), "does not verify").await;
}

#[tokio::test]
async fn a_signature_over_the_canonical_request_itself() {
    let world = World::new().await;
    let draft = world.draft();
    let signature = hex(&sign(&draft.leaf, draft.canonical_request().as_bytes()));

    world.invalid_signature(&draft.carry(&signature), "does not verify").await;
}

#[tokio::test]
async fn a_signature_in_upper_case() {
    let world = World::new().await;
    let draft = world.draft();
    let signature = draft.sign().value("authorization").rsplit('=').next().unwrap().to_uppercase();

    world.invalid_signature(&draft.carry(&signature), "lower-case hexadecimal").await;
}

#[tokio::test]
async fn the_algorithm_of_another_kind_of_key() {
    let world = World::new().await;
    let mut draft = world.draft();
    draft.algorithm = "AWS4-X509-RSA-SHA256".to_owned();

    world.invalid_signature(&draft.sign(), "does not go with the leaf's key").await;
}

// Credential.

#[tokio::test]
async fn the_serial_in_hex() {
    let world = World::new().await;
    let mut request = LeafRequest::new("host-7", KeyKind::P256);
    request.serial = Some(vec![0x12, 0x34]);
    let leaf = world.root.leaf(&request).unwrap();
    let mut draft = Draft::new(&world.emulator, &leaf, &[]);
    assert_eq!(draft.serial, "4660");
    draft.serial = "1234".to_owned();

    world.invalid_signature(&draft.sign(), "the credential's serial is 1234, the leaf's 4660").await;
}

#[tokio::test]
async fn a_scope_of_another_region_service_day_or_ending() {
    let world = World::new().await;
    let good = world.draft().scope;
    let yesterday = world.draft().at(world.emulator.now() - Duration::DAY).scope;
    for scope in [
        good.replace("eu-central-1", "eu-central-2"),
        good.replace("rolesanywhere", "sts"),
        good.replace("aws4_request", "aws4"),
        yesterday,
    ] {
        let mut draft = world.draft();
        draft.scope = scope;
        world.invalid_signature(&draft.sign(), "the scope is").await;
    }
}

#[tokio::test]
async fn a_date_five_minutes_off() {
    let world = World::new().await;
    for off in [Duration::seconds(310), Duration::seconds(-310)] {
        let draft = world.draft().at(world.emulator.now() + off);
        world.invalid_signature(&draft.sign(), "x-amz-date is 2").await;
    }
}

#[tokio::test]
async fn a_date_in_another_form() {
    let world = World::new().await;
    let good = world.draft().stamp;
    for stamp in
        [good.trim_end_matches('Z').to_owned(), format!("+{good}"), good.replace('T', "t"), "now".to_owned()]
    {
        let mut draft = world.draft();
        draft.set("x-amz-date", &stamp);
        draft.stamp = stamp;
        world.invalid_signature(&draft.sign(), "not YYYYMMDDTHHMMSSZ").await;
    }
}

// Signed headers.

#[tokio::test]
async fn each_needed_header_must_be_signed() {
    let world = World::new().await;
    let between = world.root.intermediate("between", KeyKind::P256).unwrap();
    let leaf = between.leaf(&LeafRequest::new("host-7", KeyKind::P256)).unwrap();
    let draft = Draft::new(&world.emulator, &leaf, &[between.certificate_der()]);
    assert_eq!(world.send(&draft).await.status, 201);

    for name in ["content-type", "host", "x-amz-date", "x-amz-x509", "x-amz-x509-chain"] {
        let mut draft = draft.clone();
        draft.signed_headers = Some(draft.signed_names().into_iter().filter(|other| other != name).collect());
        world.invalid_signature(&draft.sign(), &format!("`{name}` is not signed")).await;
    }
}

#[tokio::test]
async fn unsorted_signed_headers() {
    let world = World::new().await;
    let mut draft = world.draft();
    let mut names = draft.signed_names();
    names.swap(0, 1);
    draft.signed_headers = Some(names);

    world.invalid_signature(&draft.sign(), "not sorted").await;
}

#[tokio::test]
async fn signed_headers_in_upper_case() {
    let world = World::new().await;
    let mut draft = world.draft();
    let mut names = draft.signed_names();
    names[0] = "Content-type".to_owned();
    draft.signed_headers = Some(names);

    world.invalid_signature(&draft.sign(), "not in lower case").await;
}

#[tokio::test]
async fn a_signed_header_that_is_absent() {
    let world = World::new().await;
    let mut draft = world.draft();
    let mut names = draft.signed_names();
    names.push("x-amz-x509-chain".to_owned());
    draft.signed_headers = Some(names);

    world.invalid_signature(&draft.sign(), "`x-amz-x509-chain` is signed but absent").await;
}

// Certificates on the wire.

#[tokio::test]
async fn an_empty_chain_header() {
    let world = World::new().await;
    let mut draft = world.draft();
    draft.set("x-amz-x509-chain", "");

    world.invalid_signature(&draft.sign(), "x-amz-x509-chain is empty").await;
}

#[tokio::test]
async fn six_intermediates() {
    let world = World::new().await;
    let root = world.root.certificate_der();
    let draft = Draft::new(&world.emulator, &world.leaf, &[root; 5]);
    assert_eq!(world.send(&draft).await.status, 201);

    let draft = Draft::new(&world.emulator, &world.leaf, &[root; 6]);
    world.invalid_signature(&draft.sign(), "has 6 certificates").await;
}

#[tokio::test]
async fn no_certificate_or_two() {
    let world = World::new().await;
    let mut without = world.draft();
    without.headers.retain(|(name, _)| name != "x-amz-x509");
    world.invalid_signature(&without.sign(), "`x-amz-x509` is absent").await;

    let mut request = world.draft().sign();
    request.headers.push(("x-amz-x509".to_owned(), request.value("x-amz-x509")));
    world.invalid_signature(&request, "`x-amz-x509` comes twice").await;
}

#[tokio::test]
async fn base64_with_spaces() {
    let world = World::new().await;
    let mut draft = world.draft();
    let text = STANDARD.encode(draft.leaf.certificate_der());
    draft.set("x-amz-x509", &format!("{} {}", &text[..64], &text[64..]));

    world.invalid_signature(&draft.sign(), "not base64 in one line").await;
}

#[tokio::test]
async fn bytes_after_the_certificate() {
    let world = World::new().await;
    let mut draft = world.draft();
    let der = [draft.leaf.certificate_der(), b"x"].concat();
    draft.set("x-amz-x509", &STANDARD.encode(der));

    world.untrusted(&draft, "bytes follow a certificate").await;
}

// The leaf.

#[tokio::test]
async fn a_leaf_that_is_a_ca() {
    untrusted_leaf(|leaf| leaf.ca = true, "the leaf is CA:true").await;
}

#[tokio::test]
async fn a_leaf_without_digital_signature() {
    untrusted_leaf(|leaf| leaf.digital_signature = false, "lacks digitalSignature").await;
}

#[tokio::test]
async fn a_leaf_without_subject() {
    untrusted_leaf(|leaf| leaf.common_name.clear(), "subject is empty").await;
}

#[tokio::test]
async fn a_leaf_that_has_expired_or_is_not_yet_valid() {
    untrusted_leaf(|leaf| leaf.not_after = leaf.not_before + Duration::MINUTE, "leaf `CN=host-7` expired")
        .await;
    untrusted_leaf(|leaf| leaf.not_before += Duration::HOUR * 2, "leaf `CN=host-7` is not valid before")
        .await;
}

#[tokio::test]
async fn a_leaf_signed_with_sha1() {
    let world = World::new().await;
    let root = Authority::root("root", KeyKind::Rsa2048).unwrap();
    world.emulator.change(|setup| setup.trust_anchors[0].certificate_pem = root.certificate_pem().to_owned());
    let leaf = root.leaf(&LeafRequest::new("host-7", KeyKind::P256)).unwrap();
    let mut draft = Draft::new(&world.emulator, &leaf, &[]);
    draft.set("x-amz-x509", &STANDARD.encode(sha1_in_place_of_sha256(leaf.certificate_der())));

    world.untrusted(&draft, "not signed with SHA-256 or stronger").await;
}

#[tokio::test]
async fn a_leaf_of_x509_version_2() {
    let world = World::new().await;
    let mut draft = world.draft();
    let der = replace(draft.leaf.certificate_der(), &[0xa0, 3, 2, 1, 2], &[0xa0, 3, 2, 1, 1]);
    draft.set("x-amz-x509", &STANDARD.encode(der));

    world.untrusted(&draft, "not X.509 v3").await;
}

#[tokio::test]
async fn a_revoked_leaf() {
    let world = World::new().await;
    let draft = world.draft();
    world.emulator.set_revoked(&draft.serial, true);

    world.untrusted(&draft, "is revoked").await;
}

// The path.

#[tokio::test]
async fn a_missing_intermediate() {
    let world = World::new().await;
    let between = world.root.intermediate("between", KeyKind::P256).unwrap();
    let leaf = between.leaf(&LeafRequest::new("host-7", KeyKind::P256)).unwrap();

    world
        .untrusted(
            &Draft::new(&world.emulator, &leaf, &[]),
            "nobody in chain or trust anchor is `CN=between`",
        )
        .await;
}

#[tokio::test]
async fn intermediates_in_the_wrong_order() {
    let world = World::new().await;
    let upper = world.root.intermediate("upper", KeyKind::P256).unwrap();
    let lower = upper.intermediate("lower", KeyKind::P256).unwrap();
    let leaf = lower.leaf(&LeafRequest::new("host-7", KeyKind::P256)).unwrap();
    let (upper, lower) = (upper.certificate_der(), lower.certificate_der());
    assert_eq!(world.send(&Draft::new(&world.emulator, &leaf, &[lower, upper])).await.status, 201);

    world
        .untrusted(
            &Draft::new(&world.emulator, &leaf, &[upper, lower]),
            "`CN=upper` stands in the chain before `CN=lower`",
        )
        .await;
}

/// Its path is there, but one of it stands before the one that it issued.
#[tokio::test]
async fn a_further_path_in_the_wrong_order() {
    let world = World::new().await;
    let upper = world.root.intermediate("upper", KeyKind::P256).unwrap();
    let lower = upper.intermediate("lower", KeyKind::P256).unwrap();
    let other = Authority::root("other", KeyKind::P256).unwrap();
    let first = other.cross_sign(&lower, Clock::system().now() + Duration::DAY).unwrap();
    let leaf = lower.leaf(&LeafRequest::new("host-7", KeyKind::P256)).unwrap();
    let (upper, lower) = (upper.certificate_der(), lower.certificate_der());
    let sorted = Draft::new(&world.emulator, &leaf, &[first.der(), lower, upper]);
    assert_eq!(world.send(&sorted).await.status, 201);

    world
        .untrusted(
            &Draft::new(&world.emulator, &leaf, &[upper, first.der(), lower]),
            "nobody in chain or trust anchor is `CN=other`",
        )
        .await;
}

#[tokio::test]
async fn a_root_with_the_same_name_and_another_key() {
    let world = World::new().await;
    let other = Authority::root("root", KeyKind::P256).unwrap();
    let leaf = other.leaf(&LeafRequest::new("host-7", KeyKind::P256)).unwrap();

    world.untrusted(&Draft::new(&world.emulator, &leaf, &[]), "not signed by the key of its issuer").await;
}

#[tokio::test]
async fn an_intermediate_with_the_same_name_and_another_key() {
    let world = World::new().await;
    let genuine = world.root.intermediate("between", KeyKind::P256).unwrap();
    let other = world.root.intermediate("between", KeyKind::P256).unwrap();
    let leaf = other.leaf(&LeafRequest::new("host-7", KeyKind::P256)).unwrap();

    let draft = Draft::new(&world.emulator, &leaf, &[genuine.certificate_der()]);
    world.untrusted(&draft, "`CN=host-7` is not signed by the key of its issuer").await;
}

#[tokio::test]
async fn an_intermediate_that_may_not_issue() {
    untrusted_intermediate(|between| between.ca = false, "is not CA:true").await;
    untrusted_intermediate(|between| between.key_cert_sign = false, "lacks keyCertSign").await;
}

#[tokio::test]
async fn an_intermediate_that_has_expired() {
    let reason = "intermediate `CN=between` expired";
    untrusted_intermediate(|between| between.not_after = between.not_before + Duration::HOUR, reason).await;
}

#[tokio::test]
async fn a_trust_anchor_that_may_not_issue() {
    untrusted_root(|root| root.ca = false, "trust anchor `CN=root` is not CA:true").await;
    untrusted_root(|root| root.key_cert_sign = false, "trust anchor `CN=root` lacks keyCertSign").await;
}

#[tokio::test]
async fn a_trust_anchor_that_has_expired() {
    untrusted_root(
        |root| root.not_after = root.not_before + Duration::HOUR,
        "trust anchor `CN=root` expired",
    )
    .await;
}

#[tokio::test]
async fn a_path_longer_than_an_authority_allows() {
    let world = World::new().await;
    let mut request = AuthorityRequest::new("upper", KeyKind::P256);
    request.path_length = Some(0);
    let upper = world.root.subordinate(&request).unwrap();
    let lower = upper.intermediate("lower", KeyKind::P256).unwrap();
    let leaf = lower.leaf(&LeafRequest::new("host-7", KeyKind::P256)).unwrap();

    let draft = Draft::new(&world.emulator, &leaf, &[lower.certificate_der(), upper.certificate_der()]);
    world.untrusted(&draft, "intermediate `CN=upper` allows no such long path").await;
}
