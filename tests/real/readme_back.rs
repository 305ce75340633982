//! Each command of the README's section "Getting data back", as it is written, after the disaster that its heading names.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::look::{self, content};
use crate::outcome::Run;
use crate::pool::{property, zfs};
use crate::stand_in;
use crate::world::{DAY_1, World};

const README: &str = include_str!("../../README.md");
const POINT_1: &str = "2026-01-10-030000";
const MACHINE: &str = "memory: 1024\nscsi0: z:vm-100-disk-0,size=10M\n";
const CONTAINER: &str = "memory: 512\nrootfs: z:subvol-101-disk-0,size=1G\n";

/// The commands below a heading, one for each block.
fn blocks(heading: &str) -> Vec<Vec<String>> {
    let section = README.split(&format!("\n### {heading}\n")).nth(1).unwrap_or_else(|| panic!("{heading}"));
    let section = section.split("\n## ").next().unwrap().split("\n### ").next().unwrap();
    let blocks = section.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let lines =
        |block: &str| block.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect();
    blocks.map(lines).collect()
}

/// A guest of each kind, backed up twice and archived, and the stubs of Proxmox VE's programs.
struct Site {
    world: World,
    pve: PathBuf,
    bin: PathBuf,
}

impl Site {
    fn new(name: &str) -> Self {
        let mut world = World::with_archive(name);
        let pve = world.guest_configs(&[("qemu-server/100.conf", MACHINE), ("lxc/101.conf", CONTAINER)]);
        world.policy.source = format!("guest-config = \"{}\"", pve.display());
        world.volume("vm-100-disk-0", 1);
        world.filesystem("subvol-101-disk-0", 1);
        let files = property("mountpoint", &world.guest("subvol-101-disk-0"));
        fs::write(format!("{files}/hosts"), "right\n").unwrap();
        for day in ["2025-12-31T03:00:00Z", "2026-01-01T03:00:00Z", DAY_1, "2026-02-01T03:00:00Z"] {
            world.run(day);
        }
        let bin = world.directory().join("bin");
        fs::create_dir_all(&bin).unwrap();
        let site = Self { world, pve, bin };
        for program in ["qm", "pct"] {
            site.program(program, "echo 'status: stopped'");
        }
        site
    }

    fn program(&self, name: &str, text: &str) {
        stand_in::write(&self.bin, name, text);
    }

    /// Runs a command as it is written, with the names of this site.
    fn run(&self, line: &str, stamp: &str, code: i32) -> Run {
        let clock = "2026-02-02T03:00:00Z";
        let zhaul = format!(
            "word=$1; shift; case $word in help) exec {0} help \"$@\";; config) exec {0} config \"$@\" --config {1};; \
             *) exec {0} $word \"$@\" --config {1} --lab-clock {clock};; esac",
            env!("CARGO_BIN_EXE_zhaul"),
            self.world.config().display(),
        );
        self.program("zhaul", &zhaul);
        let names = [
            ("tank/archive/pve0", self.world.archive_root()),
            ("rpool/data", self.world.source()),
            ("/etc/pve", self.pve.display().to_string()),
            ("STAMP", stamp.to_owned()),
        ];
        let mut text = line.to_owned();
        for (written, meant) in names {
            text = text.replace(written, &meant);
        }
        let mut command = Command::new("bash");
        command.args(["-c", &format!("set -e -o pipefail\n{text}")]);
        Run::of(stand_in::with(command, &self.bin)).expect_code(code)
    }

    /// Runs each command of a block; gives what they print.
    fn block(&self, lines: &[String], stamp: &str) -> String {
        let mut printed = String::new();
        // A variable that a line sets is there for the next ones.
        let mut settings = String::new();
        for line in lines {
            if line.starts_with("keys=") {
                settings = format!("{line}\n");
                continue;
            }
            // A target that is down is a failure of `list`.
            let is_short = line.starts_with("zhaul list") && !look::exists(&self.world.backup_root());
            let code = i32::from(is_short && self.world.policy.backup_at.is_some());
            let run = self.run(&format!("{settings}{line}"), stamp, code);
            printed.push_str(&run.stdout);
        }
        printed
    }

    fn disk(&self) -> String {
        self.world.guest("vm-100-disk-0")
    }

    fn files(&self) -> String {
        self.world.guest("subvol-101-disk-0")
    }

    fn hosts(&self) -> String {
        fs::read_to_string(format!("{}/hosts", property("mountpoint", &self.files()))).unwrap()
    }

    /// Another disk content, configuration and file than at the first point.
    fn break_guest(&mut self) {
        look::write_device(&self.disk(), 0, 1, "broken");
        fs::write(self.pve.join("qemu-server/100.conf"), MACHINE.replace("1024", "1")).unwrap();
    }

    fn is_right(&self) {
        assert_eq!(content(&format!("{}@{POINT_1}", self.disk())), self.head());
        assert!(fs::read_to_string(self.pve.join("qemu-server/100.conf")).unwrap().contains("1024"));
    }

    fn head(&self) -> u64 {
        zfs(&["snapshot", &format!("{}@head", self.disk())]);
        let found = content(&format!("{}@head", self.disk()));
        zfs(&["destroy", &format!("{}@head", self.disk())]);
        found
    }

