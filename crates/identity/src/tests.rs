//! What a person sees for each file that can and cannot become an identity.

use std::path::Path;

use anchord_emulator::KeyForm;
use anchord_emulator::KeyKind;
use anchord_emulator::LeafRequest;
use proptest::prelude::*;
use time::Duration;

use super::support::Folder;
use super::support::key;
use super::support::leaf_of;
use super::support::now;
use super::support::root;
use super::*;
use anchord_core::failure::Class;
use anchord_core::failure::Failure;

/// What the log would say, with the folder cut out.
fn refusal(folder: &Folder, result: Result<Loaded, Error>) -> String {
    let failure = Failure::from(result.unwrap_err());
    assert_eq!(failure.class(), Class::Misconfigured);
    failure.to_string().replace(&format!("{}/", folder.root().display()), "")
}

fn verify(identity: &Identity, kind: KeyKind) {
    use aws_lc_rs::signature as judge;
    let message = b"string to sign";
    let signature = identity.key().sign(message).unwrap();
    let algorithm: &dyn judge::VerificationAlgorithm = match kind {
        KeyKind::Rsa2048 | KeyKind::Rsa3072 | KeyKind::Rsa4096 => &judge::RSA_PKCS1_2048_8192_SHA256,
        KeyKind::P256 => &judge::ECDSA_P256_SHA256_ASN1,
        KeyKind::P384 => &judge::ECDSA_P384_SHA256_ASN1,
        KeyKind::P521 => &judge::ECDSA_P521_SHA256_ASN1,
        KeyKind::MlDsa44 => &judge::ML_DSA_44,
        KeyKind::MlDsa65 => &judge::ML_DSA_65,
        KeyKind::MlDsa87 => &judge::ML_DSA_87,
    };
    judge::UnparsedPublicKey::new(algorithm, identity.key().public_key())
        .verify(message, &signature)
        .unwrap();
}

#[test]
fn every_kind_of_key_signs_in_every_form() {
    let (folder, root) = (Folder::new(), root());
    for kind in KeyKind::ALL {
        let leaf = leaf_of(&root, kind);
        let keys: Vec<String> = KeyForm::ALL.iter().filter_map(|form| leaf.key_pem(*form).ok()).collect();
        let expected = if kind.is_ml_dsa() { 3 } else { 2 };
        assert_eq!(keys.len(), expected, "{kind}: PKCS#8 and its own forms");
        for key in keys {
            let loaded = folder.load(leaf.certificate_pem(), key).unwrap();

            verify(&loaded.identity, kind);
            assert_eq!(loaded.warnings, []);
        }
    }
}

#[test]
fn the_serial_is_decimal() {
    let (folder, root) = (Folder::new(), root());
    let mut request = LeafRequest::new("robot-7", KeyKind::P256);
    request.serial = Some(vec![0x01, 0x00, 0x00]);
    let leaf = root.leaf(&request).unwrap();

    let loaded = folder.load(leaf.certificate_pem(), key(&leaf)).unwrap();

    assert_eq!(loaded.identity.serial(), "65536");
}

#[test]
fn intermediates_are_found_and_ordered_wherever_they_stand() {
    let folder = Folder::new();
    let root = root();
    let upper = root.intermediate("Upper", KeyKind::P256).unwrap();
    let lower = upper.intermediate("Lower", KeyKind::P384).unwrap();
    let leaf = leaf_of(&lower, KeyKind::P256);
    let stranger = root.intermediate("Stranger", KeyKind::P256).unwrap();
    let (l, a, b, r) =
        (leaf.certificate_pem(), lower.certificate_pem(), upper.certificate_pem(), root.certificate_pem());
    let expected = [lower.certificate_der().to_vec(), upper.certificate_der().to_vec()];

    for order in [[l, a, b, r], [r, b, a, l], [b, l, r, a]] {
        let loaded = folder.load(order.concat(), key(&leaf)).unwrap();
        assert_eq!(loaded.identity.intermediates(), expected);
        assert_eq!(loaded.identity.leaf(), leaf.certificate_der());
        assert_eq!(loaded.warnings, []);
    }

    let source = Source {
        intermediates: Some(Locator::File(
            folder.write("chain.pem", [b, stranger.certificate_pem(), l, a].concat()),
        )),
        ..Source::of_files(folder.write("leaf.pem", l), folder.write("key.pem", key(&leaf)))
    };
    let loaded = source.load(now()).unwrap();
    assert_eq!(loaded.identity.intermediates(), expected);
    assert!(loaded.warnings[0].what.starts_with("1 of the certificates in"), "{:?}", loaded.warnings);
}

