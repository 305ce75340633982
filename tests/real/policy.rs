//! The main job as a user runs it: the `zhaul` program, a config file, real pools, real ssh to nfs8 and nfs9.

use std::process::{Command, Output};

fn pool(host: &str) -> String {
    std::env::var_os(format!("ZHAUL_LAB_POOL_{host}")).unwrap().into_string().unwrap()
}

fn zfs(arguments: &[&str]) -> String {
    let output = Command::new("zfs").args(arguments).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "zfs {arguments:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

fn names(dataset: &str, kind: &str) -> Vec<String> {
    let listed = zfs(&["list", "-H", "-t", kind, "-o", "name", "-s", "createtxg", "-d", "1", dataset]);
    let short = |line: &str| line.rsplit(['@', '#']).next().unwrap().to_owned();
    listed.lines().map(short).collect()
}

/// One source subtree with a volume, its backup and its archive; destroyed at the end.
struct World {
    config: tempfile::NamedTempFile,
    lock: tempfile::TempDir,
    roots: [String; 3],
}

impl World {
    fn new(name: &str) -> Self {
        let roots = ["PVE0", "NFS8", "NFS9"].map(|host| format!("{}/{name}", pool(host)));
        zfs(&["create", "-o", "mountpoint=none", &roots[0]]);
        zfs(&["create", "-V", "16M", &format!("{}/vm-1", roots[0])]);
        let lock = tempfile::tempdir().unwrap();
        let config = tempfile::NamedTempFile::new().unwrap();
        let world = Self { config, lock, roots };
        let text = format!(
            "lock = \"{}/lock\"\n[source]\ndatasets = [\"{}\"]\nkeep-last = 2\n\
             [[backup]]\nhost = \"nfs8\"\ndataset = \"{}\"\nkeep-last = 3\n\
             [[archive]]\nhost = \"nfs9\"\ndataset = \"{}\"\n",
            world.lock.path().display(),
            world.roots[0],
            world.roots[1],
            world.roots[2],
        );
        std::fs::write(world.config.path(), text).unwrap();
        world
    }

    fn run(&self, at: &str, more: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_zhaul"));
        command.arg("run").arg("--config").arg(self.config.path()).args(["--lab-clock", at]);
        command.args(more).output().unwrap()
    }

    fn run_well(&self, at: &str) {
        let output = self.run(at, &[]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{at}: {stderr}");
        // Renames and destructions beyond the routine are reported, and nothing else.
        let is_report = |line: &str| line.starts_with("changed: ") || line.starts_with("  because ");
        let is_silent = stderr.lines().all(is_report);
        assert!(output.stdout.is_empty() && is_silent, "silent under cron, but: {stderr}");
    }

    fn copy(&self, target: usize) -> String {
        format!("{}/vm-1", self.roots[target])
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for root in &self.roots {
            let _ended = Command::new("zfs").args(["destroy", "-r", root]).output();
        }
    }
}

#[test]
fn months_of_runs_rotate_backup_and_keep_the_archive() {
    let world = World::new("months-rotate");
    for at in ["2026-01-30T01:00:00Z", "2026-01-31T01:00:00Z", "2026-02-01T01:00:00Z", "2026-02-02T01:00:00Z"]
    {
        world.run_well(at);
    }
    assert_eq!(names(&world.copy(0), "snapshot"), ["2026-02-01-010000", "2026-02-02-010000"]);
    assert_eq!(names(&world.copy(0), "bookmark").len(), 4, "a bookmark outlives its snapshot");
    let kept = ["2026-01-31-010000", "2026-02-01-010000", "2026-02-02-010000"];
    assert_eq!(names(&world.copy(1), "snapshot"), kept);
    assert_eq!(names(&world.copy(2), "snapshot"), ["2026-Feb"]);
    let again = world.run("2026-02-02T02:00:00Z", &["--no-snapshot", "--json"]);
    assert!(String::from_utf8_lossy(&again.stdout).contains("\"steps\":[]"), "nothing is left to do");
    let safe = zfs(&["get", "-H", "-o", "value", "readonly,volmode", &world.copy(1)]);
    assert_eq!(safe.split_whitespace().collect::<Vec<_>>(), ["on", "none"]);
}

#[test]
fn an_outage_is_resumed_from_a_bookmark() {
    let world = World::new("outage");
    world.run_well("2026-02-02T01:00:00Z");
    zfs(&["destroy", &format!("{}@2026-02-02-010000", world.copy(0))]);
    let output = world.run("2026-05-20T01:00:00Z", &[]);
    assert_eq!(output.status.code(), Some(0));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("2026-Mar to 2026-Apr"), "the months are reported as lost: {stderr}");
    let guid = |snapshot: &str| zfs(&["get", "-H", "-o", "value", "guid", snapshot]);
    let newest = "2026-05-20-010000";
    let ours = guid(&format!("{}@{newest}", world.copy(0)));
    assert_eq!(guid(&format!("{}@{newest}", world.copy(1))), ours);
    assert_eq!(names(&world.copy(1), "snapshot").len(), 2, "an increment, not a second full line");
}

#[test]
fn foreign_and_held_snapshots_stay() {
    let world = World::new("foreign");
    let volume = world.copy(0);
    for foreign in ["manual", "vzdump", "__replicate_100-0_1700000000__"] {
        zfs(&["snapshot", &format!("{volume}@{foreign}")]);
    }
    world.run_well("2026-02-02T01:00:00Z");
    zfs(&["hold", "keep", &format!("{volume}@2026-02-02-010000")]);
    for day in 3..9 {
        world.run_well(&format!("2026-02-0{day}T01:00:00Z"));
    }
    let left = names(&volume, "snapshot");
    let expected = ["manual", "vzdump", "__replicate_100-0_1700000000__", "2026-02-02-010000"];
    assert_eq!(left[..4], expected);
    assert_eq!(left[4..], ["2026-02-07-010000", "2026-02-08-010000"], "keep-last is exact");
    zfs(&["release", "keep", &format!("{volume}@2026-02-02-010000")]);
}

#[test]
fn a_guest_recreated_under_its_name_supersedes_but_destroys_nothing() {
    let world = World::new("recreated");
    world.run_well("2026-02-02T01:00:00Z");
    zfs(&["destroy", "-r", &world.copy(0)]);
    zfs(&["create", "-V", "16M", &world.copy(0)]);
    let output = world.run("2026-02-03T01:00:00Z", &[]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("set aside") && stderr.contains("@2026-02-02-010000"), "under cron: {stderr}");
    let aside = crate::look::set_aside(&world.copy(1));
    assert_eq!(names(&aside, "snapshot"), ["2026-02-02-010000"]);
    assert_eq!(names(&world.copy(1), "snapshot"), ["2026-02-03-010000"]);
}

#[test]
fn a_dry_run_changes_nothing() {
    let world = World::new("dry");
    let before = zfs(&["list", "-H", "-t", "all", "-o", "name", "-r", &world.roots[0]]);
    let output = world.run("2026-02-02T01:00:00Z", &["--dry-run"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).contains("2026-02-02-010000"));
    assert_eq!(zfs(&["list", "-H", "-t", "all", "-o", "name", "-r", &world.roots[0]]), before);
}
