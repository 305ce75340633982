//! One strange dataset, property, root or pool never costs the others their backup.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::look::{self, assert_same_newest, snapshots};
use crate::pool::zfs;
use crate::spare::SparePool;
use crate::world::{DAY_1, DAY_2, DAY_3, World};

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
    // The lines of a listing for a dataset that does not exist, or that exists and is left out.
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

/// What `zhaul status` says to a person, and its exit code.
fn status(world: &World, clock: &str) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zhaul"));
    command.arg("status").arg("--config").arg(world.config()).args(["--lab-clock", clock]);
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

fn assert_says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is in {text}");
    }
}

#[test]
fn roots_that_are_missing_and_pools_that_are_exported_or_suspended_cost_the_other_roots_nothing() {
    let gone = SparePool::new("roots-gone", 96);
    let bad = SparePool::with_bad_disk("roots-bad", 512, 64);
    let mut world = World::new("missing-roots");
    let files = world.filesystem("subvol-101-disk-0", 1);
    let (on_gone, on_bad) = (format!("{}/data", gone.name), format!("{}/data", bad.name));
    for (root, guest) in [(&on_gone, "subvol-201-disk-0"), (&on_bad, "subvol-301-disk-0")] {
        zfs(&["create", root]);
        zfs(&["create", &format!("{root}/{guest}")]);
    }
    let missing = world.beside("never-made");
    world.policy.datasets = vec![world.source(), missing.clone(), on_gone.clone(), on_bad.clone()];
    let run = world.run_as_planned(DAY_1, &[], 1);
    assert!(run.finds("failed", &format!("{missing} does not exist")), "{run:?}");
    for copied in ["subvol-101-disk-0", "subvol-201-disk-0", "subvol-301-disk-0"] {
        assert_eq!(snapshots(&world.backup(copied)).len(), 1, "{copied}");
    }
    world.policy.datasets.retain(|root| *root != missing);
    gone.export();
    bad.suspend(&on_bad);
    world.write("subvol-101-disk-0", "second", 1);
    let copies = zfs(&["list", "-rH", "-t", "all", "-o", "name,guid", &world.backup_root()]);
    let run = world.run_as_planned(DAY_2, &[], 1);
    assert!(run.finds("failed", &format!("the pool {} is not imported", gone.name)), "{run:?}");
    assert!(run.finds("failed", &format!("the pool {} has suspended all I/O", bad.name)), "{run:?}");
    assert_same_newest(&files, &world.backup("subvol-101-disk-0"));
    let after = zfs(&["list", "-rH", "-t", "all", "-o", "name,guid", &world.backup_root()]);
    assert!(copies.lines().all(|line| after.contains(line)), "{copies}\n{after}");
    // Each `next:` is followed.
    let stderr = world.run_for_a_person(DAY_2, &[]).expect_code(1).stderr;
    assert_says(&stderr, &[&format!("zpool import {}", gone.name), &format!("zpool clear {}", bad.name)]);
    let (code, stdout) = status(&world, DAY_2);
    assert_says(&stdout, &["subvol-101-disk-0", &on_gone, &on_bad, "2 critical"]);
    assert!(code == Some(1) && !stdout.contains("all is well"), "{stdout}");
    gone.import();
    bad.mend();
    world.run_as_planned(DAY_3, &[], 0);
    for copied in ["subvol-201-disk-0", "subvol-301-disk-0"] {
        assert_eq!(snapshots(&world.backup(copied)).len(), 2, "{copied}");
    }
    let (code, stdout) = status(&world, DAY_3);
    assert!(code == Some(0) && stdout.contains("all is well"), "{stdout}");
}

/// Creates and destroys datasets, and renames one to and fro, until it is dropped.
struct Churn {
    cancel: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<u32>>,
}

impl Churn {
    fn new(parents: Vec<String>) -> Self {
        let cancel = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&cancel);
        let work = move || {
            let mut rounds = 0;
            while !is_over.load(Ordering::Relaxed) {
                for parent in &parents {
                    let at = |name: &str| format!("{parent}/{name}-{rounds}");
                    zfs(&["create", "-u", &at("tmp")]);
                    zfs(&["rename", "-u", &at("tmp"), &at("moved")]);
                    // A snapshot of the run, and its bookmark, may be on their way.
                    destroy_in_the_end(&at("moved"));
                }
                rounds += 1;
            }
            rounds
        };
        Self { cancel, thread: Some(thread::spawn(work)) }
    }

    fn end(mut self) -> u32 {
        self.cancel.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

fn destroy_in_the_end(dataset: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !Command::new("zfs").args(["destroy", "-r", dataset]).output().unwrap().status.success() {
        assert!(Instant::now() < deadline, "{dataset} stays busy");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn datasets_that_come_and_go_all_the_time_cost_the_others_nothing() {
    let mut world = World::with_archive("churn");
    let names = ["subvol-101-disk-0", "subvol-102-disk-0", "vm-103-disk-0"];
    for name in names {
        world.filesystem(name, 1);
    }
    for container in [world.guest("scratch"), world.backup_root(), world.archive_root()] {
        zfs(&["create", "-p", &container]);
    }
    world.policy.source = format!("exclude = [{:?}, {:?}]", world.guest("scratch/*"), world.guest("scratch"));
    let churn = Churn::new(vec![world.guest("scratch"), world.backup_root(), world.archive_root()]);
    for (day, name) in ["2026-01-10", "2026-01-11", "2026-01-12", "2026-01-13"].iter().zip(1..) {
        let run = world.run_with(&format!("{day}T03:00:00Z"), &["--archive"]).expect_code(0);
        assert_eq!(run.sends("backup").len(), names.len(), "{run:?}");
        assert_eq!(run.sends("archive").len(), names.len(), "{run:?}");
        for dataset in names {
            assert_eq!(snapshots(&world.backup(dataset)).len(), name, "{dataset}");
        }
    }
    assert!(churn.end() > 4, "it went on all the time");
}
