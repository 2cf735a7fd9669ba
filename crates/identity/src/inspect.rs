//! What a source holds, for people to read: every certificate, the key, and whether Roles Anywhere would accept them.

use std::fmt;

use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::extensions::KeyUsage;
use x509_parser::extensions::ParsedExtension;

use super::Error;
use super::Fingerprint;
use super::MAX_INTERMEDIATES;
use super::NameAttributes;
use super::Source;
use super::chain;
use super::expiry::ChainPosition;
use super::expiry::Expiry;
use super::leaf;
use super::name::plain;
use super::name::shown;
use super::passphrase;
use super::pem;
use super::pem::Certificate;
use super::source::Material;
use super::source::gather;
use anchord_core::failure::Failure;
use anchord_core::notice::Notice;

/// The content of a source and all problems with it.
#[derive(Debug)]
pub struct Inspection {
    /// The leaf, its intermediates in order, then the certificates that are not sent.
    pub certificates: Vec<InspectedCertificate>,
    /// A short description of the key; `None` if no key was named.
    pub key: Option<Result<String, Failure>>,
    /// Why Roles Anywhere would refuse it, or why it cannot be used; empty if no problem was found.
    pub refusals: Vec<Failure>,
    /// The issuers at which the sent paths end. The trust anchor must be one of them, or an ancestor.
    pub ends_at: Vec<String>,
    /// Sentences without a full stop.
    pub warnings: Vec<Notice>,
}

/// One certificate.
#[derive(Debug)]
pub struct InspectedCertificate {
    /// Its role in the chain.
    pub role: CertificateRole,
    /// Where it was found.
    pub origin: String,
    /// As `certificate_subject` takes it.
    pub subject: String,
    /// As `certificate_issuer` takes it.
    pub issuer: String,
    /// Decimal, as AWS shows it.
    pub serial: String,
    /// Hexadecimal, as OpenSSL shows it.
    pub serial_hex: String,
    /// The fingerprint that `certificate_fingerprint` takes.
    pub fingerprint: Fingerprint,
    /// The first instant of its life.
    pub not_before: OffsetDateTime,
    /// The last instant of its life.
    pub not_after: OffsetDateTime,
    /// Kind and size of its key.
    pub key: String,
    /// Whether it is a CA certificate, and its key usages, in RFC 5280's words.
    pub usage: Vec<String>,
    /// Its alternative names.
    pub names: Vec<AlternativeName>,
}

/// An alternative name, of the kinds that Roles Anywhere turns into tags, or an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlternativeName {
    /// A host's name.
    Dns(String),
    /// A URI, such as a SPIFFE ID.
    Uri(String),
    /// An email address.
    Email(String),
    /// A distinguished name.
    Directory(NameAttributes),
}

impl fmt::Display for AlternativeName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => write!(formatter, "DNS:{name}"),
            Self::Uri(uri) => write!(formatter, "URI:{uri}"),
            Self::Email(address) => write!(formatter, "email:{address}"),
            Self::Directory(name) => write!(formatter, "Name:{}", plain(&name.to_string())),
        }
    }
}

/// The role of a certificate in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateRole {
    /// The certificate of the signing key.
    Leaf,
    /// Sent with the leaf.
    Intermediate,
    /// Neither.
    NotSent,
}

impl fmt::Display for CertificateRole {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Leaf => "leaf",
            Self::Intermediate => "intermediate",
            Self::NotSent => "not sent",
        })
    }
}

impl Source {
    /// Inspects everything it holds as of `now`; an error if even its certificates cannot be read.
    pub fn inspect(&self, now: OffsetDateTime) -> Result<Inspection, Error> {
        self.view(gather(self), now)
    }

