//! The rules of the house, checked: who may know whom, one copy of what must be one, licences, words.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn output(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// What Cargo says of the packages that are built here. Those of other platforms are not on the disk.
fn metadata() -> Value {
    let about = String::from_utf8(output("rustc", &["-vV"])).unwrap();
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let arguments = ["metadata", "--format-version=1", "--locked", "--filter-platform", host];
    serde_json::from_slice(&output(env!("CARGO"), &arguments)).unwrap()
}

fn sources(under: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(under).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            out.push(path);
        }
    }
}

fn room(package: &str) -> String {
    match package {
        "symbolon" => "cli".into(),
        other => other.trim_start_matches("symbolon-").into(),
    }
}

const ROOMS: [&str; 12] = [
    "protocol",
    "consensus",
    "store",
    "net",
    "ledger",
    "audit",
    "transfer",
    "client",
    "node",
    "view",
    "cli",
    "tests",
];

/// The rows of a table of the architecture between two marks, by their cells.
fn table(mark: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let (begin, end) = (format!("<!-- {mark} -->"), format!("<!-- /{mark} -->"));
    let table = text.split(&begin).nth(1).unwrap().split(&end).next().unwrap();
    let rows = table.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|line| line.split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

fn list(cell: &str) -> impl Iterator<Item = String> {
    cell.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// What is promised is on the disk before, and a test can see that: see `symbolon_tests::power`.
#[test]
fn one_file_syncs() {
    let mut paths = Vec::new();
    for room in ["store", "ledger", "transfer", "client", "node"] {
        sources(&root().join(room).join("src"), &mut paths);
    }
    let syncs = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        [".sync_all()", ".sync_data()"].iter().any(|call| text.contains(call))
    };
    let found: Vec<_> = paths.into_iter().filter(syncs).collect();
    assert_eq!(found, [root().join("store/src/durable.rs")]);
}

#[test]
fn arrows_are_those_of_the_architecture() {
    let rows = table("arrows").into_iter();
    let allowed: BTreeMap<String, BTreeSet<String>> =
        rows.map(|cells| (cells[1].clone(), list(&cells[3]).collect())).collect();
    assert_eq!(allowed.keys().cloned().collect::<BTreeSet<_>>(), ROOMS.map(String::from).into());
    for package in metadata()["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        if !name.starts_with("symbolon") {
            continue;
        }
        let from = room(name);
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        let known: BTreeSet<_> = dependencies
            .filter(|one| from == "tests" || one["kind"].as_str() != Some("dev"))
            .filter_map(|one| one["name"].as_str())
            .filter(|name| name.starts_with("symbolon"))
            .map(room)
            .collect();
        assert_eq!(Some(&known), allowed.get(&from), "{from} knows other rooms than it may");
    }
}

/// The code of a file, without comments and unit tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The paths that a tree of imports or a path in code stands for, each behind `before`. Gives the text behind it.
fn tree<'a>(text: &'a str, before: &[&'a str], paths: &mut Vec<Vec<String>>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut list) = text.strip_prefix('{') {
        loop {
            list = list.trim_start().trim_start_matches(',').trim_start();
            if list.is_empty() || list.starts_with('}') {
                return list.trim_start_matches('}');
            }
            list = tree(list, before, paths);
            // What it is called here says nothing of where it is from.
            list = list.trim_start_matches(|letter| letter != ',' && letter != '}');
        }
    }
    let is_name = |letter: char| letter == '_' || letter.is_alphanumeric();
    let end = text.find(|letter| !is_name(letter)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let path = [before, &[name]].concat();
    match rest.strip_prefix("::").filter(|_| !name.is_empty()) {
        Some(rest) => tree(rest, &path, paths),
        None => {
            paths.push(path.into_iter().map(String::from).collect());
            rest
        }
    }
}

/// What the code of a module names in its own crate, as paths from the crate's root on.
fn named(code: &str, module: &[&str]) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    let begins = |at: usize| !code[..at].ends_with(|c: char| c == ':' || c.is_alphanumeric());
    for (at, start) in code.match_indices("crate::").filter(|(at, _)| begins(*at)) {
        tree(&code[at + start.len()..], &[], &mut paths);
    }
    for (at, _) in code.match_indices("super::").filter(|(at, _)| begins(*at)) {
        let (mut rest, mut above) = (&code[at..], module);
        while let (Some(behind), [outer @ .., _]) = (rest.strip_prefix("super::"), above) {
            (rest, above) = (behind, outer);
        }
        tree(rest, above, &mut paths);
    }
    paths
}

