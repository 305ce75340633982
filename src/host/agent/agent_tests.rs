//! The agent's side against whatever may come, with a fake machine behind it and a socket for ssh.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::Duration;

use super::serve::{ServeError, serve};
use super::server::Service;
use super::wire::{PROTOCOL, Receive, Reply, Request, Sink};
use super::*;
use crate::channel::connections::{Caller, ConnectionKind};
use crate::channel::message;
use crate::host::fake::{FakeHost, SharedState};
use crate::host::{SendSpec, SourceHost as _};
use crate::model::{
    Compression, CopyEncryption, DatasetKind, Encryption, PointName, PortRange, SetAside, SetAsideCause,
    Writer,
};
use crate::stream::framed::FramedSender;
use crate::stream::meter::{Meters, Places};
use crate::stream::pump::PumpSettings;
use crate::stream::{ByteSink, Cancel, FdSource, FdTarget};

const KEY: &str = "0123456789abcdef0123456789abcdef";
const LIMIT: Option<Duration> = Some(Duration::from_secs(20));

fn name(text: &str) -> DatasetName {
    DatasetName::new(text).unwrap()
}

fn point(text: &str) -> PointName {
    PointName::new(text).unwrap()
}

/// A source `s/a` with two snapshots and a target pool `t`, an agent in front of the latter, and the caller's socket.
struct Peer {
    source: FakeHost,
    target: FakeHost,
    socket: UnixStream,
    cancel: Cancel,
    agent: Option<JoinHandle<Result<(), ServeError>>>,
}

impl Peer {
    /// Nothing has been said yet.
    fn silent(cage: Restrictions) -> Self {
        let shared_state = SharedState::default();
        let (source, target) =
            (FakeHost::new("source", &shared_state), FakeHost::new("target", &shared_state));
        source.create("s", DatasetKind::Filesystem).unwrap();
        source.create("s/a", DatasetKind::Volume).unwrap();
        source.write("s/a", 50).unwrap();
        source.take(&["s/a@1"]).unwrap();
        target.create("t", DatasetKind::Filesystem).unwrap();
        let (socket, other) = UnixStream::pair().unwrap();
        let (cancel, host) = (Cancel::new().unwrap(), target.clone());
        let ends = cancel.clone();
        let agent = std::thread::spawn(move || {
            let output = other.try_clone().unwrap();
            let address = Some(std::net::Ipv4Addr::LOCALHOST.into());
            let service = Service {
                host: &host,
                cage,
                address,
                ports: None,
                buffer_bytes_max: 1 << 30,
                lock: None,
                has_room: true,
            };
            serve((other.as_fd(), output.as_fd()), &mut std::io::sink(), &service, &ends)
        });
        Self { source, target, socket, cancel, agent: Some(agent) }
    }

    /// Has greeted and said hello.
    fn new(cage: Restrictions) -> Self {
        let mut peer = Self::silent(cage);
        peer.greet();
        let hello = Request::Hello { protocol: PROTOCOL, version: "test".to_owned() };
        let replies = peer.ask(&hello);
        assert!(matches!(&replies[..], [Reply::Hello { .. }, Reply::Done]), "{replies:?}");
        peer
    }

    fn greet(&mut self) {
        writeln!(self.socket, "{KEY}").unwrap();
        let mut line = vec![0; format!("zhaul-agent {PROTOCOL} {KEY}\n").len()];
        self.socket.read_exact(&mut line).unwrap();
        assert_eq!(String::from_utf8(line).unwrap(), format!("zhaul-agent {PROTOCOL} {KEY}\n"));
    }

    fn request(&self, request: &Request) {
        message::write(&mut FdTarget::new(&self.socket, &self.cancel).unwrap(), request).unwrap();
    }

    fn receive(&self) -> Option<Reply> {
        message::read(&mut FdSource::new(&self.socket, &self.cancel).unwrap(), LIMIT).unwrap()
    }

    /// The reply that is no progress.
    fn verdict(&self) -> Reply {
        loop {
            match self.receive().unwrap() {
                Reply::Progress { .. } => {}
                other => return other,
            }
        }
    }

    fn ask(&self, request: &Request) -> Vec<Reply> {
        self.request(request);
        let mut replies = Vec::new();
        loop {
            replies.push(self.receive().expect("an answer"));
            if matches!(replies.last(), Some(Reply::Done | Reply::Failed { .. })) {
                return replies;
            }
        }
    }

