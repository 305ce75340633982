//! The progress of a run on a terminal: a line for each running transfer and one for the whole, on stderr.
//!
//! A transfer gets its line with its first sample, so short ones do not flicker. Steps go to the log as well, for
//! those who ask for it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::render::{Estimates, dataset_label, duration_text, escape, step_line};
use crate::execute::{Observer, Outcome};
use crate::model::ByteCount;
use crate::plan::{Action, Plan, Step, StepId};
use crate::stream::Sample;

/// How often the screen is drawn at most, a second.
const DRAWS_PER_SECOND: u8 = 10;

/// Watches a run for a person.
#[derive(Debug)]
pub(super) struct Progress {
    screen: MultiProgress,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: BTreeMap<StepId, Running>,
    total: Option<ProgressBar>,
    transfers: usize,
    transfers_ended: usize,
    moved_bytes: u64,
    /// Of transfers that have not ended; those without an estimate are missing.
    outstanding: Estimates,
}

#[derive(Debug)]
struct Running {
    label: String,
    expected: Option<ByteCount>,
    shown: Option<(ProgressBar, Sample)>,
}

/// Where progress is drawn: on stderr, or nowhere.
pub(super) fn screen(is_wanted: bool) -> MultiProgress {
    MultiProgress::with_draw_target(if is_wanted {
        ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND)
    } else {
        ProgressDrawTarget::hidden()
    })
}

impl Progress {
    /// Watches the run of `plan`.
    pub(super) fn new(screen: MultiProgress, plan: &Plan, estimates: &Estimates) -> Self {
        let transfers = plan.steps.iter().filter(|step| matches!(step.action, Action::Send(_))).count();
        let state = State { transfers, outstanding: estimates.clone(), ..State::default() };
        Self { screen, state: Mutex::new(state) }
    }

    /// Takes everything off the screen.
    pub(super) fn finish(&self) {
        let mut state = self.state();
        for running in std::mem::take(&mut state.running).into_values() {
            if let Some((bar, _)) = running.shown {
                bar.finish_and_clear();
            }
        }
        if let Some(total) = state.total.take() {
            total.finish_and_clear();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves counters that are still good enough to show.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn new_line(&self, state: &mut State) -> ProgressBar {
        let total = state.total.get_or_insert_with(|| self.screen.add(line()));
        self.screen.insert_before(total, line())
    }
}

fn line() -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::no_length().with_style(style)
}

impl Observer for Progress {
    fn started(&self, step: &Step) {
        tracing::info!("{} ({}): {}", dataset_label(step), step.place, step_line(step));
        if !matches!(step.action, Action::Send(_)) {
            return;
        }
        let mut state = self.state();
        let expected = state.outstanding.get(&step.id).copied();
        let dataset =
            step.dataset.as_ref().map_or_else(|| dataset_label(step), |name| name.last().to_owned());
        let label = format!("{dataset} -> {}", step.place);
        state.running.insert(step.id, Running { label, expected, shown: None });
    }

    fn sized(&self, step: &Step, expected: ByteCount) {
        let mut state = self.state();
        if let Some(running) = state.running.get_mut(&step.id) {
            running.expected = Some(expected);
            state.outstanding.insert(step.id, expected);
        }
    }

    fn moved(&self, step: &Step, sample: &Sample) {
        let mut state = self.state();
        let Some(mut running) = state.running.remove(&step.id) else {
            return;
        };
        let bar = match running.shown.take() {
            Some((bar, _)) => bar,
            None => self.new_line(&mut state),
        };
        bar.set_message(transfer_line(&running.label, running.expected, sample));
        running.shown = Some((bar, *sample));
        state.running.insert(step.id, running);
        if let Some(total) = &state.total {
            total.set_message(state.total_line());
        }
    }

