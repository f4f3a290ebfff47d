//! Published vectors: keys (RFC 3414 A.3, the samples of draft-reeder-snmpv3-usm-3desede-00), HMAC (RFC 2202, RFC 4231), AES-CFB (NIST SP 800-38A F.3), DES-CBC
//! (FIPS 81). RFC 7860 and the Blumenthal draft publish no keys; those come from Python's hashlib, step by step as the texts say.

use super::cipher::{Cipher, Vector};
use super::keys::{self, Key};
use super::mac::Mac;
use super::user::{AuthProtocol, PrivProtocol};
use crate::v3::EngineId;

/// Octets from hexadecimal digits, blanks left out.
pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|octet| !octet.is_ascii_whitespace()).collect();
    let octet = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).expect("ASCII");
        u8::from_str_radix(text, 16).expect("hexadecimal digits")
    };
    digits.chunks(2).map(octet).collect()
}

fn engine() -> EngineId {
    EngineId::new(&hex("000000000000000000000002")).expect("short")
}

#[test]
fn passphrases_become_keys_and_keys_local() {
    let check = |protocol, ku: &str, local: &str| {
        let key = keys::from_passphrase(protocol, b"maplesyrup");
        assert_eq!(key.as_bytes(), hex(ku), "{protocol}");
        assert_eq!(keys::localise(protocol, &key, &engine()).as_bytes(), hex(local), "{protocol}");
    };
    // RFC 3414 A.3.1 and A.3.2
    check(AuthProtocol::Md5, "9faf3283884e92834ebc9847d8edd963", "526f5eed9fcce26f8964c2930787d82b");
    check(
        AuthProtocol::Sha1,
        "9fb5cc0381497b3793528939ff788d5d79145211",
        "6695febc9288e36282235fc7151f128497b38f3f",
    );
    // hashlib
    check(
        AuthProtocol::Sha224,
        "282a5867ee9aac639ad59df9572c7d3ac0fbc13a905b6df07dbbf00b",
        "0bd8827c6e29f8065e08e09237f177e410f69b90e1782be682075674",
    );
    check(
        AuthProtocol::Sha256,
        "ab51014d1e077f6017df2b12bee5f5aa72993177e9bb569c4dff5a4ca0b4afac",
        "8982e0e549e866db361a6b625d84cccc11162d453ee8ce3a6445c2d6776f0f8b",
    );
    check(
        AuthProtocol::Sha384,
        "e06eccdf2c68a06ed034723c9c26e0db3b669e1e2efed49150b55377a2e98f383c86fb836857444654b287c93f51ff64",
        "3b298f16164a11184279d5432bf169e2d2a48307de02b3d3f7e2b4f36eb6f0455a53689a3937eea07319a633d2ccba78",
    );
    check(
        AuthProtocol::Sha512,
        "7e4396de5aadc77be853819b98c9406265b3a9c37cc3176569847a4e4f6fba63dd3a73d04924d31a63f95a601f9385af6be4ed1b37f87d040f7c6ed6f8d38a91",
        "22a5a36cedfcc085807a128d7bc6c2382167ad6c0dbc5fdff856740f3d84c099ad1ea87a8db096714d9788bd544047c9021e4229ce27e4c0a69250adfcffbb0b",
    );
}

#[test]
fn keys_are_extended_in_two_ways() {
    let check = |extended: Key, expected: &str| assert_eq!(extended.as_bytes(), hex(expected));
    let local =
        |protocol| keys::localise(protocol, &keys::from_passphrase(protocol, b"maplesyrup"), &engine());
    // draft-reeder, sample results
    let reeder = |protocol| keys::extend_reeder(protocol, local(protocol), &engine(), 32);
    check(reeder(AuthProtocol::Md5), "526f5eed9fcce26f8964c2930787d82b79eff44a90650ee0a3a40abfac5acc12");
    check(
        reeder(AuthProtocol::Sha1),
        "6695febc9288e36282235fc7151f128497b38f3f9b8b6d78936ba6e7d19dfd9cd2d5065547743fb5",
    );
    // hashlib
    let blumenthal = |protocol| keys::extend_blumenthal(protocol, local(protocol), 32);
    check(blumenthal(AuthProtocol::Md5), "526f5eed9fcce26f8964c2930787d82bfa24a92467426c2f4b09192be10dfaec");
    check(
        blumenthal(AuthProtocol::Sha1),
        "6695febc9288e36282235fc7151f128497b38f3f505e07eb9af25568fa1f5dbe1bf2e6a0e36ea40a",
    );
    check(
        blumenthal(AuthProtocol::Sha224),
        "0bd8827c6e29f8065e08e09237f177e410f69b90e1782be682075674e82d9bf08a4be4ff61a62a30b247c72561bad42766ab42307b45a226",
    );
    let long_enough = keys::extend_reeder(AuthProtocol::Sha256, local(AuthProtocol::Sha256), &engine(), 32);
    assert_eq!(long_enough.as_bytes(), local(AuthProtocol::Sha256).as_bytes());
}

#[test]
fn passphrases_of_any_length_fill_one_mebibyte() {
    let check = |phrase: &[u8]| {
        use sha2::Digest;
        let expanded: Vec<u8> = phrase.iter().copied().cycle().take(1 << 20).collect();
        let expected = sha2::Sha256::digest(&expanded);
        assert_eq!(
            keys::from_passphrase(AuthProtocol::Sha256, phrase).as_bytes(),
            &expected[..],
            "{}",
            phrase.len()
        );
    };
    for length in [8, 9, 63, 64, 65, 1000, 1024, 4095, 4096, 4097, 1_000_000] {
        check(&vec![7; length]);
    }
    check(b"passphrase");
    check(&(0..=255).collect::<Vec<u8>>());
}

