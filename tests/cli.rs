//! The program as a shell sees it: exit codes, streams, messages. Needs no ZFS.

use std::path::Path;
use std::process::{Command, Output};

fn zhaul(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zhaul"));
    command.args(arguments).env_remove("NO_COLOR").output().expect("zhaul starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[track_caller]
fn ends_with(arguments: &[&str], code: i32) -> (String, String) {
    let output = zhaul(arguments);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{stdout}\n{stderr}");
    (stdout, stderr)
}

#[test]
fn help_goes_to_stdout_and_lists_the_exit_codes() {
    for arguments in [
        ["--help"].as_slice(),
        &["run", "--help"],
        &["status", "-h"],
        &["config", "--help"],
        &["config", "check", "--help"],
        &["completions", "--help"],
        &["man", "--help"],
    ] {
        let (stdout, stderr) = ends_with(arguments, 0);
        assert!(stdout.contains("4    another run is active"), "{stdout}");
        assert!(!stdout.contains("--lab-clock"), "{stdout}");
        assert_eq!(stderr, "");
    }
    let (stdout, _) = ends_with(&["--version"], 0);
    assert_eq!(stdout, format!("zhaul {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_is_wrong_on_stderr() {
    for (arguments, expected) in [
        (["run", "--nonsense"].as_slice(), "--nonsense"),
        (&["run", "--dataset", "tank@x"], "only letters"),
        (&["run", "--debug", "9"], "9 is not in 0..=3"),
        (&["frobnicate"], "frobnicate"),
        (&["completions", "tcl"], "tcl"),
    ] {
        let (stdout, stderr) = ends_with(arguments, 2);
        assert!(stderr.contains(expected), "{stderr}");
        assert_eq!(stdout, "");
    }
}

#[test]
fn every_shell_gets_its_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (stdout, _) = ends_with(&["completions", shell], 0);
        assert!(stdout.contains("zhaul") && stdout.contains("backup-dataset"), "{shell}");
    }
}

#[test]
fn manual_pages_are_written_for_every_command() {
    let directory = tempfile::tempdir().expect("a directory");
    ends_with(&["man", directory.path().to_str().expect("UTF-8")], 0);
    for page in ["zhaul.1", "zhaul-run.1", "zhaul-status.1", "zhaul-config-check.1"] {
        let page = std::fs::read_to_string(directory.path().join(page)).expect("the page exists");
        assert!(page.contains(".TH") && page.contains("another run is active"), "{page}");
    }
    let (_, stderr) = ends_with(&["man", "/nonexistent"], 1);
    assert!(
        stderr.starts_with("error: cannot write manual pages into /nonexistent\n  because: "),
        "{stderr}"
    );
    assert!(!Path::new("/nonexistent").exists());
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let program = env!("CARGO_BIN_EXE_zhaul");
    let script = format!("{program} completions bash | true; echo ${{PIPESTATUS[0]}}");
    let output = Command::new("bash").args(["-c", &script]).output().expect("bash starts");
    assert_eq!((text(&output.stdout).as_str(), text(&output.stderr).as_str()), ("0\n", ""));
}

fn written(text: &str) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("zhaul.toml");
    std::fs::write(&path, text).expect("written");
    let path = path.to_str().expect("UTF-8").to_owned();
    (directory, path)
}

#[test]
fn the_example_passes_the_check_and_is_told_in_words() {
    let (example, _) = ends_with(&["config", "example"], 0);
    let (_directory, path) = written(&example);
    let (stdout, stderr) = ends_with(&["config", "check", "--config", &path], 0);
    assert!(stdout.starts_with("Source\n"), "{stdout}");
    assert!(stdout.contains("\nBackup ") && stdout.contains("\nArchive "), "{stdout}");
    assert!(stdout.contains("nothing on it is ever destroyed"), "{stdout}");
    assert_eq!(stderr, "");
}

#[test]
fn an_error_in_the_policy_names_file_and_line_and_ends_with_2() {
    let (example, _) = ends_with(&["config", "example"], 0);
    let (_directory, path) = written(&format!("nonsense = 1\n{example}"));
    for command in [["config", "check"].as_slice(), &["run", "--dry-run"], &["run"], &["status"]] {
        let arguments = [command, &["--config", &path]].concat();
        let (stdout, stderr) = ends_with(&arguments, 2);
        assert!(stderr.contains(&format!("{path}:1:")) && stderr.contains("nonsense"), "{stderr}");
        assert_eq!(stdout, "");
    }
}

#[test]
fn a_policy_file_that_is_not_there_is_named() {
    let (_, stderr) = ends_with(&["run", "--config", "/nonexistent/zhaul.toml"], 2);
    assert!(stderr.starts_with("error: cannot read the policy file /nonexistent/zhaul.toml\n"), "{stderr}");
}

#[test]
fn without_a_policy_both_remedies_are_told() {
    if Path::new("/etc/zhaul.toml").exists() {
        eprintln!("not shown: this machine has a policy");
        return;
    }
    let (_, stderr) = ends_with(&["run"], 2);
    assert!(stderr.contains("zhaul config example > /etc/zhaul.toml"), "{stderr}");
    assert!(stderr.contains("zhaul run --dataset"), "{stderr}");
}

#[test]
fn planning_for_another_time_needs_a_dry_run() {
    let (_, stderr) = ends_with(&["run", "--dataset", "tank/vm", "--at", "2026-02-01"], 2);
    assert!(stderr.contains("--at") && stderr.contains("--dry-run"), "{stderr}");
}

#[test]
fn a_monitor_is_told_in_its_own_words_that_nothing_is_known() {
    let (stdout, _) = ends_with(&["status", "--check", "--config", "/nonexistent/zhaul.toml"], 2);
    assert_eq!(
        stdout,
        "ZHAUL CRITICAL - cannot read the policy file /nonexistent/zhaul.toml: No such file or directory (os error 2)\n"
    );
}
