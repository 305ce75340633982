//! Streams in frames over both kinds of connections: exact bytes, whatever the number of connections, compression and length.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use super::{Caller, Connection, ConnectionError, ConnectionKind, Listening, Offer};
use crate::model::PortRange;
use crate::stream::framed::{FramedReceiver, FramedSender};
use crate::stream::meter::{Meters, Places};
use crate::stream::pump::PumpSettings;
use crate::stream::supervise::PumpError;
use crate::stream::{Cancel, Compression, Plain};

pub(super) const KINDS: [ConnectionKind; 2] = [ConnectionKind::Tls, ConnectionKind::Tcp];
pub(super) const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
pub(super) const LIMIT: Duration = Duration::from_secs(20);
const MIB: usize = 1 << 20;

/// Opens a listener for a new caller.
pub(super) fn open(kind: ConnectionKind) -> (Caller, Listening, Offer) {
    let caller = Caller::new(kind).unwrap();
    let (listening, offer) = Listening::open(&caller.greeting(), HERE, PortRange::default()).unwrap();
    (caller, listening, offer)
}

type Opened = Result<Vec<Connection>, ConnectionError>;

/// Connects both ends; returns the results at the caller and at the listener.
pub(super) fn meet(
    caller: Caller,
    listening: Listening,
    offer: &Offer,
    connections: usize,
) -> (Opened, Opened) {
    let cancel = Cancel::new().unwrap();
    thread::scope(|scope| {
        let accepting = scope.spawn(|| listening.accept(connections, LIMIT, &cancel));
        let near = caller.connect(offer, connections, LIMIT, &cancel);
        if near.is_err() {
            cancel.request();
        }
        (near, accepting.join().unwrap())
    })
}

/// Connections between two ends of this process: the caller's, and the listener's.
pub(super) fn connections(kind: ConnectionKind, count: usize) -> (Vec<Connection>, Vec<Connection>) {
    let (caller, listening, offer) = open(kind);
    let asked = Instant::now();
    let (near, far) = meet(caller, listening, &offer, count);
    assert!(asked.elapsed() < LIMIT / 2, "connections that are there are not waited for");
    (near.unwrap(), far.unwrap())
}

/// A stream of which half the chunks shrink, made as it is read.
struct Made {
    at: u64,
    end: u64,
}

/// The period of the stream: half noise, half compressible data; its length is no multiple of a chunk.
fn made() -> &'static [u8] {
    static MADE: OnceLock<Vec<u8>> = OnceLock::new();
    MADE.get_or_init(|| {
        let byte = |at: u64| {
            let of = if (at >> 19) & 1 == 0 { at } else { at >> 6 };
            (of.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56).to_le_bytes()[0]
        };
        (0..1_048_583).map(byte).collect()
    })
}

/// The stream's bytes from `at` to the end of the period.
fn made_from(at: u64) -> &'static [u8] {
    let length = u64::try_from(made().len()).unwrap();
    &made()[usize::try_from(at % length).unwrap()..]
}

impl Read for Made {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap();
        let made = made_from(self.at);
        let piece = buffer.len().min(left).min(made.len()).min(100_003);
        buffer[..piece].copy_from_slice(&made[..piece]);
        self.at += u64::try_from(piece).unwrap();
        Ok(piece)
    }
}

/// Checks that the output equals the synthetic stream; counts its bytes.
#[derive(Clone, Default)]
pub(super) struct Checked(Arc<AtomicU64>);

