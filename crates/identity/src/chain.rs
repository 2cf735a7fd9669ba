//! Finds the leaf among certificates in any order, and orders its issuers.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;

use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;

use super::MAX_INTERMEDIATES;
use super::SigningKey;
use super::leaf;
use super::name;
use super::pem::Certificate;
use super::pem::Error;
use anchord_core::notice::Notice;

/// Each certificate whose public key matches one of `keys`, with that key.
pub(super) fn pairs<'a>(
    certificates: &'a [Certificate],
    keys: &'a [Arc<dyn SigningKey>],
) -> Vec<(&'a Certificate, &'a Arc<dyn SigningKey>)> {
    let mut pairs = Vec::new();
    for certificate in certificates {
        let Ok(parsed) = certificate.parse() else { continue };
        let carried = parsed.public_key().subject_public_key.data.as_ref();
        if let Some(key) = keys.iter().find(|key| key.public_key() == carried) {
            pairs.push((certificate, key));
        }
    }
    pairs
}

/// Of several pairs (a renewal may keep its key), the one that is valid at `now` and expires last.
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

/// The issuers of `leaf` to send: one path, nearest issuer first, then the certificates that only other paths need.
///
/// An issuer may have several certificates (cross-signing), and only AWS knows which of them leads to the trust anchor.
/// So the result has every path that fits. The first path comes in order and without a gap, for a verifier that follows
/// one path only. Self-signed roots are left out: the trust anchor is registered with AWS.
///
/// If no path fits, the result is the first one, which is longer than Roles Anywhere accepts.
pub(super) fn order<'a>(
    leaf: &Certificate,
    certificates: &'a [Certificate],
    now: OffsetDateTime,
) -> Result<Vec<&'a Certificate>, Error> {
    let mut authorities = Vec::new();
    for certificate in certificates {
        authorities.extend(CaCertificate::new(certificate, now)?);
    }
    // A file may contain a certificate twice.
    authorities.sort_by_key(|authority| Reverse(authority.rank));
    let mut seen = HashSet::new();
    authorities.retain(|authority| seen.insert(&authority.certificate.der));
    let mut search = PathSearch { authorities: &authorities, paths: Vec::new(), steps: MAX_STEPS };
    search.climb(&leaf.parse()?, &mut Vec::new());
    let mut paths = search.paths;
    paths.sort_by_key(|path| !is_usable(path));
    // Unusable certificates are sent only if the leaf has no usable issuer.
    if paths.first().is_some_and(|path| is_usable(path)) {
        for path in &mut paths {
            path.truncate(path.iter().take_while(|authority| authority.is_usable()).count());
        }
    }
    let first = paths.iter().find(|path| path.len() <= MAX_INTERMEDIATES).or(paths.first());
    let Some(first) = first else { return Ok(Vec::new()) };
    let mut sent: Vec<&Certificate> = first.iter().map(|authority| authority.certificate).collect();
    for path in paths.iter().filter(|path| is_usable(path)) {
        let mut more = Vec::new();
        for CaCertificate { certificate, .. } in path {
            if !sent.iter().any(|other| other.der == certificate.der) {
                more.push(*certificate);
            }
        }
        if sent.len() + more.len() <= MAX_INTERMEDIATES {
            sent.extend(more);
        }
    }
    Ok(sent)
}

/// Real bundles have a handful of paths; a crafted file could have exponentially many.
const MAX_STEPS: usize = 1000;

/// Paths are followed no further: this is more than can be sent, and enough for the error message.
const MAX_LENGTH: usize = 2 * MAX_INTERMEDIATES;

/// A certificate of a CA.
struct CaCertificate<'a> {
    certificate: &'a Certificate,
    parsed: X509Certificate<'a>,
    /// Whether it is usable, then when it expires; the highest comes first.
    rank: (bool, i64),
}

impl<'a> CaCertificate<'a> {
    fn new(certificate: &'a Certificate, now: OffsetDateTime) -> Result<Option<Self>, Error> {
        let parsed = certificate.parse()?;
        if !parsed.is_ca() {
            return Ok(None);
        }
        let may_sign = parsed.key_usage().ok().flatten().is_some_and(|usage| usage.value.key_cert_sign());
        let is_usable = may_sign && leaf::fault_of_time(&parsed, now).is_none();
        let rank = (is_usable, parsed.validity().not_after.timestamp());
        Ok(Some(Self { certificate, parsed, rank }))
    }

