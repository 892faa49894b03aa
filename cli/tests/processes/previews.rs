//! What a listing shows of its file, with real processes: which cells were drawn and which the seller chose, the columns
//! that the seller says, and the rows that are proven.

use std::{fs, net::UdpSocket};

use crate::common::{Network, Server, fails, words};
use serde_json::{Value, json};

/// An epoch that does not end during a test.
const LONG: &str = "1h";

/// Rows of the table that is sold: about 1 MiB, so some twenty cells.
const ROWS: usize = 50_000;

/// A table with a value that would move the cursor of a terminal, turn text around, and fake a line.
fn table() -> String {
    let row = |row: usize| match row {
        1 => String::from("1,1.5,\"\u{1b}[2J\u{202e}evil\nCell 0, proven\",2026-01-02\n"),
        _ => format!("{row},{}.5,bird {row},2026-01-02\n", row * 3),
    };
    format!("id,mass,name,seen\n{}", (0..ROWS).map(row).collect::<String>())
}

fn numbers(cells: &Value) -> Vec<u64> {
    cells.as_array().unwrap().iter().map(|cell| cell["cell"].as_u64().unwrap()).collect()
}

#[test]
fn a_viewer_knows_what_is_proven_and_what_the_seller_chose() {
    let network = Network::start(5, LONG);
    network.identity("seller");
    network.identity("viewer");
    let (text, path) = (table(), network.folder.path().join("birds.csv"));
    fs::write(&path, &text).unwrap();
    network.run(&format!("put {} --for 20h --as seller --yes", path.display())).ok();
    let before = network.balance("seller");
    let sell = |more: &str| network.run(&format!("sell birds.csv --price 7 --as seller {more}"));

    // What everyone will read is said and asked before anything is done, on every network.
    fails(sell("--show-first 2"), 2, "this command asks first");
    fails(sell("--show-first 2 --preview 0 --yes"), 2, "only beside cells that a beacon picks");
    fails(sell("--show-first 255 --yes"), 2, "the whole file");
    fails(sell("--sample 900MiB..901MiB --yes"), 2, "behind the end of the file");
    fails(sell("--sample=-1KiB --yes"), 2, "a sample has a start");
    assert_eq!(network.balance("seller"), before);

    let shows = "--preview 3 --show-first 2 --sample 600000..600001 --yes";
    let sold = sell(shows).ok();
    let listing = sold["listing"].as_str().unwrap();
    let chosen = sold["chosen_cells"].clone();
    let numbered: Vec<u64> = serde_json::from_value(chosen.clone()).unwrap();
    assert_eq!((numbered.len(), &numbered[..2]), (3, &[0, 1][..]), "{sold}");
    assert_eq!(sold["preview_cells"].as_array().unwrap().len(), 3, "{sold}");
    let public = sold["public_bytes_max"].as_u64().unwrap();
    let schema = json!({ "format": "csv", "columns": [
        { "name": "id", "type": "integer" }, { "name": "mass", "type": "number" },
        { "name": "name", "type": "text" }, { "name": "seen", "type": "date" },
    ] });
    assert_eq!(sold["schema"], schema);
    assert_eq!(sell(shows).ok()["outcome"], "already");
    fails(sell("--preview 3 --show-first 1 --yes"), 4, "shows other cells");

    let seen = network.run(&format!("market preview {listing} --as viewer")).ok();
    assert_eq!(json!(numbers(&seen["chosen_cells"])), chosen);
    assert_eq!(json!(numbers(&seen["cells"])), sold["preview_cells"]);
    let mut open = 0;
    for cells in ["cells", "chosen_cells"] {
        for cell in seen[cells].as_array().unwrap() {
            let of = |field: &str| usize::try_from(cell[field].as_u64().unwrap()).unwrap();
            let (offset, length) = (of("offset"), of("length"));
            // The last cells of a stripe may lie behind the end of the file.
            let end = text.len();
            let shown = &text[offset.min(end)..(offset + length).min(end)];
            assert_eq!(cell["text"].as_str(), Some(shown), "{cell}");
            open += length as u64;
        }
    }
    assert!(open <= public && public < text.len() as u64, "{open} of {public}");
    assert_eq!((&seen["schema"], &seen["conforms"]), (&schema, &json!(true)));
    let rows = &seen["first_rows"];
    assert_eq!(rows["rows"].as_array().unwrap().len(), 20, "{rows}");
    assert_eq!(rows["rows"][2], json!(["2", "6.5", "bird 2", "2026-01-02"]));
    // Every whole row of the first two cells, and none that is cut.
    let length = |at: usize| seen["chosen_cells"][at]["length"].as_u64().unwrap();
    let first = usize::try_from(length(0) + length(1)).unwrap();
    let whole = text[..first].matches("2026-01-02\n").count() as u64;
    let count = rows["count"].as_u64().unwrap();
    assert!(count == whole || count + 1 == whole, "{count} of {whole}");

    let said = network.run_plain(&format!("market preview {listing} --as viewer"));
    assert_eq!(said.matches("drawn by the ledger's beacon").count(), 3, "{said}");
    assert_eq!(said.matches("chosen by the seller").count(), 3, "{said}");
    assert!(said.contains("in the seller's word: 4 columns of CSV"), "{said}");
    assert!(said.contains("These rows have the columns that the seller says."), "{said}");
    assert!(!said.contains(['\u{1b}', '\u{202e}']), "{said:?}");
    assert!(!said.lines().any(|line| line.starts_with("Cell 0, proven")), "{said}");
}

