//! Vectors of the wire: values of every kind, frames, tickets.

use bytes::Bytes;
use serde_json::{Value, json};
use symbolon_ledger::{LedgerTicket, TicketError};
use symbolon_net::{Alpn, MemoryNetwork, NetError, PeerAddress};
use symbolon_protocol::{
    Decode, Encode,
    codec::{DecodeError, Reader},
    content::Manifest,
    custody::VaultKey,
    grant::{Caveat, Grant, Link},
    id::{ChainId, PeerId, hex},
    ledger::{
        Status,
        block::{Block, Event, Place, Reason, SignedHeader},
        transaction::Transaction,
    },
    limits::{LIST_MAX, MESSAGE_BYTES_MAX},
    names::Change,
    preview::Preview,
    text::TextError,
    wire::{
        ledger::{Request as LedgerRequest, Response as LedgerResponse},
        preview::{Request as PreviewRequest, Response as PreviewResponse},
        storage::{
            Fault, Refusal, RefusalCode, Request as StorageRequest, Response as StorageResponse,
            SliceHead,
        },
    },
};

use crate::{bytes, outcome, replay, text, texts, wire_values};

macro_rules! kinds {
    ($($name:literal => $type:ty,)*) => {
        fn read(kind: &str, bytes: &[u8]) -> String {
            match kind {
                $($name => one::<$type>(bytes),)*
                other => panic!("no such kind: {other}"),
            }
        }
    };
}

kinds! {
    "bool" => bool,
    "u128" => u128,
    "?u8" => Option<u8>,
    "[u16]" => Vec<u16>,
    "bytes" => Vec<u8>,
    "text" => String,
    "Block" => Block,
    "Caveat" => Caveat,
    "Change" => Change,
    "Event" => Event,
    "Fault" => Fault,
    "Grant" => Grant,
    "LedgerRequest" => LedgerRequest,
    "LedgerResponse" => LedgerResponse,
    "Link" => Link,
    "Manifest" => Manifest,
    "PeerAddress" => PeerAddress,
    "Place" => Place,
    "Preview" => Preview,
    "PreviewRequest" => PreviewRequest,
    "PreviewResponse" => PreviewResponse,
    "Reason" => Reason,
    "Refusal" => Refusal,
    "RefusalCode" => RefusalCode,
    "SignedHeader" => SignedHeader,
    "SliceHead" => SliceHead,
    "Status" => Status,
    "StorageRequest" => StorageRequest,
    "StorageResponse" => StorageResponse,
    "Transaction" => Transaction,
    "VaultKey" => VaultKey,
}

fn one<T: Encode + Decode>(bytes: &[u8]) -> String {
    outcome(T::from_bytes(bytes).map(|value| assert_eq!(value.to_bytes(), bytes, "one encoding")))
}

#[test]
fn values() {
    replay("wire/values.json", value_cases, |case| read(text(case, "kind"), &unfolded(case)));
}

/// The bytes of a case, with a byte put in many times where `fill` says.
fn unfolded(case: &Value) -> Vec<u8> {
    let mut all = bytes(case, "bytes");
    if let Some(fill) = case["fill"].as_array() {
        let [at, byte, count] =
            [0, 1, 2].map(|i| usize::try_from(fill[i].as_u64().unwrap()).unwrap());
        all.splice(at..at, std::iter::repeat_n(u8::try_from(byte).unwrap(), count));
    }
    all
}

fn case(kind: &str, name: &str, bytes: &[u8], outcome: &str) -> Value {
    json!({ "name": name, "kind": kind, "bytes": hex(bytes), "outcome": outcome })
}

fn filled(kind: &str, name: &str, bytes: &[u8], fill: (usize, u8, usize), outcome: &str) -> Value {
    let mut case = case(kind, name, bytes, outcome);
    case["fill"] = json!([fill.0, fill.1, fill.2]);
    case
}

fn value_cases() -> Vec<Value> {
    let mut cases = Vec::new();
    for (kind, name, value) in wire_values::all() {
        cases.push(case(kind, &name, &value, "ok"));
        let cut = &value[..value.len() - 1];
        cases.push(case(kind, &format!("{name}, cut"), cut, "Short"));
        let more = [&value[..], &[0]].concat();
        cases.push(case(kind, &format!("{name}, and a byte more"), &more, "Trailing"));
    }
    cases.extend(tags());
    cases.extend(counts());
    cases.extend(bounded());
    cases.extend(manifests());
    cases
}

