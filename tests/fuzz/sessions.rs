//! Messages of another machine to an agent: whole sessions with requests of every kind and streams in frames, damaged,
//! against a cage.
//!
//! In every round: the session ends; outside of the cage's root nothing changes, and an agent that only appends destroys
//! nothing. An undamaged request must be understood, so that a target which lags behind the protocol fails.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use zhaul::host::agent::{Restrictions, Service, serve};
use zhaul::host::fake::{FakeHost, SharedState};
use zhaul::host::{ReceiveSpec, SendSpec, SourceHost as _};
use zhaul::model::{
    Change, Compression, CopyEncryption, DatasetKind, DatasetName, Encryption, Guid, PointName, SetAside,
    SetAsideCause, SnapshotId, SnapshotName, Verification, VerifiedBy, Writer,
};
use zhaul::stream::framed::FramedSender;
use zhaul::stream::meter::{Meters, Places};
use zhaul::stream::pump::PumpSettings;
use zhaul::stream::{ByteSink, Cancel};

use crate::random::Random;

const KEY: &str = "0123456789abcdef0123456789abcdef";
const GREETING: &str = "zhaul-agent ";
const BUFFER_BYTES: u64 = 1 << 20;

/// How long an answer may take; one to what was damaged may never come.
const LIMIT: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_millis(20);

/// The snapshots at the target: two inside the cage, one outside of it.
const SNAPSHOTS: [&str; 3] = ["t/in/a@1", "t/in/a@2", "t/out@1"];
const NAMES: [&str; 7] = ["t/in", "t/in/a", "t/out", "t", "t/in/new", "t/in/a/b", "t/inside"];

/// Both machines, with the GUIDs of the target's datasets and snapshots.
struct World {
    source: FakeHost,
    target: FakeHost,
    guids: [Guid; 3],
    datasets: BTreeMap<DatasetName, Guid>,
}

pub(crate) fn round(random: &mut Random) {
    let world = World::new();
    let append_only = random.below(2) == 0;
    let is_damaged = random.below(4) > 0;
    let cage = Restrictions { roots: vec![name("t/in")], append_only, name_format: None };
    let Talk { answers, said, has_sent } = talk(&world, cage, random, is_damaged);
    let said = || said.escape_ascii().to_string();
    assert_eq!(world.target.guid("t/out@1"), Some(world.guids[2]), "{}", said());
    let outside = world.target.datasets("t").into_iter().filter(|one| !one.name.is_within(&name("t/in")));
    assert_eq!(outside.count(), 2, "{}", said());
    if append_only {
        // Set aside, they are elsewhere; destroyed, nowhere.
        let everywhere = world.target.contents("t/in");
        for guid in &world.guids[..2] {
            assert!(everywhere.iter().any(|(_, _, found, _)| found == guid), "{}", said());
        }
    }
    if has_sent {
        assert_eq!(world.target.guid("t/in/sent@9"), world.source.guid("s/a@9"), "{}", said());
    }
    if !is_damaged {
        let answers = String::from_utf8_lossy(&answers);
        for words in ["cannot be read", "instead of a message", "is no frame"] {
            assert!(!answers.contains(words), "{answers} to {}", said());
        }
    }
}

fn name(text: &str) -> DatasetName {
    DatasetName::new(text).unwrap()
}

fn point(text: &str) -> PointName {
    PointName::new(text).unwrap()
}

impl World {
    fn new() -> Self {
        let shared_state = SharedState::default();
        let (source, target) =
            (FakeHost::new("source", &shared_state), FakeHost::new("target", &shared_state));
        for dataset in ["s", "s/a"] {
            source.create(dataset, DatasetKind::Filesystem).unwrap();
        }
        source.write("s/a", 50).unwrap();
        source.take(&["s/a@9"]).unwrap();
        for dataset in ["t", "t/in", "t/in/a", "t/out"] {
            target.create(dataset, DatasetKind::Filesystem).unwrap();
        }
        for snapshot in SNAPSHOTS {
            target.take(&[snapshot]).unwrap();
        }
        let guids = SNAPSHOTS.map(|name| target.guid(name).unwrap());
        let datasets = target.datasets("t").into_iter().map(|dataset| (dataset.name, dataset.guid)).collect();
        Self { source, target, guids, datasets }
    }