/// A CA that was renewed with another key keeps its name: key identifiers tell which one signed the leaf.
#[test]
fn of_two_issuers_with_one_name_the_one_with_the_right_key_is_sent() {
    let (folder, root) = (Folder::new(), root());
    let mut request = anchord_emulator::AuthorityRequest::new("Issuing", KeyKind::P256);
    request.not_after = now() + Duration::days(30);
    let old = root.subordinate(&request).unwrap();
    let new = root.intermediate("Issuing", KeyKind::P256).unwrap();
    let leaf = leaf_of(&old, KeyKind::P256);

    for order in [[&old, &new], [&new, &old]] {
        let bundle =
            [leaf.certificate_pem(), order[0].certificate_pem(), order[1].certificate_pem()].concat();
        let loaded = folder.load(bundle, key(&leaf)).unwrap();
        assert_eq!(loaded.identity.intermediates(), [old.certificate_der().to_vec()]);
    }
}

/// The leaf's own name is its issuer's too: a leaf is no issuer.
#[test]
fn a_leaf_is_never_taken_for_an_issuer() {
    let (folder, root) = (Folder::new(), root());
    let issuer = root.intermediate("robot-7", KeyKind::P256).unwrap();
    let leaf = leaf_of(&issuer, KeyKind::P256);
    let twin = leaf_of(&issuer, KeyKind::P256);

    let bundle = [leaf.certificate_pem(), twin.certificate_pem()].concat();
    let loaded = folder.load(bundle, key(&leaf)).unwrap();

    assert!(loaded.identity.intermediates().is_empty());
    assert_eq!(loaded.identity.subject(), "CN=robot-7");
}

#[test]
fn certificate_and_key_may_share_a_file() {
    let (folder, root) = (Folder::new(), root());
    let leaf = leaf_of(&root, KeyKind::P256);
    let both = folder.write("both.pem", format!("{}\nnotes\n{}", key(&leaf), leaf.certificate_pem()));

    let named_twice = Source::of_files(both.clone(), both);
    let named_once = Source { private_key: None, ..named_twice.clone() };

    for source in [named_twice, named_once] {
        assert_eq!(source.load(now()).unwrap().identity.leaf(), leaf.certificate_der());
    }
}

#[test]
fn of_two_leaves_with_one_key_the_valid_one_that_ends_last_is_used() {
    let (folder, root) = (Folder::new(), root());
    let old = leaf_of(&root, KeyKind::P256);
    let mut request = LeafRequest::new("robot-7", KeyKind::P256);
    request.not_after = now() + Duration::days(90);
    let renewed = root.reissue(&old, &request).unwrap();
    request.not_before = now() + Duration::days(1);
    request.not_after = now() + Duration::days(900);
    let future = root.reissue(&old, &request).unwrap();

    let bundle = [old.certificate_pem(), renewed.certificate_pem(), future.certificate_pem()].concat();
    let loaded = folder.load(bundle, key(&old)).unwrap();

    assert_eq!(loaded.identity.leaf(), renewed.certificate_der());
}

#[test]
fn five_intermediates_are_sent_and_six_are_refused() {
    let folder = Folder::new();
    let mut bundle = String::new();
    let mut issuer = root();
    let mut load = |depth: usize| {
        issuer = issuer.intermediate(&format!("Depth {depth}"), KeyKind::P256).unwrap();
        bundle.push_str(issuer.certificate_pem());
        let leaf = leaf_of(&issuer, KeyKind::P256);
        folder.load(format!("{bundle}{}", leaf.certificate_pem()), key(&leaf))
    };

    for depth in 1..=5 {
        assert_eq!(load(depth).unwrap().identity.intermediates().len(), depth);
    }
    let text = refusal(&folder, load(6));
    assert!(text.starts_with("`leaf.pem` needs 6 intermediates; Roles Anywhere accepts at most 5"), "{text}");
}

