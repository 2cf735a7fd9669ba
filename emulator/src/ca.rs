//! A certificate authority for tests, demonstrations and examples.
//!
//! It makes good certificates by default and bad ones on request: whoever tests a refusal needs an expired leaf, a
//! leaf that is a CA, an intermediate that may not sign. Nothing here is fit for production; keys live in memory and
//! go out in plain PEM.

use std::fmt;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::encoding::AsRawBytes as _;
use aws_lc_rs::encoding::EcPrivateKeyRfc5915Der;
use aws_lc_rs::signature;
use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::DistinguishedName;
use rcgen::DnType;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyPair;
use rcgen::KeyUsagePurpose;
use rcgen::PublicKeyData;
use rcgen::SanType;
use rcgen::SerialNumber;
use time::Duration;
use time::OffsetDateTime;
use x509_parser::asn1_rs::Any;
use x509_parser::oid_registry::OID_EC_P256;
use x509_parser::oid_registry::OID_NIST_EC_P384;
use x509_parser::oid_registry::OID_NIST_EC_P521;
use x509_parser::oid_registry::OID_PKCS1_RSAENCRYPTION;
use x509_parser::prelude::FromDer as _;
use x509_parser::prelude::X509Certificate;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::Error;
use crate::clock::Clock;
use crate::encode;
use crate::keys::KeyForm;
use crate::keys::KeyKind;

/// A CA certificate and its key.
pub struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pem: String,
    der: Vec<u8>,
}

impl Authority {
    /// A self-signed root: `CA:true`, `keyCertSign`, `cRLSign`, valid from a day ago for ten years.
    pub fn root(common_name: &str, key: KeyKind) -> Result<Self, Error> {
        Self::self_signed(&AuthorityRequest::new(common_name, key))
    }

    /// A CA below this one, otherwise like [`Authority::root`].
    pub fn intermediate(&self, common_name: &str, key: KeyKind) -> Result<Self, Error> {
        self.subordinate(&AuthorityRequest::new(common_name, key))
    }

    /// A root exactly as asked for.
    pub fn self_signed(request: &AuthorityRequest) -> Result<Self, Error> {
        let (params, key) = (request.params()?, request.key.generate()?);
        let certificate = params.self_signed(&key)?;
        Ok(Self { params, key, pem: certificate.pem(), der: certificate.der().to_vec() })
    }

