//! Decrypts the parts of a PKCS#12 file, and checks its MAC.

use std::num::NonZeroU32;

use cbc::cipher::BlockCipherDecrypt;
use cbc::cipher::BlockModeDecrypt as _;
use cbc::cipher::KeyInit;
use cbc::cipher::KeyIvInit as _;
use cbc::cipher::block_padding::Pkcs7;
use des::TdesEde2;
use des::TdesEde3;
use pkcs8::ObjectIdentifier;
use pkcs8::der::Decode as _;
use pkcs8::pkcs5::pbes2::PBES2_OID;
use pkcs8::pkcs5::pbes2::PBKDF2_OID;
use pkcs8::pkcs5::pbes2::Pbkdf2Params;
use pkcs8::pkcs5::pbes2::Pbkdf2Prf;
use pkcs8::spki::AlgorithmIdentifierRef;
use rc2::Rc2;
use ring::digest;
use ring::hmac;
use ring::pbkdf2;
use zeroize::Zeroizing;

use super::Pkcs12Fault;
use super::password::Password;
use super::password::Purpose;
use crate::asn1::Element;
use crate::asn1::INTEGER;
use crate::asn1::OBJECT_IDENTIFIER;
use crate::asn1::OCTET_STRING;
use crate::asn1::SEQUENCE;
use crate::key::encrypted;
use crate::key::encrypted::Encrypted;
use crate::key::encrypted::MAX_ITERATIONS;
use anchord_core::secret::Secret;

/// The remaining iterations that a file may cost. All parts together may cost as much as one key.
#[derive(Debug)]
pub(super) struct Budget(u64);

impl Budget {
    pub(super) fn new() -> Self {
        Self(MAX_ITERATIONS.into())
    }

    #[cfg(test)]
    pub(super) fn of(rounds: u64) -> Self {
        Self(rounds)
    }

    /// Call it before doing the work.
    pub(super) fn spend(&mut self, rounds: u64) -> Result<(), Pkcs12Fault> {
        self.0 = self.0.checked_sub(rounds).ok_or(Pkcs12Fault::TooCostly)?;
        Ok(())
    }
}

/// An algorithm and its parameters, as the file has them.
pub(super) struct AlgorithmIdentifier<'a> {
    oid: ObjectIdentifier,
    parameters: Option<Element<'a>>,
    whole: &'a [u8],
}

impl<'a> AlgorithmIdentifier<'a> {
    pub(super) fn of(element: &Element<'a>) -> Option<Self> {
        if element.tag != SEQUENCE {
            return None;
        }
        let mut members = element.members();
        let oid = ObjectIdentifier::from_bytes(members.next(OBJECT_IDENTIFIER)?.content).ok()?;
        Some(Self { oid, parameters: members.optional()?, whole: element.whole })
    }

    fn unsupported(&self) -> Pkcs12Fault {
        Pkcs12Fault::Unsupported(encrypted::scheme_name(self.oid))
    }
}

/// pbeWithSHAAnd… of RFC 7292, appendix C.
const PBES1: &str = "1.2.840.113549.1.12.1.";

/// Decrypts `data`. The result may be random bytes if the password is wrong.
pub(super) fn decrypt(
    algorithm: &AlgorithmIdentifier<'_>,
    data: &[u8],
    password: &Password,
    budget: &mut Budget,
) -> Result<Secret<Vec<u8>>, Pkcs12Fault> {
    if algorithm.oid == PBES2_OID {
        let parsed = AlgorithmIdentifierRef::from_der(algorithm.whole).map_err(|_| Pkcs12Fault::Damaged)?;
        let encrypted = Encrypted::new(parsed, data)?;
        budget.spend(encrypted.rounds())?;
        return Ok(encrypted.plaintext(&password.text)?);
    }
    let digits = algorithm.oid.to_string();
    let cipher: Pbes1 = match digits.strip_prefix(PBES1) {
        Some("3") => Pbes1 { key_length: 24, decrypt: cbc_decrypt::<TdesEde3> },
        Some("4") => Pbes1 { key_length: 16, decrypt: cbc_decrypt::<TdesEde2> },
        Some("5") => Pbes1 { key_length: 16, decrypt: cbc_decrypt::<Rc2> },
        Some("6") => Pbes1 { key_length: 5, decrypt: cbc_decrypt::<Rc2> },
        _ => return Err(algorithm.unsupported()),
    };
    let (salt, rounds) =
        algorithm.parameters.as_ref().and_then(salt_and_rounds).ok_or(Pkcs12Fault::Damaged)?;
    // The key of 3DES takes two derivations, its IV a third.
    budget.spend(3 * rounds)?;
    let derive =
        |purpose, length| password.derive(&digest::SHA1_FOR_LEGACY_USE_ONLY, purpose, &salt, rounds, length);
    let (key, iv) = (derive(Purpose::Encryption, cipher.key_length), derive(Purpose::Iv, 8));
    let mut buffer = Zeroizing::new(data.to_vec());
    let length = (cipher.decrypt)(&key, &iv, &mut buffer).ok_or(Pkcs12Fault::WrongPassword)?;
    buffer.truncate(length);
    Ok(Secret::new(std::mem::take(&mut *buffer)))
}

/// Takes key, IV and the buffer, which it decrypts in place; returns the length without padding.
type Decrypt = fn(&[u8], &[u8], &mut [u8]) -> Option<usize>;

struct Pbes1 {
    key_length: usize,
    decrypt: Decrypt,
}

