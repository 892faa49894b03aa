//! `symbolon share`: let another person read a file or a folder.

use std::{ffi::OsString, path::PathBuf};

use symbolon_client::{Caveat, Client, ClientError, GrantToken, Recipient, Voucher, shown};
use symbolon_protocol::Amount;
use symbolon_view::{grant::Attenuated, plain::Secret};
use zeroize::Zeroizing;

use super::folder::{bytes, name};
use crate::{
    context::{self, Consent, Context},
    error::Error,
    grants::{self, Limits},
    names::{self, Pay},
    output::Report,
    progress,
    units::{self, count, show_amount, show_time},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon share report.pdf --to recipient1qq... --until 7d
  symbolon share report.pdf --to @bob.txt --output report.grant
  symbolon share big.csv --to bob --cells 0..16 --reads 100
  symbolon share report.pdf --voucher --until 3d --output voucher.txt

The recipient's text is what `symbolon id` prints on their machine. A grant is useless to anyone
but the recipient, so it may travel by mail or chat: get @report.grant

A small file that shares an object with others is stored once more by itself first, so that the
grant is for it alone.

A folder is shared as it is now: symbolon share photos --to bob. The list of its files is stored as
a file of yours below .shared, and small files that share objects with files elsewhere are stored once
more, apart from those. What you put into the folder later is not in the grant; share it again then.
One grant revoke ends the access to all of it.

For a person who has no identity yet: --voucher makes a text that they redeem with `symbolon redeem`. It works
once, and ends by itself, after a week without --until. This is what it gives up:
- It is a secret. The first who has it can redeem it, so send it where only its reader looks.
- You learn who redeemed it only as a key on the ledger: symbolon grant ls.
- Nodes then serve only that key, and those it passes the grant on to. But the text also opens the key of
  the file, for ever: a person who has the text and gets the stored bytes from a node that breaks the rules
  can read them. Revoking does not change that.
Where transactions cost something, you pay for the redemption in advance.")]
pub(crate) struct Args {
    /// The name of the file or folder
    name: OsString,
    /// The reader: recipient1..., @FILE, - for stdin, or an identity in this home
    #[arg(
        long,
        value_name = "RECIPIENT",
        required_unless_present = "voucher",
        conflicts_with = "voucher"
    )]
    to: Option<String>,
    /// For a person who has no identity yet: make a voucher, a secret that the first who has it can redeem
    #[arg(long)]
    voucher: bool,
    #[command(flatten)]
    limits: Limits,
    /// Write the grant to this file instead of printing it
    #[arg(long, short, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Do not pay more than this in total when a small file must be stored again by itself
    #[arg(long, value_name = "CREDITS", value_parser = units::amount)]
    max_cost: Option<Amount>,
    /// Do not ask before paying for that
    #[arg(long, short)]
    yes: bool,
}

/// Who is to have the grant.
struct Reader {
    recipient: Recipient,
    /// Of a voucher.
    secret: Option<Zeroizing<[u8; 32]>>,
}

impl Reader {
    fn of(args: &Args, context: &Context) -> Result<Self, Error> {
        if let Some(to) = &args.to {
            return Ok(Self { recipient: grants::recipient(to, &context.home)?, secret: None });
        }
        let secret = Zeroizing::new(context.host.random());
        let recipient = Voucher::identity(&secret).recipient();
        Ok(Self { recipient, secret: Some(secret) })
    }

    /// What its redemption costs, which the owner pays.
    async fn price(&self, client: &Client) -> Result<Amount, Error> {
        match self.secret {
            None => Ok(Amount::ZERO),
            Some(_) => Ok(client.price_of_voucher().await?),
        }
    }
}

/// What the user has agreed to pay.
struct Agreed {
    /// For storing, at most.
    storing: Option<Amount>,
    /// For a voucher's redemption.
    voucher: Amount,
}

