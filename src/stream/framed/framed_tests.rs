//! Streams through both framed ends and real sockets: exact bytes, hostile frames, and an end to every way of hanging.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, LazyLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{FramedReceiver, FramedSender};
use crate::model::Compression;
use crate::stream::cancel::Cancel;
use crate::stream::endpoint::{ByteSink, ByteSource, FdSource, FdTarget, Plain};
use crate::stream::frame::{Codec, FrameError, Header, Kind, Totals};
use crate::stream::meter::{Meters, Places};
use crate::stream::pump::PumpSettings;
use crate::stream::supervise::{PumpError, PumpReport};

const MIB: usize = 1 << 20;
const STREAM: u32 = 5;

fn settings() -> PumpSettings {
    PumpSettings { buffer_bytes: 8 << 20, rate: None, stall_limit: Some(Duration::from_secs(20)) }
}

fn sender(compression: Compression) -> FramedSender {
    FramedSender {
        settings: settings(),
        compression,
        stream: STREAM,
        meters: Meters::new(Places::SENDING, 2),
        cancel: Cancel::new().unwrap(),
        samples: None,
    }
}

fn receiver() -> FramedReceiver {
    FramedReceiver {
        settings: settings(),
        stream: STREAM,
        meters: Meters::new(Places::RECEIVING, 2),
        cancel: Cancel::new().unwrap(),
        samples: None,
    }
}

fn pairs(connections: usize) -> (Vec<UnixStream>, Vec<UnixStream>) {
    (0..connections).map(|_| UnixStream::pair().unwrap()).unzip()
}

fn targets(connections: Vec<UnixStream>, cancel: &Cancel) -> Vec<Box<dyn ByteSink>> {
    let target = |connection| -> Box<dyn ByteSink> { Box::new(FdTarget::new(connection, cancel).unwrap()) };
    connections.into_iter().map(target).collect()
}

fn sources(connections: Vec<UnixStream>, cancel: &Cancel) -> Vec<Box<dyn ByteSource>> {
    let source = |connection| -> Box<dyn ByteSource> { Box::new(FdSource::new(connection, cancel).unwrap()) };
    connections.into_iter().map(source).collect()
}

/// A stream of which half the chunks shrink, made as it is read.
#[derive(Clone)]
struct Made {
    at: u64,
    end: u64,
}

impl Made {
    fn new(bytes: usize) -> Self {
        Self { at: 0, end: u64::try_from(bytes).unwrap() }
    }
}

/// The period of a synthetic stream, half of it noise: a few bytes longer than a chunk, so that no chunk passes for
/// another one nearby.
static PERIOD: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let made = |at: u64| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56).to_le_bytes()[0];
    let length = u64::try_from(MIB + 7).unwrap();
    (0..length).map(|at| made(if at < length / 2 { at } else { at >> 6 })).collect()
});

/// The synthetic stream from `at` on, up to where it begins again.
fn made_from(at: u64) -> &'static [u8] {
    let period = u64::try_from(PERIOD.len()).unwrap();
    &PERIOD[usize::try_from(at % period).unwrap()..]
}

impl Read for Made {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let made = made_from(self.at);
        let left = usize::try_from(self.end - self.at).unwrap();
        let piece = buffer.len().min(left).min(made.len()).min(100_003);
        buffer[..piece].copy_from_slice(&made[..piece]);
        self.at += u64::try_from(piece).unwrap();
        Ok(piece)
    }
}

/// Checks that the output equals the synthetic stream; counts its bytes.
#[derive(Clone, Default)]
struct Checked(Arc<std::sync::atomic::AtomicU64>);

impl Checked {
    fn bytes(&self) -> u64 {
        self.0.load(std::sync::atomic::Ordering::SeqCst)
    }
}

impl Write for Checked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let made = made_from(self.bytes());
        let piece = bytes.len().min(made.len());
        assert!(bytes[..piece] == made[..piece], "wrong bytes within {piece} from {} on", self.bytes());
        self.0.fetch_add(u64::try_from(piece).unwrap(), std::sync::atomic::Ordering::SeqCst);
        Ok(piece)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

type Running = JoinHandle<Result<PumpReport, PumpError>>;

fn send(sender: FramedSender, source: impl ByteSource + 'static, connections: Vec<UnixStream>) -> Running {
    let connections = targets(connections, &sender.cancel);
    thread::spawn(move || sender.run(source, connections))
}

