//! A guest's configuration travels with its snapshots.

use std::fs;
use std::process::Command;

use crate::agent::behind_agents;
use crate::look;
use crate::pool::{property, zfs};
use crate::world::{DAY_1, DAY_2, World};

const POINT_1: &str = "2026-01-10-030000";

/// The line that the README gives to read a configuration without zhaul.
fn decoded(snapshot: &str, what: &str) -> String {
    let line =
        "zfs get -Hp -o value \"$(seq -s, -f \"$2-%g\" 0 63)\" \"$1\" | tr -d '\\n-' | base64 -d | gunzip";
    let output = Command::new("bash").args(["-c", line, "-", snapshot, what]).output().unwrap();
    assert!(output.status.success(), "{snapshot}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn config(world: &mut World, more: &str) -> String {
    let text = format!("boot: order=scsi0\n{more}memory: 2048\nscsi0: z:vm-100-disk-0,size=4M\n");
    let firewall = "[OPTIONS]\n\nenable: 1\n";
    let pve = world.guest_configs(&[("qemu-server/100.conf", &text), ("firewall/100.fw", firewall)]);
    world.policy.source = format!("guest-config = \"{}\"", pve.display());
    text
}

#[test]
fn each_point_of_a_guest_carries_its_configuration_here_on_the_backup_and_on_the_archive() {
    for (name, is_agent) in [("config-shell", false), ("config-agent", true)] {
        let mut world = if is_agent {
            behind_agents("config-agent", "--append-only")
        } else {
            World::with_archive("config-shell")
        };
        world.volume("vm-100-disk-0", 1);
        world.filesystem("plain", 1);
        let secrets = "cipassword: $5$secret\nsshkeys: ssh-ed25519%20AAAA\n";
        let text = config(&mut world, secrets);
        let kept = text.replace(secrets, "");
        world.run_with(DAY_1, &["--archive"]).expect_code(0);
        let there = format!("{}@{POINT_1}", world.backup("vm-100-disk-0"));
        let month = format!("{}@2026-Jan-10", world.archive("vm-100-disk-0"));
        for snapshot in [&format!("{}@{POINT_1}", world.guest("vm-100-disk-0")), &there, &month] {
            assert_eq!(decoded(snapshot, "zhaul:config"), kept, "{name}: {snapshot}");
            assert_eq!(decoded(snapshot, "zhaul:firewall"), "[OPTIONS]\n\nenable: 1\n");
            let guest = property("zhaul:guest", snapshot);
            assert!(
                guest.starts_with("qemu-server/100 ") && guest.ends_with(" cipassword,sshkeys"),
                "{guest}"
            );
            assert!(!zfs(&["get", "-Hp", "all", snapshot]).contains("secret"), "{snapshot}");
        }
        assert_eq!(property("zhaul:guest", &format!("{}@{POINT_1}", world.backup("plain"))), "-");
        // What changes is what the next point has; the earlier one keeps its own.
        let text = config(&mut world, "name: renamed\n");
        look::write_device(&world.guest("vm-100-disk-0"), 0, 1, "second");
        world.run(DAY_2);
        let newer = format!("{}@2026-01-11-030000", world.backup("vm-100-disk-0"));
        assert_eq!(decoded(&newer, "zhaul:config"), text);
        assert_eq!(decoded(&there, "zhaul:config"), kept);
    }
}

#[test]
fn a_configuration_of_forty_kib_that_does_not_compress_is_whole() {
    let mut world = World::new("config-large");
    world.volume("vm-100-disk-0", 1);
    let mut state = 7_u32;
    let digits = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from_digit(state >> 27, 32).unwrap()
    });
    let more = format!("#{}\n", digits.take(40 << 10).collect::<String>());
    let text = config(&mut world, &more);
    world.run(DAY_1);
    let there = format!("{}@{POINT_1}", world.backup("vm-100-disk-0"));
    assert_ne!(property("zhaul:config-3", &there), "-", "several pieces");
    assert_eq!(decoded(&there, "zhaul:config"), text);
}

#[test]
fn a_file_that_vanishes_or_cannot_be_read_costs_no_snapshot() {
    let mut world = World::new("config-odd");
    world.volume("vm-100-disk-0", 1);
    config(&mut world, "");
    let firewall = world.directory().join("pve/firewall/100.fw");
    fs::remove_file(&firewall).unwrap();
    fs::create_dir(&firewall).unwrap();
    world.run(DAY_1);
    let there = format!("{}@{POINT_1}", world.backup("vm-100-disk-0"));
    assert_eq!(property("zhaul:firewall-0", &there), "-");
    assert!(decoded(&there, "zhaul:config").contains("memory: 2048"));
}
