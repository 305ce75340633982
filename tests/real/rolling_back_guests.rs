//! `zhaul rollback` of guests of Proxmox VE: only when they are stopped, with their configuration, as Proxmox VE does it.

use std::fs;
use std::path::PathBuf;

use crate::look::{self, assert_same_newest, content, snapshots};
use crate::outcome::Run;
use crate::pool::{property, zfs};
use crate::restoring::command;
use crate::restoring_attacks::{is_looked_at, kill_points, killed_at, stride};
use crate::rolling_back::{DISKS, contents, make_two_points};
use crate::stand_in;
use crate::world::{DAY_3, World};

const POINT_1: &str = "2026-01-10-030000";
const CONF: &str = "qemu-server/100.conf";
const CONFIG: &str =
    "scsi0: z:vm-100-disk-0\nscsi1: z:vm-100-disk-1\nscsi2: z:subvol-100-disk-2\nmemory: 1024\n";

/// A `qm` that prints this.
pub(crate) fn qm(world: &World, said: &str) -> PathBuf {
    let bin = world.directory().join("bin");
    stand_in::write(&bin, "qm", &format!("echo '{said}'"));
    bin
}

/// Rolls guest 100 back to the first point, with more words, where `qm` says this.
fn rollback(world: &World, said: &str, more: &[&str]) -> Run {
    let words = [&["rollback", "100", "--to", POINT_1, "--yes"], more].concat();
    let bin = qm(world, said);
    Run::of(stand_in::with(command(world, DAY_3, &words), &bin))
}

/// A guest of Proxmox VE with three disks and two points, and the directory of its configuration.
pub(crate) fn guest(name: &str, config: &str) -> (World, PathBuf) {
    guest_in(World::new(name), config)
}

/// The same in a world; what it has of an archive holds the first point.
pub(crate) fn guest_in(mut world: World, config: &str) -> (World, PathBuf) {
    let pve = world.guest_configs(&[(CONF, config), ("firewall/100.fw", "[OPTIONS]\nenable: 1\n")]);
    world.policy.source = format!("guest-config = \"{}\"", pve.display());
    make_two_points(&mut world);
    (world, pve)
}

#[test]
fn without_proof_that_a_guest_is_stopped_nothing_is_done_unless_it_is_stated() {
    let (world, pve) = guest("back-proof", CONFIG);
    let file = fs::read_to_string(pve.join(CONF)).unwrap();
    let state = world.state();
    // Proxmox VE knows no such guest, but somebody may have started it.
    fs::remove_file(pve.join(CONF)).unwrap();
    let refused = rollback(&world, "", &[]).expect_code(3);
    assert!(refused.stderr.contains("may be running") && refused.stderr.contains("--stopped"), "{refused:?}");
    let dataset = world.guest(DISKS[1]);
    let words = ["rollback", dataset.as_str(), "--to", POINT_1, "--yes"];
    let one = Run::of(stand_in::with(command(&world, DAY_3, &words), &qm(&world, ""))).expect_code(3);
    assert!(one.stderr.contains("--stopped"), "{one:?}");
    // A clear answer is believed more than a person.
    rollback(&world, "status: running", &["--stopped"]).expect_code(3);
    // So is what a process has open.
    let device = fs::File::open(format!("/dev/zvol/{dataset}")).unwrap();
    let busy = rollback(&world, "", &["--stopped"]).expect_code(3);
    assert!(busy.stderr.contains("disks are in use") && busy.stderr.contains(&dataset), "{busy:?}");
    drop(device);
    let files = fs::File::open(format!("{}/second", property("mountpoint", &world.guest(DISKS[0])))).unwrap();
    let busy = rollback(&world, "status: stopped", &[]).expect_code(3);
    assert!(
        busy.stderr.contains(&format!("{} by process {}", world.guest(DISKS[0]), std::process::id())),
        "{busy:?}"
    );
    drop(files);
    assert_eq!(state, world.state());
    fs::write(pve.join(CONF), &file).unwrap();
    // A disk that the point lacks is left where it is only if the point's configuration shows that it was not there yet.
    zfs(&["destroy", &format!("{}@{POINT_1}", world.guest(DISKS[2]))]);
    let lacks = rollback(&world, "status: stopped", &[]).expect_code(3);
    assert!(lacks.stderr.contains(&format!("lacks {}", world.guest(DISKS[2]))), "{lacks:?}");
    fs::write(pve.join(CONF), file.replace("scsi1: z:vm-100-disk-1\n", "")).unwrap();
    rollback(&world, "", &["--stopped"]).expect_code(0);
    assert_eq!(snapshots(&dataset), [POINT_1]);
}

