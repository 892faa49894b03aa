//! Names: the bytes between slashes that a user gives to what is stored.
//!
//! File systems know bytes, not text, so a name is bytes too. Bytes that could lead out of a folder when a name becomes
//! a path are refused: an empty component, `.`, `..`, a leading slash, a zero byte. They are refused where a name is
//! made, and again where a row is read.

mod change;
mod glob;
mod tree;
mod walk;

use std::{ffi::OsStr, fmt, os::unix::ffi::OsStrExt, path::PathBuf, str::FromStr};

use thiserror::Error;

use crate::error::ClientError;

pub use glob::Pattern;
pub use tree::{FileView, NameKind, NameView, VersionView};
pub use walk::{FolderWalk, Listed, NameWalk};

pub(crate) use change::{NewVersion, VersionMark};
pub(crate) use tree::{Found, Range, Right, Tree};

/// The most bytes of a name.
pub(crate) const NAME_BYTES_MAX: usize = 4096;

/// The most bytes between two slashes. File systems have the same limit.
pub(crate) const COMPONENT_BYTES_MAX: usize = 255;

/// Why bytes are not a name.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameError {
    /// The name is empty, has two slashes in a row, or begins or ends with a slash.
    #[error("it has an empty part; parts stand between single slashes")]
    Empty,
    /// A part is `.` or `..`.
    #[error("it has a part that is . or ..")]
    Dots,
    /// It contains a zero byte.
    #[error("it has a zero byte")]
    Zero,
    /// It has too many bytes.
    #[error("it is longer than {NAME_BYTES_MAX} bytes")]
    Long,
    /// It has too many bytes between two slashes.
    #[error("a part of it is longer than {COMPONENT_BYTES_MAX} bytes")]
    LongPart,
}

/// A valid name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Vec<u8>);

impl Name {
    /// Checks bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, NameError> {
        let bytes = bytes.into();
        if bytes.len() > NAME_BYTES_MAX {
            return Err(NameError::Long);
        }
        if bytes.contains(&0) {
            return Err(NameError::Zero);
        }
        for part in bytes.split(|byte| *byte == b'/') {
            match part {
                b"" => return Err(NameError::Empty),
                b"." | b".." => return Err(NameError::Dots),
                part if part.len() > COMPONENT_BYTES_MAX => return Err(NameError::LongPart),
                _ => {}
            }
        }
        Ok(Self(bytes))
    }

    /// Checks bytes like [`Name::new`]. The error shows the bytes.
    pub(crate) fn checked(bytes: &[u8]) -> Result<Self, ClientError> {
        Self::new(bytes).map_err(|error| {
            ClientError::Usage(format!("{:?} is not a name: {error}", shown(bytes)))
        })
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The part after the last slash.
    #[must_use]
    pub fn last(&self) -> &[u8] {
        self.0.rsplit(|byte| *byte == b'/').next().unwrap_or(&self.0)
    }

    /// The name of an entry that lies at `below` in this folder.
    pub fn join(&self, below: &[u8]) -> Result<Self, NameError> {
        Self::new([self.as_bytes(), below].join(&b'/'))
    }

    /// The folders that contain it, the innermost first.
    pub(crate) fn folders(&self) -> impl Iterator<Item = &[u8]> {
        let slashes = (0..self.0.len()).rev().filter(|at| self.0[*at] == b'/');
        slashes.map(|at| &self.0[..at])
    }

    /// Whether it is `folder` or lies in it.
    pub(crate) fn is_at_or_below(&self, folder: &[u8]) -> bool {
        below(&self.0, folder).is_some()
    }
}

/// The rest of a name after `folder/`. Empty when the name is the folder's own, and nothing when it lies elsewhere.
pub(crate) fn below<'a>(name: &'a [u8], folder: &[u8]) -> Option<&'a [u8]> {
    if folder.is_empty() {
        return Some(name);
    }
    match name.strip_prefix(folder)? {
        [] => Some(&[]),
        [b'/', rest @ ..] => Some(rest),
        _ => None,
    }
}

/// Bytes as a path.
pub(crate) fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

/// Whether a terminal must not get a character: it would move the cursor, turn the writing direction of its neighbours,
/// or be invisible. The two joiners are allowed, because some scripts need them.
#[must_use]
pub fn is_unprintable(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Bytes as messages show them. Printable text stays as it is, and any other byte becomes `\xHH`. A backslash is
/// doubled, so the result determines the bytes.
#[must_use]
pub fn shown(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '\\' => out.push_str("\\\\"),
                letter if is_unprintable(letter) => escape(letter, &mut out),
                letter => out.push(letter),
            }
        }
        escape_bytes(chunk.invalid(), &mut out);
    }
    out
}

/// Text as a terminal may show it. Characters that are not printable become `\xHH`, except those in `stays`.
#[must_use]
pub fn printable(text: &str, stays: &[char]) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_unprintable(letter) && !stays.contains(&letter) {
            escape(letter, &mut out);
        } else {
            out.push(letter);
        }
    }
    out
}

