//! Sections of PEM as programs write them, and damaged ones.

use proptest::prelude::*;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::pem::SectionKind;

use super::*;

fn file(text: &str) -> FileContent {
    FileContent::new(Origin::file("leaf.pem".as_ref()), 0o600, Secret::new(text.into())).unwrap()
}

/// Label and content of each section.
fn read(text: &str) -> Result<Vec<(String, Vec<u8>)>, String> {
    let file = file(text);
    let sections = file.sections().map_err(|error| error.to_string())?;
    let both = |section: &PemSection<'_>| {
        let content = section.decode().map_err(|error| error.to_string())?.expose().clone();
        Ok((String::from_utf8_lossy(section.label).into_owned(), content))
    };
    sections.iter().map(both).collect()
}

#[test]
fn a_section_is_read_however_its_lines_end_and_begin() {
    for text in [
        "-----BEGIN X-----\nAQID\n-----END X-----\n",
        "-----BEGIN X-----\r\nAQID\r\n-----END X-----\r\n",
        "-----BEGIN X-----\rAQID\r-----END X-----",
        "Bag Attributes\n-----BEGIN X-----\n\nAQ\nID\n\n-----END X-----\nafter it",
        "  -----BEGIN X-----\n  A QI\tD\n  -----END X-----  ",
    ] {
        assert_eq!(read(text), Ok(vec![("X".to_owned(), vec![1, 2, 3])]), "{text:?}");
    }
}

#[test]
fn padding_may_be_there_or_not() {
    for (text, content) in [("AQ==", vec![1]), ("AQ", vec![1]), ("AQI=", vec![1, 2]), ("AQI", vec![1, 2])] {
        let section = format!("-----BEGIN X-----\n{text}\n-----END X-----\n");

        assert_eq!(read(&section), Ok(vec![("X".to_owned(), content)]), "{text}");
    }
}

#[test]
fn a_damaged_section_is_reported_with_its_line_and_without_its_content() {
    let no_end = "1: a section has no END line";
    let not_base64 = "1: a section is not base64";
    let joined = "a BEGIN or END line shares its line with something else";
    let escaped = "1: its line breaks are the two characters `\\n`";
    for (text, what) in [
        ("-----BEGIN X-----\nAQID\n", no_end),
        ("-----BEGIN X-----\nAQID\n-----END Y-----\n", no_end),
        ("-----BEGIN X-----\n-----BEGIN Y-----\n-----END Y-----\n", no_end),
        ("a\r\nb\r\n-----BEGIN X---\r\nAQID\r\n-----END X-----\r\n", "3: a BEGIN line is malformed"),
        ("-----BEGIN X-----\nAQ!D\n-----END X-----\n", not_base64),
        ("-----BEGIN X-----\nA=QD\n-----END X-----\n", not_base64),
        ("-----BEGIN X-----\nA===\n-----END X-----\n", not_base64),
        (
            "-----BEGIN X-----\rAQID\r-----END X----------BEGIN Y-----\nAQID\n-----END Y-----\n",
            &format!("3: {joined}"),
        ),
        ("-----BEGIN X-----\nAQID-----END X-----\n", &format!("2: {joined}")),
        ("-----BEGIN X----- AQID -----END X-----\n", &format!("1: {joined}")),
        ("-----BEGIN X----- AQID\n-----END X-----\n", &format!("1: {joined}")),
        ("-----BEGIN X-----\\nAQID\\n-----END X-----\\n", escaped),
        ("\"-----BEGIN X-----\\nAQID\\n-----END X-----\\n\"", escaped),
    ] {
        assert_eq!(read(text), Err(format!("`leaf.pem` is damaged in line {what}")), "{text:?}");
    }
}

#[test]
fn prose_may_name_the_lines_that_enclose_a_section() {
    let text = "# from \"-----BEGIN X-----\" to -----END X-----\n-----BEGIN X-----\nAQID\n-----END X-----\n";

    assert_eq!(read(text), Ok(vec![("X".to_owned(), vec![1, 2, 3])]));
}

