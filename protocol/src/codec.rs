//! Canonical bytes: one encoding for every value, and a decoder that refuses everything else.
//!
//! Integers are little-endian and of fixed width, lists carry a `u32` count, enums a `u8` tag. No value has
//! a second encoding, so a hash or a signature over the bytes is one over the value. See `spec/wire.md`.

use alloc::{boxed::Box, string::String, vec::Vec};

use thiserror::Error;

use crate::limits::LIST_MAX;

/// Why bytes are not a value.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The input ends inside the value.
    #[error("input ends too early: {needed} more bytes needed at offset {offset}")]
    Short {
        /// Where the read began, in bytes.
        offset: usize,
        /// How many bytes were missing.
        needed: usize,
    },
    /// Bytes follow the value.
    #[error("{extra} bytes follow the value")]
    Trailing {
        /// How many.
        extra: usize,
    },
    /// An enum tag, version or flag this program does not know.
    #[error("unknown tag {tag} for {what}")]
    Tag {
        /// The type that was being read.
        what: &'static str,
        /// The tag that was found.
        tag: u8,
    },
    /// A list or text longer than any value of its kind may be.
    #[error("{what} has {count} elements, at most {max} are allowed")]
    TooMany {
        /// The type that was being read.
        what: &'static str,
        /// The count that was found.
        count: u64,
        /// The most that is allowed.
        max: u64,
    },
    /// A value that its type forbids.
    #[error("{what} is not valid")]
    Invalid {
        /// The type that was being read.
        what: &'static str,
    },
}

/// The buffer that canonical bytes go to.
pub type Buffer = Vec<u8>;

/// A value with canonical bytes.
pub trait Encode {
    /// Appends the value's bytes.
    fn encode(&self, out: &mut Vec<u8>);

    /// The value's bytes.
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }
}

/// A value that canonical bytes can give.
pub trait Decode: Sized {
    /// Reads one value.
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError>;

    /// Reads one value that must fill `bytes` exactly.
    fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Reader::new(bytes);
        let value = Self::decode(&mut input)?;
        input.finish()?;
        Ok(value)
    }
}

/// A cursor over untrusted bytes.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// How many bytes remain.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.offset
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let left = self.remaining();
        if count > left {
            return Err(DecodeError::Short { offset: self.offset, needed: count - left });
        }
        let taken = &self.bytes[self.offset..self.offset + count];
        self.offset += count;
        Ok(taken)
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    /// Refuses bytes after the value.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            extra => Err(DecodeError::Trailing { extra }),
        }
    }
}

macro_rules! integers {
    ($($t:ty),*) => {$(
        impl Encode for $t {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
        }
        impl Decode for $t {
            fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(Self::from_le_bytes(input.array()?))
            }
        }
    )*};
}

integers!(u8, u16, u32, u64, u128);

impl Encode for bool {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
}

impl Decode for bool {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::decode(input)? {
            0 => Ok(false),
            1 => Ok(true),
            tag => Err(DecodeError::Tag { what: "bool", tag }),
        }
    }
}

impl<const N: usize> Encode for [u8; N] {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

impl<const N: usize> Decode for [u8; N] {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        input.array()
    }
}

impl<T: Encode> Encode for Option<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            None => out.push(0),
            Some(value) => {
                out.push(1);
                value.encode(out);
            }
        }
    }
}

impl<T: Decode> Decode for Option<T> {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::decode(input)? {
            0 => Ok(None),
            1 => Ok(Some(T::decode(input)?)),
            tag => Err(DecodeError::Tag { what: "option", tag }),
        }
    }
}

impl<T: Encode> Encode for Box<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.as_ref().encode(out);
    }
}

impl<T: Decode> Decode for Box<T> {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self::new(T::decode(input)?))
    }
}

fn encode_count(count: usize, out: &mut Vec<u8>) {
    let count =
        u32::try_from(count).expect("lists are built by this program and stay under LIST_MAX");
    count.encode(out);
}

fn decode_count(input: &mut Reader<'_>, what: &'static str) -> Result<usize, DecodeError> {
    let count = u32::decode(input)?;
    if count > LIST_MAX {
        return Err(DecodeError::TooMany {
            what,
            count: u64::from(count),
            max: u64::from(LIST_MAX),
        });
    }
    Ok(count as usize)
}

impl<T: Encode> Encode for Vec<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_count(self.len(), out);
        for value in self {
            value.encode(out);
        }
    }
}

impl<T: Decode> Decode for Vec<T> {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = decode_count(input, "list")?;
        // Never reserve memory for a count that the sender only claims: an element takes at least one byte.
        let mut out = Self::with_capacity(count.min(input.remaining()));
        for _ in 0..count {
            out.push(T::decode(input)?);
        }
        Ok(out)
    }
}

impl Encode for String {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_count(self.len(), out);
        out.extend_from_slice(self.as_bytes());
    }
}

impl Decode for String {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = decode_count(input, "text")?;
        let bytes = input.take(count)?;
        match core::str::from_utf8(bytes) {
            Ok(text) => Ok(Self::from(text)),
            Err(_) => Err(DecodeError::Invalid { what: "text" }),
        }
    }
}

