//! What another machine may say to an agent: a real session's requests, damaged, against a cage.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::thread;

use zhaul::host::agent::{Cage, Service, serve};
use zhaul::host::fake::{FakeHost, Universe};
use zhaul::model::{DatasetKind, DatasetName};
use zhaul::stream::Cancel;

use crate::random::Random;

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// What exists: two snapshots inside the cage, one outside of it.
const SNAPSHOTS: [&str; 3] = ["t/in/a@1", "t/in/a@2", "t/out@1"];

pub(crate) fn round(random: &mut Random) {
    let host = machine();
    let guids = SNAPSHOTS.map(|name| host.guid(name).unwrap());
    let append_only = random.below(2) == 0;
    let cage = Cage { roots: vec![DatasetName::new("t/in").unwrap()], append_only, name_format: None };
    let bytes = session(random, &guids.map(|guid| guid.to_string()));
    talk(&host, cage, &bytes);
    // Whatever was said: outside of its root nothing changes, and an agent that only appends destroys nothing.
    assert_eq!(host.guid("t/out@1"), Some(guids[2]), "{}", bytes.escape_ascii());
    if append_only {
        assert_eq!(host.guid("t/in/a@1"), Some(guids[0]), "{}", bytes.escape_ascii());
        assert_eq!(host.guid("t/in/a@2"), Some(guids[1]), "{}", bytes.escape_ascii());
    }
}

fn machine() -> FakeHost {
    let host = FakeHost::new("target", &Universe::default());
    for dataset in ["t", "t/in", "t/in/a", "t/out"] {
        host.create(dataset, DatasetKind::Filesystem).unwrap();
    }
    for snapshot in SNAPSHOTS {
        host.take(&[snapshot]).unwrap();
    }
    host
}

/// Says `bytes` and reads whatever comes until the agent has ended.
fn talk(host: &FakeHost, cage: Cage, bytes: &[u8]) {
    let (near, far) = UnixStream::pair().unwrap();
    let stop = Cancel::new().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let service =
                Service { host, cage, address: None, ports: None, buffer_bytes_max: 1 << 20, has_room: true };
            // Good or bad, it must end: with an answer, an error, or the end of what was said.
            drop(serve((far.as_fd(), far.as_fd()), &mut std::io::sink(), &service, &stop));
            drop(far.shutdown(Shutdown::Both));
        });
        // Only who has been greeted goes on: what comes with the key is not read.
        (&near).write_all(format!("{KEY}\n").as_bytes()).unwrap();
        let mut greeting = [0; 14 + KEY.len() + 1];
        (&near).read_exact(&mut greeting).unwrap();
        assert!(greeting.ends_with(format!(" {KEY}\n").as_bytes()));
        scope.spawn(|| {
            let mut answers = Vec::new();
            // A socket that was closed with something unread in it is reset.
            drop((&near).read_to_end(&mut answers));
        });
        // Fails where the agent has hung up already.
        drop((&near).write_all(bytes));
        drop(near.shutdown(Shutdown::Write));
    });
}

/// A session's bytes after the greeting: a hello, and some requests, most of them damaged.
fn session(random: &mut Random, guids: &[String; 3]) -> Vec<u8> {
    let mut bytes = message(br#"{"ask":"hello","protocol":2,"version":"fuzz"}"#);
    for _ in 0..=random.below(6) {
        let mut text = request(random, guids).into_bytes();
        for _ in 0..random.below(3) {
            damage(random, &mut text);
        }
        bytes.extend(message(&text));
    }
    if random.below(4) == 0 {
        damage(random, &mut bytes);
    }
    bytes
}

fn message(text: &[u8]) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap();
    [&b"zhm\x01"[..], &length.to_le_bytes(), text].concat()
}

fn request(random: &mut Random, guids: &[String; 3]) -> String {
    let names = ["t/in", "t/in/a", "t/out", "t", "t/in/../out", "t/in/a/b", "t/inside"];
    let (name, other) = (names[random.below(names.len())], names[random.below(names.len())]);
    let (guid, at) = (&guids[random.below(3)], 1 + random.below(2));
    let shapes = [
        format!(r#"{{"ask":"list","root":"{name}"}}"#),
        format!(r#"{{"ask":"details","snapshots":[["{name}@{at}","{guid}"]]}}"#),
        format!(r#"{{"ask":"create-container","dataset":"{name}"}}"#),
        format!(r#"{{"ask":"abort-receive","dataset":"{name}","token":"1-0-0-00"}}"#),
        format!(r#"{{"ask":"destroy-snapshots","dataset":"{name}","snapshots":[["{at}","{guid}"]]}}"#),
        format!(r#"{{"ask":"rollback","dataset":"{name}","to":"{at}","guid":"{guid}"}}"#),
        format!(r#"{{"ask":"rename-dataset","from":"{name}","guid":"{guid}","to":"{other}"}}"#),
        format!(r#"{{"ask":"rename-snapshot","dataset":"{name}","from":"{at}","guid":"{guid}","to":"x"}}"#),
        format!(
            r#"{{"ask":"destroy-dataset","dataset":"{name}","guid":"{guid}","snapshots":[["{at}","{guid}"]]}}"#
        ),
        format!(
            r#"{{"ask":"receive","spec":{{"snapshot":"{name}@9","origin":null,"creates_dataset":true,"kind":"volume"}},"over_lanes":{},"stream":1,"buffer_bytes":{},"stall_limit_seconds":9}}"#,
            random.below(2) == 0,
            random.any()
        ),
    ];
    shapes[random.below(shapes.len())].clone()
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
