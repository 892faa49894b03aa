//! A grant's bytes: fields in order, as in every record, but with bounds while they are read. Strangers
//! send a chain with every request, so it never makes a node hold more than the largest chain.

use alloc::vec::Vec;

use super::{Caveat, Grant, Link, Member};
use crate::{
    codec::{Decode, DecodeError, Encode, Reader},
    limits::{GRANT_BYTES_MAX, GRANT_LINKS_MAX},
};

impl Encode for Link {
    fn encode(&self, out: &mut Vec<u8>) {
        self.encode_unsigned(out);
        self.signature.encode(out);
    }
}

impl Link {
    /// The part of this link that the signature covers.
    pub(super) fn encode_unsigned(&self, out: &mut Vec<u8>) {
        self.audience.encode(out);
        self.nonce.encode(out);
        self.caveats.encode(out);
    }
}

impl Decode for Link {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let whole = input.remaining();
        let audience = Decode::decode(input)?;
        let nonce = input.array()?;
        let count = u32::decode(input)?;
        // A caveat takes at least two bytes.
        bounded("caveats", count, GRANT_BYTES_MAX / 2)?;
        let mut caveats = Vec::new();
        for _ in 0..count {
            caveats.push(Caveat::decode(input)?);
            within(whole - input.remaining())?;
        }
        Ok(Self { audience, nonce, caveats, signature: input.array()? })
    }
}

impl Encode for Grant {
    fn encode(&self, out: &mut Vec<u8>) {
        self.version.encode(out);
        self.root.encode(out);
        self.sale.encode(out);
        if let Some(member) = &self.member {
            member.encode(out);
        }
        self.links.encode(out);
    }
}

impl Decode for Grant {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let whole = input.remaining();
        let version = u8::decode(input)?;
        if !matches!(version, 1 | 2) {
            return Err(DecodeError::Tag { what: "grant version", tag: version });
        }
        let root = Decode::decode(input)?;
        let sale = Decode::decode(input)?;
        let member = if version == 2 { Some(Member::decode(input)?) } else { None };
        let count = u32::decode(input)?;
        bounded("grant links", count, GRANT_LINKS_MAX)?;
        let mut links = Vec::new();
        for _ in 0..count {
            links.push(Link::decode(input)?);
            within(whole - input.remaining())?;
        }
        Ok(Self { version, root, sale, member, links })
    }
}

pub(super) fn bounded(what: &'static str, count: u32, max: usize) -> Result<(), DecodeError> {
    let (count, max) = (u64::from(count), max as u64);
    if count > max { Err(DecodeError::TooMany { what, count, max }) } else { Ok(()) }
}

fn within(bytes: usize) -> Result<(), DecodeError> {
    if bytes > GRANT_BYTES_MAX {
        let (count, max) = (bytes as u64, GRANT_BYTES_MAX as u64);
        return Err(DecodeError::TooMany { what: "grant bytes", count, max });
    }
    Ok(())
}
