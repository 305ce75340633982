//! The agent: the whole way through ssh, as an admin sets it up with a forced command, on real pools.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;

use crate::look;
use crate::pool::{property, zfs};
use crate::world::{DAY_1, DAY_2, DAY_3, DISK, GUEST, World};

/// Where the lab's sshd looks for keys.
pub(crate) const AUTHORIZED_KEYS: &str = "/lab/ssh/client.pub";

/// Gives the world a key of its own that may do nothing but run the agent with `options`, and the lines by which the policy
/// uses it.
pub(crate) fn key(world: &World, options: &str) -> String {
    let lines = key_that_runs(world, &format!("{} agent {options}", env!("CARGO_BIN_EXE_zhaul")));
    format!("{lines}agent = \"require\"\n")
}

/// The same for any command, in the form of `authorized_keys`.
pub(crate) fn key_that_runs(world: &World, command: &str) -> String {
    let file = key_pair(world, "key");
    let public = fs::read_to_string(file.with_extension("pub")).unwrap();
    let line = format!("command=\"{command}\",restrict {public}");
    OpenOptions::new().append(true).open(AUTHORIZED_KEYS).unwrap().write_all(line.as_bytes()).unwrap();
    let config = world.directory().join("ssh_config");
    let text = format!("Host *\n  IdentityFile {}\n  IdentitiesOnly yes\n", file.display());
    fs::write(&config, text).unwrap();
    format!("ssh-config = \"{}\"\n", config.display())
}

/// Makes a key with its public half beside it.
pub(crate) fn key_pair(world: &World, name: &str) -> PathBuf {
    let file = world.directory().join(name);
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&file).status();
    assert!(made.unwrap().success());
    file
}

/// A world whose backup and archive are behind agents.
pub(crate) fn behind_agents(name: &str, options: &str) -> World {
    let mut world = World::with_archive(name);
    let lines = key(&world, options);
    world.policy.backup.clone_from(&lines);
    world.policy.archive = lines;
    world
}

#[test]
fn the_whole_policy_runs_through_agents() {
    let mut world = behind_agents("agent_policy", "");
    world.policy.source = String::from("keep-last = 2");
    world.policy.backup.push_str("keep-last = 2\n");
    world.filesystem(GUEST, 8);
    world.volume(DISK, 8);
    world.run_as_planned(DAY_1, &["--archive"], 0);
    for (day, file) in [(DAY_2, "b"), (DAY_3, "c")] {
        world.write(GUEST, file, 4);
        world.run_as_planned(day, &[], 0);
    }
    for name in [GUEST, DISK] {
        assert_eq!(look::snapshots(&world.backup(name)).len(), 2, "rotated");
        assert_eq!(look::snapshots(&world.archive(name)).len(), 1);
        assert_eq!(property("readonly", &world.backup(name)), "on");
    }
    assert_eq!(property("volmode", &world.backup(DISK)), "none");
    look::assert_same_newest(&world.guest(GUEST), &world.backup(GUEST));
}

#[test]
fn every_channel_and_compression_brings_the_same_data() {
    let mut world = behind_agents("agent_compressed", "");
    world.policy.has_archive = false;
    let lines = world.policy.backup.clone();
    world.filesystem(GUEST, 8);
    let channels = ["ssh", "tls", "tcp", "auto"];
    let ways =
        channels.iter().flat_map(|channel| ["off", "lz4", "zstd:3", "auto"].map(|how| (*channel, how)));
    for (day, (channel, compression)) in (10..).zip(ways) {
        world.policy.backup = format!("{lines}channel = \"{channel}\"\ncompression = \"{compression}\"\n");
        world.write(GUEST, &format!("{channel}-{compression}"), 3);
        let run = world.run(&format!("2026-01-{day}T03:00:00Z"));
        assert!(!run.stderr.contains("through ssh because"), "{run:?}");
        look::assert_same_newest(&world.guest(GUEST), &world.backup(GUEST));
    }
}

#[test]
fn a_blocked_port_is_reported_and_the_data_goes_through_ssh_where_the_policy_lets_it() {
    let mut world = behind_agents("agent_blocked", "--ports 47811");
    world.policy.has_archive = false;
    world.filesystem(GUEST, 2);
    let lines = world.policy.backup.clone();
    let blocked = Blocked::new(47811);
    world.policy.backup = format!("{lines}channel = \"tls\"\n");
    let run = world.run_with(DAY_1, &[]).expect_code(1);
    assert!(run.stderr.contains("10.77.0.18:47811"), "{run:?}");
    assert!(run.stderr.contains("firewall"), "{run:?}");
    world.policy.backup = format!("{lines}channel = \"auto\"\n");
    let run = world.run(DAY_2);
    assert_eq!(
        run.stderr.matches("sending through ssh because no direct connection").count(),
        1,
        "reported once: {run:?}"
    );
    assert!(run.stderr.contains("10.77.0.18:47811") && run.stderr.contains("next: "), "{run:?}");
    look::assert_same_newest(&world.guest(GUEST), &world.backup(GUEST));
    drop(blocked);
    world.write(GUEST, "b", 1);
    let run = world.run(DAY_3);
    assert!(!run.stderr.contains("through ssh because"), "{run:?}");
}

