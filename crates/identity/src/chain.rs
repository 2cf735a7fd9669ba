//! Finds the leaf among certificates in any order and puts its issuers in theirs.

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

/// The issuers of `leaf` that are sent: one path, nearest first, and after it what other paths need besides.
///
/// An issuer may be there several times, each certificate signed by another CA: which of them leads to the trust anchor,
/// only AWS knows. So every path is sent that fits. The first one stands in order and without a gap, for a verifier that
/// only walks along. Self-signed roots are not sent: the trust anchor is registered with AWS.
///
/// Where no path fits, the first one is the answer, which is longer than Roles Anywhere takes.
pub(super) fn order<'a>(
    leaf: &Certificate,
    certificates: &'a [Certificate],
    now: OffsetDateTime,
) -> Result<Vec<&'a Certificate>, Error> {
    let mut authorities = Vec::new();
    for certificate in certificates {
        authorities.extend(Authority::new(certificate, now)?);
    }
    // A file may have a certificate twice.
    authorities.sort_by_key(|authority| Reverse(authority.rank));
    let mut seen = HashSet::new();
    authorities.retain(|authority| seen.insert(&authority.certificate.der));
    let mut search = Search { authorities: &authorities, paths: Vec::new(), steps: MAX_STEPS };
    search.climb(&leaf.parse()?, &mut Vec::new());
    let mut paths = search.paths;
    let is_usable = |path: &Vec<&Authority<'_>>| path.iter().all(|authority| authority.is_usable());
    paths.sort_by_key(|path| !is_usable(path));
    // What cannot be used is sent only where nothing else leads on from the leaf.
    if paths.first().is_some_and(is_usable) {
        for path in &mut paths {
            path.truncate(path.iter().take_while(|authority| authority.is_usable()).count());
        }
    }
    let fits = |path: &&Vec<&Authority<'_>>| path.len() <= MAX_INTERMEDIATES;
    let Some(first) = paths.iter().find(fits).or(paths.first()) else { return Ok(Vec::new()) };
    let mut sent: Vec<&Certificate> = first.iter().map(|authority| authority.certificate).collect();
    for path in paths.iter().filter(|path| is_usable(path)) {
        let others = path.iter().map(|authority| authority.certificate);
        let more: Vec<_> =
            others.filter(|other| !sent.iter().any(|certificate| certificate.der == other.der)).collect();
        if sent.len() + more.len() <= MAX_INTERMEDIATES {
            sent.extend(more);
        }
    }
    Ok(sent)
}

/// Far above any real bundle, which has a handful of paths; a file may be made to have very many.
const MAX_STEPS: usize = 1000;

/// No path is followed further: it is longer than what is sent, and long enough for people to see that.
const MAX_LENGTH: usize = 2 * MAX_INTERMEDIATES;

/// A certificate of a CA.
struct Authority<'a> {
    certificate: &'a Certificate,
    parsed: X509Certificate<'a>,
    /// Usable ones go first, and of those the one that ends last.
    rank: (bool, i64),
}

impl<'a> Authority<'a> {
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

    /// Whether name and key identifier are what `certificate` names as its issuer; a name alone may fit several.
    fn may_have_issued(&self, certificate: &X509Certificate<'_>) -> bool {
        if self.parsed.subject().as_raw() != certificate.issuer().as_raw() {
            return false;
        }
        match (authority_key(certificate), subject_key(&self.parsed)) {
            (Some(wanted), Some(own)) => wanted == own,
            _ => true,
        }
    }

    /// Whether a path that has passed `other` only goes around here: both are of one CA, or that one issued this one.
    fn goes_around(&self, other: &Self) -> bool {
        let is_same = self.parsed.subject().as_raw() == other.parsed.subject().as_raw()
            && self.parsed.public_key().raw == other.parsed.public_key().raw;
        is_same || other.may_have_issued(&self.parsed)
    }
}

struct Search<'s, 'a> {
    authorities: &'s [Authority<'a>],
    paths: Vec<Vec<&'s Authority<'a>>>,
    steps: usize,
}

