//! Key files and public areas, good and bad.

use proptest::prelude::*;

use super::fake::public_area;
use super::fake::rsa_area;
use super::fake::tlv;
use crate::Algorithm;
use crate::tpm::Error;
use crate::tpm::public::Public;
use crate::tpm::tss2::TpmKeyFile;
use anchord_core::failure::Classify as _;

const LOADABLE: &[u8] = &[0x67, 0x81, 0x05, 0x0a, 0x01, 0x03];
const OWNER: &[u8] = &[0x40, 0, 0, 1];

fn sized(content: &[u8]) -> Vec<u8> {
    [&u16::try_from(content.len()).unwrap().to_be_bytes(), content].concat()
}

/// A key file with these members between its type and its parent.
fn file(kind: &[u8], members: &[u8], parent: &[u8]) -> Vec<u8> {
    let strings = [tlv(4, &sized(&public_area(&[1; 65]))), tlv(4, &sized(b"wrapped"))].concat();
    tlv(0x30, &[tlv(6, kind), members.to_vec(), tlv(2, parent), strings].concat())
}

fn good() -> Vec<u8> {
    file(LOADABLE, &tlv(0xa0, &[1, 1, 1]), OWNER)
}

fn refusal(der: &[u8]) -> String {
    let error = TpmKeyFile::from_der(der).unwrap_err();
    assert!(error.hint().is_some());
    error.to_string()
}

#[test]
fn a_key_file_is_read_however_its_writer_spells_true() {
    for truth in [0x01, 0xff, 0x00] {
        let read = TpmKeyFile::from_der(&file(LOADABLE, &tlv(0xa0, &[1, 1, truth]), OWNER)).unwrap();

        assert_eq!(read.parent(), 0x4000_0001);
        assert_eq!(read.private(), sized(b"wrapped"));
        assert_eq!(read.public_area(), public_area(&[1; 65]));
    }
}

#[test]
fn members_that_change_nothing_are_ignored() {
    let description = tlv(0xa4, &tlv(0x0c, b"robot"));
    let empty_policy = tlv(0xa1, &tlv(0x30, b""));
    let unknown = tlv(0xa7, b"?");

    let members = [empty_policy, description, tlv(0xa5, &[1, 1, 1]), unknown].concat();

    assert!(TpmKeyFile::from_der(&file(LOADABLE, &members, OWNER)).unwrap().has_rsa_parent());
}

#[test]
fn a_parent_is_a_hierarchy_or_persistent_whatever_its_sign() {
    let parent = |bytes: &[u8]| TpmKeyFile::from_der(&file(LOADABLE, b"", bytes)).map(|file| file.parent());

    assert_eq!(parent(&[0, 0x81, 0, 0, 1]).unwrap(), 0x8100_0001);
    assert_eq!(parent(&[0x81, 0, 0, 1]).unwrap(), 0x8100_0001);
    assert_eq!(parent(&[0]).unwrap(), 0x4000_0001);
    for hierarchy in [0x07, 0x0b, 0x0c] {
        assert_eq!(parent(&[0x40, 0, 0, hierarchy]).unwrap(), 0x4000_0000 | u32::from(hierarchy));
    }
    for bad in [&[0x80, 0, 0, 1][..], &[1], &[1, 0x81, 0, 0, 1], &[], &[0x40, 0, 0, 9]] {
        assert!(parent(bad).is_err(), "{bad:02x?}");
    }
}

#[test]
fn what_is_not_supported_is_called_by_its_name() {
    let of_type = |last| refusal(&file(&[0x67, 0x81, 0x05, 0x0a, 0x01, last], b"", OWNER));
    let policy = tlv(0x30, &tlv(0x30, b"?"));

    assert!(of_type(4).contains("importable"));
    assert!(of_type(5).contains("sealed"));
    assert!(of_type(6).contains("not known"));
    assert!(refusal(&file(LOADABLE, &tlv(0xa1, &policy), OWNER)).contains("policy"));
    assert!(refusal(&file(LOADABLE, &tlv(0xa3, &policy), OWNER)).contains("policy"));
    assert!(refusal(b"\x04\x00").contains("holds no TPM key"));
}

#[test]
fn a_file_that_was_cut_off_is_damaged() {
    let good = good();
    for length in 0..good.len() {
        assert!(refusal(&good[..length]).contains("damaged"), "{length}");
    }
    TpmKeyFile::from_der(&[&good[..], b"\0\0"].concat()).expect("what follows is not part of it");
}

