//! A failed transfer is reported with what went wrong first, in the words of the end where it went wrong, however the target is
//! reached, and also over a connection of long latency.

use std::process::Child;
use std::time::Duration;

use rustix::process::Signal;

use crate::look;
use crate::outcome::{Run, assert_reports};
use crate::pool::zfs;
use crate::spare::SpareHost;
use crate::world::{GUEST, World};

const MIB: u64 = 1 << 20;

/// A failure in mid-transfer.
#[derive(Debug, Clone, Copy)]
enum Failure {
    /// A quota is reached at the target.
    Full,
    /// Somebody kills `zfs receive`.
    ReceiveKilled,
    /// The sessions end, as where somebody restarts the target.
    SessionsKilled,
    /// The connections of the data are reset.
    Reset,
    /// The call that sends is killed at the source.
    SendKilled,
}

const FAILURES: [Failure; 5] =
    [Failure::Full, Failure::ReceiveKilled, Failure::SessionsKilled, Failure::Reset, Failure::SendKilled];

impl Failure {
    fn happen(self, host: &SpareHost, world: &World, run: &Child) {
        match self {
            // It comes by itself: see below.
            Self::Full => {}
            Self::ReceiveKilled => look::signal(world.wait_for_receive(), Signal::KILL),
            Self::SessionsKilled => host.stop_sshd(),
            Self::Reset => host.reset_connections(),
            Self::SendKilled => {
                for pid in look::callers(run.id()) {
                    look::signal(pid, Signal::KILL);
                }
            }
        }
    }

    /// Words of the report.
    fn words(self, has_agent: bool) -> &'static [&'static str] {
        match self {
            Self::Full => &["backup: ", "space quota exceeded", "the stream has about", "make room there"],
            Self::ReceiveKilled => &["backup: ", "a signal ended zfs there: SIGKILL"],
            Self::SessionsKilled if has_agent => &[
                "backup: ",
                "the host cannot be reached: the connection ended in mid-transfer",
                "check that the host is up",
            ],
            // In ssh's own words, of which it has several.
            Self::SessionsKilled => {
                &["backup: ", "the host cannot be reached: ", "check that the host is up"]
            }
            Self::Reset => &[
                "the connection broke in mid-transfer: Connection reset by peer",
                "check that the host is up",
            ],
            Self::SendKilled => &["source: ", "the process that calls ZFS has ended"],
        }
    }
}

/// Ways to a target: a shell, and agents that are given the data in each of the ways there are.
const WAYS: [(&str, u8, &str, Option<&str>); 4] = [
    ("cause-shell", 61, "", None),
    ("cause-ssh", 62, "channel = \"ssh\"\n", Some("")),
    ("cause-tcp", 63, "channel = \"tcp\"\n", Some("")),
    ("cause-tls", 64, "channel = \"tls\"\n", Some("--root ROOT --append-only")),
];

#[test]
fn the_first_cause_is_reported_whatever_the_way_to_the_target() {
    for (name, number, lines, options) in WAYS {
        let (host, mut world) = SpareHost::with_world(name, number, lines, options);
        host.queue("add", &["root", "netem", "delay", "30ms"]);
        world.filesystem(GUEST, 64);
        let above = world.backup_root().rsplit_once('/').unwrap().0.to_owned();
        zfs(&["create", &above]);
        "rate = \"3MiB\"".clone_into(&mut world.policy.transfer);
        let has_agent = options.is_some();
        let has_connections = lines.contains("tcp") || lines.contains("tls");
        for (hour, failure) in FAILURES.into_iter().enumerate() {
            if matches!(failure, Failure::Reset) && !has_connections {
                continue;
            }
            let quota = if matches!(failure, Failure::Full) { "quota=14M" } else { "quota=none" };
            zfs(&["set", quota, &above]);
            let run = world.start(&format!("2026-01-10T{hour:02}:00:00Z"), &[]);
            look::wait_for_used(&world.backup(GUEST), 2 * MIB);
            failure.happen(&host, &world, &run);
            let (run, _) = Run::end(&world, run, Duration::from_secs(60));
            let run = run.expect_code(1);
            assert_reports(&run, failure.words(has_agent));
            assert_reports(&run, &[&world.backup(GUEST), "next: "]);
            if matches!(failure, Failure::SessionsKilled) {
                host.start_sshd();
            }
            world.wait_for_quiet();
            zfs(&["destroy", "-r", &world.backup_root()]);
        }
    }
}
