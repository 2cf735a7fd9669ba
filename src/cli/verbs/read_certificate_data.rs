//! `anchord read-certificate-data`: prints a certificate file as JSON, or lists the certificates of tokens, like AWS's tool.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::ArgMatches;
use serde::Serialize;
use tracing::debug;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::AlgorithmIdentifier;
use x509_parser::x509::X509Name;

use crate::cli::Exit;
use crate::cli::Surroundings;
use crate::cli::grammar::helper::Line;
use crate::cli::grammar::helper::Name;
use crate::cli::output;
use crate::telemetry;
use anchord_core::digest::hex;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_identity as identity;
use anchord_identity::FirstCertificate;
use anchord_identity::LeafSelection;
use anchord_identity::Locator;
use anchord_identity::Pipes;
use anchord_identity::Source;
use anchord_identity::pkcs11;
use anchord_identity::pkcs11::TokenCertificate;

/// The fields are in the order of AWS's tool.
#[derive(Serialize)]
struct Data {
    #[serde(rename = "keyType")]
    key_type: &'static str,
    #[serde(rename = "certificateData")]
    certificate: String,
    #[serde(rename = "serialNumber")]
    serial: String,
    #[serde(rename = "supportedAlgorithms")]
    algorithms: Vec<String>,
}

pub(super) fn run(matches: &ArgMatches, name: Name, surroundings: &mut Surroundings<'_>) -> Exit {
    let read = Line::read(matches, name, surroundings.environment, Vec::new());
    // Without a certificate or a selector, it lists all tokens.
    let (line, (source, warnings)) = match read.and_then(|line| Ok((line.clone(), line.source("pkcs11:")?))) {
        Ok(read) => read,
        Err(mistakes) => return output::report_mistakes(&mistakes, surroundings),
    };
    output::warn(&warnings, surroundings);
    if line.debug {
        telemetry::init(tracing::Level::DEBUG, telemetry::Format::Text, true, std::io::stderr);
    }
    debug!(place = source.name(), "Reading certificates");
    let text = match &source.certificate {
        Locator::File(_) | Locator::Input(_) => {
            let mut source = source;
            source.read_pipes(&mut Pipes::default());
            data(&source, surroundings)
        }
        Locator::Token(uri) => {
            let (uri, module) = ((**uri).clone(), source.pkcs11_module.clone());
            let options =
                pkcs11::TokenQuery { uri, module, pin: None, launcher: pkcs11::Launcher::default() };
            list(&options, &source.selection)
        }
        Locator::Tpm(_) | Locator::Agent(_) => Err(neither_file_nor_token()),
    };
    match text {
        Ok(text) => output::print(surroundings, &text),
        Err(failure) => output::report(&failure, surroundings),
    }
}

fn neither_file_nor_token() -> Failure {
    Failure::of(
        Reason::InvalidSetting,
        "--certificate names neither a file nor a token",
        Some("`anchord certificate show` also shows the certificates of SPIFFE agents".into()),
    )
}

/// The first certificate in PEM; no line break at the end.
fn data(source: &Source, surroundings: &mut Surroundings<'_>) -> Result<String, Failure> {
    let FirstCertificate { der, warnings } = match source.first_certificate() {
        Some(first) => first?,
        None => return Err(neither_file_nor_token()),
    };
    output::warn(&warnings, surroundings);
    let unreadable = |what: &str| {
        let hint = Some("name a PEM file; `anchord certificate show` also reads PKCS#12".into());
        Failure::of(Reason::FileUnusable, format!("`{}` {what}", source.name()), hint)
    };
    let (_, parsed) =
        X509Certificate::from_der(&der).map_err(|_| unreadable("holds a certificate that cannot be read"))?;
    if identity::has_negative_serial(&parsed) {
        return Err(Failure::of(
            Reason::CertificateUnusable,
            format!("`{}` holds a certificate with a negative serial number", source.name()),
            Some(identity::NEGATIVE_SERIAL.into()),
        ));
    }
    let algorithm = &parsed.public_key().algorithm;
    let key_type = match algorithm.algorithm.to_id_string().as_str() {
        "1.2.840.113549.1.1.1" => "RSA",
        "1.2.840.10045.2.1" if is_on_a_known_curve(algorithm) => "EC",
        "1.2.840.10045.2.1" => {
            return Err(Failure::of(
                Reason::CertificateUnusable,
                format!("`{}` holds a certificate with a key on an unknown curve", source.name()),
                Some("Roles Anywhere accepts P-256, P-384 and P-521".into()),
            ));
        }
        "2.16.840.1.101.3.4.3.17" => "ML-DSA-44",
        "2.16.840.1.101.3.4.3.18" => "ML-DSA-65",
        "2.16.840.1.101.3.4.3.19" => "ML-DSA-87",
        // As in AWS's tool.
        _ => "",
    };
    // ML-DSA signs without a separate digest.
    let algorithms = match key_type.starts_with("ML-DSA") {
        true => vec![key_type.to_owned()],
        false => ["SHA256", "SHA384", "SHA512"].map(|digest| format!("{key_type}{digest}")).to_vec(),
    };
    let data = Data {
        key_type,
        certificate: BASE64_STANDARD.encode(&der),
        serial: parsed.tbs_certificate.serial.to_string(),
        algorithms,
    };
    serde_json::to_string(&data)
        .map_err(|_| Failure::of(Reason::Bug, "cannot write the certificate as JSON", None))
}