/// Every tag of the kinds that are tags alone, and what stands between and after them.
fn tags() -> Vec<Value> {
    let mut cases = Vec::new();
    let mut all = |kind: &str, known: &dyn Fn(u8) -> bool, most: u8| {
        for tag in (0..=most).chain([255]) {
            let outcome = if known(tag) { "ok" } else { "Tag" };
            cases.push(case(kind, &format!("{kind} {tag}"), &[tag], outcome));
        }
    };
    all("bool", &|tag| tag <= 1, 2);
    all("Fault", &|tag| (1..=3).contains(&tag), 4);
    all("RefusalCode", &|tag| RefusalCode::from_bytes(&[tag]).is_ok(), 40);
    all("Status", &|tag| Status::ALL.iter().any(|status| *status as u8 == tag), 60);
    for (kind, tag) in [
        ("?u8", 2),
        ("?u8", 255),
        ("Caveat", 0),
        ("Caveat", 13),
        ("Event", 0),
        ("Event", 99),
        ("Place", 11),
        ("Reason", 0),
        ("Reason", 99),
        ("LedgerRequest", 0),
        ("LedgerRequest", 99),
        ("LedgerResponse", 99),
        ("StorageRequest", 0),
        ("StorageRequest", 99),
        ("StorageResponse", 99),
    ] {
        cases.push(case(kind, &format!("{kind} {tag}"), &[tag], "Tag"));
    }
    cases
}

/// Lists and texts at their largest count, and one above.
fn counts() -> Vec<Value> {
    let most = LIST_MAX.to_le_bytes();
    let more = (LIST_MAX + 1).to_le_bytes();
    let many = usize::try_from(LIST_MAX).unwrap();
    vec![
        filled("bytes", "as many bytes as can be", &most, (4, 7, many), "ok"),
        case("bytes", "so many are said and none follow", &most, "Short"),
        filled("bytes", "one more", &more, (4, 7, many + 1), "TooMany"),
        case("[u16]", "a list of more, without them", &more, "TooMany"),
        case("[u16]", "a list of 4,294,967,295", &[0xff; 4], "TooMany"),
        filled("text", "as much text as can be", &most, (4, b'a', many), "ok"),
        filled("text", "a byte more of text", &more, (4, b'a', many + 1), "TooMany"),
        case("text", "two bytes for a letter", &[2, 0, 0, 0, 0xc3, 0xa9], "ok"),
        case("text", "half a letter", &[1, 0, 0, 0, 0xc3], "Invalid"),
        case("text", "a letter in too many bytes", &[2, 0, 0, 0, 0xc1, 0xa1], "Invalid"),
        case("text", "half of a pair of surrogates", &[3, 0, 0, 0, 0xed, 0xa0, 0x80], "Invalid"),
        case("u128", "the largest amount", &[0xff; 16], "ok"),
    ]
}

/// Values whose own limits are below those of lists.
fn bounded() -> Vec<Value> {
    let address = |count: usize, length: usize| {
        let addresses = vec!["a".repeat(length); count];
        PeerAddress { id: PeerId([3; 32]), addresses }.to_bytes()
    };
    let link = |depths: usize| {
        let caveats = vec![Caveat::Depth { links: 9 }; depths];
        Link { audience: PeerId([1; 32]), nonce: [2; 8], caveats, signature: [3; 64] }
    };
    let mut claims = link(0).to_bytes();
    claims[40..44].copy_from_slice(&1025_u32.to_le_bytes());
    let key = |count: u32| [&[1][..], &count.to_le_bytes(), &[0]].concat();
    let value = |count: u32| [&[1, 1, 0, 0, 0, 7, 1][..], &count.to_le_bytes()].concat();
    vec![
        case("PeerAddress", "16 addresses of 256 bytes", &address(16, 256), "ok"),
        case("PeerAddress", "17 addresses", &address(17, 1), "TooMany"),
        case("PeerAddress", "an address of 257 bytes", &address(1, 257), "TooMany"),
        case("Link", "caveats up to 2048 bytes of link", &link(1002).to_bytes(), "ok"),
        case("Link", "one caveat more", &link(1003).to_bytes(), "TooMany"),
        case("Link", "more caveats than fit, claimed", &claims, "TooMany"),
        filled("Change", "key of 8192 bytes", &key(8192), (5, 7, 8192), "ok"),
        filled("Change", "key of 8193 bytes", &key(8193), (5, 7, 8193), "TooMany"),
        filled("Change", "value of a mebibyte", &value(1 << 20), (11, 7, 1 << 20), "ok"),
        filled(
            "Change",
            "a byte more of value",
            &value((1 << 20) + 1),
            (11, 7, (1 << 20) + 1),
            "TooMany",
        ),
    ]
}