#[test]
fn a_leaf_that_roles_anywhere_would_refuse_is_refused_with_the_reason() {
    let (folder, root) = (Folder::new(), root());
    type Spoil = fn(&mut LeafRequest);
    let cases: [(Spoil, &str); 4] = [
        (
            |r| (r.not_before, r.not_after) = (now() - Duration::DAY, now() - Duration::HOUR),
            "the leaf in `leaf.pem` expired at",
        ),
        (|r| r.not_before = now() + Duration::HOUR, "the leaf in `leaf.pem` is not valid before"),
        (|r| r.ca = true, "the leaf in `leaf.pem` is a CA certificate (CA:true); hint: name the leaf"),
        (
            |r| r.digital_signature = false,
            "the leaf in `leaf.pem` has no key usage digitalSignature; hint: reissue it",
        ),
    ];
    for (spoil, expected) in cases {
        let mut request = LeafRequest::new("robot-7", KeyKind::P256);
        spoil(&mut request);
        let leaf = root.leaf(&request).unwrap();

        let text = refusal(&folder, folder.load(leaf.certificate_pem(), key(&leaf)));

        assert!(text.starts_with(expected), "{text}");
    }
}

/// Made once with OpenSSL, which still signs with SHA-1; ends in the year 2126.
#[test]
fn a_leaf_without_basic_constraints_is_used_with_a_warning() {
    let (folder, root) = (Folder::new(), root());
    let mut request = LeafRequest::new("robot-7", KeyKind::P256);
    request.basic_constraints = false;
    folder.install(&root.leaf(&request).unwrap());

    let warnings = folder.source().load(now()).unwrap().warnings;
    let inspection = folder.source().inspect(now()).unwrap();

    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].what.contains("leaf.pem` has no basicConstraints extension"), "{warnings:?}");
    assert!(warnings[0].hint().unwrap().starts_with("if AWS answers"), "{warnings:?}");
    assert_eq!(inspection.warnings, warnings);
    let usage = &inspection.certificates[0].usage;
    assert_eq!(usage[0], "basicConstraints absent", "{usage:?}");
    assert!(inspection.refusals.is_empty());
}

#[test]
fn a_leaf_signed_with_sha1_is_refused() {
    let folder = Folder::new();

    let text = refusal(
        &folder,
        folder.load(include_str!("tests/sha1-leaf.pem"), include_str!("tests/sha1-key.pem")),
    );

    assert_eq!(
        text,
        "the leaf in `leaf.pem` is signed with SHA-1; hint: reissue it with SHA-256 or stronger"
    );
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let (folder, root) = (Folder::new(), root());
    let (ours, other) = (leaf_of(&root, KeyKind::P256), leaf_of(&root, KeyKind::P256));

    let text = refusal(&folder, folder.load(ours.certificate_pem(), key(&other)));

    assert!(
        text.starts_with("no certificate in `leaf.pem` belongs to the private key in `key.pem`; hint:"),
        "{text}"
    );
}