fn receive(
    receiver: FramedReceiver,
    connections: Vec<UnixStream>,
    target: impl ByteSink + 'static,
) -> Running {
    let connections = sources(connections, &receiver.cancel);
    thread::spawn(move || receiver.run(connections, target))
}

const COMPRESSIONS: [Compression; 5] =
    [Compression::Off, Compression::Auto, Compression::Lz4, Compression::Zstd(-5), Compression::Zstd(3)];

fn arrives(bytes: usize, compression: Compression, connections: usize) {
    let (near, far) = pairs(connections);
    let checked = Checked::default();
    let (sender, receiver) = (sender(compression), receiver());
    let gauge = Arc::clone(&receiver.meters.gauge);
    let sending = send(sender, Plain(Made::new(bytes)), near);
    let receiving = receive(receiver, far, Plain(checked.clone()));
    let (sent, arrived) = (sending.join().unwrap(), receiving.join().unwrap());
    let (sent, arrived) = (sent.unwrap(), arrived.unwrap());
    let expected = u64::try_from(bytes).unwrap();
    assert_eq!(checked.bytes(), expected, "{compression} over {connections}");
    assert_eq!((sent.input_bytes, arrived.output_bytes), (expected, expected));
    assert_eq!(sent.output_bytes, arrived.input_bytes);
    assert_eq!(gauge.used_bytes(), 0);
    if compression == Compression::Off {
        let overhead = sent.output_bytes - expected;
        assert!(overhead < 36 * (expected / 1000 + 10 + 8 * 2), "{overhead}");
    } else if bytes > 8 * MIB && compression != Compression::Auto {
        assert!(sent.output_bytes < expected / 4 * 3, "{compression}: {}", sent.output_bytes);
    }
}

#[test]
fn every_length_arrives_with_every_compression_over_one_to_four_connections() {
    for compression in COMPRESSIONS {
        for connections in 1..=4 {
            for bytes in [0, 1, MIB - 1, MIB, MIB + 1, 5 * MIB + 7] {
                arrives(bytes, compression, connections);
            }
        }
    }
}

#[test]
fn a_longer_stream_arrives_over_three_connections() {
    for compression in COMPRESSIONS {
        arrives(33 * MIB + 5, compression, 3);
    }
}

#[test]
fn a_gibibyte_arrives() {
    for (compression, connections) in COMPRESSIONS.into_iter().zip([1, 2, 3, 4, 1]) {
        arrives(1 << 30, compression, connections);
    }
}

#[test]
fn what_follows_the_end_of_a_stream_is_left_for_others() {
    let (mut near, far) = UnixStream::pair().unwrap();
    let mut after = far.try_clone().unwrap();
    let sending = {
        let connection = near.try_clone().unwrap();
        send(sender(Compression::Zstd(3)), Plain(Made::new(2 * MIB + 1)), vec![connection])
    };
    let receiving = thread::spawn(move || {
        let receiver = receiver();
        let connections = sources(vec![far], &receiver.cancel);
        receiver.run(connections, Plain(Checked::default()))
    });
    sending.join().unwrap().unwrap();
    near.write_all(b"and then a message").unwrap();
    receiving.join().unwrap().unwrap();
    let mut message = [0; 18];
    after.read_exact(&mut message).unwrap();
    assert_eq!(&message, b"and then a message");
}

/// The bytes of one connection, made by hand.
#[derive(Default)]
struct Forged {
    bytes: Vec<u8>,
    totals: Totals,
}

impl Forged {
    fn frame(mut self, header: &Header, payload: &[u8]) -> Self {
        if matches!(header.kind, Kind::Data(_)) {
            self.totals.add(header);
        }
        self.bytes.extend_from_slice(&header.encode());
        self.bytes.extend_from_slice(payload);
        self
    }

    fn data(self, sequence: u64, payload: &[u8]) -> Self {
        self.frame(&raw(sequence, payload), payload)
    }

    fn end(self, sequence: u64) -> Self {
        let totals = self.totals.encode();
        self.frame(&Header::plain(Kind::End, STREAM, sequence, &totals), &totals)
    }

    fn flip(mut self, from_end: usize) -> Self {
        let at = self.bytes.len() - from_end;
        self.bytes[at] ^= 0x10;
        self
    }
}

fn raw(sequence: u64, payload: &[u8]) -> Header {
    let length = u32::try_from(payload.len()).unwrap();
    let checksum = crc32fast::hash(payload);
    Header {
        kind: Kind::Data(Codec::Raw),
        stream: STREAM,
        sequence,
        raw_bytes: length,
        stored_bytes: length,
        checksum,
    }
}

