//! The binding against the kernel: what `libzfs_core` promises and zhaul builds on.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use zhaul::model::{DatasetName, ResumePoint, ResumeToken, SendFlags, SnapshotName};
use zhaul::zfs::{Cause, Error, Library, SendBase, SendRequest};

use crate::pool::{Scratch, bookmark, property, snapshot, zfs};

fn library() -> &'static Library {
    Library::load().expect("these tests need OpenZFS")
}

/// As zhaul sends: `-L -c -e`.
const FLAGS: SendFlags = SendFlags { large_block: true, embed: true, compress: true, raw: false };

fn full(dataset: &DatasetName, name: &str) -> SendRequest {
    SendRequest { snapshot: snapshot(dataset, name), base: None, flags: FLAGS, resume: None }
}

fn take(dataset: &DatasetName, name: &str) {
    library().snapshot(&[snapshot(dataset, name)], &BTreeMap::new()).unwrap();
}

/// Writes `mib` MiB that do not compress, different for each `seed`, and waits until they are on disk.
fn fill(dataset: &DatasetName, file: &str, mib: u64, seed: u64) {
    let path = format!("{}/{file}", property("mountpoint", dataset.as_str()));
    let mut out = fs::File::create(path).unwrap();
    let mut state = seed | 1;
    let mut block = vec![0; 1 << 20];
    for _ in 0..mib {
        for word in block.chunks_exact_mut(8) {
            // xorshift64: enough that lz4 finds nothing.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_ne_bytes());
        }
        out.write_all(&block).unwrap();
    }
    out.sync_all().unwrap();
}

fn receive(target: &DatasetName) -> Child {
    Command::new("zfs")
        .args(["receive", "-s", "-u", target.as_str()])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Sends, on a thread, into a pipe; what the call returned comes when its end or nothing more of it is read.
fn send(request: &SendRequest) -> (io::PipeReader, JoinHandle<Result<(), Error>>) {
    let (reader, writer) = io::pipe().unwrap();
    let request = request.clone();
    (reader, thread::spawn(move || library().send_into(&request, &writer)))
}

/// Sends into `zfs receive` and returns how many bytes the stream had.
fn transfer(request: &SendRequest, target: &DatasetName) -> u64 {
    let (mut stream, call) = send(request);
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    call.join().unwrap().unwrap();
    let mut child = receive(target);
    // Not by io::copy: it moves what is left, nothing, into a pipe that `zfs receive` may have closed at the end record.
    let written = child.stdin.take().unwrap().write_all(&bytes);
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && written.is_ok(),
        "zfs receive: {} {stderr}, {written:?}",
        output.status
    );
    u64::try_from(bytes.len()).unwrap()
}

/// Every file of a snapshot, in order of the names.
fn content(dataset: &DatasetName, name: &str) -> Vec<(OsString, Vec<u8>)> {
    let root = format!("{}/.zfs/snapshot/{name}", property("mountpoint", dataset.as_str()));
    let entries = fs::read_dir(root).unwrap().map(Result::unwrap);
    let mut files: Vec<_> = entries.map(|e| (e.file_name(), fs::read(e.path()).unwrap())).collect();
    files.sort();
    files
}

#[test]
fn snapshots_of_one_call_share_a_transaction_group() {
    let scratch = Scratch::new("one-txg");
    let datasets: Vec<_> = (0..5).map(|i| scratch.create(&format!("disk-{i}"))).collect();
    let names: Vec<_> = datasets.iter().map(|d| snapshot(d, "s")).collect();
    let properties = BTreeMap::from([("zhaul:config".to_owned(), "name: a b\nö".to_owned())]);
    library().snapshot(&names, &properties).unwrap();

    let txgs: Vec<_> = names.iter().map(|n| property("createtxg", &n.to_string())).collect();
    assert!(txgs.iter().all(|txg| *txg == txgs[0]), "{txgs:?}");
    let kept = property("zhaul:config", &names[4].to_string());
    assert_eq!(kept, "name: a b\nö");
    assert!(library().exists(&names[0].to_string()));
    assert!(!library().exists(&snapshot(&datasets[0], "t").to_string()));

    // One that exists keeps all from being taken.
    let mixed = [snapshot(&datasets[0], "t"), names[1].clone()];
    let error = library().snapshot(&mixed, &BTreeMap::new()).unwrap_err();
    assert_eq!(*error.cause(), Cause::Exists, "{error:?}");
    assert_eq!(error.entries()[0].name, names[1].to_string());
    assert!(!library().exists(&mixed[0].to_string()));
}

