//! Which volume is whose, by Proxmox VE's configuration, and that nothing is left out without a word.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use serde_json::Value;

use crate::look::{self, assert_same_newest, bookmarks, snapshots};
use crate::outcome::Run;
use crate::pool::zfs;
use crate::world::{DAY_1, DAY_2, DAY_3, World};

/// A world with these file systems of 1 MiB below its source.
fn world_with(name: &str, datasets: &[&str]) -> World {
    let world = World::new(name);
    for dataset in datasets {
        world.filesystem(dataset, 1);
    }
    world
}

fn use_configs(world: &mut World, configs: &[(&str, &str)]) {
    let pve = world.guest_configs(configs);
    world.policy.source = format!("guest-config = \"{}\"", pve.display());
}

/// The report's entry of a dataset that a run leaves out.
fn left_out(run: &Run, dataset: &str) -> Value {
    let json = run.json();
    let all = json["left_out"].as_array().unwrap();
    all.iter().find(|one| one["dataset"] == dataset).cloned().unwrap_or_else(|| panic!("{dataset}: {run:?}"))
}

fn assert_untouched(world: &World, name: &str) {
    assert_eq!(snapshots(&world.guest(name)), Vec::<String>::new(), "{name}");
    assert!(!look::exists(&world.backup(name)), "{name}");
}

#[test]
fn a_disk_of_one_name_on_another_storage_leaves_nothing_out() {
    let mut world = world_with("two-storages", &["vm-101-disk-0", "vm-102-disk-0", "subvol-103-disk-0"]);
    zfs(&["create", "-p", &world.beside("second/vm-101-disk-0")]);
    let storages = format!(
        "zfspool: z\n\tpool {}\n\nzfspool: second\n\tpool {}\n\nlvmthin: lvm\n\tvgname pve\n\tthinpool data\n",
        world.source(),
        world.beside("second")
    );
    use_configs(
        &mut world,
        &[
            ("storage.cfg", &storages),
            ("qemu-server/101.conf", "virtio0: z:vm-101-disk-0\nvirtio2: second:vm-101-disk-0,backup=0\n"),
            ("qemu-server/102.conf", "scsi0: z:vm-102-disk-0\nscsi1: lvm:vm-102-disk-0,backup=0\n"),
            ("lxc/103.conf", "rootfs: z:subvol-103-disk-0\nmp0: second:subvol-103-disk-0,mp=/x\n"),
        ],
    );
    world.policy.datasets = vec![world.source(), world.beside("second")];
    let run = world.run_as_planned(DAY_1, &[], 0);
    for name in ["vm-101-disk-0", "vm-102-disk-0", "subvol-103-disk-0"] {
        assert_same_newest(&world.guest(name), &world.backup(name));
    }
    let left = left_out(&run, &world.beside("second/vm-101-disk-0"));
    assert_eq!(left["reason"], "not-backed-up");
    assert_eq!(left["lines"][0], "qemu-server/101.conf line 2 (virtio2)");
    let shown = world.run_with(DAY_1, &["--no-snapshot", "--dry-run"]);
    left_out(&shown, &world.beside("second/vm-101-disk-0"));
}