/// Whether the curve is named, and one that AWS's tool knows: P-224, P-256, P-384 or P-521.
fn is_on_a_known_curve(algorithm: &AlgorithmIdentifier<'_>) -> bool {
    const CURVES: [&str; 4] = ["1.3.132.0.33", "1.2.840.10045.3.1.7", "1.3.132.0.34", "1.3.132.0.35"];
    let curve = algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    curve.is_some_and(|curve| CURVES.contains(&curve.to_id_string().as_str()))
}

fn list(options: &pkcs11::TokenQuery, selection: &LeafSelection) -> Result<String, Failure> {
    let found = match pkcs11::certificates(options) {
        Ok(found) => found,
        Err(pkcs11::Error::NoCertificate { .. }) => Vec::new(),
        Err(error) => return Err(Failure::new(&error)),
    };
    let lines: Vec<_> = found.iter().filter_map(|certificate| entry(certificate, selection)).collect();
    if lines.is_empty() {
        return Ok("No matching identities\n".into());
    }
    let mut text = String::from("Matching identities\n");
    for (index, line) in lines.iter().enumerate() {
        // Writing into a String cannot fail.
        let _ = write!(text, "{}) {line}", index + 1);
    }
    Ok(text)
}

fn entry(found: &TokenCertificate, selection: &LeafSelection) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(&found.der).ok()?;
    if !selection.names(&parsed) {
        return None;
    }
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &found.der);
    let fingerprint = hex(digest.as_ref());
    let serial = format!("{:X}", parsed.tbs_certificate.serial);
    let (subject, issuer) = (name(parsed.subject()), name(parsed.issuer()));
    // The format of AWS's tool since its version 1.7, with an empty line at the end.
    Some(format!(
        "Hex Fingerprint: {fingerprint}\nSubject: {subject}\nIssuer: {issuer}\nSerial Number: {serial}\nURI: {}\n\n",
        found.uri
    ))
}

/// A name in the format of Go's `pkix.Name`: well-known attributes from the most specific to the most general, whatever
/// their order in the certificate, then all others.
fn name(name: &X509Name<'_>) -> String {
    const KNOWN: [(&str, &str); 9] = [
        ("2.5.4.5", "SERIALNUMBER"),
        ("2.5.4.3", "CN"),
        ("2.5.4.17", "POSTALCODE"),
        ("2.5.4.9", "STREET"),
        ("2.5.4.8", "ST"),
        ("2.5.4.7", "L"),
        ("2.5.4.11", "OU"),
        ("2.5.4.10", "O"),
        ("2.5.4.6", "C"),
    ];
    let attributes: Vec<_> =
        name.iter_attributes().map(|attribute| (attribute.attr_type().to_id_string(), attribute)).collect();
    let is_single = |short: &str| ["CN", "SERIALNUMBER"].contains(&short);
    let mut parts = Vec::new();
    for (oid, short) in KNOWN {
        let values = attributes.iter().filter(|(own, _)| own == oid);
        let mut values: Vec<_> = values
            .map(|(_, value)| format!("{short}={}", escaped(&identity::attribute_text(value))))
            .collect();
        if is_single(short) {
            values = values.pop().into_iter().collect();
        }
        parts.extend((!values.is_empty()).then(|| values.join("+")));
    }
    let others = attributes.iter().rev().filter(|(own, _)| !KNOWN.iter().any(|(oid, _)| own == oid));
    parts.extend(others.map(|(oid, value)| format!("{oid}=#{}", hex(value.as_slice()))));
    parts.join(",")
}

fn escaped(value: &str) -> String {
    let mut text = String::new();
    let last = value.chars().count().saturating_sub(1);
    for (index, letter) in value.chars().enumerate() {
        let is_special = matches!(letter, ',' | '+' | '"' | '\\' | '<' | '>' | ';')
            || (letter == '#' && index == 0)
            || (letter == ' ' && (index == 0 || index == last));
        text.extend(is_special.then_some('\\'));
        text.push(letter);
    }
    text
}
