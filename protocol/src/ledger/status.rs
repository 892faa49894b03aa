//! The closed list of outcomes of a transaction, in order of precedence.

use core::fmt;

use crate::codec::{Decode, DecodeError, Encode, Reader};
use alloc::vec::Vec;

macro_rules! statuses {
    ($($(#[$meta:meta])* $name:ident = $code:literal, $words:literal;)*) => {
        /// The outcome of a transaction. If several apply, the rules report the one that stands first here.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Status { $($(#[$meta])* #[doc = $words] $name = $code),* }

        impl Status {
            /// All outcomes, in order of precedence.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The outcome in words.
            #[must_use]
            pub fn words(self) -> &'static str {
                match self { $(Self::$name => $words),* }
            }
        }

        impl Decode for Status {
            fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
                match u8::decode(input)? {
                    $($code => Ok(Self::$name),)*
                    tag => Err(DecodeError::Tag { what: "status", tag }),
                }
            }
        }
    };
}

statuses! {
    Applied = 0, "applied";
    // About the envelope: decided without the ledger's rows.
    WrongChain = 1, "the transaction is for another ledger";
    TooLarge = 2, "the transaction is larger than the ledger accepts";
    BadSignature = 3, "the sender's signature does not verify";
    Expired = 4, "the transaction's last valid height has passed";
    TooFarAhead = 5, "the transaction's last valid height is too far ahead";
    IdReused = 6, "the sender has used this transaction id for something else";
    FeeNotCovered = 7, "the account's balance does not cover the fee of the transaction";
    // About the action's own fields.
    BadField = 10, "a field is out of its range";
    BadProof = 11, "a cryptographic proof in the action does not verify";
    BadAcceptance = 12, "a node's signed acceptance does not verify or does not match";
    BadLabel = 13, "the capsule is not bound to this seller, vault and content";
    // About the things that the action refers to.
    UnknownNode = 20, "no such node";
    UnknownDeal = 21, "no such deal";
    UnknownVault = 22, "no such vault";
    UnknownListing = 23, "no such listing";
    UnknownOrder = 24, "no such order";
    UnknownValidator = 51, "no such validator";
    UnknownMotion = 55, "no such motion";
    NotYours = 25, "the sender may not do this: it is another account's";
    Exists = 26, "this id is taken by something else";
    RootMoved = 27, "the root record is at another version than the one it was to replace";
    NotCaretaker = 28, "the node is not a caretaker, or not one that may repair this deal";
    WrongShards = 29, "a shard to rebuild is not lost, or those to read are not as many kept ones as are required";
    NodeClosed = 45, "the node takes no new shards now: it is dead, leaves, or has missed too often";
    CollateralTooLow = 46, "the node's collateral does not cover this";
    ValidatorClosed = 52, "the validator is not in a state for this: it is barred, or has left already, or nothing keeps it out, or its stake is lost";
    LastValidator = 53, "the ledger would be left without a validator";
    MotionClosed = 56, "the motion is not voted on any more";
    MotionsFull = 57, "as many motions are voted on or wait as there may be";
    NothingNew = 58, "the ledger says the same already";
    // About the state those things are in.
    ListingEnded = 30, "the listing has ended";
    TermsChanged = 31, "price or licence differ from what was accepted";
    OrderClosed = 32, "the order is already settled or refunded";
    DealClosed = 33, "the deal has already ended";
    WrongEpoch = 34, "the proof is for another epoch than that of the node's open window";
    AlreadyProven = 35, "this node has already proven this epoch";
    NodeFull = 36, "the node has not that much free capacity";
    AcceptanceExpired = 37, "a node's acceptance is no longer valid, or does not reach to the end of the term";
    TooEarly = 38, "it is too early for this";
    TooLate = 39, "it is too late for this";
    SaleBinds = 47, "a sale binds this: a listing takes orders, orders are open, or the access of a buyer runs";
    NotCovered = 48, "the deals of the file are not shown to keep it until the access would end";
    // About money: last, so that the sender first learns every other fault.
    FaucetClosed = 40, "this network has no faucet";
    FaucetEmpty = 41, "the faucet gives this account nothing more for now";
    BalanceTooLow = 42, "the account's balance is too low";
    Overflow = 43, "an amount would exceed what the ledger can count";
    StakeTooLow = 54, "the sender has no such stake on the validator, or it is too small to be counted";
    ReserveTooLow = 44, "the deal's reserve does not have that much";
    // About the rules themselves.
    RuleBroken = 50, "the ledger's rules have a fault that this transaction meets; it changed nothing. Please report it";
}

impl Status {
    /// Whether no later block can apply the same transaction: the reason lies in its own bytes, or in what never
    /// changes back. `BadAcceptance` is not final: a custodian can register the key that it lacks.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(
            self,
            Self::WrongChain
                | Self::TooLarge
                | Self::BadSignature
                | Self::Expired
                | Self::BadProof
                | Self::BadLabel
        )
    }

    /// Whether the same transaction may succeed later.
    #[must_use]
    pub fn transient(self) -> bool {
        matches!(
            self,
            Self::TooFarAhead
                | Self::UnknownNode
                | Self::UnknownListing
                | Self::UnknownOrder
                | Self::UnknownVault
                | Self::UnknownValidator
                | Self::ValidatorClosed
                | Self::LastValidator
                | Self::UnknownMotion
                | Self::MotionsFull
                | Self::NodeClosed
                | Self::CollateralTooLow
                | Self::NodeFull
                | Self::TooEarly
                | Self::SaleBinds
                | Self::NotCovered
                | Self::FaucetEmpty
                | Self::FeeNotCovered
                | Self::BalanceTooLow
                | Self::ReserveTooLow
                | Self::StakeTooLow
        )
    }
}

impl Encode for Status {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}
