//! A key's public area: whether it may sign for Roles Anywhere, and its `subjectPublicKey` (`TPMT_PUBLIC`; TPM 2.0
//! Library, Part 2, "Public Area Structures").

use super::Error;
use super::wire::Unmarshaller;
use crate::Algorithm;
use crate::asn1::two_numbers;
use crate::asn1::without_zeros;

const ALG_NULL: u16 = 0x0010;
const ALG_RSA: u16 = 0x0001;
const ALG_ECC: u16 = 0x0023;
const ALG_SHA256: u16 = 0x000b;
pub(super) const ALG_RSASSA: u16 = 0x0014;
const ALG_RSAES: u16 = 0x0015;
pub(super) const ALG_ECDSA: u16 = 0x0018;
const ALG_ECDAA: u16 = 0x001a;

/// `TPMA_OBJECT`
const USER_WITH_AUTH: u32 = 1 << 6;
const RESTRICTED: u32 = 1 << 16;
const SIGN: u32 = 1 << 18;

/// The exponent that zero means (`TPMS_RSA_PARMS`).
const DEFAULT_EXPONENT: u32 = 65537;

const CREATE: &str = "make it with `tpm2_create -G ecc` or `-G rsa`, which are signing keys by default";

/// The public part of a key that may sign for Roles Anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Public {
    /// The `TPMT_PUBLIC` itself, which identifies the key.
    pub(super) area: Vec<u8>,
    pub(super) algorithm: Algorithm,
    /// The content of a certificate's `subjectPublicKey`.
    pub(super) subject_public_key: Vec<u8>,
    /// The length of an RSA signature, or of each half of an ECDSA signature.
    pub(super) width: usize,
}

/// The parts of the area that differ between the kinds of keys.
struct Unique {
    algorithm: Algorithm,
    scheme: Scheme,
    subject_public_key: Vec<u8>,
    width: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Scheme {
    algorithm: u16,
    hash: u16,
}

impl Public {
    /// `Ok(None)` if `area` is not a public area.
    pub(super) fn parse(area: &[u8]) -> Result<Option<Self>, Error> {
        let mut reader = Unmarshaller::new(area);
        let Some((kind, attributes)) = head(&mut reader) else { return Ok(None) };
        check_attributes(kind, attributes)?;
        let unique = match kind {
            ALG_RSA => rsa(&mut reader)?,
            _ => ecc(&mut reader)?,
        };
        let Some(unique) = unique.filter(|_| reader.is_empty()) else { return Ok(None) };
        unique.scheme.check(unique.algorithm)?;
        Ok(Some(Self {
            area: area.to_vec(),
            algorithm: unique.algorithm,
            subject_public_key: unique.subject_public_key,
            width: unique.width,
        }))
    }

    /// The `TPMI_ALG_SIG_SCHEME` of its signatures.
    pub(super) fn scheme(&self) -> u16 {
        match self.algorithm {
            Algorithm::RsaSha256 => ALG_RSASSA,
            _ => ALG_ECDSA,
        }
    }
}

/// `TPM_ALG_SHA256`, as schemes name their hash.
pub(super) fn sha256() -> u16 {
    ALG_SHA256
}

/// Reads the type and the attributes; skips the name hash and the policy.
fn head(reader: &mut Unmarshaller<'_>) -> Option<(u16, u32)> {
    let (kind, _name_hash, attributes) = (reader.u16()?, reader.u16()?, reader.u32()?);
    reader.sized()?;
    Some((kind, attributes))
}

fn check_attributes(kind: u16, attributes: u32) -> Result<(), Error> {
    let unusable = |what, hint| Err(Error::Unusable { what, hint });
    if kind != ALG_RSA && kind != ALG_ECC {
        return unusable("is neither an RSA nor an elliptic curve key", CREATE);
    }
    if attributes & RESTRICTED != 0 {
        return unusable(
            "is restricted: it signs only what the TPM itself made, or protects other keys",
            CREATE,
        );
    }
    if attributes & SIGN == 0 {
        return unusable("may not sign", CREATE);
    }
    if attributes & USER_WITH_AUTH == 0 {
        return unusable(
            "can be used with a policy only, which is not supported",
            "make it with the attribute `userwithauth`",
        );
    }
    Ok(())
}

impl Scheme {
    /// `TPMT_RSA_SCHEME` and `TPMT_ECC_SCHEME`: all but two schemes have a hash, and ECDAA also has a counter.
    fn read(reader: &mut Unmarshaller<'_>) -> Option<Self> {
        let algorithm = reader.u16()?;
        let hash = if matches!(algorithm, ALG_NULL | ALG_RSAES) { ALG_NULL } else { reader.u16()? };
        if algorithm == ALG_ECDAA {
            reader.u16()?;
        }
        Some(Self { algorithm, hash })
    }

