//! Writes the files of `spec/vectors/consensus` when `SYMBOLON_REGENERATE=1` is set, and otherwise holds them against what it
//! would write: regenerating is approving.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::{env, fs, path::Path};

use ed25519_dalek::SigningKey;
use serde_json::{Value, json};
use symbolon_consensus::{
    Evidence, Guard, Message,
    message::{Body, MessageError, Polka, Proposal, RoundKind, RoundVote, RoundVotes, Step, Vote},
    proposer,
    statement::{Place, Statement},
};
use symbolon_protocol::{
    Decode as _, Encode as _,
    id::{AccountId, ChainId, Hash, hex, unhex},
    ledger::commit::{Commit, CommitSignature, Validator, Validators},
    signature,
};

const CHAIN: ChainId = ChainId([7; 32]);
const BLOCK: Hash = Hash([9; 32]);

#[test]
fn the_files_are_what_the_code_says() {
    check("messages.json", messages(), run_message);
    check("statements.json", statements(), run_statement);
    check("certificates.json", certificates(), run_certificate);
    check("guard.json", guards(), run_guard);
    check("evidence.json", evidence(), run_evidence);
    check("proposers.json", proposers(), run_proposer);
}

fn check(name: &str, cases: Vec<Value>, run: fn(&Value) -> String) {
    for case in &cases {
        assert_eq!(run(case), case["outcome"].as_str().unwrap(), "{name}: {}", case["name"]);
    }
    let refused = cases.iter().filter(|case| case["outcome"] != "ok").count();
    assert!(cases.len() < 2 * refused, "{name}: most vectors must fail");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spec/vectors/consensus").join(name);
    let text = serde_json::to_string_pretty(&Value::Array(cases)).unwrap() + "\n";
    if env::var_os("SYMBOLON_REGENERATE").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap();
    assert!(found == text, "{} differs: set SYMBOLON_REGENERATE=1 to approve", path.display());
}

fn bytes(case: &Value, field: &str) -> Vec<u8> {
    unhex(case[field].as_str().unwrap()).unwrap()
}

fn array<const N: usize>(case: &Value, field: &str) -> [u8; N] {
    bytes(case, field).try_into().unwrap()
}

fn number<T: TryFrom<u64>>(case: &Value, field: &str) -> T {
    T::try_from(case[field].as_u64().unwrap()).ok().unwrap()
}

fn first_word(error: &impl std::fmt::Debug) -> String {
    let words = format!("{error:?}");
    words.split([' ', '{', '(']).next().unwrap().into()
}

fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

fn id(key: &SigningKey) -> AccountId {
    AccountId(key.verifying_key().to_bytes())
}

fn set(members: &[(u8, u64)]) -> Validators {
    let members = members.iter();
    let mut members: Vec<_> =
        members.map(|(one, power)| Validator { key: id(&key(*one)), power: *power }).collect();
    members.sort_unstable_by_key(|member| member.key);
    Validators { members }
}

fn vote(number: u8, step: Step, block: Option<Hash>) -> Vote {
    let (key, signature) = (key(number), [0; 64]);
    let mut vote = Vote { height: 5, round: 2, step, block, voter: id(&key), signature };
    vote.signature = signature::sign(&key, &Statement::of_vote(&CHAIN, &vote).digest);
    vote
}

fn proposal(number: u8, block: Hash, locked_round: Option<u32>) -> Proposal {
    let (key, signature) = (key(number), [0; 64]);
    let (height, round, proposer) = (5, 2, id(&key));
    let mut proposal = Proposal { height, round, block, locked_round, proposer, signature };
    proposal.signature = signature::sign(&key, &Statement::of_proposal(&CHAIN, &proposal).digest);
    proposal
}

// Messages.

fn run_message(case: &Value) -> String {
    let given = match case.get("fill") {
        Some(_) => vec![number(case, "fill"); number(case, "length")],
        None => bytes(case, "bytes"),
    };
    match Message::read(&given) {
        Ok(message) if message.to_bytes() == given => "ok".into(),
        Ok(_) => "mismatch".into(),
        Err(MessageError::Decode(error)) => first_word(&error),
        Err(error) => first_word(&error),
    }
}