    /// A CA below this one, exactly as asked for.
    pub fn subordinate(&self, request: &AuthorityRequest) -> Result<Self, Error> {
        let (mut params, key) = (request.params()?, request.key.generate()?);
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer())?;
        Ok(Self { params, key, pem: certificate.pem(), der: certificate.der().to_vec() })
    }

    /// A leaf with a new key.
    pub fn leaf(&self, request: &LeafRequest) -> Result<Leaf, Error> {
        let key = request.key.generate()?;
        self.sign_leaf(&key, request.key, key.serialized_der(), request)
    }

    /// A leaf with the key of another one: a renewal that keeps its key. `request.key` is not looked at.
    pub fn reissue(&self, leaf: &Leaf, request: &LeafRequest) -> Result<Leaf, Error> {
        self.sign_leaf(&ForeignKey::of(leaf)?, leaf.kind, leaf.key_pkcs8_der(), request)
    }

    /// A leaf for a key that was made elsewhere and stays there (a token, a TPM), given as its DER
    /// `SubjectPublicKeyInfo`. `request.key` is not looked at.
    pub fn leaf_for(&self, public_key: &[u8], request: &LeafRequest) -> Result<Certificate, Error> {
        let key = ForeignKey::from_der(public_key)?;
        let certificate = request.params(true)?.signed_by(&key, &self.issuer())?;
        Ok(Certificate { pem: certificate.pem(), der: certificate.der().to_vec() })
    }

    /// Another CA's name and key in a certificate of this one: cross-signed, or renewed.
    pub fn cross_sign(&self, other: &Self, not_after: OffsetDateTime) -> Result<Certificate, Error> {
        let mut params = other.params.clone();
        params.not_after = not_after;
        params.serial_number = Some(serial(None)?);
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&other.key, &self.issuer())?;
        Ok(Certificate { pem: certificate.pem(), der: certificate.der().to_vec() })
    }

    /// The same leaf with another subject: object identifier, tag and content of each attribute, as DER has them.
    pub fn with_subject(&self, leaf: &Leaf, attributes: &[(&[u8], u8, &[u8])]) -> Result<Leaf, Error> {
        let attribute = |(oid, tag, content): &(&[u8], u8, &[u8])| {
            let attribute = [encode::der(0x06, &[oid]), encode::der(*tag, &[content])].concat();
            encode::der(0x31, &[&encode::der(0x30, &[&attribute])])
        };
        let attributes: Vec<_> = attributes.iter().map(attribute).collect();
        self.resign(leaf, SUBJECT, &encode::der(0x30, &[&attributes.concat()]))
    }

    /// The same leaf with another serial number, whose content is taken as it is.
    pub fn with_serial(&self, leaf: &Leaf, content: &[u8]) -> Result<Leaf, Error> {
        self.resign(leaf, SERIAL, &encode::der(0x02, &[content]))
    }

    /// The same leaf with one part of what is signed replaced.
    fn resign(&self, leaf: &Leaf, position: usize, element: &[u8]) -> Result<Leaf, Error> {
        let unreadable = || Error::Certificate(rcgen::Error::CouldNotParseCertificate);
        let whole = parts(leaf.certificate_der()).ok_or_else(unreadable)?;
        let (Some(signed), Some(algorithm)) = (whole.first(), whole.get(1)) else { return Err(unreadable()) };
        let mut signed = parts(signed).ok_or_else(unreadable)?;
        *signed.get_mut(position).ok_or_else(unreadable)? = element;
        let signed = encode::der(0x30, &signed);
        // Whole bytes: no bit of the last one is unused.
        let signature = encode::der(0x03, &[&[0], &rcgen::SigningKey::sign(&self.key, &signed)?]);
        let der = encode::der(0x30, &[&signed, algorithm, &signature]);
        Ok(Leaf { pem: encode::pem("CERTIFICATE", &der), der, ..leaf.clone() })
    }

    /// The certificate as PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.pem
    }

    /// The certificate as DER.
    pub fn certificate_der(&self) -> &[u8] {
        &self.der
    }

    /// The private key as PKCS#8 PEM.
    pub fn key_pem(&self) -> String {
        encode::pem("PRIVATE KEY", self.key.serialized_der())
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    fn sign_leaf(
        &self,
        key: &impl PublicKeyData,
        kind: KeyKind,
        pkcs8: &[u8],
        request: &LeafRequest,
    ) -> Result<Leaf, Error> {
        let certificate = request.params(!kind.is_ml_dsa())?.signed_by(key, &self.issuer())?;
        let (pem, der) = (certificate.pem(), certificate.der().to_vec());
        Ok(Leaf { kind, pem, der, pkcs8: pkcs8.to_vec() })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Authority").field("certificate", &self.pem).finish_non_exhaustive()
    }
}

/// Where in a `TBSCertificate` of version 3 these stand (RFC 5280, 4.1).
const SERIAL: usize = 1;
const SUBJECT: usize = 5;

/// The elements of a SEQUENCE, each with tag and length.
fn parts(sequence: &[u8]) -> Option<Vec<&[u8]>> {
    let (_, sequence) = Any::from_der(sequence).ok()?;
    let (mut parts, mut rest) = (Vec::new(), sequence.data);
    while !rest.is_empty() {
        let (behind, _) = Any::from_der(rest).ok()?;
        parts.push(&rest[..rest.len() - behind.len()]);
        rest = behind;
    }
    Some(parts)
}

