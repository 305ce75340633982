//! Connections that are dead, and one end does not know: packets vanish in the middle of a transfer and no reset comes. The
//! first run after that ends what the earlier one left at the target, and resumes.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use zhaul::channel::Ssh;
use zhaul::host::agent::Framing;
use zhaul::host::{Machine, ReceiveInput, Remote};
use zhaul::model::{AgentUse, ByteCount, Channel, Link};
use zhaul::stream::framed::{FramedSender, workers};
use zhaul::stream::meter::Meters;
use zhaul::stream::pump::PumpSettings;
use zhaul::stream::{Cancel, Plain};

use crate::look::{self, assert_same_newest};
use crate::outcome::Run;
use crate::spare::SpareHost;
use crate::world::{DAY_1, GUEST, World};

const MIB: u64 = 1 << 20;
const SIZE: u64 = 24;

/// Whatever runs on the host for a session of somebody.
fn sessions(number: u8) -> Vec<i32> {
    let address = format!(" 10.77.0.{number} 22");
    let is_in_session = |pid: &i32| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split(|byte| *byte == 0).any(|variable| {
            let text = String::from_utf8_lossy(variable);
            text.starts_with("SSH_CONNECTION=") && text.ends_with(&address)
        })
    };
    look::processes(|_| true).into_iter().filter(is_in_session).collect()
}

/// Nothing is left on the host a moment after a run.
fn assert_nothing_left(world: &World, number: u8) {
    world.wait_for_quiet();
    let deadline = Instant::now() + Duration::from_secs(4);
    while !sessions(number).is_empty() {
        assert!(Instant::now() < deadline, "{:?} are left", sessions(number));
        thread::sleep(Duration::from_millis(50));
    }
}

/// A run whose connections are forgotten in the middle of its transfer, and that then ends by itself; gives how many bytes of
/// it are at the target.
fn cut(host: &SpareHost, world: &mut World) -> u64 {
    world.filesystem(GUEST, SIZE);
    "rate = \"6MiB\"\nstall-limit = \"4s\"".clone_into(&mut world.policy.transfer);
    let mut run = world.start(DAY_1, &[]);
    look::wait_for_used(&world.backup(GUEST), 6 * MIB);
    host.forget_connections();
    let cut = Instant::now();
    assert_eq!(run.wait().unwrap().code(), Some(1));
    assert!(cut.elapsed() < Duration::from_secs(90));
    world.policy.transfer.clear();
    6 * MIB
}

/// The next run resumes, with no help.
fn assert_resumed(world: &mut World, arrived: u64) -> Run {
    let run = world.run_with("2026-01-10T04:00:00Z", &["--no-snapshot"]);
    let run = run.expect_code(0);
    let moved = run.moved("backup");
    assert!(moved < (SIZE + 1) * MIB - arrived / 2, "{moved}");
    assert_same_newest(&world.guest(GUEST), &world.backup(GUEST));
    run
}

#[test]
fn a_receive_that_waits_for_a_dead_connection_is_ended_by_the_next_run_which_resumes() {
    let (host, mut world) = SpareHost::with_world("halfopen", 51, "", None);
    let arrived = cut(&host, &mut world);
    let orphans = world.receivers();
    assert_eq!(orphans.len(), 1, "it waits for what never comes");
    let run = assert_resumed(&mut world, arrived);
    assert!(run.stderr.contains("an earlier run of this policy"), "{run:?}");
    assert!(!Path::new(&format!("/proc/{}", orphans[0])).exists());
    assert_nothing_left(&world, 51);
}

/// The same, and the source loses its power, too.
fn crash(host: &SpareHost, world: &mut World) -> u64 {
    world.filesystem(GUEST, SIZE);
    "rate = \"6MiB\"".clone_into(&mut world.policy.transfer);
    let mut run = world.start(DAY_1, &[]);
    look::wait_for_used(&world.backup(GUEST), 6 * MIB);
    host.forget_connections();
    run.kill().unwrap();
    run.wait().unwrap();
    world.policy.transfer.clear();
    6 * MIB
}

