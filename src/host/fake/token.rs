//! Writes resume tokens as `OpenZFS` does: `get_receive_resume_token_impl` in `module/zfs/dsl_dataset.c`.
//!
//! `1-<checksum>-<packed length>-<zlib>`, all in hexadecimal; the payload is a packed nvlist in the machine's own byte
//! order; the checksum is the first word of fletcher4 over the compressed bytes. The planner reads the fake's tokens with
//! the same code as real ones.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use crate::model::SendFlags;

/// The fields of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFields {
    /// The snapshot's full name at the source.
    pub toname: String,
    /// Its GUID.
    pub toguid: u64,
    /// The base's GUID, for an incremental stream.
    pub fromguid: Option<u64>,
    /// The object at which to continue.
    pub object: u64,
    /// The offset in it, in bytes.
    pub offset: u64,
    /// Bytes received so far.
    pub bytes: u64,
    /// The flags that the stream began with.
    pub flags: SendFlags,
}

const TYPE_BOOLEAN: i32 = 1;
const TYPE_UINT64: i32 = 8;
const TYPE_STRING: i32 = 9;

/// A packed nvlist with unique names in native encoding (`nvlist_pack`, `NV_ENCODE_NATIVE`).
struct Compressed(Vec<u8>);

impl Compressed {
    fn new() -> Self {
        let endian = u8::from(cfg!(target_endian = "little"));
        let mut bytes = vec![0, endian, 0, 0]; // encoding: native; byte order; reserved
        bytes.extend_from_slice(&0_i32.to_ne_bytes()); // nvl_version
        bytes.extend_from_slice(&1_u32.to_ne_bytes()); // nvl_nvflag: NV_UNIQUE_NAME
        Self(bytes)
    }

    fn pair(&mut self, name: &str, kind: i32, elements: i32, value: &[u8]) {
        let padded = |length: usize| length.div_ceil(8) * 8;
        let name_bytes = name.len() + 1;
        let value_at = padded(16 + name_bytes);
        let size = value_at + padded(value.len());
        let start = self.0.len();
        self.0.extend_from_slice(&i32::try_from(size).unwrap_or(i32::MAX).to_ne_bytes());
        self.0.extend_from_slice(&i16::try_from(name_bytes).unwrap_or(i16::MAX).to_ne_bytes());
        self.0.extend_from_slice(&0_i16.to_ne_bytes());
        self.0.extend_from_slice(&elements.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(name.as_bytes());
        self.0.resize(start + value_at, 0);
        self.0.extend_from_slice(value);
        self.0.resize(start + size, 0);
    }

    fn number(&mut self, name: &str, value: u64) {
        self.pair(name, TYPE_UINT64, 1, &value.to_ne_bytes());
    }

    fn flag(&mut self, name: &str, is_set: bool) {
        if is_set {
            self.pair(name, TYPE_BOOLEAN, 0, &[]);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&0_i32.to_ne_bytes()); // a pair of no size ends the list
        self.0
    }
}

/// The text of `receive_resume_token` for `fields`.
pub fn write_token(fields: &TokenFields) -> String {
    let mut list = Compressed::new();
    if let Some(guid) = fields.fromguid {
        list.number("fromguid", guid);
    }
    list.number("object", fields.object);
    list.number("offset", fields.offset);
    list.number("bytes", fields.bytes);
    list.number("toguid", fields.toguid);
    let mut toname = fields.toname.clone().into_bytes();
    toname.push(0);
    list.pair("toname", TYPE_STRING, 1, &toname);
    list.flag("largeblockok", fields.flags.large_block);
    list.flag("embedok", fields.flags.embed);
    list.flag("compressok", fields.flags.compress);
    list.flag("rawok", fields.flags.raw);
    let packed = list.finish();
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(6));
    // Writing into memory cannot fail; if it did, the token could not be read.
    let compressed = encoder.write_all(&packed).and_then(|()| encoder.finish()).unwrap_or_default();
    let (words, _) = compressed.as_chunks::<4>();
    let checksum =
        words.iter().fold(0_u64, |sum, word| sum.wrapping_add(u64::from(u32::from_ne_bytes(*word))));
    let mut hex = String::new();
    for byte in compressed {
        for nibble in [byte >> 4, byte & 15] {
            hex.extend(char::from_digit(u32::from(nibble), 16));
        }
    }
    format!("1-{checksum:x}-{:x}-{hex}", packed.len())
}
