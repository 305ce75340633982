//! Streams as a run gets them: out of a process that calls ZFS.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use zhaul::host::{Local, Outgoing, SendSpec, SourceHost};
use zhaul::model::{CopyEncryption, DatasetName, Encryption};
use zhaul::stream::{ByteSource, Cancel};

use crate::look;
use crate::pool::{Scratch, snapshot, zfs};

/// The source, and a dataset with a snapshot "1" that holds this number of MiB.
fn source(name: &str, mebibytes: u64) -> (Local, Scratch, Cancel) {
    let scratch = Scratch::new(name);
    let cancel = Cancel::new().unwrap();
    let zhaul = env!("CARGO_BIN_EXE_zhaul").into();
    let local = Local::through(zhaul, Duration::from_secs(600), &cancel).unwrap();
    look::write_file(scratch.dataset().as_str(), "data", mebibytes);
    zfs(&["snapshot", &format!("{}@1", scratch.dataset())]);
    (local, scratch, cancel)
}

fn full(dataset: &DatasetName) -> SendSpec {
    SendSpec {
        snapshot: snapshot(dataset, "1"),
        guid: None,
        base: None,
        resume: None,
        encryption: Encryption::Off,
        copy_encryption: CopyEncryption::AsSent,
    }
}

/// Reads up to `most` bytes; how many came before the stream's end.
fn read(stream: &mut (dyn ByteSource + '_), most: usize) -> io::Result<usize> {
    let mut buffer = vec![0; 1 << 20];
    let mut all = 0;
    while all < most {
        let room = buffer.len().min(most - all);
        match stream.read_within(&mut buffer[..room], None)?.unwrap() {
            0 => break,
            count => all += count,
        }
    }
    Ok(all)
}

/// Nothing keeps the snapshot any more.
fn assert_free(dataset: &DatasetName) {
    zfs(&["destroy", &format!("{dataset}@1")]);
}

#[test]
fn a_blocked_send_is_cancelled_at_once() {
    let (local, scratch, cancel) = source("calls-cancel", 32);
    let mut outgoing = local.send(&full(scratch.dataset())).unwrap();
    drop(outgoing.stream(&cancel).unwrap());
    // No process reads: the pipe fills and the kernel waits.
    thread::sleep(Duration::from_millis(300));
    let started = Instant::now();
    outgoing.finish().unwrap_err();
    let took = started.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_free(scratch.dataset());
}

/// Many streams at once, each dropped somewhere in the middle: nothing hangs and nothing stays busy.
#[test]
fn dropped_streams_leave_nothing_behind() {
    let (local, scratch, cancel) = source("calls-dropped", 8);
    let mut streams: Vec<Box<dyn Outgoing + '_>> =
        (0..8).map(|_| local.send(&full(scratch.dataset())).unwrap()).collect();
    for (outgoing, length) in streams.iter_mut().zip([1, 100, 4096, 70_000, 1 << 20, 3 << 20, 0, 9]) {
        let mut stream = outgoing.stream(&cancel).unwrap();
        assert_eq!(read(&mut *stream, length).unwrap(), length);
    }
    drop(streams);
    assert_free(scratch.dataset());
}

/// The process that writes this stream.
fn writer_of(stream: &(dyn ByteSource + '_)) -> i32 {
    let leads_to = |path: &str| fs::read_link(path).ok();
    let pipe = stream.bare_fd().unwrap().as_raw_fd();
    let pipe = leads_to(&format!("/proc/self/fd/{pipe}")).unwrap();
    let has_it = |pid: &i32| {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        open.into_iter().any(|entry| fs::read_link(entry.path()).is_ok_and(|path| path == pipe))
    };
    look::callers(std::process::id()).into_iter().find(has_it).unwrap()
}

#[test]
fn one_process_makes_one_call_after_another_and_ends_with_the_run() {
    let (local, scratch, cancel) = source("calls-again", 2);
    let mut used = BTreeSet::new();
    for _ in 0..4 {
        let mut outgoing = local.send(&full(scratch.dataset())).unwrap();
        let mut stream = outgoing.stream(&cancel).unwrap();
        used.insert(writer_of(&*stream));
        assert!(read(&mut *stream, usize::MAX).unwrap() > 2 << 20);
        drop(stream);
        outgoing.finish().unwrap();
        assert!(local.estimate(&full(scratch.dataset()), &cancel).unwrap().0 > 2 << 20);
    }
    assert_eq!(used.len(), 1, "{used:?}");
    drop(local);
    let left = look::callers(std::process::id());
    assert!(!left.iter().any(|pid| used.contains(pid)));
}

#[test]
fn signals_do_not_disturb_a_stream() {
    const WORDS: &str =
        "while kill -WINCH $0 && kill -TERM $0 && kill -INT $0 && kill -USR1 $0; do echo; sleep 0.001; done";
    let (local, scratch, cancel) = source("calls-signals", 128);
    let mut outgoing = local.send(&full(scratch.dataset())).unwrap();
    let mut stream = outgoing.stream(&cancel).unwrap();
    let caller = writer_of(&*stream).to_string();
    let mut storm = Command::new("sh");
    let mut storm = storm.args(["-c", WORDS, &caller]).stdout(Stdio::piped()).spawn().unwrap();
    // All four have arrived once.
    storm.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let bytes = read(&mut *stream, usize::MAX);
    drop(stream);
    drop((storm.kill(), storm.wait()));
    outgoing.finish().unwrap();
    assert!(bytes.unwrap() > 128 << 20);
}