#[test]
fn hmac() {
    let check = |protocol, key: &[u8], text: &[u8], expected: &str| {
        let expected = hex(expected);
        let mut tag = vec![0; expected.len()];
        let (begin, end) = text.split_at(text.len() / 2);
        Mac::new(protocol, &Key::new(key)).tag([begin, &[], end], &mut tag);
        assert_eq!(tag, expected, "{protocol}");
    };
    let hi: &[u8] = b"Hi There";
    check(AuthProtocol::Md5, &[0x0b; 16], hi, "9294727a3638bb1c13f48ef8158bfc9d");
    check(AuthProtocol::Sha1, &[0x0b; 20], hi, "b617318655057264e28bc0b6fb378c8ef146be00");
    check(AuthProtocol::Sha224, &[0x0b; 20], hi, "896fb1128abbdf196832107cd49df33f47b4b1169912ba4f53684b22");
    check(
        AuthProtocol::Sha256,
        &[0x0b; 20],
        hi,
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
    );
    check(
        AuthProtocol::Sha384,
        &[0x0b; 20],
        hi,
        "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6",
    );
    check(
        AuthProtocol::Sha512,
        &[0x0b; 20],
        hi,
        "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854",
    );
    let what: &[u8] = b"what do ya want for nothing?";
    check(AuthProtocol::Md5, b"Jefe", what, "750c783e6ab0b503eaa86e310a5db738");
    check(AuthProtocol::Sha1, b"Jefe", what, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
    check(
        AuthProtocol::Sha256,
        b"Jefe",
        what,
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    );
}

const PLAIN: &str = "6bc1bee22e409f96e93d7e117393172a ae2d8a571e03ac9c9eb76fac45af8e51
    30c81c46a35ce411e5fbc1191a0a52ef f69f2445df4f9b17ad2b417be66c3710";

fn check_cipher(protocol: PrivProtocol, key: &str, vector: &Vector, plain: &[u8], expected: &[u8]) {
    let cipher = Cipher::with_key(protocol, &hex(key));
    let mut data = plain.to_vec();
    cipher.encipher(vector, &mut data);
    assert_eq!(data, expected, "{protocol}");
    assert!(cipher.decipher(vector, &mut data));
    assert_eq!(data, plain, "{protocol}");
}

#[test]
fn aes_in_feedback_mode() {
    let vector = Vector { boots: 0x0001_0203, time: 0x0405_0607, salt: [8, 9, 10, 11, 12, 13, 14, 15] };
    let check = |protocol, key: &str, enciphered: &str| {
        let (plain, enciphered) = (hex(PLAIN), hex(enciphered));
        // A stream: any beginning has the same result.
        for length in [64, 63, 33, 32, 17, 16, 15, 1, 0] {
            check_cipher(protocol, key, &vector, &plain[..length], &enciphered[..length]);
        }
    };
    check(
        PrivProtocol::Aes128,
        "2b7e151628aed2a6abf7158809cf4f3c",
        "3b3fd92eb72dad20333449f8e83cfb4a c8a64537a0b3a93fcde3cdad9f1ce58b
         26751f67a3cbb140b1808cf187a4f4df c04b05357c5d1c0eeac4c66f9ff7f2e6",
    );
    check(
        PrivProtocol::Aes192,
        "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
        "cdc80d6fddf18cab34c25909c99a4174 67ce7f7f81173621961a2b70171d3d7a
         2e1e8a1dd59b88b1c8e60fed1efac4c9 c05f9f9ca9834fa042ae8fba584b09ff",
    );
    check(
        PrivProtocol::Aes256,
        "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
        "dc7e84bfda79164b7ecd8486985d3860 39ffed143b28b1c832113c6331e5407b
         df10132415e54b92a13ed0a8267ae2f9 75a385741ab9cef82031623d55b1e471",
    );
}

#[test]
fn des_in_chaining_mode() {
    let vector = Vector { boots: 0, time: 0, salt: 0x1234_5678_90ab_cdef_u64.to_be_bytes() };
    let enciphered = hex("e5c7cdde872bf27c43e934008c389c0f683788499a7c05f6");
    // The second half of the key is what the salt is added to.
    let key = "0123456789abcdef0000000000000000";
    check_cipher(PrivProtocol::Des, key, &vector, b"Now is the time for all ", &enciphered);
    let other = Vector { salt: [0; 8], ..vector };
    check_cipher(
        PrivProtocol::Des,
        "0123456789abcdef1234567890abcdef",
        &other,
        b"Now is the time for all ",
        &enciphered,
    );
    let cipher = Cipher::with_key(PrivProtocol::Des, &hex(key));
    assert!(!cipher.decipher(&vector, &mut [0; 23]), "no multiple of a block");
}

#[test]
fn long_messages_are_deciphered_in_runs() {
    let cipher = Cipher::with_key(PrivProtocol::Aes128, &[7; 16]);
    let vector = Vector { boots: 1, time: 2, salt: [3; 8] };
    for length in [511, 512, 513, 1024, 1039, 65_000] {
        let plain: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        let mut data = plain.clone();
        cipher.encipher(&vector, &mut data);
        assert_ne!(data, plain);
        assert!(cipher.decipher(&vector, &mut data) && data == plain, "{length}");
    }
}