#[allow(clippy::too_many_lines, reason = "a table of cases")]
fn messages() -> Vec<Value> {
    let case = |name: &str, why: &str, bytes: &[u8], outcome: &str| json!({ "name": name, "why": why, "bytes": hex(bytes), "outcome": outcome });
    let of = |vote: Vote| Message::Vote { vote }.to_bytes();
    let one = CommitSignature { validator: 0, signature: [3; 64] };
    let (height, block) = (5, BLOCK);
    let polka = |count: usize, round| {
        let polka = Polka { height, round, block, signatures: vec![one; count] };
        Message::Polka { polka }.to_bytes()
    };
    let end = |count: usize, step, round| {
        let one = RoundVote { step, block: None, validator: 1, signature: [3; 64] };
        let (kind, votes) = (RoundKind::Over, vec![one; count]);
        Message::RoundVotes { votes: RoundVotes { height, round, kind, votes } }.to_bytes()
    };
    let one_vote =
        RoundVote { step: Step::Prevote, block: Some(BLOCK), validator: 1, signature: [3; 64] };
    let skip = RoundVotes { height, round: 2, kind: RoundKind::Skip, votes: vec![one_vote] };
    let skip = Message::RoundVotes { votes: skip }.to_bytes();
    let body = || Body::new(vec![1, 2, 3]);
    let shown = |proposal| Message::Proposal { proposal, body: body() }.to_bytes();
    let committed = |count: usize, round| {
        let commit = Commit { round, signatures: vec![one; count] };
        Message::Committed { height, block, commit, body: body() }.to_bytes()
    };
    let plain = of(vote(1, Step::Prevote, Some(BLOCK)));
    let (last, far) = (1 << 30, (1 << 30) + 1);
    let changed = |at: usize, to: u8| {
        let mut bytes = plain.clone();
        bytes[at] = to;
        bytes
    };
    let first = proposal(1, BLOCK, None);
    let mut long = shown(first.clone());
    let at = long.len() - 7;
    long[at..at + 4].copy_from_slice(&1_064_961_u32.to_le_bytes());
    let no_step = of(vote(1, Step::Proposal, None));
    let last_round = Vote { round: last, ..vote(1, Step::Prevote, None) };
    let far_round = Vote { round: far, ..vote(1, Step::Prevote, None) };
    let far_shown = Proposal { round: far, ..first.clone() };
    vec![
        case("a prevote", "the plain case", &plain, "ok"),
        case(
            "a precommit for none",
            "the block is absent",
            &of(vote(1, Step::Precommit, None)),
            "ok",
        ),
        case("the last round", "the bound itself is allowed", &of(last_round), "ok"),
        case("a round too far", "counts must not overflow", &of(far_round), "NoSuchPlace"),
        case("a vote that proposes", "a proposal is another message", &no_step, "NoSuchPlace"),
        case("no such step", "steps are 1 to 3", &changed(13, 4), "Tag"),
        case("a step of zero", "steps are 1 to 3", &changed(13, 0), "Tag"),
        case("a flag of two", "an option is 0 or 1", &changed(14, 2), "Tag"),
        case("no such message", "the first byte is its tag", &changed(0, 8), "Tag"),
        case("a byte more", "bytes follow", &[&plain[..], &[0]].concat(), "Trailing"),
        case("a byte less", "it ends too early", &plain[..plain.len() - 1], "Short"),
        case("nothing", "there is no tag", &[], "Short"),
        case("a proposal", "with its block", &shown(proposal(1, BLOCK, Some(1))), "ok"),
        case("a proposal too far", "as for votes", &shown(far_shown), "NoSuchPlace"),
        case("a block that is too long", "its count is checked first", &long, "TooMany"),
        case(
            "a block that is cut",
            "its count is more than there is",
            &shown(first)[..147],
            "Short",
        ),
        case("a polka of 128", "as many as a set has", &polka(128, 0), "ok"),
        case("a polka of 129", "more than a set has", &polka(129, 0), "TooManySignatures"),
        case("a polka too far", "as for votes", &polka(1, far), "NoSuchPlace"),
        case("an end of a round", "precommits", &end(128, Step::Precommit, 0), "ok"),
        case("a later round", "votes of any step", &skip, "ok"),
        case("an end of 129", "more", &end(129, Step::Precommit, 0), "TooManySignatures"),
        case(
            "an end with proposals",
            "only votes end it",
            &end(2, Step::Proposal, 0),
            "NoSuchPlace",
        ),
        case("an end too far", "as for votes", &end(1, Step::Prevote, far), "NoSuchPlace"),
        case("a status", "a height", &Message::Status { height }.to_bytes(), "ok"),
        case("a wish", "a height", &Message::Wanted { height }.to_bytes(), "ok"),
        case("a committed block", "with its commit", &committed(128, last), "ok"),
        case("a commit of 129", "more", &committed(129, 0), "TooManySignatures"),
        case("a commit too far", "as for votes", &committed(1, far), "NoSuchPlace"),
        json!({ "name": "too long without a block", "why": "it is not read at all", "fill": 1,
                "length": 16_385, "outcome": "TooLong" }),
        json!({ "name": "too long with a block", "why": "it is not read at all", "fill": 2,
                "length": 1_081_345, "outcome": "TooLong" }),
        json!({ "name": "as long as a block allows", "why": "it is read, and is none", "fill": 2,
                "length": 1_081_344, "outcome": "Tag" }),
        json!({ "name": "as long as a message allows", "why": "it is read, and is none", "fill": 1,
                "length": 16_384, "outcome": "Trailing" }),
    ]
}

