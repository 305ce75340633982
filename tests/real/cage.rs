//! Attacks by somebody who holds a caged key (`zhaul agent --root R --append-only`) and speaks the agent's protocol: whatever
//! is tried, the target's datasets, properties and mounts stay byte for byte as they were.

use std::fs;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use zhaul::channel::Ssh;
use zhaul::host::agent::Framing;
use zhaul::host::{Machine, ReceiveInput, ReceiveSpec, Remote, TargetHost};
use zhaul::model::{
    AgentUse, ByteCount, Change, Channel, Compression, CopyEncryption, DatasetKind, DatasetName, Guid, Link,
    Month, PointName, SetAside, SetAsideCause, SnapshotId, SnapshotName, Writer,
};
use zhaul::stream::framed::{FramedSender, workers};
use zhaul::stream::meter::Meters;
use zhaul::stream::pump::PumpSettings;
use zhaul::stream::{Cancel, Plain};

use crate::agent::key;
use crate::look::{self, guids};
use crate::pool::{property, zfs};
use crate::world::{DAY_1, DAY_2, DISK, GUEST, World};

const NEWEST: &str = "2026-01-10-030000";

/// Somebody who has got hold of a caged key.
struct Attacker {
    world: World,
    remote: Remote,
    cancel: Cancel,
}

