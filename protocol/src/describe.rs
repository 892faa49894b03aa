//! What a record or choice is made of, in words: what the tables of `spec/` are generated from, and what
//! a reader of bytes can be driven by.
//!
//! Types are named as the code names them, as text: a description says how bytes follow one another
//! without a decoder for them. Nothing here runs unless it is asked for, and constants nobody asks for
//! are not in a program.

/// A type whose bytes are described.
pub trait Described {
    /// What it is made of.
    const DESCRIPTION: Description;
}

/// What a type is made of.
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
    /// What follows the tag.
    pub fields: &'static [Field],
}

/// A table of rows.
#[derive(Clone, Copy, Debug)]
pub struct TableDescription {
    /// Its name.
    pub name: &'static str,
    /// The first byte of its keys.
    pub tag: u8,
    /// What follows the tag, as the source writes it.
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
