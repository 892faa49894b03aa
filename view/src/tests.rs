//! The schemas in `spec/json`: one file for each command, made from the types of its documents.
//! `SYMBOLON_REGENERATE=1` writes them anew; a changed file is a changed interface and is reviewed as one.

use std::{collections::BTreeSet, env, fs, path::PathBuf};

use schemars::{
    JsonSchema, Schema, SchemaGenerator,
    generate::SchemaSettings,
    transform::{Transform, transform_subschemas},
};
use serde_json::{Map, Value};

use crate::{
    DOCUMENTS,
    account::{Balance, History, Sent, Statement},
    audit::Audited,
    care::Cared,
    demo::Held,
    earnings::Earnings,
    failure::Failure,
    files::{Renamed, Undeleted, Usages, Versions},
    folder::{FolderFetch, FolderQuote, FolderStored, FolderWritten},
    get::FileFetched,
    grant::{Attenuated, Grants, Inspected, ReadersShown, Redeemed, Revoked, Shared},
    identity::{Identities, Identity, Made, Restored, Words},
    keep::{KeepStopped, Kept},
    market::{
        Acknowledged, Bought, Detail, Disputed, Ended, ForSale, FreshPreview, Listings, OrderShown,
        Orders, Preview, ViewersReady,
    },
    motions::{BallotsCast, MotionMade, MotionShown, MotionsShown},
    names::Names,
    network::{
        LedgerFounded, LedgerReady, LedgerStatus, MirrorReady, NetworkReady, NodeReady, Nodes,
        Status, Stopped,
    },
    operator::{Alert, Diagnosis, Exited, Health, LedgerDiagnosis, Limited, Scrubbed, Staked},
    progress::Event,
    put::{FileQuote, FileStored},
    renew::{Renewed, Unmarked},
    rm::Removed,
    shell::Completions,
    stat::Stat,
    validators::{OwnStakes, StakeChanged, ValidatorChanged, ValidatorReady, ValidatorsShown},
    vault::{VaultDealt, VaultStatus},
    verify::{FileVerified, FolderVerified},
};

