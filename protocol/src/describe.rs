//! Descriptions of records and choices in words. The tables of `spec/` are generated from them, and a
//! program can read bytes by them.
//!
//! Types are named as the code names them, as text. So a description says how bytes follow one another
//! without naming a decoder. Nothing here runs unless a program asks for it, and constants that it does not
//! use are not in the program.

/// A type whose bytes are described.
pub trait Described {
    /// The parts of the type.
    const DESCRIPTION: Description;
}

/// The parts of a type.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// The type's name.
    pub name: &'static str,
    /// Its attributes as source text, doc comments among them.
    pub notes: &'static [&'static str],
    /// Its bytes.
    pub shape: Shape,
}

/// How the bytes of a type follow one another.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// The fields in order.
    Record(&'static [Field]),
    /// One byte, the tag, and then the fields of the variant it names.
    Choice(&'static [Variant]),
}

/// One field.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Its type, as the source writes it.
    pub kind: &'static str,
    /// Its attributes as source text.
    pub notes: &'static [&'static str],
}

/// One variant of a choice.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    /// Its tag.
    pub tag: u8,
    /// Its name.
    pub name: &'static str,
    /// Its attributes as source text.
    pub notes: &'static [&'static str],
    /// The fields after the tag.
    pub fields: &'static [Field],
}

/// A table of rows.
#[derive(Clone, Copy, Debug)]
pub struct TableDescription {
    /// Its name.
    pub name: &'static str,
    /// The first byte of its keys.
    pub tag: u8,
    /// The rest of the key, as the source writes it.
    pub key: &'static str,
    /// The value, as the source writes it.
    pub row: &'static str,
    /// Its attributes as source text.
    pub notes: &'static [&'static str],
}

/// The text of a doc comment among a type's attributes, line by line.
pub fn words(notes: &'static [&'static str]) -> impl Iterator<Item = &'static str> {
    notes.iter().filter_map(|note| {
        let text = note.strip_prefix("doc")?;
        Some(text[text.find('"')? + 1..text.rfind('"')?].trim())
    })
}
