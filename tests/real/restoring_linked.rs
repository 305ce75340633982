//! Linked clones and templates come back as what they were: a clone as a clone, a template as one that Proxmox VE can clone.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use crate::look::{self, content, snapshots};
use crate::outcome::Run;
use crate::pool::{property, zfs};
use crate::restoring::{command, zhaul};
use crate::rolling_back_guests::qm;
use crate::stand_in;
use crate::world::{DAY_1, DAY_2, DAY_3, World};

const TEMPLATE: &str = "base-900-disk-0";
const CLONE: &str = "vm-101-disk-0";
const POINT_1: &str = "2026-01-10-030000";
const MIB: u64 = 1 << 20;

/// Template 900 with 16 MiB, container template 950, and linked clones of both with about 1 MiB of their own, backed up.
struct Host {
    world: World,
    pve: PathBuf,
}

const TEMPLATE_FILE: &str = "name: golden\nscsi0: z:base-900-disk-0,size=48M\ntemplate: 1\n";
const CLONE_FILE: &str = "memory: 64\nscsi0: z:base-900-disk-0/vm-101-disk-0,size=48M\n";
const CONTAINER_FILE: &str = "memory: 64\nrootfs: z:basevol-950-disk-0/subvol-102-disk-0\n";

impl Host {
    fn new(mut world: World) -> Self {
        let storage =
            format!("zfspool: z\n\tpool {}\n\tcontent images,rootdir\n\tsparse 1\n", world.source());
        let files = [
            ("storage.cfg", storage.as_str()),
            ("qemu-server/900.conf", TEMPLATE_FILE),
            ("qemu-server/101.conf", CLONE_FILE),
            ("lxc/950.conf", "memory: 64\nrootfs: z:basevol-950-disk-0\ntemplate: 1\n"),
            ("lxc/102.conf", CONTAINER_FILE),
        ];
        let pve = world.guest_configs(&files);
        world.policy.source = format!("guest-config = \"{}\"", pve.display());
        let base = world.volume(TEMPLATE, 16);
        zfs(&["snapshot", &format!("{base}@__base__")]);
        zfs(&["clone", &format!("{base}@__base__"), &world.guest(CLONE)]);
        look::write_device(&world.guest(CLONE), 2, 1, "own");
        let base = world.filesystem("basevol-950-disk-0", 4);
        zfs(&["snapshot", &format!("{base}@__base__")]);
        zfs(&["clone", &format!("{base}@__base__"), &world.guest("subvol-102-disk-0")]);
        world.run_with(DAY_1, &["--archive"]).expect_code(0);
        Self { world, pve }
    }

    fn own_content(&self, name: &str) -> u64 {
        content(&format!("{}@{POINT_1}", self.world.guest(name)))
    }

    fn lose(&self, guest: &str, disk: &str) {
        zfs(&["destroy", "-r", &self.world.guest(disk)]);
        for directory in ["qemu-server", "lxc"] {
            fs::remove_file(self.pve.join(format!("{directory}/{guest}.conf"))).ok();
        }
    }

    /// Begins to restore the clone, and is killed after `wait`.
    fn begin_and_kill(&self, wait: impl FnOnce(&World)) {
        let mut cut = command(&self.world, DAY_2, &["restore", "101", "--rate", "64KiB"]);
        let mut cut = cut.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        self.world.wait_for_receive();
        wait(&self.world);
        cut.kill().unwrap();
        cut.wait().unwrap();
        self.world.wait_for_quiet();
    }

    fn assert_linked(&self, name: &str, of: &str) {
        assert_eq!(property("origin", &self.world.guest(name)), format!("{}@__base__", self.world.guest(of)));
    }

    fn file(&self, path: &str) -> String {
        fs::read_to_string(self.pve.join(path)).unwrap()
    }

    fn expect_increments(&mut self) {
        look::write_device(&self.world.guest(CLONE), 3, 1, "later");
        let run = self.world.run_as_planned(DAY_3, &["--archive"], 0);
        for target in ["backup", "archive"] {
            assert!(run.moved(target) < 3 * MIB, "{target}: {}", run.moved(target));
        }
        for name in [TEMPLATE, CLONE] {
            look::assert_same_newest(&self.world.guest(name), &self.world.backup(name));
        }
    }
}