/// A document: the name of its type, and how its schema is made.
type Of = (&'static str, fn(&mut SchemaGenerator) -> Schema);

fn of<T: JsonSchema>() -> Of {
    let name = std::any::type_name::<T>().rsplit("::").next();
    (name.expect("a path has a last part"), SchemaGenerator::subschema_for::<T>)
}

/// What the commands of validators, and of those who vote, print.
fn of_validators() -> Vec<(&'static str, Vec<Of>)> {
    vec![
        ("gov-list", vec![of::<MotionsShown>()]),
        ("gov-propose", vec![of::<MotionMade>()]),
        ("gov-show", vec![of::<MotionShown>()]),
        ("gov-vote", vec![of::<BallotsCast>()]),
        ("validator-delegate", vec![of::<StakeChanged>()]),
        ("validator-join", vec![of::<ValidatorChanged>()]),
        ("validator-leave", vec![of::<ValidatorChanged>()]),
        ("validator-list", vec![of::<ValidatorsShown>(), of::<OwnStakes>()]),
        ("validator-run", vec![of::<ValidatorReady>()]),
        ("validator-send", vec![of::<ValidatorChanged>()]),
        ("validator-status", vec![of::<ValidatorsShown>()]),
        ("validator-undelegate", vec![of::<StakeChanged>()]),
        ("validator-unstake", vec![of::<ValidatorChanged>()]),
    ]
}

/// What each command prints when it goes well; `error` and `progress`, which any may print, and
/// `alert`, which a node gives to its operator's command.
fn commands() -> Vec<(&'static str, Vec<Of>)> {
    let folder_up = [of::<FolderStored>(), of::<FolderQuote>()];
    vec![
        ("account-balance", vec![of::<Balance>()]),
        ("account-faucet", vec![of::<Balance>()]),
        ("account-history", vec![of::<History>()]),
        ("account-send", vec![of::<Sent>()]),
        ("account-statement", vec![of::<Statement>()]),
        ("alert", vec![of::<Alert>()]),
        ("audit", vec![of::<Audited>()]),
        ("buy", vec![of::<Bought>()]),
        ("completions", vec![of::<Completions>()]),
        ("care", vec![of::<Cared>()]),
        ("demo", vec![of::<Held>()]),
        ("down", vec![of::<Stopped>()]),
        ("du", vec![of::<Usages>()]),
        ("error", vec![of::<Failure>()]),
        ("get", vec![of::<FileFetched>(), of::<FolderWritten>()]),
        ("grant-attenuate", vec![of::<Attenuated>()]),
        ("grant-inspect", vec![of::<Inspected>()]),
        ("grant-log", vec![of::<ReadersShown>()]),
        ("grant-ls", vec![of::<Grants>()]),
        ("grant-revoke", vec![of::<Revoked>()]),
        ("id", vec![of::<Identity>(), of::<Identities>(), of::<Words>()]),
        ("init", vec![of::<Made>()]),
        ("keep", vec![of::<Kept>(), of::<KeepStopped>()]),
        ("ledger-doctor", vec![of::<LedgerDiagnosis>()]),
        ("ledger-found", vec![of::<LedgerFounded>()]),
        ("ledger-mirror", vec![of::<MirrorReady>()]),
        ("ledger-run", vec![of::<LedgerReady>()]),
        ("ledger-status", vec![of::<LedgerStatus>()]),
        ("ls", vec![of::<Names>()]),
        ("market-end", vec![of::<Ended>()]),
        ("market-list", vec![of::<Listings>()]),
        ("market-preview", vec![of::<Preview>(), of::<FreshPreview>()]),
        ("market-serve", vec![of::<ViewersReady>()]),
        ("market-show", vec![of::<Detail>()]),
        ("mv", vec![of::<Renamed>()]),
        ("node-doctor", vec![of::<Diagnosis>()]),
        ("node-earnings", vec![of::<Earnings>()]),
        ("node-exit", vec![of::<Exited>()]),
        ("node-limit", vec![of::<Limited>()]),
        ("node-run", vec![of::<NodeReady>()]),
        ("node-scrub", vec![of::<Scrubbed>()]),
        ("node-stake", vec![of::<Staked>()]),
        ("node-status", vec![of::<Nodes>(), of::<Health>()]),
        ("order-ack", vec![of::<Acknowledged>()]),
        ("order-dispute", vec![of::<Disputed>()]),
        ("order-show", vec![of::<OrderShown>()]),
        ("orders", vec![of::<Orders>()]),
        ("progress", vec![of::<Event>()]),
        ("put", [&[of::<FileStored>(), of::<FileQuote>()][..], &folder_up].concat()),
        ("renew", vec![of::<Renewed>(), of::<Unmarked>()]),
        ("restore", vec![of::<Restored>()]),
        ("rm", vec![of::<Removed>()]),
        ("sell", vec![of::<ForSale>()]),
        ("share", vec![of::<Shared>()]),
        ("redeem", vec![of::<Redeemed>()]),
        ("stat", vec![of::<Stat>()]),
        ("status", vec![of::<Status>()]),
        ("sync", [&folder_up[..], &[of::<FolderWritten>(), of::<FolderFetch>()]].concat()),
        ("undelete", vec![of::<Undeleted>()]),
        ("up", vec![of::<NetworkReady>()]),
        ("vault-create", vec![of::<VaultDealt>()]),
        ("vault-rotate", vec![of::<VaultDealt>()]),
        ("vault-status", vec![of::<VaultStatus>()]),
        ("verify", vec![of::<FileVerified>(), of::<FolderVerified>()]),
        ("versions", vec![of::<Versions>()]),
    ]
}

/// Takes out what readers have nothing of: `format`, which names widths that only Rust knows, `readOnly`, which says
/// what this program does not read, and what closes an object against fields of later versions.
#[derive(Clone, Debug)]
struct ForReaders;

impl Transform for ForReaders {
    fn transform(&mut self, schema: &mut Schema) {
        for keyword in ["format", "readOnly", "additionalProperties"] {
            schema.remove(keyword);
        }
        transform_subschemas(self, schema);
    }
}

/// The schema of a file as text.
fn file(name: &str, documents: &[Of]) -> String {
    let settings = SchemaSettings::draft2020_12().for_serialize().with_transform(ForReaders);
    let mut generator = settings.into_generator();
    let any: Vec<_> = documents.iter().map(|(_, of)| Value::from(of(&mut generator))).collect();
    let definitions = generator.take_definitions(true);
    let title = match name {
        "alert" | "error" | "progress" => name.to_owned(),
        command => format!("symbolon {}", command.replace('-', " ")),
    };
    let mut root = Map::new();
    root.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
    root.insert("title".into(), title.into());
    root.insert("anyOf".into(), any.into());
    root.insert("$defs".into(), definitions.into());
    serde_json::to_string_pretty(&root).unwrap() + "\n"
}

#[test]
fn the_schemas_are_those_of_the_types() {
    let regenerate = env::var_os("SYMBOLON_REGENERATE").is_some();
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../spec/json");
    let mut names = BTreeSet::new();
    for (command, documents) in commands().into_iter().chain(of_validators()) {
        let (name, text) = (format!("{command}.json"), file(command, &documents));
        if regenerate {
            fs::write(folder.join(&name), &text).unwrap();
        }
        let there = fs::read_to_string(folder.join(&name)).unwrap_or_default();
        assert_eq!(there, text, "{name} differs: SYMBOLON_REGENERATE=1 approves it");
        names.insert(name);
    }
    let entries = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
    let there: BTreeSet<_> = entries.map(|name| name.into_string().unwrap()).collect();
    assert_eq!(there, names, "schemas of nothing");
}

#[test]
fn every_document_has_a_place() {
    let commands: Vec<_> = commands().into_iter().chain(of_validators()).collect();
    let placed = commands.iter().flat_map(|(_, documents)| documents.iter().map(|(name, _)| *name));
    assert_eq!(placed.collect::<BTreeSet<_>>(), DOCUMENTS.iter().copied().collect());
}
