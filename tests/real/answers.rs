//! One strange dataset, property, root or pool never costs the others their backup.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::process::Command;

use crate::look::{self, assert_same_newest, snapshots};
use crate::pool::zfs;
use crate::world::{DAY_1, DAY_2, World};

/// Sets a property to bytes that need not be text.
fn set_bytes(dataset: &str, property: &str, value: &[u8]) {
    let setting = [property.as_bytes(), b"=", value].concat();
    let status = Command::new("zfs").arg("set").arg(OsString::from_vec(setting)).arg(dataset).status();
    assert!(status.unwrap().success(), "{property} of {dataset}");
}

#[test]
fn whatever_a_property_holds_every_other_dataset_is_served() {
    let mut world = World::with_archive("odd-properties");
    let plain = world.filesystem("subvol-101-disk-0", 1);
    zfs(&["create", &world.guest("left-out")]);
    world.set("left-out", "zhaul:backup=off");
    // What a listing prints of a dataset that is not there, or that is and is left out.
    let forged = |at: &str| {
        format!("x\tlocal\n{at}\ttype\tvolume\t-\n{at}\tguid\t7\t-\n{at}\tzhaul:backup\ton\tlocal")
    };
    let odd = [
        ("tab", b"a\tlocal\tb".to_vec()),
        ("lines", b"\n\na\n\n".to_vec()),
        ("bytes", b"\xff\xfeoff\x01\x1b[2J".to_vec()),
        ("forged", forged(&world.guest("left-out")).into_bytes()),
        ("invented", forged(&world.guest("invented")).into_bytes()),
        ("long", vec![b'\n'; 8191]),
    ];
    for (name, value) in &odd {
        let guest = world.filesystem(name, 1);
        for property in ["zhaul:backup", "zhaul:writer", "zhaul:unknown", "other:property"] {
            set_bytes(&guest, property, value);
        }
        zfs(&["create", &format!("{guest}/below")]);
    }
    let path = world.directory().join("odd\tpath\nx");
    set_bytes(&world.guest("tab"), "mountpoint", path.as_os_str().as_encoded_bytes());
    world.run_as_planned(DAY_1, &["--archive"], 0);
    // On copies, and inherited by all of them.
    for root in [world.backup_root(), world.archive_root()] {
        for property in ["zhaul:backup", "zhaul:set-aside"] {
            set_bytes(&root, property, &odd[3].1);
        }
        set_bytes(&format!("{root}/bytes"), "zhaul:backup", b"\xff\tx");
    }
    world.run_as_planned(DAY_2, &[], 0);
    assert_same_newest(&plain, &world.backup("subvol-101-disk-0"));
    for (name, _) in &odd {
        for dataset in [(*name).to_owned(), format!("{name}/below")] {
            assert_same_newest(&world.guest(&dataset), &world.backup(&dataset));
            assert_eq!(snapshots(&world.backup(&dataset)).len(), 2, "{dataset}");
            assert!(look::exists(&world.archive(&dataset)), "{dataset}");
        }
    }
    assert_eq!(snapshots(&world.guest("left-out")), Vec::<String>::new());
    assert!(!look::exists(&world.backup("left-out")));
}