#[test]
fn a_byte_order_mark_hides_no_section() {
    let section = "-----BEGIN X-----\nAQID\n-----END X-----\n";
    let read = read(&format!("\u{feff}{section}\u{feff}{section}")).unwrap();

    assert_eq!(read.len(), 2);
}

#[test]
fn a_section_that_something_before_its_dashes_hides_is_damage_in_its_line() {
    let whole = "-----BEGIN X-----\nAQID\n-----END X-----\n";
    for before in ["\u{feff}\u{feff}", "\u{200b}", "\u{a0}", "leaf: ", "\"", "> ", "# "] {
        for after in ["", whole] {
            let text = format!("subject=CN = X\n\n{before}{whole}{after}");
            let error = file(&text).sections().err().unwrap();

            let expected = "`leaf.pem` is damaged in line 3: text precedes BEGIN on its line";
            assert!(error.to_string().starts_with(expected), "{text:?}: {error}");
            assert!(error.hint().unwrap().contains("delete the text before them"), "{error:?}");
        }
    }
    let quoted = "> -----BEGIN X-----\n> AQID\n> -----END X-----\n";
    assert!(read(&format!("{quoted}{whole}")).unwrap_err().contains("damaged in line 1"), "{quoted}");
    assert!(read(&format!("{whole}\u{200b}{whole}")).unwrap_err().contains("damaged in line 4"));
}

#[test]
fn text_between_sections_hides_none() {
    let whole = "-----BEGIN X-----\nAQID\n-----END X-----\n";
    for text in [
        "Bag Attributes\n    friendlyName: leaf\nsubject=CN = X\nissuer=CN = Y\n",
        "# -----BEGIN X-----\n# AQID\n# -----END X-----\n",
        "what follows starts with -----BEGIN X-----\n",
    ] {
        let read = read(&format!("{text}{whole}{text}{whole}{text}"));

        assert_eq!(read.map(|sections| sections.len()), Ok(2), "{text}");
    }
}

#[test]
fn what_is_whole_is_found_beside_damage() {
    let whole = "-----BEGIN X-----\nAQID\n-----END X-----\n";
    let joined = "-----BEGIN Y-----\nAQID\n-----END Y----------BEGIN Z-----\nAQID\n-----END Z-----\n";
    let file = file(&format!("{whole}{joined}{whole}"));

    let found = file.sections_and_damage();
    let lines: Vec<_> = found
        .iter()
        .map(|found| found.as_ref().map(|section| section.line).map_err(|damage| *damage))
        .collect();

    assert_eq!(lines, [Ok(1), Err((6, Damage::Joined)), Ok(9)]);
}

#[test]
fn a_certificate_that_is_ignored_for_its_label_is_reported() {
    let section = |label: &str| format!("-----BEGIN {label}-----\nAQID\n-----END {label}-----\n");
    let chain = ["CERTIFICATE", "X509 CERTIFICATE", "EC PARAMETERS", "CERTIFICATE"].map(section).concat();

    let told = file(&chain).ignored_sections();

    assert_eq!(told.len(), 1, "{told:?}");
    let expected = "`leaf.pem` has a X509 CERTIFICATE in line 4, which is ignored; hint: this is an old name";
    assert!(told[0].to_string().starts_with(expected), "{told:?}");
}

#[test]
fn a_key_of_another_program_is_named_with_what_converts_it() {
    for (text, expected) in [
        (
            "-----BEGIN OPENSSH PRIVATE KEY-----\nAQID\n-----END OPENSSH PRIVATE KEY-----\n",
            "ssh-keygen -p -m PKCS8",
        ),
        ("-----BEGIN PUBLIC KEY-----\nAQID\n-----END PUBLIC KEY-----\n", "this is the public key"),
        ("PuTTY-User-Key-File-3: ecdsa-sha2-nistp256\n", "puttygen OLD"),
        ("\u{30}\u{1}", "openssl pkey -inform der"),
        ("KEY=\"-----BEGIN PRIVATE KEY-----\\nAQID\"", "the two characters `\\n`"),
        ("words", "PEM is text with"),
    ] {
        let Error::Missing { hint, .. } = file(text).lacks("private key") else { panic!("{text}") };

        assert!(hint.contains(expected), "{text}: {hint}");
    }
}