#[test]
fn a_lost_host_comes_back_with_its_templates_and_their_clones_in_the_space_that_they_took() {
    let mut host = Host::new(World::with_archive("clones-all"));
    let names = [TEMPLATE, CLONE, "basevol-950-disk-0", "subvol-102-disk-0"];
    let before = names.map(|name| host.own_content(name));
    let source = host.world.source();
    look::sync(&host.world.guest(TEMPLATE));
    let used = property("used", &source).parse::<u64>().unwrap();
    zfs(&["destroy", "-R", &source]);
    zfs(&["create", &source]);
    for file in ["qemu-server/900.conf", "qemu-server/101.conf", "lxc/950.conf", "lxc/102.conf"] {
        fs::remove_file(host.pve.join(file)).unwrap();
    }
    let all = zhaul(&host.world, DAY_2, &["restore", "--all"]).expect_code(0);
    assert!(all.stdout.contains("4 restored, 0 here already, 0 failed"), "{all:?}");
    assert!(all.stdout.contains("qm clone 900 VMID") && all.stdout.contains("pct clone 950 VMID"), "{all:?}");
    host.assert_linked(CLONE, TEMPLATE);
    host.assert_linked("subvol-102-disk-0", "basevol-950-disk-0");
    assert_eq!(names.map(|name| host.own_content(name)), before);
    assert_eq!(host.file("qemu-server/900.conf"), TEMPLATE_FILE);
    assert_eq!(host.file("qemu-server/101.conf"), CLONE_FILE);
    assert_eq!(host.file("lxc/102.conf"), CONTAINER_FILE);
    look::wait_for_used(&source, used / 10 * 9);
    let now = property("used", &source).parse::<u64>().unwrap();
    assert!(now * 10 <= used * 11, "{now} of {used}");
    host.expect_increments();
}

