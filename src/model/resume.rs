//! A resume token: where the stream of an interrupted receive is to continue.
//!
//! The text comes from the target (`receive_resume_token`), so it is input from another machine: it is read in bounded
//! memory, every field is checked, and what it names is compared with our own plan before anything is sent (a token can
//! name any dataset and any flags, openzfs #14153).
//!
//! Form, as `get_receive_resume_token` of OpenZFS writes it: `1-CHECKSUM-LENGTH-DATA`, numbers in hexadecimal. DATA is
//! zlib-compressed, LENGTH bytes before compression; CHECKSUM is the first word of fletcher4 over the compressed bytes,
//! in which the last 1 to 3 bytes do not count (openzfs #10517). Inside is an nvlist in the native encoding of the
//! machine that wrote it, in its byte order.

use std::io::Read as _;

use flate2::read::ZlibDecoder;

use super::Guid;

mod nvlist;
#[cfg(test)]
mod tests;

use nvlist::{NativeList, Order, Value};

/// The longest token that is looked at, and the most that it may decompress to: real ones have some hundred bytes.
const TOKEN_BYTES_MAX: usize = 1 << 20;

/// The content of a resume token.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "four independent flags of the stream")]
pub struct ResumeToken {
    /// The full name that the snapshot had at its source when the stream began.
    pub to_name: String,
    /// The snapshot.
    pub to_guid: Guid,
    /// The base of an incremental stream; `None` for a full one.
    pub from_guid: Option<Guid>,
    /// The object in which the stream continues.
    pub object: u64,
    /// The offset in that object, in bytes.
    pub offset: u64,
    /// How many bytes of stream were received.
    pub received_bytes: u64,
    /// The stream may have blocks above 128 KiB (`zfs send -L`).
    pub large_block: bool,
    /// The stream may have embedded blocks (`zfs send -e`).
    pub embed: bool,
    /// The stream may have compressed blocks (`zfs send -c`).
    pub compress: bool,
    /// The stream is raw (`zfs send -w`).
    pub raw: bool,
}

/// Why a text is not a token that can be resumed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResumeTokenError {
    /// Not `VERSION-CHECKSUM-LENGTH-DATA`.
    #[error("the resume token is malformed: {0}")]
    Form(&'static str),
    /// A version that this zhaul does not know.
    #[error("the resume token has version {0:?}; zhaul knows version 1")]
    Version(String),
    /// The data do not add up to the checksum.
    #[error("the resume token is damaged: its checksum is wrong")]
    Checksum,
    /// The data do not decompress.
    #[error("the resume token is damaged: its data cannot be decompressed")]
    Compression,
    /// The data decompress to another length than announced.
    #[error("the resume token is damaged: {announced} bytes are announced, {found} or more found")]
    Length {
        /// The token's own number.
        announced: usize,
        /// The number found; one more than announced stands for any number.
        found: usize,
    },
    /// The list inside is not well-formed.
    #[error("the resume token's content is malformed: {0}")]
    Content(&'static str),
    /// A field that every token has is not there.
    #[error("the resume token lacks {0}")]
    Missing(&'static str),
    /// A field that zhaul cannot honour, for example of a redacted send.
    #[error("the resume token asks for {0:?}, which zhaul does not support")]
    Unsupported(String),
}

use ResumeTokenError as Error;

impl ResumeToken {
    /// Reads the value of the property `receive_resume_token`.
    pub fn parse(text: &str) -> Result<Self, ResumeTokenError> {
        let (data, announced, sums) = unwrap(text)?;
        let mut content = Vec::new();
        ZlibDecoder::new(&*data)
            .take(u64::try_from(announced).unwrap_or(0) + 1)
            .read_to_end(&mut content)
            .map_err(|_| Error::Compression)?;
        if content.len() != announced {
            let found = content.len();
            return Err(Error::Length { announced, found });
        }
        let list = NativeList::new(&content)?;
        if sums.of(list.order) != sums.announced {
            return Err(Error::Checksum);
        }
        Fields::read(list)?.complete()
    }
}

/// The three sums that belong together: the token's own, and the data's in either byte order.
struct Sums {
    announced: u64,
    little: u64,
    big: u64,
}

impl Sums {
    fn of(&self, order: Order) -> u64 {
        match order {
            Order::Little => self.little,
            Order::Big => self.big,
        }
    }
}

/// Splits the text, decodes the hexadecimal digits, and checks the sum before anything is decompressed.
fn unwrap(text: &str) -> Result<(Vec<u8>, usize, Sums), Error> {
    if text.len() > TOKEN_BYTES_MAX {
        return Err(Error::Form("it is longer than 1 MiB"));
    }
    let mut parts = text.split('-');
    let version = parts.next().unwrap_or_default();
    if version != "1" {
        return Err(Error::Version(version.chars().take(20).collect()));
    }
    let mut number = |what| {
        let digits = parts.next().ok_or(Error::Form("it has fewer than four parts"))?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Error::Form(what));
        }
        u64::from_str_radix(digits, 16).map_err(|_| Error::Form(what))
    };
    let announced = number("the checksum is not a number")?;
    let length = number("the length is not a number")?;
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length <= TOKEN_BYTES_MAX)
        .ok_or(Error::Form("the length is more than 1 MiB"))?;
    let digits = parts.next().ok_or(Error::Form("it has fewer than four parts"))?;
    if parts.next().is_some() {
        return Err(Error::Form("it has more than four parts"));
    }
    let data = decode_hex(digits).ok_or(Error::Form("the data are not hexadecimal"))?;

    let (words, _) = data.as_chunks::<4>();
    let sum = |word: fn([u8; 4]) -> u32| {
        let add = |sum: u64, bytes: &[u8; 4]| sum.wrapping_add(u64::from(word(*bytes)));
        words.iter().fold(0, add)
    };
    let (little, big) = (sum(u32::from_le_bytes), sum(u32::from_be_bytes));
    if announced != little && announced != big {
        return Err(Error::Checksum);
    }
    let sums = Sums { announced, little, big };
    Ok((data, length, sums))
}