    fn is_usable(&self) -> bool {
        self.rank.0
    }

    /// Whether the issuer name and authority key identifier of `certificate` match. A name alone may match several CAs.
    fn may_have_issued(&self, certificate: &X509Certificate<'_>) -> bool {
        if self.parsed.subject().as_raw() != certificate.issuer().as_raw() {
            return false;
        }
        match (authority_key(certificate), subject_key(&self.parsed)) {
            (Some(wanted), Some(own)) => wanted == own,
            _ => true,
        }
    }

    /// Whether adding this certificate to a path that contains `other` makes a loop: both belong to one CA, or `other`
    /// issued this one.
    fn goes_around(&self, other: &Self) -> bool {
        let is_same = self.parsed.subject().as_raw() == other.parsed.subject().as_raw()
            && self.parsed.public_key().raw == other.parsed.public_key().raw;
        is_same || other.may_have_issued(&self.parsed)
    }
}

fn is_usable(path: &[&CaCertificate<'_>]) -> bool {
    path.iter().all(|authority| authority.is_usable())
}

struct PathSearch<'s, 'a> {
    authorities: &'s [CaCertificate<'a>],
    paths: Vec<Vec<&'s CaCertificate<'a>>>,
    steps: usize,
}

impl<'s, 'a> PathSearch<'s, 'a> {
    /// Finds every path from `certificate` upwards, better certificates first. `below` is the path to it.
    fn climb(&mut self, certificate: &X509Certificate<'_>, below: &mut Vec<&'s CaCertificate<'a>>) {
        let (mut usable, mut unusable, mut has_root) = (Vec::new(), Vec::new(), false);
        for authority in self.authorities {
            if !authority.may_have_issued(certificate) {
                continue;
            }
            if is_root(&authority.parsed) {
                has_root = true;
            } else if below.iter().any(|passed| authority.goes_around(passed)) {
                continue;
            } else if authority.is_usable() {
                usable.push(authority);
            } else {
                unusable.push(authority);
            }
        }
        let issuers = if usable.is_empty() { unusable } else { usable };
        // A root may be the trust anchor, so the path may end here.
        if issuers.is_empty() || has_root || below.len() == MAX_LENGTH {
            self.paths.push(below.clone());
        }
        if below.len() == MAX_LENGTH {
            return;
        }
        for issuer in issuers {
            if self.steps == 0 {
                return;
            }
            self.steps -= 1;
            below.push(issuer);
            self.climb(&issuer.parsed, below);
            below.pop();
        }
    }
}

/// A sentence for each file that has CA certificates which are not sent; roots do not count.
pub(super) fn left_out(
    leaf: &Certificate,
    certificates: &[Certificate],
    chain: &[&Certificate],
    now: OffsetDateTime,
) -> Result<Vec<Notice>, Error> {
    let mut authorities = Vec::new();
    let mut seen = HashSet::new();
    for certificate in certificates {
        if seen.insert(&certificate.der) {
            authorities.extend(CaCertificate::new(certificate, now)?);
        }
    }
    let issuers = issuers(&leaf.parse()?, &authorities);
    let is_sent =
        |authority: &CaCertificate<'_>| chain.iter().any(|link| link.der == authority.certificate.der);
    let all_fit = issuers.iter().filter(|issuer| !is_root(&issuer.parsed)).count() <= MAX_INTERMEDIATES;
    let mut places: Vec<(String, Vec<NotSentReason>)> = Vec::new();
    for authority in authorities.iter().filter(|authority| !is_sent(authority) && !is_root(&authority.parsed))
    {
        let is_issuer = issuers.iter().any(|issuer| std::ptr::eq(*issuer, authority));
        let reason = match leaf::fault_of_time(&authority.parsed, now) {
            Some(leaf::LeafFault::NotYetValid { .. }) => NotSentReason::NotYetValid,
            Some(_) => NotSentReason::Expired,
            None if !authority.is_usable() => NotSentReason::NoCertSign,
            None if !is_issuer => NotSentReason::Elsewhere,
            None if all_fit => NotSentReason::Around,
            None => NotSentReason::TooMany,
        };
        let place = authority.certificate.origin.to_string();
        match places.iter_mut().find(|(other, _)| *other == place) {
            Some((_, reasons)) => reasons.push(reason),
            None => places.push((place, vec![reason])),
        }
    }
    Ok(places.iter().map(|(place, reasons)| Notice::new(sentence(place, reasons))).collect())
}