/// The modules that lie side by side in a crate or in a room of it.
struct Parts {
    table: String,
    /// Which row each stands in.
    rows: BTreeMap<String, usize>,
    /// What the root hands on is its part's, by whatever name it is called.
    handed: BTreeMap<String, String>,
}

impl Parts {
    fn read(folder: &Path, root: &Path, of: &str) -> Self {
        let table = format!("parts of {of}");
        let mut rows: BTreeMap<String, usize> = BTreeMap::new();
        for (row, cells) in self::table(&table).iter().enumerate() {
            assert_eq!(rows.insert(cells[1].clone(), row), None, "{table}: one stands twice");
        }
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let part = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
        let there: BTreeSet<_> =
            entries.filter(|path| path.is_file() && path != root).map(part).collect();
        assert_eq!(there, rows.keys().cloned().collect(), "{table}");
        let mut handed = BTreeMap::new();
        for statement in code(root).split("pub use ").skip(1) {
            let mut paths = Vec::new();
            tree(statement.split(';').next().unwrap(), &[], &mut paths);
            let paths = paths.into_iter().filter(|path| path[0] != "crate" && path.len() > 1);
            handed.extend(paths.map(|path| (path[1].clone(), path[0].clone())));
        }
        Self { table, rows, handed }
    }

    /// The arrow from a part to what it names, by the path behind the root: refused where it leads up. The path is
    /// then one behind the part.
    fn arrow(&self, from: &str, path: &mut Vec<String>, by: &str) -> Option<(String, String)> {
        if let Some(part) = path.first().and_then(|first| self.handed.get(first)) {
            path.insert(0, part.clone());
        }
        let to = path.first().filter(|to| self.rows.contains_key(*to))?.clone();
        let fine = self.rows[from] <= self.rows[&to];
        assert!(fine, "{}: {by} names {to}, which is above it", self.table);
        path.remove(0);
        Some((from.to_owned(), to))
    }
}

/// Inside a crate and inside its rooms imports go one way too: down the tables.
#[test]
fn parts_name_only_what_is_below_them() {
    for (krate, rooms) in [("transfer", &[][..]), ("client", &["wallet", "library", "market"][..])]
    {
        let src = root().join(krate).join("src");
        let all = Parts::read(&src, &src.join("lib.rs"), krate);
        let inside = |room: &&str| {
            let parts = Parts::read(&src.join(room), &src.join(format!("{room}.rs")), room);
            ((*room).to_owned(), parts)
        };
        let rooms: BTreeMap<String, Parts> = rooms.iter().map(inside).collect();
        let mut files = Vec::new();
        sources(&src, &mut files);
        let mut arrows = BTreeSet::new();
        for path in files.iter().filter(|path| !path.ends_with("lib.rs")) {
            let by = path.strip_prefix(&src).unwrap().to_str().unwrap();
            let module: Vec<&str> = by.trim_end_matches(".rs").split('/').collect();
            for mut named in named(&code(path), &module) {
                let Some(arrow) = all.arrow(module[0], &mut named, by) else { continue };
                let inside = rooms.get(&arrow.1).filter(|_| arrow.0 == arrow.1);
                arrows.insert(arrow);
                // The root of a room knows all of its parts.
                if let (Some(parts), Some(from)) = (inside, module.get(1)) {
                    arrows.extend(parts.arrow(from, &mut named, by));
                }
            }
        }
        arrows.retain(|(from, to)| from != to);
        assert!(arrows.len() > 20, "{krate}: {} imports were found", arrows.len());
        for room in rooms.keys() {
            assert!(arrows.contains(&("client".into(), room.clone())), "{room} is not used");
        }
    }
}

/// The rooms of the client keep their rows in one file, and each names its own.
#[test]
fn rooms_name_their_own_rows() {
    let src = root().join("client/src");
    for cells in table("rows of client") {
        let (room, may) = (&cells[1], list(&cells[2]).collect::<BTreeSet<_>>());
        let mut files = vec![src.join(format!("{room}.rs"))];
        sources(&src.join(room), &mut files);
        let of_catalog = |path: &PathBuf| {
            let by = path.strip_prefix(&src).unwrap().to_str().unwrap();
            let module: Vec<&str> = by.trim_end_matches(".rs").split('/').collect();
            named(&code(path), &module).into_iter().filter(|path| path[0] == "catalog")
        };
        let names = files.iter().flat_map(of_catalog).filter_map(|path| path.get(1).cloned());
        assert_eq!(names.collect::<BTreeSet<_>>(), may, "what {room} names of the rows");
    }
}

