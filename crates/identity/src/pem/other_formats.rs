//! Hints for files in other formats than PEM: what the file is and how to convert it.

use base64ct::Base64Unpadded;
use base64ct::Encoding as _;
use zeroize::Zeroizing;

use anchord_core::text::Part;
use anchord_core::text::Part::Key;
use anchord_core::text::Part::Say;
use anchord_core::text::Text;

/// The hint for a BEGIN that is not at the start of its line.
pub(crate) const PRECEDED: &str = "a BEGIN line starts with its dashes: delete the text before them";

/// What to do with a file that has no `wanted`. `labels` are those of its sections.
pub(crate) fn hint(wanted: &str, labels: &[String], content: &[u8]) -> Text {
    let of_label = labels.iter().find_map(|label| match wanted {
        "certificate" => certificate(label.as_bytes()).or_else(|| no_certificate(label)).map(Text::from),
        _ => no_key(label),
    });
    match of_label {
        Some(hint) => hint,
        None if labels.is_empty() => without_sections(wanted, content),
        None => Text::of(name_another(wanted)),
    }
}

/// What to do with a section that has a certificate under another label.
pub(crate) fn certificate(label: &[u8]) -> Option<&'static str> {
    match label {
        b"X509 CERTIFICATE" => {
            Some("this is an old name of certificates: sed 's/X509 CERTIFICATE/CERTIFICATE/' OLD > NEW")
        }
        b"TRUSTED CERTIFICATE" => Some("this has OpenSSL's trust settings: openssl x509 -in OLD -out NEW"),
        b"PKCS7" | b"PKCS #7 SIGNED DATA" | b"CMS" => {
            Some("this is PKCS#7 (.p7b): openssl pkcs7 -print_certs -in OLD -out NEW")
        }
        _ => None,
    }
}

fn no_certificate(label: &str) -> Option<&'static str> {
    match label {
        "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => Some(REQUEST),
        _ => None,
    }
}

fn no_key(label: &str) -> Option<Text> {
    match label {
        "OPENSSH PRIVATE KEY" => {
            Some("this is OpenSSH's format, convert a copy of it: ssh-keygen -p -m PKCS8 -f COPY".into())
        }
        "PUBLIC KEY" | "RSA PUBLIC KEY" | "SSH2 PUBLIC KEY" => Some(Text::of(PUBLIC_KEY)),
        _ => None,
    }
}

const REQUEST: &str = "this is the request for a certificate: name the certificate file that the CA returned";
const PUBLIC_KEY: &[Part<'static>] =
    &[Say("this is the public key: name the file with the private key in "), Key("private_key")];

fn name_another(wanted: &str) -> &'static [Part<'static>] {
    match wanted {
        "private key" => &[Say("name the file with the private key in "), Key("private_key")],
        _ => &[Say("name the file that holds the certificate")],
    }
}

fn without_sections(wanted: &str, content: &[u8]) -> Text {
    let has = |part: &[u8]| content.windows(part.len()).any(|window| window == part);
    let text = match () {
        () if has(b"-----BEGIN ") && has(b"\\n") => {
            "its line breaks are the two characters `\\n`: copy only the text from BEGIN to END, then sed 's/\\\\n/\\n/g' OLD > NEW"
        }
        () if has(b"-----BEGIN ") => PRECEDED,
        () if has(b"LS0tLS1CRUdJTi") => {
            "this has PEM in base64, as Kubernetes shows secrets: copy only that text, then base64 -d OLD > NEW"
        }
        () if is_web_page(content) => {
            "this is a web page, perhaps one that asks for a login: fetch the file itself"
        }
        () if content.trim_ascii_start().starts_with(b"{") && has(b"\"kty\"") => {
            "this is a JSON Web Key: export it as PEM from the program that made it"
        }
        () if SSH.iter().any(|kind| content.starts_with(kind)) => match wanted {
            "private key" => return Text::of(PUBLIC_KEY),
            _ => "this is a public key of OpenSSH: name the file that holds the certificate",
        },
        () => return of_format(content).map_or_else(|| of_der(wanted, content), Text::from),
    };
    text.into()
}

fn is_web_page(content: &[u8]) -> bool {
    let start = content.trim_ascii_start();
    let begins = |tag: &[u8]| start.get(..tag.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(tag));
    begins(b"<!doctype html") || begins(b"<html") || begins(b"<head")
}

const SSH: [&[u8]; 2] = [b"ssh-", b"ecdsa-sha2-"];

/// The hint for a known format, by its first bytes.
fn of_format(content: &[u8]) -> Option<&'static str> {
    const FORMATS: [(&[u8], &str); 8] = [
        (
            b"\xfe\xed\xfe\xed",
            "this is a Java keystore: keytool -importkeystore -srckeystore OLD -destkeystore NEW -deststoretype PKCS12",
        ),
        (
            b"\xce\xce\xce\xce",
            "this is a Java keystore (JCEKS): keytool -importkeystore -srckeystore OLD -srcstoretype JCEKS -destkeystore NEW -deststoretype PKCS12",
        ),
        (
            b"PuTTY-User-Key-File",
            "this is PuTTY's format: puttygen OLD -O private-openssh-new -o NEW, then ssh-keygen -p -m PKCS8 -f NEW",
        ),
        (b"\x1f\x8b", "this is compressed: gzip -dc OLD > NEW"),
        (b"BZh", "this is compressed: bzip2 -dc OLD > NEW"),
        (b"\xfd7zXZ\0", "this is compressed: xz -dc OLD > NEW"),
        (b"\x28\xb5\x2f\xfd", "this is compressed: zstd -dc OLD > NEW"),
        (b"PK\x03\x04", "this is a ZIP archive: unzip it and name the file that was in it"),
    ];
    FORMATS.iter().find(|(start, _)| content.starts_with(start)).map(|(_, hint)| *hint)
}

