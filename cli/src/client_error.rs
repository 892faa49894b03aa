//! Errors of the crates below, as the user sees them.

use symbolon_client::{ClientError, ErrorKind, NotFresh, TransferError};
use symbolon_ledger::LedgerError;
use symbolon_net::NetError;
use symbolon_protocol::{
    LedgerTime,
    ledger::{FieldFault, OutOfRange, Status},
    session::NodeFault,
    wire::storage::RefusalCode,
};

use crate::{
    error::{Error, Kind},
    units::{show_duration, show_time},
};

impl From<ClientError> for Error {
    fn from(error: ClientError) -> Self {
        if let ClientError::Io { path, source } = &error {
            return Self::io("use", path, source);
        }
        let kind = match error.kind() {
            ErrorKind::Usage => Kind::Usage,
            ErrorKind::NotFound => Kind::NotFound,
            ErrorKind::Exists => Kind::Exists,
            ErrorKind::NotAllowed => Kind::NotAllowed,
            ErrorKind::Unreachable => Kind::Unreachable,
            ErrorKind::NotEnough => Kind::NotEnough,
            ErrorKind::Corrupt => Kind::Corrupt,
            ErrorKind::BalanceTooLow => Kind::BalanceTooLow,
            ErrorKind::LedgerRefused => Kind::LedgerRefused,
            ErrorKind::OldProgram => Kind::OldProgram,
            ErrorKind::Locked => Kind::InUse,
            _ => Kind::Internal,
        };
        let mut out = Self::new(kind, message(&error));
        let mut hints = hints(&error).iter().copied();
        out.hint = hints.next().map(str::to_owned);
        out = hints.fold(out, Self::or_hint);
        match (kind, denied(&error)) {
            (Kind::NotAllowed, Some(why)) => Self::new(kind, format!("the nodes refuse: {why}"))
                .hint("see what the grant allows with: symbolon grant inspect GRANT"),
            _ => out,
        }
    }
}

/// What went wrong, with times and durations as people read them.
fn message(error: &ClientError) -> String {
    let since = |since_ms: &Option<LedgerTime>| {
        since_ms.map_or(String::new(), |since| format!(", since {}", show_time(since)))
    };
    match error {
        ClientError::OutOfRange(error) => out_of_range(error),
        ClientError::FieldRefused { action, fault: FieldFault::OutOfRange(error) } => {
            format!("the ledger refused {action}: {}", out_of_range(error))
        }
        ClientError::Transfer(TransferError::DealOver { since_ms, .. }) => {
            format!("{error}, since {}", show_time(*since_ms))
        }
        ClientError::Over { since_ms, .. } | ClientError::GoodsOver { since_ms, .. } => {
            format!("{error}{}", since(since_ms))
        }
        ClientError::Held { paid_until_ms, .. } => {
            format!("{error}; it is paid for until {}", show_time(*paid_until_ms))
        }
        ClientError::EndsEarly { paid_until_ms: end, wanted_ms: wanted, .. }
        | ClientError::GoodsEndEarly { paid_until_ms: end, access_until_ms: wanted, .. } => {
            let (end, wanted) = (show_time(*end), show_time(*wanted));
            format!("{error}: it is paid for until {end}, and not until {wanted}")
        }
        ClientError::NotCovered { covered_until_ms, access_until_ms, .. } => {
            let known = match covered_until_ms {
                Some(until) => format!("it is shown to be kept until {}", show_time(*until)),
                None => String::from("it was not shown"),
            };
            format!("{error}: {known}, and access would last until {}", show_time(*access_until_ms))
        }
        error => error.to_string(),
    }
}

fn out_of_range(error: &OutOfRange) -> String {
    match error.field.strip_suffix("_ms") {
        Some(field) => {
            let [value, min, max] = [error.value, error.min, error.max].map(show_duration);
            format!("{field} is {value}, its range is {min} to {max}")
        }
        None => error.to_string(),
    }
}

