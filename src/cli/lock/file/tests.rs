//! A lock file is taken once, and only where no other user could have planted it.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use super::*;

fn note() -> Note {
    Note { pid: std::process::id(), policy: None, example: String::new(), datasets: Vec::new() }
}

/// Takes a lock that no process holds any more. Between fork(2) and execve(2) a child of another test has our
/// descriptors, and so for a moment the lock.
fn take_free(path: &Path) -> Lock {
    for _ in 0..1_000 {
        match Lock::take(path, &note()) {
            Err(LockError::Held { .. }) => std::thread::sleep(std::time::Duration::from_millis(5)),
            other => return other.unwrap(),
        }
    }
    panic!("{} stays locked", path.display());
}

#[test]
fn a_second_run_names_the_pid_of_the_first() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lock");
    let first = Lock::take(&path, &note()).unwrap();
    let error = Lock::take(&path, &note()).unwrap_err();
    assert!(matches!(error, LockError::Held { pid: Some(pid), .. } if pid == std::process::id()), "{error}");
    drop(first);
    drop(take_free(&path));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn the_lock_dies_with_its_holder_and_is_not_inherited() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lock");
    let lock = Lock::take(&path, &note()).unwrap();
    // A child that outlives the lock, as an ssh master does.
    let mut child = Command::new("sleep").arg("30").spawn().unwrap();
    drop(lock);
    drop(take_free(&path));
    assert!(child.try_wait().unwrap().is_none(), "the child still lives");
    child.kill().unwrap();
    child.wait().unwrap();
    // Another process holds it and is killed.
    let mut holder = Command::new("flock").arg("-F").arg(&path).args(["sleep", "30"]).spawn().unwrap();
    while Lock::take(&path, &note()).is_ok() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    holder.kill().unwrap();
    holder.wait().unwrap();
    drop(take_free(&path));
}

#[test]
fn planted_files_are_refused_and_untouched() {
    let directory = tempfile::tempdir().unwrap();
    let victim = directory.path().join("victim");
    std::fs::write(&victim, "precious").unwrap();
    let path = directory.path().join("lock");

    symlink(&victim, &path).unwrap();
    assert!(Lock::take(&path, &note()).unwrap_err().to_string().contains("symbolic link"));
    std::fs::remove_file(&path).unwrap();

    std::fs::hard_link(&victim, &path).unwrap();
    assert!(Lock::take(&path, &note()).unwrap_err().to_string().contains("hard links"));
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");

    let error = Lock::take(directory.path(), &note()).unwrap_err();
    assert!(matches!(error, LockError::Io { .. } | LockError::Unsafe { .. }), "{error}");
}

#[test]
fn a_strangers_file_in_a_world_writable_directory_is_refused() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not shown: needs root to make a file of somebody else");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let path = directory.path().join("lock");
    std::fs::write(&path, "").unwrap();
    drop(take_free(&path));
    std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
    assert!(Lock::take(&path, &note()).unwrap_err().to_string().contains("another user"));
}

#[test]
fn a_missing_directory_is_named() {
    let error = Lock::take(Path::new("/nonexistent/zhaul.lock"), &note()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot open the lock file /nonexistent/zhaul.lock; next: create its directory, or set 'lock' in the policy"
    );
}
