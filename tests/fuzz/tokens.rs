//! The reader of resume tokens gets tokens that were damaged, cut, rearranged or forged.
//!
//! A list of pairs is changed pair by pair, so that what must come out is known; then its bytes or its text may be damaged.
//! In every round: no panic and no endless work. A token whose pairs alone were changed is read exactly or refused; of one
//! whose text was damaged afterwards only the same token may come out, or none.

use std::io::Write as _;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use zhaul::model::{Guid, ResumeToken};

use crate::random::Random;

/// A round that takes longer does needless work.
const PATIENCE: Duration = Duration::from_secs(2);

/// `data_type_t` in `sys/nvpair.h`.
const BOOLEAN: u32 = 1;
const UINT64: u32 = 8;
const STRING: u32 = 9;

/// The names that every token has, and those that a token may have.
const NUMBERS: [&str; 4] = ["object", "offset", "bytes", "toguid"];
const FLAGS: [&str; 4] = ["largeblockok", "embedok", "compressok", "rawok"];

/// One name and value of the list.
#[derive(Debug, Clone)]
struct Pair {
    name: String,
    kind: u32,
    number: u64,
    text: String,
}

fn pair(name: &str, kind: u32, number: u64) -> Pair {
    Pair { name: name.to_owned(), kind, number, text: String::new() }
}

fn pairs(random: &mut Random) -> Vec<Pair> {
    let mut pairs: Vec<Pair> = NUMBERS.map(|name| pair(name, UINT64, random.any())).into();
    let text = "rpool/data/vm-100-disk-0@2026-01-31-010000"[..=random.below(41)].to_owned();
    pairs.push(Pair { text, ..pair("toname", STRING, 0) });
    if random.below(2) == 0 {
        pairs.push(pair("fromguid", UINT64, random.any() * u64::from(random.byte() & 1)));
    }
    for name in FLAGS {
        if random.below(2) == 0 {
            pairs.push(pair(name, BOOLEAN, 0));
        }
    }
    pairs
}

/// Changes the list in one way; all of them leave it well-formed.
fn rearrange(random: &mut Random, pairs: &mut Vec<Pair>) {
    let (at, other) = (random.below(pairs.len()), random.below(pairs.len()));
    match random.below(6) {
        0 => pairs.swap(at, other),
        1 => drop(pairs.remove(at)),
        2 => pairs.insert(other, pairs[at].clone()),
        3 => pairs[at].kind = [BOOLEAN, UINT64, STRING, 0, 26, u32::MAX][random.below(6)],
        4 => {
            ["redact_snaps", "", "TOGUID", "tonam", "bytes"][random.below(5)].clone_into(&mut pairs[at].name);
        }
        _ => pairs[at].number = [0, 1, u64::MAX, 1 << 63][random.below(4)],
    }
}

/// The meaning of a list by the rules of the format: each known name once, with its kind, nothing unknown, nothing missing.
fn meaning(pairs: &[Pair]) -> Option<ResumeToken> {
    let kind_of = |name: &str| match name {
        "toname" => Some(STRING),
        "fromguid" => Some(UINT64),
        _ if NUMBERS.contains(&name) => Some(UINT64),
        _ => FLAGS.contains(&name).then_some(BOOLEAN),
    };
    let is_sound = |pair: &Pair| {
        let count = pairs.iter().filter(|other| other.name == pair.name).count();
        count == 1 && kind_of(&pair.name) == Some(pair.kind)
    };
    if !pairs.iter().all(is_sound) {
        return None;
    }
    let find = |name: &str| pairs.iter().find(|pair| pair.name == name);
    Some(ResumeToken {
        to_name: find("toname")?.text.clone(),
        to_guid: Guid(find("toguid")?.number),
        from_guid: find("fromguid").map(|pair| pair.number).filter(|guid| *guid != 0).map(Guid),
        object: find("object")?.number,
        offset: find("offset")?.number,
        received_bytes: find("bytes")?.number,
        large_block: find("largeblockok").is_some(),
        embed: find("embedok").is_some(),
        compress: find("compressok").is_some(),
        raw: find("rawok").is_some(),
    })
}

/// Writes numbers in one of the two byte orders.
struct Writer {
    is_big: bool,
    bytes: Vec<u8>,
}

impl Writer {
    fn number<const N: usize>(&mut self, little: [u8; N]) {
        if self.is_big {
            self.bytes.extend(little.iter().rev());
        } else {
            self.bytes.extend(little);
        }
    }