/// A firewall on nfs8 that rejects what comes to a port.
struct Blocked(u16);

impl Blocked {
    fn new(port: u16) -> Self {
        Self::rule("-A", port);
        Self(port)
    }

    fn rule(change: &str, port: u16) {
        let rule =
            ["nfs8", "iptables", change, "INPUT", "-p", "tcp", "--dport", &port.to_string(), "-j", "REJECT"];
        let output = Command::new("/lab/bin/on").args(rule).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        Self::rule("-D", self.0);
    }
}

#[test]
fn a_killed_agent_is_reported_and_its_stream_resumed() {
    let mut world = behind_agents("agent_killed", "");
    world.policy.has_archive = false;
    world.filesystem(GUEST, 24);
    let received = world.cut(DAY_1, GUEST, 6 << 20).received_bytes;
    let stderr = fs::read_to_string(world.directory().join("stderr")).unwrap();
    assert!(stderr.contains("next: "), "{stderr}");
    let run = world.run(DAY_2);
    let first = &run.sends("backup")[0];
    assert!(first.step["action"]["resume"].is_object(), "{run:?}");
    assert!(first.moved_bytes < (25 << 20) - received, "{run:?}");
    look::assert_same_newest(&world.guest(GUEST), &world.backup(GUEST));
}

#[test]
fn a_run_that_is_stopped_leaves_no_agent_behind() {
    let mut world = behind_agents("agent_stopped", "");
    world.policy.has_archive = false;
    world.filesystem(GUEST, 24);
    world.policy.transfer = String::from("rate = \"2MiB\"");
    let mut run = world.start(DAY_1, &[]);
    world.wait_for_receive();
    look::wait_for_used(&world.backup(GUEST), 2 << 20);
    look::signal(i32::try_from(run.id()).unwrap(), Signal::TERM);
    assert_eq!(run.wait().unwrap().code(), Some(130));
    world.wait_for_quiet();
    world.policy.transfer.clear();
    world.run(DAY_2);
    look::assert_same_newest(&world.guest(GUEST), &world.backup(GUEST));
}

#[test]
fn outside_of_its_root_an_agent_serves_nothing() {
    let mut world = World::new("agent_caged");
    world.filesystem(GUEST, 1);
    let lines = key(&world, &format!("--root {}/other", world.beside("x").rsplit_once('/').unwrap().0));
    world.policy.backup = lines;
    let run = world.run_with(DAY_1, &[]).expect_code(1);
    assert!(run.stderr.contains("permission is missing: the agent there serves only"), "{run:?}");
    assert!(run.stderr.contains("next: "), "{run:?}");
    assert!(!look::exists(&world.backup_root()));
}

#[test]
fn an_append_only_agent_keeps_all_while_backups_go_on() {
    let mut world = behind_agents("agent_append_only", "--append-only");
    world.policy.backup.push_str("keep-last = 1\n");
    world.filesystem(GUEST, 1);
    world.run_with(DAY_1, &["--archive"]).expect_code(0);
    world.write(GUEST, "b", 1);
    let run = world.run_with(DAY_2, &[]).expect_code(0);
    assert!(run.steps("destroy-snapshots").is_empty(), "rotation is the target's own business: {run:?}");
    assert_eq!(look::snapshots(&world.backup(GUEST)).len(), 2, "sent, and nothing destroyed");
    look::assert_same_newest(&world.guest(GUEST), &world.backup(GUEST));
}

#[test]
fn a_shell_is_refused_where_the_policy_wants_an_agent() {
    let mut world = World::new("agent_wanted");
    world.filesystem(GUEST, 1);
    world.policy.backup = String::from("agent = \"require\"\n");
    let run = world.run_with(DAY_1, &[]).expect_code(1);
    assert!(run.stderr.contains("zhaul is not installed there, and the policy wants its agent"), "{run:?}");
    world.policy.backup = String::from("agent = \"auto\"\n");
    world.run(DAY_2);
    assert!(zfs(&["list", "-H", "-o", "name", "-r", &world.backup_root()]).contains(GUEST));
}
