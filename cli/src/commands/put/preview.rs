//! What a put would do and cost, and how sure the file would be: the same words for a dry run and for
//! the question before a real one.

use serde_json::{Value, json};
use symbolon_client::{Durability, HISTORY_EPOCHS, Quote, UNAVAILABLE_MAX};
use symbolon_protocol::content::Scheme;

use crate::{
    error::{Error, Kind},
    output::Report,
    units::{count, show_amount, show_duration, show_size},
};

/// A put that is thought about.
#[derive(Debug)]
pub(super) struct Preview<'a> {
    pub(super) name: &'a str,
    /// Bytes of the file; those of a GiB when nobody knows yet.
    pub(super) length: u64,
    pub(super) quote: &'a Quote,
    pub(super) epoch_ms: u64,
}

impl Preview<'_> {
    fn lasts(&self) -> String {
        show_duration(self.quote.epochs.saturating_mul(self.epoch_ms))
    }

    /// Name and value of everything there is to know.
    fn fields(&self) -> Vec<(&'static str, String)> {
        let quote = self.quote;
        let (scheme, durability) = (quote.scheme, &quote.durability);
        vec![
            ("file", show_size(self.length)),
            ("on the nodes", format!("{} in {}", show_size(quote.stored_bytes), shards(quote))),
            (
                "scheme",
                format!("{scheme}, {} times the bytes; {} answer", expansion(scheme), nodes(quote)),
            ),
            ("for", format!("{} ({})", self.lasts(), count(quote.epochs, "epoch"))),
            ("storage", format!("{}, paid to nodes epoch by epoch", show_amount(quote.storage))),
            (
                "reserve",
                format!("{}, for repair; unused it comes back", show_amount(quote.reserve)),
            ),
            ("fee", show_amount(quote.fee).to_string()),
            (
                "all-in",
                format!("{}; 30 days are {}", show_amount(quote.total), show_amount(quote.month)),
            ),
            ("up-time", up_time(durability)),
            (
                "out of reach",
                format!(
                    "{} at a given moment; {} when repair is due",
                    chance(durability.unavailable),
                    chance(durability.unavailable_at_repair)
                ),
            ),
            (
                "lost",
                format!("{} within {}, without any repair", chance(durability.loss), self.lasts()),
            ),
        ]
    }

    /// As the result of a dry run.
    pub(super) fn report(&self) -> Report {
        let quote = self.quote;
        let text = format!("Storing {} would cost {} all-in.", self.name, show_amount(quote.total));
        let report = Report::new(self.json()).text(text).essence(quote.total.to_string());
        self.fields().into_iter().fold(report, |report, (name, value)| report.field(name, value))
    }

    /// As lines before a question.
    pub(super) fn lines(&self) -> String {
        let lines = self.fields().into_iter().map(|(name, value)| format!("{name:<12}  {value}"));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// What is asked.
    pub(super) fn question(&self) -> String {
        let (size, lasts) = (show_size(self.length), self.lasts());
        format!("Store {size} for {lasts} at {} all-in?", show_amount(self.quote.total))
    }

    fn json(&self) -> Value {
        let quote = self.quote;
        json!({
            "name": self.name,
            "length": self.length,
            "scheme": { "required": quote.scheme.required, "total": quote.scheme.total },
            "nodes": quote.nodes,
            "segments": quote.segments,
            "stored_bytes": quote.stored_bytes,
            "epochs": quote.epochs,
            "cost": {
                "storage": quote.storage.to_string(),
                "reserve": quote.reserve.to_string(),
                "fee": quote.fee.to_string(),
                "total": quote.total.to_string(),
                "month": quote.month.to_string(),
            },
            "durability": durability_json(&quote.durability),
            "warning": quote.warning,
        })
    }
}

fn durability_json(durability: &Durability) -> Value {
    json!({
        "up_time": durability.up,
        "history_epochs": durability.epochs,
        "unavailable": durability.unavailable,
        "unavailable_at_repair": durability.unavailable_at_repair,
        "loss": durability.loss,
        "safe": durability.safe,
    })
}

/// Refuses what would too often be out of reach.
pub(super) fn guard(quote: &Quote) -> Result<(), Error> {
    let durability = &quote.durability;
    if durability.safe {
        return Ok(());
    }
    let message = format!(
        "{} on these nodes would be out of reach {} when repair is due, more than {}: their up-time is {}",
        quote.scheme,
        chance(durability.unavailable_at_repair),
        chance(UNAVAILABLE_MAX),
        up_time(durability),
    );
    Err(Error::new(Kind::NotEnough, message)
        .hint("choose a scheme with more shards to spare (--scheme), wait for better nodes, or say --accept-risk")
        .details(json!({ "durability": durability_json(durability) })))
}

fn shards(quote: &Quote) -> String {
    let scheme = quote.scheme;
    let segments = count(quote.segments, "segment");
    format!("{segments} of {} shards, any {} suffice", scheme.total, scheme.required)
}

fn nodes(quote: &Quote) -> String {
    count(quote.nodes, "node")
}

fn expansion(scheme: Scheme) -> String {
    let milli = scheme.expansion_milli();
    let hundredths = (milli + 5) / 10;
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
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

    #[test]
    fn expansions_have_two_digits() {
        let shown = |required, total| expansion(Scheme { required, total });
        assert_eq!(
            (shown(4, 8), shown(2, 3), shown(1, 1)),
            ("2.00".into(), "1.50".into(), "1.00".into())
        );
        assert_eq!(shown(3, 5), "1.67");
    }
}
