//! Enciphering: DES-CBC (RFC 3414 section 8), AES-CFB with 128-bit feedback (RFC 3826 and the drafts for longer keys).
//!
//! The chaining is written here instead of taken from `cbc` and `cfb-mode`: those take a cipher by value and so a copy of the key
//! schedule for every message, and each is a dozen lines. Deciphering runs over many blocks at once.

use aes::cipher::array::Array;
use aes::cipher::typenum::U16;
use aes::cipher::{
    Block, BlockCipherDecrypt, BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt,
    BlockSizeUser, KeyInit,
};
use aes::{Aes128Enc, Aes192Enc, Aes256Enc};
use des::Des;
use zeroize::Zeroize;

use super::keys::{self, Key};
use super::user::{AuthProtocol, PrivProtocol};
use crate::v3::EngineId;

/// Octets of a salt in a message (`msgPrivacyParameters`).
pub(super) const SALT: usize = 8;

/// What besides the key goes into a message's initialisation vector.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vector {
    pub(super) boots: u32,
    pub(super) time: u32,
    pub(super) salt: [u8; SALT],
}

/// One engine's privacy key, ready to use. Key schedules are zeroised when dropped.
pub(super) enum Cipher {
    Des(Des, PreVector),
    // Feedback enciphers in both directions.
    Aes128(Aes128Enc),
    Aes192(Aes192Enc),
    Aes256(Aes256Enc),
}

/// The half of a DES key that goes into the vector.
pub(super) struct PreVector([u8; 8]);

impl Drop for PreVector {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Cipher {
    /// `key` is the passphrase's, not yet localised.
    pub(super) fn new(cipher: PrivProtocol, auth: AuthProtocol, key: &Key, engine: &EngineId) -> Self {
        let key = keys::localise(auth, key, engine);
        let key = match cipher {
            PrivProtocol::Des | PrivProtocol::Aes128 => key,
            PrivProtocol::Aes192 => keys::extend_blumenthal(auth, key, 24),
            PrivProtocol::Aes256 => keys::extend_blumenthal(auth, key, 32),
            PrivProtocol::Aes192Reeder => keys::extend_reeder(auth, key, engine, 24),
            PrivProtocol::Aes256Reeder => keys::extend_reeder(auth, key, engine, 32),
        };
        Self::with_key(cipher, key.as_bytes())
    }

    /// `key` is localised, and long enough.
    pub(super) fn with_key(cipher: PrivProtocol, key: &[u8]) -> Self {
        match cipher {
            PrivProtocol::Des => {
                let pre: &[u8; 8] = key[8..].first_chunk().expect(LONG_ENOUGH);
                Self::Des(Des::new(first(key)), PreVector(*pre))
            }
            PrivProtocol::Aes128 => Self::Aes128(Aes128Enc::new(first(key))),
            PrivProtocol::Aes192 | PrivProtocol::Aes192Reeder => Self::Aes192(Aes192Enc::new(first(key))),
            PrivProtocol::Aes256 | PrivProtocol::Aes256Reeder => Self::Aes256(Aes256Enc::new(first(key))),
        }
    }

    /// Octets that must follow so many before they can be enciphered.
    pub(super) fn padding(&self, length: usize) -> usize {
        match self {
            Self::Des(..) => length.next_multiple_of(8) - length,
            _ => 0,
        }
    }

    /// Enciphers in place. The length must be a multiple of 8 for DES.
    pub(super) fn encipher(&self, vector: &Vector, data: &mut [u8]) {
        match self {
            Self::Des(des, pre) => encipher_cbc(des, pre.vector(vector), data),
            Self::Aes128(aes) => aes.encrypt_with_backend(Feedback { vector: vector.aes(), data }),
            Self::Aes192(aes) => aes.encrypt_with_backend(Feedback { vector: vector.aes(), data }),
            Self::Aes256(aes) => aes.encrypt_with_backend(Feedback { vector: vector.aes(), data }),
        }
    }

