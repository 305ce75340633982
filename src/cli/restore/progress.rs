//! The progress of a restore on a terminal: a line for each dataset that is being received.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::super::render::escape;
use crate::execute::restore::RestoreObserver;
use crate::model::{ByteCount, DatasetName};
use crate::plan::restore::{RestoreStream, VolumeRestore};
use crate::stream::Sample;

/// Watches a restore for a person.
pub(in crate::cli) struct Progress {
    screen: MultiProgress,
    expected_bytes: ByteCount,
    state: Mutex<BTreeMap<DatasetName, Running>>,
}

#[derive(Default)]
struct Running {
    bar: Option<ProgressBar>,
    /// Of streams that are over.
    earlier_bytes: u64,
    current_bytes: u64,
}

impl Progress {
    pub(in crate::cli) fn new(screen: MultiProgress, expected: impl Iterator<Item = ByteCount>) -> Self {
        Self { screen, expected_bytes: expected.sum(), state: Mutex::default() }
    }

    /// Takes everything off the screen.
    pub(in crate::cli) fn finish(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for running in std::mem::take(&mut *state).into_values() {
            if let Some(bar) = running.bar {
                bar.finish_and_clear();
            }
        }
    }
}

impl RestoreObserver for Progress {
    fn started(&self, volume: &VolumeRestore, stream: &RestoreStream) {
        tracing::info!("{}: receiving {} into {}", volume.to, stream.snapshot, volume.incoming);
    }

    fn moved(&self, volume: &VolumeRestore, sample: &Sample) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let moved = |running: &Running| running.earlier_bytes.saturating_add(running.current_bytes);
        let running = state.entry(volume.to.clone()).or_default();
        running.current_bytes = sample.input_bytes;
        let bar = running.bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("{wide_msg}");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            self.screen.add(ProgressBar::no_length().with_style(style))
        });
        let rate = ByteCount(sample.input_bytes_per_second);
        let name = escape(volume.to.last());
        let bar = bar.clone();
        let done = ByteCount(moved(running));
        let all: ByteCount = state.values().map(|running| ByteCount(moved(running))).sum();
        let total = self.expected_bytes.max(all);
        bar.set_message(format!(
            "{name}  {done}  {rate}/s  limited by {}  (all {all} of {total})",
            sample.bottleneck
        ));
    }

    fn ended(&self, volume: &VolumeRestore, stream: &RestoreStream) {
        tracing::info!("{}: received {}", volume.to, stream.snapshot);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let running = state.entry(volume.to.clone()).or_default();
        running.earlier_bytes = running.earlier_bytes.saturating_add(running.current_bytes);
        running.current_bytes = 0;
    }
}