fn cbc_decrypt<C: BlockCipherDecrypt + KeyInit>(key: &[u8], iv: &[u8], buffer: &mut [u8]) -> Option<usize> {
    let decryptor = cbc::Decryptor::<C>::new_from_slices(key, iv).ok()?;
    decryptor.decrypt_padded::<Pkcs7>(buffer).ok().map(<[u8]>::len)
}

/// `SEQUENCE { salt OCTET STRING, iterations INTEGER }`
fn salt_and_rounds(parameters: &Element<'_>) -> Option<(Zeroizing<Vec<u8>>, u64)> {
    let mut members = parameters.members();
    let salt = members.next(OCTET_STRING)?.octets()?;
    let rounds = members.next(INTEGER)?.number()?.max(1);
    // So that multiples of it do not overflow.
    (rounds <= u64::from(u32::MAX)).then_some((salt, rounds))
}

/// `MacData` (RFC 7292, section 4).
pub(super) struct Mac<'a> {
    algorithm: AlgorithmIdentifier<'a>,
    digest: Zeroizing<Vec<u8>>,
    salt: Zeroizing<Vec<u8>>,
    rounds: u64,
}

impl<'a> Mac<'a> {
    pub(super) fn of(element: &Element<'a>) -> Option<Self> {
        if element.tag != SEQUENCE {
            return None;
        }
        let mut members = element.members();
        let mut info = members.next(SEQUENCE)?.members();
        let algorithm = AlgorithmIdentifier::of(&info.any()?)?;
        let digest = info.next(OCTET_STRING)?.octets()?;
        let salt = members.next(OCTET_STRING)?.octets()?;
        let rounds = members.optional()?.map_or(Some(1), |rounds| rounds.number())?.max(1);
        Some(Self { algorithm, digest, salt, rounds })
    }

    /// Whether the MAC of the file's content is right.
    pub(super) fn verifies(
        &self,
        content: &[u8],
        password: &Password,
        budget: &mut Budget,
    ) -> Result<bool, Pkcs12Fault> {
        let key = match self.algorithm.oid.to_string().as_str() {
            "1.3.14.3.2.26" => self.key(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password, budget)?,
            "2.16.840.1.101.3.4.2.1" => self.key(hmac::HMAC_SHA256, password, budget)?,
            "2.16.840.1.101.3.4.2.2" => self.key(hmac::HMAC_SHA384, password, budget)?,
            "2.16.840.1.101.3.4.2.3" => self.key(hmac::HMAC_SHA512, password, budget)?,
            "1.2.840.113549.1.5.14" => pbmac1_key(&self.algorithm, password, budget)?,
            _ => return Err(self.algorithm.unsupported()),
        };
        Ok(hmac::verify(&key, content, &self.digest).is_ok())
    }

    fn key(
        &self,
        algorithm: hmac::Algorithm,
        password: &Password,
        budget: &mut Budget,
    ) -> Result<hmac::Key, Pkcs12Fault> {
        budget.spend(self.rounds)?;
        let hash = algorithm.digest_algorithm();
        let key = password.derive(hash, Purpose::Mac, &self.salt, self.rounds, hash.output_len());
        Ok(hmac::Key::new(algorithm, &key))
    }
}

/// PBMAC1 (RFC 9579), which has its own PBKDF2 with salt and iterations.
fn pbmac1_key(
    algorithm: &AlgorithmIdentifier<'_>,
    password: &Password,
    budget: &mut Budget,
) -> Result<hmac::Key, Pkcs12Fault> {
    let mut members = algorithm.parameters.ok_or(Pkcs12Fault::Damaged)?.members();
    let mut part = || AlgorithmIdentifier::of(&members.any()?);
    let (Some(derivation), Some(scheme)) = (part(), part()) else { return Err(Pkcs12Fault::Damaged) };
    if derivation.oid != PBKDF2_OID {
        return Err(derivation.unsupported());
    }
    let parameters = derivation.parameters.ok_or(Pkcs12Fault::Damaged)?.whole;
    let parameters = Pbkdf2Params::from_der(parameters).map_err(|_| Pkcs12Fault::Damaged)?;
    let prf = match parameters.prf {
        Pbkdf2Prf::HmacWithSha1 => pbkdf2::PBKDF2_HMAC_SHA1,
        Pbkdf2Prf::HmacWithSha256 => pbkdf2::PBKDF2_HMAC_SHA256,
        Pbkdf2Prf::HmacWithSha384 => pbkdf2::PBKDF2_HMAC_SHA384,
        Pbkdf2Prf::HmacWithSha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        other => return Err(Pkcs12Fault::Unsupported(encrypted::scheme_name(other.oid()))),
    };
    let mac = match scheme.oid.to_string().as_str() {
        "1.2.840.113549.2.9" => hmac::HMAC_SHA256,
        "1.2.840.113549.2.10" => hmac::HMAC_SHA384,
        "1.2.840.113549.2.11" => hmac::HMAC_SHA512,
        _ => return Err(scheme.unsupported()),
    };
    let rounds = NonZeroU32::new(parameters.iteration_count).ok_or(Pkcs12Fault::Damaged)?;
    // The length is required (RFC 9579, section 5), and no MAC needs a key longer than its hash's block.
    let length =
        parameters.key_length.filter(|length| (1..=128).contains(length)).ok_or(Pkcs12Fault::Damaged)?;
    budget.spend(u64::from(rounds.get()) * u64::from(length.div_ceil(20)))?;
    let mut key = Zeroizing::new(vec![0; length.into()]);
    pbkdf2::derive(prf, rounds, parameters.salt.as_bytes(), password.text.expose(), &mut key);
    Ok(hmac::Key::new(mac, &key))
}