    /// The same for material that was gathered before.
    pub(super) fn view(&self, material: Material, now: OffsetDateTime) -> Result<Inspection, Error> {
        let Material { certificates, keys, warnings } = material;
        let has_key_place =
            self.private_key.is_some() || !matches!(keys, Err(Error::Pem(pem::Error::Missing { .. })));
        let certificates = match (certificates, &keys) {
            // The error of the key, such as a wrong passphrase, explains why there are none.
            (Ok(none), Err(_)) if none.is_empty() => {
                return Err(keys.err().unwrap_or(passphrase::Error::NotAsked.into()));
            }
            (certificates, _) => certificates?,
        };
        let (mut refusals, mut leaf) = (Vec::new(), None);
        let key = match &keys {
            Ok(keys) => {
                let chosen = self.choose(&certificates, keys, now);
                let key = chosen.as_ref().map_or(keys.first(), |(_, key)| Some(*key));
                let belongs =
                    if chosen.is_ok() { "belongs to the leaf" } else { "matches no usable certificate" };
                let described = key.map(|key| Ok(format!("the {} {belongs}", key.description())));
                match chosen {
                    Ok((certificate, _)) => leaf = Some(certificate),
                    Err(error) => refusals.push(error.into()),
                }
                described
            }
            Err(_) if !has_key_place => None,
            Err(error) => {
                refusals.push(Failure::new(error));
                Some(Err(Failure::new(error)))
            }
        };
        let leaf = match leaf {
            Some(leaf) => Some(leaf),
            None => {
                let likely = self.likely_leaf(&certificates, now);
                // With a key, `choose` has already reported it.
                let fault =
                    likely.filter(|_| !matches!(key, Some(Ok(_)))).and_then(|leaf| self.unmeant(leaf));
                refusals.extend(fault.map(Failure::from));
                likely
            }
        };
        let mut inspection =
            Inspection { certificates: Vec::new(), key, refusals, ends_at: Vec::new(), warnings };
        inspection.judge(leaf, &certificates, now)?;
        Ok(inspection)
    }

    /// Why the settings exclude a certificate.
    fn unmeant(&self, leaf: &Certificate) -> Option<Error> {
        let origin = leaf.origin.clone();
        if !leaf.parse().is_ok_and(|parsed| self.selection.names(&parsed)) {
            return Some(Error::NotSelected { origin });
        }
        let found = Fingerprint::of(&leaf.der);
        (!self.selection.pins(&leaf.der)).then_some(Error::NotPinned { origin, found })
    }

    /// The likely leaf. Without a key it cannot be known.
    fn likely_leaf<'a>(
        &self,
        certificates: &'a [Certificate],
        now: OffsetDateTime,
    ) -> Option<&'a Certificate> {
        let rank = |certificate: &&Certificate| {
            let parsed = certificate.parse().ok()?;
            let is_meant = self.selection.names(&parsed) && self.selection.pins(&certificate.der);
            Some((is_meant, !parsed.is_ca(), leaf::faults(&parsed, now).is_empty()))
        };
        certificates.iter().rev().max_by_key(rank)
    }
}

impl Inspection {
    /// A warning for each sent certificate that expires soon or has expired. An expired leaf is among the refusals instead.
    pub fn endings(&self, now: OffsetDateTime) -> Vec<Notice> {
        let mut endings = Vec::new();
        for InspectedCertificate { role, origin, subject, not_before, not_after, .. } in &self.certificates {
            let place = match role {
                CertificateRole::Leaf if now > *not_after => continue,
                CertificateRole::Leaf => ChainPosition::Leaf,
                CertificateRole::Intermediate => ChainPosition::Intermediate,
                CertificateRole::NotSent => continue,
            };
            let ending = Expiry { place, origin, subject, not_before: *not_before, not_after: *not_after };
            endings.extend(ending.warning(now));
        }
        endings
    }

    /// The possible trust anchors, in words; `None` without a leaf.
    pub fn anchors(&self) -> Option<String> {
        let names: Vec<_> = self.ends_at.iter().map(|name| format!("`{name}`")).collect();
        (!names.is_empty()).then(|| names.join(" or "))
    }