/// Runs a receiver on these connections; returns the data that it wrote, and its result.
fn judge(connections: Vec<Forged>) -> (Vec<u8>, Result<PumpReport, PumpError>) {
    let mut written = Vec::new();
    let source =
        |connection: Forged| -> Box<dyn ByteSource> { Box::new(Plain(io::Cursor::new(connection.bytes))) };
    let connections = connections.into_iter().map(source).collect();
    let result = receiver().run(connections, Plain(&mut written));
    (written, result)
}

fn fault(connections: Vec<Forged>) -> FrameError {
    match judge(connections).1 {
        Err(PumpError::Frame(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stream_made_by_hand_is_taken() {
    let (written, result) = judge(vec![Forged::default().data(0, b"ab").data(1, b"c").end(2)]);
    assert_eq!((written.as_slice(), result.unwrap().output_bytes), (&b"abc"[..], 3));
}

#[test]
fn hostile_frames_are_distinguished() {
    let one = || Forged::default().data(0, b"ab");
    let other_stream = Header { stream: 6, ..raw(1, b"c") };
    let liar = Header { kind: Kind::Data(Codec::Zstd), raw_bytes: 1 << 20, ..raw(1, b"abc") };
    let giant = Header { raw_bytes: u32::MAX, stored_bytes: u32::MAX, ..raw(1, b"") };
    let mut wrong_totals = Forged::default().data(0, b"ab");
    wrong_totals.totals.raw_bytes += 1;
    let cases = [
        ("cut before its end", vec![one()], FrameError::Cut),
        ("cut in a header", vec![one().frame(&raw(1, b"c"), b"")], FrameError::Cut),
        ("flipped in the data", vec![one().flip(1).end(1)], FrameError::DataDamaged(0)),
        ("flipped in a header", vec![Forged::default().data(0, b"").flip(12)], FrameError::HeaderDamaged),
        ("flipped in the totals", vec![one().end(1).flip(3)], FrameError::HeaderDamaged),
        ("twice", vec![one().data(0, b"ab").end(1)], FrameError::Repeated(0)),
        ("twice, on two connections", vec![one().end(1), one().end(1)], FrameError::Repeated(0)),
        ("left out", vec![one().data(2, b"c").end(3)], FrameError::Missing(1)),
        ("left out at the end", vec![one().end(2)], FrameError::Missing(1)),
        ("more than the end says", vec![one().data(1, b"c").end(1)], FrameError::WrongTotals),
        ("far ahead", vec![Forged::default().data(1 << 40, b"c")], FrameError::Missing(0)),
        ("other totals", vec![wrong_totals.end(1)], FrameError::WrongTotals),
        (
            "of another stream",
            vec![one().frame(&other_stream, b"c")],
            FrameError::WrongStream { expected: 5, found: 6 },
        ),
        ("compressed nonsense", vec![one().frame(&liar, b"abc")], FrameError::DataDamaged(1)),
        (
            "too large",
            vec![one().frame(&giant, b"abc")],
            FrameError::Impossible("its lengths are out of bounds"),
        ),
        (
            "text",
            vec![Forged { bytes: b"Welcome to the machine, take care of it".to_vec(), ..one() }],
            FrameError::NotAFrame,
        ),
    ];
    for (what, connections, expected) in cases {
        assert_eq!(fault(connections), expected, "{what}");
    }
}

#[test]
fn two_connections_that_disagree_about_the_end_are_refused() {
    let error = fault(vec![Forged::default().data(0, b"ab").end(1), Forged::default().end(0)]);
    assert_eq!(error, FrameError::WrongTotals);
}

#[test]
fn a_flood_of_heartbeats_is_refused() {
    let beat = Header::plain(Kind::Heartbeat, STREAM, 0, b"");
    let flood = (0..1000).fold(Forged::default(), |connection, _| connection.frame(&beat, b""));
    assert_eq!(fault(vec![flood]), FrameError::Flood);
}

#[test]
fn data_received_before_a_break_is_written() {
    let half = Forged::default().data(0, b"ab").data(1, b"cd");
    let failed = Header::plain(Kind::Failed, STREAM, 2, b"the pool\nis gone");
    let (written, result) = judge(vec![half.frame(&failed, b"the pool\nis gone")]);
    assert_eq!(written, b"abcd");
    assert!(matches!(&result, Err(PumpError::Peer(text)) if text == "the pool; is gone"), "{result:?}");
    let (written, result) = judge(vec![Forged::default().data(0, b"ab").data(1, b"cd")]);
    assert_eq!(written, b"abcd");
    assert!(matches!(result, Err(PumpError::Frame(FrameError::Cut))), "{result:?}");
}

/// A source that ends too early, and knows it.
struct Unfinished(Plain<Made>);

impl ByteSource for Unfinished {
    fn read_within(&mut self, buffer: &mut [u8], limit: Option<Duration>) -> io::Result<Option<usize>> {
        self.0.read_within(buffer, limit)
    }

    fn confirm_end(&mut self) -> io::Result<()> {
        Err(io::Error::other("the snapshot was destroyed"))
    }
}

#[test]
fn an_end_that_is_not_confirmed_is_reported_to_the_receiver() {
    for compression in [Compression::Off, Compression::Zstd(1)] {
        let (near, far) = pairs(2);
        let checked = Checked::default();
        let sending = send(sender(compression), Unfinished(Plain(Made::new(3 * MIB))), near);
        let arrived = receive(receiver(), far, Plain(checked.clone())).join().unwrap();
        let text = "the snapshot was destroyed";
        assert!(matches!(&arrived, Err(PumpError::Peer(said)) if said == text), "{arrived:?}");
        let sent = sending.join().unwrap();
        assert!(matches!(&sent, Err(PumpError::Source(error)) if error.to_string() == text), "{sent:?}");
        assert_eq!(checked.bytes(), u64::try_from(3 * MIB).unwrap());
    }
}

#[test]
fn a_sender_that_dies_is_no_end() {
    let (near, far) = pairs(2);
    let sender = sender(Compression::Lz4);
    let cancel = sender.cancel.clone();
    let sending = send(sender, Plain(Made::new(1 << 30)), near);
    let receiving = receive(receiver(), far, Plain(Checked::default()));
    thread::sleep(Duration::from_millis(200));
    cancel.request();
    assert!(matches!(sending.join().unwrap(), Err(PumpError::Cancelled)));
    let arrived = receiving.join().unwrap();
    assert!(matches!(arrived, Err(PumpError::Frame(FrameError::Cut))), "{arrived:?}");
}

#[test]
fn a_receiver_that_dies_is_a_target_error() {
    for compression in [Compression::Off, Compression::Zstd(1)] {
        let (near, far) = pairs(2);
        let sending = send(sender(compression), Plain(Made::new(1 << 30)), near);
        thread::sleep(Duration::from_millis(100));
        drop(far);
        let sent = sending.join().unwrap();
        assert!(matches!(sent, Err(PumpError::Target(_))), "{sent:?}");
    }
}

#[test]
fn a_receiver_that_dies_is_the_first_cause_though_the_source_has_not_ended() {
    for compression in [Compression::Off, Compression::Zstd(1)] {
        for _ in 0..10 {
            let (near, far) = pairs(2);
            let sending = send(sender(compression), Unfinished(Plain(Made::new(1 << 30))), near);
            thread::sleep(Duration::from_millis(30));
            drop(far);
            let sent = sending.join().unwrap();
            assert!(matches!(sent, Err(PumpError::Target(_))), "{sent:?}");
        }
    }
}

#[test]
fn a_target_that_has_everything_may_go_before_the_frame_of_the_end() {
    // The receiving end of the pipe has gone before the sender knows that its source has ended.
    let (near, far) = pairs(2);
    let receiver = receiver();
    let (kept, target) = rustix::pipe::pipe().unwrap();
    let target = FdTarget::new(target, &receiver.cancel).unwrap();
    let receiving = receive(receiver, far, target);
    let (source, feed_end) = rustix::pipe::pipe().unwrap();
    let sender = sender(Compression::Off);
    let source = FdSource::new(source, &sender.cancel).unwrap();
    let sending = send(sender, source, near);
    let mut feed_end = std::fs::File::from(feed_end);
    feed_end.write_all(&vec![7; 50_000]).unwrap();
    std::fs::File::from(kept).read_exact(&mut vec![0; 50_000]).unwrap();
    thread::sleep(Duration::from_millis(1500));
    drop(feed_end);
    sending.join().unwrap().unwrap();
    assert_eq!(receiving.join().unwrap().unwrap().output_bytes, 50_000);
}

/// A target that takes nothing for a while.
struct Slow(Duration, Checked);

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        thread::sleep(self.0);
        self.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_slow_target_bounds_the_memory_of_both_ends() {
    let (near, far) = pairs(3);
    let (sender, receiver) = (sender(Compression::Off), receiver());
    let gauges = [Arc::clone(&sender.meters.gauge), Arc::clone(&receiver.meters.gauge)];
    let sending = send(sender, Plain(Made::new(64 * MIB)), near);
    let checked = Checked::default();
    let receiving = receive(receiver, far, Plain(Slow(Duration::from_millis(10), checked.clone())));
    while !receiving.is_finished() {
        for gauge in &gauges {
            assert!(gauge.used_bytes() <= 10 << 20, "{gauge:?}");
        }
        thread::sleep(Duration::from_millis(5));
    }
    receiving.join().unwrap().unwrap();
    sending.join().unwrap().unwrap();
    assert_eq!(checked.bytes(), u64::try_from(64 * MIB).unwrap());
}

#[test]
fn a_connection_that_waits_for_room_still_brings_what_it_waits_with() {
    // Enough small chunks that the window fills and empties all the time.
    let chunks: Vec<Vec<u8>> = (0..3000_u32).map(|number| number.to_le_bytes().to_vec()).collect();
    for _ in 0..10 {
        let connection = chunks
            .iter()
            .zip(0..)
            .fold(Forged::default(), |connection, (chunk, at)| connection.data(at, chunk));
        let (written, result) = judge(vec![connection.end(3000)]);
        assert!(result.is_ok(), "{result:?}");
        assert!(written == chunks.concat());
    }
}

#[test]
fn a_cancel_ends_both_ends_at_once_while_they_are_blocked() {
    for compression in [Compression::Off, Compression::Auto] {
        let (near, far) = pairs(2);
        let (feed, _kept) = UnixStream::pair().unwrap();
        let (sender, receiver) = (sender(compression), receiver());
        let stops = [sender.cancel.clone(), receiver.cancel.clone()];
        let source = FdSource::new(feed, &sender.cancel).unwrap();
        let sending = send(sender, source, near);
        let receiving = receive(receiver, far, Plain(Checked::default()));
        thread::sleep(Duration::from_millis(50));
        let asked = Instant::now();
        stops.iter().for_each(Cancel::request);
        assert!(matches!(sending.join().unwrap(), Err(PumpError::Cancelled)));
        assert!(receiving.join().unwrap().is_err());
        assert!(asked.elapsed() < Duration::from_secs(1));
    }
}

#[test]
fn heartbeats_keep_a_silent_stream_alive_at_the_receiver() {
    let (near, far) = pairs(2);
    let (feed, kept) = UnixStream::pair().unwrap();
    let (mut sender, mut receiver) = (sender(Compression::Off), receiver());
    sender.settings.stall_limit = None;
    receiver.settings.stall_limit = Some(Duration::from_millis(1800));
    let source = FdSource::new(feed, &sender.cancel).unwrap();
    let sending = send(sender, source, near);
    let receiving = receive(receiver, far, Plain(Checked::default()));
    thread::sleep(Duration::from_secs(4));
    drop(kept);
    sending.join().unwrap().unwrap();
    receiving.join().unwrap().unwrap();
}

#[test]
fn heartbeats_of_its_own_do_not_keep_a_silent_source_alive() {
    let (near, far) = pairs(2);
    let (feed, _kept) = UnixStream::pair().unwrap();
    let (mut sender, receiver) = (sender(Compression::Off), receiver());
    sender.settings.stall_limit = Some(Duration::from_millis(1800));
    let source = FdSource::new(feed, &sender.cancel).unwrap();
    let sending = send(sender, source, near);
    let receiving = receive(receiver, far, Plain(Checked::default()));
    let sent = sending.join().unwrap();
    assert!(matches!(sent, Err(PumpError::Stalled { .. })), "{sent:?}");
    assert!(receiving.join().unwrap().is_err());
}

#[test]
fn without_heartbeats_a_silent_stream_has_stalled() {
    let (_near, far) = pairs(1);
    let mut receiver = receiver();
    receiver.settings.stall_limit = Some(Duration::from_millis(300));
    let arrived = receive(receiver, far, Plain(Checked::default())).join().unwrap();
    assert!(matches!(arrived, Err(PumpError::Stalled { .. })), "{arrived:?}");
}