#[test]
fn bookmarks_keep_guid_and_txg() {
    let scratch = Scratch::new("bookmarks");
    let dataset = scratch.dataset();
    for name in ["first", "second"] {
        take(dataset, name);
        library().bookmark(&[(bookmark(dataset, name), snapshot(dataset, name))]).unwrap();
    }
    let listed = library().bookmarks(dataset).unwrap();
    assert_eq!(listed.len(), 2);
    for (found, name) in listed.iter().zip(["first", "second"]) {
        let snapshot = snapshot(dataset, name).to_string();
        assert_eq!(found.name.as_str(), name, "oldest first");
        assert_eq!(found.guid.0.to_string(), property("guid", &snapshot));
        assert_eq!(found.createtxg.0.to_string(), property("createtxg", &snapshot));
        assert_eq!(found.creation_secs.to_string(), property("creation", &snapshot));
    }

    let again = [(bookmark(dataset, "first"), snapshot(dataset, "second"))];
    let error = library().bookmark(&again).unwrap_err();
    assert_eq!(*error.cause(), Cause::Exists, "{error:?}");

    library().destroy_bookmarks(&[bookmark(dataset, "first")]).unwrap();
    library().destroy_bookmarks(&[bookmark(dataset, "first")]).unwrap();
    assert_eq!(library().bookmarks(dataset).unwrap().len(), 1);
    let error = library().bookmarks(&scratch.child("absent")).unwrap_err();
    assert_eq!(*error.cause(), Cause::NotFound, "{error:?}");
}

#[test]
fn full_and_incremental_streams_are_received() {
    let scratch = Scratch::new("streams");
    let (source, target) = (scratch.create("source"), scratch.child("target"));
    fill(&source, "a", 4, 1);
    take(&source, "1");
    let bytes = transfer(&full(&source, "1"), &target);
    let estimate = library().estimate_send(&full(&source, "1")).unwrap();
    assert!(bytes.abs_diff(estimate) < bytes / 10, "{bytes} sent, {estimate} estimated");

    fill(&source, "b", 2, 2);
    take(&source, "2");
    let base = Some(SendBase::Snapshot(snapshot(&source, "1")));
    let request = SendRequest { base, ..full(&source, "2") };
    let bytes = transfer(&request, &target);
    assert!((2 << 20..3 << 20).contains(&bytes), "{bytes}");

    // From a bookmark alone: the snapshot is gone.
    library().bookmark(&[(bookmark(&source, "2"), snapshot(&source, "2"))]).unwrap();
    library().destroy_snapshots(&[snapshot(&source, "2")]).unwrap();
    fill(&source, "c", 1, 3);
    take(&source, "3");
    let base = Some(SendBase::Bookmark(bookmark(&source, "2")));
    let request = SendRequest { base, ..full(&source, "3") };
    let estimate = library().estimate_send(&request).unwrap();
    let bytes = transfer(&request, &target);
    assert!(bytes.abs_diff(estimate) < bytes / 5, "{bytes} sent, {estimate} estimated");
    for name in ["1", "3"] {
        let (ours, theirs) = (snapshot(&source, name), snapshot(&target, name));
        assert_eq!(property("guid", &ours.to_string()), property("guid", &theirs.to_string()));
    }
    zfs(&["mount", target.as_str()]);
    assert!(content(&source, "3") == content(&target, "3"), "the content differs");
}

#[test]
fn a_base_that_is_no_ancestor_is_said_to_be_none() {
    let scratch = Scratch::new("ancestor");
    let (one, two) = (scratch.create("one"), scratch.create("two"));
    take(&one, "1");
    take(&two, "2");
    let request = |base| SendRequest { base: Some(SendBase::Snapshot(base)), ..full(&two, "2") };
    let outcome = |request: &SendRequest| {
        let (mut stream, call) = send(request);
        io::copy(&mut stream, &mut io::sink()).unwrap();
        call.join().unwrap().unwrap_err()
    };
    let error = outcome(&request(snapshot(&one, "1")));
    assert_eq!(*error.cause(), Cause::NotAncestor, "{error:?}");
    let error = outcome(&request(snapshot(&two, "absent")));
    assert_eq!(*error.cause(), Cause::NotFound, "{error:?}");
    let error = library().estimate_send(&request(snapshot(&one, "1"))).unwrap_err();
    assert_eq!(*error.cause(), Cause::NotAncestor, "{error:?}");
}

/// The file that a hold hangs on may be open for a moment longer, in a child that another test is about to start.
fn wait_until_free(held: &SnapshotName) {
    let start = Instant::now();
    while !library().holds(held).unwrap().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(10), "{held} is still held");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Not a test of its own: what `a_killed_process_leaves_no_hold` kills.
#[test]
#[ignore = "waits to be killed by a_killed_process_leaves_no_hold"]
fn hold_until_killed() {
    let held = env::var_os("ZHAUL_TEST_HOLD").expect("started by a_killed_process_leaves_no_hold");
    let held = SnapshotName::parse(held.to_str().unwrap()).unwrap();
    let _holds = library().hold(&[held]).unwrap();
    thread::sleep(Duration::from_mins(1));
}

