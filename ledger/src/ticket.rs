//! A ledger's ticket: which ledger, whose signature it stands under, and where it answers.

use std::{fmt, str::FromStr};

use bech32::{Bech32m, Checksum, Hrp, primitives::decode::CheckedHrpstring};
use symbolon_net::PeerAddress;
use symbolon_protocol::{
    codec::{Decode, DecodeError, Encode},
    id::{AccountId, ChainId},
    record,
};
use thiserror::Error;

record! {
    /// What one needs to use a ledger. Its text form is `ledger1…`, bech32m (BIP-350) without that
    /// scheme's limit of 90 characters: a typo is noticed, though not always located.
    pub struct LedgerTicket {
        /// Which ledger.
        pub chain: ChainId,
        /// Whose signature stands under its blocks.
        pub authority: AccountId,
        /// Where it answers.
        pub address: PeerAddress,
    }
}

/// A text that is no ledger ticket.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TicketError {
    /// Not bech32m text, or mistyped.
    #[error("not a ledger ticket, or mistyped: {0}")]
    Text(String),
    /// The text of something else.
    #[error("expected a ledger ticket (ledger1…), this is {prefix}1…")]
    Kind {
        /// What it begins with.
        prefix: String,
    },
    /// Its bytes are no ticket.
    #[error("not a ledger ticket: {0}")]
    Bytes(#[from] DecodeError),
}

/// Bech32m with room for sixteen addresses.
#[derive(Clone, Copy, Debug)]
enum LongBech32m {}

impl Checksum for LongBech32m {
    type MidstateRepr = <Bech32m as Checksum>::MidstateRepr;
    type CorrectionField = <Bech32m as Checksum>::CorrectionField;
    const ROOT_GENERATOR: Self::CorrectionField = Bech32m::ROOT_GENERATOR;
    const ROOT_EXPONENTS: std::ops::RangeInclusive<usize> = Bech32m::ROOT_EXPONENTS;
    const CODE_LENGTH: usize = 8192;
    const CHECKSUM_LENGTH: usize = Bech32m::CHECKSUM_LENGTH;
    const GENERATOR_SH: [u32; 5] = Bech32m::GENERATOR_SH;
    const TARGET_RESIDUE: u32 = Bech32m::TARGET_RESIDUE;
}

const PREFIX: &str = "ledger";

impl fmt::Display for LedgerTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = bech32::encode::<LongBech32m>(Hrp::parse_unchecked(PREFIX), &self.to_bytes());
        f.write_str(&text.map_err(|_| fmt::Error)?)
    }
}

impl FromStr for LedgerTicket {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, TicketError> {
        let checked = CheckedHrpstring::new::<LongBech32m>(text.trim())
            .map_err(|error| TicketError::Text(error.to_string()))?;
        let prefix = checked.hrp().to_lowercase();
        if prefix != PREFIX {
            return Err(TicketError::Kind { prefix });
        }
        let bytes: Vec<u8> = checked.byte_iter().collect();
        let ticket = Self::from_bytes(&bytes)?;
        // The last character carries padding bits, which could say anything: there is one text for one ticket.
        if !ticket.to_string().eq_ignore_ascii_case(text.trim()) {
            return Err(TicketError::Text(String::from("its last character is another")));
        }
        Ok(ticket)
    }
}

#[cfg(test)]
mod tests {
    use symbolon_protocol::id::PeerId;

    use super::*;

    fn ticket(addresses: usize) -> LedgerTicket {
        LedgerTicket {
            chain: ChainId([1; 32]),
            authority: AccountId([2; 32]),
            address: PeerAddress {
                id: PeerId([3; 32]),
                addresses: vec!["a".repeat(256); addresses],
            },
        }
    }

    #[test]
    fn a_ticket_goes_there_and_back() {
        for addresses in [0, 1, 16] {
            let text = ticket(addresses).to_string();
            assert!(text.starts_with("ledger1"));
            assert_eq!(text.parse(), Ok(ticket(addresses)));
            assert_eq!(text.to_uppercase().parse(), Ok(ticket(addresses)));
        }
    }

    #[test]
    fn a_ticket_has_one_text() {
        use bech32::primitives::iter::{ByteIterExt, Fe32IterExt};
        // 106 bytes are 169 characters and 3 bits: the last character before the checksum has padding bits.
        let mut ticket = ticket(0);
        ticket.address.addresses.push("ab".to_owned());
        let bytes = ticket.to_bytes();
        assert_ne!(bytes.len() % 5, 0);
        let prefix = Hrp::parse_unchecked(PREFIX);
        let mut read = 0;
        for padding in 0_u8..2 {
            let mut symbols: Vec<bech32::Fe32> = bytes.iter().copied().bytes_to_fes().collect();
            let last = symbols.last_mut().unwrap();
            *last = bech32::Fe32::try_from(last.to_u8() | padding).unwrap();
            let text: String =
                symbols.into_iter().with_checksum::<LongBech32m>(&prefix).chars().collect();
            read += usize::from(text.parse::<LedgerTicket>().is_ok());
        }
        assert_eq!(read, 1);
    }

    #[test]
    fn what_is_no_ticket_is_refused() {
        let text = ticket(1).to_string();
        let mut typo = text.clone().into_bytes();
        typo[20] = if typo[20] == b'q' { b'p' } else { b'q' };
        let typo = String::from_utf8(typo).unwrap();
        assert!(matches!(typo.parse::<LedgerTicket>(), Err(TicketError::Text(_))));
        assert!(matches!("".parse::<LedgerTicket>(), Err(TicketError::Text(_))));
        let other = bech32::encode::<LongBech32m>(Hrp::parse_unchecked("grant"), &[1]).unwrap();
        assert!(matches!(other.parse::<LedgerTicket>(), Err(TicketError::Kind { .. })));
        let short = bech32::encode::<LongBech32m>(Hrp::parse_unchecked(PREFIX), &[1]).unwrap();
        assert!(matches!(short.parse::<LedgerTicket>(), Err(TicketError::Bytes(_))));
    }
}