// What is signed.

fn run_statement(case: &Value) -> String {
    let chain = ChainId(array(case, "chain"));
    let (key, digest, given) = match Message::read(&bytes(case, "message")).unwrap() {
        Message::Vote { vote } => {
            (vote.voter, Statement::of_vote(&chain, &vote).digest, vote.signature)
        }
        Message::Proposal { proposal, .. } => {
            let digest = Statement::of_proposal(&chain, &proposal).digest;
            (proposal.proposer, digest, proposal.signature)
        }
        other => panic!("{other:?} is not signed"),
    };
    if hex(&digest.0) != case["digest"] {
        return "OtherDigest".into();
    }
    let holds = signature::verify(&key.0, &digest, &given).is_ok();
    if holds { "ok".into() } else { "Signature".into() }
}

fn statements() -> Vec<Value> {
    let case = |name: &str, why: &str, chain: ChainId, message: Message, outcome: &str| {
        let digest = match &message {
            Message::Vote { vote } => Statement::of_vote(&chain, vote).digest,
            Message::Proposal { proposal, .. } => Statement::of_proposal(&chain, proposal).digest,
            _ => unreachable!("only these are signed"),
        };
        json!({ "name": name, "why": why, "chain": hex(&chain.0), "outcome": outcome,
                "message": hex(&message.to_bytes()), "digest": hex(&digest.0) })
    };
    let said = |vote: Vote| Message::Vote { vote };
    let shown = |proposal: Proposal| {
        let body = Body::new(vec![1, 2, 3]);
        Message::Proposal { proposal, body }
    };
    let prevote = vote(1, Step::Prevote, Some(BLOCK));
    let first = proposal(1, BLOCK, None);
    let precommit = vote(1, Step::Precommit, Some(BLOCK));
    let other = Some(Hash([8; 32]));
    let (again, elsewhere) = (Some(1), ChainId([8; 32]));
    let forged = [
        ("another height", said(Vote { height: 6, ..prevote.clone() })),
        ("another round", said(Vote { round: 3, ..prevote.clone() })),
        ("another step", said(Vote { step: Step::Precommit, ..prevote.clone() })),
        ("another block", said(Vote { block: other, ..prevote.clone() })),
        ("no block", said(Vote { block: None, ..prevote.clone() })),
        ("another voter", said(Vote { voter: id(&key(2)), ..prevote.clone() })),
        ("a precommit of another block", said(Vote { block: other, ..precommit.clone() })),
        ("a precommit of another round", said(Vote { round: 3, ..precommit.clone() })),
        ("a proposal of another round", shown(Proposal { round: 3, ..first.clone() })),
        (
            "a proposal with a locked round",
            shown(Proposal { locked_round: again, ..first.clone() }),
        ),
    ];
    let mut cases = vec![
        case("a prevote", "for a block", CHAIN, said(prevote.clone()), "ok"),
        case("a prevote for none", "", CHAIN, said(vote(1, Step::Prevote, None)), "ok"),
        case("a precommit", "the statement of a commit", CHAIN, said(precommit), "ok"),
        case("a precommit for none", "", CHAIN, said(vote(1, Step::Precommit, None)), "ok"),
        case("a proposal", "a new block", CHAIN, shown(first), "ok"),
        case("a proposal again", "a locked one", CHAIN, shown(proposal(1, BLOCK, again)), "ok"),
        case("another ledger", "it is bound to one", elsewhere, said(prevote), "Signature"),
    ];
    let why = "the signature covers it";
    cases.extend(forged.map(|(name, message)| case(name, why, CHAIN, message, "Signature")));
    cases
}

