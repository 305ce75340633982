//! Reads an nvlist in native encoding (`NV_ENCODE_NATIVE`), in either byte order, without OpenZFS's library: that one
//! refuses the other byte order, and is not there on every machine.
//!
//! A header of 4 bytes (encoding, byte order, 2 unused), version and flags of 4 bytes each, then pairs, then a size of 0.
//! A pair: size in bytes (4), length of the name with its NUL (2), unused (2), number of values (4), type (4), the name,
//! padding to 8, the value.

use super::ResumeTokenError as Error;

/// The byte order of the machine that made the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Little,
    Big,
}

/// A value of one of the kinds that tokens have.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Flag,
    Number(u64),
    Text(&'a str),
    Other,
}

/// A list, read from its beginning to its end.
pub(super) struct NativeList<'a> {
    pub(super) order: Order,
    /// The bytes that have not been read yet.
    rest: &'a [u8],
}

/// `data_type_t` in `sys/nvpair.h`.
pub(super) const TYPE_BOOLEAN: u32 = 1;
pub(super) const TYPE_UINT64: u32 = 8;
pub(super) const TYPE_STRING: u32 = 9;

const HEADER_BYTES: usize = 12;
pub(super) const PAIR_HEADER_BYTES: usize = 16;
const TRUNCATED: Error = Error::Content("it ends too early");

impl<'a> NativeList<'a> {
    pub(super) fn new(content: &'a [u8]) -> Result<Self, Error> {
        let order = match content.first_chunk() {
            Some([0, 1]) => Order::Little,
            Some([0, 0]) => Order::Big,
            Some(_) => return Err(Error::Content("it is not in native encoding")),
            None => return Err(TRUNCATED),
        };
        let rest = content.get(HEADER_BYTES..).ok_or(TRUNCATED)?;
        Ok(Self { order, rest })
    }

    fn number<const N: usize>(&self, bytes: &[u8], at: usize) -> Result<u64, Error> {
        let bytes = bytes.get(at..).and_then(|b| b.first_chunk::<N>()).ok_or(TRUNCATED)?;
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Ok(match self.order {
            Order::Little => bytes.iter().rev().fold(0, add),
            Order::Big => bytes.iter().fold(0, add),
        })
    }

    fn size<const N: usize>(&self, bytes: &[u8], at: usize) -> Result<usize, Error> {
        let number = self.number::<N>(bytes, at)?;
        usize::try_from(number).map_err(|_| TRUNCATED)
    }

    /// The next name and value; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(&'a str, Value<'a>)>, Error> {
        let size = self.size::<4>(self.rest, 0)?;
        if size == 0 {
            return Ok(None);
        }
        if size < PAIR_HEADER_BYTES || size % 8 != 0 {
            return Err(Error::Content("a pair has an impossible size"));
        }
        let (pair, rest) = self.rest.split_at_checked(size).ok_or(TRUNCATED)?;
        self.rest = rest;
        self.read(pair).map(Some)
    }

    fn read(&self, pair: &'a [u8]) -> Result<(&'a str, Value<'a>), Error> {
        let name_bytes = self.size::<2>(pair, 4)?;
        let name = pair
            .get(PAIR_HEADER_BYTES..PAIR_HEADER_BYTES + name_bytes)
            .and_then(|name| name.split_last())
            .filter(|(nul, name)| **nul == 0 && !name.contains(&0))
            .and_then(|(_, name)| str::from_utf8(name).ok())
            .ok_or(Error::Content("a name is not a string"))?;
        let value = pair
            .get((PAIR_HEADER_BYTES + name_bytes).next_multiple_of(8)..)
            .ok_or(Error::Content("a pair is shorter than its name"))?;
        let value = match self.number::<4>(pair, 12)?.try_into() {
            Ok(TYPE_BOOLEAN) => Value::Flag,
            Ok(TYPE_UINT64) => Value::Number(self.number::<8>(value, 0)?),
            Ok(TYPE_STRING) => {
                let text = value.split(|byte| *byte == 0).next().filter(|t| t.len() < value.len());
                let text = text.and_then(|text| str::from_utf8(text).ok());
                Value::Text(text.ok_or(Error::Content("a text is not a string"))?)
            }
            _ => Value::Other,
        };
        Ok((name, value))
    }
}
