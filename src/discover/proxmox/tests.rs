//! Directories as `pmxcfs` shows them, and as it should not.

use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use super::*;

struct Pve(tempfile::TempDir);

impl Pve {
    fn new(files: &[(&str, &str)]) -> Self {
        let pve = Self(tempfile::tempdir().unwrap());
        for (path, text) in files {
            pve.write(path, text);
        }
        pve
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self) -> Proxmox {
        read(self.0.path())
    }

    fn doubt(&self) -> String {
        match self.read().state {
            ProxmoxState::InDoubt(why) => why,
            state @ (ProxmoxState::Absent | ProxmoxState::Whole) => panic!("{state:?}"),
        }
    }
}

const DISK: &str = "scsi0: local-zfs:vm-100-disk-0\n";
const STORAGE: &str = "zfspool: local-zfs\n\tpool rpool/data\n";

fn ids(known: &Proxmox) -> Vec<u32> {
    known.guests.iter().map(|guest| guest.id.0).collect()
}

#[test]
fn a_cluster_as_it_should_be() {
    let pve = Pve::new(&[
        ("storage.cfg", STORAGE),
        ("nodes/pve7/qemu-server/100.conf", DISK),
        ("nodes/pve7/qemu-server/100.conf.tmp.123", DISK),
        ("nodes/pve7/qemu-server/0101.conf", DISK),
        ("nodes/pve7/qemu-server/x.conf", DISK),
        ("nodes/pve7/lxc/99.conf", "rootfs: local-zfs:subvol-99-disk-0\n"),
        ("nodes/pve8/qemu-server/200.conf", DISK),
        ("nodes/pve8/lxc/201.conf", DISK),
        (
            ".members",
            r#"{"nodename": "pve7", "version": 3, "cluster": {"name": "c", "nodes": 2, "quorate": 1}, "nodelist": {"pve7": {"id": 1, "online": 1}, "pve8": {"id": 2, "online": 0}}}"#,
        ),
        (
            ".vmlist",
            r#"{"version": 1, "ids": {"100": {"node": "pve7", "type": "qemu"}, "202": {"node": "pve9"}}}"#,
        ),
    ]);
    symlink("nodes/pve7/qemu-server", pve.path("qemu-server")).unwrap();
    symlink("nodes/pve7/lxc", pve.path("lxc")).unwrap();
    symlink("nodes/pve7", pve.path("local")).unwrap();
    let known = pve.read();
    assert_eq!(known.state, ProxmoxState::Whole);
    assert!(known.nodes.iter().eq(["pve7", "pve8"]) && known.disputed.is_empty());
    assert_eq!(ids(&known), [99, 100]);
    assert_eq!(known.dataset_of("local-zfs", "vm-100-disk-0").unwrap().as_str(), "rpool/data/vm-100-disk-0");
    let elsewhere: Vec<_> = known.elsewhere.iter().map(|(id, node)| format!("{id} {node}")).collect();
    assert_eq!(elsewhere, ["200 pve8", "201 pve8", "202 pve9"]);
    assert!(known.unreadable.is_empty());
}

#[test]
fn guest_files_alone_are_enough() {
    let pve = Pve::new(&[("lxc/101.conf", "rootfs: z:subvol-101-disk-0\n")]);
    let known = pve.read();
    assert_eq!((known.state.clone(), ids(&known), known.storages), (ProxmoxState::Whole, vec![101], None));
}

#[test]
fn nothing_there_is_no_proxmox_only_in_the_usual_place() {
    if !Path::new(MOUNT_POINT).exists() && !Path::new(DATABASE).exists() {
        assert_eq!(read(Path::new(MOUNT_POINT)), Proxmox::default());
    }
    assert!(matches!(read(Path::new("/nowhere/pve")).state, ProxmoxState::InDoubt(_)));
}

#[test]
fn what_is_not_whole_is_in_doubt_and_says_what() {
    assert!(Pve::new(&[]).doubt().contains("neither qemu-server nor lxc"));
    assert!(Pve::new(&[("storage.cfg", STORAGE)]).doubt().contains("neither"));
    let guest = ("qemu-server/100.conf", DISK);
    for (name, text, why) in [
        ("storage.cfg", "", "is empty"),
        ("storage.cfg", "\u{0}\u{0}", "no text"),
        (".members", "", "is empty"),
        (".members", "{", "understood"),
        (".members", r#"{"nodename": "a", "cluster": {"quorate": 0}}"#, "not quorate"),
        (".members", r#"{"nodename": "a", "cluster": {}}"#, "not quorate"),
        (".vmlist", "[]", "no list"),
        (".vmlist", r#"{"ids": {"100": 7}}"#, "understood"),
        (".vmlist", r#"{"ids": {"0100": {"node": "x"}}}"#, "understood"),
        ("nodes", "a file", "nodes cannot be read"),
        ("lxc", "a file", "lxc cannot be read"),
    ] {
        let doubt = Pve::new(&[guest, (name, text)]).doubt();
        assert!(
            doubt.contains(why) && doubt.contains(name.trim_start_matches('.')) | doubt.contains("cluster"),
            "{name}: {doubt}"
        );
    }
    let pve = Pve::new(&[guest]);
    symlink("nodes/gone/lxc", pve.path("lxc")).unwrap();
    assert!(pve.doubt().contains("lxc points to nothing"));
    let pve = Pve::new(&[guest]);
    fs::create_dir(pve.path("storage.cfg")).unwrap();
    assert!(pve.doubt().contains("is a directory"));
    let pve = Pve::new(&[]);
    symlink("nowhere", pve.path("link")).unwrap();
    for path in [pve.path("link"), {
        pve.write("file", "x");
        pve.path("file")
    }] {
        assert!(matches!(read(&path).state, ProxmoxState::InDoubt(_)), "{}", path.display());
    }
}

#[test]
fn a_file_that_cannot_be_read_concerns_its_guest_alone() {
    let big = "#".repeat((1 << 20) + 1);
    let pve = Pve::new(&[
        ("qemu-server/100.conf", DISK),
        ("qemu-server/101.conf", ""),
        ("qemu-server/102.conf", "\u{0}\u{0}"),
        ("qemu-server/103.conf", &big),
        ("nodes/pve1/lxc/104.conf", DISK),
        (".vmlist", r#"{"ids": {"107": {"node": "pve0"}, "100": {"node": "pve1"}}}"#),
    ]);
    fs::create_dir(pve.path("qemu-server/104.conf")).unwrap();
    symlink("nowhere", pve.path("qemu-server/105.conf")).unwrap();
    symlink("nodes/pve0", pve.path("local")).unwrap();
    let fifo = pve.path("qemu-server/106.conf");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let started = Instant::now();
    let known = pve.read();
    assert!(started.elapsed() < Duration::from_secs(5), "a FIFO blocks no reader");
    assert_eq!((known.state.clone(), ids(&known)), (ProxmoxState::Whole, vec![100]));
    let unreadable: Vec<u32> = known.unreadable.keys().map(|id| id.0).collect();
    assert_eq!(unreadable, [101, 102, 103, 104, 105, 106, 107], "{known:?}");
    for (id, why) in
        [(101, "is empty"), (103, "larger than 1 MiB"), (104, "is a directory"), (107, ".vmlist")]
    {
        assert!(known.unreadable[&GuestId(id)].contains(why), "{known:?}");
    }
    assert!(known.elsewhere.is_empty(), "a guest file on this node counts");
    assert!(
        known.disputed.contains(&GuestId(100)) && known.nodes.is_empty(),
        "though not all agree: {known:?}"
    );
}
