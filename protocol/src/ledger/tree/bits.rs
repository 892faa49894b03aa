//! The beginnings of keys as strings of bits. Bit 0 is the most significant bit of the first byte.

use core::cmp::Ordering;

use super::{KEY_BYTES_MAX, PAGE_BITS};

/// Bits that some keys begin with. The bytes after them are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bits {
    bytes: [u8; KEY_BYTES_MAX],
    length: u16,
}

impl Bits {
    /// The beginning of every key.
    pub(super) const NONE: Self = Self { bytes: [0; KEY_BYTES_MAX], length: 0 };

    /// All bits of a key; `None` if it is longer than the key of any row.
    pub(super) fn of(key: &[u8]) -> Option<Self> {
        (key.len() <= KEY_BYTES_MAX).then(|| Self::first_of(key, 8 * key.len()))
    }

    /// The first bits of a key, which has so many.
    pub(super) fn first_of(key: &[u8], length: usize) -> Self {
        let mut bits = Self::NONE;
        bits.bytes[..length.div_ceil(8)].copy_from_slice(&key[..length.div_ceil(8)]);
        bits.length = u16::try_from(length).expect("a key has few bits");
        bits.cut();
        bits
    }

    /// The first of these bits.
    pub(super) fn first(&self, length: usize) -> Self {
        Self::first_of(&self.bytes, length)
    }

    /// The first bits of a key, and then this one.
    pub(super) fn beside(key: &[u8], length: usize, bit: bool) -> Self {
        let mut bits = Self::first_of(key, length + 1);
        let mask = 0x80 >> (length % 8);
        match bit {
            false => bits.bytes[length / 8] &= !mask,
            true => bits.bytes[length / 8] |= mask,
        }
        bits
    }

    /// How many they are.
    pub(super) fn len(&self) -> usize {
        usize::from(self.length)
    }

    /// Whole bytes, the last one filled up with zero bits.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len().div_ceil(8)]
    }

    /// How many of the first bits a key shares with them.
    pub(super) fn common(&self, key: &[u8]) -> usize {
        common(self.bytes(), key).min(self.len())
    }

    /// How these bits and a key compare in the bits that both have.
    pub(super) fn order(&self, key: &[u8]) -> Ordering {
        let both = self.len().min(8 * key.len());
        match self.common(key) {
            same if same >= both => Ordering::Equal,
            same if bit(key, same) => Ordering::Less,
            _ => Ordering::Greater,
        }
    }

    fn cut(&mut self) {
        if !self.len().is_multiple_of(8) {
            self.bytes[self.len() / 8] &= 0xff << (8 - self.len() % 8);
        }
    }
}

/// How many bits two keys share, from the first on.
pub(super) fn common(a: &[u8], b: &[u8]) -> usize {
    let bytes = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let rest = match (a.get(bytes), b.get(bytes)) {
        (Some(a), Some(b)) => (a ^ b).leading_zeros() as usize,
        _ => 0,
    };
    8 * bytes + rest
}

/// A bit of a key; zero after its end.
pub(super) fn bit(key: &[u8], at: usize) -> bool {
    key.get(at / 8).is_some_and(|byte| byte & (0x80 >> (at % 8)) != 0)
}

/// The subtree of the page at `depth` in which a key stands.
pub(super) fn cell(key: &[u8], depth: usize) -> usize {
    (depth..depth + PAGE_BITS).fold(0, |cell, at| 2 * cell + usize::from(bit(key, at)))
}