    fn check(self, key: Algorithm) -> Result<(), Error> {
        let wanted = if key == Algorithm::RsaSha256 { ALG_RSASSA } else { ALG_ECDSA };
        let fits = match self.algorithm {
            ALG_NULL => true,
            own => own == wanted && self.hash == ALG_SHA256,
        };
        if fits {
            return Ok(());
        }
        Err(Error::Unusable {
            what: "is bound to another signing scheme than RSASSA or ECDSA with SHA-256",
            hint: "make it without a scheme: `-G rsa2048:null`, `-G ecc256:null`",
        })
    }
}

/// Skips `TPMT_SYM_DEF_OBJECT`, which is longer than `TPM_ALG_NULL` only for storage keys.
fn skip_symmetric(reader: &mut Unmarshaller<'_>) -> Option<()> {
    if reader.u16()? != ALG_NULL {
        reader.bytes(4)?;
    }
    Some(())
}

fn rsa(reader: &mut Unmarshaller<'_>) -> Result<Option<Unique>, Error> {
    let Some((scheme, exponent, modulus)) = rsa_parts(reader) else { return Ok(None) };
    let modulus = without_zeros(modulus);
    if modulus.len() < 256 {
        return Err(Error::Unusable {
            what: "is RSA with fewer than 2048 bits",
            hint: "use RSA with 2048 bits or more, EC P-256, P-384 or P-521",
        });
    }
    let exponent = if exponent == 0 { DEFAULT_EXPONENT } else { exponent };
    Ok(Some(Unique {
        algorithm: Algorithm::RsaSha256,
        scheme,
        subject_public_key: two_numbers(modulus, &exponent.to_be_bytes()),
        width: modulus.len(),
    }))
}

fn rsa_parts<'a>(reader: &mut Unmarshaller<'a>) -> Option<(Scheme, u32, &'a [u8])> {
    skip_symmetric(reader)?;
    let (scheme, _bits) = (Scheme::read(reader)?, reader.u16()?);
    Some((scheme, reader.u32()?, reader.sized()?))
}

fn ecc(reader: &mut Unmarshaller<'_>) -> Result<Option<Unique>, Error> {
    let Some((scheme, curve, x, y)) = ecc_parts(reader) else { return Ok(None) };
    // TPM_ECC_NIST_P256, _P384 and _P521
    let width = match curve {
        0x0003 => 32,
        0x0004 => 48,
        0x0005 => 66,
        _ => {
            return Err(Error::Unusable {
                what: "is on a curve that Roles Anywhere does not accept",
                hint: "use EC P-256, P-384 or P-521, or RSA",
            });
        }
    };
    let (Some(x), Some(y)) = (pad(x, width), pad(y, width)) else { return Ok(None) };
    Ok(Some(Unique {
        algorithm: Algorithm::EcdsaSha256,
        scheme,
        subject_public_key: [&[0x04], &*x, &*y].concat(),
        width,
    }))
}

fn ecc_parts<'a>(reader: &mut Unmarshaller<'a>) -> Option<(Scheme, u16, &'a [u8], &'a [u8])> {
    skip_symmetric(reader)?;
    let (scheme, curve) = (Scheme::read(reader)?, reader.u16()?);
    // The key derivation scheme has the same format: an algorithm, and a hash unless it is null.
    Scheme::read(reader)?;
    Some((scheme, curve, reader.sized()?, reader.sized()?))
}

/// Pads `number` with leading zeros to `width` bytes; `None` if it is larger.
pub(super) fn pad(number: &[u8], width: usize) -> Option<Vec<u8>> {
    let number = without_zeros(number);
    let missing = width.checked_sub(number.len())?;
    Some([&vec![0; missing], number].concat())
}