/// Asks before anything is paid: for what has to be stored, which `storing` says in words, and for a voucher.
async fn agree(
    (args, reader, client): (&Args, &Reader, &Client),
    storing: (Option<Amount>, &str),
    context: &Context,
) -> Result<Agreed, Error> {
    let voucher = reader.price(client).await?;
    let (price, words) = storing;
    let too_much = || Error::usage("the price is larger than any amount can be");
    let sum = voucher.checked_add(price.unwrap_or(Amount::ZERO)).ok_or_else(too_much)?;
    let limit = if price.is_none() && voucher == Amount::ZERO {
        args.max_cost
    } else {
        let chain = client.recent_chain().await?;
        let what = match (price, voucher > Amount::ZERO) {
            (Some(_), false) => words.to_owned(),
            (Some(_), true) => format!("{words}, and pay for the voucher's redemption"),
            (None, _) => String::from("Pay for the voucher's redemption"),
        };
        let question = format!("{what}, at {} all-in?", show_amount(sum));
        context.consent(&chain, &question, Consent::from(args.yes, args.max_cost))?;
        Some(args.max_cost.unwrap_or(sum))
    };
    if let Some(limit) = limit.filter(|limit| *limit < voucher) {
        return Err(ClientError::CostTooHigh { cost: voucher, limit }.into());
    }
    let storing = limit.and_then(|limit| limit.checked_sub(voucher));
    Ok(Agreed { storing, voucher })
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<Report, Error> {
    let reader = Reader::of(&args, context)?;
    if let Some(path) = &args.output {
        grants::check_target(path)?;
    }
    let client = context.client_local().await?;
    let now_ms = names::now_ms(&client, context).await;
    let caveats = match args.voucher {
        true => args.limits.of_voucher(now_ms)?,
        false => args.limits.caveats(now_ms)?,
    };
    if client.is_folder(&name(&args.name)?).await? {
        return share_folder(&args, (client, reader, caveats), context).await;
    }
    let name = name(&args.name)?;
    let price = client.price_of_its_own(&name).await?;
    let words = format!("Store {} by itself, so that it can be shared", shown(bytes(&args.name)));
    let agreed = agree((&args, &reader, &client), (price, &words), context).await?;
    let bar = progress::bar(&context.out, "sharing");
    let progress = bar.progress();
    let token = client.share(&name, &reader.recipient, caveats, agreed.storing, &progress).await;
    let given = match token {
        Ok(token) => give(&client, token, &reader, &agreed).await,
        Err(error) => Err(error.into()),
    };
    bar.finish();
    names::publish_and_close(client, Pay::Ask, &context.out).await;
    told(&args, &given?, (name.to_string(), None), context)
}

/// The grant, and the voucher of it if it is for one.
struct Given {
    token: GrantToken,
    reader: Recipient,
    voucher: Option<Voucher>,
}

/// Makes the voucher, if it is to be one.
async fn give(
    client: &Client,
    token: GrantToken,
    reader: &Reader,
    agreed: &Agreed,
) -> Result<Given, Error> {
    let voucher = match &reader.secret {
        None => None,
        Some(secret) => Some(client.voucher(token.clone(), secret, Some(agreed.voucher)).await?),
    };
    Ok(Given { token, reader: reader.recipient.clone(), voucher })
}

/// Shares a folder and everything in it.
async fn share_folder(
    args: &Args,
    (client, reader, caveats): (Client, Reader, Vec<Caveat>),
    context: &Context,
) -> Result<Report, Error> {
    if args.limits.names_cells() {
        context::close(client).await;
        return Err(grants::no_cells_of_a_folder());
    }
    let folder = name(&args.name)?;
    let price = client.price_of_folder_share(&folder).await?;
    let words = format!(
        "Store the list of {} for its readers, and its files apart from others",
        shown(bytes(&args.name))
    );
    let agreed = agree((args, &reader, &client), (price, &words), context).await?;
    let bar = progress::bar(&context.out, "sharing");
    let progress = bar.progress();
    let to = &reader.recipient;
    let done = client.share_folder(&folder, to, caveats, agreed.storing, &progress).await;
    let done = match done {
        Ok(done) => {
            let given = give(&client, done.token.clone(), &reader, &agreed).await;
            given.map(|given| (done, given))
        }
        Err(error) => Err(error.into()),
    };
    bar.finish();
    names::publish_and_close(client, Pay::Ask, &context.out).await;
    let (done, given) = done?;
    if !done.left_out.is_empty() {
        let first = done.left_out.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
        let paths = count(done.left_out.len(), "path");
        context.out.note(&format!("{paths} not shared, as links or lost files: {first}"));
    }
    told(args, &given, (folder.to_string(), Some(done.files)), context)
}

/// Gives the grant, or the voucher, to the user.
fn told(
    args: &Args,
    given: &Given,
    (name, files): (String, Option<u64>),
    context: &Context,
) -> Result<Report, Error> {
    let Given { token, reader, voucher } = given;
    let path = args.output.as_ref().map(|path| path.display().to_string());
    let shared = Attenuated::new(token, reader, grants::last_link(token), path);
    let mut shared = shared.of(name, files);
    let text = match voucher {
        None => Zeroizing::new(token.to_text()),
        Some(voucher) => {
            context.out.note(&what_it_is(voucher));
            voucher.to_text()
        }
    };
    let Some(path) = &args.output else {
        shared.voucher = voucher.as_ref().map(|_| Secret::new(&text));
        // Only the text, so that `share .. > file` and `share .. | mail` work.
        return Ok(Report::new(&shared).text(text.as_str()).essence(text.as_str()));
    };
    grants::write(path, &text)?;
    let (path, what) = (path.display(), if voucher.is_some() { "voucher" } else { "grant" });
    let written = match files {
        None => format!("Wrote the {what} to {path}."),
        Some(files) => {
            format!(
                "Wrote the {what} to {path}. It is for {} as they are now.",
                count(files, "file")
            )
        }
    };
    let next = match voucher {
        None => format!("Send it to its recipient; they fetch it with: symbolon get @{path}"),
        Some(_) => format!("Send it to its reader; they redeem it with: symbolon redeem @{path}"),
    };
    Ok(Report::new(&shared).text(written).text(next))
}

/// What a voucher gives up, in words.
fn what_it_is(voucher: &Voucher) -> String {
    format!(
        "A voucher is a secret: the first who has it can redeem it, until {}. After that nodes serve only who redeemed \
         it, but it opens the key of the file for ever. See who redeemed it with: symbolon grant ls; take it back \
         with: symbolon grant revoke",
        show_time(voucher.until_ms())
    )
}
