//! The cargo that started this program: builds the programs that the lab runs and gives their paths.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// Cargo at the workspace's root.
pub(crate) fn command() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Builds with `args` and returns the executable of the target `name` of a kind (`test`, `bin`).
pub(crate) fn build(args: &[&str], kind: &str, name: &str) -> Result<PathBuf> {
    let mut command = command();
    command.args(args);
    build_with(command, args, kind, name)
}

/// The same with a `command` that was made ready with `args`.
pub(crate) fn build_with(mut command: Command, args: &[&str], kind: &str, name: &str) -> Result<PathBuf> {
    command.arg("--message-format=json-render-diagnostics");
    let built =
        command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    if !built.status.success() {
        bail!("cargo {} failed", args.join(" "));
    }
    let messages = String::from_utf8_lossy(&built.stdout);
    executable(&messages, kind, name).with_context(|| format!("cargo built no {kind} `{name}`"))
}

/// The executable in cargo's JSON messages.
fn executable(messages: &str, kind: &str, name: &str) -> Option<PathBuf> {
    messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let target = message.get("target")?;
        let fits = target.get("kind")?.as_array()?.iter().any(|found| found == kind);
        (fits && target.get("name")? == name).then_some(())?;
        Some(PathBuf::from(message.get("executable")?.as_str()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_of_the_right_target() {
        let lines = r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"real"},"executable":null}
not json
{"reason":"compiler-artifact","target":{"kind":["test"],"name":"other"},"executable":"/t/other-1"}
{"reason":"compiler-artifact","target":{"kind":["test"],"name":"real"},"executable":"/t/real-2"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable(lines, "test", "real"), Some(PathBuf::from("/t/real-2")));
        assert_eq!(executable(lines, "test", "none"), None);
    }
}