fn manifests() -> Vec<Value> {
    let good = wire_values::manifest().to_bytes();
    let with = |at: usize, values: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + values.len()].copy_from_slice(values);
        bytes
    };
    let most = 1_u64 << 56;
    vec![
        case("Manifest", "manifest version 0", &with(0, &[0]), "Tag"),
        case("Manifest", "manifest version 2", &with(0, &[2]), "Tag"),
        case("Manifest", "codec 0", &with(1, &[0]), "Tag"),
        case("Manifest", "codec 2", &with(1, &[2]), "Tag"),
        case("Manifest", "mask mode 0", &with(2, &[0]), "ok"),
        case("Manifest", "mask mode 2", &with(2, &[2]), "Tag"),
        case("Manifest", "none required", &with(3, &[0]), "Invalid"),
        case("Manifest", "more required than made", &with(3, &[6, 5]), "Invalid"),
        case("Manifest", "all required of 128", &with(3, &[128, 128]), "ok"),
        case("Manifest", "129 shards", &with(3, &[128, 129]), "Invalid"),
        case("Manifest", "as long as can be", &with(21, &most.to_le_bytes()), "ok"),
        case("Manifest", "a byte longer", &with(21, &(most + 1).to_le_bytes()), "Invalid"),
    ]
}

#[test]
fn frames() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    replay("wire/frames.json", frame_cases, |case| {
        let zeros = usize::try_from(case["zeros"].as_u64().unwrap_or(0)).unwrap();
        let mut sent = bytes(case, "bytes");
        sent.resize(sent.len() + zeros, 0);
        let read = runtime.block_on(through_a_stream(sent));
        if let Ok(lengths) = &read {
            assert_eq!(json!(lengths), case["messages"]);
        }
        outcome(read)
    });
}

/// Any message, as its bytes.
struct Raw(usize);

impl Decode for Raw {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let left = input.remaining();
        input.take(left).map(|bytes| Self(bytes.len()))
    }
}

/// How long the messages are that come out of a stream with these bytes.
async fn through_a_stream(sent: Vec<u8>) -> Result<Vec<usize>, NetError> {
    let network = MemoryNetwork::new();
    let client = network.endpoint([1; 32]);
    let server = network.endpoint_accepting([2; 32], &[Alpn::Ledger]);
    let address = server.address();
    let (one, other) = tokio::join!(client.connect(&address, Alpn::Ledger), server.accept());
    let (one, other) = (one.unwrap(), other.unwrap());
    let (mut sender, _) = one.open().await.unwrap();
    let write = async {
        sender.write(Bytes::from(sent)).await.unwrap_or_default();
        sender.finish();
    };
    let read = async {
        let (_, mut receiver) = other.accept().await?;
        let mut lengths = Vec::new();
        while let Some(Raw(length)) = receiver.receive_or_end().await? {
            lengths.push(length);
        }
        Ok::<_, NetError>(lengths)
    };
    let ((), read) = tokio::join!(write, read);
    read
}

fn frame_cases() -> Vec<Value> {
    let case =
        |name: &str, why: &str, bytes: &[u8], zeros: usize, messages: &[usize], out: &str| {
            json!({
                "name": name, "why": why, "bytes": hex(bytes), "zeros": zeros, "messages": messages,
                "outcome": out,
            })
        };
    let length = |bytes: usize| u32::try_from(bytes).unwrap().to_le_bytes();
    let (most, more) = (length(MESSAGE_BYTES_MAX), length(MESSAGE_BYTES_MAX + 1));
    let head = [1, 0, 0, 0, 2];
    let two = [&head[..], &[0, 0, 0, 0], &head].concat();
    vec![
        case("a head", "as in the page", &head, 0, &[1], "ok"),
        case("three frames", "the one in the middle has no bytes", &two, 0, &[1, 0, 1], "ok"),
        case(
            "the largest frame",
            "two mebibytes",
            &most,
            MESSAGE_BYTES_MAX,
            &[MESSAGE_BYTES_MAX],
            "ok",
        ),
        case("a byte larger", "refused by its length", &more, 0, &[], "TooLarge"),
        case(
            "a larger one, sent whole",
            "all the same",
            &more,
            MESSAGE_BYTES_MAX + 1,
            &[],
            "TooLarge",
        ),
        case("the largest length", "4,294,967,295 bytes", &[0xff; 4], 0, &[], "TooLarge"),
        case("half a length", "the stream ends inside it", &[1, 0], 0, &[], "Ended"),
        case("a length alone", "its message does not come", &[1, 0, 0, 0], 0, &[], "Ended"),
        case("half a message", "the stream ends inside it", &[2, 0, 0, 0, 7], 0, &[], "Ended"),
        case("a frame and half of one", "the second is cut", &two[..11], 0, &[], "Ended"),
    ]
}

