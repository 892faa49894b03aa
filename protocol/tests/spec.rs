//! The layouts in `spec/` are those of the code: each table between two marks is made from the record
//! definitions, and so is each example in bytes. `SYMBOLON_REGENERATE=1` writes them anew; a changed
//! table is a changed protocol and is reviewed as one.

#![allow(clippy::unwrap_used, reason = "a page that is not as it should be ends the test")]

#[path = "spec/examples.rs"]
mod examples;
#[path = "spec/layouts.rs"]
mod layouts;
#[path = "spec/tables.rs"]
mod tables;
#[path = "spec/walk.rs"]
mod walk;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::PathBuf,
};

/// The blocks of every page, by the name in their marks.
fn blocks() -> BTreeMap<&'static str, Vec<(&'static str, String)>> {
    let mut pages: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (page, block, text) in tables::blocks().into_iter().chain(examples::blocks()) {
        pages.entry(page).or_default().push((block, text));
    }
    pages
}

fn page_path(page: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../spec").join(page)
}

fn marks(block: &str) -> (String, String) {
    (format!("<!-- code: {block} -->\n"), format!("<!-- /code: {block} -->"))
}

#[test]
fn the_pages_say_what_the_code_does() {
    let regenerate = env::var_os("SYMBOLON_REGENERATE").is_some();
    for (page, blocks) in blocks() {
        let path = page_path(page);
        let mut text = fs::read_to_string(&path).unwrap();
        for (block, expected) in &blocks {
            let (begin, end) = marks(block);
            let begin = text.find(&begin).map(|at| at + begin.len());
            let begin = begin.unwrap_or_else(|| panic!("{page} has no place for {block}"));
            let end = text.find(&end).unwrap_or_else(|| panic!("{page}: {block} does not end"));
            if text[begin..end] != **expected {
                assert!(regenerate, "{page}: {block} differs: SYMBOLON_REGENERATE=1 approves it");
                text.replace_range(begin..end, expected);
            }
        }
        // A mark for nothing would be a table that stands still.
        assert_eq!(text.matches("<!-- code: ").count(), blocks.len(), "{page}");
        if regenerate {
            fs::write(&path, text).unwrap();
        }
    }
}

#[test]
fn every_type_that_a_table_names_has_a_table() {
    let known: BTreeSet<&str> = layouts::all().map(|one| one.name).collect();
    let named = layouts::all().flat_map(|one| layouts::kinds(&one)).collect::<BTreeSet<_>>();
    for kind in &named {
        for name in walk::names(kind) {
            assert!(
                known.contains(name) || walk::fixed(name).is_some(),
                "{name} stands in a table and has none"
            );
        }
    }
    // Each has one place.
    let shown: Vec<&str> = tables::PAGES.iter().flat_map(|(_, _, types)| *types).copied().collect();
    let once: BTreeSet<&str> = shown.iter().copied().collect();
    assert_eq!(once.len(), shown.len(), "a type is in two tables");
    assert_eq!(once, known, "types with and without a place");
}
