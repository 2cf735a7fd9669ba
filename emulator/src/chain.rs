//! From a leaf to a trust anchor, every link proved.
//!
//! The service demands the chain in order, the leaf's issuer first: a client that sorts wrongly must fail here as it would
//! there. Further paths may follow the first.

use aws_lc_rs::signature;
use aws_lc_rs::signature::UnparsedPublicKey;
use aws_lc_rs::signature::VerificationAlgorithm;
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::ASN1Time;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::SubjectPublicKeyInfo;
use x509_parser::x509::X509Version;

use crate::readings::Readings;
use crate::reply::Refusal;

/// The longest `X-Amz-X509-Chain`.
pub(crate) const MOST_INTERMEDIATES: usize = 5;

/// The kinds of public key that the service knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PublicKey {
    Rsa,
    P256,
    P384,
    P521,
    MlDsa(&'static signature::PqdsaVerificationAlgorithm),
}

impl PublicKey {
    pub(crate) fn of(info: &SubjectPublicKeyInfo<'_>) -> Option<Self> {
        match info.algorithm.algorithm.to_id_string().as_str() {
            "1.2.840.113549.1.1.1" => Some(Self::Rsa),
            "1.2.840.10045.2.1" => {
                let curve = info.algorithm.parameters.as_ref()?.as_oid().ok()?;
                match curve.to_id_string().as_str() {
                    "1.2.840.10045.3.1.7" => Some(Self::P256),
                    "1.3.132.0.34" => Some(Self::P384),
                    "1.3.132.0.35" => Some(Self::P521),
                    _ => None,
                }
            }
            "2.16.840.1.101.3.4.3.17" => Some(Self::MlDsa(&signature::ML_DSA_44)),
            "2.16.840.1.101.3.4.3.18" => Some(Self::MlDsa(&signature::ML_DSA_65)),
            "2.16.840.1.101.3.4.3.19" => Some(Self::MlDsa(&signature::ML_DSA_87)),
            _ => None,
        }
    }
}

pub(crate) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, Refusal> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(Refusal::untrusted("bytes follow a certificate")),
        Err(error) => Err(Refusal::untrusted(format!("a certificate is none: {error}"))),
    }
}

/// What the service demands of a leaf, whoever signed it.
pub(crate) fn check_leaf(
    leaf: &X509Certificate<'_>,
    readings: &Readings,
    now: OffsetDateTime,
) -> Result<(), Refusal> {
    let has_constraints = leaf.basic_constraints().is_ok_and(|constraints| constraints.is_some());
    let digital_signature =
        leaf.key_usage().ok().flatten().is_some_and(|usage| usage.value.digital_signature());
    let complaint = if leaf.version() != X509Version::V3 {
        "the leaf is not X.509 v3"
    } else if leaf.is_ca() {
        "the leaf is CA:true"
    } else if readings.strict && !has_constraints {
        "the leaf has no basicConstraints"
    } else if !digital_signature {
        "the leaf's key usage lacks digitalSignature"
    } else if leaf.subject().iter().next().is_none() {
        "the leaf's subject is empty"
    } else {
        return check_validity("leaf", leaf, now);
    };
    Err(Refusal::untrusted(complaint))
}

/// Looks for a path from the leaf over the intermediates to one of the anchors.
///
/// A certificate counts only behind one that it may have issued: the leaf's issuer comes first. An issuer may be there
/// several times, signed by one CA and another: each is tried.
pub(crate) fn check_path(
    leaf: &X509Certificate<'_>,
    intermediates: &[X509Certificate<'_>],
    anchors: &[X509Certificate<'_>],
    now: OffsetDateTime,
) -> Result<(), Refusal> {
    Ascent { leaf, intermediates, anchors, now }.climb(leaf, &mut Vec::new())
}

struct Ascent<'a> {
    leaf: &'a X509Certificate<'a>,
    intermediates: &'a [X509Certificate<'a>],
    anchors: &'a [X509Certificate<'a>],
    now: OffsetDateTime,
}

impl Ascent<'_> {
    /// From `subject` upwards; `path` has the places of the intermediates below. Of several complaints the first is the
    /// answer.
    fn climb(&self, subject: &X509Certificate<'_>, path: &mut Vec<usize>) -> Result<(), Refusal> {
        let below = u32::try_from(path.len()).unwrap_or(u32::MAX);
        let mut complaint = None;
        // Several have one name while a CA renews its key.
        for anchor in self.anchors.iter().filter(|anchor| is_issuer(anchor, subject)) {
            match check_authority("trust anchor", anchor, below, self.now)
                .and_then(|()| check_link(subject, anchor))
            {
                Ok(()) => return Ok(()),
                Err(refusal) => _ = complaint.get_or_insert(refusal),
            }
        }
        for (place, issuer) in self.intermediates.iter().enumerate() {
            if path.contains(&place) || !is_issuer(issuer, subject) || !self.is_in_order(place) {
                continue;
            }
            let link = check_authority("intermediate", issuer, below, self.now)
                .and_then(|()| check_link(subject, issuer));
            path.push(place);
            let verdict = link.and_then(|()| self.climb(issuer, path));
            path.pop();
            match verdict {
                Ok(()) => return Ok(()),
                Err(refusal) => _ = complaint.get_or_insert(refusal),
            }
        }
        Err(complaint.unwrap_or_else(|| self.dead_end(subject)))
    }

    /// Whether the intermediate at `place` may have issued the leaf or one before it.
    fn is_in_order(&self, place: usize) -> bool {
        let issuer = &self.intermediates[place];
        is_issuer(issuer, self.leaf)
            || self.intermediates[..place].iter().any(|other| is_issuer(issuer, other))
    }

    fn dead_end(&self, subject: &X509Certificate<'_>) -> Refusal {
        let name = subject.issuer();
        let is_there = self.intermediates.iter().any(|issuer| is_issuer(issuer, subject));
        Refusal::untrusted(match is_there {
            true => format!("`{name}` stands in the chain before `{}`, which it issued", subject.subject()),
            false => format!("nobody in chain or trust anchor is `{name}`"),
        })
    }
}