    fn refusal(&self, request: &Request) -> String {
        let replies = self.ask(request);
        let [Reply::Failed { problem: Problem::Denied(text) }] = &replies[..] else {
            panic!("{request:?}: {replies:?}");
        };
        text.clone()
    }

    /// Asks for `s/a@1` to be received as `t/a@1`, with frames up to the first error.
    fn send(&self, stream: u32, compression: Compression) {
        self.send_into(&receive(stream), stream, compression);
    }

    fn send_into(&self, request: &Request, stream: u32, compression: Compression) {
        self.request(request);
        assert!(matches!(self.receive(), Some(Reply::Ready)));
        let cancel = self.cancel.child().unwrap();
        let connection: Box<dyn ByteSink> = Box::new(FdTarget::new(&self.socket, &cancel).unwrap());
        self.frames(stream, compression, &cancel, vec![connection]);
    }

    /// Sends `s/a@1` in frames.
    fn frames(
        &self,
        stream: u32,
        compression: Compression,
        cancel: &Cancel,
        connections: Vec<Box<dyn ByteSink + '_>>,
    ) {
        let spec = SendSpec {
            copy_encryption: CopyEncryption::AsSent,
            snapshot: SnapshotName::parse("s/a@1").unwrap(),
            guid: None,
            base: None,
            resume: None,
            encryption: Encryption::Off,
        };
        let mut outgoing = self.source.send(&spec).unwrap();
        let sender = FramedSender {
            settings: PumpSettings { buffer_bytes: 4 << 20, rate: None, stall_limit: None },
            compression,
            stream,
            meters: Meters::new(Places::SENDING, 2),
            cancel: cancel.clone(),
            samples: None,
        };
        sender.run(outgoing.stream(cancel).unwrap(), connections).unwrap();
    }

    fn ended(&mut self) -> Result<(), ServeError> {
        self.socket.shutdown(Shutdown::Write).unwrap();
        self.agent.take().unwrap().join().unwrap()
    }
}

fn receive(stream: u32) -> Request {
    Request::Receive(Receive {
        spec: ReceiveSpec {
            copy_encryption: CopyEncryption::AsSent,
            snapshot: SnapshotName::parse("t/a@1").unwrap(),
            origin: None,
            heals: false,
            creates_dataset: true,
            kind: DatasetKind::Volume,
            to: None,
            from: None,
            writer: None,
        },
        over_connections: false,
        stream,
        buffer_bytes: 4 << 20,
        stall_limit_seconds: Some(60),
    })
}

#[test]
fn a_stream_arrives_and_the_session_continues() {
    for compression in [Compression::Off, Compression::Lz4, Compression::Zstd(3), Compression::Auto] {
        let mut peer = Peer::new(Restrictions::default());
        peer.send(7, compression);
        assert!(matches!(peer.verdict(), Reply::Done));
        assert_eq!(peer.target.content("t/a@1"), peer.source.content("s/a@1"), "{compression}");
        let replies = peer.ask(&Request::List { root: name("t/a") });
        let [Reply::Dataset { dataset }, Reply::Points { points }, Reply::Done] = &replies[..] else {
            panic!("{replies:?}");
        };
        assert_eq!((dataset.name.as_str(), points.len()), ("t/a", 1));
        assert_eq!(Some(points[0].guid), peer.source.guid("s/a@1"));
        peer.ended().unwrap();
    }
}

#[test]
fn a_sink_is_open_to_everybody_and_touches_nothing() {
    let mut peer =
        Peer::new(Restrictions { roots: vec![name("t/elsewhere")], append_only: true, name_format: None });
    let sink =
        Sink { over_connections: false, stream: 5, buffer_bytes: 4 << 20, stall_limit_seconds: Some(60) };
    peer.send_into(&Request::Sink(sink), 5, Compression::Lz4);
    assert!(matches!(peer.verdict(), Reply::Done));
    assert_eq!(peer.target.guid("t/a@1"), None);
    let sink =
        Sink { over_connections: false, stream: 6, buffer_bytes: 4 << 20, stall_limit_seconds: Some(60) };
    peer.request(&Request::Sink(sink));
    assert!(matches!(peer.receive(), Some(Reply::Ready)), "the session continues");
    peer.ended().unwrap();
}

