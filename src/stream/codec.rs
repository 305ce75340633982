//! Compresses and decompresses single chunks, each for itself, so that any number of threads can share the work.

use std::io;

use zstd::bulk::{Compressor, Decompressor};

use super::frame::{Codec, FrameError, Header};

/// A chunk stays compressed only if that saves 1/32 of its length; decompression costs time at the target.
const SAVING: usize = 32;

/// One way of compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Raw,
    Lz4,
    Zstd(i32),
}

/// The most room that [`ChunkCompressor::compress`] needs for a chunk of `raw_bytes`.
pub(super) fn room_for(raw_bytes: usize) -> usize {
    lz4_flex::block::get_maximum_output_size(raw_bytes)
}

/// Compresses chunks; one for each thread, since it keeps working memory.
#[derive(Default)]
pub(super) struct ChunkCompressor {
    zstd: Option<(i32, Compressor<'static>)>,
}

impl ChunkCompressor {
    /// Compresses `raw` into `room` and says how; `None`: it is better left as it is.
    pub(super) fn compress(
        &mut self,
        method: Method,
        raw: &[u8],
        room: &mut [u8],
    ) -> io::Result<Option<(Codec, usize)>> {
        let useful_bytes = raw.len().saturating_sub(raw.len() / SAVING).saturating_sub(1);
        let (codec, stored_bytes) = match method {
            Method::Raw => return Ok(None),
            Method::Lz4 => {
                let compressed = lz4_flex::block::compress_into(raw, room);
                (Codec::Lz4, compressed.map_err(io::Error::other)?)
            }
            Method::Zstd(level) => {
                let room_bytes = useful_bytes.min(room.len());
                // The only way for it to fail: the result does not fit into the room that makes it useful.
                match self.zstd(level)?.compress_to_buffer(raw, &mut room[..room_bytes]) {
                    Ok(stored_bytes) => (Codec::Zstd, stored_bytes),
                    Err(_) => return Ok(None),
                }
            }
        };
        Ok((stored_bytes <= useful_bytes).then_some((codec, stored_bytes)))
    }

    fn zstd(&mut self, level: i32) -> io::Result<&mut Compressor<'static>> {
        match &mut self.zstd {
            Some((current, compressor)) if *current != level => {
                compressor.set_compression_level(level)?;
                *current = level;
            }
            Some(_) => {}
            None => self.zstd = Some((level, Compressor::new(level)?)),
        }
        let (_, compressor) = self.zstd.as_mut().ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(compressor)
    }
}

/// Decompresses chunks; one for each thread, since it keeps working memory.
#[derive(Default)]
pub(super) struct ChunkDecompressor {
    zstd: Option<Decompressor<'static>>,
}

impl ChunkDecompressor {
    /// Decompresses `stored` into `room`, which is as long as the header says that the data is.
    pub(super) fn decompress(
        &mut self,
        codec: Codec,
        header: &Header,
        stored: &[u8],
        room: &mut [u8],
    ) -> Result<(), FrameError> {
        let damaged = FrameError::DataDamaged(header.sequence);
        let raw_bytes = match codec {
            Codec::Raw => return Err(damaged),
            Codec::Lz4 => lz4_flex::block::decompress_into(stored, room).ok(),
            Codec::Zstd => {
                if self.zstd.is_none() {
                    self.zstd = Decompressor::new().ok();
                }
                self.zstd
                    .as_mut()
                    .and_then(|decompressor| decompressor.decompress_to_buffer(stored, room).ok())
            }
        };
        if raw_bytes == Some(header.raw_len()) { check(header, room) } else { Err(damaged) }
    }
}

/// Whether `raw` is what was sent.
pub(super) fn check(header: &Header, raw: &[u8]) -> Result<(), FrameError> {
    if crc32fast::hash(raw) == header.checksum {
        Ok(())
    } else {
        Err(FrameError::DataDamaged(header.sequence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::frame::Kind;

    fn header(codec: Codec, raw: &[u8]) -> Header {
        let length = u32::try_from(raw.len()).unwrap();
        let checksum = crc32fast::hash(raw);
        Header {
            kind: Kind::Data(codec),
            stream: 0,
            sequence: 4,
            raw_bytes: length,
            stored_bytes: 0,
            checksum,
        }
    }

    #[test]
    fn what_is_compressed_can_be_decompressed_and_damage_is_found() {
        let raw: Vec<u8> = (0..1_000_000_u32).map(|i| (i / 7 % 251).to_le_bytes()[0]).collect();
        let mut room = vec![0; room_for(raw.len())];
        for method in [Method::Lz4, Method::Zstd(-7), Method::Zstd(1), Method::Zstd(19)] {
            let (codec, stored) =
                ChunkCompressor::default().compress(method, &raw, &mut room).unwrap().unwrap();
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
}
