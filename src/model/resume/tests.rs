//! Tokens as OpenZFS writes them, and everything else.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use proptest::prelude::*;

use super::nvlist::{PAIR_HEADER_BYTES, TYPE_BOOLEAN, TYPE_STRING, TYPE_UINT64};
use super::*;

/// Writes what OpenZFS would, in either byte order.
struct Writer(Order, Vec<u8>);

impl Writer {
    fn new(order: Order) -> Self {
        let mut writer = Self(order, vec![0, u8::from(order == Order::Little), 0, 0]);
        writer.u32(0);
        writer.u32(1);
        writer
    }

    fn number<const N: usize>(&mut self, little: [u8; N]) {
        match self.0 {
            Order::Little => self.1.extend(little),
            Order::Big => self.1.extend(little.iter().rev()),
        }
    }

    fn u32(&mut self, value: u32) {
        self.number(value.to_le_bytes());
    }

    fn pair(&mut self, name: &str, kind: u32, value: &[u8]) {
        let mut body = name.as_bytes().to_vec();
        body.push(0);
        body.resize(body.len().next_multiple_of(8), 0);
        body.extend(value);
        body.resize(body.len().next_multiple_of(8), 0);
        self.u32(u32::try_from(PAIR_HEADER_BYTES + body.len()).unwrap());
        self.number(u16::try_from(name.len() + 1).unwrap().to_le_bytes());
        self.number([0, 0]);
        self.u32(u32::from(kind != TYPE_BOOLEAN));
        self.u32(kind);
        self.1.extend(body);
    }

    fn uint64(&mut self, name: &str, value: u64) {
        let mut number = Self(self.0, Vec::new());
        number.number(value.to_le_bytes());
        self.pair(name, TYPE_UINT64, &number.1);
    }

    fn token(mut self) -> String {
        self.u32(0);
        wrap(&self.1, self.0)
    }
}

fn hex(data: &[u8]) -> String {
    data.iter().flat_map(|b| [b >> 4, b & 15]).filter_map(|d| char::from_digit(d.into(), 16)).collect()
}

fn wrap(content: &[u8], order: Order) -> String {
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
    zlib.write_all(content).unwrap();
    let data = zlib.finish().unwrap();
    let sum = data.as_chunks::<4>().0.iter().map(|word| {
        u64::from(match order {
            Order::Little => u32::from_le_bytes(*word),
            Order::Big => u32::from_be_bytes(*word),
        })
    });
    let hex = hex(&data);
    format!("1-{:x}-{:x}-{hex}", sum.sum::<u64>(), content.len())
}

fn usual(order: Order) -> Writer {
    let mut writer = Writer::new(order);
    writer.uint64("fromguid", 0xfedc_ba98_7654_3210);
    writer.uint64("object", 128);
    writer.uint64("offset", 1 << 40);
    writer.uint64("bytes", 123_456_789);
    writer.uint64("toguid", u64::MAX - 1);
    writer.pair("toname", TYPE_STRING, b"rpool/data/vm-100-disk-0@2026-01-31-010000\0");
    writer.pair("compressok", TYPE_BOOLEAN, b"");
    writer.pair("rawok", TYPE_BOOLEAN, b"");
    writer
}

#[test]
fn every_field_is_read_in_either_byte_order() {
    for order in [Order::Little, Order::Big] {
        let token = ResumeToken::parse(&usual(order).token()).unwrap();
        let expected = ResumeToken {
            to_name: "rpool/data/vm-100-disk-0@2026-01-31-010000".to_owned(),
            to_guid: Guid(u64::MAX - 1),
            from_guid: Some(Guid(0xfedc_ba98_7654_3210)),
            object: 128,
            offset: 1 << 40,
            received_bytes: 123_456_789,
            large_block: false,
            embed: false,
            compress: true,
            raw: true,
        };
        assert_eq!(token, expected, "{order:?}");
    }
}

/// Made by OpenZFS 2.4.4 when a receive of `zfs send -L -c -e` was cut.
#[test]
fn a_token_of_openzfs_is_read() {
    let text = concat!(
        "1-1090fe5838-118-789c636064000310a500c4ec50360710e72765a52697303030419460caa7a515a79680640e",
        "30c2e4d990e4932a4b528b817484fe05466cfa4bf2d34b33531818e2a3fc6797fd7f586a8024cf0996cf4bcc4d",
        "6560282ac8cfcfd12f4a2d2ecd4dd52fce2f2d4a4e7530849ac7cb80707f4e62517a6a524e7e72767e36484c02",
        "6a0f4c3e35372935052805d2c78d249e9c9f5b0034bd18a20b02003d0b2866",
    );
    let expected = ResumeToken {
        to_name: "rpool/resume/source@1".to_owned(),
        to_guid: Guid(8_494_351_257_074_358_879),
        from_guid: None,
        object: 2,
        offset: 29_360_128,
        received_bytes: 30_420_824,
        large_block: true,
        embed: true,
        compress: true,
        raw: false,
    };
    assert_eq!(ResumeToken::parse(text), Ok(expected));
}