#[test]
fn streams_come_over_connections_one_after_another() {
    for kind in [ConnectionKind::Tls, ConnectionKind::Tcp] {
        let mut peer = Peer::new(Restrictions::default());
        let caller = Caller::new(kind).unwrap();
        let ports = PortRange::default();
        peer.request(&Request::OpenConnections { greeting: caller.greeting(), connections: 3, ports });
        let Some(Reply::Connections { offer }) = peer.receive() else { panic!("no offer") };
        let mut connections = caller.connect(&offer, 3, Duration::from_secs(20), &peer.cancel).unwrap();
        assert!(matches!(peer.receive(), Some(Reply::Done)));
        for (stream, name) in [(1, "t/a@1"), (2, "t/b@1")] {
            let Request::Receive(mut asked) = receive(stream) else { unreachable!() };
            asked.over_connections = true;
            asked.spec.snapshot = SnapshotName::parse(name).unwrap();
            peer.request(&Request::Receive(asked));
            assert!(matches!(peer.receive(), Some(Reply::Ready)));
            let cancel = peer.cancel.child().unwrap();
            let ends = connections.iter_mut().map(|connection| connection.target(&cancel).unwrap()).collect();
            peer.frames(stream, Compression::Lz4, &cancel, ends);
            assert!(matches!(peer.verdict(), Reply::Done));
            assert_eq!(peer.target.content(name), peer.source.content("s/a@1"), "{kind}");
        }
        peer.ended().unwrap();
    }
}

#[test]
fn connections_that_the_caller_never_opens_are_given_up_and_too_many_are_refused() {
    let mut peer = Peer::new(Restrictions::default());
    let greeting = Caller::new(ConnectionKind::Tls).unwrap().greeting();
    for connections in [0, 1000] {
        let ask =
            Request::OpenConnections { greeting: greeting.clone(), connections, ports: PortRange::default() };
        let replies = peer.ask(&ask);
        assert!(matches!(&replies[..], [Reply::Failed { problem: Problem::Unreachable(_) }]), "{replies:?}");
    }
    let replies =
        peer.ask(&Request::OpenConnections { greeting, connections: 1, ports: PortRange::default() });
    let [Reply::Connections { .. }, Reply::Failed { problem: Problem::Unreachable(text) }] = &replies[..]
    else {
        panic!("{replies:?}");
    };
    assert!(text.contains("0 of 1 connections came"), "{text}");
    peer.send(1, Compression::Off);
    assert!(matches!(peer.verdict(), Reply::Done), "the session itself still carries data");
    peer.ended().unwrap();
}

#[test]
fn a_long_history_comes_in_pieces() {
    let mut peer = Peer::new(Restrictions::default());
    for number in 0..2500 {
        peer.target.take(&[&format!("t@{number}")]).unwrap();
    }
    let replies = peer.ask(&Request::List { root: name("t") });
    let counts: Vec<_> = replies
        .iter()
        .map(|reply| if let Reply::Points { points } = reply { points.len() } else { 0 })
        .collect();
    assert_eq!(counts, [0, 1000, 1000, 500, 0]);
    peer.ended().unwrap();
}

#[test]
fn an_interrupted_receive_keeps_what_it_has() {
    let mut peer = Peer::new(Restrictions::default());
    peer.request(&receive(1));
    assert!(matches!(peer.receive(), Some(Reply::Ready)));
    peer.socket.shutdown(Shutdown::Write).unwrap();
    let verdict = peer.verdict();
    assert!(matches!(&verdict, Reply::Failed { .. }), "{verdict:?}");
    assert_eq!(peer.target.guid("t/a@1"), None);
    peer.agent.take().unwrap().join().unwrap().unwrap();
}

#[test]
fn frames_that_make_no_sense_end_the_session() {
    let mut peer = Peer::new(Restrictions::default());
    peer.request(&receive(1));
    assert!(matches!(peer.receive(), Some(Reply::Ready)));
    peer.socket.write_all(&[b'x'; 36]).unwrap();
    let verdict = peer.verdict();
    let Reply::Failed { problem: Problem::Protocol(text) } = &verdict else { panic!("{verdict:?}") };
    assert_eq!(text, "the received data is no frame");
    assert!(peer.receive().is_none(), "nothing after it is taken for a request");
    assert_eq!(peer.target.guid("t/a@1"), None);
    peer.agent.take().unwrap().join().unwrap().unwrap();
}