/// What a CA certificate shall be; change the fields of a good one to get a bad one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AuthorityRequest {
    /// The subject's common name; empty makes the subject empty.
    pub common_name: String,
    /// The kind of key.
    pub key: KeyKind,
    /// First instant of validity.
    pub not_before: OffsetDateTime,
    /// Last instant of validity.
    pub not_after: OffsetDateTime,
    /// Whether it is `CA:true`.
    pub ca: bool,
    /// Whether its key usage has `keyCertSign`.
    pub key_cert_sign: bool,
    /// How many CAs may follow below it.
    pub path_length: Option<u8>,
}

impl AuthorityRequest {
    /// A good CA, valid from a day ago for ten years.
    pub fn new(common_name: &str, key: KeyKind) -> Self {
        let now = Clock::system().now();
        Self {
            common_name: common_name.to_owned(),
            key,
            not_before: now - Duration::DAY,
            not_after: now + Duration::days(3652),
            ca: true,
            key_cert_sign: true,
            path_length: None,
        }
    }

    fn params(&self) -> Result<CertificateParams, Error> {
        let mut params = CertificateParams::default();
        params.not_before = self.not_before;
        params.not_after = self.not_after;
        params.serial_number = Some(serial(None)?);
        params.distinguished_name = subject(&self.common_name);
        params.is_ca = match (self.ca, self.path_length) {
            (false, _) => IsCa::ExplicitNoCa,
            (true, None) => IsCa::Ca(BasicConstraints::Unconstrained),
            (true, Some(length)) => IsCa::Ca(BasicConstraints::Constrained(length)),
        };
        params.key_usages = vec![KeyUsagePurpose::CrlSign];
        if self.key_cert_sign {
            params.key_usages.push(KeyUsagePurpose::KeyCertSign);
        }
        Ok(params)
    }
}

/// What a leaf shall be; change the fields of a good one to get a bad one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LeafRequest {
    /// The subject's common name; empty makes the subject empty.
    pub common_name: String,
    /// The subject's organisation, if any.
    pub organization: Option<String>,
    /// The kind of key.
    pub key: KeyKind,
    /// First instant of validity.
    pub not_before: OffsetDateTime,
    /// Last instant of validity.
    pub not_after: OffsetDateTime,
    /// Whether it is `CA:true`, which the service refuses.
    pub ca: bool,
    /// Whether it has basicConstraints at all, as the guide demands; a CA's always has.
    pub basic_constraints: bool,
    /// Whether its key usage has `digitalSignature`, which the service demands.
    pub digital_signature: bool,
    /// The serial number, big-endian; 16 to 19 random bytes if absent.
    pub serial: Option<Vec<u8>>,
    /// Names and addresses of a TLS server; with any, the leaf is for `serverAuth` as well.
    pub dns_names: Vec<String>,
    /// URIs that name the holder, such as a SPIFFE ID.
    pub uris: Vec<String>,
}

impl LeafRequest {
    /// A good leaf, valid from an hour ago for thirty days.
    pub fn new(common_name: &str, key: KeyKind) -> Self {
        let now = Clock::system().now();
        Self {
            common_name: common_name.to_owned(),
            organization: None,
            key,
            not_before: now - Duration::HOUR,
            not_after: now + Duration::days(30),
            ca: false,
            basic_constraints: true,
            digital_signature: true,
            serial: None,
            dns_names: Vec::new(),
            uris: Vec::new(),
        }
    }

