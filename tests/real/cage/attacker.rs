//! Somebody who holds the key, and speaks through zhaul's own code.

use std::fs;
use std::io::Read;
use std::process::Command;

use zhaul::channel::Ssh;
use zhaul::host::agent::Framing;
use zhaul::host::{Machine, ReceiveInput, ReceiveSpec, Remote, TargetHost};
use zhaul::model::{
    AgentUse, ByteCount, Change, Channel, Compression, CopyEncryption, DatasetKind, DatasetName, Guid, Link,
    PointName, SetAside, SetAsideCause, SnapshotId, SnapshotName, Writer,
};
use zhaul::stream::framed::{FramedSender, workers};
use zhaul::stream::meter::Meters;
use zhaul::stream::pump::PumpSettings;
use zhaul::stream::{Cancel, Plain};

use crate::agent::key;
use crate::look;
use crate::pool::{property, zfs};
use crate::world::{DAY_1, DISK, GUEST, World};

pub(super) const NEWEST: &str = "2026-01-10-030000";

/// Somebody who has got hold of a caged key.
pub(super) struct Attacker {
    pub(super) world: World,
    pub(super) remote: Remote,
    pub(super) cancel: Cancel,
}

impl Attacker {
    /// A world with one good run behind it, and the key that it ran with.
    pub(super) fn new(name: &str, more: &str) -> Self {
        Self::behind(name, |world| {
            key(world, &format!("--root {} --append-only {more}", world.backup_root()))
        })
    }

    /// The same with a key that `key` makes.
    pub(super) fn behind(name: &str, key: impl FnOnce(&World) -> String) -> Self {
        let mut world = World::new(name);
        world.policy.backup = key(&world);
        world.filesystem(GUEST, 1);
        world.volume(DISK, 1);
        world.run(DAY_1);
        let cancel = Cancel::new().unwrap();
        let ssh = Ssh {
            host: "nfs8".to_owned(),
            user: None,
            port: None,
            config: Some(world.directory().join("ssh_config")),
        };
        let link = Link {
            agent: AgentUse::Require,
            channel: Channel::Ssh,
            compression: Compression::Off,
            ..Link::default()
        };
        let framing = Framing { link, buffer: ByteCount(1 << 30), stall_limit: None };
        let remote = Remote::new("nfs8", Machine::Ssh(ssh), framing, &cancel);
        Self { world, remote, cancel }
    }

    /// Everything that an attack could change: each dataset and point, each property that is not inherited, and what is
    /// mounted.
    pub(super) fn house(&self) -> String {
        let base = self.world.backup_root().rsplit_once('/').unwrap().0.to_owned();
        let all = zfs(&["list", "-rHp", "-t", "all", "-o", "name,guid,type", &base]);
        let set = zfs(&["get", "-rHp", "-s", "local,received", "-o", "all", "all", &base]);
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let mounts: Vec<&str> = mounts.lines().filter(|line| line.contains(&base)).collect();
        format!("{all}\n{set}\n{}", mounts.join("\n"))
    }

    pub(super) fn inside(&self, name: &str) -> DatasetName {
        DatasetName::new(&self.world.backup(name)).unwrap()
    }

    pub(super) fn outside(&self) -> DatasetName {
        DatasetName::new(&format!("{}-other/x", self.world.backup_root())).unwrap()
    }

    pub(super) fn spec(&self, target: &str) -> ReceiveSpec {
        ReceiveSpec {
            snapshot: SnapshotName::parse(&self.world.backup(target)).unwrap(),
            origin: None,
            heals: false,
            creates_dataset: false,
            kind: DatasetKind::Filesystem,
            copy_encryption: CopyEncryption::AsSent,
            to: None,
            from: None,
            writer: None,
        }
    }

    /// Sends these bytes as a stream; why the agent did not take them.
    pub(super) fn push(&self, spec: &ReceiveSpec, bytes: &[u8]) -> Result<(), String> {
        self.push_from(spec, bytes)
    }

    /// The same from anything that can be read.
    pub(super) fn push_from(&self, spec: &ReceiveSpec, from: impl Read + Send) -> Result<(), String> {
        let chain = |error: zhaul::host::HostError| error.chain();
        let mut incoming = self.remote.receive(spec).map_err(chain)?;
        let meters = Meters::new(incoming.places(), workers());
        let cancel = self.cancel.child().unwrap();
        let ReceiveInput::Framed { connections, stream, compression } =
            incoming.inlet(&cancel, &meters).map_err(chain)?
        else {
            panic!("an agent takes frames");
        };
        let settings = PumpSettings { buffer_bytes: 8 << 20, rate: None, stall_limit: None };
        let sender = FramedSender { settings, compression, stream, meters, cancel, samples: None };
        match sender.run(Plain(from), connections) {
            Ok(_) => incoming.finish().map_err(chain),
            Err(error) => Err(incoming.abort().map_or_else(|| error.to_string(), chain)),
        }
    }

    pub(super) fn change(&self, change: &Change) -> Result<(), String> {
        self.remote.change(change).map(|changed| assert!(changed.refusals.is_empty())).map_err(|e| e.chain())
    }

    /// A container of that name.
    pub(super) fn make(&self, name: &str) {
        self.change(&Change::CreateContainer { dataset: dataset(name), is_plain: false }).unwrap();
    }

    /// An attack that must fail, with words in its error, and change nothing.
    pub(super) fn fails(&self, what: &str, words: &str, attack: impl FnOnce(&Self) -> Result<(), String>) {
        let before = self.house();
        let error = attack(self).expect_err(what);
        assert!(error.contains(words), "{what}: {error}");
        assert_eq!(before, self.house(), "{what}: {error}");
    }
}

/// What `zfs send` makes.
pub(super) fn stream(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("zfs").arg("send").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    output.stdout
}

/// A file system with all that a copy must never get, with snapshots @1, @2 and @3 on top of what the copy has.
pub(super) fn evil(attacker: &Attacker) -> String {
    let evil = attacker.world.guest(GUEST);
    let settings = ["mountpoint=/opt/owned", "setuid=on", "snapdir=visible", "quota=1G", "exec=on"];
    for setting in settings {
        zfs(&["set", setting, &evil]);
    }
    zfs(&["set", "org.openzfs.systemd:required-by=ssh.service", &evil]);
    for name in ["1", "2", "3"] {
        look::write_file(&evil, name, 1);
        zfs(&["snapshot", &format!("{evil}@{name}")]);
    }
    evil
}

pub(super) fn guid(name: &str) -> Guid {
    Guid(property("guid", name).parse().unwrap())
}

pub(super) fn point(name: &str) -> PointName {
    PointName::new(name).unwrap()
}

pub(super) fn dataset(name: &str) -> DatasetName {
    DatasetName::new(name).unwrap()
}

pub(super) fn writer() -> Writer {
    Writer { guid: Guid(1), label: "evil:x".to_owned() }
}

/// Sets aside what is there now.
pub(super) fn away(name: &str, base: Option<&str>) -> Change {
    let base = base.map(|base| SnapshotId { name: point(base), guid: guid(&format!("{name}@{base}")) });
    let cause = SetAsideCause::Diverged;
    Change::SetAside(SetAside { dataset: dataset(name), guid: guid(name), base, cause, writer: writer() })
}