    /// `s/a@9` in frames, as zhaul sends it.
    fn frames(&self, stream: u32, compression: Compression) -> Vec<u8> {
        let spec = SendSpec {
            snapshot: SnapshotName::parse("s/a@9").unwrap(),
            guid: None,
            base: None,
            resume: None,
            encryption: Encryption::Off,
            copy_encryption: CopyEncryption::AsSent,
        };
        let cancel = Cancel::new().unwrap();
        let written = Written::default();
        let sender = FramedSender {
            settings: PumpSettings { buffer_bytes: BUFFER_BYTES, rate: None, stall_limit: None },
            compression,
            stream,
            meters: Meters::new(Places::SENDING, 1),
            cancel: cancel.clone(),
            samples: None,
        };
        let mut outgoing = self.source.send(&spec).unwrap();
        sender.run(outgoing.stream(&cancel).unwrap(), vec![Box::new(written.clone())]).unwrap();
        let bytes = written.0.lock().unwrap();
        bytes.clone()
    }
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl ByteSink for Written {
    fn write_some(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
}

/// Speaks with an agent until it has ended, or the caller hangs up.
fn talk(world: &World, cage: Restrictions, random: &mut Random, is_damaged: bool) -> Talk {
    let (near, far) = UnixStream::pair().unwrap();
    let cancel = Cancel::new().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let service = Service {
                host: &world.target,
                cage,
                address: None,
                ports: None,
                buffer_bytes_max: BUFFER_BYTES,
                lock: None,
                has_room: true,
            };
            // Good or bad, it must end: with an answer, an error, or the end of what was said.
            drop(serve((far.as_fd(), far.as_fd()), &mut std::io::sink(), &service, &cancel));
            drop(far.shutdown(Shutdown::Both));
        });
        // Only a greeted caller continues: requests that come with the key are not read.
        (&near).write_all(format!("{KEY}\n").as_bytes()).unwrap();
        let protocol = protocol(&near);
        near.set_read_timeout(Some(if is_damaged { PATIENCE } else { LIMIT })).unwrap();
        let mut session = Session { world, random, is_damaged, socket: &near, talk: Talk::default() };
        session.speak(protocol);
        let talk = session.talk;
        drop(near.shutdown(Shutdown::Both));
        talk
    })
}

/// The version of the protocol that an agent greets with.
fn protocol(mut socket: &UnixStream) -> u32 {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        line.push(byte[0]);
    }
    let line = String::from_utf8(line).unwrap();
    let (protocol, key) = line.trim_end().strip_prefix(GREETING).unwrap().split_once(' ').unwrap();
    assert_eq!(key, KEY);
    protocol.parse().unwrap()
}

/// The bytes of the caller and of the agent's answers.
#[derive(Default)]
struct Talk {
    said: Vec<u8>,
    answers: Vec<u8>,
    /// Whether a snapshot was sent, undamaged.
    has_sent: bool,
}

/// The caller's end of a session.
struct Session<'a, 'r> {
    world: &'a World,
    random: &'r mut Random,
    is_damaged: bool,
    socket: &'a UnixStream,
    talk: Talk,
}

/// How an answer ended.
#[derive(PartialEq)]
enum Answer {
    Ready,
    Done,
    Failed,
    /// Nothing came, or the agent has hung up.
    Nothing,
}

impl Session<'_, '_> {
    /// A hello, and some requests, most of them damaged. Each waits for its answer: who speaks meanwhile is hung up on.
    fn speak(&mut self, protocol: u32) {
        let hello = json!({"ask": "hello", "protocol": protocol, "version": "fuzz"});
        assert!(self.ask(&hello, false) == Answer::Done);
        for _ in 0..=self.random.below(6) {
            let answer = if self.random.below(4) == 0 {
                self.receive()
            } else {
                let request = self.request();
                self.ask(&request, self.is_damaged)
            };
            if answer == Answer::Nothing {
                assert!(self.is_damaged, "no answer to {}", self.talk.said.escape_ascii());
                return;
            }
        }
    }

    fn ask(&mut self, request: &Value, is_damaged: bool) -> Answer {
        let mut text = request.to_string().into_bytes();
        if is_damaged {
            for _ in 0..self.random.below(3) {
                damage(self.random, &mut text);
            }
        }
        let length = u32::try_from(text.len()).unwrap();
        let mut bytes = [&b"zhm\x01"[..], &length.to_le_bytes(), &text].concat();
        if is_damaged && self.random.below(12) == 0 {
            damage(self.random, &mut bytes);
        }
        self.say(&bytes)
    }

    /// A receive or a sink, with its frames once it is allowed.
    fn receive(&mut self) -> Answer {
        let stream = u32::try_from(self.random.below(3)).unwrap();
        let compressions = [Compression::Off, Compression::Lz4, Compression::Zstd(1)];
        let compression = compressions[self.random.below(compressions.len())];
        let into = if self.is_damaged { self.name() } else { name("t/in/sent") };
        let spec = ReceiveSpec {
            snapshot: into.snapshot(&point("9")).unwrap(),
            origin: None,
            heals: false,
            creates_dataset: self.random.below(2) == 0,
            kind: DatasetKind::Filesystem,
            copy_encryption: CopyEncryption::AsSent,
            to: self.world.source.guid("s/a@9"),
            from: None,
            writer: Some(Writer { guid: Guid(7), label: "pve0:s/a".to_owned() }),
        };
        let is_sink = self.random.below(3) == 0 || self.talk.has_sent;
        let mut ask = json!({
            "ask": if is_sink { "sink" } else { "receive" },
            "over_connections": self.is_damaged && self.random.below(4) == 0,
            "stream": stream,
            "buffer_bytes": if self.is_damaged { self.random.any() } else { BUFFER_BYTES },
            "stall_limit_seconds": 9,
        });
        if !is_sink {
            ask["spec"] = serde_json::to_value(&spec).unwrap();
        }
        let answer = self.ask(&ask, self.is_damaged);
        if answer != Answer::Ready {
            return answer;
        }
        let mut frames = self.world.frames(stream, compression);
        if self.is_damaged && self.random.below(2) == 0 {
            damage(self.random, &mut frames);
        }
        let answer = self.say(&frames);
        self.talk.has_sent |= !is_sink && !self.is_damaged;
        assert!(self.is_damaged || answer == Answer::Done, "{}", self.talk.answers.escape_ascii());
        answer
    }

