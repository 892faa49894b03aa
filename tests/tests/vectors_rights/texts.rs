//! Bech32m as BIP-350 has it, with whatever padding and length a test wants.

const LETTERS: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";

fn polymod(values: impl Iterator<Item = u8>) -> u32 {
    const GENERATORS: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    values.fold(1, |check: u32, value| {
        let top = check >> 25;
        let next = ((check & 0x01ff_ffff) << 5) ^ u32::from(value);
        let picked = GENERATORS.iter().enumerate().filter(|(place, _)| top >> place & 1 == 1);
        picked.fold(next, |next, (_, generator)| next ^ generator)
    })
}

/// The text of values of five bits.
fn of_values(prefix: &str, values: &[u8]) -> String {
    let head = || prefix.bytes();
    let spread =
        head().map(|letter| letter >> 5).chain([0]).chain(head().map(|letter| letter & 31));
    let check = polymod(spread.chain(values.iter().copied()).chain([0; 6])) ^ 0x2bc8_30a3;
    let check = (0..6_u32).map(|place| u8::try_from(check >> (5 * (5 - place)) & 31).unwrap());
    let all = values.iter().copied().chain(check);
    let letters: String = all.map(|value| char::from(LETTERS[usize::from(value)])).collect();
    format!("{prefix}1{letters}")
}

/// The five-bit values of bytes, and how many bits of padding the last one has.
fn values(bytes: &[u8]) -> (Vec<u8>, u32) {
    let (mut out, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for byte in bytes {
        bits = (bits << 8) | u32::from(*byte);
        count += 8;
        while count >= 5 {
            count -= 5;
            out.push(u8::try_from(bits >> count & 31).unwrap());
        }
    }
    if count > 0 {
        out.push(u8::try_from(bits << (5 - count) & 31).unwrap());
        return (out, 5 - count);
    }
    (out, 0)
}

pub(crate) fn text(prefix: &str, bytes: &[u8]) -> String {
    of_values(prefix, &values(bytes).0)
}

/// The same bytes with the last padding bit set; they need to have one.
pub(crate) fn padded_with_a_bit(prefix: &str, bytes: &[u8]) -> String {
    let (mut values, padding) = values(bytes);
    assert!(padding > 0, "these bytes leave no padding");
    *values.last_mut().unwrap() |= 1;
    of_values(prefix, &values)
}

/// The same bytes with a letter of nothing but padding after them.
pub(crate) fn padded_with_a_letter(prefix: &str, bytes: &[u8]) -> String {
    let (mut values, _) = values(bytes);
    values.push(0);
    of_values(prefix, &values)
}