#[test]
fn what_must_be_one_is_one() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let names = lock.lines().filter_map(|line| line.strip_prefix("name = "));
    let mut count: BTreeMap<&str, u32> = BTreeMap::new();
    names.clone().for_each(|name| *count.entry(name.trim_matches('"')).or_default() += 1);
    for name in [
        "blake3",
        "chacha20poly1305",
        "curve25519-dalek",
        "ed25519-dalek",
        "iroh",
        "redb",
        "rustls",
        "tokio",
        "x25519-dalek",
    ] {
        assert_eq!(count.get(name), Some(&1), "{name}");
    }
    // A package more is a package somebody has to trust: raise this knowingly.
    assert!(names.count() <= 600, "Cargo.lock has grown past 600 packages");
}

/// Calls of `rustix` that only Linux has, among those that are used here.
const ONLY_LINUX: [&str; 4] = ["syncfs(", "fadvise(", "fallocate(", "OFlags::TMPFILE"];

/// The program is for Linux and macOS, and only one of them is built here. So every dependency is there on both, and
/// what only Linux has stands right behind a line that says so.
#[test]
fn what_only_linux_has_is_marked() {
    for package in metadata()["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        for dependency in package["dependencies"].as_array().unwrap() {
            let fine = !name.starts_with("symbolon") || dependency["target"].is_null();
            assert!(fine, "{name} has {} on one platform only", dependency["name"]);
        }
    }
    let mut calls = 0;
    for room in ROOMS.iter().filter(|room| **room != "tests") {
        let mut files = Vec::new();
        sources(&root().join(room).join("src"), &mut files);
        for file in files {
            let code = code(&file);
            let lines: Vec<_> = code.lines().collect();
            for (at, _) in lines.iter().enumerate().filter(|(_, line)| {
                ONLY_LINUX.iter().any(|name| line.contains(&format!("rustix::fs::{name}")))
            }) {
                let before = &lines[at.saturating_sub(3)..at];
                let marked =
                    before.iter().any(|line| line.trim() == "#[cfg(target_os = \"linux\")]");
                assert!(marked, "{}: {}", file.display(), lines[at].trim());
                calls += 1;
            }
        }
    }
    assert_eq!(calls, 2, "calls that only Linux has");
}

#[test]
fn every_licence_is_allowed() {
    let deny = fs::read_to_string(root().join("deny.toml")).unwrap();
    let list = deny.split("allow = [").nth(1).unwrap().split(']').next().unwrap();
    let allowed: BTreeSet<_> = list.split('"').skip(1).step_by(2).collect();
    let one = |term: &str| allowed.contains(term.trim().trim_matches(['(', ')']).trim());
    for package in metadata()["packages"].as_array().unwrap() {
        let licence = package["license"].as_str().unwrap_or("none").replace('/', " OR ");
        // Good enough for the expressions there are: each AND part needs one allowed OR part.
        let fine = licence.split(" AND ").all(|part| part.split(" OR ").any(one));
        assert!(fine, "{} is under {licence}", package["name"]);
    }
}

#[test]
fn only_those_name_the_outside_who_may() {
    let may = |name: &str, path: &str| match name {
        "iroh::" => path.starts_with("net/"),
        "redb::" => path.starts_with("store/") || path.starts_with("ledger/src/executor"),
        "println!" | "eprintln!" | "process::exit" | "env::var" | "io::stdin" | "io::stdout" => {
            path.starts_with("cli/")
        }
        // Behind the blocking pool.
        "thread::sleep" => path.starts_with("store/"),
        _ => false,
    };
    let root = root();
    for room in ROOMS.iter().filter(|room| **room != "tests") {
        let mut files = Vec::new();
        sources(&root.join(room).join("src"), &mut files);
        for file in files {
            let path = file.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            let text = fs::read_to_string(&file).unwrap();
            assert!(text.starts_with("//!"), "{path} does not say what it is");
            if path.contains("/tests/") || path.ends_with("/tests.rs") {
                continue;
            }
            let code: String = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"))
                .collect::<Vec<_>>()
                .join("\n");
            for name in [
                "iroh::",
                "redb::",
                "println!",
                "eprintln!",
                "process::exit",
                "env::var",
                "io::stdin",
                "io::stdout",
                "thread::sleep",
                "todo!(",
            ] {
                assert!(!code.contains(name) || may(name, &path), "{path} names {name}");
            }
        }
    }
}

