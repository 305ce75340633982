//! Runs one program of a set-up step: output goes to a log whose path is printed, a long step shows that it lives, and a failed
//! one shows the end of its log.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::say;

/// Runs `command` to its end with output appended to `log`.
pub(crate) fn run(what: &str, log: &Path, command: &mut Command) -> Result<()> {
    let mut file = append(log)?;
    writeln!(file, "+ {command:?}")?;
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()
        .with_context(|| format!("{what}: cannot start {}", command.get_program().display()))?;
    let mut shown = started;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(Duration::from_millis(if started.elapsed().as_secs() < 2 { 20 } else { 200 }));
        if shown.elapsed() >= Duration::from_secs(60) {
            shown = Instant::now();
            let last = tail(log, 1);
            say::line(format_args!("{what}: {} so far; now: {}", say::time(started.elapsed()), last.trim()));
        }
    };
    if !status.success() {
        bail!("{what}: {status}; {} ends with:\n{}", log.display(), tail(log, 25));
    }
    Ok(())
}

/// The stdout of a short program; an error if the program fails.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let result = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {shown}"))?;
    if !result.status.success() {
        bail!("{shown}: {}: {}", result.status, String::from_utf8_lossy(&result.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&result.stdout).into_owned())
}

/// Whether a program of this name is on the path, or in the places where root's programs are.
pub(crate) fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = std::env::split_paths(&path);
    own.chain(["/usr/sbin".into(), "/sbin".into()]).any(|dir| dir.join(program).is_file())
}

/// The last `lines` lines of a file.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn append(log: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("cannot write {}", log.display()))
}