#[test]
fn what_is_unknown_is_refused() {
    let mut writer = usual(Order::Little);
    writer.pair("book_redact_snaps", 26, &[0; 16]);
    let error = ResumeToken::parse(&writer.token()).unwrap_err();
    assert_eq!(error, Error::Unsupported("book_redact_snaps".to_owned()));

    let mut writer = usual(Order::Little);
    writer.pair("toguid", TYPE_STRING, b"7\0");
    let error = ResumeToken::parse(&writer.token()).unwrap_err();
    assert_eq!(error, Error::Unsupported("toguid".to_owned()), "a known name of another type");

    let mut writer = usual(Order::Little);
    writer.uint64("object", 1);
    let error = ResumeToken::parse(&writer.token()).unwrap_err();
    assert_eq!(error, Error::Content("a name occurs twice"));

    let error = ResumeToken::parse(&Writer::new(Order::Little).token()).unwrap_err();
    assert_eq!(error, Error::Missing("toname"));
}

#[test]
fn every_form_of_malformed_text_names_its_cause() {
    let good = usual(Order::Little).token();
    let data = good.rsplit_once('-').unwrap().1;
    let cases = [
        ("", "version \"\""),
        ("-", "version"),
        ("2-0-0-00", "version \"2\""),
        ("1", "four parts"),
        ("1-0-0", "four parts"),
        ("1-x-0-00", "checksum is not a number"),
        ("1-+1-0-00", "checksum is not a number"),
        ("1--0-00", "checksum is not a number"),
        ("1-0-100001-00", "more than 1 MiB"),
        ("1-0-ffffffffffffffff-00", "more than 1 MiB"),
        ("1-0-10000000000000000-00", "length is not a number"),
        ("1-0-0-0", "not hexadecimal"),
        ("1-0-0-0g", "not hexadecimal"),
        ("1-0-0-ää", "not hexadecimal"),
        ("1-0-0-00-00", "more than four parts"),
        ("1-0-0-00", "cannot be decompressed"),
        ("1-1-0-00000000", "checksum is wrong"),
    ];
    for (text, words) in cases {
        let error = ResumeToken::parse(text).unwrap_err().to_string();
        assert!(error.contains(words), "{text:?}: {error}");
    }
    let zeros = format!("1-0-100-{data}");
    assert_eq!(ResumeToken::parse(&zeros).unwrap_err(), Error::Checksum);
}

/// A few bytes that decompress to far more than they announce are cut off, not decompressed.
#[test]
fn a_bomb_is_not_unpacked() {
    let bomb = wrap(&vec![0; 512 << 20 >> 6], Order::Little);
    let (head, data) = bomb.rsplit_once('-').unwrap();
    let (head, _) = head.rsplit_once('-').unwrap();
    let error = ResumeToken::parse(&format!("{head}-40-{data}")).unwrap_err();
    assert_eq!(error, Error::Length { announced: 64, found: 65 });
}

#[test]
fn every_truncation_is_an_error() {
    let token = usual(Order::Little).token();
    for length in 0..token.len() {
        assert!(ResumeToken::parse(&token[..length]).is_err(), "{length}");
    }
    let mut writer = usual(Order::Little);
    writer.u32(0);
    for length in 0..writer.1.len() {
        let token = wrap(&writer.1[..length], Order::Little);
        assert!(ResumeToken::parse(&token).is_err(), "{length}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in ".*") {
        drop(ResumeToken::parse(&text));
    }

    #[test]
    fn any_data_are_read_or_refused(data: Vec<u8>, sum: u32, length in 0..2048_u32) {
        let hex = hex(&data);
        drop(ResumeToken::parse(&format!("1-{sum:x}-{length:x}-{hex}")));
    }

    /// With a right checksum, so that the list's reader is what is tested.
    #[test]
    fn any_content_is_read_or_refused(mut content: Vec<u8>, big: bool) {
        content.splice(0..0, [0, u8::from(!big), 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        let order = if big { Order::Big } else { Order::Little };
        drop(ResumeToken::parse(&wrap(&content, order)));
    }

    #[test]
    fn any_changed_byte_is_read_or_refused(at: prop::sample::Index, byte: u8, big: bool) {
        let order = if big { Order::Big } else { Order::Little };
        let mut writer = usual(order);
        writer.u32(0);
        let at = at.index(writer.1.len());
        writer.1[at] = byte;
        drop(ResumeToken::parse(&wrap(&writer.1, order)));
    }

    /// A flipped digit changes the sum, or what it does not cover, or is refused; never is it a token with other
    /// content and no error unless it is in the tail that the sum leaves out.
    #[test]
    fn a_flipped_digit_does_not_pass(at: prop::sample::Index, bit in 0..4_u32) {
        let token = usual(Order::Little).token();
        let start = token.rfind('-').unwrap() + 1;
        let covered = (token.len() - start) / 8 * 8;
        let at = start + at.index(covered);
        let digit = char::from(token.as_bytes()[at]).to_digit(16).unwrap() ^ (1 << bit);
        let digit = char::from_digit(digit, 16).unwrap().to_string();
        let mut flipped = token.clone();
        flipped.replace_range(at..=at, &digit);
        prop_assert_eq!(ResumeToken::parse(&flipped), Err(Error::Checksum));
    }
}
