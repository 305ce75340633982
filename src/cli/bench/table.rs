//! Measurements as a table, with what follows from them below it.

use std::fmt::Write as _;

use super::super::render::{Style, count, escape};
use crate::bench::{Choice, Flow, Received, Report, channel_name};
use crate::model::ByteCount;

/// How wide the names of stages are.
const NAME_WIDTH: usize = 34;

/// The whole report for a person.
pub(super) fn text(report: &Report, style: Style) -> String {
    let measured = &report.measured;
    let mut text = format!(
        "{}, {}, {}: {} read\n\n",
        escape(&report.target),
        count(measured.cores, "core"),
        escape(&report.stream),
        ByteCount(measured.source.bytes)
    );
    let heading = format!("{:NAME_WIDTH$}{:>8}{:>8}{:>11}", "stage", "MiB/s", "ratio", "CPU s/GiB");
    let _ = writeln!(text, "{}", style.bold(&heading));
    row(&mut text, "source read", &measured.source, false);
    for compression_run in &measured.compression_runs {
        let threads = count(compression_run.threads, "thread");
        row(
            &mut text,
            &format!("compress {}, {threads}", compression_run.compression),
            &compression_run.compress,
            true,
        );
        row(&mut text, &format!("  and decompress, {threads}"), &compression_run.decompress, false);
    }
    for way in &measured.ways {
        let ends = if way.has_both_ends { " (both ends)" } else { "" };
        let name = format!("network {} x{}{ends}", channel_name(way.channel), way.connections);
        row(&mut text, &name, &way.flow, false);
    }
    if let Some(received) = &measured.receive {
        row(&mut text, "receive, from memory", &received.flow, false);
    }
    if let Some(together) = &report.together {
        row(&mut text, &format!("all together, {}", together.end), &together.received.flow, true);
    }
    text.push('\n');
    let together = report.together.as_ref().map(|together| &together.received);
    text.push_str(&conclusion(&report.choice, together, style));
    for remark in &report.remarks {
        let _ = writeln!(text, "note: {}", escape(remark));
    }
    for left in &report.left_behind {
        for (at, line) in left.lines().enumerate() {
            let mark = if at == 0 { style.red("left behind: ") } else { String::new() };
            let _ = writeln!(text, "{mark}{}", escape(line));
        }
    }
    text
}

fn row(text: &mut String, name: &str, flow: &Flow, is_compressed: bool) {
    let ratio = if is_compressed { format!("{:.2}", flow.ratio) } else { String::new() };
    let _ = writeln!(
        text,
        "{name:NAME_WIDTH$}{:>8}{ratio:>8}{:>11.2}",
        rate(flow.mib_per_second),
        flow.cpu_seconds_per_gib
    );
}

/// Three digits are all that a measurement is good for.
fn rate(mib_per_second: f64) -> String {
    if mib_per_second < 9.95 { format!("{mib_per_second:.1}") } else { format!("{mib_per_second:.0}") }
}

fn conclusion(choice: &Choice, together: Option<&Received>, style: Style) -> String {
    let mut text = format!("{} {}", style.bold("Bottleneck:"), choice.bottleneck);
    let waited_for = together.and_then(|together| together.waited_for);
    if let Some(waited_for) = waited_for.filter(|waited_for| *waited_for != choice.bottleneck) {
        let _ = write!(text, " by the numbers; all together waited most for: {waited_for}");
    }
    text.push('\n');
    let settings = choice.settings.as_ref().map(|settings| {
        format!(
            "channel = \"{}\", connections = {}, compression = \"{}\"",
            channel_name(settings.channel),
            settings.connections,
            settings.compression
        )
    });
    let _ = writeln!(
        text,
        "{}   {}   ({} MiB/s expected)",
        style.bold("Settings:"),
        settings.as_deref().unwrap_or("none to choose"),
        rate(choice.mib_per_second)
    );
    text
}

#[cfg(test)]
mod tests;
