//! The verbs, one file each: arguments, action and output.

pub(crate) mod account;
pub(crate) mod audit;
pub(crate) mod buy;
pub(crate) mod care;
pub(crate) mod completions;
pub(crate) mod demo;
pub(crate) mod down;
pub(crate) mod du;
pub(crate) mod folder;
pub(crate) mod get;
pub(crate) mod gov;
pub(crate) mod grant;
pub(crate) mod id;
pub(crate) mod init;
pub(crate) mod keep;
pub(crate) mod ledger;
pub(crate) mod ls;
pub(crate) mod market;
pub(crate) mod mv;
pub(crate) mod node;
pub(crate) mod order;
pub(crate) mod orders;
pub(crate) mod put;
pub(crate) mod redeem;
pub(crate) mod renew;
pub(crate) mod restore;
pub(crate) mod rm;
pub(crate) mod sell;
pub(crate) mod share;
pub(crate) mod stat;
pub(crate) mod status;
pub(crate) mod up;
pub(crate) mod validator;
pub(crate) mod vault;
pub(crate) mod verify;
pub(crate) mod versions;

use crate::{args::Verb, context::Context, error::Error};

/// Whether a verb runs until it is stopped.
pub(crate) fn runs_on(verb: &Verb) -> bool {
    match verb {
        Verb::Up(args) => args.runs_on(),
        Verb::Node(args) => args.runs_on(),
        Verb::Ledger(args) => args.runs_on(),
        Verb::Validator(args) => args.runs_on(),
        Verb::Keep(args) => args.runs_on(),
        Verb::Market(args) => args.runs_on(),
        _ => false,
    }
}

/// Runs the verb and prints its result.
pub(crate) async fn run(verb: Verb, context: &Context) -> Result<(), Error> {
    dispatch(verb, context).await.map_err(|error| context.explain(error))
}

async fn dispatch(verb: Verb, context: &Context) -> Result<(), Error> {
    let report = match verb {
        // These print while they run.
        Verb::Demo(args) => return demo::run(args, context).await,
        Verb::Up(args) => return up::run(args, context).await,
        Verb::Node(args) => return node::run(args, context).await,
        Verb::Ledger(args) => return ledger::run(args, context).await,
        Verb::Validator(args) => return validator::run(args, context).await,
        Verb::Verify(args) => return verify::run(args, context).await,
        Verb::Keep(args) => return keep::run(&args, context).await,
        Verb::Market(args) => return market::run(args, context).await,
        Verb::Completions(args) => return completions::run(&args, context),
        // These print one report at the end.
        Verb::Down(args) => down::run(&args, context).await,
        Verb::Init(args) => init::run(&args, context),
        Verb::Restore(args) => restore::run(&args, context).await,
        Verb::Id(args) => id::run(&args, context),
        Verb::Put(args) => put::run(args, context).await,
        Verb::Get(args) => get::run(args, context).await,
        Verb::Ls(args) => ls::run(&args, context).await,
        Verb::Stat(args) => stat::run(&args, context).await,
        Verb::Mv(args) => mv::run(&args, context).await,
        Verb::Du(args) => du::run(&args, context).await,
        Verb::Sync(args) => folder::sync::run(&args, context).await,
        Verb::Versions(args) => versions::run(&args, context).await,
        Verb::Undelete(args) => versions::undelete(&args, context).await,
        Verb::Renew(args) => renew::run(&args, context).await,
        Verb::Care(args) => care::run(&args, context).await,
        Verb::Rm(args) => rm::run(&args, context).await,
        Verb::Audit(args) => audit::run(&args, context).await,
        Verb::Share(args) => share::run(args, context).await,
        Verb::Redeem(args) => redeem::run(args, context).await,
        Verb::Gov(args) => gov::run(args, context).await,
        Verb::Grant(args) => grant::run(args, context).await,
        Verb::Sell(args) => sell::run(args, context).await,
        Verb::Vault(args) => vault::run(&args, context).await,
        Verb::Buy(args) => buy::run(args, context).await,
        Verb::Order(args) => order::run(args, context).await,
        Verb::Orders(args) => orders::run(&args, context).await,
        Verb::Account(args) => account::run(args, context).await,
        Verb::Status(args) => status::run(&args, context).await,
    }?;
    context.out.report(&report)
}
