//! A ledger's ticket: its id and the servers that answer for it.

use std::{fmt, str::FromStr};

use symbolon_net::PeerAddress;
use symbolon_protocol::{
    codec::{Decode, DecodeError, Encode},
    id::ChainId,
    record,
    text::{TEXT_LENGTH_MAX, TextError, TextForm},
};
use thiserror::Error;

record! {
    /// Everything that is needed to use a ledger. The text form is `ledger1…`: bech32m (BIP-350)
    /// without its limit of 90 characters. So a typo is noticed, but not always located.
    pub struct LedgerTicket {
        /// The ledger's id: the hash of its genesis, which names its first validators.
        pub chain: ChainId,
        /// The servers that answer for the ledger, 1 to 8. Nothing that they say is believed without a proof.
        pub peers: Vec<PeerAddress>,
    }
}

impl LedgerTicket {
    /// Whether the ledger can only be used on its own machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.peers.iter().all(|peer| {
            let mut sockets = peer.sockets().peekable();
            let is_named = peer.names().next().is_some();
            !is_named && sockets.peek().is_some() && sockets.all(|socket| socket.ip().is_loopback())
        })
    }

    /// The relays that the ledger's addresses name. A user of the ledger needs them too.
    #[must_use]
    pub fn relays(&self) -> Vec<String> {
        let is_url = |text: &&String| text.starts_with("https://") || text.starts_with("http://");
        let addresses = self.peers.iter().flat_map(|peer| &peer.addresses);
        addresses.filter(is_url).cloned().collect()
    }
}

/// The text is not a ledger ticket.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TicketError {
    /// The text is not in the form of a ticket, or it is mistyped.
    #[error("not a ledger ticket: {0}")]
    Text(#[from] TextError),
    /// The text's bytes are not a ticket.
    #[error("not a ledger ticket: {0}")]
    Bytes(#[from] DecodeError),
    /// It names no server, or too many.
    #[error("a ledger ticket names 1 to {PEERS_MAX} servers, this one names {count}")]
    Peers {
        /// How many it names.
        count: usize,
    },
}

/// Servers of one ticket at most.
const PEERS_MAX: usize = 8;

/// The length allows sixteen addresses.
const FORM: TextForm = TextForm { prefix: "ledger", length_max: TEXT_LENGTH_MAX };

impl fmt::Display for LedgerTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&FORM.encode(&self.to_bytes()))
    }
}

impl FromStr for LedgerTicket {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, TicketError> {
        let ticket = Self::from_bytes(&FORM.decode(text)?)?;
        match ticket.peers.len() {
            1..=PEERS_MAX => Ok(ticket),
            count => Err(TicketError::Peers { count }),
        }
    }
}

#[cfg(test)]
mod tests {
    use symbolon_protocol::id::PeerId;

    use super::*;

    fn ticket(addresses: usize) -> LedgerTicket {
        LedgerTicket {
            chain: ChainId([1; 32]),
            peers: vec![PeerAddress {
                id: PeerId([3; 32]),
                addresses: vec!["a".repeat(256); addresses],
            }],
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
    fn a_ledger_is_local_when_all_its_addresses_are() {
        let at = |addresses: &[&str]| {
            let mut ticket = ticket(0);
            ticket.peers[0].addresses = addresses.iter().map(ToString::to_string).collect();
            ticket
        };
        assert!(at(&["127.0.0.1:1", "[::1]:1"]).is_local());
        assert!(!at(&["127.0.0.1:1", "192.0.2.1:1"]).is_local());
        assert!(!at(&["127.0.0.1:1", "ledger.example:1"]).is_local());
        assert!(!at(&[]).is_local());
        let mut two = at(&["127.0.0.1:1"]);
        two.peers.push(at(&["192.0.2.1:1"]).peers[0].clone());
        assert!(!two.is_local(), "one of its servers is elsewhere");
        let relayed = at(&["127.0.0.1:1", "https://relay.example/"]);
        assert_eq!(relayed.relays(), ["https://relay.example/"]);
    }

    #[test]
    fn a_text_that_is_no_ticket_is_refused() {
        let text = ticket(1).to_string();
        let mut typo = text.clone().into_bytes();
        typo[20] = if typo[20] == b'q' { b'p' } else { b'q' };
        let typo = String::from_utf8(typo).unwrap();
        assert!(matches!(typo.parse::<LedgerTicket>(), Err(TicketError::Text(_))));
        assert!(matches!("".parse::<LedgerTicket>(), Err(TicketError::Text(_))));
        let other = TextForm { prefix: "grant", ..FORM }.encode(&[1]).parse::<LedgerTicket>();
        assert!(matches!(other, Err(TicketError::Text(TextError::Prefix { .. }))));
        for count in [0, 9] {
            let mut ticket = ticket(0);
            ticket.peers = vec![ticket.peers[0].clone(); count];
            let refused = ticket.to_string().parse::<LedgerTicket>();
            assert_eq!(refused, Err(TicketError::Peers { count }));
        }
        let short = FORM.encode(&[1]);
        assert!(matches!(short.parse::<LedgerTicket>(), Err(TicketError::Bytes(_))));
    }
}