#[test]
fn a_receive_that_cannot_begin_leaves_the_session_alone() {
    let mut peer = Peer::new(Restrictions::default());
    peer.target.set_unreachable(true);
    let replies = peer.ask(&receive(1));
    assert!(matches!(&replies[..], [Reply::Failed { .. }]), "{replies:?}");
    peer.target.set_unreachable(false);
    peer.send(2, Compression::Off);
    assert!(matches!(peer.verdict(), Reply::Done));
    peer.ended().unwrap();
}

#[test]
fn another_version_is_refused_with_both_versions() {
    let mut peer = Peer::silent(Restrictions::default());
    peer.greet();
    let replies = peer.ask(&Request::Hello { protocol: PROTOCOL + 1, version: "9.9.9".to_owned() });
    let [Reply::Failed { problem: Problem::Protocol(text) }] = &replies[..] else { panic!("{replies:?}") };
    assert!(text.contains("9.9.9") && text.contains(env!("CARGO_PKG_VERSION")), "{text}");
    peer.ended().unwrap();
}

/// Only a hello is refused where there is no room.
#[test]
fn without_a_hello_that_was_answered_nothing_is_served() {
    let other_version = Request::Hello { protocol: PROTOCOL + 1, version: "9.9.9".to_owned() };
    for (request, word) in [(Request::List { root: name("t") }, "hello"), (other_version, "9.9.9")] {
        let mut peer = Peer::silent(Restrictions::default());
        peer.greet();
        let replies = peer.ask(&request);
        let [Reply::Failed { problem: Problem::Protocol(text) }] = &replies[..] else {
            panic!("{replies:?}")
        };
        assert!(text.contains(word), "{text}");
        assert!(peer.receive().is_none(), "the session has ended");
        peer.ended().unwrap();
    }
}

#[test]
fn who_does_not_greet_is_not_served() {
    for words in ["", "zfs list\n", "0123\n", "\x1b[2J\n"] {
        let mut peer = Peer::silent(Restrictions::default());
        peer.socket.write_all(words.as_bytes()).unwrap();
        assert!(matches!(peer.ended(), Err(ServeError::NoGreeting)), "{words:?}");
    }
}

