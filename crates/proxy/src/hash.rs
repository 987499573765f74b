//! A hash that is the same in every process and version of this program: branches are compared and repeated
//! across nodes.
//!
//! Not cryptographic, as RFC 5393 §4.2.4 allows: who controls all inputs can hurt only the own request.

/// Running 64-bit hash over length-delimited pieces.
pub(crate) struct Stable(u64);

impl Stable {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed ^ 0x243f_6a88_85a3_08d3)
    }

    /// Adds one piece; its length counts, so `ab` + `c` differs from `a` + `bc`.
    pub(crate) fn write(&mut self, piece: &[u8]) {
        let mut words = piece.chunks_exact(8);
        for word in &mut words {
            self.mix(u64::from_le_bytes(word.try_into().expect("chunks of eight")));
        }
        let rest = words.remainder();
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.mix(u64::from_le_bytes(word));
        }
        self.mix(piece.len() as u64);
    }

    /// Adds a piece that may be absent; absent differs from empty.
    pub(crate) fn write_optional(&mut self, piece: Option<&[u8]>) {
        match piece {
            Some(piece) => self.write(piece),
            None => self.mix(u64::MAX),
        }
    }

    /// Adds a number.
    pub(crate) fn mix(&mut self, word: u64) {
        let mixed = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 29);
    }

    /// The value of everything written.
    pub(crate) const fn finish(&self) -> u64 {
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pieces: &[&[u8]]) -> u64 {
        let mut hash = Stable::new(0);
        for piece in pieces {
            hash.write(piece);
        }
        hash.finish()
    }

    #[test]
    fn borders_between_pieces_count() {
        assert_ne!(of(&[b"ab", b"c"]), of(&[b"a", b"bc"]));
        assert_ne!(of(&[b"", b"a"]), of(&[b"a", b""]));
        assert_ne!(of(&[b"a\0"]), of(&[b"a"]));
        let mut absent = Stable::new(0);
        absent.write_optional(None);
        assert_ne!(absent.finish(), of(&[b""]));
    }

    #[test]
    fn every_bit_of_the_input_reaches_the_value() {
        let text = b"sip:alice@example.com;transport=tcp";
        for position in 0..text.len() {
            let mut other = *text;
            other[position] ^= 1;
            assert_ne!(of(&[text]), of(&[&other]), "byte {position}");
        }
    }
}