fn escape(letter: char, out: &mut String) {
    escape_bytes(letter.encode_utf8(&mut [0; 4]).as_bytes(), out);
}

fn escape_bytes(bytes: &[u8], out: &mut String) {
    use fmt::Write as _;
    for byte in bytes {
        // Writing to a string cannot fail.
        write!(out, "\\x{byte:02x}").ok();
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.0))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl From<NameError> for ClientError {
    fn from(error: NameError) -> Self {
        Self::Usage(format!("that is not a name: {error}"))
    }
}

impl AsRef<[u8]> for Name {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bytes_that_lead_out_of_a_folder_are_not_a_name() {
        for (bytes, error) in [
            (&b""[..], NameError::Empty),
            (b"/etc/passwd", NameError::Empty),
            (b"a//b", NameError::Empty),
            (b"a/", NameError::Empty),
            (b".", NameError::Dots),
            (b"a/../../b", NameError::Dots),
            (b"..", NameError::Dots),
            (b"a/./b", NameError::Dots),
            (b"a\0b", NameError::Zero),
        ] {
            assert_eq!(Name::new(bytes), Err(error), "{}", shown(bytes));
        }
        assert_eq!(Name::new(vec![b'a'; 256]), Err(NameError::LongPart));
        assert_eq!(Name::new(b"ab/".repeat(2000)), Err(NameError::Long));
        for good in [&b"a"[..], b"...", b"a/.b/..c", b"\xff\xfe", b"a b\n", b":x", &[b'a'; 255]] {
            assert!(Name::new(good).is_ok(), "{}", shown(good));
        }
    }

    #[test]
    fn folders_of_a_name() {
        let name = Name::new("a/b/c").unwrap();
        assert_eq!(name.folders().collect::<Vec<_>>(), [&b"a/b"[..], b"a"]);
        assert_eq!(name.last(), b"c");
        assert!(name.is_at_or_below(b"a") && name.is_at_or_below(b"a/b/c"));
        assert!(!name.is_at_or_below(b"a/b/c/d") && !Name::new("ab").unwrap().is_at_or_below(b"a"));
    }

    #[test]
    fn characters_that_turn_or_hide_text_are_escaped() {
        assert_eq!(shown("invoice\u{202e}fdp.exe".as_bytes()), "invoice\\xe2\\x80\\xaefdp.exe");
        for letter in [
            '\u{7f}',
            '\u{9b}',
            '\u{ad}',
            '\u{61c}',
            '\u{200e}',
            '\u{200f}',
            '\u{202a}',
            '\u{202b}',
            '\u{202c}',
            '\u{202d}',
            '\u{2066}',
            '\u{2067}',
            '\u{2068}',
            '\u{2069}',
            '\u{feff}',
            '\u{e0041}',
        ] {
            assert!(is_unprintable(letter), "{letter:?}");
            let text = format!("a{letter}b");
            assert!(!printable(&text, &[]).contains(letter), "{letter:?}");
            assert_eq!(printable(&text, &[letter]), text);
        }
        // Persian and emoji are written with joiners.
        let text = "می\u{200c}خواهم \u{1f469}\u{200d}\u{1f680} é";
        assert_eq!((shown(text.as_bytes()).as_str(), printable(text, &[]).as_str()), (text, text));
    }

    fn unshown(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('\\') {
            out.extend_from_slice(&rest.as_bytes()[..at]);
            if rest[at + 1..].starts_with('\\') {
                out.push(b'\\');
                rest = &rest[at + 2..];
            } else {
                out.push(u8::from_str_radix(&rest[at + 2..at + 4], 16).unwrap());
                rest = &rest[at + 4..];
            }
        }
        out.extend_from_slice(rest.as_bytes());
        out
    }

    proptest! {
        #[test]
        fn a_name_never_leaves_its_folder(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(name) = Name::new(bytes) {
                let path = path_of(name.as_bytes());
                prop_assert!(path.components().all(|part| matches!(part, std::path::Component::Normal(_))));
                let back: Vec<_> = path.components().map(|part| part.as_os_str().as_bytes()).collect();
                prop_assert_eq!(back.join(&b'/'), name.as_bytes());
            }
        }

        #[test]
        fn shown_text_determines_the_bytes(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let text = shown(&bytes);
            prop_assert!(!text.chars().any(is_unprintable));
            prop_assert_eq!(unshown(&text), bytes);
        }

        #[test]
        fn shown_text_determines_the_characters(letters in prop::collection::vec(prop_oneof![any::<char>(), prop::char::range('\u{200a}', '\u{206f}')], 0..40)) {
            let name: String = letters.into_iter().collect();
            let text = shown(name.as_bytes());
            prop_assert!(!text.chars().any(is_unprintable));
            prop_assert_eq!(unshown(&text), name.into_bytes());
        }
    }
}