    fn params(&self, can_encrypt: bool) -> Result<CertificateParams, Error> {
        let mut params = CertificateParams::new(self.dns_names.clone())?;
        params.not_before = self.not_before;
        params.not_after = self.not_after;
        params.serial_number = Some(serial(self.serial.as_deref())?);
        params.distinguished_name = subject(&self.common_name);
        if let Some(organization) = &self.organization {
            params.distinguished_name.push(DnType::OrganizationName, organization.as_str());
        }
        params.is_ca = match (self.ca, self.basic_constraints) {
            (true, _) => IsCa::Ca(BasicConstraints::Unconstrained),
            (false, true) => IsCa::ExplicitNoCa,
            (false, false) => IsCa::NoCa,
        };
        // RFC 9881, section 5: an ML-DSA key encrypts nothing.
        params.key_usages = if can_encrypt { vec![KeyUsagePurpose::KeyEncipherment] } else { Vec::new() };
        if self.digital_signature {
            params.key_usages.push(KeyUsagePurpose::DigitalSignature);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if !self.dns_names.is_empty() {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        for uri in &self.uris {
            params.subject_alt_names.push(SanType::URI(uri.as_str().try_into()?));
        }
        params.use_authority_key_identifier_extension = true;
        Ok(params)
    }
}

/// A leaf certificate and its key.
#[derive(Clone)]
pub struct Leaf {
    kind: KeyKind,
    pem: String,
    der: Vec<u8>,
    pkcs8: Vec<u8>,
}

impl Leaf {
    /// The kind of key.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The certificate as PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.pem
    }

    /// The certificate as DER.
    pub fn certificate_der(&self) -> &[u8] {
        &self.der
    }

    /// The private key as PKCS#8 DER.
    pub fn key_pkcs8_der(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The private key as PEM; PKCS#1 exists for RSA only, SEC1 for elliptic curves only, the expanded forms for
    /// ML-DSA only, whose PKCS#8 is the seed.
    pub fn key_pem(&self, form: KeyForm) -> Result<String, Error> {
        let (label, der) = match form {
            KeyForm::Pkcs8 => ("PRIVATE KEY", Some(self.pkcs8.clone())),
            KeyForm::Pkcs1 => ("RSA PRIVATE KEY", self.pkcs1()),
            KeyForm::Sec1 => ("EC PRIVATE KEY", self.sec1()),
            KeyForm::Expanded => ("PRIVATE KEY", self.ml_dsa_pkcs8(|_, expanded| expanded)),
            KeyForm::SeedAndExpanded => {
                ("PRIVATE KEY", self.ml_dsa_pkcs8(|seed, expanded| encode::der(0x30, &[&seed, &expanded])))
            }
        };
        let der = der.ok_or(Error::Key { kind: self.kind, form })?;
        Ok(encode::pem(label, &der))
    }

    fn pkcs1(&self) -> Option<Vec<u8>> {
        self.kind.rsa_size().and_then(|_| pkcs8_contents(&self.pkcs8))
    }

    fn sec1(&self) -> Option<Vec<u8>> {
        let key = signature::EcdsaKeyPair::from_pkcs8(self.kind.curve()?, &self.pkcs8).ok()?;
        let der: EcPrivateKeyRfc5915Der<'_> = key.private_key().as_der().ok()?;
        Some(der.as_ref().to_vec())
    }

    /// PKCS#8 around what `form` makes of seed and expanded key, each an OCTET STRING (RFC 9881, section 6).
    fn ml_dsa_pkcs8(&self, form: impl FnOnce(Vec<u8>, Vec<u8>) -> Vec<u8>) -> Option<Vec<u8>> {
        let (algorithm, oid) = self.kind.ml_dsa()?;
        let key = signature::PqdsaKeyPair::from_pkcs8(algorithm, &self.pkcs8).ok()?;
        let expanded = key.private_key().as_raw_bytes().ok()?;
        // aws-lc's own form is `[0] IMPLICIT OCTET STRING`, 32 bytes.
        let contents = pkcs8_contents(&self.pkcs8)?;
        let seed = contents.strip_prefix(&[0x80, 32])?;
        let key = form(encode::der(0x04, &[seed]), encode::der(0x04, &[expanded.as_ref()]));
        let algorithm = encode::der(0x30, &[&encode::der(0x06, &[oid])]);
        Some(encode::der(0x30, &[&[0x02, 1, 0], &algorithm, &encode::der(0x04, &[&key])]))
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Leaf")
            .field("kind", &self.kind)
            .field("certificate", &self.pem)
            .finish_non_exhaustive()
    }
}

/// A leaf certificate whose key is not at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    pem: String,
    der: Vec<u8>,
}

impl Certificate {
    /// The certificate as PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The certificate as DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }
}

/// A public key as rcgen wants to see one.
struct ForeignKey {
    algorithm: &'static rcgen::SignatureAlgorithm,
    public_key: Vec<u8>,
}

impl ForeignKey {
    /// The key of a leaf that is there: rcgen does not read ML-DSA keys back.
    fn of(leaf: &Leaf) -> Result<Self, Error> {
        let unreadable = |_| Error::Certificate(rcgen::Error::CouldNotParseCertificate);
        let (_, certificate) = X509Certificate::from_der(leaf.certificate_der()).map_err(unreadable)?;
        let public_key = certificate.public_key().subject_public_key.data.to_vec();
        Ok(Self { algorithm: leaf.kind.algorithm(), public_key })
    }

