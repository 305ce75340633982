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
        &["bench", "--help"],
        &["completions", "--help"],
        &["man", "--help"],
        &["help"],
        &["help", "run"],
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
        (&["help", "frobnicate"], "`zhaul help` lists all"),
        (&["completions", "tcl"], "tcl"),
        (&["bench", "--synthetic", "--size", "0"], "nothing can be measured"),
        (&["bench", "--seconds", "0"], "1..=3600"),
        (&["bench", "--receive"], "<TARGET>"),
        (&["bench", "nfs8", "--receive", "--synthetic"], "cannot be used with"),
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
fn the_example_passes_the_check_and_is_explained_in_words() {
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
fn without_a_policy_both_remedies_are_named() {
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
fn a_monitor_gets_a_critical_line_in_its_own_format_without_a_policy() {
    let (stdout, _) = ends_with(&["status", "--check", "--config", "/nonexistent/zhaul.toml"], 2);
    assert_eq!(
        stdout,
        "ZHAUL CRITICAL - cannot read the policy file /nonexistent/zhaul.toml: No such file or directory (os error 2)\n"
    );
}

#[test]
fn a_bench_of_this_machine_measures_every_stage_and_names_the_settings() {
    let (stdout, stderr) = ends_with(&["bench", "--synthetic", "--size", "8MiB", "--json"], 0);
    assert_eq!(stderr, "", "no progress without a terminal");
    let report: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(report["target"], "loopback");
    let measured = &report["measured"];
    assert_eq!(measured["source"]["bytes"], 8 << 20);
    let stages = |name: &str| measured[name].as_array().expect("a list").clone();
    let cores = std::thread::available_parallelism().expect("a number").get();
    assert_eq!(stages("compression_runs").len(), if cores == 1 { 5 } else { 10 });
    for compression in stages("compression_runs") {
        assert_eq!(compression["compress"]["bytes"], 8 << 20, "{compression}");
        assert_eq!(compression["decompress"]["bytes"], 8 << 20, "{compression}");
        assert!(compression["compress"]["ratio"].as_f64().expect("a number") > 1.5, "{compression}");
    }
    let ways = stages("ways")
        .iter()
        .map(|way| format!("{} {}", way["channel"], way["connections"]))
        .collect::<Vec<_>>();
    let expected = ["\"tls\" 1", "\"tls\" 2", "\"tls\" 4", "\"tcp\" 1", "\"tcp\" 2", "\"tcp\" 4"];
    assert_eq!(ways, expected);
    assert_eq!(report["choice"]["settings"]["channel"], "tls", "tcp is never chosen");
    assert_eq!(report["together"]["flow"]["bytes"], 8 << 20);
    assert_eq!(report["left_behind"], serde_json::json!([]));
}

#[test]
fn a_bench_of_a_target_wants_a_policy_that_has_it() {
    let (_, stderr) = ends_with(&["bench", "nfs7", "--dataset", "tank/vm", "--synthetic"], 2);
    assert!(stderr.contains("no target \"nfs7\"") && stderr.contains("nfs8"), "{stderr}");
}

#[test]
fn a_bench_that_is_interrupted_ends_at_once_with_130() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zhaul"));
    command.args(["bench", "--synthetic", "--seconds", "600"]);
    let child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn();
    let child = child.expect("zhaul starts");
    std::thread::sleep(std::time::Duration::from_secs(1));
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
    let asked = std::time::Instant::now();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    let output = child.wait_with_output().expect("it ends");
    assert!(asked.elapsed() < std::time::Duration::from_secs(10), "{:?}", asked.elapsed());
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "");
    assert!(text(&output.stderr).contains("interrupted"), "{}", text(&output.stderr));
}