#[test]
fn a_file_of_another_kind_says_no_columns() {
    let network = Network::start(5, LONG);
    network.identity("seller");
    let sell = |name: &str, bytes: &[u8]| {
        let path = network.folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        network.run(&format!("put {} --for 20h --as seller --yes", path.display())).ok();
        let sold = network.run(&format!("sell {name} --price 7 --as seller --yes")).ok();
        let listing = sold["listing"].as_str().unwrap();
        let seen = network.run(&format!("market preview {listing} --as seller")).ok();
        assert_eq!((&sold["chosen_cells"], &seen["chosen_cells"]), (&json!([]), &json!([])));
        assert_eq!(sold["schema"], seen["schema"]);
        assert_eq!((&seen["first_rows"], &seen["conforms"]), (&Value::Null, &Value::Null));
        sold["schema"].clone()
    };
    assert_eq!(sell("notes.txt", b"a,b\n1,2\n"), Value::Null);
    assert_eq!(sell("broken.csv", b"a,b\n1,2\n3\n"), Value::Null);
    let lines = sell("lines.jsonl", b"{\"a\":1,\"b\":[]}\n{\"c\":null}\n");
    let columns = [("a", json!("integer")), ("b", json!("structured")), ("c", Value::Null)];
    let columns = columns.map(|(name, kind)| json!({ "name": name, "type": kind }));
    assert_eq!(lines, json!({ "format": "json_lines", "columns": columns }));
    // A seller may keep them to oneself.
    let path = network.folder.path().join("lines.jsonl");
    network.run(&format!("put {} kept.jsonl --for 20h --as seller --yes", path.display())).ok();
    let kept = network.run("sell kept.jsonl --price 7 --as seller --no-columns --yes").ok();
    assert_eq!(kept["schema"], Value::Null);
}

#[test]
fn a_viewers_own_number_is_answered_within_what_the_seller_allows() {
    let network = Network::start(5, LONG);
    for who in ["seller", "viewer", "late"] {
        network.identity(who);
    }
    let (text, path) = (table(), network.folder.path().join("birds.csv"));
    fs::write(&path, &text).unwrap();
    network.run(&format!("put {} --for 20h --as seller --yes", path.display())).ok();
    let address = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sold = format!("sell birds.csv --price 7 --answer-at {address} --as seller --yes");
    let sold = network.run(&sold).ok();
    let listing = sold["listing"].as_str().unwrap();
    let fresh =
        |who: &str| network.run(&format!("market preview {listing} --fresh --cells 3 --as {who}"));
    fails(fresh("viewer"), 6, "its seller is not online");
    fails(fresh("seller"), 2, "this identity sells it");

    let serve = format!("market serve --listen {address} --cells 4 --each 1000 --as seller");
    let mut server = Server::start(&network.home(), words(&serve));
    assert_eq!(server.ready["addresses"], json!([address.to_string()]));
    fails(network.run(&serve), 13, "answering viewers");
    let mut nonces = Vec::new();
    let mut opened = std::collections::BTreeSet::new();
    let mut ask = |who: &str| {
        let done = fresh(who);
        if done.code != Some(0) {
            fails(done, 5, "as many cells were opened for viewers as the seller allows");
            return false;
        }
        let seen = done.ok();
        assert_eq!(seen["fresh_cells"].as_array().unwrap().len(), 3, "{seen}");
        for cell in seen["fresh_cells"].as_array().unwrap() {
            let of = |field: &str| usize::try_from(cell[field].as_u64().unwrap()).unwrap();
            let (offset, length) = (of("offset"), of("length"));
            // The last cells of a stripe may lie behind the end of the file.
            let end = text.len();
            let shown = &text[offset.min(end)..(offset + length).min(end)];
            assert_eq!(cell["text"].as_str(), Some(shown), "{cell}");
            opened.insert(of("cell"));
        }
        assert!(opened.len() <= 4, "more than the seller allows: {opened:?}");
        nonces.push(seen["nonce"].clone());
        true
    };
    assert!(ask("viewer"));
    // A crash forgets none: four cells are all there will ever be, and three of them are open.
    server.kill_and_restart(&network.home());
    let answered = (0..8).filter(|_| ask("late")).count();
    assert!(answered < 8, "with about twenty cells, eight draws do not fall on the same four");
    server.kill_and_restart(&network.home());
    assert!((0..3).filter(|_| ask("viewer")).count() < 3);
    nonces.sort_by_key(Value::to_string);
    nonces.dedup();
    assert!(!nonces.is_empty(), "each viewer draws its own number");

    let said = network.run_plain(&format!("market preview {listing} --as viewer"));
    assert!(said.contains("drawn by the ledger's beacon"), "{said}");
    let other = network.folder.path().join("notes.txt");
    fs::write(&other, "notes").unwrap();
    network.run(&format!("put {} --for 20h --as seller --yes", other.display())).ok();
    let sold = network.run("sell notes.txt --price 7 --as seller --yes").ok();
    let silent = sold["listing"].as_str().unwrap();
    let none = network.run(&format!("market preview {silent} --fresh --as viewer"));
    fails(none, 3, "its seller answers no viewers");
}
