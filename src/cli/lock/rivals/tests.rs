//! Policies that would prune each other's snapshots.

use super::*;

fn policy(datasets: &str, more: &str) -> Policy {
    let text = format!(
        "{more}\n[source]\ndatasets = [{datasets}]\n[[backup]]\nhost = \"nfs8\"\ndataset = \"tank/b\"\n"
    );
    Policy::parse(&text, "a.toml").unwrap()
}

#[test]
fn policies_that_would_prune_each_others_snapshots_are_found() {
    let a = policy("\"rpool/data\"", "");
    let shares = |b: &Policy| shared(&a, b).map(|dataset| dataset.to_string());
    assert_eq!(shares(&policy("\"rpool/data\"", "")).unwrap(), "rpool/data");
    assert_eq!(shares(&policy("\"rpool/data/vm-100-disk-0\"", "")).unwrap(), "rpool/data/vm-100-disk-0");
    assert_eq!(shares(&policy("\"rpool\"", "")).unwrap(), "rpool/data");
    assert_eq!(shares(&policy("\"rpool/data2\", \"tank\"", "")), None);
    let other_name = "name = \"hourly-%Y%m%d%H%M%S\"";
    assert_eq!(shares(&policy("\"rpool/data\"", other_name)), None);
    let mut without = policy("\"rpool\"", "");
    without.exclude = vec![crate::policy::Pattern::new("rpool/data").unwrap()];
    assert_eq!(shares(&without), None);
}

#[test]
fn a_rival_counts_as_long_as_its_file_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let locks = Directory::open_at(directory.path().join("zhaul")).unwrap();
    let file = directory.path().join("b.toml");
    let text = "[source]\ndatasets = [\"rpool/data/x\"]\n[[backup]]\nhost = \"nfs8\"\ndataset = \"tank/c\"\n";
    std::fs::write(&file, text).unwrap();
    let rival = Policy::parse(text, "b.toml").unwrap();
    let note = Note::new(&rival, Some(&file));
    std::fs::write(locks.file_of(&note), note.text().unwrap()).unwrap();
    let ours = policy("\"rpool/data\"", "");
    let own = locks.file_of(&Note::new(&ours, None));
    let error = check(&locks, &own, &ours).unwrap_err().to_string();
    assert!(error.contains("b.toml") && error.contains("rpool/data/x"), "{error}");
    std::fs::remove_file(&file).unwrap();
    check(&locks, &own, &ours).unwrap();
}

#[test]
fn a_directory_that_others_can_write_to_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zhaul");
    drop(Directory::open_at(path.clone()).unwrap());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
    let error = Directory::open_at(path.clone()).unwrap_err().to_string();
    assert!(error.contains("other users may write"), "{error}");
    std::fs::remove_dir(&path).unwrap();
    std::os::unix::fs::symlink("/tmp", &path).unwrap();
    assert!(Directory::open_at(path).is_err(), "no symbolic link is followed");
}
