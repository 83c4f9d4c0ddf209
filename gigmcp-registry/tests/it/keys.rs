//! Signatures and keys that are right in the sums and wrong in the meaning.

use gigmcp_registry::{InvalidKey, PublicKey, Signatures, SignedIndex, Untrusted, VerifyError};

use crate::{fresh, index, root, signed_by, signer};

/// The order of the base point, little-endian.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// All encodings of all points of small order, those with the prime added and those with a needless sign too: from
/// "Taming the many EdDSAs", <https://eprint.iacr.org/2020/1244>, table 1.
const SMALL_ORDER: [&str; 14] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

#[test]
fn keys_of_small_order_are_none() {
    for text in SMALL_ORDER {
        assert_eq!(text.parse::<PublicKey>(), Err(InvalidKey::Point), "{text}");
    }
    let good = signer(1).public_key();
    assert_eq!(good.to_string().parse(), Ok(good));
}

/// Reads the index with one signature whose hex was changed.
fn with_signature(change: impl FnOnce([u8; 64]) -> [u8; 64]) -> Result<(), VerifyError> {
    let text = index(7);
    let document = signed_by(&[1], &text).to_json();
    let at = document.find(r#""signature":""#).unwrap() + r#""signature":""#.len();
    let mut bytes = [0; 64];
    hex::decode_to_slice(&document[at..at + 128], &mut bytes).unwrap();
    let changed = document.replace(&document[at..at + 128], &hex::encode(change(bytes)));
    let signatures = Signatures::from_json(changed.as_bytes()).unwrap();
    SignedIndex::verify(text.as_bytes(), &signatures, &root(&[1], 1), &fresh()).map(drop)
}

#[test]
fn a_signature_has_one_spelling() {
    // S + L stands for the same number as S, and would be a second signature of the same text.
    let malleable = |mut signature: [u8; 64]| {
        let mut carry = 0;
        for (byte, order) in signature[32..].iter_mut().zip(ORDER) {
            let sum = u16::from(*byte) + u16::from(order) + carry;
            (*byte, carry) = (sum as u8, sum >> 8);
        }
        assert_eq!(carry, 0);
        signature
    };
    let refused = with_signature(malleable);
    assert!(matches!(refused, Err(VerifyError::Untrusted(Untrusted::WrongSignature { .. }))), "{refused:?}");
    with_signature(|signature| signature).unwrap();
}

#[test]
fn points_of_small_order_sign_nothing() {
    for text in SMALL_ORDER {
        let refused = with_signature(|mut signature| {
            hex::decode_to_slice(text, &mut signature[..32]).unwrap();
            signature
        });
        assert!(matches!(refused, Err(VerifyError::Untrusted(Untrusted::WrongSignature { .. }))), "{text}");
        let zero = with_signature(|mut signature| {
            hex::decode_to_slice(text, &mut signature[..32]).unwrap();
            signature[32..].fill(0);
            signature
        });
        assert!(matches!(zero, Err(VerifyError::Untrusted(Untrusted::WrongSignature { .. }))), "{text}");
    }
}

#[test]
fn every_bit_of_a_signature_counts() {
    for bit in (0..512).step_by(7) {
        let refused = with_signature(|mut signature| {
            signature[bit / 8] ^= 1 << (bit % 8);
            signature
        });
        assert!(matches!(refused, Err(VerifyError::Untrusted(Untrusted::WrongSignature { .. }))), "bit {bit}");
    }
}