#[test]
fn a_killed_process_leaves_no_hold() {
    let scratch = Scratch::new("killed");
    take(scratch.dataset(), "1");
    let held = snapshot(scratch.dataset(), "1");
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "binding::hold_until_killed", "--ignored"])
        .env("ZHAUL_TEST_HOLD", held.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while library().holds(&held).unwrap().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(30), "the child took no hold");
        thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until_free(&held);
    library().destroy_snapshots(&[held]).unwrap();
}

#[test]
fn a_hold_ends_with_its_value() {
    let scratch = Scratch::new("hold");
    let dataset = scratch.dataset();
    take(dataset, "1");
    take(dataset, "2");
    let held = [snapshot(dataset, "1"), snapshot(dataset, "2")];
    let holds = library().hold(&held).unwrap();
    let error = library().destroy_snapshots(&held[..1]).unwrap_err();
    assert_eq!(*error.cause(), Cause::Busy, "{error:?}");
    let tags = library().holds(&held[0]).unwrap();
    assert!(tags.keys().all(|tag| tag.starts_with("zhaul-")) && tags.len() == 1, "{tags:?}");

    // As in a child that is being started: between fork and exec it has a copy of every descriptor.
    let copy = holds.file().try_clone().unwrap();
    drop(holds);
    assert_eq!(library().holds(&held[0]).unwrap(), BTreeMap::new());
    library().destroy_snapshots(&held).unwrap();
    drop(copy);

    let error = library().hold(&held).unwrap_err();
    assert_eq!(*error.cause(), Cause::NotFound, "{error:?}");
}

#[test]
fn a_failing_batch_names_exactly_the_held_and_the_cloned() {
    let scratch = Scratch::new("batch");
    let dataset = scratch.create("source");
    let names: Vec<_> = (0..6).map(|i| snapshot(&dataset, &i.to_string())).collect();
    for name in &names {
        library().snapshot(std::slice::from_ref(name), &BTreeMap::new()).unwrap();
    }
    zfs(&["hold", "mine", &names[2].to_string()]);
    zfs(&["clone", &names[4].to_string(), scratch.child("clone").as_str()]);

    let error = library().destroy_snapshots(&names).unwrap_err();
    let entries: Vec<_> = error.entries().iter().map(|e| (e.name.clone(), e.cause.clone())).collect();
    let expected = [(names[2].to_string(), Cause::Busy), (names[4].to_string(), Cause::Cloned)];
    assert_eq!(entries, expected);
    assert!(names.iter().all(|name| library().exists(&name.to_string())), "all or none");

    let rest: Vec<_> = [0, 1, 3, 5].map(|i| names[i].clone()).into();
    library().destroy_snapshots(&rest).unwrap();
    library().destroy_snapshots(&rest).unwrap();
    zfs(&["destroy", scratch.child("clone").as_str()]);
    zfs(&["release", "mine", &names[2].to_string()]);
}

#[test]
fn a_stream_that_broke_off_is_resumed() {
    let scratch = Scratch::new("resume");
    let (source, target) = (scratch.create("source"), scratch.child("target"));
    // The token says what the stream has, not what it might have had: no large blocks, no flag.
    zfs(&["set", "recordsize=1M", source.as_str()]);
    fill(&source, "a", 48, 7);
    take(&source, "1");

    let (stream, call) = send(&full(&source, "1"));
    let mut child = receive(&target);
    let mut input = child.stdin.take().unwrap();
    io::copy(&mut stream.take(30 << 20), &mut input).unwrap();
    drop(input);
    assert_eq!(*call.join().unwrap().unwrap_err().cause(), Cause::Cancelled);
    assert!(!child.wait_with_output().unwrap().status.success());

    let text = property("receive_resume_token", target.as_str());
    let token = ResumeToken::parse(&text).unwrap();
    assert_eq!(token.to_name, snapshot(&source, "1").to_string());
    assert_eq!(token.to_guid.0.to_string(), property("guid", &token.to_name));
    assert_eq!(token.from_guid, None);
    assert!(token.large_block && token.compress && token.embed && !token.raw, "{token:?}");
    assert!(token.received_bytes > 20 << 20, "{token:?}");

    let resume = Some(ResumePoint {
        object: token.object,
        offset: token.offset,
        received_bytes: token.received_bytes,
        flags: FLAGS,
    });
    let request = SendRequest { resume, ..full(&source, "1") };
    let estimate = library().estimate_send(&request).unwrap();
    let bytes = transfer(&request, &target);
    assert!(bytes < 26 << 20, "{bytes}: only the rest is sent");
    println!("rest: {bytes} bytes, estimated {estimate}; token {text}");
    zfs(&["mount", target.as_str()]);
    assert!(content(&source, "1") == content(&target, "1"), "the content differs");
}