#[test]
fn a_lock_a_template_the_ha_manager_and_another_node_stop_it_as_in_proxmox_ve() {
    let (world, pve) = guest("back-locked", CONFIG);
    let state = world.state();
    let put = |path: &str, text: &str| {
        fs::create_dir_all(pve.join(path).parent().unwrap()).unwrap();
        fs::write(pve.join(path), text).unwrap();
    };
    let refused = |with: &[&str]| {
        let run = rollback(&world, "status: stopped", &["--stopped"]).expect_code(3);
        assert!(with.iter().all(|with| run.stderr.contains(with)), "{run:?}");
        assert!(run.stderr.contains("nothing was done") && run.stderr.contains("next:"), "{run:?}");
        assert_eq!(state, world.state());
    };
    for lock in ["backup", "rollback", "suspended"] {
        put(CONF, &format!("{CONFIG}lock: {lock}\n"));
        refused(&[&format!("locked ({lock})"), "qm unlock 100"]);
    }
    put(CONF, &format!("{CONFIG}template: 1\n"));
    refused(&["is a template"]);
    put(CONF, CONFIG);
    put("ha/resources.cfg", "vm: 100\n\tgroup all\n");
    refused(&["ha-manager set vm:100 --state stopped"]);
    put("ha/resources.cfg", "vm: 100\n\tstate stopped\n");
    // A lock that only a snapshot had is none.
    put(CONF, &format!("{CONFIG}\n[snap]\nlock: rollback\n"));
    fs::remove_file(pve.join(CONF)).unwrap();
    put("nodes/pve1/qemu-server/100.conf", CONFIG);
    refused(&["on node pve1"]);
    fs::remove_file(pve.join("nodes/pve1/qemu-server/100.conf")).unwrap();
    put(CONF, CONFIG);
    rollback(&world, "status: stopped", &[]).expect_code(0);
}

#[test]
fn snapshots_of_storage_replication_go_as_in_proxmox_ve_and_others_of_that_name_do_not() {
    let (world, pve) = guest("back-replicated", CONFIG);
    let last = world.guest(DISKS[2]);
    zfs(&["snapshot", &format!("{last}@__replicate_100-0_1767999999__")]);
    let state = world.state();
    let refused = rollback(&world, "status: stopped", &[]).expect_code(3);
    assert!(refused.stderr.contains("zhaul did not make it"), "{refused:?}");
    assert_eq!(state, world.state());
    fs::write(pve.join("replication.cfg"), "local: 100-0\n\ttarget pve1\n\tschedule */15\n").unwrap();
    let done = rollback(&world, "status: stopped", &[]).expect_code(0);
    assert!(done.stdout.contains("pvesr sends the whole replica again"), "{done:?}");
    assert_eq!(snapshots(&last), [POINT_1]);
}

