//! One end of a data path as a process of its own, so that what it costs can be measured beside `pv`, `mbuffer` and `zstd`:
//! `benches/side_by_side.sh` does. Without arguments it does nothing.
//!
//! ```text
//! flow send WAY [HOST:PORT [LANES]]      standard input  → network, or standard output without an address
//! flow receive WAY [PORT [LANES]]        network or standard input → standard output
//! flow sink                              reads standard input as `zfs receive` does, and forgets it
//! ```
//! WAY is `bare` (the least that can be written for a hop), `plain` (the pump without frames), or a compression.

#![expect(clippy::unwrap_used, clippy::print_stderr, clippy::panic, reason = "a bench fails by panicking")]

use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::Duration;

use rustix::pipe::{SpliceFlags, splice};
use zhaul::stream::framed::{Receiver, Sender, workers};
use zhaul::stream::meter::{Meters, Places};
use zhaul::stream::pump::{Pump, PumpSettings};
use zhaul::stream::{Cancel, FdSource, FdTarget, Source, Target};

const BUFFER_BYTES: u64 = 256 << 20;
const STREAM: u32 = 1;

fn main() {
    // Cargo adds `--bench`.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => {}
        ["sink"] => sink(),
        ["send", "bare", address] => bare(io::stdin().as_fd(), connect(address).as_fd()),
        ["receive", "bare", port] => bare(accept(port, 1)[0].as_fd(), io::stdout().as_fd()),
        ["send", way] => send(way, vec![own(io::stdout().as_fd())]),
        ["send", way, address] => send(way, vec![connect(address)]),
        ["send", way, address, lanes] => {
            let lanes: usize = lanes.parse().unwrap();
            send(way, (0..lanes).map(|_| connect(address)).collect());
        }
        ["receive", way] => receive(way, vec![own(io::stdin().as_fd())]),
        ["receive", way, port] => receive(way, accept(port, 1)),
        ["receive", way, port, lanes] => receive(way, accept(port, lanes.parse().unwrap())),
        _ => eprintln!("flow send|receive WAY [ADDRESS [LANES]], or flow sink"),
    }
}

fn own(fd: BorrowedFd<'_>) -> OwnedFd {
    fd.try_clone_to_owned().unwrap()
}

fn connect(address: &str) -> OwnedFd {
    for _ in 0..500 {
        if let Ok(stream) = TcpStream::connect(address) {
            stream.set_nodelay(true).unwrap();
            return stream.into();
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("nobody listens at {address}");
}

fn accept(port: &str, lanes: usize) -> Vec<OwnedFd> {
    let listener = TcpListener::bind(("127.0.0.1", port.parse().unwrap())).unwrap();
    (0..lanes).map(|_| listener.accept().unwrap().0.into()).collect()
}

fn sink() {
    let mut buffer = vec![0; 128 << 10];
    while io::stdin().lock().read(&mut buffer).unwrap() > 0 {}
}

/// One thread, one splice for each piece, nothing else.
fn bare(from: BorrowedFd<'_>, to: BorrowedFd<'_>) {
    while splice(from, None, to, None, 1 << 20, SpliceFlags::MOVE).unwrap() > 0 {}
}

fn settings() -> PumpSettings {
    PumpSettings { buffer_bytes: BUFFER_BYTES, rate: None, stall_limit: None }
}

fn plain(from: OwnedFd, to: OwnedFd, places: Places) {
    let stop = Cancel::new().unwrap();
    let (from, to) = (FdSource::new(from, &stop).unwrap(), FdTarget::new(to, &stop).unwrap());
    let pump = Pump { settings: settings(), meters: Meters::new(places, 0), stop, samples: None };
    pump.run(from, to).unwrap();
}

fn send(way: &str, mut lanes: Vec<OwnedFd>) {
    let input = own(io::stdin().as_fd());
    if way == "plain" {
        return plain(input, lanes.remove(0), Places::SENDING);
    }
    let stop = Cancel::new().unwrap();
    let meters = Meters::new(Places::SENDING, workers());
    let target = |lane| -> Box<dyn Target> { Box::new(FdTarget::new(lane, &stop).unwrap()) };
    let lanes = lanes.into_iter().map(target).collect();
    let source = FdSource::new(input, &stop).unwrap();
    let compression = way.parse().unwrap();
    let sender = Sender {
        settings: settings(),
        compression,
        stream: STREAM,
        meters,
        stop: stop.clone(),
        samples: None,
    };
    let report = sender.run(source, lanes).unwrap();
    if std::env::var_os("FLOW_SAYS").is_some() {
        eprintln!("sent {} bytes as {}", report.input_bytes, report.output_bytes);
    }
}

fn receive(way: &str, mut lanes: Vec<OwnedFd>) {
    let output = own(io::stdout().as_fd());
    if way == "plain" {
        return plain(lanes.remove(0), output, Places::RECEIVING);
    }
    let stop = Cancel::new().unwrap();
    let meters = Meters::new(Places::RECEIVING, workers());
    let source = |lane| -> Box<dyn Source> { Box::new(FdSource::new(lane, &stop).unwrap()) };
    let lanes = lanes.into_iter().map(source).collect();
    let target = FdTarget::new(output, &stop).unwrap();
    let receiver =
        Receiver { settings: settings(), stream: STREAM, meters, stop: stop.clone(), samples: None };
    receiver.run(lanes, target).unwrap();
}