    fn judge(
        &mut self,
        leaf: Option<&Certificate>,
        certificates: &[Certificate],
        now: OffsetDateTime,
    ) -> Result<(), Error> {
        let chain = match leaf {
            Some(leaf) => chain::order(leaf, certificates, now)?,
            None => Vec::new(),
        };
        if let Some(leaf) = leaf {
            let origin = || leaf.origin.clone();
            self.warnings.extend(leaf::doubt(&leaf.parse()?, &leaf.origin));
            for fault in leaf::faults(&leaf.parse()?, now) {
                self.refusals.push(Error::Leaf { origin: origin(), fault }.into());
            }
            if chain.len() > MAX_INTERMEDIATES {
                self.refusals.push(Error::ChainTooLong { origin: origin(), length: chain.len() }.into());
            }
            self.certificates.push(seen(leaf, CertificateRole::Leaf)?);
            self.ends_at = chain::ends(leaf, &chain)?;
        }
        for certificate in &chain {
            let parsed = certificate.parse()?;
            if let Some(fault) = leaf::fault_of_time(&parsed, now) {
                let subject = shown(parsed.subject());
                self.refusals
                    .push(Error::Intermediate { origin: certificate.origin.clone(), subject, fault }.into());
            }
            if !usage_of(&parsed).is_some_and(|usage| usage.key_cert_sign()) {
                let fault = Error::NoCertSign {
                    origin: certificate.origin.clone(),
                    subject: shown(parsed.subject()),
                };
                self.refusals.push(fault.into());
            }
            self.certificates.push(seen(certificate, CertificateRole::Intermediate)?);
        }
        for certificate in certificates {
            let is_sent =
                leaf.into_iter().chain(chain.iter().copied()).any(|sent| sent.der == certificate.der);
            if !is_sent {
                self.certificates.push(seen(certificate, CertificateRole::NotSent)?);
            }
        }
        Ok(())
    }
}

fn seen(certificate: &Certificate, role: CertificateRole) -> Result<InspectedCertificate, Error> {
    let parsed = certificate.parse()?;
    Ok(InspectedCertificate {
        role,
        origin: plain(&certificate.origin.to_string()),
        subject: shown(parsed.subject()),
        issuer: shown(parsed.issuer()),
        serial: leaf::serial(&parsed),
        serial_hex: leaf::serial_hex(&parsed),
        fingerprint: Fingerprint::of(&certificate.der),
        not_before: parsed.validity().not_before.to_datetime(),
        not_after: parsed.validity().not_after.to_datetime(),
        key: leaf::key_kind(&parsed).to_string(),
        usage: usages(&parsed),
        names: names(&parsed),
    })
}

fn usage_of<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a KeyUsage> {
    certificate.key_usage().ok().flatten().map(|extension| extension.value)
}

fn usages(certificate: &X509Certificate<'_>) -> Vec<String> {
    let mut usages = vec![match leaf::has_basic_constraints(certificate) {
        true => format!("CA:{}", certificate.is_ca()),
        false => "basicConstraints absent".into(),
    }];
    if let Some(usage) = usage_of(certificate) {
        let bits = [
            (usage.digital_signature(), "digitalSignature"),
            (usage.key_encipherment(), "keyEncipherment"),
            (usage.key_agreement(), "keyAgreement"),
            (usage.key_cert_sign(), "keyCertSign"),
            (usage.crl_sign(), "cRLSign"),
        ];
        usages.extend(bits.into_iter().filter(|(is_set, _)| *is_set).map(|(_, name)| name.into()));
    }
    if let Ok(Some(extended)) = certificate.extended_key_usage() {
        let uses = [(extended.value.client_auth, "clientAuth"), (extended.value.server_auth, "serverAuth")];
        usages.extend(uses.into_iter().filter(|(is_set, _)| *is_set).map(|(_, name)| name.into()));
    }
    usages
}

fn names(certificate: &X509Certificate<'_>) -> Vec<AlternativeName> {
    let extensions = certificate.extensions().iter();
    extensions
        .filter_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
            _ => None,
        })
        .flatten()
        .filter_map(alternative_name)
        .collect()
}

fn alternative_name(name: &GeneralName<'_>) -> Option<AlternativeName> {
    match name {
        GeneralName::DNSName(name) => Some(AlternativeName::Dns(plain(name))),
        GeneralName::URI(uri) => Some(AlternativeName::Uri(plain(uri))),
        GeneralName::RFC822Name(address) => Some(AlternativeName::Email(plain(address))),
        GeneralName::DirectoryName(name) => Some(AlternativeName::Directory(NameAttributes::of(name))),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