#[test]
fn a_files_debug_output_shows_neither_of_its_blobs() {
    assert_eq!(
        format!("{:?}", TpmKeyFile::from_der(&good()).unwrap()),
        "TpmKeyFile { parent: 0x40000001, .. }"
    );
}

fn public(area: &[u8]) -> Public {
    Public::parse(area).unwrap().unwrap()
}

#[test]
fn an_rsa_key_whose_exponent_is_zero_has_the_usual_one() {
    let modulus = [&[0xc1][..], &[7; 255]].concat();

    let usual = public(&rsa_area(0, &modulus));

    assert_eq!(usual.algorithm, Algorithm::RsaSha256);
    let expected = [&[0x30, 0x82, 1, 10, 2, 0x82, 1, 1, 0][..], &modulus, &[2, 3, 1, 0, 1]].concat();
    assert_eq!(usual.subject_public_key, expected);
    assert_eq!(public(&rsa_area(65537, &modulus)).subject_public_key, expected);
    assert!(public(&rsa_area(3, &modulus)).subject_public_key.ends_with(&[2, 1, 3]));
}

#[test]
fn coordinates_that_begin_with_zeros_get_them_back() {
    let mut area = public_area(&[&[4][..], &[7; 64]].concat());
    let x = area.len() - 68;
    area.splice(x..x + 4, [0, 30]);

    let point = public(&area).subject_public_key;

    assert_eq!(point.len(), 65);
    assert_eq!(point[..4], [4, 0, 0, 7]);
}

/// The attributes are the bytes from 4 on, scheme and curve those from 12 on.
#[test]
fn a_key_that_cannot_sign_as_wanted_is_refused_with_its_reason() {
    let with = |at: usize, bytes: &[u8]| {
        let mut area = public_area(&[4; 65]);
        area[at..at + bytes.len()].copy_from_slice(bytes);
        match Public::parse(&area) {
            Err(Error::Unusable { what, .. }) => what,
            other => panic!("{other:?}"),
        }
    };

    assert!(with(4, &[0, 5, 0, 0x72]).contains("restricted"));
    assert!(with(4, &[0, 2, 0, 0x72]).contains("may not sign"));
    assert!(with(4, &[0, 4, 0, 0x32]).contains("policy"));
    assert!(with(0, &[0, 8]).contains("neither an RSA nor"));
    assert!(with(14, &[0, 1]).contains("curve"));
    let small = Public::parse(&rsa_area(0, &[0xc1; 128]));
    assert!(matches!(small, Err(Error::Unusable { what, .. }) if what.contains("2048")));
}

#[test]
fn a_scheme_other_than_ours_is_refused_and_ours_is_taken() {
    let with = |scheme: &[u8]| {
        let mut area = public_area(&[4; 65]);
        area.splice(12..14, scheme.iter().copied());
        Public::parse(&area)
    };

    assert!(with(&[0, 0x18, 0, 0x0b]).unwrap().is_some());
    for other in [&[0, 0x18, 0, 0x0c][..], &[0, 0x1a, 0, 0x0b, 0, 1], &[0, 0x1c, 0, 0x0b]] {
        assert!(matches!(with(other), Err(Error::Unusable { .. })), "{other:02x?}");
    }
}

proptest! {
    #[test]
    fn whatever_stands_in_a_key_file_reading_it_ends(der in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = TpmKeyFile::from_der(&der);
        let _ = TpmKeyFile::from_der(&tlv(0x30, &der));
    }

    #[test]
    fn a_key_file_with_wrong_bytes_is_read_or_refused(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut der = good();
        for (at, byte) in changes {
            let at = at.index(der.len());
            der[at] = byte;
        }
        if let Ok(file) = TpmKeyFile::from_der(&der) {
            let _ = Public::parse(file.public_area());
        }
    }

    #[test]
    fn whatever_a_public_area_holds_reading_it_ends(
        kind in prop::sample::select(vec![1_u8, 0x23]),
        rest in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let _ = Public::parse(&rest);
        let _ = Public::parse(&[&[0, kind, 0, 0x0b, 0, 4, 0, 0x72, 0, 0, 0, 0x10][..], &rest].concat());
    }
}