// Certificates.

fn run_certificate(case: &Value) -> String {
    let commit = Commit::from_bytes(&bytes(case, "commit")).unwrap();
    let set = Validators::from_bytes(&bytes(case, "validators")).unwrap();
    let (chain, block) = (ChainId(array(case, "chain")), Hash(array(case, "block")));
    let digest = Commit::statement(&chain, number(case, "height"), commit.round, &block);
    match commit.verify_statement(&digest, &set, signature::verify) {
        Ok(()) => "ok".into(),
        Err(error) => first_word(&error),
    }
}

/// A certificate by these keys.
fn certificate(set: &Validators, round: u32, signers: &[u8]) -> Commit {
    let digest = Commit::statement(&CHAIN, 5, round, &BLOCK);
    let mut signatures: Vec<_> = signers
        .iter()
        .map(|one| {
            let place = set.members.iter().position(|member| member.key == id(&key(*one)));
            let validator = u16::try_from(place.unwrap()).unwrap();
            CommitSignature { validator, signature: signature::sign(&key(*one), &digest) }
        })
        .collect();
    signatures.sort_unstable_by_key(|one| one.validator);
    Commit { round, signatures }
}

#[allow(clippy::too_many_lines, reason = "a table of cases")]
fn certificates() -> Vec<Value> {
    let case = |name: &str, why: &str, set: &Validators, commit: &Commit, outcome: &str| {
        json!({ "name": name, "why": why, "chain": hex(&CHAIN.0), "height": 5, "block": hex(&BLOCK.0),
                "validators": hex(&set.to_bytes()), "commit": hex(&commit.to_bytes()),
                "outcome": outcome })
    };
    let changed = |commit: &Commit, change: &dyn Fn(&mut Commit)| {
        let mut commit = commit.clone();
        change(&mut commit);
        commit
    };
    let with = |mut case: Value, field: &str, value: Value| {
        case[field] = value;
        case
    };
    let weights = set(&[(1, 5), (2, 3), (3, 1), (4, 1)]);
    let three = set(&[(1, 1), (2, 1), (3, 1)]);
    let alone = set(&[(1, 1)]);
    let good = certificate(&weights, 3, &[1, 2]);
    let twice = changed(&good, &|one| one.signatures[1] = one.signatures[0]);
    let swapped = changed(&good, &|one| one.signatures.swap(0, 1));
    let stranger = changed(&good, &|one| one.signatures[1].validator = 4);
    let bent = changed(&good, &|one| one.signatures[1].signature[5] ^= 1);
    let later = changed(&good, &|one| one.round = 4);
    let all = certificate(&weights, 0, &[1, 2, 3, 4]);
    let padded = changed(&all, &|one| one.signatures[3].signature[5] ^= 1);
    let other_block = with(
        case("another block", "a certificate is of one block", &weights, &good, "Signature"),
        "block",
        json!("08".repeat(32)),
    );
    let other_height = with(
        case("another height", "and of one height", &weights, &good, "Signature"),
        "height",
        json!(6),
    );
    let other_chain = with(
        case("another ledger", "and of one ledger", &weights, &good, "Signature"),
        "chain",
        json!("08".repeat(32)),
    );
    let exactly = certificate(&three, 0, &[1, 2]);
    let little = certificate(&weights, 0, &[1, 3]);
    vec![
        case("eight of ten", "more than two thirds", &weights, &good, "ok"),
        case(
            "seven of ten",
            "a little more",
            &weights,
            &certificate(&weights, 0, &[1, 3, 4]),
            "ok",
        ),
        case("all", "", &weights, &all, "ok"),
        case("one alone", "a set of one", &alone, &certificate(&alone, 0, &[1]), "ok"),
        case("six of ten", "less than two thirds", &weights, &little, "TooLittlePower"),
        case("two of three", "two thirds are too little", &three, &exactly, "TooLittlePower"),
        case("nothing", "no signature", &alone, &certificate(&alone, 0, &[]), "TooLittlePower"),
        case("twice the same", "a member counts once", &weights, &twice, "Order"),
        case("out of order", "it has one form", &weights, &swapped, "Order"),
        case("no such place", "the set has four", &weights, &stranger, "Order"),
        case("a bent signature", "it does not hold", &weights, &bent, "Signature"),
        case("another round", "the round is signed", &weights, &later, "Signature"),
        case("one bad among enough", "all must hold", &weights, &padded, "Signature"),
        other_block,
        other_height,
        other_chain,
    ]
}