/// JSON is made from types, and nowhere by `format!`. What is told as JSON goes through `view`, and one file prints it.
#[test]
fn json_is_made_from_types() {
    let root = root();
    let may = [
        "cli/src/output.rs",
        "cli/src/home.rs",
        "client/src/market/description.rs",
        "client/src/market/table/json_lines.rs",
    ];
    for room in ROOMS.iter().filter(|room| **room != "tests") {
        let mut files = Vec::new();
        sources(&root.join(room).join("src"), &mut files);
        for file in files {
            let path = file.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            if path.contains("/tests/") || path.ends_with("/tests.rs") {
                continue;
            }
            let code = code(&file);
            let may = path.starts_with("view/") || may.contains(&path.as_str());
            assert!(may || !code.contains("serde_json"), "{path} names serde_json");
            assert!(!code.contains("json!"), "{path} makes JSON without a type");
            assert!(!code.contains("{{\\\""), "{path} makes JSON by `format!`");
        }
    }
}

/// Words that are not used, since they hide who does something or what something is; the names that a plainer one has
/// replaced; and what to write instead. In two parts here, so that this file does not have them either.
const NOT_USED: [(&str, &str, &str); 9] = [
    ("who", "ever", "the one who acts: the caller, the client, a node that .."),
    ("no", "body", "no node, no party, no other task"),
    ("what there", " is", "what it is"),
    ("thousand", " million", "the number"),
    ("Dre", "ss", "FileMetadata"),
    ("Pur", "se", "Budget"),
    ("Cle", "rk", "SerialExecutor"),
    ("Replace::Re", "place", "Replace::Overwrite"),
    ("fn tel", "ling", "publish_while"),
];

#[test]
fn plain_words_are_used() {
    let root = root();
    let mut files = Vec::new();
    for room in ROOMS {
        sources(&root.join(room), &mut files);
    }
    for folder in ["", "spec", "spec/check", "bench", "tests"] {
        let entries = fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        let is_text = |path: &PathBuf| {
            path.extension().is_some_and(|ending| ending == "md" || ending == "py")
        };
        files.extend(entries.filter(is_text));
    }
    assert!(files.len() > 400, "{} files", files.len());
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let lower = text.to_lowercase();
        for (first, second, instead) in NOT_USED {
            let word = format!("{first}{second}");
            let is_name = word.starts_with(char::is_uppercase);
            // The changelog names what was renamed.
            if is_name && file.ends_with("CHANGELOG.md") {
                continue;
            }
            let whole = |line: &str| {
                line.split(|c: char| !c.is_alphanumeric() && c != ':').any(|it| it == word)
            };
            let is_there = match is_name {
                true => text.contains(&word) && text.lines().any(whole),
                false => lower.contains(&word),
            };
            let place = file.strip_prefix(&root).unwrap().display();
            assert!(!is_there, "{place} has {word:?}, which is not used; write: {instead}");
        }
    }
}

/// Where the links of a page lead, and pages it names beside itself: `[text](target)`, `(page.md)`.
fn targets(text: &str) -> impl Iterator<Item = &str> {
    let opened = text.match_indices('(').filter_map(|(at, _)| {
        let target = text[at + 1..].split([')', '#']).next()?;
        let is_link = text[..at].ends_with(']');
        let is_page = target.ends_with(".md") && !target.starts_with("spec/");
        (is_link || is_page).then_some(target)
    });
    opened.filter(|target| !target.contains("://") && !target.contains(char::is_whitespace))
}

#[test]
fn the_specification_is_whole() {
    // A spec page for each area, and no page that the index does not name.
    let index = fs::read_to_string(root().join("spec/README.md")).unwrap();
    for entry in fs::read_dir(root().join("spec")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".md") && name != "README.md" {
            assert!(index.contains(&format!("({name})")), "spec/README.md does not name {name}");
        }
    }
    // Every page that is named anywhere is there, and so is whatever a link leads to.
    let pages = fs::read_dir(root().join("spec")).unwrap().map(|entry| entry.unwrap().path());
    let texts = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"];
    let texts = texts.map(|name| root().join(name)).into_iter().chain(pages);
    let mut named = 0;
    for path in texts.filter(|path| path.extension().is_some_and(|end| end == "md")) {
        let text = fs::read_to_string(&path).unwrap();
        let starts = text.match_indices("spec/").map(|(at, _)| &text[at..]);
        for name in starts.filter_map(|rest| rest.split_once(".md").map(|(name, _)| name)) {
            if name.chars().all(|letter| letter.is_ascii_alphabetic() || "/-".contains(letter)) {
                let page = format!("{name}.md");
                assert!(root().join(&page).exists(), "{} names {page}", path.display());
                named += 1;
            }
        }
        for target in targets(&text) {
            let there = path.parent().unwrap().join(target).exists();
            assert!(there, "{} leads to {target}", path.display());
        }
    }
    assert!(named > 20, "pages name each other");
}