/// A struct whose canonical bytes are its fields in order.
#[macro_export]
macro_rules! record {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[$field_meta:meta])* $field_vis:vis $field:ident : $type:ty),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        $vis struct $name { $($(#[$field_meta])* $field_vis $field: $type),* }

        impl $crate::describe::Described for $name {
            const DESCRIPTION: $crate::describe::Description = $crate::describe::Description {
                name: stringify!($name),
                notes: &[$(stringify!($meta)),*],
                shape: $crate::describe::Shape::Record(&[$($crate::describe::Field {
                    name: stringify!($field),
                    kind: stringify!($type),
                    notes: &[$(stringify!($field_meta)),*],
                }),*]),
            };
        }

        impl $crate::codec::Encode for $name {
            fn encode(&self, out: &mut $crate::codec::Buffer) {
                $($crate::codec::Encode::encode(&self.$field, out);)*
                let _ = out;
            }
        }

        impl $crate::codec::Decode for $name {
            fn decode(input: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::codec::DecodeError> {
                $(let $field = $crate::codec::Decode::decode(input)?;)*
                let _ = input;
                Ok(Self { $($field),* })
            }
        }
    };
}

/// An enum whose canonical bytes are a `u8` tag and then the variant's fields in order.
#[macro_export]
macro_rules! choice {
    ($(#[$meta:meta])* $vis:vis enum $name:ident {
        $($(#[$variant_meta:meta])* $variant:ident = $tag:literal $({
            $($(#[$field_meta:meta])* $field:ident : $type:ty),* $(,)?
        })?),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        $vis enum $name { $($(#[$variant_meta])* $variant $({ $($(#[$field_meta])* $field: $type),* })?),* }

        impl $crate::describe::Described for $name {
            const DESCRIPTION: $crate::describe::Description = $crate::describe::Description {
                name: stringify!($name),
                notes: &[$(stringify!($meta)),*],
                shape: $crate::describe::Shape::Choice(&[$($crate::describe::Variant {
                    tag: $tag,
                    name: stringify!($variant),
                    notes: &[$(stringify!($variant_meta)),*],
                    fields: &[$($($crate::describe::Field {
                        name: stringify!($field),
                        kind: stringify!($type),
                        notes: &[$(stringify!($field_meta)),*],
                    }),*)?],
                }),*]),
            };
        }

        impl $crate::codec::Encode for $name {
            fn encode(&self, out: &mut $crate::codec::Buffer) {
                match self {
                    $(Self::$variant $({ $($field),* })? => {
                        out.push($tag);
                        $($($crate::codec::Encode::encode($field, out);)*)?
                    })*
                }
            }
        }

        impl $crate::codec::Decode for $name {
            fn decode(input: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::codec::DecodeError> {
                match <u8 as $crate::codec::Decode>::decode(input)? {
                    $($tag => Ok(Self::$variant $({
                        $($field: $crate::codec::Decode::decode(input)?),*
                    })?),)*
                    tag => Err($crate::codec::DecodeError::Tag { what: stringify!($name), tag }),
                }
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;

    record! {
        /// A record.
        struct Pair { left: u16, right: Option<String> }
    }

    choice! {
        /// A choice.
        enum Shape { Dot = 1, Line = 2 { ends: Vec<u8>, closed: bool } }
    }

    #[test]
    fn a_record_is_its_fields_in_order() {
        let pair = Pair { left: 0x0102, right: Some(String::from("hi")) };
        assert_eq!(pair.to_bytes(), [2, 1, 1, 2, 0, 0, 0, b'h', b'i']);
        assert_eq!(Pair::from_bytes(&pair.to_bytes()), Ok(pair));
    }

    #[test]
    fn a_choice_is_its_tag_and_fields() {
        assert_eq!(Shape::Dot.to_bytes(), [1]);
        let line = Shape::Line { ends: vec![7, 9], closed: true };
        assert_eq!(Shape::from_bytes(&line.to_bytes()), Ok(line));
        assert_eq!(Shape::from_bytes(&[3]), Err(DecodeError::Tag { what: "Shape", tag: 3 }));
    }

    #[test]
    fn everything_but_the_one_encoding_is_refused() {
        assert_eq!(u32::from_bytes(&[1, 2]), Err(DecodeError::Short { offset: 0, needed: 2 }));
        assert_eq!(u8::from_bytes(&[1, 2]), Err(DecodeError::Trailing { extra: 1 }));
        assert_eq!(bool::from_bytes(&[2]), Err(DecodeError::Tag { what: "bool", tag: 2 }));
        assert_eq!(
            String::from_bytes(&[1, 0, 0, 0, 0xff]),
            Err(DecodeError::Invalid { what: "text" })
        );
        // A claimed count of 4 billion reserves nothing.
        assert!(matches!(Vec::<u64>::from_bytes(&[255; 8]), Err(DecodeError::TooMany { .. })));
        assert!(matches!(Vec::<u64>::from_bytes(&[0, 0, 1, 0, 9]), Err(DecodeError::Short { .. })));
    }
}
