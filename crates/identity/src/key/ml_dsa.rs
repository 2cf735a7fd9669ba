//! ML-DSA keys (FIPS 204), implemented by RustCrypto.
//!
//! PKCS#8 has them in three forms (RFC 9881, section 6): the seed, the expanded key, or both. OpenSSL writes both by
//! default, others the seed.

use std::fmt;
use std::sync::Arc;

use ml_dsa::ExpandedSigningKey;
use ml_dsa::ExpandedSigningKeyBytes;
use ml_dsa::MlDsa44;
use ml_dsa::MlDsa65;
use ml_dsa::MlDsa87;
use ml_dsa::MlDsaParams;
use ml_dsa::Seed;
use pkcs8::ObjectIdentifier;
use pkcs8::PrivateKeyInfoRef;
use pkcs8::der::Decode as _;
use pkcs8::der::Reader as _;
use pkcs8::der::Tag;
use pkcs8::der::TagNumber;
use pkcs8::der::Tagged as _;
use pkcs8::der::asn1::AnyRef;
use pkcs8::der::asn1::OctetStringRef;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::Algorithm;
use super::SignFailure;
use super::SigningKey;

/// id-ml-dsa-44, -65 and -87 (RFC 9881, section 2).
const ML_DSA_44: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.17");
const ML_DSA_65: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.18");
const ML_DSA_87: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.19");

struct MlDsa<P: MlDsaParams> {
    key: Box<ExpandedSigningKey<P>>,
    public_key: Vec<u8>,
}

impl<P: MlDsaParams + Send + Sync> SigningKey for MlDsa<P> {
    fn algorithm(&self) -> Algorithm {
        Algorithm::MlDsa
    }

    fn description(&self) -> String {
        "ML-DSA private key".into()
    }

    fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// Deterministic, like the signatures of EC keys (FIPS 204 allows it); the context is empty.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignFailure> {
        let signature = self.key.sign_deterministic(message, &[]).map_err(|_| SignFailure::unexpected())?;
        Ok(signature.encode().to_vec())
    }
}

impl<P: MlDsaParams + Send + Sync> fmt::Debug for MlDsa<P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} [redacted]", self.description())
    }
}

/// The key, if `info` is one of ML-DSA; `None` if it is of another kind. An error completes
/// "the private key in …".
pub(super) fn from_pkcs8(info: &PrivateKeyInfoRef<'_>) -> Option<Result<Arc<dyn SigningKey>, &'static str>> {
    // The secret part of an expanded key: the polynomials of s1 and s2 with 256 coefficients each.
    Some(match info.algorithm.oid {
        ML_DSA_44 => load::<MlDsa44>(info, Coefficients { bits: 3, most: 4, bytes: (4 + 4) * 96 }),
        ML_DSA_65 => load::<MlDsa65>(info, Coefficients { bits: 4, most: 8, bytes: (5 + 6) * 128 }),
        ML_DSA_87 => load::<MlDsa87>(info, Coefficients { bits: 3, most: 4, bytes: (7 + 8) * 96 }),
        _ => return None,
    })
}

fn load<P: MlDsaParams + Send + Sync + 'static>(
    info: &PrivateKeyInfoRef<'_>,
    coefficients: Coefficients,
) -> Result<Arc<dyn SigningKey>, &'static str> {
    let form = PrivateKeyForm::of(info.private_key.as_bytes()).ok_or(NEITHER_FORM)?;
    let key = match form {
        PrivateKeyForm::Seed(seed) => from_seed::<P>(seed)?,
        PrivateKeyForm::Expanded(expanded) => from_expanded::<P>(expanded, coefficients)?,
        PrivateKeyForm::Both { seed, expanded } => {
            let key = from_seed::<P>(seed)?;
            #[expect(deprecated, reason = "it is only compared with what the file holds")]
            let from_seed = Zeroizing::new(key.to_expanded());
            if !bool::from(from_seed.as_slice().ct_eq(expanded)) {
                return Err("holds a seed and an expanded ML-DSA key that do not match");
            }
            key
        }
    };
    let public_key = key.verifying_key().encode().to_vec();
    Ok(Arc::new(MlDsa { key, public_key }))
}