// The guard.

fn run_guard(case: &Value) -> String {
    let last = case["last"].as_str().map(|_| Guard::from_bytes(&bytes(case, "last")).unwrap());
    let step = Step::from_bytes(&[number(case, "step")]).unwrap();
    let place = Place { height: number(case, "height"), round: number(case, "round"), step };
    let next = Statement { place, digest: Hash(array(case, "digest")) };
    match Guard::advance(last.as_ref(), &next) {
        Err(error) => first_word(&error),
        Ok(after) if hex(&after.to_bytes()) == case["after"] => "ok".into(),
        Ok(_) => "OtherGuard".into(),
    }
}

fn guards() -> Vec<Value> {
    let last = Guard { height: 5, round: 2, step: Step::Prevote, digest: Hash([1; 32]) };
    let case =
        |name: &str, last: Option<&Guard>, at: (u64, u32, Step), digest: u8, outcome: &str| {
            let (height, round, step) = at;
            let digest = Hash([digest; 32]);
            let after = Guard { height, round, step, digest };
            json!({ "name": name, "why": "each place is signed once, in their order",
                "last": last.map(|last| hex(&last.to_bytes())), "height": height, "round": round,
                "step": step.to_bytes()[0], "digest": hex(&digest.0),
                "after": hex(&after.to_bytes()), "outcome": outcome })
        };
    let some = Some(&last);
    vec![
        case("the first statement", None, (1, 0, Step::Proposal), 1, "ok"),
        case("the same again", some, (5, 2, Step::Prevote), 1, "ok"),
        case("the next step", some, (5, 2, Step::Precommit), 2, "ok"),
        case("the next round", some, (5, 3, Step::Proposal), 2, "ok"),
        case("another one there", some, (5, 2, Step::Prevote), 2, "Conflicting"),
        case("the step before", some, (5, 2, Step::Proposal), 1, "Earlier"),
        case("the round before", some, (5, 1, Step::Precommit), 2, "Earlier"),
        case("the round before, the same", some, (5, 1, Step::Prevote), 1, "Earlier"),
        case("the height before", some, (4, 9, Step::Precommit), 2, "Earlier"),
        case("the first height", some, (1, 0, Step::Proposal), 2, "Earlier"),
    ]
}

// Evidence.

fn run_evidence(case: &Value) -> String {
    let evidence = Evidence::from_bytes(&bytes(case, "evidence")).unwrap();
    let set = Validators::from_bytes(&bytes(case, "validators")).unwrap();
    match evidence.check(&ChainId(array(case, "chain")), &set) {
        Err(error) => first_word(&error),
        Ok(signer) if hex(&signer.0) == case["convicted"] => "ok".into(),
        Ok(_) => "OtherSigner".into(),
    }
}

