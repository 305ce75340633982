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
mod tests;
