//! Sums over bytes as they pass, as the clients of an object store send and ask for them.

use md5::{Digest as _, Md5};
use sha1::Sha1;
use sha2::Sha256;

use crate::catalog::{Checksum, Etag, Sum};

/// A kind of sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SumKind {
    /// CRC-32, as in zip.
    Crc32,
    /// CRC-32C.
    Crc32c,
    /// CRC-64/NVME.
    Crc64,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

impl Sum {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> SumKind {
        match self {
            Self::Crc32 { .. } => SumKind::Crc32,
            Self::Crc32c { .. } => SumKind::Crc32c,
            Self::Crc64 { .. } => SumKind::Crc64,
            Self::Sha1 { .. } => SumKind::Sha1,
            Self::Sha256 { .. } => SumKind::Sha256,
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Crc32 { sum } | Self::Crc32c { sum } => sum,
            Self::Crc64 { sum } => sum,
            Self::Sha1 { sum } => sum,
            Self::Sha256 { sum } => sum,
        }
    }
}

/// A cyclic code, with what its steps need: eight bytes at a time.
struct Crc {
    all_ones: u64,
    tables: [[u64; 256]; 8],
}

static CRC32: Crc = Crc::new(0xedb8_8320, u32::MAX as u64);
static CRC32C: Crc = Crc::new(0x82f6_3b78, u32::MAX as u64);
static CRC64: Crc = Crc::new(0x9a6c_9329_ac4b_c9b5, u64::MAX);

impl Crc {
    const fn new(polynomial: u64, all_ones: u64) -> Self {
        let mut tables = [[0; 256]; 8];
        let mut byte = 0;
        while byte < 256 {
            let (mut sum, mut bit) = (byte as u64, 0);
            while bit < 8 {
                sum = if sum & 1 == 1 { sum >> 1 ^ polynomial } else { sum >> 1 };
                bit += 1;
            }
            tables[0][byte] = sum;
            byte += 1;
        }
        let mut table = 1;
        while table < 8 {
            let mut byte = 0;
            while byte < 256 {
                let before: u64 = tables[table - 1][byte];
                tables[table][byte] = before >> 8 ^ tables[0][(before & 0xff) as usize];
                byte += 1;
            }
            table += 1;
        }
        Self { all_ones, tables }
    }

    fn at(&self, table: usize, word: u64) -> u64 {
        self.tables[table][usize::from(word.to_le_bytes()[7 - table])]
    }

    /// The state after more bytes.
    fn pass(&self, mut state: u64, bytes: &[u8]) -> u64 {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            let word = state ^ u64::from_le_bytes(*word);
            state = (0..8).fold(0, |sum, table| sum ^ self.at(table, word));
        }
        for byte in rest {
            let place = usize::from(state.to_le_bytes()[0] ^ byte);
            state = state >> 8 ^ self.tables[0][place];
        }
        state
    }

    /// The sum of bytes that have the sum `first`, followed by `length` bytes that have the sum `then`.
    fn join(&self, first: u64, then: u64, mut length: u64) -> u64 {
        // A step over a zero byte is linear. `step` has what each bit of a state becomes by so many steps.
        let mut step: [u64; 64] =
            std::array::from_fn(|bit| self.pass((1 << bit) & self.all_ones, &[0]));
        let mut state = first;
        while 0 < length {
            if length & 1 == 1 {
                state = apply(&step, state);
            }
            step = std::array::from_fn(|bit| apply(&step, step[bit]));
            length >>= 1;
        }
        state ^ then
    }
}

fn apply(step: &[u64; 64], state: u64) -> u64 {
    let set = step.iter().enumerate().filter(|(bit, _)| state >> bit & 1 == 1);
    set.fold(0, |sum, (_, part)| sum ^ part)
}

#[expect(clippy::cast_possible_truncation, reason = "a code of 32 bits has no more")]
fn short(sum: u64) -> [u8; 4] {
    (sum as u32).to_be_bytes()
}

/// A sum that is not complete.
enum Running {
    Crc(SumKind, &'static Crc, u64),
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Running {
    fn new(kind: SumKind) -> Self {
        match kind {
            SumKind::Crc32 => Self::Crc(kind, &CRC32, CRC32.all_ones),
            SumKind::Crc32c => Self::Crc(kind, &CRC32C, CRC32C.all_ones),
            SumKind::Crc64 => Self::Crc(kind, &CRC64, CRC64.all_ones),
            SumKind::Sha1 => Self::Sha1(Sha1::new()),
            SumKind::Sha256 => Self::Sha256(Sha256::new()),
        }
    }

    fn pass(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc(_, crc, state) => *state = crc.pass(*state, bytes),
            Self::Sha1(hasher) => hasher.update(bytes),
            Self::Sha256(hasher) => hasher.update(bytes),
        }
    }

    fn finish(self) -> Sum {
        match self {
            Self::Crc(kind, crc, state) => crc_sum(kind, state ^ crc.all_ones),
            Self::Sha1(hasher) => Sum::Sha1 { sum: hasher.finalize().into() },
            Self::Sha256(hasher) => Sum::Sha256 { sum: hasher.finalize().into() },
        }
    }
}

fn crc_sum(kind: SumKind, sum: u64) -> Sum {
    match kind {
        SumKind::Crc32c => Sum::Crc32c { sum: short(sum) },
        SumKind::Crc64 => Sum::Crc64 { sum: sum.to_be_bytes() },
        _ => Sum::Crc32 { sum: short(sum) },
    }
}

/// Sums over bytes that pass.
pub(crate) struct Digests {
    md5: Md5,
    sums: Vec<Running>,
}

impl std::fmt::Debug for Digests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Digests").field("sums", &self.sums.len()).finish_non_exhaustive()
    }
}