#[allow(clippy::too_many_lines, reason = "a table of cases")]
fn evidence() -> Vec<Value> {
    let set = set(&[(1, 5), (2, 3)]);
    let case = |name: &str, evidence: Evidence, outcome: &str| {
        json!({ "name": name, "why": "two statements at one place convict", "chain": hex(&CHAIN.0),
                "validators": hex(&set.to_bytes()), "evidence": hex(&evidence.to_bytes()),
                "convicted": hex(&id(&key(1)).0), "outcome": outcome })
    };
    let votes = |first: &Vote, second: &Vote| Evidence::Votes {
        first: first.clone(),
        second: second.clone(),
    };
    let shown = |first: Proposal, second: Proposal| Evidence::Proposals { first, second };
    let (block, other) = (Some(BLOCK), Some(Hash([8; 32])));
    let first = vote(1, Step::Prevote, block);
    let moved = |height: u64, round: u32| {
        let key = key(1);
        let mut vote = Vote { height, round, ..vote(1, Step::Prevote, other) };
        vote.signature = signature::sign(&key, &Statement::of_vote(&CHAIN, &vote).digest);
        vote
    };
    let mut bent = vote(1, Step::Prevote, other);
    bent.signature[9] ^= 1;
    let (a, b) = (vote(3, Step::Prevote, block), vote(3, Step::Prevote, None));
    let fresh = proposal(1, BLOCK, None);
    let mut forged = proposal(1, Hash([8; 32]), None);
    forged.signature[9] ^= 1;
    let mut moved_on = Proposal { round: 3, ..proposal(1, Hash([8; 32]), None) };
    moved_on.signature =
        signature::sign(&key(1), &Statement::of_proposal(&CHAIN, &moved_on).digest);
    vec![
        case("two blocks", votes(&first, &vote(1, Step::Prevote, other)), "ok"),
        case("a block and none", votes(&first, &vote(1, Step::Prevote, None)), "ok"),
        case("two proposals", shown(fresh.clone(), proposal(1, Hash([8; 32]), None)), "ok"),
        case("one block, two locks", shown(fresh.clone(), proposal(1, BLOCK, Some(0))), "ok"),
        case("the same vote", votes(&first, &first), "Same"),
        case("the same proposal", shown(fresh.clone(), fresh.clone()), "Same"),
        case("two voters", votes(&first, &vote(2, Step::Prevote, other)), "TwoSigners"),
        case("two proposers", shown(fresh.clone(), proposal(2, BLOCK, None)), "TwoSigners"),
        case("two rounds", votes(&first, &moved(5, 3)), "TwoPlaces"),
        case("two heights", votes(&first, &moved(6, 2)), "TwoPlaces"),
        case("two steps", votes(&first, &vote(1, Step::Precommit, other)), "TwoPlaces"),
        case("proposals of two rounds", shown(fresh.clone(), moved_on), "TwoPlaces"),
        case("of no member", votes(&a, &b), "NotAMember"),
        case("the second is forged", votes(&first, &bent), "Signature"),
        case("the first is forged", votes(&bent, &first), "Signature"),
        case("a forged proposal", shown(fresh, forged), "Signature"),
    ]
}

// Proposers.

fn run_proposer(case: &Value) -> String {
    let set = Validators::from_bytes(&bytes(case, "validators")).unwrap();
    let chain = ChainId(array(case, "chain"));
    let found = proposer(&chain, &set, number(case, "height"), number(case, "round"));
    if hex(&found.0) == case["proposer"] { "ok".into() } else { "OtherProposer".into() }
}

fn proposers() -> Vec<Value> {
    let weights = set(&[(1, 5), (2, 3), (3, 1), (4, 1)]);
    let case = |height: u64, round: u32, found: AccountId, outcome: &str| {
        json!({ "name": format!("height {height}, round {round}: {outcome}"),
                "why": "drawn by power, then in turn", "chain": hex(&CHAIN.0),
                "validators": hex(&weights.to_bytes()), "height": height, "round": round,
                "proposer": hex(&found.0), "outcome": outcome })
    };
    let mut cases = Vec::new();
    for (height, round) in [(1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (5, 1), (5, 2), (5, 3), (5, 4)]
    {
        let found = proposer(&CHAIN, &weights, height, round);
        cases.push(case(height, round, found, "ok"));
        let others = weights.members.iter().map(|member| member.key).filter(|key| *key != found);
        cases.extend(others.take(2).map(|other| case(height, round, other, "OtherProposer")));
    }
    cases
}