#[test]
fn each_bad_file_is_named_with_what_is_wrong_and_what_to_do() {
    let (folder, root) = (Folder::new(), root());
    let leaf = leaf_of(&root, KeyKind::P256);
    let (certificate, key) = (leaf.certificate_pem(), key(&leaf));
    let cut = &key[..key.len() / 2];
    let cases: [(&[u8], &[u8], &str); 11] = [
        (b"", key.as_bytes(), "`leaf.pem` is empty; hint:"),
        (b"\n \n", key.as_bytes(), "`leaf.pem` is empty; hint:"),
        (b"\x30\x82\x01\x02", key.as_bytes(), "`leaf.pem` holds no certificate: it has no PEM section at all; hint: this may be DER: openssl x509"),
        (key.as_bytes(), key.as_bytes(), "`leaf.pem` holds no certificate, only PRIVATE KEY; hint: name the file"),
        (certificate.as_bytes(), certificate.as_bytes(), "`key.pem` holds no private key, only CERTIFICATE"),
        (
            certificate.as_bytes(),
            b"-----BEGIN PRIVATE KEY-----\n!!!!\n-----END PRIVATE KEY-----\n",
            "`key.pem` is damaged in line 1: a section is not base64; hint: copy",
        ),
        (certificate.as_bytes(), cut.as_bytes(), "`key.pem` is damaged in line 1: a section has no END line; hint: copy"),
        (
            certificate.as_bytes(),
            b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "the private key in `key.pem` is not valid encrypted PKCS#8; hint: copy",
        ),
        (
            certificate.as_bytes(),
            b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMAA=\n-----END RSA PRIVATE KEY-----\n",
            "the private key in `key.pem` is encrypted in OpenSSL's old format; hint:",
        ),
        (
            certificate.as_bytes(),
            b"-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n",
            "the private key in `key.pem` is not valid PKCS#8; hint:",
        ),
        (
            b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
            key.as_bytes(),
            "no certificate in `leaf.pem` belongs to the private key",
        ),
    ];
    for (certificate, key, expected) in cases {
        let text = refusal(&folder, folder.load(certificate, key));
        assert!(text.starts_with(expected), "expected {expected}\n     got {text}");
    }
}

#[test]
fn a_missing_file_and_an_unreadable_one_are_told_apart() {
    let folder = Folder::new();
    let load = |private_key: &Path| {
        refusal(&folder, Source::of_files(folder.path("leaf.pem"), private_key).load(now()))
    };

    assert_eq!(
        load(&folder.path("key.pem")),
        "cannot read `key.pem`: No such file or directory (os error 2); hint: put the file there, or set the right path"
    );
    // Tests may run as root, who may read every file but no directory; so the refusal itself is made up.
    let denied =
        FileError::Read { path: "/keys/key.pem".into(), source: std::io::Error::from_raw_os_error(13) };
    assert_eq!(
        Failure::from(denied).to_string(),
        "cannot read `/keys/key.pem`: Permission denied (os error 13); \
         hint: let the daemon's user read it (and enter /keys)"
    );
    assert!(load(folder.root()).contains("is a directory, not a regular file; hint: name the file itself"));
}

#[test]
fn a_file_beyond_a_mebibyte_is_not_read() {
    let (folder, root) = (Folder::new(), root());
    let leaf = leaf_of(&root, KeyKind::P256);
    let pem = leaf.certificate_pem();
    let padded = |bytes: usize| format!("{pem}{}", " ".repeat(bytes - pem.len()));

    assert!(folder.load(padded(1 << 20), key(&leaf)).is_ok());
    let text = refusal(&folder, folder.load(padded((1 << 20) + 1), key(&leaf)));
    assert!(
        text.starts_with("`leaf.pem` is larger than 1048576 bytes; hint: name the PEM file itself"),
        "{text}"
    );
}

#[test]
fn a_pipe_in_place_of_a_file_is_refused_and_not_waited_for() {
    let folder = Folder::new();
    let pipe = folder.path("leaf.pem");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();

    let source = Source::of_files(pipe.clone(), pipe);

    assert!(
        refusal(&folder, source.load(now()))
            .starts_with("`leaf.pem` is a pipe, not a regular file; hint: a pipe can be read only once")
    );
}

#[test]
fn a_key_open_to_others_is_used_with_a_warning() {
    use std::os::unix::fs::PermissionsExt as _;
    let (folder, root) = (Folder::new(), root());
    let leaf = leaf_of(&root, KeyKind::P256);
    folder.install(&leaf);
    let warnings_with = |mode| {
        fs_err::set_permissions(folder.path("key.pem"), std::fs::Permissions::from_mode(mode)).unwrap();
        folder.source().load(now()).unwrap().warnings
    };

    assert!(
        warnings_with(0o644)[0]
            .to_string()
            .ends_with("is accessible to other users (mode 0644); hint: run `chmod 0600` on it")
    );
    assert_eq!(warnings_with(0o620).len(), 1);
    assert_eq!(warnings_with(0o440), [], "a group of readers is how services share a key");
}

