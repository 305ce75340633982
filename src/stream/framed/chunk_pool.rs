//! Chunks that are not in use: the one that came back last is given out first, its memory being still near.

use std::sync::{Mutex, PoisonError};

use crate::stream::ring::Chunk;

/// A shelf of chunks of one size. How many there are is for those who take them to limit.
#[derive(Debug)]
pub(super) struct ChunkPool {
    room_bytes: usize,
    shelf: Mutex<Vec<Chunk>>,
}

impl ChunkPool {
    pub(super) fn new(room_bytes: usize) -> Self {
        Self { room_bytes, shelf: Mutex::new(Vec::new()) }
    }

    /// An empty chunk. Its memory may still contain earlier data.
    pub(super) fn take(&self) -> Chunk {
        let found = self.shelf.lock().unwrap_or_else(PoisonError::into_inner).pop();
        found.unwrap_or_else(|| Chunk::with_room(self.room_bytes))
    }

    pub(super) fn give(&self, mut chunk: Chunk) {
        chunk.clear();
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner).push(chunk);
    }
}