/// The hint for DER, plain or in base64, by its beginning.
fn of_der(wanted: &str, content: &[u8]) -> Text {
    let (kind, is_base64) = match (Der::of(content), head_in_base64(content)) {
        (None, Some(head)) => (Der::of(&head), true),
        (kind, _) => (kind, false),
    };
    let Some(kind) = kind else {
        if content.starts_with(&[SEQUENCE]) {
            let command = if wanted == "certificate" { "x509" } else { "pkey" };
            return format!("this may be DER: openssl {command} -inform der -in OLD -out NEW").into();
        }
        return "PEM is text with `-----BEGIN …-----` lines; convert DER with `openssl x509 -inform der` or \
                `openssl pkey -inform der`"
            .into();
    };
    let (what, command) = match (kind, wanted) {
        (Der::Request, _) => return REQUEST.into(),
        (Der::PublicKey, "private key") => return Text::of(PUBLIC_KEY),
        // Plain PKCS#12 is read where it is allowed.
        (Der::Pkcs12, _) if is_base64 => return "this is PKCS#12 in base64: base64 -d OLD > NEW".into(),
        (Der::Pkcs12, "private key") => ("PKCS#12", "openssl pkcs12 -nocerts"),
        (Der::Pkcs12, _) => ("PKCS#12", "openssl pkcs12 -nokeys"),
        (Der::Pkcs7, "certificate") => ("PKCS#7 (.p7b)", "openssl pkcs7 -inform der -print_certs"),
        (Der::Certificate, "certificate") => ("a certificate in DER", "openssl x509 -inform der"),
        (Der::PrivateKey, "private key") => ("a private key in DER", "openssl pkey -inform der"),
        (other, _) => {
            return Text::from(format!("this is {}: ", other.name())).then(&Text::of(name_another(wanted)));
        }
    };
    match is_base64 {
        true => format!("this is {what} in base64: base64 -d OLD | {command} -out NEW").into(),
        false => format!("this is {what}: {command} -in OLD -out NEW").into(),
    }
}

/// The first decoded bytes if `content` is base64 only. They may be part of a key.
fn head_in_base64(content: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    const LETTERS: usize = 64;
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
    if !content.iter().all(|byte| is_letter(byte) || byte.is_ascii_whitespace()) {
        return None;
    }
    let letters = content.iter().copied().filter(is_letter).take(LETTERS);
    let letters: Zeroizing<Vec<u8>> = Zeroizing::new(letters.collect());
    let mut head = Zeroizing::new(vec![0; LETTERS]);
    let length = Base64Unpadded::decode(letters.get(..LETTERS)?, &mut head).ok()?.len();
    head.truncate(length);
    Some(head)
}

#[derive(Clone, Copy)]
enum Der {
    Certificate,
    Request,
    PrivateKey,
    PublicKey,
    Pkcs7,
    Pkcs12,
}

impl Der {
    /// Recognised by its first elements.
    fn of(bytes: &[u8]) -> Option<Self> {
        const INTEGER: u8 = 0x02;
        const OBJECT_IDENTIFIER: u8 = 0x06;
        const VERSION: u8 = 0xa0;
        let (SEQUENCE, inside) = element(bytes)? else { return None };
        let kind = match element(inside)? {
            (INTEGER, [3, ..]) => Self::Pkcs12,
            (INTEGER, [0..=2, ..]) if inside[1] == 1 => Self::PrivateKey,
            // PKCS#1, which begins with the modulus.
            (INTEGER, _) => Self::PublicKey,
            (OBJECT_IDENTIFIER, id) if id.starts_with(SIGNED_DATA) => Self::Pkcs7,
            (SEQUENCE, first) => match element(first)? {
                (VERSION, _) => Self::Certificate,
                (INTEGER, [0, ..]) if first[1] == 1 => Self::Request,
                // Version 1, which has no version field.
                (INTEGER, _) => Self::Certificate,
                // Encrypted.
                (OBJECT_IDENTIFIER, id) if ENCRYPTION.iter().any(|pkcs| id.starts_with(pkcs)) => {
                    Self::PrivateKey
                }
                (OBJECT_IDENTIFIER, _) => Self::PublicKey,
                _ => return None,
            },
            _ => return None,
        };
        Some(kind)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Certificate => "a certificate",
            Self::Request => "a request",
            Self::PrivateKey => "a private key",
            Self::PublicKey => "a public key",
            Self::Pkcs7 => "PKCS#7, which has only certificates",
            Self::Pkcs12 => "PKCS#12",
        }
    }
}

/// The tag and the bytes after the length, which is not checked.
fn element(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let [tag, length, rest @ ..] = bytes else { return None };
    let digits = if *length > 0x80 { usize::from(length & 0x7f) } else { 0 };
    rest.get(digits..).map(|content| (*tag, content))
}

const SEQUENCE: u8 = 0x30;
/// The object identifier 1.2.840.113549.1.7.2.
const SIGNED_DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02";
/// Those that begin with 1.2.840.113549.1.5 (PKCS#5) and 1.2.840.113549.1.12 (PKCS#12).
const ENCRYPTION: [&[u8]; 2] = [b"\x2a\x86\x48\x86\xf7\x0d\x01\x05", b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c"];
