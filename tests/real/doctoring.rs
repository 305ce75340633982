//! `zhaul doctor`: each trouble with the command that mends it.

use std::fs;
use std::process::Command;

use crate::outcome::Run;
use crate::pool::zfs;
use crate::restoring::command;
use crate::rolling_back::DISKS;
use crate::rolling_back_guests::{guest, qm};
use crate::stand_in;
use crate::world::World;

const CONF: &str = "qemu-server/100.conf";
const CONFIG: &str =
    "scsi0: z:vm-100-disk-0\nscsi1: z:vm-100-disk-1\nscsi2: z:subvol-100-disk-2\nmemory: 1024\n";
const NOW: &str = "2026-01-11T04:00:00Z";
const POINT_1: &str = "2026-01-10-030000";

fn zhaul(world: &World, words: &[&str]) -> Run {
    Run::of(stand_in::with(command(world, NOW, words), &qm(world, "status: stopped")))
}

/// The troubles, as `SEVERITY KIND ABOUT`, without notes.
fn troubles(world: &World, code: i32) -> Vec<String> {
    let run = zhaul(world, &["doctor", "--json"]).expect_code(code);
    let json = run.json();
    let all = json["troubles"].as_array().unwrap().iter();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let line = |one: &serde_json::Value| {
        assert!(!text(&one["next"]).is_empty() && !text(&one["what"]).is_empty(), "{one}");
        let about = text(&one["about"]).replace(&world.source(), "S");
        format!("{} {} {about}", text(&one["severity"]), text(&one["kind"]))
    };
    // Of the lab and not of the test: the lab's programs are older than its kernel module.
    let of_lab = |line: &String| line.contains("pool-full") || line.contains("zfs-versions");
    all.map(line).filter(|line| !of_lab(line)).collect()
}

#[test]
fn each_trouble_is_named_with_what_mends_it_and_nothing_where_all_is_well() {
    let (mut world, pve) = guest("doctor", CONFIG);
    assert_eq!(troubles(&world, 0), Vec::<String>::new());
    let version = |line: &str| line.split(['-', '~']).next().unwrap().to_owned();
    let both = Command::new("zfs").arg("version").output().unwrap();
    let both = String::from_utf8(both.stdout).unwrap();
    let (programs, module) = both.trim().split_once("\nzfs-kmod-").unwrap();
    let (programs, module) = (version(programs.strip_prefix("zfs-").unwrap()), version(module));
    let expected = format!("its zfs programs have version {programs}, its kernel module has {module}");
    let said = zhaul(&world, &["doctor"]).expect_code(0).stdout;
    assert_eq!(said.contains(&expected), programs != module, "{said}");
    let shown = zhaul(&world, &["doctor"]).expect_code(0);
    assert!(shown.stdout.contains("nothing stands in the way") || shown.stdout.contains("full"), "{shown:?}");
    // A bookmark that stops Proxmox VE's rollback after it has stopped the guest.
    for name in DISKS {
        zfs(&["snapshot", &format!("{}@before", world.guest(name))]);
    }
    world.run(NOW);
    for name in DISKS {
        zfs(&["destroy", &format!("{}@2026-01-11-040000", world.guest(name))]);
    }
    fs::write(pve.join(CONF), format!("{CONFIG}\n[before]\nmemory: 1\n")).unwrap();
    assert!(troubles(&world, 0).contains(&"warning blocked-rollback guest 100".to_owned()));
    zhaul(&world, &["rollback", "100", "--to", "before", "--yes", "--keep-config"]).expect_code(0);
    assert!(!troubles(&world, 0).iter().any(|line| line.contains("blocked-rollback")));
    // A lock that was left.
    fs::write(pve.join(CONF), format!("{CONFIG}lock: rollback\n")).unwrap();
    assert!(troubles(&world, 3).contains(&"blocked locked guest 100".to_owned()));
    fs::write(pve.join(CONF), CONFIG).unwrap();
    // A set-aside dataset, and the mark of an interrupted restore.
    let words = ["rollback", "100", "--to", POINT_1, "--keep", "--yes"];
    zhaul(&world, &words).expect_code(0);
    let aside = format!("note set-aside S/zhaul-aside/{}.2026-01-11-040000", DISKS[0]);
    assert!(troubles(&world, 0).contains(&aside), "{:?}", troubles(&world, 0));
    zfs(&["set", "zhaul:restore=12345", &world.guest(DISKS[1])]);
    let found = troubles(&world, 3);
    assert!(found.contains(&format!("blocked interrupted S/{}", DISKS[1])), "{found:?}");
    zfs(&["inherit", "zhaul:restore", &world.guest(DISKS[1])]);
    // A target that is down, and what is late.
    world.policy.backup_at = Some(("nowhere.invalid".to_owned(), world.backup_root()));
    let found = troubles(&world, 1);
    assert!(found.iter().any(|line| line.starts_with("failed finding backup")), "{found:?}");
}
