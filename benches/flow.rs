//! One end of a data path as a process of its own, so that what it costs can be measured beside `pv`, `mbuffer` and `zstd`:
//! `benches/side_by_side.sh` does. Without arguments it does nothing.
//!
//! ```text
//! flow send WAY [HOST:PORT [CONNECTIONS]]      standard input  → network, or standard output without an address
//! flow receive WAY [PORT [CONNECTIONS]]        network or standard input → standard output
//! flow send tls|tcp DIR CONNECTIONS            standard input  → CONNECTIONS, opened by way of two files in DIR
//! flow receive tls|tcp DIR CONNECTIONS         CONNECTIONS → standard output
//! flow rate MIB                          10 s of zeros at MIB MiB/s into nothing: how exactly that rate is kept
//! flow source FILE TIMES [wide]          writes a file as the kernel writes a stream; wide: into a pipe as zhaul makes it
//! flow sink                              reads standard input as `zfs receive` does, and forgets it
//! ```
//! `source` and `sink` stand for ZFS: what they take of the CPU they add to the file that `FLOW_ZFS` names.
//! WAY is `bare` (the least that can be written for a hop), `plain` (the pump without frames), or a compression.

#![expect(clippy::unwrap_used, clippy::print_stderr, clippy::panic, reason = "a bench fails by panicking")]

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use rustix::pipe::{SpliceFlags, splice};
use zhaul::channel::connections::{Caller, Connection, ConnectionKind, Listening};
use zhaul::model::{PortRange, RateSchedule};
use zhaul::stream::endpoint::widen;
use zhaul::stream::framed::{FramedReceiver, FramedSender, workers};
use zhaul::stream::meter::{Meters, Places};
use zhaul::stream::pump::{Pump, PumpSettings};
use zhaul::stream::rate::{RateLimit, SystemClock};
use zhaul::stream::{ByteSink, ByteSource, Cancel, FdSource, FdTarget};

const BUFFER_BYTES: u64 = 256 << 20;
const PIPE_BYTES: usize = 1 << 20;
const STREAM: u32 = 1;
const LIMIT: Duration = Duration::from_secs(20);

fn main() {
    // Cargo adds `--bench`.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => {}
        ["source", file, times] => source(file, times.parse().unwrap(), false),
        ["source", file, times, "wide"] => source(file, times.parse().unwrap(), true),
        ["sink"] => sink(),
        ["rate", mib] => rate(mib.parse().unwrap()),
        ["send", "bare", address] => bare(io::stdin().as_fd(), connect(address).as_fd()),
        ["receive", "bare", port] => bare(accept(port, 1)[0].as_fd(), output().as_fd()),
        ["send", kind @ ("tls" | "tcp"), dir, connections] => {
            send_connections("off", &mut call(kind, Path::new(dir), connections.parse().unwrap()));
        }
        ["receive", "tls" | "tcp", dir, connections] => {
            receive_connections(&mut listen(Path::new(dir), connections.parse().unwrap()));
        }
        ["send", way] => send(way, vec![own(io::stdout().as_fd())]),
        ["send", way, address] => send(way, vec![connect(address)]),
        ["send", way, address, connections] => {
            let connections: usize = connections.parse().unwrap();
            send(way, (0..connections).map(|_| connect(address)).collect());
        }
        ["receive", way] => receive(way, vec![own(io::stdin().as_fd())]),
        ["receive", way, port] => receive(way, accept(port, 1)),
        ["receive", way, port, connections] => receive(way, accept(port, connections.parse().unwrap())),
        _ => eprintln!("flow send|receive WAY [ADDRESS [CONNECTIONS]], or flow sink"),
    }
    if std::env::var_os("FLOW_PEAK").is_some() {
        print_peak(&words.join(" "));
    }
}