impl<'s, 'a> Search<'s, 'a> {
    /// Every path from `certificate` upwards, those of better certificates first. `below` is what has led to it.
    fn climb(&mut self, certificate: &X509Certificate<'_>, below: &mut Vec<&'s Authority<'a>>) {
        let may_have_issued = |authority: &&Authority<'_>| authority.may_have_issued(certificate);
        let (roots, issuers): (Vec<_>, Vec<_>) =
            self.authorities.iter().filter(may_have_issued).partition(|authority| is_root(&authority.parsed));
        let is_new = |issuer: &&Authority<'_>| !below.iter().any(|passed| issuer.goes_around(passed));
        let issuers: Vec<_> = issuers.into_iter().filter(is_new).collect();
        let some_are_usable = issuers.iter().any(|issuer| issuer.is_usable());
        let issuers: Vec<_> =
            issuers.into_iter().filter(|issuer| issuer.is_usable() || !some_are_usable).collect();
        // A root may be the trust anchor, whatever else leads on.
        if issuers.is_empty() || !roots.is_empty() || below.len() == MAX_LENGTH {
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

/// Sentences on the certificates of CAs that are not sent, roots apart: one for each place that has some.
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
            authorities.extend(Authority::new(certificate, now)?);
        }
    }
    let issuers = issuers(&leaf.parse()?, &authorities);
    let is_sent = |authority: &Authority<'_>| chain.iter().any(|link| link.der == authority.certificate.der);
    let all_fit = issuers.iter().filter(|issuer| !is_root(&issuer.parsed)).count() <= MAX_INTERMEDIATES;
    let mut places: Vec<(String, Vec<Omission>)> = Vec::new();
    for authority in authorities.iter().filter(|authority| !is_sent(authority) && !is_root(&authority.parsed))
    {
        let is_issuer = issuers.iter().any(|issuer| std::ptr::eq(*issuer, authority));
        let omission = match leaf::fault_of_time(&authority.parsed, now) {
            Some(leaf::Fault::NotYetValid { .. }) => Omission::NotYetValid,
            Some(_) => Omission::Expired,
            None if !authority.is_usable() => Omission::NoCertSign,
            None if !is_issuer => Omission::Elsewhere,
            None if all_fit => Omission::Around,
            None => Omission::TooMany,
        };
        let place = authority.certificate.origin.to_string();
        match places.iter_mut().find(|(other, _)| *other == place) {
            Some((_, omissions)) => omissions.push(omission),
            None => places.push((place, vec![omission])),
        }
    }
    Ok(places.iter().map(|(place, omissions)| Notice::new(sentence(place, omissions))).collect())
}

/// Those that a usable path from the leaf leads to.
fn issuers<'s, 'a>(leaf: &X509Certificate<'_>, authorities: &'s [Authority<'a>]) -> Vec<&'s Authority<'a>> {
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
enum Omission {
    NotYetValid,
    Expired,
    NoCertSign,
    Elsewhere,
    Around,
    TooMany,
}

impl Omission {
    const ALL: [Self; 6] =
        [Self::Expired, Self::NotYetValid, Self::NoCertSign, Self::Elsewhere, Self::TooMany, Self::Around];

    /// In the words for one certificate or for several.
    fn text(self, is_one: bool) -> &'static str {
        match (self, is_one) {
            (Self::NotYetValid, true) => "is not valid yet",
            (Self::NotYetValid, false) => "are not valid yet",
            (Self::Expired, true) => "has expired",
            (Self::Expired, false) => "have expired",
            (Self::NoCertSign, true) => "has no key usage keyCertSign",
            (Self::NoCertSign, false) => "have no key usage keyCertSign",
            (Self::Elsewhere, true) => "does not lead from the leaf towards a root",
            (Self::Elsewhere, false) => "do not lead from the leaf towards a root",
            (Self::Around, true) => "only leads back to what is sent",
            (Self::Around, false) => "only lead back to what is sent",
            (Self::TooMany, true) => "is one too many for Roles Anywhere, which takes at most 5",
            (Self::TooMany, false) => "are too many for Roles Anywhere, which takes at most 5",
        }
    }
}

fn sentence(place: &str, omissions: &[Omission]) -> String {
    let all = omissions.len();
    let mut parts = Vec::new();
    for omission in Omission::ALL {
        let some = omissions.iter().filter(|other| **other == omission).count();
        let who = match some {
            0 => continue,
            1 if all == 1 => "it".into(),
            _ if some == all => "they".into(),
            _ => some.to_string(),
        };
        parts.push(format!("{who} {}", omission.text(some == 1)));
    }
    let are = if all == 1 { "is" } else { "are" };
    format!("{all} of the certificates in {place} {are} not sent: {}", parts.join(", "))
}

/// Whether it is signed by itself. A CA that has changed its key may certify the new one with the old one, under one
/// name: such a certificate leads on.
fn is_root(certificate: &X509Certificate<'_>) -> bool {
    let is_own_key = match (authority_key(certificate), subject_key(certificate)) {
        (Some(issuers), Some(own)) => issuers == own,
        _ => true,
    };
    certificate.subject().as_raw() == certificate.issuer().as_raw() && is_own_key
}

/// The issuers of the certificates of `chain`, and of `leaf`, that are not among them: a trust anchor has to be one of
/// these, or lead to one.
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
