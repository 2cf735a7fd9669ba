//! What people have where a certificate or key in PEM belongs, and what turns it into that.

use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;

/// What to do where a BEGIN is found that begins no line.
pub(in crate::identity) const PRECEDED: &str =
    "a BEGIN line is one that begins so: take away what stands before the dashes";

/// What to do with a file that does not hold what is wanted. `labels` are those of its sections.
pub(in crate::identity) fn hint(wanted: &str, labels: &[String], content: &[u8]) -> String {
    let of_label = labels.iter().find_map(|label| match wanted {
        "certificate" => certificate(label.as_bytes()).or_else(|| no_certificate(label)),
        _ => no_key(label),
    });
    match of_label {
        Some(hint) => hint.into(),
        None if labels.is_empty() => without_sections(wanted, content).into(),
        None if wanted == "private key" => "name the file that holds it in `private_key`".into(),
        None => format!("name the file that holds the {wanted}"),
    }
}

/// What to do with a section that is a certificate under another name.
pub(in crate::identity) fn certificate(label: &[u8]) -> Option<&'static str> {
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

fn no_key(label: &str) -> Option<&'static str> {
    match label {
        "OPENSSH PRIVATE KEY" => {
            Some("this is OpenSSH's format, convert a copy of it: ssh-keygen -p -m PKCS8 -f COPY")
        }
        "PUBLIC KEY" | "RSA PUBLIC KEY" | "SSH2 PUBLIC KEY" => {
            Some("this is the public key: name the file with the private key in `private_key`")
        }
        _ => None,
    }
}

const REQUEST: &str = "this is the request for a certificate: name the file that the CA has answered with";

fn is_web_page(content: &[u8]) -> bool {
    let start = content.trim_ascii_start();
    let begins = |tag: &[u8]| start.get(..tag.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(tag));
    begins(b"<!doctype html") || begins(b"<html") || begins(b"<head")
}

/// PKCS#10 in DER.
fn is_request(content: &[u8]) -> bool {
    X509CertificationRequest::from_der(content).is_ok()
}

fn without_sections(wanted: &str, content: &[u8]) -> &'static str {
    let has = |part: &[u8]| content.windows(part.len()).any(|window| window == part);
    let is_pkcs7 =
        content.get(..64).unwrap_or(content).windows(SIGNED_DATA.len()).any(|part| part == SIGNED_DATA);
    match () {
        () if has(b"-----BEGIN ") && has(b"\\n") => {
            "its line breaks are the two characters `\\n`: take the text from its BEGIN to its END alone, then sed 's/\\\\n/\\n/g' OLD > NEW"
        }
        () if has(b"-----BEGIN ") => PRECEDED,
        () if has(b"LS0tLS1CRUdJTi") => {
            "this has PEM in base64, as Kubernetes shows secrets: take that text alone, then base64 -d OLD > NEW"
        }
        () if is_web_page(content) => {
            "this is a web page, perhaps one that asks for a login: fetch the file itself"
        }
        () if is_request(content) => REQUEST,
        () if is_pkcs7 => "this is PKCS#7 (.p7b): openssl pkcs7 -inform der -print_certs -in OLD -out NEW",
        () if content.starts_with(JAVA) => {
            "this is a Java keystore: keytool -importkeystore -srckeystore OLD -destkeystore NEW -deststoretype PKCS12"
        }
        () if content.starts_with(b"PuTTY-User-Key-File") => {
            "this is PuTTY's format: puttygen OLD -O private-openssh-new -o NEW, then ssh-keygen -p -m PKCS8 -f NEW"
        }
        () if content.starts_with(b"\x30") && wanted == "certificate" => {
            "this may be DER: openssl x509 -inform der -in OLD -out NEW"
        }
        () if content.starts_with(b"\x30") => "this may be DER: openssl pkey -inform der -in OLD -out NEW",
        () => {
            "PEM is text with `-----BEGIN …-----` lines; convert DER with `openssl x509 -inform der` or `openssl pkey -inform der`"
        }
    }
}

/// The object identifier 1.2.840.113549.1.7.2.
const SIGNED_DATA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02";
const JAVA: &[u8] = b"\xfe\xed\xfe\xed";