/// Made by `openssl req -new -outform der`.
const REQUEST: &str = "MIHMMHQCAQAwEjEQMA4GA1UEAwwHcm9ib3QtNzBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABJzWqn0hDUB4dpYtMVnjNWzK\
    IElGBNqFdKcxSs0vHLDzvMVOl0EP2M0yw9WRMEIAkvBa665aDKWvYS2BMv895rCgADAKBggqhkjOPQQDAgNIADBFAiEAxde8\
    7VIlq4X7q7uN4XRpt1j4nVfGc/IixLyZrTRusKgCIEO0aZQDUowM+TSULo1reCLuIOGS5pt/k41XxMXAe130";

#[test]
fn what_is_no_certificate_at_all_is_not_converted_from_der() {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    let request = BASE64_STANDARD.decode(REQUEST).unwrap();
    let pem = BASE64_STANDARD.encode("-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n");
    let secret = format!("data:\n  tls.crt: {pem}\n");
    for (content, expected) in [
        (request.as_slice(), "this is the request for a certificate"),
        (pem.as_bytes(), "base64 -d OLD > NEW"),
        (secret.as_bytes(), "base64 -d OLD > NEW"),
        (b"\r\n<!DOCTYPE HTML PUBLIC>\n<p>Sign in</p>", "this is a web page"),
        (b"<HTML><body>404</body></HTML>", "this is a web page"),
    ] {
        for wanted in ["certificate", "private key"] {
            let hint = other_formats::hint(wanted, &[], content);

            assert!(hint.contains(expected) && !hint.contains("der"), "{wanted}: {hint}");
        }
    }
    assert!(other_formats::hint("certificate", &[], &[0x30, 0x82]).contains("openssl x509 -inform der"));
}

/// What DER begins with, and enough behind it that base64 of it can be told from words.
fn der(start: &[u8]) -> Vec<u8> {
    [&[0x30, 0x82, 1, 0], start, &[0; 60]].concat()
}

#[test]
fn der_is_named_with_the_command_for_what_it_is_and_no_other() {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    let oid = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01";
    let (pkcs7, pbe) = ([oid, &b"\x07\x02"[..]].concat(), [b"\x30\x1c", &oid[..], b"\x05\x0d"].concat());
    let spki = [b"\x30\x0d", &oid[..], b"\x01\x01"].concat();
    let (x509, pkey) = ("openssl x509 -inform der", "openssl pkey -inform der");
    let (other_certificate, other_key) = ("the file that holds the certificate", "`private_key`");
    for (start, of_certificate, of_key) in [
        (&b"\x30\x81\xf0\xa0\x03\x02\x01\x02"[..], x509, other_key),
        (b"\x02\x01\x00\x30\x13", other_certificate, pkey),
        (b"\x02\x01\x01\x04\x20", other_certificate, pkey),
        (&pbe, other_certificate, pkey),
        (&spki, other_certificate, "this is the public key"),
        (b"\x02\x82\x01\x01\x00", other_certificate, "this is the public key"),
        (&pkcs7, "openssl pkcs7 -inform der -print_certs", other_key),
        (b"\x02\x01\x03", "openssl pkcs12 -nokeys", "openssl pkcs12 -nocerts"),
    ] {
        let der = der(start);
        let base64 = BASE64_STANDARD.encode(&der);
        for (wanted, expected) in [("certificate", of_certificate), ("private key", of_key)] {
            let plain = other_formats::hint(wanted, &[], &der);
            let encoded = other_formats::hint(wanted, &[], base64.as_bytes());

            assert!(plain.contains(expected), "{wanted}: {plain}");
            let expected =
                if start == b"\x02\x01\x03" { "PKCS#12 in base64: base64 -d OLD > NEW" } else { expected };
            assert!(encoded.contains(expected), "{wanted}: {encoded}");
            assert_eq!(encoded.contains("base64 -d OLD | "), expected.contains("-inform der"), "{encoded}");
        }
    }
}

