//! One run of a policy at a time, any number of policies, and no two that would prune each other's snapshots.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::look::{assert_same_newest, exists, signal, snapshots};
use crate::outcome::Run;
use crate::world::{DAY_1, DAY_2, GUEST, World};

/// A policy file of `world` that names no lock, for these datasets, with its backup in a place of its own.
fn policy(world: &World, name: &str, datasets: &[&str]) -> PathBuf {
    let path = world.directory().join(format!("{name}.toml"));
    let backup = world.backup(name);
    let text = format!(
        "timezone = \"UTC\"\n[source]\ndatasets = {datasets:?}\nguest-config = \"\"\n[[backup]]\nhost = \"nfs8\"\ndataset = {backup:?}\n"
    );
    fs::write(&path, text).unwrap();
    path
}

fn command(config: &PathBuf, clock: &str, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zhaul"));
    command.arg("run").arg("--config").arg(config).args(["--lab-clock", clock]).args(more);
    command.stdin(Stdio::null()).env_remove("RUST_LOG");
    command
}

#[test]
fn each_policy_has_a_lock_of_its_own() {
    let world = World::new("own-locks");
    let (a, b) = (world.filesystem("a", 48), world.filesystem("b", 1));
    let slow = policy(&world, "slow", &[&a]);
    let text = fs::read_to_string(&slow).unwrap();
    fs::write(&slow, format!("{text}[transfer]\nrate = \"8MiB\"\n")).unwrap();
    let mut first = command(&slow, DAY_1, &["--quiet"]).spawn().unwrap();
    world.wait_for_receive();
    // However slow this machine is, it does not end before the others have tried.
    let pid = i32::try_from(first.id()).unwrap();
    signal(pid, Signal::STOP);
    // The same policy waits its turn, another one does not.
    let busy = Run::of(command(&slow, DAY_1, &[])).expect_code(4);
    assert!(busy.stderr.contains(&first.id().to_string()) && busy.stderr.contains("--wait"), "{busy:?}");
    Run::of(command(&policy(&world, "other", &[&b]), DAY_1, &[])).expect_code(0);
    assert!(first.try_wait().unwrap().is_none(), "the first run is still active");
    let short = Run::of(command(&slow, DAY_1, &["--wait=1s"])).expect_code(4);
    assert!(short.stderr.contains("another run is active"), "{short:?}");
    signal(pid, Signal::CONT);
    Run::of(command(&slow, DAY_2, &["--wait"])).expect_code(0);
    assert_eq!(first.wait().unwrap().code(), Some(0));
    assert_eq!(snapshots(&a).len(), 2);
}

#[test]
fn policies_that_would_prune_each_others_snapshots_are_refused() {
    let world = World::new("rival-locks");
    let files = world.filesystem(GUEST, 1);
    let (source, copy) = (world.source(), format!("{}/{GUEST}", world.backup("first")));
    Run::of(command(&policy(&world, "first", &[&source]), DAY_1, &[])).expect_code(0);
    let second = policy(&world, "second", &[&files]);
    let refused = Run::of(command(&second, DAY_2, &[])).expect_code(2);
    assert!(refused.stderr.contains("first.toml") && refused.stderr.contains(&files), "{refused:?}");
    assert_eq!(snapshots(&files).len(), 1, "nothing was done");
    assert!(!exists(&world.backup("second")));
    // The advice of the message: another name for its snapshots. And the policy that was there first continues.
    let text = fs::read_to_string(&second).unwrap();
    fs::write(&second, format!("name = \"hourly-%Y%m%d%H%M%S\"\n{text}")).unwrap();
    Run::of(command(&second, DAY_2, &[])).expect_code(0);
    Run::of(command(&world.directory().join("first.toml"), DAY_2, &[])).expect_code(0);
    assert_same_newest(&files, &copy);
}

#[test]
fn no_other_user_can_stop_a_run() {
    let world = World::new("planted-locks");
    let config = policy(&world, "planted", &[&world.filesystem(GUEST, 1)]);
    Run::of(command(&config, DAY_1, &[])).expect_code(0);
    assert_eq!(fs::metadata("/run/zhaul").unwrap().permissions().mode() & 0o777, 0o700);
    // As on any Debian host; the lab makes the directory itself.
    fs::set_permissions("/run/lock", fs::Permissions::from_mode(0o1777)).unwrap();
    for name in ["/run/zhaul/x.lock", "/run/lock/zhaul.lock"] {
        let touched = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "touch", name])
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert_eq!(touched.success(), !name.starts_with("/run/zhaul"), "{name}");
    }
    assert!(!PathBuf::from("/run/zhaul/x.lock").exists());
    Run::of(command(&config, DAY_2, &[])).expect_code(0);
}
