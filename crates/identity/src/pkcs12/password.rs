//! Derives keys from passwords (RFC 7292, appendix B).

use ring::digest;
use zeroize::Zeroizing;

use anchord_core::secret::Secret;

/// The use of a derived key: the diversifier (RFC 7292, appendix B.3).
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    Encryption = 1,
    Iv = 2,
    Mac = 3,
}

/// A password in the two encodings that a file may need.
pub(super) struct Password {
    /// For PBES2 and PBMAC1.
    pub(super) text: Secret<Vec<u8>>,
    /// For everything else: UTF-16, big-endian, with two zero bytes at the end (RFC 7292, appendix B.1).
    wide: Zeroizing<Vec<u8>>,
}

impl Password {
    /// The passwords to try for `text`. Programs encode "no password" in two ways: as an empty string, or as nothing.
    pub(super) fn candidates(text: Option<&Secret<Vec<u8>>>) -> Vec<Self> {
        let text = text.cloned().unwrap_or_else(|| Secret::new(Vec::new()));
        let mut wide = Zeroizing::new(Vec::with_capacity(2 * text.expose().len() + 2));
        match std::str::from_utf8(text.expose()) {
            Ok(text) => text.encode_utf16().for_each(|unit| wide.extend(unit.to_be_bytes())),
            // Like OpenSSL for text that is not UTF-8: each byte is a character.
            Err(_) => text.expose().iter().for_each(|byte| wide.extend([0, *byte])),
        }
        wide.extend([0, 0]);
        let nothing =
            text.expose().is_empty().then(|| Self { text: text.clone(), wide: Zeroizing::default() });
        [Some(Self { text, wide }), nothing].into_iter().flatten().collect()
    }

    /// Derives `length` bytes.
    pub(super) fn derive(
        &self,
        hash: &'static digest::Algorithm,
        purpose: Purpose,
        salt: &[u8],
        rounds: u64,
        length: usize,
    ) -> Zeroizing<Vec<u8>> {
        let block = hash.block_len();
        // Allocated at full size, here and below: a growing buffer leaves copies in memory.
        let whole_blocks = |bytes: &[u8]| bytes.len().next_multiple_of(block);
        let mut input = Zeroizing::new(Vec::with_capacity(whole_blocks(salt) + whole_blocks(&self.wide)));
        for bytes in [salt, &self.wide] {
            // Repeated to fill whole blocks, the last copy cut; empty input stays empty.
            input.extend(bytes.iter().cycle().take(whole_blocks(bytes)));
        }
        let mut derived = Zeroizing::new(vec![0; length.next_multiple_of(hash.output_len())]);
        for output in derived.chunks_mut(hash.output_len()) {
            let mut context = digest::Context::new(hash);
            context.update(&vec![purpose as u8; block]);
            context.update(&input);
            output.copy_from_slice(context.finish().as_ref());
            for _ in 1..rounds {
                let hashed = digest::digest(hash, output);
                output.copy_from_slice(hashed.as_ref());
            }
            input.chunks_mut(block).for_each(|chunk| add_with_one(chunk, output));
        }
        derived.truncate(length);
        derived
    }
}

/// I := I + B + 1, where B is copies of `output`, as numbers of a block's length.
fn add_with_one(chunk: &mut [u8], output: &[u8]) {
    let mut carry = 1;
    for at in (0..chunk.len()).rev() {
        let sum = u16::from(chunk[at]) + u16::from(output[at % output.len()]) + carry;
        chunk[at] = sum.to_be_bytes()[1];
        carry = sum >> 8;
    }
}
