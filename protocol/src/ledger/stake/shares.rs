//! Parts of parts, without rounding in between: the product of two amounts has 256 bits.

/// `amount * numerator / denominator`, rounded down. `None` if it exceeds its type, or by zero.
pub(in crate::ledger) fn part(amount: u128, numerator: u128, denominator: u128) -> Option<u128> {
    divide(amount, numerator, denominator).map(|(quotient, _)| quotient)
}

/// The same, rounded up.
pub(in crate::ledger) fn part_up(amount: u128, numerator: u128, denominator: u128) -> Option<u128> {
    let (quotient, rest) = divide(amount, numerator, denominator)?;
    quotient.checked_add(u128::from(rest > 0))
}

fn divide(one: u128, other: u128, by: u128) -> Option<(u128, u128)> {
    if let Some(product) = one.checked_mul(other) {
        return Some((product.checked_div(by)?, product.checked_rem(by)?));
    }
    let (mut rest, low) = multiply(one, other);
    if by <= rest {
        return None;
    }
    // One bit of the lower half after another, as on paper.
    let mut quotient = 0;
    for at in (0..u128::BITS).rev() {
        let carry = rest >> (u128::BITS - 1);
        rest = rest << 1 | low >> at & 1;
        quotient <<= 1;
        if carry == 1 || by <= rest {
            rest = rest.wrapping_sub(by);
            quotient |= 1;
        }
    }
    Some((quotient, rest))
}

/// The upper and the lower half of a product.
fn multiply(one: u128, other: u128) -> (u128, u128) {
    const HALF: u32 = 64;
    let low = |number: u128| number & u128::from(u64::MAX);
    let ([one_high, one_low], [other_high, other_low]) =
        ([one >> HALF, low(one)], [other >> HALF, low(other)]);
    let lows = one_low * other_low;
    // Neither sum exceeds its type: each product of two halves leaves room for two halves.
    let middle = one_high * other_low + (lows >> HALF);
    let cross = one_low * other_high + low(middle);
    let high = one_high * other_high + (middle >> HALF) + (cross >> HALF);
    (high, cross << HALF | low(lows))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parts_are_exact_beyond_the_type_of_the_product() {
        let max = u128::MAX;
        assert_eq!(part(max, max, max), Some(max));
        assert_eq!(part(max, max - 1, max), Some(max - 1));
        assert_eq!(part(max, 2, 3), Some(max / 3 * 2));
        assert_eq!(part_up(max - 1, max - 1, max), Some(max - 1));
        assert_eq!(part(max - 1, max - 1, max), Some(max - 2));
        assert_eq!(part(max, 2, 1), None);
        assert_eq!(part(5, 0, 0), None);
        assert_eq!((part(7, 3, 2), part_up(7, 3, 2)), (Some(10), Some(11)));
    }

    proptest! {
        #[test]
        fn a_quotient_and_its_rest_give_the_product(one: u128, other: u128, by in 1_u128..) {
            let product = multiply(one, other);
            match divide(one, other, by) {
                None => prop_assert!(by <= product.0),
                Some((quotient, rest)) => {
                    prop_assert!(rest < by);
                    let (high, low) = multiply(quotient, by);
                    let (low, carry) = low.overflowing_add(rest);
                    prop_assert_eq!((high + u128::from(carry), low), product);
                }
            }
        }
    }
}