    fn from_der(der: &[u8]) -> Result<Self, Error> {
        let unusable = Error::Certificate(rcgen::Error::UnsupportedSignatureAlgorithm);
        let Ok((_, parsed)) = SubjectPublicKeyInfo::from_der(der) else { return Err(unusable) };
        let curve = parsed.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
        let algorithm = if parsed.algorithm.algorithm == OID_PKCS1_RSAENCRYPTION {
            &rcgen::PKCS_RSA_SHA256
        } else if curve == Some(OID_EC_P256) {
            &rcgen::PKCS_ECDSA_P256_SHA256
        } else if curve == Some(OID_NIST_EC_P384) {
            &rcgen::PKCS_ECDSA_P384_SHA384
        } else if curve == Some(OID_NIST_EC_P521) {
            &rcgen::PKCS_ECDSA_P521_SHA512
        } else {
            return Err(unusable);
        };
        Ok(Self { algorithm, public_key: parsed.subject_public_key.data.to_vec() })
    }
}

impl PublicKeyData for ForeignKey {
    fn der_bytes(&self) -> &[u8] {
        &self.public_key
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.algorithm
    }
}

fn subject(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if !common_name.is_empty() {
        name.push(DnType::CommonName, common_name);
    }
    name
}

fn serial(wanted: Option<&[u8]>) -> Result<SerialNumber, Error> {
    if let Some(bytes) = wanted {
        return Ok(SerialNumber::from_slice(bytes));
    }
    let length = 16 + usize::from(encode::random_bytes(1)?[0] % 4);
    let mut bytes = encode::random_bytes(length)?;
    // Neither negative nor shortened by a leading zero.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// The algorithm's own private key inside of `PrivateKeyInfo { version, algorithm, OCTET STRING }`.
fn pkcs8_contents(der: &[u8]) -> Option<Vec<u8>> {
    let (_, document) = x509_parser::der_parser::parse_der(der).ok()?;
    Some(document.as_sequence().ok()?.get(2)?.as_slice().ok()?.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_has_the_extensions_that_the_service_demands() {
        let root = Authority::root("root", KeyKind::P384).unwrap();
        let leaf = root.leaf(&LeafRequest::new("host-7", KeyKind::P256)).unwrap();

        let (_, certificate) = X509Certificate::from_der(leaf.certificate_der()).unwrap();

        assert!(!certificate.is_ca());
        assert!(certificate.key_usage().unwrap().unwrap().value.digital_signature());
        assert_eq!(certificate.subject().to_string(), "CN=host-7");
        assert_eq!(certificate.issuer().to_string(), "CN=root");
        assert!((16..=19).contains(&certificate.raw_serial().len()));
    }

    #[test]
    fn keys_come_in_the_forms_that_exist_for_them() {
        let root = Authority::root("root", KeyKind::P256).unwrap();
        let rsa = root.leaf(&LeafRequest::new("rsa", KeyKind::Rsa2048)).unwrap();
        let ec = root.leaf(&LeafRequest::new("ec", KeyKind::P384)).unwrap();

        assert!(rsa.key_pem(KeyForm::Pkcs1).unwrap().starts_with("-----BEGIN RSA PRIVATE KEY-----\nMII"));
        assert!(ec.key_pem(KeyForm::Sec1).unwrap().starts_with("-----BEGIN EC PRIVATE KEY-----\nMIG"));
        assert!(rsa.key_pem(KeyForm::Sec1).is_err());
        assert!(ec.key_pem(KeyForm::Pkcs1).is_err());
        let pkcs1 = pkcs8_contents(rsa.key_pkcs8_der()).unwrap();
        assert!(signature::RsaKeyPair::from_der(&pkcs1).is_ok());
    }

    #[test]
    fn an_ml_dsa_key_comes_in_its_three_forms_and_encrypts_nothing() {
        use rustls::pki_types::pem::PemObject as _;
        let root = Authority::root("root", KeyKind::MlDsa44).unwrap();
        let leaf = root.leaf(&LeafRequest::new("host", KeyKind::MlDsa87)).unwrap();
        let (_, certificate) = X509Certificate::from_der(leaf.certificate_der()).unwrap();
        assert!(!certificate.key_usage().unwrap().unwrap().value.key_encipherment());

        for form in [KeyForm::Pkcs8, KeyForm::Expanded, KeyForm::SeedAndExpanded] {
            let pem = leaf.key_pem(form).unwrap();
            let der = rustls::pki_types::PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).unwrap();
            let key =
                signature::PqdsaKeyPair::from_pkcs8(&signature::ML_DSA_87_SIGNING, der.secret_pkcs8_der());
            let public_key = signature::KeyPair::public_key(&key.unwrap()).as_ref().to_vec();
            assert_eq!(public_key, certificate.public_key().subject_public_key.data.as_ref(), "{form}");
        }
        assert!(leaf.key_pem(KeyForm::Sec1).is_err() && leaf.key_pem(KeyForm::Pkcs1).is_err());
    }

    #[test]
    fn a_reissued_leaf_keeps_its_key_and_gets_a_new_serial() {
        let root = Authority::root("root", KeyKind::P256).unwrap();
        for kind in KeyKind::ALL {
            let old = root.leaf(&LeafRequest::new("host", kind)).unwrap();

            let new = root.reissue(&old, &LeafRequest::new("host", KeyKind::P256)).unwrap();

            assert_eq!(new.key_pkcs8_der(), old.key_pkcs8_der());
            assert_ne!(new.certificate_der(), old.certificate_der());
            let public_key = |leaf: &Leaf| {
                let (_, certificate) = X509Certificate::from_der(leaf.certificate_der()).unwrap();
                certificate.public_key().raw.to_vec()
            };
            assert_eq!(public_key(&new), public_key(&old), "{kind}");
        }
    }

    #[test]
    fn a_public_key_from_elsewhere_is_certified_as_it_is() {
        let root = Authority::root("root", KeyKind::P256).unwrap();
        // No token or TPM of today has ML-DSA keys.
        for kind in KeyKind::ALL.into_iter().filter(|kind| !kind.is_ml_dsa()) {
            let known = root.leaf(&LeafRequest::new("host", kind)).unwrap();
            let (_, known) = X509Certificate::from_der(known.certificate_der()).unwrap();

            let leaf = root.leaf_for(known.public_key().raw, &LeafRequest::new("host", kind)).unwrap();

            let (_, certificate) = X509Certificate::from_der(leaf.der()).unwrap();
            assert_eq!(certificate.public_key().raw, known.public_key().raw, "{kind}");
            assert!(leaf.pem().starts_with("-----BEGIN CERTIFICATE-----\n"));
        }
        assert!(root.leaf_for(b"no key", &LeafRequest::new("host", KeyKind::P256)).is_err());
    }

    #[test]
    fn neither_debug_shows_a_key() {
        let root = Authority::root("root", KeyKind::P256).unwrap();
        let leaf = root.leaf(&LeafRequest::new("host", KeyKind::P256)).unwrap();

        let text = format!("{root:?}{leaf:?}");

        assert!(!text.contains("PRIVATE KEY") && !text.contains("pkcs8"), "{text}");
    }
}
