//! A grant in words, for a person.

use alloc::{format, string::String, vec::Vec};
use core::fmt;

use super::{Caveat, Grant, ability};

/// Each bit of [`ability`] and what it allows.
const ABILITIES: [(u16, &str); 5] = [
    (ability::READ, "read"),
    (ability::VERIFY, "verify"),
    (ability::REPAIR, "repair"),
    (ability::STORE, "store"),
    (ability::DELETE, "delete"),
];

impl fmt::Display for Caveat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object { object } => write!(f, "only object {object}"),
            Self::Abilities { set } => write!(f, "may only {}", abilities(*set)),
            Self::NotBefore { time_ms } => write!(f, "from {}", Time(time_ms.0)),
            Self::NotAfter { time_ms } => write!(f, "until {}", Time(time_ms.0)),
            Self::Cells { first, end } => {
                write!(f, "only cells from {first} up to and without {end}")
            }
            Self::NodeReads { count } => write!(f, "at most {count} reads on each node"),
            Self::NodeBytes { bytes } => write!(f, "at most {bytes} bytes from each node"),
            Self::Purpose { hash } => {
                write!(f, "only for the purpose of the text with hash {hash} (no node checks this)")
            }
            Self::Depth { links: 0 } => f.write_str("may not be passed on"),
            Self::Depth { links } => write!(f, "may be passed on through at most {links} links"),
            Self::Staleness { max_ms } => {
                write!(f, "refused by nodes that have not seen the ledger for {max_ms} ms")
            }
        }
    }
}

impl Grant {
    /// The grant in words, one line per statement: which key allows which key, and under what limits.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut issuer = format!("{}", self.root);
        let mut sale = self.sale;
        for link in &self.links {
            lines.push(format!("{issuer} lets {}", link.audience));
            lines.extend(link.caveats.iter().map(|caveat| format!("  {caveat}")));
            issuer = format!("{}", link.audience);
            if let Some(sale) = sale.take() {
                lines.push(format!("order {} lets {}", sale.order, sale.holder));
                lines.push(format!("  until {}", Time(sale.ends_ms.0)));
                lines.push(String::from("  only while it is not refunded"));
                issuer = format!("{}", sale.holder);
            }
        }
        let named = |kind: fn(&Caveat) -> bool| {
            self.links.first().is_some_and(|link| link.caveats.iter().any(kind))
        };
        if !named(|caveat| matches!(caveat, Caveat::Object { .. })) {
            lines.push(String::from("the first link names no object: it allows nothing"));
        }
        if !named(|caveat| matches!(caveat, Caveat::Abilities { .. })) {
            lines.push(String::from("the first link names no abilities: it allows nothing"));
        }
        if self.ends_ms().is_none() {
            lines.push(String::from("no link ends it: it holds until it is revoked"));
        }
        lines
    }
}

fn abilities(set: u16) -> String {
    let known = ABILITIES.iter().filter(|(bit, _)| set & bit != 0).map(|(_, word)| *word);
    let mut words: Vec<&str> = known.collect();
    if set & !ability::ALL != 0 {
        words.push("something this program does not know");
    }
    if words.is_empty() { String::from("do nothing") } else { words.join(", ") }
}

/// A time as `2026-10-01 12:00:00 UTC`, in the proleptic Gregorian calendar.
struct Time(u64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAY_S: u64 = 86_400;
        let seconds = self.0 / 1000;
        let (days, rest) = (seconds / DAY_S, seconds % DAY_S);
        // Years begin on 1 March and are counted from year 0, so that the leap day comes last. Between that
        // day and 1 January 1970 lie 719468 days; 400 years have 146097 days.
        let shifted = days + 719_468;
        let (era, day) = (shifted / 146_097, shifted % 146_097);
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let date = day - (153 * month + 2) / 5 + 1;
        let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        let year = era * 400 + year + next;
        let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
        write!(f, "{year:04}-{month:02}-{date:02} {hour:02}:{minute:02}:{second:02} UTC")
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;
    use crate::id::{AccountId, PeerId};

    #[test]
    fn times_are_dates() {
        for (time_ms, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400_000, "2000-02-29 00:00:00 UTC"),
            (951_868_800_000, "2000-03-01 00:00:00 UTC"),
            (1_790_855_999_999, "2026-10-01 11:59:59 UTC"),
            (4_107_542_399_000, "2100-02-28 23:59:59 UTC"),
            (4_107_542_400_000, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(Time(time_ms).to_string(), text);
        }
        // The largest time does not overflow.
        assert!(Time(u64::MAX).to_string().ends_with("UTC"));
    }

    #[test]
    fn every_ability_has_a_word() {
        assert_eq!(ABILITIES.iter().fold(0, |set, (bit, _)| set | bit), ability::ALL);
        assert_eq!(abilities(ability::READ | ability::VERIFY), "read, verify");
        assert_eq!(abilities(0), "do nothing");
        assert!(abilities(1 << 15).contains("does not know"));
    }

    #[test]
    fn what_is_missing_is_said() {
        let bare = Grant {
            version: 1,
            root: AccountId([1; 32]),
            sale: None,
            links: alloc::vec![super::super::Link {
                audience: PeerId([2; 32]),
                nonce: [0; 8],
                caveats: alloc::vec![Caveat::Depth { links: 0 }],
                signature: [0; 64],
            }],
        };
        let words = bare.words();
        assert!(words[0].starts_with("0101") && words[0].contains(" lets 0202"));
        assert_eq!(words[1], "  may not be passed on");
        assert_eq!(words.len(), 5);
    }
}