#[test]
fn a_lost_clone_is_received_as_a_clone_also_under_another_number_after_a_kill_and_from_the_archive() {
    let mut host = Host::new(World::with_archive("clones-one"));
    let before = host.own_content(CLONE);
    host.lose("101", CLONE);
    let plan = zhaul(&host.world, DAY_2, &["restore", "101", "--dry-run"]).expect_code(0);
    let clone_of = format!("as a clone of {}@__base__", host.world.guest(TEMPLATE));
    assert!(plan.stdout.contains(&clone_of), "{plan:?}");
    host.begin_and_kill(|_| {});
    let restored = zhaul(&host.world, DAY_2, &["restore", "101", "--json"]).expect_code(0);
    let moved: u64 = restored.json()["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["moved_bytes"].as_u64().unwrap())
        .sum();
    assert!(moved < 2 * MIB, "{moved}");
    host.assert_linked(CLONE, TEMPLATE);
    assert_eq!(host.own_content(CLONE), before);
    assert_eq!(host.file("qemu-server/101.conf"), CLONE_FILE);
    host.expect_increments();
    // As another guest, from the archive.
    let other = zhaul(&host.world, DAY_3, &["restore", "101", "--as", "150", "--from", "nfs9"]);
    other.expect_code(0);
    host.assert_linked("vm-150-disk-0", TEMPLATE);
    assert!(host.file("qemu-server/150.conf").contains("scsi0: z:base-900-disk-0/vm-150-disk-0,size=48M\n"));
    // In the place of what is there, which is set aside.
    let replace = command(&host.world, DAY_3, &["restore", "101", "--at", POINT_1, "--replace"]);
    Run::of(stand_in::with(replace, &qm(&host.world, "status: stopped"))).expect_code(0);
    host.assert_linked(CLONE, TEMPLATE);
    assert_eq!(host.own_content(CLONE), before);
    // A drill shows what the target can give back without this host.
    let drill = zhaul(&host.world, DAY_3, &["verify", "--drill", "101"]).expect_code(0);
    assert!(!drill.stdout.contains("clone of"), "{drill:?}");
}

#[test]
fn without_its_template_a_clone_comes_back_whole_and_the_advice_keeps_it_linked() {
    let host = Host::new(World::with_archive("clones-alone"));
    let before = host.own_content(CLONE);
    host.lose("101", CLONE);
    host.lose("900", TEMPLATE);
    let whole = zhaul(&host.world, DAY_2, &["restore", "101", "--dry-run"]).expect_code(0);
    assert!(
        whole.stdout.contains("was a linked clone of") && whole.stdout.contains("`zhaul restore 900` first"),
        "{whole:?}"
    );
    zhaul(&host.world, DAY_2, &["restore", "101", "--as", "151"]).expect_code(0);
    assert_eq!(property("origin", &host.world.guest("vm-151-disk-0")), "-");
    assert!(host.file("qemu-server/151.conf").contains("scsi0: z:vm-151-disk-0,size=48M\n"));
    zhaul(&host.world, DAY_2, &["restore", "900"]).expect_code(0);
    assert!(snapshots(&host.world.guest(TEMPLATE)).contains(&"__base__".to_owned()));
    let clone = zhaul(&host.world, DAY_2, &["restore", "101"]).expect_code(0);
    assert!(!clone.stdout.contains("was a linked clone"), "{clone:?}");
    host.assert_linked(CLONE, TEMPLATE);
    assert_eq!(host.own_content(CLONE), before);
}

#[test]
fn a_template_whose_point_lacks_its_base_is_an_ordinary_guest_with_the_way_back_to_a_template() {
    let mut world = World::new("clones-no-base");
    let storage = format!("zfspool: z\n\tpool {}\n\tsparse 1\n", world.source());
    let files = [("storage.cfg", storage.as_str()), ("qemu-server/900.conf", TEMPLATE_FILE)];
    let pve = world.guest_configs(&files);
    world.policy.source = format!("guest-config = \"{}\"", pve.display());
    let base = world.volume(TEMPLATE, 4);
    world.run(DAY_1);
    zfs(&["destroy", "-r", &base]);
    fs::remove_file(pve.join("qemu-server/900.conf")).unwrap();
    let restored = zhaul(&world, DAY_2, &["restore", "900"]).expect_code(0);
    let advice = format!("`zfs snapshot {base}@__base__ && qm set 900 --template 1`");
    assert!(restored.stdout.contains(&advice) && restored.stdout.contains("qm start 900"), "{restored:?}");
    assert!(!fs::read_to_string(pve.join("qemu-server/900.conf")).unwrap().contains("template"));
}

#[test]
fn an_encrypted_clone_is_restored_in_full_and_its_linked_copy_can_be_set_aside() {
    let mut world = World::new("clones-raw");
    world.encrypted(TEMPLATE, &["-V", "48M"]);
    let base = world.guest(TEMPLATE);
    look::write_device(&base, 0, 16, "template");
    zfs(&["snapshot", &format!("{base}@__base__")]);
    let one = world.guest(CLONE);
    zfs(&["clone", &format!("{base}@__base__"), &one]);
    look::write_device(&one, 3, 1, "own");
    world.run(DAY_1);
    let before = content(&format!("{one}@{POINT_1}"));
    let state = world.state();
    let refused = zhaul(&world, DAY_2, &["restore", &one, "--replace"]).expect_code(3);
    assert!(refused.stderr.contains(&format!("with the encryption key of {base}")), "{refused:?}");
    assert_eq!(world.state(), state);
    let beside = refused.next_words();
    zhaul(&world, DAY_2, &beside.iter().map(String::as_str).collect::<Vec<_>>()).expect_code(0);
    zfs(&["destroy", "-r", beside.last().unwrap()]);
    zfs(&["destroy", "-r", &one]);
    let restored = zhaul(&world, DAY_2, &["restore", &one, "--json"]).expect_code(0).json();
    assert_eq!(restored["notes"][0]["note"], "encrypted-clone", "{restored}");
    assert_eq!(property("encryptionroot", &one), one);
    world.unlock(&one);
    assert_eq!(content(&format!("{one}@{POINT_1}")), before);
    look::write_device(&one, 4, 1, "later");
    let run = world.run_as_planned(DAY_2, &[], 0);
    assert!(run.moved("backup") < 3 * MIB, "{run:?}");
    // Back to the first night: the copy, whose key is that of the template's copy, is set aside, and continues.
    zfs(&["rollback", "-r", &format!("{one}@{POINT_1}")]);
    look::write_device(&one, 5, 1, "after the rollback");
    world.run(DAY_3);
    let copy = world.backup(CLONE);
    assert_eq!(snapshots(&look::set_aside(&copy)), ["2026-01-11-030000"]);
    world.unlock(&property("encryptionroot", &copy));
    look::assert_same_newest(&one, &copy);
}

#[test]
fn a_clone_is_encrypted_in_an_encrypted_place_and_takes_no_reservation_on_a_thick_storage() {
    let host = Host::new(World::new("clones-place"));
    let world = &host.world;
    let secret = world.beside("secret");
    let location = format!("keylocation={}", world.key());
    zfs(&["create", "-o", "encryption=on", "-o", "keyformat=passphrase", "-o", &location, &secret]);
    let storage = format!(
        "zfspool: z\n\tpool {}\n\tcontent images,rootdir\n\nzfspool: secret\n\tpool {secret}\n\tcontent images\n\tsparse 1\n",
        world.source()
    );
    fs::write(host.pve.join("storage.cfg"), storage).unwrap();
    let words = ["restore", "101", "--as", "152", "--storage", "secret"];
    let run = zhaul(world, DAY_2, &words).expect_code(0);
    let place = format!("{secret} is encrypted: it is restored in full");
    assert!(run.stderr.contains(&place), "it costs space, so it is said without a terminal, too: {run:?}");
    let disk = format!("{secret}/vm-152-disk-0");
    assert_eq!(property("encryption", &disk), "aes-256-gcm");
    assert_eq!(content(&format!("{disk}@{POINT_1}")), host.own_content(CLONE));
    // The storage of the others is thick, and far too small for a clone of this size.
    let base = world.guest("base-901-disk-0");
    zfs(&["create", "-s", "-V", "4T", &base]);
    look::write_device(&base, 0, 1, "big");
    zfs(&["snapshot", &format!("{base}@__base__")]);
    zfs(&["clone", &format!("{base}@__base__"), &world.guest("vm-103-disk-0")]);
    fs::write(host.pve.join("qemu-server/103.conf"), "scsi0: z:base-901-disk-0/vm-103-disk-0\n").unwrap();
    let mut host = host;
    host.world.run(DAY_2);
    host.lose("103", "vm-103-disk-0");
    zhaul(&host.world, DAY_3, &["restore", "103"]).expect_code(0);
    host.assert_linked("vm-103-disk-0", "base-901-disk-0");
    assert_eq!(property("refreservation", &host.world.guest("vm-103-disk-0")), "0");
}

#[test]
fn all_restores_a_template_before_its_clones_wherever_they_are_and_no_clone_without_it() {
    let mut world = World::new("clones-order");
    let (above, fast) = (world.beside("a"), world.beside("a/fast"));
    zfs(&["create", &above]);
    zfs(&["create", &fast]);
    let storage = format!(
        "zfspool: z\n\tpool {}\n\tsparse 1\n\nzfspool: fast\n\tpool {fast}\n\tsparse 1\n",
        world.source()
    );
    let files = [
        ("storage.cfg", storage.as_str()),
        ("qemu-server/900.conf", "scsi0: fast:base-900-disk-0\ntemplate: 1\n"),
        ("qemu-server/101.conf", "scsi0: fast:base-900-disk-0/vm-101-disk-0\nscsi1: z:vm-101-disk-1\n"),
        ("qemu-server/102.conf", "scsi0: fast:vm-102-disk-0\n"),
    ];
    let pve = world.guest_configs(&files);
    world.policy.source = format!("guest-config = \"{}\"", pve.display());
    world.policy.datasets = vec![world.source(), fast.clone()];
    let [base, clone, second] = [TEMPLATE, CLONE, "vm-102-disk-0"].map(|name| format!("{fast}/{name}"));
    zfs(&["create", "-s", "-V", "32M", &base]);
    look::write_device(&base, 0, 8, "golden");
    zfs(&["snapshot", &format!("{base}@__base__")]);
    zfs(&["clone", &format!("{base}@__base__"), &clone]);
    world.volume("vm-101-disk-1", 1);
    zfs(&["snapshot", &format!("{clone}@mid")]);
    zfs(&["clone", &format!("{clone}@mid"), &second]);
    world.run(DAY_1);
    for root in [world.source(), fast] {
        zfs(&["destroy", "-R", &root]);
        zfs(&["create", &root]);
    }
    let confs = ["900", "101", "102"].map(|id| pve.join(format!("qemu-server/{id}.conf")));
    for file in &confs {
        fs::remove_file(file).unwrap();
    }
    let plan = zhaul(&world, DAY_2, &["restore", "--all", "-n"]).expect_code(0);
    assert!(
        plan.stdout.contains(&format!("{clone} is restored as a clone of {base}, which comes first")),
        "{plan:?}"
    );
    zfs(&["create", "-s", "-V", "8M", &base]);
    let without = zhaul(&world, DAY_2, &["restore", "--all"]).expect_code(3);
    assert!(
        without.stdout.contains(&format!("it is a linked clone of {base}, which could not be")),
        "{without:?}"
    );
    assert!(!look::exists(&clone));
    assert!(!look::exists(&second), "nor a clone of that clone");
    zfs(&["destroy", &base]);
    zhaul(&world, DAY_2, &["restore", "--all"]).expect_code(0);
    assert_eq!(property("origin", &clone), format!("{base}@__base__"));
    assert_eq!(property("origin", &second), format!("{clone}@mid"));
    assert_eq!(fs::read_to_string(&confs[1]).unwrap(), files[2].1);
    look::write_device(&clone, 1, 1, "later");
    world.run(DAY_3);
    look::assert_same_newest(&clone, &world.backup(CLONE));
}

#[test]
fn a_clone_hangs_on_its_own_template_and_a_message_says_how_to_keep_it_so() {
    let host = Host::new(World::new("clones-own"));
    zhaul(&host.world, DAY_2, &["restore", "900", "--as", "800"]).expect_code(0);
    zhaul(&host.world, DAY_2, &["restore", "101", "--from", "here", "--as", "150"]).expect_code(0);
    host.assert_linked("vm-150-disk-0", TEMPLATE);
    host.lose("101", CLONE);
    zhaul(&host.world, DAY_2, &["restore", "101"]).expect_code(0);
    host.assert_linked(CLONE, TEMPLATE);
    // Begun before the template was there: it can be made a clone.
    for (id, disk) in
        [("150", "vm-150-disk-0"), ("101", CLONE), ("900", TEMPLATE), ("800", "base-800-disk-0")]
    {
        host.lose(id, disk);
    }
    host.begin_and_kill(|world| look::wait_for_used(&format!("{}/zhaul-incoming", world.source()), MIB));
    zhaul(&host.world, DAY_2, &["restore", "900"]).expect_code(0);
    let plan = zhaul(&host.world, DAY_2, &["restore", "101", "-n"]).expect_code(0);
    assert!(plan.stdout.contains("whose restore was begun in full"), "{plan:?}");
    zhaul(&host.world, DAY_2, &["restore", "101", "--abandon"]).expect_code(0);
    zhaul(&host.world, DAY_2, &["restore", "101"]).expect_code(0);
    host.assert_linked(CLONE, TEMPLATE);
}

#[test]
fn the_clone_of_a_template_that_was_made_again_and_a_point_of_before_a_template_come_back() {
    let mut host = Host::new(World::new("clones-again"));
    host.lose("101", CLONE);
    host.lose("900", TEMPLATE);
    let base = host.world.volume(TEMPLATE, 4);
    look::write_device(&base, 0, 4, "new");
    zfs(&["snapshot", &format!("{base}@__base__")]);
    fs::write(host.pve.join("qemu-server/900.conf"), TEMPLATE_FILE).unwrap();
    let disk = host.world.volume("vm-950-disk-1", 1);
    let before = "scsi0: z:vm-950-disk-1,size=8M\n";
    fs::write(host.pve.join("qemu-server/960.conf"), before.replace("950", "960")).unwrap();
    zfs(&["rename", &disk, &host.world.guest("vm-960-disk-1")]);
    host.world.run_with(DAY_2, &[]);
    let plan = zhaul(&host.world, DAY_2, &["restore", "101", "-n"]).expect_code(0);
    let old = look::set_aside(&host.world.backup(TEMPLATE));
    let advice = format!("`zhaul restore {old} --to {}/NAME`", host.world.source());
    assert!(plan.stdout.contains(&advice), "{plan:?}");
    let to = host.world.guest("base-899-disk-0");
    zhaul(&host.world, DAY_2, &["restore", &old, "--to", &to]).expect_code(0);
    zhaul(&host.world, DAY_2, &["restore", "101"]).expect_code(0);
    host.assert_linked(CLONE, "base-899-disk-0");
    // The guest becomes a template after its first point.
    let template = host.world.guest("base-960-disk-1");
    zfs(&["rename", &host.world.guest("vm-960-disk-1"), &template]);
    zfs(&["snapshot", &format!("{template}@__base__")]);
    let file = "scsi0: z:base-960-disk-1,size=8M\ntemplate: 1\n";
    fs::write(host.pve.join("qemu-server/960.conf"), file).unwrap();
    host.world.run_with(DAY_3, &[]);
    let words = ["restore", "960", "--at", "2026-01-11-030000", "--as", "970"];
    let run = zhaul(&host.world, DAY_3, &words).expect_code(0);
    assert!(!run.stdout.contains("not restored"), "{run:?}");
    assert!(host.file("qemu-server/970.conf").contains("scsi0: z:base-970-disk-1,size=8M"));
}
