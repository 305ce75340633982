//! What is compressed comes back as it was.

use super::*;
use crate::stream::frame::Kind;

fn header(codec: Codec, raw: &[u8]) -> Header {
    let length = u32::try_from(raw.len()).unwrap();
    let checksum = crc32fast::hash(raw);
    Header { kind: Kind::Data(codec), stream: 0, sequence: 4, raw_bytes: length, stored_bytes: 0, checksum }
}

#[test]
fn what_is_compressed_can_be_decompressed_and_damage_is_found() {
    let raw: Vec<u8> = (0..1_000_000_u32).map(|i| (i / 7 % 251).to_le_bytes()[0]).collect();
    let mut room = vec![0; room_for(raw.len())];
    for method in [Method::Lz4, Method::Zstd(-7), Method::Zstd(1), Method::Zstd(19)] {
        let (codec, stored) = ChunkCompressor::default().compress(method, &raw, &mut room).unwrap().unwrap();
        assert!(stored < raw.len() / 2, "{method:?}: {stored}");
        let header = header(codec, &raw);
        let mut plain = vec![0; raw.len()];
        let mut decompressor = ChunkDecompressor::default();
        decompressor.decompress(codec, &header, &room[..stored], &mut plain).unwrap();
        assert!(plain == raw);
        let short = decompressor.decompress(codec, &header, &room[..stored - 1], &mut plain);
        assert_eq!(short, Err(FrameError::DataDamaged(4)));
        let bomb = decompressor.decompress(codec, &header, &room[..stored], &mut plain[..1000]);
        assert_eq!(bomb, Err(FrameError::DataDamaged(4)), "more than the header says");
    }
}

#[test]
fn noise_is_left_as_it_is() {
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    })
    .take(100_000)
    .collect();
    let mut room = vec![0; room_for(noise.len())];
    for method in [Method::Raw, Method::Lz4, Method::Zstd(3)] {
        assert_eq!(ChunkCompressor::default().compress(method, &noise, &mut room).unwrap(), None);
    }
    assert_eq!(ChunkCompressor::default().compress(Method::Zstd(3), b"x", &mut room).unwrap(), None);
}
