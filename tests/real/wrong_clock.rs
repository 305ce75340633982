//! `zhaul restore --all` where points are dated after this host's clock: it is behind, or another one was ahead.

use std::fs;
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};

use crate::look::{self, snapshots};
use crate::pool::zfs;
use crate::restoring::zhaul;
use crate::world::{DAY_1, DAY_2, GUEST, World};

const POINTS: [&str; 2] = ["2026-01-10-030000", "2026-01-11-030000"];

/// A host with a container and a dataset of no guest.
struct Host {
    world: World,
    pve: PathBuf,
    files: String,
}

impl Host {
    fn new(name: &str) -> Self {
        let mut world = World::new(name);
        let pve = world.guest_configs(&[("lxc/101.conf", "rootfs: z:subvol-101-disk-0\nmemory: 5\n")]);
        world.policy.source = format!("guest-config = \"{}\"", pve.display());
        let files = world.filesystem(GUEST, 1);
        Self { world, pve, files }
    }

    fn lose(&self) {
        zfs(&["destroy", "-R", &self.world.source()]);
        zfs(&["create", &self.world.source()]);
        fs::remove_file(self.pve.join("lxc/101.conf")).ok();
    }
}

fn backed_up_twice(name: &str) -> Host {
    let mut host = Host::new(name);
    host.world.run(DAY_1);
    host.world.write(GUEST, "two", 1);
    host.world.run(DAY_2);
    host.lose();
    host
}

/// What the refusal says to give to `--at`.
fn advised(stderr: &str) -> &str {
    stderr.split_once("`--at ").unwrap().1.split_once('`').unwrap().0
}

#[test]
fn a_host_whose_clock_is_behind_restores_no_older_state() {
    let host = backed_up_twice("clock-behind");
    let before = host.world.state();
    // A year behind; an hour behind, as where the hardware clock is in local time.
    for clock in ["2025-01-12T03:00:00Z", "2026-01-11T02:00:00Z"] {
        for words in [&["restore", "--all"][..], &["restore", "--all", "--dry-run"]] {
            let run = zhaul(&host.world, clock, words).expect_code(3);
            assert!(
                run.stderr.contains("this host's clock is")
                    && run.stderr.contains("behind that of backup")
                    && run.stderr.contains(&format!("@{} of guest 101", POINTS[1]))
                    && run.stderr.contains("nothing was done")
                    && run.stderr.contains("chronyc makestep"),
                "{run:?}"
            );
            assert_eq!(host.world.state(), before, "{clock}");
        }
    }
    // The advice: the clock is set. By a few minutes machines may differ.
    zhaul(&host.world, "2026-01-11T02:57:00Z", &["restore", "--all"]).expect_code(0);
    assert_eq!(snapshots(&host.files), POINTS[1..]);
    host.lose();
    // The other advice.
    let behind = "2025-01-12T03:00:00Z";
    let refused = zhaul(&host.world, behind, &["restore", "--all"]).expect_code(3);
    zhaul(&host.world, behind, &["restore", "--all", "--at", advised(&refused.stderr)]).expect_code(0);
    assert_eq!(snapshots(&host.files), POINTS[1..]);
    // Nothing is left that the clock would leave out.
    let again = zhaul(&host.world, behind, &["restore", "--all"]).expect_code(0);
    assert!(again.stdout.contains("1 here already"), "{again:?}");
}

#[test]
fn where_no_other_machine_shows_the_time_a_person_decides() {
    let mut host = Host::new("clock-alone");
    host.world.back_up_locally();
    host.world.run(DAY_1);
    host.lose();
    let behind = "2026-01-10T01:30:00Z";
    let refused = zhaul(&host.world, behind, &["restore", "--all"]).expect_code(3);
    assert!(
        refused.stderr.contains("is dated 1 h 30 min after this host's clock, and no other machine says")
            && !look::exists(&host.files),
        "{refused:?}"
    );
    zhaul(&host.world, behind, &["restore", "--all", "--at", advised(&refused.stderr)]).expect_code(0);
    assert_eq!(snapshots(&host.files), POINTS[..1]);
}

#[test]
fn a_point_of_the_future_by_all_clocks_is_named_and_what_has_no_other_is_a_failure() {
    let at = |hours: i64| (Timestamp::now() + SignedDuration::from_hours(hours)).to_string();
    let mut host = Host::new("clock-ahead");
    host.world.run(&at(-20));
    host.world.write(GUEST, "two", 1);
    let plain = host.world.filesystem("plain", 1);
    // The clock was ahead.
    host.world.run(&at(2));
    let [earlier, future] = &snapshots(&host.files)[..] else { panic!("{:?}", snapshots(&host.files)) };
    host.lose();
    let run = zhaul(&host.world, &at(0), &["restore", "--all"]).expect_code(3);
    assert!(
        run.stdout.contains(&format!("warning: guest 101 is restored without @{future}"))
            && run.stdout.contains("by the clocks of this host and of backup")
            && run.stdout.contains(&format!("failed: {plain}: its newest point is @{future}"))
            && run.stdout.contains("1 restored, 0 here already, 1 failed")
            && !look::exists(&plain),
        "{run:?}"
    );
    assert_eq!(snapshots(&host.files), std::slice::from_ref(earlier));
    // Both kinds of advice.
    zhaul(&host.world, &at(0), &["restore", &plain, "--at", future]).expect_code(0);
    let replace = ["restore", "101", "--at", future, "--replace", "--stopped"];
    zhaul(&host.world, &at(0), &replace).expect_code(0);
    assert_eq!(snapshots(&host.files), std::slice::from_ref(future));
}