    fn lose_host(&self) {
        zfs(&["destroy", "-r", &self.world.source()]);
        for file in ["qemu-server/100.conf", "lxc/101.conf"] {
            fs::remove_file(self.pve.join(file)).unwrap();
        }
    }
}

/// The stamp in what was printed.
fn stamp(printed: &str) -> String {
    let rest = printed.split("--put-back ").nth(1).unwrap_or_else(|| panic!("no stamp: {printed}"));
    rest.split_whitespace().next().unwrap().to_owned()
}

#[test]
fn a_lost_file_and_a_broken_update() {
    let mut site = Site::new("readme-file");
    let lost = blocks("A lost file");
    for lines in [0..2, 2..5] {
        let hosts = format!("{}/hosts", property("mountpoint", &site.files()));
        fs::write(&hosts, "wrong\n").unwrap();
        site.block(&lost[0][lines], "");
        assert_eq!(site.hosts(), "right\n");
    }
    site.block(&lost[0][5..], "");
    assert!(!look::exists(&site.world.guest("zhaul-look")));
    let broken = blocks("A broken update");
    assert_eq!((lost.len(), broken.len()), (1, 2));
    site.break_guest();
    site.block(&broken[0], "");
    site.is_right();
    site.world.run_with("2026-02-01T04:00:00Z", &[]).expect_code(0);
    site.break_guest();
    let now = site.head();
    let printed = site.block(&broken[1][..1], "");
    site.is_right();
    site.block(&broken[1][1..], &stamp(&printed));
    assert_eq!(site.head(), now);
    site.world.run_with("2026-02-03T04:00:00Z", &[]).expect_code(0);
}

#[test]
fn a_lost_guest() {
    let mut site = Site::new("readme-guest");
    let lost = blocks("A lost guest");
    assert_eq!(lost.len(), 3);
    zfs(&["destroy", "-r", &site.disk()]);
    fs::remove_file(site.pve.join("qemu-server/100.conf")).unwrap();
    site.block(&lost[0], "");
    assert!(look::exists(&site.disk()));
    assert!(fs::read_to_string(site.pve.join("qemu-server/100.conf")).unwrap().contains("1024"));
    site.break_guest();
    let now = site.head();
    let printed = site.block(&lost[1][..2], "");
    assert!(look::exists(&site.world.guest("vm-200-disk-0")));
    site.is_right();
    site.block(&lost[1][2..], &stamp(&printed));
    assert_eq!(site.head(), now);
    site.block(&lost[2], "");
    assert_eq!(content(&format!("{}@{POINT_1}", site.disk())), site.head());
    let file = fs::read_to_string(site.pve.join("qemu-server/100.conf")).unwrap();
    assert_eq!(file, MACHINE.replace("1024", "1"), "one disk leaves the guest's file as it is");
    site.world.run_with("2026-02-03T04:00:00Z", &[]).expect_code(0);
}

#[test]
fn a_lost_host_a_lost_site_and_an_archive_without_zhaul() {
    let mut site = Site::new("readme-host");
    let before = content(&format!("{}@2026-02-01-030000", site.disk()));
    let [host, site_lost, archive] =
        ["A lost host", "A lost site", "An archive of years ago, without zhaul"].map(blocks);
    assert_eq!((host.len(), site_lost.len(), archive.len()), (1, 1, 1));
    site.lose_host();
    site.block(&host[0], "");
    assert_eq!(content(&format!("{}@2026-02-01-030000", site.disk())), before);
    assert_eq!(site.hosts(), "right\n");
    site.lose_host();
    zfs(&["destroy", "-r", &site.world.backup_root()]);
    // A host name that does not resolve.
    site.world.policy.backup_at = Some(("nowhere.invalid".to_owned(), site.world.backup_root()));
    site.block(&site_lost[0], "");
    let month = content(&format!("{}@2026-Jan", site.world.archive("vm-100-disk-0")));
    assert_eq!(site.head(), month);
    assert_eq!(site.hosts(), "right\n");
    assert!(fs::read_to_string(site.pve.join("lxc/101.conf")).unwrap().contains("512"));
    site.lose_host();
    site.block(&archive[0], "");
    assert_eq!(site.head(), month);
    assert_eq!(site.hosts(), "right\n");
    assert_eq!(fs::read_to_string(site.pve.join("qemu-server/100.conf")).unwrap(), MACHINE);
    assert_eq!(fs::read_to_string(site.pve.join("lxc/101.conf")).unwrap(), CONTAINER);
}

#[test]
fn the_page_is_in_the_program() {
    let run = Run::of({
        let mut command = Command::new(env!("CARGO_BIN_EXE_zhaul"));
        command.args(["help", "restore"]);
        command
    });
    let run = run.expect_code(0);
    for heading in ["A lost file", "A broken update", "A lost guest", "A lost host", "A lost site"] {
        assert!(run.stdout.contains(&format!("\n### {heading}\n")), "{heading}");
        for line in blocks(heading).iter().flatten() {
            assert!(run.stdout.contains(line), "{line}");
        }
    }
}