/// Why nodes refuse a reader, if that is the error.
fn denied(error: &ClientError) -> Option<&'static str> {
    let ClientError::Transfer(TransferError::NotEnoughShards { faults, .. }) = error else {
        return None;
    };
    let codes = faults.iter().filter_map(|(_, fault)| match fault {
        NodeFault::Refused { code } => Some(*code),
        _ => None,
    });
    let words = |code| match code {
        RefusalCode::Revoked => Some("the grant was revoked, or its order refunded"),
        RefusalCode::OutOfTime => Some("the grant has expired, or is not valid yet"),
        RefusalCode::QuotaUsed => Some("the grant's reads are used up"),
        RefusalCode::NotYourGrant => Some("the grant is for another holder"),
        RefusalCode::NotAllowed => Some("the grant does not allow this"),
        RefusalCode::NotRedeemed => {
            Some("the grant's voucher is not redeemed, as far as they know")
        }
        RefusalCode::RedeemedElsewhere => Some("the grant's voucher was redeemed by somebody else"),
        _ => None,
    };
    codes.filter_map(words).next()
}

/// What to try next, the best hint first. The user sees the first hint whose options the command has.
#[allow(clippy::too_many_lines, reason = "a table of errors")]
fn hints(error: &ClientError) -> &'static [&'static str] {
    match error {
        ClientError::BalanceTooLow { .. }
        | ClientError::LedgerRefused(Status::BalanceTooLow | Status::FeeNotCovered) => {
            &["on a development network: symbolon account faucet"]
        }
        ClientError::CostTooHigh { .. } => &[
            "allow more with --max-cost, or do without",
            "allow more with --max-price, or do without",
            "do without, or try again when it costs less",
        ],
        ClientError::Exists { .. } => &["use another name, or --replace", "use another name"],
        ClientError::NoName { .. } => &["see what is stored with: symbolon ls"],
        ClientError::Lost { .. } => {
            &["put the file again, or take the name away with: symbolon rm NAME"]
        }
        ClientError::NotAFile { .. } => &["see what is in it with: symbolon ls NAME"],
        ClientError::NotAFolder { .. } => &["use another name, or move the file away: symbolon mv"],
        ClientError::NoVersion { .. } => &["see what is kept with: symbolon versions NAME"],
        ClientError::NoListing(_) | ClientError::ListingEnded(_) => {
            &["see what is for sale with: symbolon market list"]
        }
        ClientError::NoVault => &["open one with: symbolon vault create; sell does so too"],
        ClientError::NoOrder(_) => &["see your orders with: symbolon orders"],
        ClientError::Transfer(TransferError::Ledger(error)) | ClientError::Ledger(error) => {
            ledger_hints(error)
        }
        ClientError::Transfer(error) => transfer_hints(error),
        ClientError::Locked { .. } => &["wait until it has ended"],
        ClientError::Grant(_) => &[
            "see whose it is with: symbolon grant inspect GRANT; and who you are with: symbolon id",
        ],
        ClientError::Voucher(_) => &["ask the person who gave it for a new one"],
        ClientError::OrderRefunded(_) => {
            &["the money came back; run the same command to buy again"]
        }
        ClientError::LedgerRefused(Status::NotYours) => {
            &["use the identity it belongs to: --as NAME"]
        }
        ClientError::Held { .. } => &[
            "store it anew all the same with --replace, or under another name",
            "store it under another name",
        ],
        ClientError::OutOfRange(_) => &["choose a value within the range"],
        ClientError::FieldRefused { .. } => {
            &["nothing was changed on the ledger; give another value for the field that it names"]
        }
        ClientError::Over { .. } => &["put the file again to have it stored again"],
        ClientError::EndsEarly { .. } => {
            &["choose a shorter time, or store it for longer first with put"]
        }
        ClientError::GoodsOver { .. } | ClientError::GoodsEndEarly { .. } => {
            &["nothing was ordered; see what else is for sale with: symbolon market list"]
        }
        ClientError::NotFresh { why: NotFresh::NoAddress, .. } => {
            &["see the cells that a beacon drew with: symbolon market preview"]
        }
        ClientError::NotFresh { why: NotFresh::Offline, .. } => &[
            "try again when the seller is online, or see the cells that a beacon drew with: symbolon market preview",
        ],
        ClientError::NotFresh { .. } => &[
            "try again tomorrow, or see the cells that a beacon drew with: symbolon market preview",
        ],
        ClientError::NoPreview(_) => {
            &["the seller opens it once the network has picked the cells; try again later"]
        }
        ClientError::NothingStored { .. } => {
            &["see what is stored with: symbolon ls -r; without --delete nothing is removed"]
        }
        ClientError::UploadLapsed { .. } => {
            &["run the command again: it starts from the beginning"]
        }
        ClientError::SourceChanged { .. } => {
            &["run the command again when no program writes to the file"]
        }
        ClientError::Corrupt { .. } => &["nothing unchecked was written"],
        ClientError::NotAsListed { .. } => &[
            "nothing unchecked was written; get the money back with: symbolon order dispute ORDER",
        ],
        ClientError::NotCovered { .. }
        | ClientError::ListingFrozen(_)
        | ClientError::AccessTooShort { .. }
        | ClientError::Leaves { .. } => {
            &["nothing was ordered; see what else is for sale with: symbolon market list"]
        }
        ClientError::OrderClosed { .. } => &["see it with: symbolon order show ORDER"],
        ClientError::LedgerRefused(Status::SaleBinds) => &[
            "it stays until the access of the buyers has ended; see until when with: symbolon orders",
        ],
        _ => &[],
    }
}

