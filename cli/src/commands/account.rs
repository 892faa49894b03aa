//! `symbolon account`: balance, history, faucet, send.

mod statement;

use symbolon_client::Client;
use symbolon_protocol::{
    Amount,
    id::AccountId,
    ledger::block::{Event, Place, Reason},
    wire::ledger::HistoryLine,
};
use symbolon_view::account::{Balance, History, Movement, Sent, SentOutcome, SignedMoney};

use crate::{
    context::{self, Consent, Context},
    error::Error,
    grants,
    output::{Align, Report, Table},
    units::{self, show_amount, show_time},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon account                       the balance
  symbolon account faucet                play money, on a development network
  symbolon account send bob 2.5
  symbolon account history --limit 50")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Show what the account can spend
    #[command(after_help = "Example:\n  symbolon account balance")]
    Balance,
    /// Show what moved the account's money, newest first
    #[command(after_help = "Example:\n  symbolon account history --limit 50")]
    History {
        /// Show at most this many lines
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// List all movements, and what they add up to
    #[command(after_help = "\
Examples:
  symbolon account statement
  symbolon account statement --csv > 2026.csv
  symbolon account statement --json

The lines are the oldest first. With --csv: time, block, amount, reason, and the balance after each line.")]
    Statement {
        /// Print comma-separated values
        #[arg(long, conflicts_with = "json")]
        csv: bool,
    },
    /// Ask a development network for play money
    #[command(after_help = "Example:\n  symbolon account faucet")]
    Faucet,
    /// Send money to another account
    #[command(after_help = "\
Examples:
  symbolon account send bob 2.5
  symbolon account send recipient1qq... 10 --yes
  symbolon account send bob 2.5 --id invoice-17      once, however often it is run

When the answer got lost, the same command again finds out whether the money went, and sends it once.")]
    Send {
        /// The receiver: an account's 64 digits, recipient1..., @FILE, or an identity in this home
        to: String,
        /// The amount, in credits
        #[arg(value_parser = units::amount)]
        amount: Amount,
        /// A name for this payment; a second payment with the same name is not sent
        #[arg(long, value_name = "WORD")]
        id: Option<String>,
        /// Do not ask for confirmation
        #[arg(long, short)]
        yes: bool,
    },
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<Report, Error> {
    let client = context.client().await?;
    let report = match args.verb.unwrap_or(Verb::Balance) {
        Verb::Balance => balance(&client).await,
        Verb::History { limit } => history(&client, limit).await,
        Verb::Statement { csv } => statement::of(&client, csv).await,
        Verb::Faucet => faucet(&client).await,
        Verb::Send { to, amount, id, yes } => {
            let payment = Payment { to, amount, id };
            payment.send(&client, context, Consent::from(yes, None)).await
        }
    };
    context::close(client).await;
    report
}

async fn balance(client: &Client) -> Result<Report, Error> {
    let view = client.account().await?;
    let document = Balance::from(&view);
    let mut report = Report::new(&document)
        .field("account", view.account.to_string())
        .field("balance", show_amount(view.balance).to_string());
    if view.deposits > Amount::ZERO {
        let bound = show_amount(view.deposits);
        let words = format!(
            "{bound}, for what this account has on the ledger; it comes back when that leaves"
        );
        report = report.field("deposits", words);
    }
    Ok(report.essence(view.balance.to_string()))
}

async fn faucet(client: &Client) -> Result<Report, Error> {
    client.faucet().await?;
    let view = client.account().await?;
    let document = Balance::from(&view);
    Ok(Report::new(&document).text(format!("The balance is now {}.", show_amount(view.balance))))
}

/// Money to be sent.
struct Payment {
    to: String,
    amount: Amount,
    id: Option<String>,
}

impl Payment {
    async fn send(
        self,
        client: &Client,
        context: &Context,
        consent: Consent,
    ) -> Result<Report, Error> {
        let Self { to, amount, id } = self;
        let account = grants::account(&to, &context.home)?;
        if amount == Amount::ZERO {
            return Err(Error::usage("there is nothing to send"));
        }
        let chain = client.recent_chain().await?;
        let price = client.price_of_transfer(&account, amount).await?;
        let question = match price {
            Amount::ZERO => format!("Send {} to {to}?", show_amount(amount)),
            price => format!(
                "Send {} to {to}? That costs {} more.",
                show_amount(amount),
                show_amount(price)
            ),
        };
        context.consent(&chain, &question, consent)?;
        let sent = client.transfer(account, amount, id.as_deref()).await?;
        let document = Sent {
            to: account.into(),
            amount: amount.into(),
            height: sent.height,
            outcome: if sent.before { SentOutcome::Already } else { SentOutcome::Sent },
        };
        let (money, height) = (show_amount(amount), sent.height);
        Ok(Report::new(&document).text(match sent.before {
            false => format!("Sent {money} to {to}, in block {height}."),
            true => {
                format!("{money} had gone to {to} before, in block {height}; nothing was sent now.")
            }
        }))
    }
}

async fn history(client: &Client, limit: usize) -> Result<Report, Error> {
    let me = client.identity().account();
    let symbolon_ledger::History { lines, oldest } = client.history(limit).await?;
    let proofs_since_ms = (0 < oldest.height).then_some(oldest.time_ms.0);
    // Whether the lines go back to a time from which lines may be missing.
    let goes_back =
        lines.len() < limit || lines.last().is_some_and(|last| last.height < oldest.height);
    let mut table = Table::new(&[
        ("TIME", Align::Left),
        ("BLOCK", Align::Right),
        ("CREDITS", Align::Right),
        ("WHAT", Align::Left),
    ]);
    let lines: Vec<_> = lines.iter().filter_map(|line| movement(line, me)).collect();
    for line in &lines {
        table.row(vec![
            show_time(line.time_ms),
            line.height.to_string(),
            line.amount.as_str().to_owned(),
            line.what.clone(),
        ]);
    }
    let document = History { account: me.into(), proofs_since_ms, lines };
    let report = Report::new(&document);
    let report = if document.lines.is_empty() {
        report.text("Nothing has moved yet.")
    } else {
        report.table(table)
    };
    Ok(match 0 < oldest.height && goes_back {
        true => report.text(format!(
            "Pay for storage proofs before {} is no longer listed.",
            show_time(oldest.time_ms)
        )),
        false => report,
    })
}

/// A movement as the account sees it.
fn movement(line: &HistoryLine, me: AccountId) -> Option<Movement> {
    let Event::Moved { from, to, amount, reason } = &line.event else { return None };
    let mine = |place: &Place| matches!(place, Place::Account { account } if *account == me);
    let (amount, party) = match mine(to) {
        true => (SignedMoney::came(*amount), party("from", from)),
        false => (SignedMoney::went(*amount), party("to", to)),
    };
    let what = match (reason, from) {
        (Reason::Collateral { node }, Place::Collateral) => {
            format!("collateral and withheld pay of node {} come back", &node.to_string()[..8])
        }
        _ => format!("{}{party}", words(reason)),
    };
    Some(Movement { height: line.height, time_ms: line.time_ms.0, amount, what })
}

fn words(reason: &Reason) -> String {
    let short = |id: &dyn ToString| id.to_string()[..8].to_owned();
    match reason {
        Reason::Faucet => "faucet".into(),
        Reason::Transfer => "transfer".into(),
        Reason::Deal { deal } => format!("storage, deal {}", short(deal)),
        Reason::Proven { node, epoch } => format!("epoch {epoch} proven by node {}", short(node)),
        Reason::Missed { node, epoch } => format!("epoch {epoch} missed by node {}", short(node)),
        Reason::Sale { order } => format!("sale, order {}", short(order)),
        Reason::Fee => "fee".into(),
        Reason::Deposit => "deposit for what stays on the ledger".into(),
        Reason::Repaired { deal } => format!("rebuilt shards, deal {}", short(deal)),
        Reason::Bond { listing } => format!("bond of listing {}", short(listing)),
        Reason::Complaint { order } => format!("bond of a complaint about order {}", short(order)),
        Reason::Collateral { node } => format!("collateral of node {}", short(node)),
        Reason::Stake { validator } => format!("stake on validator {}", short(validator)),
        Reason::MissedTurn { validator } => {
            format!("a turn that validator {} missed", short(validator))
        }
        Reason::Equivocation { validator } => {
            format!("validator {} signed two things that exclude each other", short(validator))
        }
        Reason::Reward { validator } => format!("fees, validator {}", short(validator)),
        Reason::Motion { motion } => format!("motion {motion}"),
        Reason::Silent { node, order } => {
            format!("silence of custodian {} about order {}", short(node), short(order))
        }
    }
}

fn party(word: &str, place: &Place) -> String {
    match place {
        Place::Account { account } => format!(", {word} account {}", &account.to_string()[..8]),
        Place::Hold { .. } => format!(", {word} escrow"),
        _ => String::new(),
    }
}