    /// Deciphers in place; false if the length is none that this cipher makes.
    #[must_use]
    pub(super) fn decipher(&self, vector: &Vector, data: &mut [u8]) -> bool {
        match self {
            Self::Des(..) if !data.len().is_multiple_of(8) => return false,
            Self::Des(des, pre) => decipher_cbc(des, pre.vector(vector), data),
            Self::Aes128(aes) => decipher_cfb(aes, vector.aes(), data),
            Self::Aes192(aes) => decipher_cfb(aes, vector.aes(), data),
            Self::Aes256(aes) => decipher_cfb(aes, vector.aes(), data),
        }
        true
    }
}

const LONG_ENOUGH: &str = "every hash gives 16 octets and extensions give what was asked for";

fn first<N: aes::cipher::array::ArraySize>(key: &[u8]) -> &Array<u8, N> {
    key[..N::USIZE].try_into().expect(LONG_ENOUGH)
}

impl PreVector {
    /// RFC 3414 section 8.1.1.1.
    fn vector(&self, vector: &Vector) -> [u8; 8] {
        std::array::from_fn(|at| self.0[at] ^ vector.salt[at])
    }
}

impl Vector {
    /// RFC 3826 section 3.1.2.1.
    fn aes(&self) -> Array<u8, U16> {
        let mut block = Array::default();
        block[..4].copy_from_slice(&self.boots.to_be_bytes());
        block[4..8].copy_from_slice(&self.time.to_be_bytes());
        block[8..].copy_from_slice(&self.salt);
        block
    }
}

fn xor(data: &mut [u8], with: &[u8]) {
    data.iter_mut().zip(with).for_each(|(octet, with)| *octet ^= with);
}

fn encipher_cbc(des: &Des, mut last: [u8; 8], data: &mut [u8]) {
    for block in data.as_chunks_mut::<8>().0 {
        xor(block, &last);
        BlockCipherEncrypt::encrypt_block(des, block.into());
        last = *block;
    }
}

fn decipher_cbc(des: &Des, mut last: [u8; 8], data: &mut [u8]) {
    for block in data.as_chunks_mut::<8>().0 {
        let enciphered = *block;
        BlockCipherDecrypt::decrypt_block(des, block.into());
        xor(block, &last);
        last = enciphered;
    }
}

/// Enciphers by feedback, where every block needs the one before; inside the backend, so that its choice is made once.
struct Feedback<'a> {
    vector: Array<u8, U16>,
    data: &'a mut [u8],
}

impl BlockSizeUser for Feedback<'_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for Feedback<'_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        let mut stream = self.vector;
        let (blocks, rest) = self.data.as_chunks_mut::<16>();
        for block in blocks {
            backend.encrypt_block_inplace(&mut stream);
            xor(&mut stream, block);
            *block = stream.into();
        }
        backend.encrypt_block_inplace(&mut stream);
        xor(rest, &stream);
    }
}

/// Every block's key stream comes from the enciphered block before it, so that many are made at once.
fn decipher_cfb<C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>>(
    cipher: &C,
    vector: Array<u8, U16>,
    data: &mut [u8],
) {
    const AT_ONCE: usize = 32;
    let mut stream = [Block::<C>::default(); AT_ONCE];
    let mut last = vector;
    for run in data.chunks_mut(16 * AT_ONCE) {
        let blocks = run.len().div_ceil(16);
        stream[0] = last;
        for (stream, block) in stream[1..].iter_mut().zip(run.as_chunks::<16>().0) {
            *stream = (*block).into();
        }
        if let Some(block) = run.last_chunk::<16>() {
            // Only a full run has a successor.
            last = (*block).into();
        }
        cipher.encrypt_blocks(&mut stream[..blocks]);
        for (octets, stream) in run.chunks_mut(16).zip(&stream) {
            xor(octets, stream);
        }
    }
}