fn transfer_hints(error: &TransferError) -> &'static [&'static str] {
    match error {
        TransferError::NotEnoughShards { .. } => {
            &["nothing unchecked was written; some nodes may only be offline: try again later"]
        }
        TransferError::NoRoom { .. } => &["see how full the nodes are with: symbolon node status"],
        TransferError::NotEnoughNodes { .. } | TransferError::NoNodes { .. } => &[
            "see the nodes with: symbolon node status; run the same command again to go on, nothing is paid twice",
        ],
        TransferError::DealOver { .. } => {
            &["put the file again, or ask its owner to store it again"]
        }
        TransferError::DealGone { .. } => &["put the file again to have it stored again"],
        _ => &[],
    }
}

fn ledger_hints(error: &LedgerError) -> &'static [&'static str] {
    match error {
        LedgerError::Forked { .. } => &[
            "do not pay on this ledger before its operator has explained it; the two headers prove it to anybody",
        ],
        LedgerError::UnknownRules { .. } => &[
            "install a symbolon that knows this version; nothing was written, and it goes on from where it is",
        ],
        LedgerError::Stale { .. } => &[
            "the ledger was set back to an older copy, or its server holds blocks back: ask its operator",
        ],
        LedgerError::Unfinished { .. } => {
            &["let it be fetched to the end with: symbolon ledger mirror --dir DIR"]
        }
        LedgerError::Trust { .. } => &[
            "if you trust the servers of the ticket, remove that file: the next command begins with the genesis again",
        ],
        _ => &[],
    }
}

impl From<LedgerError> for Error {
    fn from(error: LedgerError) -> Self {
        ClientError::from(error).into()
    }
}

impl From<NetError> for Error {
    fn from(error: NetError) -> Self {
        match &error {
            NetError::Bind { why } if why.contains("in use") => {
                Self::new(Kind::InUse, error.to_string())
                    .hint("another program has the port; choose one with --listen")
                    .or_hint("another program has the port; try again")
            }
            NetError::Bind { .. } => Self::new(Kind::Io, error.to_string()),
            _ => ClientError::from(TransferError::from(error)).into(),
        }
    }
}