impl Attacker {
    /// A world with one good run behind it, and the key that it ran with.
    fn new(name: &str, more: &str) -> Self {
        let mut world = World::new(name);
        let root = world.backup_root();
        world.policy.backup = key(&world, &format!("--root {root} --append-only {more}"));
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
    fn house(&self) -> String {
        let base = self.world.backup_root().rsplit_once('/').unwrap().0.to_owned();
        let all = zfs(&["list", "-rHp", "-t", "all", "-o", "name,guid,type", &base]);
        let set = zfs(&["get", "-rHp", "-s", "local,received", "-o", "all", "all", &base]);
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let mounts: Vec<&str> = mounts.lines().filter(|line| line.contains(&base)).collect();
        format!("{all}\n{set}\n{}", mounts.join("\n"))
    }

    fn inside(&self, name: &str) -> DatasetName {
        DatasetName::new(&self.world.backup(name)).unwrap()
    }

    fn outside(&self) -> DatasetName {
        DatasetName::new(&format!("{}-other/x", self.world.backup_root())).unwrap()
    }

    fn spec(&self, target: &str) -> ReceiveSpec {
        ReceiveSpec {
            snapshot: SnapshotName::parse(&self.world.backup(target)).unwrap(),
            origin: None,
            creates_dataset: false,
            kind: DatasetKind::Filesystem,
            copy_encryption: CopyEncryption::AsSent,
            to: None,
            from: None,
            writer: None,
        }
    }

    /// Sends these bytes as a stream; why the agent did not take them.
    fn push(&self, spec: &ReceiveSpec, bytes: &[u8]) -> Result<(), String> {
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
        match sender.run(Plain(bytes), connections) {
            Ok(_) => incoming.finish().map_err(chain),
            Err(error) => Err(incoming.abort().map_or_else(|| error.to_string(), chain)),
        }
    }

    fn change(&self, change: &Change) -> Result<(), String> {
        self.remote.change(change).map(|changed| assert!(changed.refusals.is_empty())).map_err(|e| e.chain())
    }

    /// An attack that must fail, with words in its error, and change nothing.
    fn fails(&self, what: &str, words: &str, attack: impl FnOnce(&Self) -> Result<(), String>) {
        let before = self.house();
        let error = attack(self).expect_err(what);
        assert!(error.contains(words), "{what}: {error}");
        assert_eq!(before, self.house(), "{what}: {error}");
    }
}

/// What `zfs send` makes.
fn stream(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("zfs").arg("send").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    output.stdout
}

/// A file system with all that a copy must never get, with snapshots @1, @2 and @3 on top of what the copy has.
fn evil(attacker: &Attacker) -> String {
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

fn guid(name: &str) -> Guid {
    Guid(property("guid", name).parse().unwrap())
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table: one row for each attack")]
fn only_plain_streams_that_are_what_was_announced_reach_zfs_receive() {
    let attacker = Attacker::new("cage-streams", "");
    let evil = evil(&attacker);
    let at = |name: &str| format!("{evil}@{name}");
    let disk = format!("{}@{NEWEST}", attacker.world.guest(DISK));
    let old = at(NEWEST);
    let from = Some(guid(&old));
    let fresh = attacker.spec("fresh@1");
    let increment = ReceiveSpec { from, ..attacker.spec(&format!("{GUEST}@1")) };
    let volume = |spec: &ReceiveSpec| ReceiveSpec { kind: DatasetKind::Volume, ..spec.clone() };
    let properties = "carries properties or several snapshots";
    let full = stream(&[&at("1")]);
    let clone = format!("{evil}-clone");
    zfs(&["clone", &at("1"), &clone]);
    zfs(&["snapshot", &format!("{clone}@c")]);
    let swapped: Vec<u8> = full.chunks(8).flat_map(|word| word.iter().rev().copied()).collect();
    let mut typed = full.clone();
    typed[32] = 3;
    let mut headed = stream(&["-p", &at("1")]);
    headed[16] = 1;
    let beside = |mut spec: ReceiveSpec| {
        spec.snapshot = SnapshotName::parse(&format!("{}@1", attacker.outside())).unwrap();
        spec
    };
    let cloned = ReceiveSpec { origin: Some(SnapshotName::parse(&old).unwrap()), ..fresh.clone() };
    let inside_clone = SnapshotName::parse(&format!("{}@{NEWEST}", attacker.inside(GUEST))).unwrap();
    let named = |label: &str| Some(Writer { guid: Guid(1), label: label.to_owned() });
    let attacks: Vec<(&str, &str, ReceiveSpec, Vec<u8>)> = vec![
        ("-p of a new name", properties, fresh.clone(), stream(&["-p", &at("1")])),
        ("-p into a copy", properties, increment.clone(), stream(&["-p", "-i", &old, &at("1")])),
        ("-R", properties, fresh.clone(), stream(&["-R", &at("1")])),
        ("-I", properties, increment.clone(), stream(&["-I", &old, &at("3")])),
        ("-b", properties, fresh.clone(), stream(&["-b", &at("1")])),
        ("a volume as a file system", "it is of a volume", attacker.spec("fresh@1"), stream(&[&disk])),
        ("a file system as a volume", "it is of a file system", volume(&fresh), full.clone()),
        ("a type that was changed", "it is of a volume", fresh.clone(), typed),
        ("a list that says it is none", "neither", fresh.clone(), headed),
        (
            "a clone",
            "it makes a clone",
            ReceiveSpec { from: Some(guid(&at("1"))), ..attacker.spec("fresh@c") },
            stream(&["-i", &at("1"), &format!("{clone}@c")]),
        ),
        ("an origin outside", "makes no clones", cloned, full.clone()),
        (
            "an origin inside",
            "makes no clones",
            ReceiveSpec { origin: Some(inside_clone), ..fresh.clone() },
            full.clone(),
        ),
        (
            "another snapshot than announced",
            "was announced",
            ReceiveSpec { to: Some(Guid(7)), ..fresh.clone() },
            full.clone(),
        ),
        (
            "another base than announced",
            "was announced",
            ReceiveSpec { from: Some(Guid(7)), ..increment.clone() },
            stream(&["-i", &old, &at("1")]),
        ),
        ("an increment as a full stream", "was announced", fresh.clone(), stream(&["-i", &old, &at("1")])),
        ("nonsense", "does not begin as a stream", fresh.clone(), vec![0x5a; 1 << 16]),
        ("another byte order", "does not begin as a stream", fresh.clone(), swapped),
        ("nothing", "before its end record", fresh.clone(), Vec::new()),
        ("less than a record", "before its end record", fresh.clone(), full[..311].to_vec()),
        ("a full stream over a copy", "exist", attacker.spec(&format!("{GUEST}@1")), full.clone()),
        ("outside of the root", "--root", beside(fresh.clone()), full.clone()),
        (
            "a line break in the writer",
            "cannot be an argument",
            ReceiveSpec { writer: named("x\n-F\ntank8@x"), ..fresh.clone() },
            full.clone(),
        ),
        (
            "a month that has not begun",
            "no month before it has begun",
            attacker.spec(&format!("fresh@{}", next_month())),
            full.clone(),
        ),
    ];
    for (what, words, spec, bytes) in attacks {
        attacker.fails(what, words, |attacker| attacker.push(&spec, &bytes));
    }
    zfs(&["destroy", "-r", &clone]);
}

/// A month that has begun nowhere.
fn next_month() -> Month {
    Month::of(jiff::Timestamp::now(), &jiff::tz::TimeZone::UTC).next().next()
}

#[test]
fn what_a_caller_may_send_is_a_safe_copy_whatever_is_said_of_it() {
    let mut attacker = Attacker::new("cage-safe", "");
    let evil = evil(&attacker);
    // Other tests mount theirs at the same time.
    let root = attacker.world.backup_root();
    let mounts = || {
        let all = fs::read_to_string("/proc/self/mounts").unwrap();
        all.lines().filter(|line| line.starts_with(&root)).map(str::to_owned).collect::<Vec<_>>()
    };
    let before = mounts();
    // It says that the copies exist, so that they would get no properties.
    attacker.push(&attacker.spec("fresh@1"), &stream(&[&format!("{evil}@1")])).unwrap();
    let disk = format!("{}@{NEWEST}", attacker.world.guest(DISK));
    let volume = ReceiveSpec { kind: DatasetKind::Volume, ..attacker.spec("fresh-disk@1") };
    attacker.push(&volume, &stream(&[&disk])).unwrap();
    let (files, disk) = (attacker.world.backup("fresh"), attacker.world.backup("fresh-disk"));
    assert_eq!((property("readonly", &files), property("canmount", &files)), ("on".into(), "noauto".into()));
    assert_eq!((property("readonly", &disk), property("volmode", &disk)), ("on".into(), "none".into()));
    assert_ne!(property("mountpoint", &files), "/opt/owned");
    assert_eq!((property("quota", &files), property("snapdir", &files)), ("0".into(), "hidden".into()));
    assert_eq!(zfs(&["get", "-rH", "-s", "received", "all", &attacker.world.backup_root()]), "");
    // And an increment, which says that it makes the copy.
    let increment = ReceiveSpec {
        from: Some(guid(&format!("{evil}@1"))),
        creates_dataset: true,
        ..attacker.spec("fresh@2")
    };
    let set = || zfs(&["get", "-H", "-s", "local,received", "-o", "property,value", "all", &files]);
    let settings = set();
    attacker.push(&increment, &stream(&["-i", &format!("{evil}@1"), &format!("{evil}@2")])).unwrap();
    assert_eq!(settings, set());
    assert_eq!(before, mounts());
    let canmount = zfs(&["get", "-rH", "-t", "filesystem", "-o", "value", "canmount", &root]);
    assert!(canmount.lines().all(|value| value != "on"), "zfs mount -a mounts no copy: {canmount}");
    attacker.world.run(DAY_2);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table: one row for each attack")]
fn an_append_only_key_changes_nothing_but_what_it_must() {
    let attacker = Attacker::new("cage-changes", "");
    let (files, outside) = (attacker.inside(GUEST), attacker.outside());
    let copy = files.as_str().to_owned();
    // Two months of an archive.
    for month in ["2026-Feb", "2026-Apr"] {
        zfs(&["snapshot", &format!("{copy}@{month}")]);
    }
    let of = |name: &str| guid(&format!("{copy}@{name}"));
    let point = |name: &str| PointName::new(name).unwrap();
    let own = guid(&copy);
    let rename = |from: &str, to: &str| Change::RenameSnapshot {
        dataset: files.clone(),
        from: point(from),
        guid: of(from),
        to: point(to),
    };
    let away = |to: String| Change::RenameDataset {
        from: files.clone(),
        guid: own,
        to: DatasetName::new(&to).unwrap(),
    };
    let all = vec![(point(NEWEST), of(NEWEST))];
    let writer = || Writer { guid: Guid(1), label: "evil:x".to_owned() };
    let aside = |dataset: &DatasetName, base: Option<SnapshotId>| {
        let cause = SetAsideCause::Diverged;
        Change::SetAside(SetAside { dataset: dataset.clone(), guid: own, base, cause, writer: writer() })
    };
    let append = "--append-only";
    let store = |name: &str, value: &str| Change::StoreConfig {
        dataset: files.clone(),
        snapshot: point(NEWEST),
        guid: of(NEWEST),
        properties: [(name.to_owned(), value.to_owned())].into(),
    };
    let attacks: Vec<(&str, &str, Change)> = vec![
        ("destroy", append, Change::DestroySnapshots { dataset: files.clone(), snapshots: all.clone() }),
        ("destroy all", append, Change::DestroyDataset { dataset: files.clone(), guid: own, snapshots: all }),
        (
            "roll back",
            append,
            Change::Rollback { dataset: files.clone(), to: point(NEWEST), guid: of(NEWEST) },
        ),
        ("rename a copy", append, away(attacker.world.backup("gone"))),
        ("an expired name", append, away(format!("{copy}.superseded-2000-01-01-000000"))),
        ("swap months", append, rename("2026-Feb", "2026-Aug")),
        ("a month with more", append, rename("2026-Feb", "2026-Feb-zzz")),
        ("back to a date", append, rename("2026-Feb", "2020-01-01-000000")),
        ("another month than its date's", append, rename(NEWEST, "2026-Mar")),
        ("a date that has expired", append, rename(NEWEST, "2000-01-01-000000")),
        (
            "the root",
            "does not rename its root",
            aside(&DatasetName::new(&attacker.world.backup_root()).unwrap(), None),
        ),
        ("a base that is none", "it does not exist", {
            aside(&files, Some(SnapshotId { name: point("nowhere"), guid: Guid(5) }))
        }),
        ("outside: set aside", "--root", aside(&outside, None)),
        ("outside: claim", "--root", Change::Claim { dataset: outside.clone(), guid: own, writer: writer() }),
        ("outside: create", "--root", Change::CreateContainer { dataset: outside.clone(), is_plain: false }),
        ("outside: abort", "--root", Change::AbortReceive { dataset: outside, token: "1-x".to_owned() }),
        ("a property of a dataset", "not the properties of a guest", store("mountpoint", "/")),
        ("a mark", "not the properties of a guest", store("zhaul:set-aside", "{}")),
        ("a line break in a property", "not the properties of a guest", store("zhaul:guest", "a\nb")),
        (
            "a line break in a claim",
            "cannot be an argument",
            Change::Claim {
                dataset: files.clone(),
                guid: own,
                writer: Writer { guid: Guid(1), label: "x\ntank8".to_owned() },
            },
        ),
    ];
    for (what, words, change) in attacks {
        attacker.fails(what, words, |attacker| attacker.change(&change));
    }
    let below = |name: &str| DatasetName::new(name).unwrap();
    for root in ["tank8", "rpool", &attacker.world.backup_root().replace("/pve0", "")] {
        attacker.fails("list outside", "--root", |attacker| {
            attacker.remote.list(&below(root)).map(drop).map_err(|error| error.chain())
        });
    }
    // Set aside once, and then not again, from whatever base.
    let before = guids(&copy);
    let base = |name: &str| Some(SnapshotId { name: point(name), guid: of(name) });
    attacker.change(&aside(&files, base(NEWEST))).unwrap();
    let kept: Vec<String> =
        guids(&copy).into_values().chain(guids(&look::set_aside(&copy)).into_values()).collect();
    assert!(before.values().all(|guid| kept.contains(guid)), "nothing is lost");
    let again = |base| {
        Change::SetAside(SetAside {
            dataset: files.clone(),
            guid: guid(&copy),
            base,
            cause: SetAsideCause::NothingInCommon,
            writer: writer(),
        })
    };
    for base in [None, base(NEWEST)] {
        let change = again(base);
        attacker.fails("set aside again", "once in 22 hours", |attacker| attacker.change(&change));
    }
}

/// The agent behind the key, spoken to in bytes.
fn ssh(attacker: &Attacker, command: &[&str]) -> Child {
    let config = attacker.world.directory().join("ssh_config");
    let mut ssh = Command::new("ssh");
    ssh.arg("-F").arg(config).args(["-o", "BatchMode=yes", "nfs8"]).args(command);
    ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The exit code, the answer to these bytes, and the time until the agent ends.
fn speak(attacker: &Attacker, command: &[&str], bytes: &[u8]) -> (Option<i32>, String, Duration) {
    let begun = Instant::now();
    let mut child = ssh(attacker, command);
    // It may be gone already.
    child.stdin.take().unwrap().write_all(bytes).ok();
    let mut answer = String::new();
    let mut raw = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut raw).unwrap();
    answer.push_str(&String::from_utf8_lossy(&raw));
    child.stderr.take().unwrap().read_to_string(&mut answer).ok();
    (child.wait().unwrap().code(), answer, begun.elapsed())
}

/// The agent's answer to these bytes, sent after its greeting: requests that come with the key itself are not read.
fn answer_to(attacker: &Attacker, bytes: &[u8]) -> (String, Duration) {
    let mut child = ssh(attacker, &["exec sh -c 'id' zhaul agent"]);
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    input.write_all(b"0123456789abcdef0123456789abcdef\n").unwrap();
    let mut byte = [0];
    while byte != *b"\n" {
        output.read_exact(&mut byte).unwrap();
    }
    let begun = Instant::now();
    // It may have hung up before the last byte.
    input.write_all(bytes).ok();
    // Whoever hangs up waits for no answer.
    let mut answer = Vec::new();
    let mut header = [0; 8];
    if output.read_exact(&mut header).is_ok() {
        let [.., a, b, c, d] = header;
        answer.resize(usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap(), 0);
        output.read_exact(&mut answer).unwrap();
    }
    drop(input);
    output.read_to_end(&mut answer).unwrap();
    child.wait().unwrap();
    (String::from_utf8_lossy(&answer).into_owned(), begun.elapsed())
}

fn message(json: &str) -> Vec<u8> {
    let length = u32::try_from(json.len()).unwrap();
    [&b"zhm\x01"[..], &length.to_le_bytes(), json.as_bytes()].concat()
}

#[test]
fn a_caged_key_gives_no_shell_and_bytes_that_are_no_requests_end_the_session() {
    let attacker = Attacker::new("cage-bytes", "");
    let before = attacker.house();
    for command in
        [&["id"][..], &["zfs", "list"], &["sh", "-c", "'id'", "zhaul", "agent;id"], &["scp", "-t", "/"]]
    {
        let (code, answer, took) = speak(&attacker, command, b"");
        assert!(!answer.contains("uid=") && !answer.contains("tank8"), "{command:?}: {answer}");
        assert!(code != Some(0) && took < Duration::from_secs(5), "{command:?}: {code:?} {answer} {took:?}");
        assert!(answer.contains("this key runs nothing but the agent"), "{command:?}: {answer}");
    }
    let requests: [Vec<u8>; 12] = [
        b"GET / HTTP/1.0\r\n\r\n".to_vec(),
        b"zfs destroy -r tank8\n".to_vec(),
        b"zhm\x01\xff\xff\xff\xff".to_vec(),
        message("{}"),
        message("null"),
        message(r#"{"ask":"shell","command":"id"}"#),
        message(r#"{"ask":"list","root":"tank8/../tank9"}"#),
        message(r#"{"ask":"list","root":"-r"}"#),
        message(r#"{"ask":"list","root":"tank8","roots":[]}"#),
        message(r#"{"ask":"hello","protocol":1,"version":"x"}"#),
        message(r#"{"ask":"change","action":"destroy-everything","dataset":"tank8"}"#),
        message(&"[".repeat(100_000)),
    ];
    for bytes in requests {
        let (answer, took) = answer_to(&attacker, &bytes);
        let shown = String::from_utf8_lossy(&bytes).chars().take(80).collect::<String>();
        assert!(answer.starts_with(r#"{"tell":"failed""#), "{shown}: {answer}");
        assert!(!answer.contains("uid="), "{shown}: {answer}");
        assert!(took < Duration::from_secs(10), "{shown}: {took:?}");
        assert_eq!(before, attacker.house(), "{shown}");
    }
    let (code, _, took) = speak(&attacker, &["exec sh -c 'id' zhaul agent"], b"GET / HTTP/1.0\r\n\r\n");
    assert!(code != Some(0) && took < Duration::from_secs(5), "{code:?} {took:?}");
}

#[test]
fn a_stream_without_an_end_keeps_nothing_busy_once_its_caller_has_gone() {
    let attacker = Attacker::new("cage-endless", "");
    let evil = evil(&attacker);
    let full = stream(&[&format!("{evil}@1")]);
    // Frames that end well, of a stream that does not.
    std::thread::scope(|scope| {
        let cut = &full[..full.len() / 2];
        let pushed = scope.spawn(|| attacker.push(&attacker.spec("endless@1"), cut));
        let copy = attacker.world.backup("endless");
        let deadline = Instant::now() + Duration::from_secs(30);
        while !look::exists(&copy) {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(pushed.join().unwrap().unwrap_err().contains("before its end record"));
        let gone = Instant::now() + Duration::from_secs(10);
        while !Command::new("zfs").args(["receive", "-A", &copy]).output().unwrap().status.success() {
            assert!(Instant::now() < gone, "{copy} stays busy");
            std::thread::sleep(Duration::from_millis(100));
        }
    });
}

#[test]
fn no_more_sessions_are_open_than_the_admin_of_the_target_allows() {
    let mut attacker = Attacker::new("cage-sessions", "--sessions 2");
    let mut held: Vec<Child> = (0..2).map(|_| ssh(&attacker, &["exec sh -c 'id' zhaul agent"])).collect();
    for one in &mut held {
        one.stdin.as_mut().unwrap().write_all(b"0123456789abcdef0123456789abcdef\n").unwrap();
        let mut greeting = [0; 11];
        one.stdout.as_mut().unwrap().read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting, b"zhaul-agent");
    }
    let run = attacker.world.run_with(DAY_2, &[]).expect_code(1);
    assert!(run.stderr.contains("--sessions"), "{run:?}");
    // It is the hello that is refused: without one nothing is served.
    let request = format!(r#"{{"ask":"list","root":"{}"}}"#, attacker.inside(GUEST));
    let (answer, _) = answer_to(&attacker, &message(&request));
    assert!(answer.starts_with(r#"{"tell":"failed""#) && answer.contains("a hello"), "{answer}");
    for mut one in held {
        drop(one.stdin.take());
        one.wait().unwrap();
    }
    attacker.world.run(DAY_2);
}