#[test]
fn the_configuration_of_the_point_comes_back_and_what_it_cannot_know_stays() {
    let early = format!("#early\ncipassword: old\n{CONFIG}vmgenid: 7e5a6c1e-0000-4000-8000-000000000001\n");
    let (mut world, pve) = guest("back-config", &early);
    // A disk more, another size of the memory, another firewall: after the point.
    world.volume("vm-100-disk-3", 1);
    let late = "#late\ncipassword: new\nmemory: 4096\nscsi0: z:vm-100-disk-0\nscsi1: z:vm-100-disk-1\n\
        scsi2: z:subvol-100-disk-2\nscsi3: z:vm-100-disk-3\n\n[PENDING]\nmemory: 1\n";
    fs::write(pve.join(CONF), late).unwrap();
    fs::write(pve.join("firewall/100.fw"), "[OPTIONS]\nenable: 0\n").unwrap();
    world.run_with("2026-01-11T04:00:00Z", &[]).expect_code(0);
    let fourth = content(&format!("{}@2026-01-11-040000", world.guest("vm-100-disk-3")));
    let dry = rollback(&world, "status: stopped", &["-n"]).expect_code(0);
    assert!(dry.stdout.contains("z:vm-100-disk-3 is not in it, and stays as an unused disk"), "{dry:?}");
    assert_eq!(fs::read_to_string(pve.join(CONF)).unwrap(), late);
    let run = rollback(&world, "status: stopped", &[]).expect_code(0);
    assert!(run.stdout.contains("next: qm start 100"), "{run:?}");
    let file = fs::read_to_string(pve.join(CONF)).unwrap();
    let lines: Vec<&str> = file.lines().filter(|line| !line.starts_with("vmgenid")).collect();
    assert_eq!(
        lines,
        [
            "#late",
            "scsi0: z:vm-100-disk-0",
            "scsi1: z:vm-100-disk-1",
            "scsi2: z:subvol-100-disk-2",
            "memory: 1024",
            "cipassword: new",
            "unused0: z:vm-100-disk-3"
        ]
    );
    assert!(file.contains("vmgenid: ") && !file.contains("7e5a6c1e"), "{file}");
    assert_eq!(fs::read_to_string(pve.join("firewall/100.fw")).unwrap(), "[OPTIONS]\nenable: 1\n");
    assert_eq!(fs::read_to_string(pve.join("qemu-server/100.conf.before-rollback")).unwrap(), late);
    assert_eq!(content(&format!("{}@2026-01-11-040000", world.guest("vm-100-disk-3"))), fourth);
    // A file beside the files of guests is no guest.
    let run = world.run(DAY_3);
    assert!(run.sends("backup").iter().all(|send| send.base().is_some()), "{run:?}");
    fs::write(pve.join(CONF), late).unwrap();
    let run = rollback(&world, "status: stopped", &["--keep-config"]).expect_code(0);
    assert!(run.stdout.contains("vm-100-disk-3 stays as it is: it has no snapshot of the point"), "{run:?}");
    assert_eq!(fs::read_to_string(pve.join(CONF)).unwrap(), late);
}

#[test]
fn killed_at_any_step_the_same_command_continues_and_no_run_takes_what_is_half_rolled_back() {
    let (mut world, pve) = guest("back-killed", CONFIG);
    let before = contents(&world, POINT_1);
    let count = format!("grep -q 'lock: rollback' {} || exec $real \"$@\"", pve.join(CONF).display());
    let bin = qm(&world, "status: stopped");
    let mut kills = 0;
    for nth in kill_points(60) {
        let words = ["rollback", "100", "--to", POINT_1, "--yes"];
        let is_through = killed_at(&world, nth, &count, command(&world, DAY_3, &words));
        if !is_through {
            kills += 1;
            let file = fs::read_to_string(pve.join(CONF)).unwrap();
            assert!(file.contains("lock: rollback"), "{nth}: {file}");
            if is_looked_at(kills) {
                let state = world.state();
                let run = world.run_with(DAY_3, &[]);
                assert!(run.json()["left_out"].to_string().contains("locked (rollback)"), "{nth}: {run:?}");
                assert_eq!(state, world.state(), "{nth}");
            }
            Run::of(stand_in::with(command(&world, DAY_3, &words), &bin)).expect_code(0);
        }
        assert_eq!(contents(&world, POINT_1), before, "{nth}");
        for name in DISKS {
            assert_eq!(snapshots(&world.guest(name)), [POINT_1], "{nth}");
        }
        assert_eq!(property("mounted", &world.guest(DISKS[0])), "yes", "{nth}");
        let file = fs::read_to_string(pve.join(CONF)).unwrap();
        assert_eq!(file, CONFIG, "{nth}");
        if is_through {
            break;
        }
        world.write(DISKS[0], "again", 1);
        look::write_device(&world.guest(DISKS[1]), 0, 1, &format!("again {nth}"));
        zfs(&["snapshot", &format!("{}@2026-01-11-030000", world.guest(DISKS[0]))]);
        zfs(&["snapshot", &format!("{}@2026-01-11-030000", world.guest(DISKS[1]))]);
        zfs(&["snapshot", &format!("{}@2026-01-11-030000", world.guest(DISKS[2]))]);
    }
    assert!(kills * stride() >= 12, "only {kills} steps were killed");
    let run = world.run(DAY_3);
    assert!(run.sends("backup").iter().all(|send| send.base().is_some()), "{run:?}");
    for name in DISKS {
        assert_same_newest(&world.guest(name), &world.backup(name));
    }
}