#[test]
fn what_other_programs_keep_keys_in_is_named() {
    for (content, expected) in [
        (&b"\x1f\x8b\x08\x00"[..], "gzip -dc OLD > NEW"),
        (b"BZh91AY", "bzip2 -dc OLD > NEW"),
        (b"\xfd7zXZ\x00\x00", "xz -dc OLD > NEW"),
        (b"\x28\xb5\x2f\xfd", "zstd -dc OLD > NEW"),
        (b"PK\x03\x04\x14", "ZIP archive"),
        (b"\xfe\xed\xfe\xed\x00", "keytool -importkeystore -srckeystore OLD -destkeystore"),
        (b"\xce\xce\xce\xce\x00", "-srcstoretype JCEKS"),
        (b" {\"crv\":\"P-256\",\"kty\":\"EC\"}", "JSON Web Key"),
    ] {
        for wanted in ["certificate", "private key"] {
            let hint = other_formats::hint(wanted, &[], content);

            assert!(hint.contains(expected), "{wanted}: {hint}");
        }
    }
    assert!(
        other_formats::hint("private key", &[], b"ssh-ed25519 AAAA a@b").contains("this is the public key")
    );
    assert!(
        other_formats::hint("certificate", &[], b"ecdsa-sha2-nistp256 AAAA")
            .contains("public key of OpenSSH")
    );
}

/// Base64 that shares a line with the label is a key's, perhaps.
#[test]
fn a_label_never_holds_what_stands_behind_it() {
    let text = "-----BEGIN PRIVATE KEY-----MIGHAgEAMBMGByqG-----END PRIVATE KEY-----\n";

    assert!(!format!("{:?}", file(text).lacks("certificate")).contains("MIGH"));
}

#[test]
fn a_damaged_section_that_nobody_asked_for_does_no_harm() {
    let text = "-----BEGIN X-----\n!\n-----END X-----\n-----BEGIN Y-----\nAQID\n-----END Y-----\n";

    assert_eq!(file(text).labelled("Y").unwrap().unwrap().expose(), &[1, 2, 3]);
    assert_eq!(file(text).labels(), ["X", "Y"]);
}

fn as_rustls_reads(text: &str) -> Option<Vec<Vec<u8>>> {
    let sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes());
    sections.map(|section| section.ok().map(|(_, der)| der)).collect()
}

proptest! {
    #[test]
    fn no_text_whatever_makes_reading_panic(text in "(-----BEGIN |-----END |X|-----|\n|\r|=|[A-Za-z0-9+/ !é]{0,5}){1,20}") {
        prop_assume!(!text.trim_ascii().is_empty());
        let _ = read(&text);
    }

    #[test]
    fn sections_are_read_as_rustls_reads_them(
        parts in proptest::collection::vec(
            ("(CERTIFICATE|PRIVATE KEY|EC PRIVATE KEY)", proptest::collection::vec(any::<u8>(), 0..100), 1..80_usize, any::<bool>()),
            1..4,
        ),
    ) {
        use base64::Engine as _;
        let mut text = String::new();
        for (label, content, width, is_crlf) in &parts {
            let end = if *is_crlf { "\r\n" } else { "\n" };
            let body = base64::engine::general_purpose::STANDARD.encode(content);
            let lines = body.as_bytes().chunks(*width).map(|line| std::str::from_utf8(line).unwrap());
            let lines: String = lines.flat_map(|line| [line, end]).collect();
            text += &format!("-----BEGIN {label}-----{end}{lines}-----END {label}-----{end}");
        }
        let ours = read(&text).unwrap().into_iter().map(|(_, content)| content).collect::<Vec<_>>();

        prop_assert!(as_rustls_reads(&text).as_ref() == Some(&ours));
        prop_assert!(ours.iter().eq(parts.iter().map(|(_, content, ..)| content)));
    }
}