fn is_issuer(issuer: &X509Certificate<'_>, subject: &X509Certificate<'_>) -> bool {
    issuer.subject().as_raw() == subject.issuer().as_raw()
}

fn check_authority(
    what: &str,
    authority: &X509Certificate<'_>,
    below: u32,
    now: OffsetDateTime,
) -> Result<(), Refusal> {
    let constraints = authority.basic_constraints().ok().flatten().map(|constraints| constraints.value);
    let signs = authority.key_usage().ok().flatten().is_some_and(|usage| usage.value.key_cert_sign());
    let complaint = if authority.version() != X509Version::V3 {
        "is not X.509 v3"
    } else if !constraints.is_some_and(|constraints| constraints.ca) {
        "is not CA:true"
    } else if !signs {
        "lacks keyCertSign"
    } else if constraints
        .and_then(|constraints| constraints.path_len_constraint)
        .is_some_and(|most| below > most)
    {
        "allows no such long path"
    } else {
        return check_validity(what, authority, now);
    };
    Err(Refusal::untrusted(format!("{what} `{}` {complaint}", authority.subject())))
}

fn check_validity(what: &str, certificate: &X509Certificate<'_>, now: OffsetDateTime) -> Result<(), Refusal> {
    let validity = certificate.validity();
    let now = ASN1Time::from_timestamp(now.unix_timestamp())
        .map_err(|_| Refusal::untrusted("the clock is outside of X.509's years"))?;
    let complaint = if now < validity.not_before {
        format!("is not valid before {}", validity.not_before)
    } else if now > validity.not_after {
        format!("expired at {}", validity.not_after)
    } else {
        return Ok(());
    };
    Err(Refusal::untrusted(format!("{what} `{}` {complaint}", certificate.subject())))
}

fn check_link(subject: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> Result<(), Refusal> {
    let name = subject.subject();
    let refuse = |complaint: &str| Refusal::untrusted(format!("`{name}` {complaint}"));
    if subject.signature_algorithm != subject.tbs_certificate.signature {
        return Err(refuse("names two signature algorithms"));
    }
    let key =
        PublicKey::of(issuer.public_key()).ok_or_else(|| refuse("is signed with an unknown kind of key"))?;
    let algorithm = link_algorithm(&subject.signature_algorithm.algorithm.to_id_string(), key)
        .ok_or_else(|| refuse("is not signed with SHA-256 or stronger"))?;
    UnparsedPublicKey::new(algorithm, &issuer.public_key().subject_public_key.data)
        .verify(subject.tbs_certificate.as_ref(), &subject.signature_value.data)
        .map_err(|_| refuse("is not signed by the key of its issuer"))
}

/// The verification for a certificate's signature algorithm and its issuer's key. What is not listed is too weak (MD5,
/// SHA-1), unknown, or does not go with the key.
fn link_algorithm(oid: &str, key: PublicKey) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match (oid, key) {
        ("1.2.840.113549.1.1.11", PublicKey::Rsa) => &signature::RSA_PKCS1_2048_8192_SHA256,
        ("1.2.840.113549.1.1.12", PublicKey::Rsa) => &signature::RSA_PKCS1_2048_8192_SHA384,
        ("1.2.840.113549.1.1.13", PublicKey::Rsa) => &signature::RSA_PKCS1_2048_8192_SHA512,
        ("1.2.840.10045.4.3.2", PublicKey::P256) => &signature::ECDSA_P256_SHA256_ASN1,
        ("1.2.840.10045.4.3.3", PublicKey::P256) => &signature::ECDSA_P256_SHA384_ASN1,
        ("1.2.840.10045.4.3.4", PublicKey::P256) => &signature::ECDSA_P256_SHA512_ASN1,
        ("1.2.840.10045.4.3.2", PublicKey::P384) => &signature::ECDSA_P384_SHA256_ASN1,
        ("1.2.840.10045.4.3.3", PublicKey::P384) => &signature::ECDSA_P384_SHA384_ASN1,
        ("1.2.840.10045.4.3.4", PublicKey::P384) => &signature::ECDSA_P384_SHA512_ASN1,
        ("1.2.840.10045.4.3.2", PublicKey::P521) => &signature::ECDSA_P521_SHA256_ASN1,
        ("1.2.840.10045.4.3.3", PublicKey::P521) => &signature::ECDSA_P521_SHA384_ASN1,
        ("1.2.840.10045.4.3.4", PublicKey::P521) => &signature::ECDSA_P521_SHA512_ASN1,
        (
            "2.16.840.1.101.3.4.3.17" | "2.16.840.1.101.3.4.3.18" | "2.16.840.1.101.3.4.3.19",
            PublicKey::MlDsa(algorithm),
        ) => algorithm,
        _ => return None,
    })
}
