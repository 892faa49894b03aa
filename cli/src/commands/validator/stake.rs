//! What a validator tells the ledger of itself, signed with the key in its folder.

use std::path::{Path, PathBuf};

use symbolon_ledger::{Ledger, founder_at};
use symbolon_protocol::{
    Amount,
    id::{AccountId, PeerId},
    ledger::{
        Status,
        rows::{Chain, ValidatorRow, ValidatorState, ValidatorsTable},
        transaction::Action,
    },
};
use symbolon_view::validators::ValidatorChanged;

use super::{in_words, no_folder};
use crate::{
    context::{self, Context},
    error::{Error, Kind},
    home,
    output::Report,
    own_account::OwnAccount,
    units::{self, show_amount},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon validator leave --dir /srv/validator

Let the validator run until its state is `out`: symbolon validator status.")]
pub(super) struct FolderArgs {
    /// The folder of the validator
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon validator join --dir /srv/validator --stake 10
  symbolon validator join --dir /srv/validator --stake 10 --commission 500

One that has left or was jailed asks again with the same command, and stakes nothing.

The validator must run: one that misses its turns pays for each, and is jailed. It loses a part of its stake, and its
place for ever, if two machines sign with its key: so keep no copy of a folder that runs. What is staked stays bound for
a while after it was taken back.")]
pub(super) struct JoinArgs {
    /// The folder of the validator
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// How much it stakes, in credits; needed the first time
    #[arg(long, value_name = "CREDITS", value_parser = units::amount)]
    stake: Option<Amount>,
    /// The operator's part of the rewards of those who delegate, in hundredths of a percent
    #[arg(long, value_name = "BP", default_value = "0", value_parser = clap::value_parser!(u16).range(0..=10_000))]
    commission: u16,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon validator unstake --dir /srv/validator         all of its own
  symbolon validator unstake --dir /srv/validator 2.5")]
pub(super) struct UnstakeArgs {
    /// The folder of the validator
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// How much, in credits; all of its own without it
    #[arg(value_parser = units::amount)]
    amount: Option<Amount>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon validator send --dir /srv/validator ACCOUNT 10")]
pub(super) struct SendArgs {
    /// The folder of the validator
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The account
    to: AccountId,
    /// How much, in credits
    #[arg(value_parser = units::amount)]
    amount: Amount,
}

/// A validator's folder, as its commands use it.
struct Own {
    account: OwnAccount,
    secret: zeroize::Zeroizing<[u8; 32]>,
}

impl Own {
    fn read(dir: &Path) -> Result<Self, Error> {
        let secret = home::read_if_there(&dir.join("key"))?.ok_or_else(|| no_folder(dir))?;
        let secret: [u8; 32] = secret.try_into().map_err(|_| no_folder(dir))?;
        let account = OwnAccount::new(&secret, "validator");
        Ok(Self { account, secret: zeroize::Zeroizing::new(secret) })
    }

    fn id(&self) -> AccountId {
        self.account.id
    }
}

/// Signs and submits what `make` says, with the ledger's row about the validator.
async fn submit(
    dir: &Path,
    context: &Context,
    make: impl FnOnce(&Own, Option<&ValidatorRow>) -> Result<Action, Error>,
) -> Result<Report, Error> {
    let own = Own::read(dir)?;
    let (ledger, endpoint) = context.ledger().await?;
    let done = submit_to(&ledger, &own, context, make).await;
    context::hang_up(endpoint).await;
    done
}

async fn submit_to(
    ledger: &Ledger,
    own: &Own,
    context: &Context,
    make: impl FnOnce(&Own, Option<&ValidatorRow>) -> Result<Action, Error>,
) -> Result<Report, Error> {
    let before = ledger.row(ValidatorsTable, &own.id()).await?;
    let make = |_: &Chain| make(own, before.as_ref());
    let applied = own.account.submit(ledger, &context.host, make, explain).await?;
    let row = ledger.row(ValidatorsTable, &own.id()).await?;
    let left = own.account.balance(ledger).await?;
    let state = row.as_ref().map_or("none", |row| in_words(row.state));
    let stake = row.as_ref().map_or(Amount::ZERO, |row| row.stake);
    let document = ValidatorChanged {
        validator: own.id().into(),
        state: state.into(),
        stake: stake.into(),
        balance: left.into(),
        height: applied.height,
    };
    let text = format!(
        "Validator {} is {state}, with {} of stake; its account has {} left.",
        own.id(),
        show_amount(stake),
        show_amount(left)
    );
    Ok(Report::new(&document).text(text))
}

pub(super) async fn join(args: &JoinArgs, context: &Context) -> Result<Report, Error> {
    let address = home::read_if_there(&args.dir.join("reached-at"))?;
    let addresses: Vec<String> = address
        .map(|text| String::from_utf8_lossy(&text).lines().map(str::to_owned).collect())
        .unwrap_or_default();
    let salt = salt(&args.dir)?;
    submit(&args.dir, context, |own, row| match row {
        None => {
            let amount = args.stake.ok_or_else(|| {
                Error::usage("say how much it stakes").hint("for example: --stake 10")
            })?;
            Ok(Action::JoinValidators {
                operator: own.id(),
                peer: PeerId(own.id().0),
                addresses,
                commission_bp: args.commission,
                onion: founder_at(&own.secret, salt, 0),
                amount,
            })
        }
        Some(row) => match row.state {
            ValidatorState::Out | ValidatorState::Jailed { .. } => Ok(Action::RejoinValidators {
                validator: own.id(),
                onion: founder_at(&own.secret, salt, row.own),
            }),
            state => {
                Err(Error::new(Kind::Exists, format!("this validator is {}", in_words(state)))
                    .hint("see: symbolon validator status"))
            }
        },
    })
    .await
}

pub(super) async fn leave(args: &FolderArgs, context: &Context) -> Result<Report, Error> {
    submit(&args.dir, context, |own, _| Ok(Action::LeaveValidators { validator: own.id() })).await
}

pub(super) async fn unstake(args: &UnstakeArgs, context: &Context) -> Result<Report, Error> {
    let amount = args.amount;
    submit(&args.dir, context, |own, _| Ok(Action::Undelegate { validator: own.id(), amount }))
        .await
}

pub(super) async fn send(args: &SendArgs, context: &Context) -> Result<Report, Error> {
    let (to, amount) = (args.to, args.amount);
    submit(&args.dir, context, |_, _| Ok(Action::Transfer { to, amount })).await
}

fn salt(dir: &Path) -> Result<[u8; 32], Error> {
    let path = dir.join("salt");
    let bytes = home::read_if_there(&path)?.and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| {
        Error::new(Kind::NotFound, format!("{} is not there", path.display()))
            .hint("start the validator first: symbolon validator run --dir DIR --ledger TICKET")
    })
}

fn explain(status: Status) -> (Kind, &'static str) {
    let hint = match status {
        Status::TooEarly => "it is jailed for a while: see symbolon validator status",
        _ => "see symbolon validator status",
    };
    (Kind::LedgerRefused, hint)
}
