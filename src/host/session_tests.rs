//! The worker's protocol through a real `sh`, with a fake `zfs` in its PATH.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::agent::wire::{PROTOCOL, Reply, Request};
use super::agent::{Agent, Framing};
use super::session::{CompletedCommand, Limits, Session};
use super::sessions::{Machine, Sessions};
use super::{Problem, TargetHost as _, worker};
use crate::channel::message;
use crate::model::{ByteCount, Guid, Link, SnapshotName};
use crate::stream::{ByteSink as _, Cancel};

/// A machine whose `zfs` is a script.
struct Fake {
    directory: tempfile::TempDir,
    limits: Limits,
    cancel: Cancel,
}

impl Fake {
    fn new(zfs: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("zfs");
        fs::write(&path, format!("#!/bin/sh\n{zfs}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let limits = Limits {
            hello: Duration::from_secs(20),
            answer: Duration::from_secs(20),
            farewell: Duration::from_secs(5),
        };
        Self { directory, limits, cancel: Cancel::new().unwrap() }
    }

    fn in_path(&self, command: &mut Command) {
        let path = format!("{}:/usr/bin:/bin", self.directory.path().display());
        command.env("PATH", path).current_dir(self.directory.path());
    }

    fn open(&self) -> Session {
        let mut command = worker::local_command();
        self.in_path(&mut command);
        Session::open(command, false, self.limits, &self.cancel).unwrap()
    }

    /// A session whose login shell is `script`, through a fake ssh.
    fn log_in(&self, script: &str) -> Result<Session, Problem> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        self.in_path(&mut command);
        Session::open(command, true, self.limits, &self.cancel)
    }

    /// An agent that greets, and then says the same for ever.
    fn agent_that_says(&self, reply: &Reply) -> Agent {
        let write = |name: &str, replies: Vec<&Reply>| {
            let mut bytes = crate::stream::Plain(Vec::new());
            for reply in replies {
                message::write(&mut bytes, reply).unwrap();
            }
            fs::write(self.directory.path().join(name), bytes.0).unwrap();
        };
        let hello = Reply::Hello {
            protocol: PROTOCOL,
            version: String::new(),
            roots: Vec::new(),
            append_only: false,
        };
        write("hello", vec![&hello, &Reply::Done]);
        write("said", vec![reply; 10_000]);
        let greet = format!(r#"echo "zhaul-agent {PROTOCOL} $key""#);
        let mut asked = crate::stream::Plain(Vec::new());
        let version = env!("CARGO_PKG_VERSION").to_owned();
        message::write(&mut asked, &Request::Hello { protocol: PROTOCOL, version }).unwrap();
        // A session that says anything before it is asked would not be used.
        let first = asked.0.len() + 1;
        let wait = format!("cat hello; head -c {first} >/dev/null");
        let script = format!("read key; {greet}; {greet} >&2; {wait}; while cat said; do :; done");
        let sessions = Sessions::new(Machine::Local, self.limits, &self.cancel);
        sessions.give_back(self.log_in(&script).unwrap());
        let framing = Framing { link: Link::default(), buffer: ByteCount(1 << 20), stall_limit: None };
        Agent::over("nfs8".to_owned(), Arc::new(sessions), framing)
    }

    fn file(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.directory.path().join(name)).ok()
    }
}

fn run(session: &mut Session, arguments: &[&str]) -> Result<(CompletedCommand, Vec<String>), Problem> {
    let mut lines = Vec::new();
    let answer = session.run(arguments, &mut |line| {
        lines.push(String::from_utf8(line.to_vec()).unwrap());
        Ok(())
    })?;
    Ok((answer, lines))
}

/// Prints its arguments one by one, in brackets.
const ECHO: &str = r#"for a in "$@"; do printf '[%s]\n' "$a"; done; echo "words: $#" >&2; exit 3"#;

#[test]
fn arguments_arrive_as_they_are() {
    let fake = Fake::new(ECHO);
    let mut session = fake.open();
    let odd =
        ["list", "tank/vm 1", "", "$(touch pwned)", "`touch pwned`", "a;touch pwned", "'\"\\n*", "-o", "é"];
    for _ in 0..3 {
        let (answer, lines) = run(&mut session, &odd).unwrap();
        assert_eq!(lines, odd.map(|argument| format!("[{argument}]")));
        assert_eq!(answer, CompletedCommand { status: 3, errors: "words: 9".to_owned() });
    }
    assert_eq!(fake.file("pwned"), None);
    assert!(session.is_usable());
    let refused = run(&mut session, &["list", "a\nb"]).unwrap_err();
    assert!(matches!(refused, Problem::Other(_)), "{refused}");
}

