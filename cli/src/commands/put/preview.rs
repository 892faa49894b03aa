//! What a put would do and cost, and how durable the file would be. A dry run and the question before a real put
//! use the same words.

use symbolon_client::Quote;
use symbolon_protocol::{Amount, Millis, content::Scheme};
use symbolon_view::put::FileQuote;

use crate::{
    durability,
    output::Report,
    units::{count, show_amount, show_duration, show_size},
};

/// A put that may be done.
#[derive(Debug)]
pub(super) struct Preview<'a> {
    pub(super) name: &'a str,
    /// Bytes of the file; a GiB where the length is not known yet.
    pub(super) length: u64,
    pub(super) quote: &'a Quote,
    /// What putting its name on the network may cost.
    pub(super) index: Amount,
    pub(super) epoch_ms: Millis,
}

impl Preview<'_> {
    fn lasts(&self) -> String {
        show_duration(self.quote.price.epochs.saturating_mul(self.epoch_ms.0))
    }

    /// All that may be paid.
    pub(super) fn all_in(&self) -> Amount {
        self.quote.price.total.checked_add(self.index).unwrap_or(self.quote.price.total)
    }

    /// All names and values to show.
    fn fields(&self) -> Vec<(&'static str, String)> {
        let quote = self.quote;
        let scheme = quote.price.scheme;
        let mut fields = vec![
            ("file", show_size(self.length)),
            (
                "on the nodes",
                format!("{} in {}", show_size(quote.price.stored_bytes), shards(quote)),
            ),
            (
                "scheme",
                format!("{scheme}, {} times the bytes; {} answer", expansion(scheme), nodes(quote)),
            ),
            ("for", format!("{} ({})", self.lasts(), count(quote.price.epochs, "epoch"))),
            (
                "storage",
                format!("{}, paid to nodes epoch by epoch", show_amount(quote.price.storage)),
            ),
            (
                "reserve",
                format!(
                    "{}, for repair; the unused part comes back",
                    show_amount(quote.price.reserve)
                ),
            ),
            ("fee", show_amount(quote.price.fee).to_string()),
        ];
        if quote.price.deposit > Amount::ZERO {
            let deposit = show_amount(quote.price.deposit);
            fields.push(("deposit", format!("{deposit}; it comes back after the end")));
        }
        if self.index > Amount::ZERO {
            fields.push((
                "names",
                format!("{} at most, to store the list of names", show_amount(self.index)),
            ));
        }
        let (all, month) = (show_amount(self.all_in()), show_amount(quote.month));
        fields.push(("all-in", format!("{all}; 30 days of the file are {month}")));
        fields.extend(durability::fields(&quote.durability, &self.lasts()));
        fields
    }

    /// As the result of a dry run.
    pub(super) fn report(&self) -> Report {
        let text =
            format!("Storing {} would cost {} all-in.", self.name, show_amount(self.all_in()));
        let document =
            FileQuote::new((self.name, self.length), self.quote, (self.index, self.all_in()));
        let report = Report::new(&document).text(text).essence(self.all_in().to_string());
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
        format!("Store {size} for {lasts} at {} all-in?", show_amount(self.all_in()))
    }
}

fn shards(quote: &Quote) -> String {
    let scheme = quote.price.scheme;
    let segments = count(quote.price.segments, "segment");
    format!("{segments} of {} shards, any {} suffice", scheme.total, scheme.required)
}

fn nodes(quote: &Quote) -> String {
    count(quote.price.nodes, "node")
}

fn expansion(scheme: Scheme) -> String {
    let milli = scheme.expansion_milli();
    let hundredths = (milli + 5) / 10;
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

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