/// Pumps zeros for ten seconds at a limit, and prints how far off the average and the worst second were.
fn rate(mib: u64) {
    const SECONDS: u32 = 10;
    let wanted = NonZeroU64::new(mib << 20).unwrap();
    let limit = RateLimit::new(RateSchedule::constant(wanted), SystemClock::new(TimeZone::UTC));
    let (source, zeros) = io::pipe().unwrap();
    let (drain, target) = io::pipe().unwrap();
    let cancel = Cancel::new().unwrap();
    let pump = Pump {
        settings: PumpSettings { buffer_bytes: 8 << 20, rate: Some(Arc::new(limit)), stall_limit: None },
        meters: Meters::new(Places::LOCAL, 0),
        cancel: cancel.clone(),
        samples: None,
    };
    let (meters, halt) = (Arc::clone(&pump.meters), cancel.clone());
    thread::scope(|scope| {
        scope.spawn(move || io::copy(&mut io::repeat(0), &mut &zeros));
        scope.spawn(move || io::copy(&mut &drain, &mut io::sink()));
        let pumping = scope.spawn(move || {
            let (from, to) =
                (FdSource::new(source, &cancel).unwrap(), FdTarget::new(target, &cancel).unwrap());
            pump.run(from, to)
        });
        // The first moments fill pipes that were empty.
        thread::sleep(Duration::from_millis(300));
        let begun = Instant::now();
        let mut seen = vec![(Duration::ZERO, meters.output_bytes())];
        while begun.elapsed() < Duration::from_secs(SECONDS.into()) {
            thread::sleep(Duration::from_millis(50));
            seen.push((begun.elapsed(), meters.output_bytes()));
        }
        let off = |from: (Duration, u64), to: (Duration, u64)| {
            let seconds = to.0.saturating_sub(from.0).as_secs_f64();
            let bytes = u32::try_from((to.1 - from.1) >> 10).unwrap();
            let expected = f64::from(u32::try_from(mib << 10).unwrap()) * seconds;
            (f64::from(bytes) / expected - 1.0) * 100.0
        };
        let average = off(seen[0], seen[seen.len() - 1]);
        let second = |start: &(Duration, u64)| {
            let end = seen.iter().find(|at| at.0 >= start.0 + Duration::from_secs(1))?;
            Some(off(*start, *end))
        };
        let worst = seen
            .iter()
            .filter_map(second)
            .fold(0.0_f64, |worst, one| if one.abs() > worst.abs() { one } else { worst });
        eprintln!(
            "flow rate {mib} MiB/s: {average:+.2} % over {SECONDS} s, {worst:+.2} % in the worst second"
        );
        halt.request();
        drop(pumping.join());
    });
}

/// The most memory that this process ever had (`VmHWM` of proc(5)), on standard error.
fn print_peak(what: &str) {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    eprintln!("flow {what}: peak {} MiB, of which the buffer may take {}", kib >> 10, BUFFER_BYTES >> 20);
}

fn own(fd: BorrowedFd<'_>) -> OwnedFd {
    fd.try_clone_to_owned().unwrap()
}

/// Standard output, as wide as zhaul makes the pipe to `zfs receive`.
fn output() -> OwnedFd {
    let output = own(io::stdout().as_fd());
    widen(&output, PIPE_BYTES);
    output
}