#[test]
fn output_without_a_last_newline_does_not_hide_the_end() {
    let fake = Fake::new("printf 'one\\ntwo'; printf 'no end' >&2");
    let (answer, lines) = run(&mut fake.open(), &["list"]).unwrap();
    assert_eq!(lines, ["one", "two"]);
    assert_eq!(answer, CompletedCommand { status: 0, errors: "no end".to_owned() });
}

#[test]
fn several_receives_use_one_session() {
    let fake = Fake::new("head -c 8 >> received; echo . >> received");
    let mut session = fake.open();
    for stream in [b"ABCDEFGH", b"12345678"] {
        session.start_receive(&["receive", "x"], false).unwrap();
        session.stream(&fake.cancel).unwrap().write_all(stream).unwrap();
        assert_eq!(session.end_receive(&mut |_| None).unwrap().status, 0);
    }
    assert_eq!(fake.file("received").unwrap(), "ABCDEFGH.\n12345678.\n");
    assert!(session.is_usable());
}

/// A stream that looks like requests, to whoever would read it as such: with the right key even.
fn hostile_stream(key: &str) -> String {
    format!("\n{key} 1 run\npwn\n{key} 0 run\nx 1 run\npwn\n").repeat(2000)
}

#[test]
fn after_a_failed_receive_the_stream_is_not_taken_for_requests() {
    let fake = Fake::new(
        r#"if [ "$1" = pwn ]; then touch pwned; fi; head -c 1 >/dev/null; echo 'out of space' >&2; exit 1"#,
    );
    let mut session = fake.open();
    let stream = hostile_stream(session.key());
    session.start_receive(&["receive", "x"], false).unwrap();
    let mut written = Ok(());
    // The worker is gone at some point; how far the stream gets before is up to the pipe.
    for _ in 0..100 {
        written = written.and_then(|()| session.stream(&fake.cancel).unwrap().write_all(stream.as_bytes()));
    }
    assert_eq!(written.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    let answer = session.cut_receive().unwrap();
    assert_eq!(answer, CompletedCommand { status: 1, errors: "out of space".to_owned() });
    assert_eq!(fake.file("pwned"), None);
    assert!(!session.is_usable());
}

#[test]
fn a_receive_that_reads_too_little_ends_the_session() {
    let fake = Fake::new(r#"if [ "$1" = pwn ]; then touch pwned; fi; exit 0"#);
    let mut session = fake.open();
    // A stream cannot know the key: it was made before.
    let stream = hostile_stream("0123456789abcdef0123456789abcdef");
    session.start_receive(&["receive", "x"], false).unwrap();
    let wrote = session.stream(&fake.cancel).unwrap().write_some(stream.as_bytes());
    assert!(wrote.is_ok());
    assert_eq!(session.end_receive(&mut |_| None).unwrap().status, 0);
    let error = run(&mut session, &["list"]).unwrap_err();
    assert!(matches!(&error, Problem::Protocol(text) if text.contains("exit status 7")), "{error}");
    assert_eq!(fake.file("pwned"), None);
}

#[test]
fn a_cut_receive_reports_its_status_and_error_text() {
    let fake = Fake::new("cat > received; echo 'incomplete stream' >&2; exit 1");
    let mut session = fake.open();
    session.start_receive(&["receive", "x"], false).unwrap();
    session.stream(&fake.cancel).unwrap().write_all(b"half").unwrap();
    let answer = session.cut_receive().unwrap();
    assert_eq!(answer, CompletedCommand { status: 1, errors: "incomplete stream".to_owned() });
    assert_eq!(fake.file("received").unwrap(), "half");
}

#[test]
fn noise_of_the_login_shell_is_named() {
    let fake = Fake::new(ECHO);
    let error = fake.log_in("echo 'Welcome to \x1b[1mnfs8'; exec sleep 100").unwrap_err();
    let text = error.to_string();
    assert!(text.contains("unexpected output from remote: \"Welcome to"), "{text}");
    assert!(!text.contains('\x1b'), "{text}");
    let error = fake.log_in("echo banner >&2; echo 'no route to host' >&2; exit 255").unwrap_err();
    assert!(matches!(&error, Problem::Unreachable(text) if text == "banner; no route to host"), "{error}");
    let error = fake.log_in("echo 'exec: not found' >&2; exit 127").unwrap_err();
    assert!(
        matches!(&error, Problem::Protocol(text) if text.contains("127") && text.contains("exec: not found"))
    );
}

#[test]
fn a_banner_on_standard_error_is_no_noise() {
    let fake = Fake::new(ECHO);
    let script = format!("exec {}", worker::remote_command(false));
    let mut session = fake.log_in(&format!("echo 'All use is monitored' >&2; {script}")).unwrap();
    let (answer, lines) = run(&mut session, &["list"]).unwrap();
    assert_eq!((lines, answer.errors), (vec!["[list]".to_owned()], "words: 1".to_owned()));
}

#[test]
fn a_silent_login_is_given_up() {
    let mut fake = Fake::new(ECHO);
    fake.limits.hello = Duration::from_millis(100);
    let started = Instant::now();
    let error = fake.log_in("exec sleep 100").unwrap_err();
    assert!(matches!(error, Problem::Unreachable(_)), "{error}");
    assert!(started.elapsed() < Duration::from_secs(10), "the child was ended as well");
}

#[test]
fn endless_standard_error_neither_blocks_nor_fills_memory() {
    let fake = Fake::new("yes 'all is bad' | head -c 3000000 >&2; echo done; exit 1");
    let mut session = fake.open();
    let (answer, lines) = run(&mut session, &["list"]).unwrap();
    assert_eq!(lines, ["done"]);
    assert!(answer.errors.starts_with("all is bad; all is bad") && answer.errors.len() < 40_000);
    assert!(session.is_usable());
}

#[test]
fn a_worker_that_dies_is_no_success() {
    let fake = Fake::new("echo tank; echo 'killed by me' >&2; kill -9 $PPID; sleep 0.2");
    let mut session = fake.open();
    let error = run(&mut session, &["list"]).unwrap_err();
    let Problem::Protocol(text) = &error else { panic!("{error}") };
    assert!(text.contains("signal") && text.contains("killed by me"), "{text}");
    assert!(!session.is_usable());
}

#[test]
fn a_cancel_ends_the_wait_and_the_child() {
    let fake = Fake::new("echo $$ > pid; exec sleep 100");
    let mut session = fake.open();
    let cancel = fake.cancel.clone();
    let watcher = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        cancel.request();
    });
    let error = run(&mut session, &["list"]).unwrap_err();
    assert!(matches!(error, Problem::Cancelled), "{error}");
    watcher.join().unwrap();
    drop(session);
    let pid = fake.file("pid").unwrap();
    let is_running = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z")
    };
    let until = Instant::now() + Duration::from_secs(10);
    while is_running() {
        assert!(Instant::now() < until, "zfs outlives its session");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_agent_of_another_version_is_refused_with_both_versions() {
    let fake = Fake::new(ECHO);
    let script = r#"read key; echo "zhaul-agent 999 $key"; echo "zhaul-agent 999 $key" >&2; cat"#;
    let refused = fake.log_in(script).unwrap_err();
    let Problem::Protocol(text) = &refused else { panic!("{refused}") };
    assert!(
        text.contains("speaks version 999") && text.contains(&format!("this one version {PROTOCOL}")),
        "{text}"
    );
    assert!(text.contains("install the same zhaul on both"), "{text}");
}

#[test]
fn an_agent_that_refuses_or_makes_no_sense_is_no_session() {
    let fake = Fake::new(ECHO);
    let hello = format!(r#"echo "zhaul-agent {PROTOCOL} $key""#);
    let greet = format!("read key; {hello}; {hello} >&2;");
    let refused = fake.log_in(&format!("{greet} echo out of memory >&2; exit 1")).unwrap_err();
    assert!(refused.to_string().contains("out of memory"), "{refused}");
    let noise = fake.log_in(&format!("{greet} echo Welcome to nfs8; cat")).unwrap_err();
    assert!(noise.to_string().contains("\"Welcome \" came instead of a message"), "{noise}");
}

#[test]
fn an_answer_without_an_end_is_given_up() {
    let fake = Fake::new(&format!("yes {}", "x".repeat(1000)));
    let endless = run(&mut fake.open(), &["list"]).unwrap_err();
    assert!(endless.to_string().contains("more than 1024 MiB"), "{endless}");
    // Not one of these replies brings anything.
    let agent = fake.agent_that_says(&Reply::Details { details: Vec::new() });
    let snapshot = (SnapshotName::parse("tank/a@b").unwrap(), Guid(1));
    let endless = agent.details(&[snapshot]).unwrap_err().chain();
    assert!(endless.contains("more than 32 MiB"), "{endless}");
}