#[test]
fn noise_instead_of_a_request_is_answered_and_ends_the_session() {
    let long = [&b"zhm\x01"[..], &u32::MAX.to_le_bytes()].concat();
    let unknown = [&b"zhm\x01"[..], &14_u32.to_le_bytes(), br#"{"ask":"shell"}"#].concat();
    for noise in [&b"GET / HTTP/1.1\r\n\r\n"[..], &long, &unknown] {
        let mut peer = Peer::new(Restrictions::default());
        peer.socket.write_all(noise).unwrap();
        let reply = peer.receive();
        assert!(matches!(&reply, Some(Reply::Failed { problem: Problem::Protocol(_) })), "{reply:?}");
        assert!(matches!(peer.ended(), Err(ServeError::Message(_))));
    }
}

/// One of every request that names something, about `dataset`.
fn requests(dataset: &str) -> Vec<Request> {
    let (dataset, guid, to) = (name(dataset), Guid(1), point("x"));
    let Request::Receive(mut taken) = receive(1) else { unreachable!() };
    taken.spec.snapshot = dataset.snapshot(&to).unwrap();
    vec![
        Request::List { root: dataset.clone() },
        Request::Details { snapshots: vec![(dataset.snapshot(&to).unwrap(), guid)] },
        Request::Change(Change::CreateContainer { dataset: dataset.clone(), is_plain: false }),
        Request::Change(Change::AbortReceive { dataset: dataset.clone(), token: "1-0".to_owned() }),
        Request::Receive(taken),
        Request::Change(Change::DestroySnapshots { dataset: dataset.clone(), snapshots: Vec::new() }),
        Request::Change(Change::Rollback { dataset: dataset.clone(), to: to.clone(), guid }),
        Request::Change(Change::RenameDataset { from: dataset.clone(), guid, to: name("t/pve0/b") }),
        Request::Change(Change::RenameDataset { from: name("t/pve0/b"), guid, to: dataset.clone() }),
        Request::Change(Change::RenameSnapshot { dataset: dataset.clone(), from: to.clone(), guid, to }),
        Request::Change(Change::SetAside(wish(dataset.as_str()))),
        Request::Change(Change::Claim { dataset: dataset.clone(), guid, writer: writer() }),
        Request::Change(Change::DestroyDataset { dataset, guid, snapshots: Vec::new() }),
    ]
}

fn writer() -> Writer {
    Writer { guid: Guid(7), label: "pve0:s/a".to_owned() }
}

fn wish(dataset: &str) -> SetAside {
    let cause = SetAsideCause::Written;
    SetAside { dataset: name(dataset), guid: Guid(1), base: None, cause, writer: writer() }
}

#[test]
fn nothing_outside_the_root_is_seen_or_touched() {
    let cage =
        Restrictions { roots: vec![name("t/pve0"), name("t/ct")], append_only: false, name_format: None };
    let mut peer = Peer::new(cage);
    for outside in ["t", "t/pve1", "t/pve00", "t/pve0-old/x", "s/pve0"] {
        for request in requests(outside) {
            assert_eq!(
                peer.refusal(&request),
                "the agent there serves only t/pve0, t/ct (--root)",
                "{outside}"
            );
        }
    }
    let Request::Receive(mut cloned) = receive(1) else { unreachable!() };
    cloned.spec.snapshot = SnapshotName::parse("t/pve0/a@1").unwrap();
    cloned.spec.origin = Some(SnapshotName::parse("t/other@1").unwrap());
    let refusal = peer.refusal(&Request::Receive(cloned));
    assert_eq!(refusal, "the agent there serves only t/pve0, t/ct (--root)", "an origin is read from");
    for inside in ["t/pve0", "t/ct/x"] {
        let replies = peer.ask(&Request::List { root: name(inside) });
        assert!(!matches!(&replies[..], [Reply::Failed { problem: Problem::Denied(_) }]), "{replies:?}");
    }
    peer.ended().unwrap();
}

#[test]
fn an_append_only_agent_destroys_nothing_and_renames_what_an_archive_does() {
    let mut peer = Peer::new(Restrictions { roots: Vec::new(), append_only: true, name_format: None });
    let (a, guid) = (name("t/a"), Guid(1));
    let rename_from = |from: &str, to: &str| {
        Request::Change(Change::RenameSnapshot {
            dataset: name("t/a"),
            from: point(from),
            guid,
            to: point(to),
        })
    };
    let rename = |to: &str| rename_from("2026-01-01-000000", to);
    let aside = |to: &str| Request::Change(Change::RenameDataset { from: name("t/a"), guid, to: name(to) });
    let refused = [
        Request::Change(Change::DestroySnapshots { dataset: a.clone(), snapshots: Vec::new() }),
        Request::Change(Change::DestroyDataset { dataset: a.clone(), guid, snapshots: Vec::new() }),
        Request::Change(Change::Rollback { dataset: a.clone(), to: point("x"), guid }),
        rename("x"),
        rename("2026-Foo"),
        rename("2026-Jan-zzz"),
        rename("2026-Mar"),
        rename_from("2026-Feb", "2026-Jan"),
        rename_from("2026-Jan", "2026-Jan-15"),
        rename_from("manual", "2026-Jan"),
        rename_from("2026-Jan", "2026-01-01-000000"),
        aside("t/b"),
        aside("t/a.superseded-2026-01-01-000000"),
    ];
    for request in &refused {
        assert!(peer.refusal(request).contains("--append-only"), "{request:?}");
    }
    let allowed = [
        rename("2026-Jan"),
        rename("2026-Jan-15"),
        rename("2026-Jan.2"),
        // Further west it is still December.
        rename("2025-Dec"),
        Request::Change(Change::SetAside(wish("t/a"))),
        Request::Change(Change::Claim { dataset: a, guid, writer: writer() }),
    ];
    for request in &allowed {
        let replies = peer.ask(request);
        let [Reply::Failed { problem }] = &replies[..] else { panic!("{replies:?}") };
        assert!(!matches!(problem, Problem::Denied(_)), "there is no t/a, but the cage is open: {problem}");
    }
    peer.ended().unwrap();
}

#[test]
fn an_agent_that_is_cancelled_ends_at_once() {
    let mut peer = Peer::new(Restrictions::default());
    peer.cancel.request();
    peer.agent.take().unwrap().join().unwrap().unwrap();
}
