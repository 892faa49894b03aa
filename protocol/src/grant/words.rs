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
            Self::Objects { root } => write!(f, "only the objects under root {root}"),
            Self::Abilities { set } => write!(f, "may only {}", abilities(*set)),
            Self::NotBefore { time_ms } => write!(f, "from {}", time_ms.utc()),
            Self::NotAfter { time_ms } => write!(f, "until {}", time_ms.utc()),
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
            Self::Once { until_ms } => {
                write!(f, "to be redeemed once, and only until {}", until_ms.utc())
            }
            Self::Staleness { max_ms } => {
                write!(
                    f,
                    "refused by nodes whose last block of the ledger is older than {}",
                    max_ms.words()
                )
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
                lines.push(format!("  until {}", sale.ends_ms.utc()));
                lines.push(String::from("  only while it is not refunded"));
                issuer = format!("{}", sale.holder);
            }
        }
        let named = |kind: fn(&Caveat) -> bool| {
            self.links.first().is_some_and(|link| link.caveats.iter().any(kind))
        };
        if !named(|caveat| matches!(caveat, Caveat::Object { .. } | Caveat::Objects { .. })) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{AccountId, PeerId};

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
            member: None,
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