#[test]
fn an_expired_intermediate_is_reported() {
    let (folder, root) = (Folder::new(), root());
    let mut request = anchord_emulator::AuthorityRequest::new("Old intermediate", KeyKind::P256);
    request.not_after = now() - Duration::HOUR;
    let intermediate = root.subordinate(&request).unwrap();
    let leaf = leaf_of(&intermediate, KeyKind::P256);

    let bundle = [leaf.certificate_pem(), intermediate.certificate_pem()].concat();
    let loaded = folder.load(bundle, key(&leaf)).unwrap();

    let warnings: Vec<_> = loaded.identity.links().filter_map(|link| link.warning(now())).collect();
    let path = folder.path("leaf.pem");
    let expected = format!(
        "the intermediate `CN=Old intermediate` in `{}` has expired; hint: put the renewed intermediate into the file",
        path.display()
    );
    assert_eq!(warnings.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
}

#[test]
fn a_leaf_that_is_not_pinned_is_refused_with_its_fingerprint() {
    let (folder, root) = (Folder::new(), root());
    let [pinned, other] = [(); 2].map(|()| leaf_of(&root, KeyKind::P256));
    let fingerprints = vec![Fingerprint::of(pinned.certificate_der())];
    let selection = LeafSelection { fingerprints, ..LeafSelection::default() };
    let source = Source { selection, ..folder.source() };

    folder.install(&pinned);
    assert!(source.load(now()).is_ok());
    folder.install(&other);
    let text = refusal(&folder, source.load(now()));

    let found = Fingerprint::of(other.certificate_der());
    assert!(
        text.starts_with(&format!("the leaf in `leaf.pem` has the fingerprint {found}, which is not pinned")),
        "{text}"
    );
}

/// A renewal that keeps its key: both leaves belong to it, and by default the later one is used.
#[test]
fn of_several_leaves_of_a_key_the_one_that_is_selected_is_used() {
    let (folder, root) = (Folder::new(), root());
    let leaf = leaf_of(&root, KeyKind::P256);
    let mut request = LeafRequest::new("robot-8", KeyKind::P256);
    request.not_after = now() + Duration::days(300);
    let later = root.reissue(&leaf, &request).unwrap();
    folder.write("leaf.pem", [leaf.certificate_pem(), later.certificate_pem()].concat());
    folder.write("key.pem", key(&leaf));
    let select = |subject: &str| {
        let selection = LeafSelection { subject: Some(subject.parse().unwrap()), ..LeafSelection::default() };
        Source { selection, ..folder.source() }.load(now())
    };

    assert_eq!(folder.source().load(now()).unwrap().identity.leaf(), later.certificate_der());
    assert_eq!(select("CN=robot-7").unwrap().identity.leaf(), leaf.certificate_der());
    assert_eq!(
        refusal(&folder, select("CN=robot-9")),
        "no certificate of the private key in `leaf.pem` has the selected subject, issuer or serial number; \
         hint: compare `certificate_subject`, `certificate_issuer` and `certificate_serial` with what `anchord certificate show` prints"
    );
}

#[test]
fn an_identity_prints_no_key() {
    let (folder, root) = (Folder::new(), root());
    let leaf = leaf_of(&root, KeyKind::Rsa2048);
    let loaded = folder.load(leaf.certificate_pem(), key(&leaf)).unwrap();

    let printed = format!("{loaded:?} {:?}", loaded.identity.key());

    assert!(printed.contains("robot-7") && printed.contains("RSA private key [redacted]"), "{printed}");
    assert!(printed.len() < 400, "{printed}");
}

proptest! {
    #[test]
    fn no_file_whatever_makes_loading_panic(
        certificate in proptest::collection::vec(any::<u8>(), 0..300),
        label in "(CERTIFICATE|PRIVATE KEY|ENCRYPTED PRIVATE KEY|RSA PRIVATE KEY|EC PRIVATE KEY)",
        der in "[A-Za-z0-9+/]{0,80}",
    ) {
        let folder = Folder::new();
        let section = format!("-----BEGIN {label}-----\n{der}\n-----END {label}-----\n");
        prop_assert!(folder.load(certificate, &section).is_err());
        prop_assert!(folder.load(&section, &section).is_err());
    }
}