    fn say(&mut self, bytes: &[u8]) -> Answer {
        self.talk.said.extend(bytes);
        // Fails where the agent has hung up already.
        drop(self.socket.write_all(bytes));
        self.answer().unwrap_or(Answer::Nothing)
    }

    /// The end of the next answer, or the word that frames may come; `None` where nothing comes in time.
    fn answer(&mut self) -> Option<Answer> {
        loop {
            let mut header = [0; 8];
            self.socket.read_exact(&mut header).ok()?;
            let [.., a, b, c, d] = header;
            let mut text = vec![0; usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap()];
            self.socket.read_exact(&mut text).ok()?;
            self.talk.answers.extend(&text);
            let reply: Value = serde_json::from_slice(&text).unwrap();
            match reply["tell"].as_str().unwrap() {
                "ready" => return Some(Answer::Ready),
                "done" => return Some(Answer::Done),
                "failed" => return Some(Answer::Failed),
                _ => {}
            }
        }
    }

    fn name(&mut self) -> DatasetName {
        name(NAMES[self.random.below(NAMES.len())])
    }

    /// A dataset with its GUID, or another one's.
    fn dataset(&mut self) -> (DatasetName, Guid) {
        let dataset = self.name();
        let own = self.world.datasets.get(&dataset).copied();
        let guid = own.filter(|_| self.random.below(4) > 0).unwrap_or(Guid(self.random.any()));
        (dataset, guid)
    }

    fn request(&mut self) -> Value {
        let (dataset, other) = (self.name(), self.name());
        let snapshot = dataset.snapshot(&point("1")).unwrap();
        let guid = self.world.guids[self.random.below(3)];
        match self.random.below(6) {
            3 => json!({
                "ask": "content", "snapshot": snapshot, "guid": guid, "is_raw": false, "salt": "x", "bytes_per_second": null
            }),
            0 => json!({"ask": "list", "root": dataset}),
            1 => json!({"ask": "details", "snapshots": [[snapshot, guid]]}),
            2 => json!({"ask": "state", "root": other}),
            _ => {
                let mut change = serde_json::to_value(self.change()).unwrap();
                change["ask"] = json!("change");
                change
            }
        }
    }

    fn change(&mut self) -> Change {
        let ((dataset, own), to) = (self.dataset(), self.name());
        let at = self.random.below(3);
        let (guid, name) = (self.world.guids[at], point(["1", "2", "1"][at]));
        let snapshots = vec![(name.clone(), guid)];
        let writer = Writer { guid: Guid(self.random.any()), label: "pve0:s/a".to_owned() };
        match self.random.below(13) {
            0 => Change::CreateContainer { dataset, is_plain: false },
            1 => Change::AbortReceive { dataset, token: "1-0-0-00".to_owned() },
            2 => Change::DestroySnapshots { dataset, snapshots },
            3 => Change::Rollback { dataset, to: name, guid },
            4 => Change::RenameDataset { from: dataset, guid: own, to },
            5 => Change::RenameSnapshot { dataset, from: name, guid, to: point("2026-Jan") },
            6 => Change::DestroyDataset { dataset, guid: own, snapshots },
            7 => Change::Claim { dataset, guid: own, writer },
            8 => Change::BeginHealing { dataset, newest: guid },
            9 => Change::EndHealing { dataset },
            10 => {
                let verification =
                    Some(Verification { at: jiff::Timestamp::UNIX_EPOCH, by: VerifiedBy::Content });
                Change::MarkVerified { dataset, snapshot: name, guid, verification }
            }
            11 => {
                let properties = BTreeMap::from([("mountpoint".to_owned(), "/".to_owned())]);
                Change::StoreConfig { dataset, snapshot: name, guid, properties }
            }
            _ => {
                let base = (self.random.below(2) == 0).then_some(SnapshotId { name, guid });
                let cause = SetAsideCause::Diverged;
                Change::SetAside(SetAside { dataset, guid: own, base, cause, writer })
            }
        }
    }
}

fn damage(random: &mut Random, bytes: &mut Vec<u8>) {
    let at = random.below(bytes.len());
    match random.below(5) {
        0 => bytes.truncate(at),
        1 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
        2 => bytes.insert(at, random.byte()),
        3 if !bytes.is_empty() => drop(bytes.remove(at)),
        _ => {
            let end = at + random.below(bytes.len() - at.min(bytes.len()));
            let piece = bytes[at.min(end)..end].to_vec();
            bytes.extend(piece);
        }
    }
}