fn connect(address: &str) -> OwnedFd {
    for _ in 0..500 {
        if let Ok(stream) = TcpStream::connect(address) {
            stream.set_nodelay(true).unwrap();
            return stream.into();
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("no process listens at {address}");
}

fn accept(port: &str, connections: usize) -> Vec<OwnedFd> {
    let listener = TcpListener::bind(("127.0.0.1", port.parse().unwrap())).unwrap();
    (0..connections).map(|_| listener.accept().unwrap().0.into()).collect()
}

/// The exchange that ssh carries otherwise: the calling end's side.
fn call(kind: &str, dir: &Path, connections: usize) -> Vec<Connection> {
    let cancel = Cancel::new().unwrap();
    let kind = if kind == "tls" { ConnectionKind::Tls } else { ConnectionKind::Tcp };
    let caller = Caller::new(kind).unwrap();
    put(dir, "greeting", &caller.greeting());
    caller.connect(&wait_for(dir, "offer"), connections, LIMIT, &cancel).unwrap()
}

/// And the listening end's.
fn listen(dir: &Path, connections: usize) -> Vec<Connection> {
    let cancel = Cancel::new().unwrap();
    let greeting = wait_for(dir, "greeting");
    let (listening, offer) = Listening::open(&greeting, [127, 0, 0, 1].into(), PortRange::default()).unwrap();
    put(dir, "offer", &offer);
    listening.accept(connections, LIMIT, &cancel).unwrap()
}

/// Writes a file, all of it at once.
fn put(dir: &Path, name: &str, what: &impl serde::Serialize) {
    let half = dir.join("half");
    fs::write(&half, serde_json::to_vec(what).unwrap()).unwrap();
    fs::rename(half, dir.join(name)).unwrap();
}

/// Takes a file away when it comes.
fn wait_for<T: serde::de::DeserializeOwned>(dir: &Path, name: &str) -> T {
    let path = dir.join(name);
    for _ in 0..5000 {
        if let Ok(text) = fs::read(&path) {
            fs::remove_file(path).unwrap();
            return serde_json::from_slice(&text).unwrap();
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("no process writes {}", path.display());
}

/// How much the kernel and `zfs receive` move at a time: a block with its record.
const PIECE_BYTES: usize = 128 << 10;

fn source(file: &str, times: u32, is_wide: bool) {
    // Not as `Stdout`, which looks for ends of lines.
    let mut output = File::from(own(io::stdout().as_fd()));
    if is_wide {
        widen(&output, PIPE_BYTES);
    }
    let mut piece = vec![0; PIECE_BYTES];
    for _ in 0..times {
        let mut file = File::open(file).unwrap();
        loop {
            let read = file.read(&mut piece).unwrap();
            if read == 0 {
                break;
            }
            output.write_all(&piece[..read]).unwrap();
        }
    }
    tell_cpu();
}

fn sink() {
    let mut piece = vec![0; PIECE_BYTES];
    while io::stdin().lock().read(&mut piece).unwrap() > 0 {}
    tell_cpu();
}

/// Adds a line with the seconds of CPU that this process has taken.
fn tell_cpu() {
    if let Some(path) = std::env::var_os("FLOW_ZFS") {
        let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let line = format!("{}.{:09}\n", spent.tv_sec, spent.tv_nsec);
        File::options().append(true).create(true).open(path).unwrap().write_all(line.as_bytes()).unwrap();
    }
}

/// One thread, one splice for each piece, nothing else.
fn bare(from: BorrowedFd<'_>, to: BorrowedFd<'_>) {
    while splice(from, None, to, None, 1 << 20, SpliceFlags::MOVE).unwrap() > 0 {}
}

fn settings() -> PumpSettings {
    PumpSettings { buffer_bytes: BUFFER_BYTES, rate: None, stall_limit: None }
}

fn plain(from: OwnedFd, to: OwnedFd, places: Places) {
    let cancel = Cancel::new().unwrap();
    let (from, to) = (FdSource::new(from, &cancel).unwrap(), FdTarget::new(to, &cancel).unwrap());
    let pump = Pump { settings: settings(), meters: Meters::new(places, 0), cancel, samples: None };
    pump.run(from, to).unwrap();
}

fn send(way: &str, mut connections: Vec<OwnedFd>) {
    let input = own(io::stdin().as_fd());
    if way == "plain" {
        return plain(input, connections.remove(0), Places::SENDING);
    }
    let cancel = Cancel::new().unwrap();
    let target = |connection| -> Box<dyn ByteSink> { Box::new(FdTarget::new(connection, &cancel).unwrap()) };
    send_frames(way, input, connections.into_iter().map(target).collect(), &cancel);
}

fn send_connections(way: &str, connections: &mut [Connection]) {
    let cancel = Cancel::new().unwrap();
    let connections = connections.iter_mut().map(|connection| connection.target(&cancel).unwrap()).collect();
    send_frames(way, own(io::stdin().as_fd()), connections, &cancel);
}

fn send_frames(way: &str, input: OwnedFd, connections: Vec<Box<dyn ByteSink + '_>>, cancel: &Cancel) {
    let meters = Meters::new(Places::SENDING, workers());
    let source = FdSource::new(input, cancel).unwrap();
    let compression = way.parse().unwrap();
    let sender = FramedSender {
        settings: settings(),
        compression,
        stream: STREAM,
        meters,
        cancel: cancel.clone(),
        samples: None,
    };
    let report = sender.run(source, connections).unwrap();
    if std::env::var_os("FLOW_SAYS").is_some() {
        eprintln!("sent {} bytes as {}", report.input_bytes, report.output_bytes);
    }
}

fn receive(way: &str, mut connections: Vec<OwnedFd>) {
    if way == "plain" {
        return plain(connections.remove(0), output(), Places::RECEIVING);
    }
    let cancel = Cancel::new().unwrap();
    let source =
        |connection| -> Box<dyn ByteSource> { Box::new(FdSource::new(connection, &cancel).unwrap()) };
    receive_frames(connections.into_iter().map(source).collect(), &cancel);
}

fn receive_connections(connections: &mut [Connection]) {
    let cancel = Cancel::new().unwrap();
    let connections = connections.iter_mut().map(|connection| connection.source(&cancel).unwrap()).collect();
    receive_frames(connections, &cancel);
}

fn receive_frames(connections: Vec<Box<dyn ByteSource + '_>>, cancel: &Cancel) {
    let meters = Meters::new(Places::RECEIVING, workers());
    let target = FdTarget::new(output(), cancel).unwrap();
    let receiver = FramedReceiver {
        settings: settings(),
        stream: STREAM,
        meters,
        cancel: cancel.clone(),
        samples: None,
    };
    receiver.run(connections, target).unwrap();
}
