//! The expected durability of a file, in words, and whether it is enough to store the file.

use symbolon_client::{Durability, HISTORY_EPOCHS, UNAVAILABLE_MAX};
use symbolon_protocol::{Amount, content::Scheme, ledger::Params};
use symbolon_view::put::NotDurable;

use crate::{
    error::{Error, Kind},
    output::Output,
    units::count,
};

/// Names and values to show; `lasts` says how long the file is kept.
pub(crate) fn fields(durability: &Durability, lasts: &str) -> [(&'static str, String); 3] {
    [
        ("up-time", up_time(durability)),
        (
            "out of reach",
            format!(
                "{} at a given moment; {} when repair is due",
                chance(durability.unavailable),
                chance(durability.unavailable_at_repair)
            ),
        ),
        ("lost", format!("{} within {lasts}, without any repair", chance(durability.loss))),
    ]
}

/// Refuses to store a file that would be out of reach too often. On a development network the nodes are offline
/// whenever the machine sleeps, so there it only warns, unless the user asked for the scheme.
pub(crate) fn judge(
    out: &Output,
    params: &Params,
    (scheme, asked_for): (Scheme, Option<Scheme>),
    durability: &Durability,
) -> Result<(), Error> {
    if durability.safe {
        return Ok(());
    }
    let message = format!(
        "{scheme} on these nodes would be out of reach {} when repair is due, more than {}: their up-time is {}",
        chance(durability.unavailable_at_repair),
        chance(UNAVAILABLE_MAX),
        up_time(durability),
    );
    if params.faucet > Amount::ZERO && asked_for.is_none() {
        out.warn(&message);
        return Ok(());
    }
    Err(Error::new(Kind::NotEnough, message)
        .hint("choose a scheme with more shards to spare (--scheme), wait for better nodes, or say --accept-risk")
        .or_hint("wait for better nodes, or say --accept-risk")
        .details(NotDurable { durability: durability.into() }))
}

fn up_time(durability: &Durability) -> String {
    let percent = format!("{:.2} %", durability.up * 100.0);
    let epochs = count(durability.epochs, "epoch");
    if durability.epochs < HISTORY_EPOCHS {
        return format!("{percent} assumed: not enough history ({epochs})");
    }
    format!("{percent}, measured over at least {epochs}")
}

/// A probability for people: `1 in 12000`.
fn chance(probability: f64) -> String {
    if probability <= 0.0 {
        return "never".into();
    }
    if probability >= 0.5 {
        return format!("{:.0} in 100", probability * 100.0);
    }
    let one_in = probability.recip();
    let (value, unit) = match one_in {
        one_in if one_in >= 1e15 => return "less than 1 in 1000 trillion".into(),
        one_in if one_in >= 1e12 => (one_in / 1e12, " trillion"),
        one_in if one_in >= 1e9 => (one_in / 1e9, " billion"),
        one_in if one_in >= 1e6 => (one_in / 1e6, " million"),
        _ => (one_in, ""),
    };
    // Two digits are more than the estimate is worth.
    let scale = if value >= 100.0 { 10.0_f64.powf(value.log10().floor() - 1.0) } else { 1.0 };
    format!("1 in {:.0}{unit}", (value / scale).round() * scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_are_put_in_words() {
        for (probability, text) in [
            (0.0, "never"),
            (1.0, "100 in 100"),
            (0.25, "1 in 4"),
            (1.0 / 12_345.0, "1 in 12000"),
            (1.0 / 3_400_000.0, "1 in 3 million"),
            (1e-20, "less than 1 in 1000 trillion"),
        ] {
            assert_eq!(chance(probability), text);
        }
    }
}