/// The CA certificates on any usable path from the leaf.
fn issuers<'s, 'a>(
    leaf: &X509Certificate<'_>,
    authorities: &'s [CaCertificate<'a>],
) -> Vec<&'s CaCertificate<'a>> {
    let usable = || authorities.iter().filter(|authority| authority.is_usable());
    let mut found: Vec<_> = usable().filter(|authority| authority.may_have_issued(leaf)).collect();
    let mut next = 0;
    while let Some(below) = found.get(next).copied() {
        for issuer in usable().filter(|authority| authority.may_have_issued(&below.parsed)) {
            if !found.iter().any(|other| std::ptr::eq(*other, issuer)) {
                found.push(issuer);
            }
        }
        next += 1;
    }
    found
}

/// Why a certificate is not sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum NotSentReason {
    NotYetValid,
    Expired,
    NoCertSign,
    Elsewhere,
    Around,
    TooMany,
}

impl NotSentReason {
    const ALL: [Self; 6] =
        [Self::Expired, Self::NotYetValid, Self::NoCertSign, Self::Elsewhere, Self::TooMany, Self::Around];

    /// The text for one certificate or for several.
    fn text(self, is_one: bool) -> &'static str {
        match (self, is_one) {
            (Self::NotYetValid, true) => "is not valid yet",
            (Self::NotYetValid, false) => "are not valid yet",
            (Self::Expired, true) => "has expired",
            (Self::Expired, false) => "have expired",
            (Self::NoCertSign, true) => "has no key usage keyCertSign",
            (Self::NoCertSign, false) => "have no key usage keyCertSign",
            (Self::Elsewhere, true) => "is not on a path from the leaf to a root",
            (Self::Elsewhere, false) => "are not on a path from the leaf to a root",
            (Self::Around, true) => "only forms a loop with a certificate that is sent",
            (Self::Around, false) => "only form loops with certificates that are sent",
            (Self::TooMany, true) => "is one too many for Roles Anywhere, which accepts at most 5",
            (Self::TooMany, false) => "are too many for Roles Anywhere, which accepts at most 5",
        }
    }
}

fn sentence(place: &str, reasons: &[NotSentReason]) -> String {
    let all = reasons.len();
    let mut parts = Vec::new();
    for reason in NotSentReason::ALL {
        let some = reasons.iter().filter(|other| **other == reason).count();
        let who = match some {
            0 => continue,
            1 if all == 1 => "it".into(),
            _ if some == all => "they".into(),
            _ => some.to_string(),
        };
        parts.push(format!("{who} {}", reason.text(some == 1)));
    }
    let are = if all == 1 { "is" } else { "are" };
    format!("{all} of the certificates in {place} {are} not sent: {}", parts.join(", "))
}

/// Whether it is self-signed. A CA that changes its key may sign the new key with the old one under the same name: such
/// a certificate is not a root.
fn is_root(certificate: &X509Certificate<'_>) -> bool {
    let is_own_key = match (authority_key(certificate), subject_key(certificate)) {
        (Some(issuers), Some(own)) => issuers == own,
        _ => true,
    };
    certificate.subject().as_raw() == certificate.issuer().as_raw() && is_own_key
}

/// The issuers of `leaf` and `chain` that are not among them. The trust anchor must be one of these, or an ancestor.
pub(super) fn ends(leaf: &Certificate, chain: &[&Certificate]) -> Result<Vec<String>, Error> {
    let mut sent = vec![leaf.parse()?];
    for certificate in chain {
        sent.push(certificate.parse()?);
    }
    let mut ends = Vec::new();
    for (index, certificate) in sent.iter().enumerate() {
        let issuer = name::shown(certificate.issuer());
        let is_sent = sent.iter().enumerate().any(|(other, authority)| {
            other != index && authority.subject().as_raw() == certificate.issuer().as_raw()
        });
        if !is_sent && !ends.contains(&issuer) {
            ends.push(issuer);
        }
    }
    Ok(ends)
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

#[cfg(test)]
mod tests;