impl Checked {
    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Write for Checked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (mut left, mut at) = (bytes, self.bytes());
        while !left.is_empty() {
            let made = made_from(at);
            let piece = left.len().min(made.len());
            assert!(
                left[..piece] == made[..piece],
                "between {at} and {}",
                at + u64::try_from(piece).unwrap()
            );
            left = &left[piece..];
            at += u64::try_from(piece).unwrap();
        }
        self.0.store(at, Ordering::SeqCst);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One transfer about to run.
#[derive(Clone)]
pub(super) struct Transfer {
    pub(super) stream: u32,
    pub(super) bytes: usize,
    pub(super) compression: Compression,
    pub(super) cancel_sender: Cancel,
    pub(super) cancel_receiver: Cancel,
    pub(super) checked: Checked,
}

impl Transfer {
    pub(super) fn new(stream: u32, bytes: usize, compression: Compression) -> Self {
        let (cancel_sender, cancel_receiver) = (Cancel::new().unwrap(), Cancel::new().unwrap());
        Self { stream, bytes, compression, cancel_sender, cancel_receiver, checked: Checked::default() }
    }

    pub(super) fn send(&self, connections: &mut [Connection]) -> Result<(), PumpError> {
        let sender = FramedSender {
            settings: settings(),
            compression: self.compression,
            stream: self.stream,
            meters: Meters::new(Places::SENDING, 2),
            cancel: self.cancel_sender.clone(),
            samples: None,
        };
        let targets = connections
            .iter_mut()
            .map(|connection| connection.target(&sender.cancel))
            .collect::<Result<_, _>>();
        let source = Made { at: 0, end: u64::try_from(self.bytes).unwrap() };
        sender.run(Plain(source), targets.map_err(PumpError::Setup)?).map(drop)
    }

    pub(super) fn receive(&self, connections: &mut [Connection]) -> Result<(), PumpError> {
        let receiver = FramedReceiver {
            settings: settings(),
            stream: self.stream,
            meters: Meters::new(Places::RECEIVING, 2),
            cancel: self.cancel_receiver.clone(),
            samples: None,
        };
        let sources = connections
            .iter_mut()
            .map(|connection| connection.source(&receiver.cancel))
            .collect::<Result<_, _>>();
        receiver.run(sources.map_err(PumpError::Setup)?, Plain(self.checked.clone())).map(drop)
    }

    /// Sends and receives at the same time.
    pub(super) fn run(
        &self,
        from: &mut [Connection],
        to: &mut [Connection],
    ) -> (Result<(), PumpError>, Result<(), PumpError>) {
        thread::scope(|scope| {
            let sending = scope.spawn(|| self.send(from));
            let received = self.receive(to);
            (sending.join().unwrap(), received)
        })
    }

    fn arrives(&self, from: &mut [Connection], to: &mut [Connection]) {
        let (sent, received) = self.run(from, to);
        sent.unwrap();
        received.unwrap();
        assert_eq!(self.checked.bytes(), u64::try_from(self.bytes).unwrap());
    }
}

fn settings() -> PumpSettings {
    PumpSettings { buffer_bytes: 8 << 20, rate: None, stall_limit: Some(Duration::from_secs(20)) }
}

#[test]
fn streams_arrive_one_after_another_over_the_same_connections() {
    let packings =
        [Compression::Off, Compression::Auto, Compression::Lz4, Compression::Zstd(-5), Compression::Zstd(3)];
    for kind in KINDS {
        for count in 1..=4 {
            let (mut near, mut far) = connections(kind, count);
            let mut stream = 0;
            for bytes in [0, 1, MIB - 1, MIB, MIB + 1, 5 * MIB + 17] {
                for compression in packings {
                    stream += 1;
                    Transfer::new(stream, bytes, compression).arrives(&mut near, &mut far);
                }
            }
        }
    }
}

#[test]
fn a_long_stream_arrives_in_either_direction() {
    for kind in KINDS {
        let (mut near, mut far) = connections(kind, 2);
        Transfer::new(1, 64 * MIB, Compression::Off).arrives(&mut near, &mut far);
        Transfer::new(2, 9 * MIB, Compression::Off).arrives(&mut far, &mut near);
        Transfer::new(3, 9 * MIB, Compression::Auto).arrives(&mut near, &mut far);
    }
}