impl Digests {
    /// The MD5, and these sums.
    pub(crate) fn new(kinds: &[SumKind]) -> Self {
        let mut kinds = kinds.to_vec();
        kinds.sort_unstable();
        kinds.dedup();
        Self { md5: Md5::new(), sums: kinds.into_iter().map(Running::new).collect() }
    }

    /// Takes the next bytes.
    pub(crate) fn pass(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        self.sums.iter_mut().for_each(|sum| sum.pass(bytes));
    }

    /// The sums of all bytes that passed.
    pub(crate) fn finish(self) -> (Etag, Vec<Checksum>) {
        let etag = Etag { md5: self.md5.finalize().into(), parts: 0 };
        let sums = self.sums.into_iter().map(|sum| Checksum { sum: sum.finish(), parts: 0 });
        (etag, sums.collect())
    }
}

/// The mark of an item in parts.
pub(crate) fn etag_of_parts<'a>(parts: impl Iterator<Item = &'a [u8; 16]>) -> Etag {
    let (mut hasher, mut count) = (Md5::new(), 0_u32);
    for md5 in parts {
        hasher.update(md5);
        count = count.saturating_add(1);
    }
    Etag { md5: hasher.finalize().into(), parts: count }
}

/// The sum over the sums of parts, with their number. Gives nothing if the sums are not all of one kind.
pub fn sum_of_sums(parts: &[Sum]) -> Option<Checksum> {
    let kind = parts.first()?.kind();
    let mut running = Running::new(kind);
    for part in parts {
        if part.kind() != kind {
            return None;
        }
        running.pass(part.bytes());
    }
    Some(Checksum { sum: running.finish(), parts: u32::try_from(parts.len()).ok()? })
}

/// The cyclic sum over all bytes of parts, from the sum and the length of each. Gives nothing if the sums are not all of one
/// kind, or of a kind that cannot be joined.
pub fn sum_of_whole(parts: &[(Sum, u64)]) -> Option<Checksum> {
    let kind = parts.first()?.0.kind();
    let crc = match kind {
        SumKind::Crc32 => &CRC32,
        SumKind::Crc32c => &CRC32C,
        SumKind::Crc64 => &CRC64,
        SumKind::Sha1 | SumKind::Sha256 => return None,
    };
    let mut whole = 0;
    for (sum, length) in parts {
        let sum = match sum {
            Sum::Crc64 { sum } => u64::from_be_bytes(*sum),
            Sum::Crc32 { sum } | Sum::Crc32c { sum } => u32::from_be_bytes(*sum).into(),
            Sum::Sha1 { .. } | Sum::Sha256 { .. } => return None,
        };
        whole = crc.join(whole, sum, *length);
    }
    let same = parts.iter().all(|(sum, _)| sum.kind() == kind);
    same.then(|| Checksum { sum: crc_sum(kind, whole), parts: 0 })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [SumKind; 5] =
        [SumKind::Crc32, SumKind::Crc32c, SumKind::Crc64, SumKind::Sha1, SumKind::Sha256];

    fn sums(pieces: &[&[u8]]) -> (Etag, Vec<Checksum>) {
        let mut digests = Digests::new(&ALL);
        pieces.iter().for_each(|piece| digests.pass(piece));
        digests.finish()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_sums_are_those_of_their_standards() {
        let (etag, sums) = sums(&[b"123456789"]);
        assert_eq!(hex(&etag.md5), "25f9e794323b453885f5181f1b624d0b");
        let shown: Vec<_> = sums.iter().map(|one| hex(one.sum.bytes())).collect();
        assert_eq!(
            shown,
            [
                "cbf43926",
                "e3069283",
                "ae8b14860a799888",
                "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
                "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
            ]
        );
    }

    #[test]
    fn sums_of_different_kinds_do_not_join() {
        let [one, other] = [Sum::Crc32 { sum: [1; 4] }, Sum::Crc32c { sum: [1; 4] }];
        assert_eq!(sum_of_sums(&[one, other]), None);
        assert_eq!(sum_of_whole(&[(one, 1), (other, 1)]), None);
        assert_eq!(sum_of_whole(&[(Sum::Sha1 { sum: [1; 20] }, 1)]), None);
        assert_eq!((sum_of_sums(&[]), sum_of_whole(&[])), (None, None));
    }

    #[test]
    fn parts_have_the_mark_that_object_stores_give_them() {
        // The MD5 of the MD5s of "a" and "b", as `md5sum` says.
        let parts = [sums(&[b"a"]).0.md5, sums(&[b"b"]).0.md5];
        let etag = etag_of_parts(parts.iter());
        let whole = sums(&[&parts.concat()]).0.md5;
        assert_eq!(etag, Etag { md5: whole, parts: 2 });
    }

    proptest! {
        #[test]
        fn sums_do_not_depend_on_the_pieces(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            cuts in prop::collection::vec(0..200_usize, 0..5),
        ) {
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut first = 0;
            for cut in cuts.into_iter().chain([bytes.len()]) {
                pieces.push(&bytes[first..cut]);
                first = cut;
            }
            let whole = sums(&[&bytes]);
            prop_assert_eq!(&sums(&pieces), &whole);
            let each: Vec<_> = pieces.iter().map(|piece| sums(&[piece]).1).collect();
            for (number, sum) in whole.1.iter().enumerate().take(3) {
                let parts: Vec<_> = each
                    .iter()
                    .zip(&pieces)
                    .map(|(sums, piece)| (sums[number].sum, piece.len() as u64))
                    .collect();
                prop_assert_eq!(sum_of_whole(&parts), Some(*sum));
            }
        }
    }
}