    fn ended(&self, step: &Step, outcome: &Outcome) {
        let what = match outcome {
            Outcome::Done { .. } => "done".to_owned(),
            Outcome::Partly { failures, .. } => {
                let names: Vec<String> = failures.iter().map(|failed| failed.dataset.to_string()).collect();
                format!("failed for {}", escape(&names.join(", ")))
            }
            Outcome::Failed { error, .. } => format!("failed: {}", escape(error)),
            Outcome::Skipped { why } => format!("skipped: {}", escape(why)),
        };
        tracing::info!("{} ({}): {}: {what}", dataset_label(step), step.place, step_line(step));
        if !matches!(step.action, Action::Send(_)) {
            return;
        }
        let mut state = self.state();
        state.transfers_ended += 1;
        state.outstanding.remove(&step.id);
        if let Outcome::Done { moved_bytes, .. } = outcome {
            state.moved_bytes = state.moved_bytes.saturating_add(moved_bytes.0);
        }
        let running = state.running.remove(&step.id);
        if let Some((bar, _)) = running.and_then(|running| running.shown) {
            bar.finish_and_clear();
            self.screen.remove(&bar);
        }
        if let Some(total) = &state.total {
            total.set_message(state.total_line());
        }
    }
}

impl State {
    fn total_line(&self) -> String {
        let samples = || self.running.values().filter_map(|running| running.shown.as_ref());
        let running_bytes = samples().fold(0_u64, |sum, (_, sample)| sum.saturating_add(sample.input_bytes));
        let rate =
            samples().fold(0_u64, |sum, (_, sample)| sum.saturating_add(sample.input_bytes_per_second));
        let moved = self.moved_bytes.saturating_add(running_bytes);
        let outstanding = self.outstanding.values().fold(0_u64, |sum, bytes| sum.saturating_add(bytes.0));
        let expected = ByteCount(self.moved_bytes.saturating_add(outstanding));
        format!(
            "total  {} of {} transfers done  {}",
            self.transfers_ended,
            self.transfers,
            moved_text(moved, (outstanding > 0).then_some(expected), rate)
        )
    }
}

/// `vm-100-disk-0 -> nfs8  35%  112 MiB/s  limited by network  20 s left  1.20 GiB of 3.40 GiB  buffer 80%`, and how much
/// smaller it travels where it is compressed. The most important part comes first: a terminal may have only 80 columns.
fn transfer_line(label: &str, expected: Option<ByteCount>, sample: &Sample) -> String {
    let buffer = percent(sample.buffer_used_bytes, sample.buffer_total_bytes).unwrap_or_default();
    let (moved, rate) = (ByteCount(sample.input_bytes), ByteCount(sample.input_bytes_per_second));
    let (limit, compressed) = (sample.bottleneck, compressed_text(sample));
    let (share, rest) = match expected {
        Some(expected) => (
            format!("{}  ", share_text(moved.0, expected.0)),
            format!("{}  {moved} of {expected}", left_text(moved.0, expected.0, rate.0)),
        ),
        None => (String::new(), moved.to_string()),
    };
    format!("{label}  {share}{rate}/s  limited by {limit}  {rest}  buffer {buffer}%{compressed}")
}

/// An estimate may be too low; 100% is only said when it is over.
fn share_text(moved: u64, expected: u64) -> String {
    format!("{}%", percent(moved, expected).unwrap_or(99).min(99))
}

/// Of less than this no rate is worth an estimate: a stream's first bytes are its header, and the sender is only starting.
const ESTIMATE_FROM_BYTES: u64 = 1 << 20;

fn left_text(moved: u64, expected: u64, bytes_per_second: u64) -> String {
    match expected.saturating_sub(moved).checked_div(bytes_per_second) {
        Some(seconds) if (ESTIMATE_FROM_BYTES..expected).contains(&moved) => {
            format!("{} left", duration_text(Duration::from_secs(seconds)))
        }
        Some(_) | None => "? left".to_owned(),
    }
}

/// Nothing where it travels as it is.
fn compressed_text(sample: &Sample) -> String {
    let taken = sample.input_bytes.saturating_sub(sample.buffer_used_bytes);
    let tenths = taken.saturating_mul(10).checked_div(sample.output_bytes).unwrap_or(0);
    if tenths > 10 { format!("  compressed {}.{}x", tenths / 10, tenths % 10) } else { String::new() }
}

fn moved_text(moved: u64, expected: Option<ByteCount>, bytes_per_second: u64) -> String {
    let rate = ByteCount(bytes_per_second);
    let Some(expected) = expected else {
        return format!("{}  {rate}/s", ByteCount(moved));
    };
    let (share, left) = (share_text(moved, expected.0), left_text(moved, expected.0, bytes_per_second));
    format!("{} of {expected}, {share}  {rate}/s  {left}", ByteCount(moved))
}

fn percent(part: u64, whole: u64) -> Option<u64> {
    let share = (u128::from(part) * 100).checked_div(u128::from(whole))?;
    u64::try_from(share).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use indicatif::TermLike;

    use super::super::render::examples::{done, estimates, plan};
    use super::*;
    use crate::stream::Bottleneck;

    fn sample(input_bytes: u64) -> Sample {
        Sample {
            elapsed: Duration::from_secs(3),
            input_bytes,
            output_bytes: input_bytes,
            input_bytes_per_second: 100 << 20,
            output_bytes_per_second: 100 << 20,
            buffer_used_bytes: 64 << 20,
            buffer_total_bytes: 256 << 20,
            bottleneck: Bottleneck::Network,
        }
    }

    #[test]
    fn a_transfers_line_shows_everything() {
        assert_eq!(
            transfer_line("a -> nfs8", Some(ByteCount(1 << 30)), &sample(1 << 29)),
            "a -> nfs8  50%  100 MiB/s  limited by network  5.0 s left  512 MiB of 1.00 GiB  buffer 25%"
        );
        assert_eq!(
            transfer_line("a -> nfs8", None, &sample(1 << 29)),
            "a -> nfs8  100 MiB/s  limited by network  512 MiB  buffer 25%"
        );
        let compressed = Sample { output_bytes: 1 << 28, ..sample(1 << 29) };
        assert!(transfer_line("a -> nfs8", None, &compressed).ends_with("  buffer 25%  compressed 1.7x"));
    }

    #[test]
    fn the_bottleneck_fits_into_80_columns() {
        let slow = Sample { bottleneck: Bottleneck::TargetReceive, ..sample(1 << 29) };
        let line = transfer_line("subvol-101-disk-0 -> backup-nfs8", Some(ByteCount(1 << 30)), &slow);
        assert!(line[..80].contains("limited by target receive"), "{line}");
    }

    #[test]
    fn an_estimate_that_was_too_low_is_not_done_before_the_end() {
        let text = moved_text(2 << 30, Some(ByteCount(1 << 30)), 100 << 20);
        assert_eq!(text, "2.00 GiB of 1.00 GiB, 99%  100 MiB/s  ? left");
        assert!(moved_text(0, Some(ByteCount(1 << 30)), 0).ends_with("? left"));
        assert!(moved_text(312, Some(ByteCount(1 << 30)), 42_000).ends_with("? left"), "the header alone");
    }

    /// Remembers what was drawn.
    #[derive(Debug, Clone, Default)]
    struct Paper(Arc<Mutex<String>>);

    impl TermLike for Paper {
        fn width(&self) -> u16 {
            200
        }
        fn move_cursor_up(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> std::io::Result<()> {
            self.write_str(text)?;
            self.write_str("\n")
        }
        fn write_str(&self, text: &str) -> std::io::Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }
        fn clear_line(&self) -> std::io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_appear_with_the_first_sample_and_the_total_adds_up() {
        let paper = Paper::default();
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(paper.clone()), 255);
        let plan = plan();
        let progress = Progress::new(MultiProgress::with_draw_target(target), &plan, &estimates());
        progress.started(&plan.steps[0]);
        progress.started(&plan.steps[2]);
        assert_eq!(*paper.0.lock().unwrap(), "", "nothing has moved yet");
        progress.moved(&plan.steps[2], &sample(3 << 28));
        let drawn = paper.0.lock().unwrap().clone();
        assert!(drawn.contains("vm-100-disk-0 -> nfs8  50%  100 MiB/s"), "{drawn}");
        let total = |progress: &Progress| progress.state().total_line();
        assert_eq!(
            total(&progress),
            "total  0 of 2 transfers done  768 MiB of 1.50 GiB, 50%  100 MiB/s  7.0 s left"
        );
        progress.ended(&plan.steps[2], &done(3 << 29));
        assert_eq!(total(&progress), "total  1 of 2 transfers done  1.50 GiB  0 B/s");
        progress.finish();
    }
}