#[test]
fn volumes_of_another_node_and_what_is_no_disk_are_left_out_and_named() {
    let names = [
        "vm-100-disk-0",
        "vm-100-state-before",
        "vm-100-fleece-0",
        "vm-100-cloudinit",
        "vm-200-disk-0",
        "subvol-201-disk-0",
        "subvol-201-disk-0/below",
        "vm-300-disk-0",
    ];
    let mut world = world_with("owners", &names);
    let configs = [
        ("qemu-server/100.conf", "scsi0: z:vm-100-disk-0\nide2: z:vm-100-cloudinit,media=cdrom\n"),
        ("nodes/pve7/qemu-server/200.conf", "scsi0: z:vm-200-disk-0\n"),
        (".vmlist", r#"{"version": 3, "ids": {"201": {"node": "pve8", "type": "lxc", "version": 1}}}"#),
        (".members", r#"{"nodename": "pve0", "version": 1, "cluster": {"nodes": 3, "quorate": 1}}"#),
    ];
    use_configs(&mut world, &configs);
    let run = world.run_as_planned(DAY_1, &[], 0);
    for (name, reason, word) in [
        ("vm-100-state-before", "no-disk", "the saved memory"),
        ("vm-100-fleece-0", "no-disk", "the fleecing volume"),
        ("vm-100-cloudinit", "no-disk", "the cloud-init drive"),
        ("vm-200-disk-0", "on-other-node", "on node pve7"),
        ("subvol-201-disk-0", "on-other-node", "on node pve8"),
        ("subvol-201-disk-0/below", "on-other-node", "on node pve8"),
    ] {
        assert_untouched(&world, name);
        let left = left_out(&run, &world.guest(name));
        assert!(left["reason"] == reason && left["text"].as_str().unwrap().contains(word), "{left}");
    }
    assert_same_newest(&world.guest("vm-100-disk-0"), &world.backup("vm-100-disk-0"));
    assert_same_newest(&world.guest("vm-300-disk-0"), &world.backup("vm-300-disk-0"));
    assert!(run.finds("note", "unknown-guest"), "{run:?}");
}

#[test]
fn a_guest_that_has_left_the_node_is_named_until_replication_brings_newer_snapshots() {
    let mut world = world_with("has-left", &["vm-100-disk-0"]);
    use_configs(&mut world, &[("qemu-server/100.conf", "scsi0: z:vm-100-disk-0\n")]);
    world.run(DAY_1);
    let pve = world.guest_configs(&[("nodes/pve7/qemu-server/100.conf", "scsi0: z:vm-100-disk-0\n")]);
    fs::remove_file(pve.join("qemu-server/100.conf")).unwrap();
    let run = world.run_as_planned(DAY_2, &[], 0);
    assert!(run.finds("warning", "see that zhaul on pve7 backs the guest up"), "{run:?}");
    assert_eq!(snapshots(&world.guest("vm-100-disk-0")).len(), 1);
    // The other node's run took it, and pvesr brought it here.
    zfs(&["snapshot", &format!("{}@2026-01-11-040000", world.guest("vm-100-disk-0"))]);
    let run = world.run_as_planned(DAY_3, &[], 0);
    assert!(!run.finds("warning", "not-served-any-more"), "{run:?}");
    left_out(&run, &world.guest("vm-100-disk-0"));
    assert_eq!(snapshots(&world.backup("vm-100-disk-0")).len(), 1, "its backup stays");
}

#[test]
fn a_configuration_that_is_not_whole_neither_adds_nor_drops_a_guest_and_prunes_nothing() {
    let names = ["vm-100-disk-0", "vm-100-disk-1", "vm-200-disk-0", "plain"];
    let mut world = world_with("in-doubt", &names);
    let text = "scsi0: z:vm-100-disk-0\nscsi1: z:vm-100-disk-1,backup=0\n";
    let other = "scsi0: z:vm-200-disk-0\n";
    use_configs(&mut world, &[("qemu-server/100.conf", text), ("nodes/pve7/qemu-server/200.conf", other)]);
    world.policy.source.push_str("\nkeep-last = 1");
    world.policy.backup = "keep-last = 1".to_owned();
    world.run(DAY_1);
    let pve = world.directory().join("pve");
    let spoilt: [(&str, &dyn Fn()); 5] = [
        ("it is empty", &|| fs::create_dir(&pve).unwrap()),
        ("it is gone", &|| {}),
        ("it points to nothing", &|| symlink("nowhere", &pve).unwrap()),
        ("it is half there", &|| {
            fs::create_dir(&pve).unwrap();
            fs::write(pve.join("storage.cfg"), format!("zfspool: z\n\tpool {}\n", world.source())).unwrap();
        }),
        ("it has no quorum", &|| {
            world
                .guest_configs(&[("qemu-server/100.conf", text), ("nodes/pve7/qemu-server/200.conf", other)]);
            fs::write(pve.join(".members"), r#"{"nodename": "pve0", "cluster": {"quorate": 0}}"#).unwrap();
        }),
    ];
    let mut runs = Vec::new();
    for (number, (what, spoil)) in spoilt.into_iter().enumerate() {
        if fs::symlink_metadata(&pve).is_ok_and(|metadata| metadata.is_dir()) {
            fs::remove_dir_all(&pve).unwrap();
        } else {
            fs::remove_file(&pve).ok();
        }
        spoil();
        runs.push((what, format!("2026-01-{}T03:00:00Z", 11 + number)));
        let clock = &runs[number].1;
        let run = Run::of(world.command(clock, &[])).expect_code(1);
        assert!(run.finds("failed", "config-in-doubt"), "{what}: {run:?}");
        assert_eq!(snapshots(&world.guest("vm-100-disk-0")).len(), 2 + number, "{what}: {run:?}");
        assert_eq!(snapshots(&world.backup("vm-100-disk-0")).len(), 2 + number, "{what}: {run:?}");
        assert_same_newest(&world.guest("vm-100-disk-0"), &world.backup("vm-100-disk-0"));
        assert_eq!(
            snapshots(&world.backup("plain")).len(),
            1,
            "{what}: what is no guest's is served as ever"
        );
        for name in ["vm-100-disk-1", "vm-200-disk-0"] {
            assert_untouched(&world, name);
            left_out(&run, &world.guest(name));
        }
    }
    fs::remove_file(pve.join(".members")).unwrap();
    world.run("2026-01-20T03:00:00Z");
    assert_eq!(snapshots(&world.guest("vm-100-disk-0")), ["2026-01-20-030000"]);
}

#[test]
fn a_guest_file_that_cannot_be_read_stops_no_other_guest_and_forgets_nothing() {
    let names = ["vm-100-disk-0", "vm-100-disk-1", "vm-100-disk-2", "subvol-101-disk-0", "vm-102-disk-0"];
    let mut world = world_with("unreadable", &names);
    let text = "scsi0: z:vm-100-disk-0\nscsi1: z:vm-100-disk-1\nscsi2: z:vm-100-disk-2,backup=0\n";
    use_configs(
        &mut world,
        &[
            ("qemu-server/100.conf", text),
            ("lxc/101.conf", "rootfs: z:subvol-101-disk-0\n"),
            ("lxc/102.conf", ""),
        ],
    );
    world.policy.source.push_str("\nkeep-last = 1");
    world.run_with(DAY_1, &[]).expect_code(1);
    assert_same_newest(&world.guest("vm-102-disk-0"), &world.backup("vm-102-disk-0"));
    let pve = world.directory().join("pve");
    fs::remove_file(pve.join("lxc/102.conf")).unwrap();
    let file = pve.join("qemu-server/100.conf");
    let spoilt: [(&str, &dyn Fn()); 4] = [
        ("empty", &|| fs::write(&file, "").unwrap()),
        ("a directory", &|| fs::create_dir(&file).unwrap()),
        ("a link to nothing", &|| symlink("nowhere", &file).unwrap()),
        ("too large", &|| fs::write(&file, "#".repeat(2 << 20)).unwrap()),
    ];
    for (number, (what, spoil)) in spoilt.into_iter().enumerate() {
        fs::remove_file(&file).or_else(|_| fs::remove_dir(&file)).unwrap();
        spoil();
        let clock = format!("2026-01-{}T03:00:00Z", 11 + number);
        let run = world.run_as_planned(&clock, &[], 1);
        assert!(
            run.finds("failed", "guest-unreadable") && run.finds("failed", "100.conf"),
            "{what}: {run:?}"
        );
        let name = format!("2026-01-{}-030000", 11 + number);
        let txgs = ["vm-100-disk-0", "vm-100-disk-1"].map(|disk| world.txg(disk, &name));
        assert_eq!(txgs[0], txgs[1], "{what}: one moment");
        assert_untouched(&world, "vm-100-disk-2");
        assert_eq!(left_out(&run, &world.guest("vm-100-disk-2"))["reason"], "guest-unreadable");
        assert_eq!(snapshots(&world.guest("vm-100-disk-0")).len(), 2 + number, "{what}: nothing is pruned");
        assert_eq!(snapshots(&world.guest("subvol-101-disk-0")), [name], "{what}: the other guest is");
        assert_same_newest(&world.guest("subvol-101-disk-0"), &world.backup("subvol-101-disk-0"));
    }
}

#[test]
fn what_was_served_and_is_left_out_now_is_a_warning_in_each_run() {
    let names =
        ["vm-100-disk-0", "vm-100-disk-1", "off", "excluded", "subvol-101-disk-0", "subvol-101-disk-1"];
    let mut world = world_with("not-any-more", &names);
    zfs(&["create", &world.beside("lone")]);
    world.policy.datasets = vec![world.source(), world.beside("lone")];
    let machine = "scsi0: z:vm-100-disk-0\nscsi1: z:vm-100-disk-1";
    let container = "rootfs: z:subvol-101-disk-0\nmp0: z:subvol-101-disk-1,mp=/x,backup=1\n";
    use_configs(&mut world, &[("qemu-server/100.conf", machine), ("lxc/101.conf", container)]);
    let run = world.run(DAY_1);
    assert_eq!(run.json()["findings"], Value::Array(Vec::new()));
    let without = container.replace(",backup=1", "");
    let configs = [("qemu-server/100.conf", format!("{machine},backup=0\n")), ("lxc/101.conf", without)];
    world.guest_configs(&configs.each_ref().map(|(path, text)| (*path, text.as_str())));
    world.set("off", "zhaul:backup=off");
    zfs(&["create", &world.beside("lone/child")]);
    world.policy.source = format!("{}\nexclude = [{:?}]", world.policy.source, world.guest("exclud*"));
    for clock in [DAY_2, DAY_3] {
        let run = world.run_as_planned(clock, &[], 0);
        let json = run.json();
        let findings = json["findings"].as_array().unwrap();
        let warned: Vec<_> = findings
            .iter()
            .filter(|one| one["kind"] == "not-served-any-more")
            .map(|one| one["dataset"].as_str().unwrap())
            .collect();
        let below = ["excluded", "off", "subvol-101-disk-1", "vm-100-disk-1"].map(|name| world.guest(name));
        let expected: Vec<_> = below.into_iter().chain([world.beside("lone")]).collect();
        assert_eq!(warned, expected, "{run:?}");
        assert!(run.finds("warning", "include-root = true"), "{run:?}");
        assert!(run.finds("warning", "qemu-server/100.conf line 2 (scsi1)"), "{run:?}");
    }
    let stderr = world.run_for_a_person("2026-01-13T03:00:00Z", &[]).expect_code(0).stderr;
    assert!(stderr.contains("was backed up before, and is left out now"), "under cron, too: {stderr}");
    assert_eq!(bookmarks(&world.beside("lone")).len(), 1);
}

#[test]
fn to_ask_for_what_does_not_exist_is_an_error() {
    let mut world = world_with("nothing-asked", &["vm-100-disk-0", "vm-101-disk-0", "vm-102-disk-0"]);
    use_configs(
        &mut world,
        &[
            ("qemu-server/100.conf", "scsi0: z:vm-100-disk-0\n"),
            ("qemu-server/101.conf", "scsi0: z:vm-101-disk-0,backup=0\n"),
            ("nodes/pve7/qemu-server/102.conf", "x"),
        ],
    );
    let before = world.state();
    let (gone, left) = (world.guest("gone"), world.guest("vm-101-disk-0"));
    for (asked, why) in [
        (vec!["--guest", "999"], "there is no guest 999"),
        (vec!["--guest", "100", "--guest", "999"], "there is no guest 999"),
        (vec!["--guest", "101"], "no volume of guest 101 is selected"),
        (vec!["--guest", "102"], "guest 102 is on node pve7"),
        (vec!["--dataset", &gone], "there is no dataset"),
        (vec!["--dataset", &left], "is left out"),
    ] {
        for dry in [None, Some("--dry-run")] {
            let words: Vec<&str> = asked.iter().copied().chain(dry).collect();
            let run = world.run_with(DAY_1, &words).expect_code(2);
            assert!(run.stderr.contains(why) && run.stderr.contains("next: "), "{words:?}: {run:?}");
        }
    }
    assert_eq!(before, world.state(), "nothing was done");
    let run = world.run_with(DAY_1, &["--guest", "100"]).expect_code(0);
    assert_eq!(left_out(&run, &left)["reason"], "not-backed-up");
    world.run_with(DAY_2, &["--dataset", &world.guest("vm-100-disk-0")]).expect_code(0);
}

#[test]
fn sections_that_are_no_snapshots_are_none() {
    let mut world = world_with("sections", &["vm-100-disk-0", "subvol-101-disk-0"]);
    world.policy.top = "name = \"zz%Y-%m-%d-%H%M%S\"".to_owned();
    let vm = "scsi0: z:vm-100-disk-0,backup=0\n[pending]\nscsi0: z:vm-100-disk-0\n[special:cloudinit]\nscsi0: z:vm-100-disk-0\n";
    let ct = "rootfs: z:subvol-101-disk-0\n[pve:pending]\nmp0: z:subvol-101-disk-0,mp=/x\n";
    use_configs(&mut world, &[("qemu-server/100.conf", vm), ("lxc/101.conf", ct)]);
    let run = world.run_as_planned(DAY_1, &[], 0);
    assert_untouched(&world, "vm-100-disk-0");
    left_out(&run, &world.guest("vm-100-disk-0"));
    assert_same_newest(&world.guest("subvol-101-disk-0"), &world.backup("subvol-101-disk-0"));
}

/// What `zhaul` says with these words.
fn zhaul(world: &World, words: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zhaul"));
    command.args(words).arg("--config").arg(world.config());
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

#[test]
fn status_names_what_is_left_out_and_copies_that_nothing_is_sent_to() {
    let mut world = world_with("unserved", &["vm-100-disk-0", "gone", "off", "other"]);
    use_configs(&mut world, &[("qemu-server/100.conf", "scsi0: z:vm-100-disk-0\n")]);
    world.run(DAY_1);
    zfs(&["destroy", "-r", &world.guest("gone")]);
    world.set("off", "zhaul:backup=off");
    world.guest_configs(&[("qemu-server/100.conf", "scsi0: z:vm-100-disk-0,backup=0\n")]);
    let status = zhaul(&world, &["status", "--lab-clock", DAY_1]);
    let left = [
        format!("{}  zhaul:backup is off on {0}", world.guest("off")),
        format!(
            "{}  {0} is not to be backed up by qemu-server/100.conf line 1 (scsi0)",
            world.guest("vm-100-disk-0")
        ),
    ];
    let orphans = [
        format!(
            "backup:{}  no source below the roots; 1 snapshot, the newest @2026-01-10-030000",
            world.backup("gone")
        ),
        format!(
            "backup:{}  copy of {}, which is left out; 1 snapshot",
            world.backup("off"),
            world.guest("off")
        ),
    ];
    for line in left.iter().chain(&orphans) {
        assert!(status.contains(line), "{line} is in {status}");
    }
    assert!(!status.contains("all is well"), "{status}");
    let checked = zhaul(&world, &["config", "check", "--show-datasets"]);
    assert!(left.iter().all(|line| checked.contains(line)), "{checked}");
    assert!(
        checked.contains(&format!("1 dataset below {}\n    {}", world.source(), world.guest("other"))),
        "{checked}"
    );
    // The warning names the command for the case that this is meant.
    let run = world.run(DAY_2);
    assert!(run.finds("warning", &format!("zfs set zhaul:backup=never {}", world.guest("off"))), "{run:?}");
    for name in ["off", "vm-100-disk-0"] {
        world.set(name, "zhaul:backup=never");
    }
    let run = world.run_as_planned(DAY_3, &[], 0);
    assert_eq!(run.json()["findings"], Value::Array(Vec::new()), "{run:?}");
    left_out(&run, &world.guest("off"));
    let status = zhaul(&world, &["status", "--lab-clock", DAY_3]);
    assert!(status.contains("all is well") && status.contains(&world.guest("off")), "{status}");
    assert_eq!(snapshots(&world.backup("gone")).len(), 1);
}