fn decode_hex(digits: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

/// The fields that have been read so far.
#[derive(Default)]
struct Fields {
    to_name: Option<String>,
    to_guid: Option<u64>,
    from_guid: Option<u64>,
    object: Option<u64>,
    offset: Option<u64>,
    bytes: Option<u64>,
    large_block: Option<()>,
    embed: Option<()>,
    compress: Option<()>,
    raw: Option<()>,
}

impl Fields {
    fn read(mut list: NativeList<'_>) -> Result<Self, Error> {
        let mut fields = Self::default();
        while let Some((name, value)) = list.next()? {
            match (name, value) {
                ("toname", Value::Text(text)) => set(&mut fields.to_name, text.to_owned())?,
                ("toguid", Value::Number(n)) => set(&mut fields.to_guid, n)?,
                ("fromguid", Value::Number(n)) => set(&mut fields.from_guid, n)?,
                ("object", Value::Number(n)) => set(&mut fields.object, n)?,
                ("offset", Value::Number(n)) => set(&mut fields.offset, n)?,
                ("bytes", Value::Number(n)) => set(&mut fields.bytes, n)?,
                ("largeblockok", Value::Flag) => set(&mut fields.large_block, ())?,
                ("embedok", Value::Flag) => set(&mut fields.embed, ())?,
                ("compressok", Value::Flag) => set(&mut fields.compress, ())?,
                ("rawok", Value::Flag) => set(&mut fields.raw, ())?,
                (other, _) => return Err(Error::Unsupported(other.to_owned())),
            }
        }
        Ok(fields)
    }

    fn complete(self) -> Result<ResumeToken, Error> {
        Ok(ResumeToken {
            to_name: self.to_name.ok_or(Error::Missing("toname"))?,
            to_guid: Guid(self.to_guid.ok_or(Error::Missing("toguid"))?),
            from_guid: self.from_guid.filter(|guid| *guid != 0).map(Guid),
            object: self.object.ok_or(Error::Missing("object"))?,
            offset: self.offset.ok_or(Error::Missing("offset"))?,
            received_bytes: self.bytes.ok_or(Error::Missing("bytes"))?,
            large_block: self.large_block.is_some(),
            embed: self.embed.is_some(),
            compress: self.compress.is_some(),
            raw: self.raw.is_some(),
        })
    }
}

fn set<T>(field: &mut Option<T>, value: T) -> Result<(), Error> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::Content("a name occurs twice")),
    }
}
