//! The progress of a bench on a terminal: one line, on stderr.

use std::sync::{Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::super::render::{duration_text, escape};
use crate::bench::Watcher;
use crate::model::ByteCount;
use crate::stream::Sample;

/// The line.
#[derive(Debug)]
pub(super) struct Screen {
    bar: ProgressBar,
    what: Mutex<String>,
}

impl Screen {
    pub(super) fn new(lines: &MultiProgress) -> Self {
        let style =
            ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = lines.add(ProgressBar::no_length().with_style(style));
        Self { bar, what: Mutex::default() }
    }

    /// Takes it off the screen.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Watcher for Screen {
    fn begins(&self, what: &str) {
        tracing::info!("measuring {what}");
        let what = format!("measuring {}", escape(what));
        self.bar.set_message(what.clone());
        *self.what.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }

    fn moved(&self, sample: &Sample) {
        let what = self.what.lock().unwrap_or_else(PoisonError::into_inner);
        self.bar.set_message(line(&what, sample));
    }
}

fn line(what: &str, sample: &Sample) -> String {
    let rate = ByteCount(sample.input_bytes_per_second);
    format!("{what}  {}  {rate}/s  {}", ByteCount(sample.input_bytes), duration_text(sample.elapsed))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::stream::Bottleneck;

    #[test]
    fn the_line_shows_what_how_much_and_how_fast() {
        let sample = Sample {
            elapsed: Duration::from_secs(3),
            input_bytes: 300 << 20,
            output_bytes: 0,
            input_bytes_per_second: 100 << 20,
            output_bytes_per_second: 0,
            buffer_used_bytes: 0,
            buffer_total_bytes: 0,
            bottleneck: Bottleneck::Network,
        };
        assert_eq!(line("measuring the source", &sample), "measuring the source  300 MiB  100 MiB/s  3.0 s");
    }
}