#[test]
fn an_agent_that_waits_for_a_dead_connection_is_ended_by_the_next_run_which_resumes() {
    let caged = "--root ROOT --append-only";
    for (name, number, channel, options) in [("halfssh", 52, "ssh", ""), ("halftls", 53, "tls", caged)] {
        let (host, mut world) =
            SpareHost::with_world(name, number, &format!("channel = \"{channel}\"\n"), Some(options));
        let arrived = crash(&host, &mut world);
        assert_eq!(world.receivers().len(), 1, "its agent waits for the stall limit");
        let run = assert_resumed(&mut world, arrived);
        assert!(run.stderr.contains("an earlier run of this policy"), "{run:?}");
        assert_nothing_left(&world, number);
    }
}

#[test]
fn what_another_policy_or_another_program_receives_is_left_alone_and_named() {
    let (host, mut world) = SpareHost::with_world("halfother", 54, "", None);
    crash(&host, &mut world);
    let orphan = world.receivers();
    // The same policy under another lock: to the target it is another one, which may be at work.
    let text = fs::read_to_string(world.config()).unwrap();
    let other = world.directory().join("other.toml");
    fs::write(&other, text.replace("/lock\"", "/other-lock\"")).unwrap();
    let run_other = |clock: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_zhaul"));
        command.args(["run", "--no-snapshot", "--json", "--lab-clock", clock, "--config"]).arg(&other);
        Run::of(command)
    };
    let run = run_other("2026-01-10T04:00:00Z").expect_code(1);
    assert_eq!(world.receivers(), orphan, "it may be at work");
    let named = format!("process {} there (zfs receive) is receiving into it", orphan[0]);
    assert!(run.stderr.contains(&named), "{run:?}");
    assert!(
        run.stderr.contains("next: if no other program sends to it any more, end that process there"),
        "{run:?}"
    );
    // The advice, followed.
    look::signal(orphan[0], Signal::TERM);
    world.wait_for_quiet();
    let run = run_other("2026-01-10T05:00:00Z").expect_code(0);
    assert!(run.moved("backup") < (SIZE - 2) * MIB, "{run:?}");
}

/// Sends some bytes over the connections of `remote`, whose agent throws them away.
fn pour(remote: &Remote, cancel: &Cancel) {
    let mut incoming = remote.sink().unwrap().unwrap();
    let meters = Meters::new(incoming.places(), workers());
    let cancel = cancel.child().unwrap();
    let ReceiveInput::Framed { connections, stream, compression } = incoming.inlet(&cancel, &meters).unwrap()
    else {
        panic!("an agent takes frames");
    };
    let settings = PumpSettings { buffer_bytes: 8 << 20, rate: None, stall_limit: None };
    let sender = FramedSender { settings, compression, stream, meters, cancel, samples: None };
    sender.run(Plain(&vec![7; 4 << 20][..]), connections).unwrap();
    incoming.finish().unwrap();
}

#[test]
fn a_connection_that_died_while_it_was_idle_is_not_given_to_the_next_dataset() {
    let (host, world) = SpareHost::with_world("halfidle", 55, "", Some(""));
    let config = Some(world.directory().join("ssh_config"));
    let ssh = Ssh { host: "halfidle".to_owned(), user: None, port: None, config };
    let link = Link { agent: AgentUse::Require, channel: Channel::Tls, ..Link::default() };
    let framing = Framing { link, buffer: ByteCount(8 << 20), stall_limit: None };
    let cancel = Cancel::new().unwrap();
    let remote = Remote::new("halfidle", Machine::Ssh(ssh), framing, &cancel);
    pour(&remote, &cancel);
    host.reset_connections();
    // For longer than it takes until the system asks whether idle connections live (15 s).
    thread::sleep(Duration::from_secs(20));
    pour(&remote, &cancel);
}