const NEITHER_FORM: &str = "is not a valid ML-DSA key: it has neither a seed nor an expanded key";

/// What the PKCS#8 `privateKey` holds: a CHOICE (RFC 9881, section 6).
enum PrivateKeyForm<'a> {
    Seed(&'a [u8]),
    Expanded(&'a [u8]),
    Both { seed: &'a [u8], expanded: &'a [u8] },
}

impl<'a> PrivateKeyForm<'a> {
    fn of(der: &'a [u8]) -> Option<Self> {
        const SEED: Tag = Tag::ContextSpecific { constructed: false, number: TagNumber(0) };
        let choice = AnyRef::from_der(der).ok()?;
        match choice.tag() {
            SEED => Some(Self::Seed(choice.value())),
            Tag::OctetString => Some(Self::Expanded(choice.value())),
            Tag::Sequence => choice
                .sequence(|members| {
                    let seed: &OctetStringRef = members.decode()?;
                    let expanded: &OctetStringRef = members.decode()?;
                    Ok::<_, pkcs8::der::Error>((seed.as_bytes(), expanded.as_bytes()))
                })
                .map(|(seed, expanded)| Self::Both { seed, expanded })
                .ok(),
            _ => None,
        }
    }
}

fn from_seed<P: MlDsaParams>(seed: &[u8]) -> Result<Box<ExpandedSigningKey<P>>, &'static str> {
    let seed = Seed::try_from(seed)
        .map(Zeroizing::new)
        .map_err(|_| "has an ML-DSA seed that is not 32 bytes long")?;
    Ok(Box::new(ExpandedSigningKey::from_seed(&seed)))
}

/// How s1 and s2 lie in an expanded key (FIPS 204, algorithms 24 and 17).
#[derive(Clone, Copy)]
struct Coefficients {
    bits: u32,
    /// Twice η: a coefficient c is there as η - c.
    most: u32,
    /// The length of both.
    bytes: usize,
}

impl Coefficients {
    /// ρ, K and tr come before.
    const START: usize = 32 + 32 + 64;

    /// Whether each is in its range; the library panics if one is not.
    fn are_valid(self, expanded: &[u8]) -> bool {
        let Some(packed) = expanded.get(Self::START..Self::START + self.bytes) else { return false };
        let mask = (1 << self.bits) - 1;
        // 24 bits hold eight coefficients of three bits, or six of four.
        for chunk in packed.chunks(3) {
            let mut word = chunk.iter().rev().fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
            for _ in 0..24 / self.bits {
                if word & mask > self.most {
                    return false;
                }
                word >>= self.bits;
            }
        }
        true
    }
}

/// Unlike a seed, an expanded key can be partly wrong. So it must make a signature that verifies with its own public
/// key. Whether that key is the certificate's is checked later, as for all keys.
fn from_expanded<P: MlDsaParams>(
    expanded: &[u8],
    coefficients: Coefficients,
) -> Result<Box<ExpandedSigningKey<P>>, &'static str> {
    const DAMAGED: &str = "is not a valid expanded ML-DSA key";
    let bytes = ExpandedSigningKeyBytes::<P>::try_from(expanded)
        .map(Zeroizing::new)
        .map_err(|_| "has an expanded ML-DSA key of the wrong length")?;
    if !coefficients.are_valid(expanded) {
        return Err(DAMAGED);
    }
    #[expect(deprecated, reason = "a key file may hold nothing else")]
    let key = Box::new(ExpandedSigningKey::<P>::from_expanded(&bytes));
    let proven = key
        .sign_deterministic(DAMAGED.as_bytes(), &[])
        .is_ok_and(|signature| key.verifying_key().verify_with_context(DAMAGED.as_bytes(), &[], &signature));
    if proven { Ok(key) } else { Err(DAMAGED) }
}