    fn align(&mut self, start: usize) {
        while !(self.bytes.len() - start).is_multiple_of(8) {
            self.bytes.push(0);
        }
    }

    fn pair(&mut self, pair: &Pair) {
        let start = self.bytes.len();
        self.number(0_u32.to_le_bytes());
        self.number(u16::try_from(pair.name.len() + 1).unwrap().to_le_bytes());
        self.number(0_u16.to_le_bytes());
        self.number(u32::from(pair.kind != BOOLEAN).to_le_bytes());
        self.number(pair.kind.to_le_bytes());
        self.bytes.extend(pair.name.as_bytes());
        self.bytes.push(0);
        self.align(start);
        match pair.kind {
            BOOLEAN => {}
            STRING => {
                self.bytes.extend(pair.text.as_bytes());
                self.bytes.push(0);
            }
            _ => self.number(pair.number.to_le_bytes()),
        }
        self.align(start);
        let mut size = Self { is_big: self.is_big, bytes: Vec::new() };
        size.number(u32::try_from(self.bytes.len() - start).unwrap().to_le_bytes());
        self.bytes[start..start + 4].copy_from_slice(&size.bytes);
    }
}

fn content(pairs: &[Pair], is_big: bool) -> Vec<u8> {
    let mut writer = Writer { is_big, bytes: vec![0, u8::from(!is_big), 0, 0] };
    writer.number(0_u32.to_le_bytes());
    writer.number(1_u32.to_le_bytes());
    for pair in pairs {
        writer.pair(pair);
    }
    writer.number(0_u32.to_le_bytes());
    writer.bytes
}

/// Packs a list as OpenZFS does, with the checksum that it then needs.
fn wrap(content: &[u8], is_big: bool) -> String {
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
    zlib.write_all(content).unwrap();
    let data = zlib.finish().unwrap();
    let word = if is_big { u32::from_be_bytes } else { u32::from_le_bytes };
    let sum: u64 = data.as_chunks::<4>().0.iter().map(|bytes| u64::from(word(*bytes))).sum();
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap();
    let digits: String = data.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect();
    format!("1-{sum:x}-{:x}-{digits}", content.len())
}

/// Damages bytes that have no checksum of their own to break: it is made good afterwards.
fn damage_bytes(random: &mut Random, bytes: &mut Vec<u8>) {
    let at = random.below(bytes.len());
    match random.below(4) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.byte(),
        2 => bytes.truncate(at),
        _ => bytes.insert(at, random.byte()),
    }
}

fn damage_text(random: &mut Random, text: &mut String) {
    let (at, other) = (random.below(text.len()), random.below(text.len()));
    match random.below(5) {
        0 => text.truncate(at),
        1 => drop(text.remove(at)),
        2 => text.insert(at, char::from(random.byte())),
        3 => {
            let digit = char::from_digit(u32::from(random.byte() & 15), 16).unwrap();
            text.replace_range(at..=at, &digit.to_string());
        }
        _ => {
            let piece = text[at.min(other)..at.max(other)].to_owned();
            text.insert_str(at, &piece);
        }
    }
}

/// One round: a token, some damage, and what is read.
pub(crate) fn round(random: &mut Random) {
    let mut pairs = pairs(random);
    for _ in 0..random.below(3) {
        if !pairs.is_empty() {
            rearrange(random, &mut pairs);
        }
    }
    let is_big = random.below(2) == 0;
    let mut bytes = content(&pairs, is_big);
    let is_forged = random.below(3) == 0;
    if is_forged {
        for _ in 0..=random.below(3) {
            damage_bytes(random, &mut bytes);
            bytes.resize(bytes.len().max(1), 0);
        }
    }
    let mut text = wrap(&bytes, is_big);
    let is_damaged = random.below(3) == 0;
    if is_damaged {
        for _ in 0..=random.below(3) {
            // Pieces are cut out of it at any place, so it stays plain ASCII.
            text.retain(|letter| letter.is_ascii());
            if !text.is_empty() {
                damage_text(random, &mut text);
            }
        }
    }
    let started = Instant::now();
    let read = ResumeToken::parse(&text);
    assert!(started.elapsed() < PATIENCE, "it took {:?}", started.elapsed());
    if is_forged {
        return;
    }
    let expected = meaning(&pairs);
    if is_damaged {
        assert!(read.is_err() || read.as_ref().ok() == expected.as_ref(), "{text}: {read:?}");
    } else {
        assert_eq!(read.as_ref().ok(), expected.as_ref(), "{text}: {read:?}");
    }
}