#[test]
fn tickets() {
    replay("wire/tickets.json", ticket_cases, |case| {
        match text(case, "ticket").parse::<LedgerTicket>() {
            Ok(ticket) => {
                assert_eq!(ticket.chain.to_string(), text(case, "chain"));
                assert_eq!(hex(&ticket.peers[0].id.0), text(case, "peer"));
                assert_eq!(json!(ticket.peers[0].addresses), case["addresses"]);
                assert_eq!(json!(ticket.peers.len()), case["peers"]);
                "ok".into()
            }
            Err(TicketError::Text(TextError::Prefix { .. })) => "Kind".into(),
            Err(TicketError::Bytes(_)) => "Bytes".into(),
            Err(TicketError::Peers { .. }) => "Peers".into(),
            Err(_) => "Text".into(),
        }
    });
}

/// A ticket of one server with these addresses.
fn ticket(addresses: &[&str]) -> LedgerTicket {
    let addresses = addresses.iter().map(ToString::to_string).collect();
    let peers = vec![PeerAddress { id: PeerId([3; 32]), addresses }];
    LedgerTicket { chain: ChainId([1; 32]), peers }
}

fn ticket_cases() -> Vec<Value> {
    let case = |name: &str, why: &str, text: &str, addresses: &[&str], outcome: &str| {
        json!({
            "name": name, "why": why, "ticket": text, "chain": hex(&[1; 32]),
            "peer": hex(&[3; 32]), "addresses": addresses, "peers": 1, "outcome": outcome,
        })
    };
    let (four, six) = ("192.0.2.7:4433", "[2001:db8::1]:4433");
    let (long, usual) = ("a".repeat(256), ticket(&[four, six]));
    let whole = usual.to_string();
    let bytes = usual.to_bytes();
    assert_eq!(texts::text("ledger", &bytes), whole);
    let mixed = whole.replacen('q', "Q", 1);
    let typo = if whole.ends_with('q') { "p" } else { "q" };
    let typo = format!("{}{typo}", &whole[..whole.len() - 1]);
    let most = ticket(&[&long[..]; 16]);
    let no = |name: &str, why: &str, text: &str, outcome: &str| case(name, why, text, &[], outcome);
    let several = |count: usize| {
        let one = ticket(&[four]);
        LedgerTicket { peers: vec![one.peers[0].clone(); count], ..one }.to_string()
    };
    let longer = [&bytes[..], &[0]].concat();
    vec![
        case("a ticket", "two addresses", &whole, &[four, six], "ok"),
        case("no address", "which is a ticket too", &ticket(&[]).to_string(), &[], "ok"),
        case("capitals", "as a QR code carries it", &whole.to_uppercase(), &[four, six], "ok"),
        case("spaces", "pasted with its line end", &format!(" {whole}\n"), &[four, six], "ok"),
        case("sixteen addresses", "of 256 bytes", &most.to_string(), &[&long[..]; 16], "ok"),
        no("mixed case", "refused by bech32", &mixed, "Text"),
        no("a typing error", "its last letter", &typo, "Text"),
        no("nothing", "no text", "", "Text"),
        no("no separator", "only a word", "ledger", "Text"),
        no(
            "a padding bit",
            "one text for some bytes",
            &texts::padded_with_a_bit("ledger", &ticket(&[six]).to_bytes()),
            "Text",
        ),
        no(
            "a padding letter",
            "one text for some bytes",
            &texts::padded_with_a_letter("ledger", &ticket(&[four]).to_bytes()),
            "Text",
        ),
        no("another kind", "a grant's prefix", &texts::text("grant", &bytes), "Kind"),
        no(
            "cut bytes",
            "the last is missing",
            &texts::text("ledger", &bytes[..bytes.len() - 1]),
            "Bytes",
        ),
        no("a byte more", "after the record", &texts::text("ledger", &longer), "Bytes"),
        no(
            "8191 letters",
            "as long as can be, and no ticket",
            &texts::text("ledger", &[0; 5111]),
            "Bytes",
        ),
        no("8193 letters", "longer than any", &texts::text("ledger", &[0; 5112]), "Text"),
        no("no server", "which nothing can be asked of", &several(0), "Peers"),
        json!({
            "name": "eight servers", "why": "as many as can be", "ticket": several(8),
            "chain": hex(&[1; 32]), "peer": hex(&[3; 32]), "addresses": [four], "peers": 8, "outcome": "ok",
        }),
        no("nine servers", "one too many", &several(9), "Peers"),
        no("17 addresses", "one too many", &ticket(&["a"; 17]).to_string(), "Bytes"),
    ]
}
