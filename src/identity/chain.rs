//! Finds the leaf among certificates in any order and puts its issuers in theirs.

use std::sync::Arc;

use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;

use super::Error;
use super::SigningKey;
use super::pem::Certificate;

/// Each certificate that carries the public key of one of the keys, with that key.
pub(super) fn pairs<'a>(
    certificates: &'a [Certificate],
    keys: &'a [Arc<dyn SigningKey>],
) -> Vec<(&'a Certificate, &'a Arc<dyn SigningKey>)> {
    let key_of = |certificate: &Certificate| {
        let parsed = certificate.parse().ok()?;
        let carried = parsed.public_key().subject_public_key.data.as_ref();
        keys.iter().find(|key| key.public_key() == carried)
    };
    certificates.iter().filter_map(|certificate| Some((certificate, key_of(certificate)?))).collect()
}

/// Of several (a renewal may keep its key) the one valid at `now` that ends last.
pub(super) fn best<'a>(
    pairs: impl Iterator<Item = (&'a Certificate, &'a Arc<dyn SigningKey>)>,
    now: OffsetDateTime,
) -> Option<(&'a Certificate, &'a Arc<dyn SigningKey>)> {
    let rank = |certificate: &Certificate| {
        let parsed = certificate.parse().ok()?;
        let validity = parsed.validity();
        let (begins, ends) = (validity.not_before.to_datetime(), validity.not_after.to_datetime());
        Some((begins <= now && now <= ends, ends))
    };
    pairs.max_by_key(|(certificate, _)| rank(certificate))
}

/// The issuers above `leaf`, nearest first, without self-signed roots: the trust anchor is registered with AWS
/// and is not sent.
pub(super) fn order<'a>(
    leaf: &Certificate,
    certificates: &'a [Certificate],
) -> Result<Vec<&'a Certificate>, Error> {
    let mut chain: Vec<&Certificate> = Vec::new();
    let mut current = leaf.parse()?;
    while let Some((issuer, parsed)) = issuer_of(&current, certificates)? {
        if chain.iter().any(|link| link.der == issuer.der) || is_self_issued(&parsed) {
            break;
        }
        chain.push(issuer);
        current = parsed;
    }
    Ok(chain)
}

/// How many distinct certificates are neither the leaf, nor in the chain, nor a root.
pub(super) fn unused(certificates: &[Certificate], chain: &[&Certificate]) -> Result<usize, Error> {
    let mut seen: Vec<&[u8]> = chain.iter().map(|link| link.der.as_slice()).collect();
    let mut unused = 0;
    for certificate in certificates {
        let parsed = certificate.parse()?;
        if !seen.contains(&certificate.der.as_slice()) && parsed.is_ca() && !is_self_issued(&parsed) {
            unused += 1;
        }
        seen.push(&certificate.der);
    }
    Ok(unused)
}

/// The CA certificate whose subject and key identifier are what `certificate` names as its issuer; where names
/// alone match several, the one that ends last.
fn issuer_of<'a>(
    certificate: &X509Certificate<'_>,
    certificates: &'a [Certificate],
) -> Result<Option<(&'a Certificate, X509Certificate<'a>)>, Error> {
    let wanted_key = authority_key(certificate);
    let mut candidates = Vec::new();
    for candidate in certificates {
        let parsed = candidate.parse()?;
        let key_agrees = match (&wanted_key, subject_key(&parsed)) {
            (Some(wanted), Some(own)) => *wanted == own,
            _ => true,
        };
        if parsed.subject().as_raw() == certificate.issuer().as_raw() && parsed.is_ca() && key_agrees {
            candidates.push((candidate, parsed));
        }
    }
    Ok(candidates.into_iter().max_by_key(|(_, parsed)| parsed.validity().not_after.timestamp()))
}

fn is_self_issued(certificate: &X509Certificate<'_>) -> bool {
    certificate.subject().as_raw() == certificate.issuer().as_raw()
}

fn authority_key(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|key| key.0.to_vec()),
        _ => None,
    })
}

fn subject_key(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
        _ => None,
    })
}
