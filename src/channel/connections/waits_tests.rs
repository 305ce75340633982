//! Every wait ends: at once with a cancel, and at its limit with an error that says what was waited for.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};

use super::connections_tests::{HERE, KINDS, LIMIT, connections, open};
use super::{ConnectionError, ConnectionKind};
use crate::stream::{Cancel, Cancelled};

const SHORT: Duration = Duration::from_millis(300);

/// A port whose every packet is swallowed: that of a listener whose queue is full and who accepts no connection.
fn black_hole() -> (u16, OwnedFd, Vec<TcpStream>) {
    let fd = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&fd, &SocketAddr::new(HERE, 0)).unwrap();
    listen(&fd, 0).unwrap();
    let address = SocketAddr::try_from(getsockname(&fd).unwrap()).unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
        queued.push(stream);
        assert!(queued.len() < 10);
    }
    (address.port(), fd, queued)
}

/// Requests a cancel after a while, and checks that `wait` ends soon after that.
fn ends_at_once<T>(wait: impl FnOnce(&Cancel) -> T) -> T {
    let cancel = Cancel::new().unwrap();
    let request = cancel.clone();
    let asking = thread::spawn(move || {
        thread::sleep(Duration::from_millis(200));
        let asked = Instant::now();
        request.request();
        asked
    });
    let outcome = wait(&cancel);
    let ended = Instant::now();
    let asked = asking.join().unwrap();
    assert!(ended >= asked, "it ended before it was asked to");
    assert!(ended - asked < Duration::from_secs(1));
    outcome
}

#[test]
fn ports_that_refuse_swallow_or_stay_silent_are_distinguished() {
    let cancel = Cancel::new().unwrap();
    for kind in KINDS {
        let (caller, listening, offer) = open(kind);
        drop(listening);
        let error = caller.connect(&offer, 2, SHORT, &cancel).unwrap_err();
        assert!(matches!(error, ConnectionError::Refused { .. }), "{error}");

        let (caller, _listening, mut offer) = open(kind);
        let (port, _fd, _queued) = black_hole();
        offer.port = port;
        let error = caller.connect(&offer, 2, SHORT, &cancel).unwrap_err();
        assert!(matches!(error, ConnectionError::Blocked { .. }), "{error}");
        assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");

        let (caller, _listening, mut offer) = open(kind);
        let silent = TcpListener::bind((HERE, 0)).unwrap();
        offer.port = silent.local_addr().unwrap().port();
        let error = caller.connect(&offer, 2, SHORT, &cancel).unwrap_err();
        assert!(matches!(error, ConnectionError::Silent { .. }), "{error}");
    }
}

#[test]
fn no_caller_comes_within_the_limit() {
    let (_caller, listening, _offer) = open(ConnectionKind::Tls);
    let asked = Instant::now();
    let error = listening.accept(2, SHORT, &Cancel::new().unwrap()).unwrap_err();
    assert!(asked.elapsed() >= SHORT && asked.elapsed() < Duration::from_secs(2));
    assert!(error.to_string().contains("0 of 2 connections came"), "{error}");
}

#[test]
fn a_caller_hears_a_cancel_in_every_state() {
    for kind in KINDS {
        let (caller, _listening, mut offer) = open(kind);
        let (port, _fd, _queued) = black_hole();
        offer.port = port;
        let error = ends_at_once(|cancel| caller.connect(&offer, 1, LIMIT, cancel)).unwrap_err();
        assert!(matches!(error, ConnectionError::Cancelled(_)), "connecting: {error}");

        // A listener that does not accept yet: connected, but no handshake.
        let (caller, _listening, offer) = open(kind);
        let error = ends_at_once(|cancel| caller.connect(&offer, 3, LIMIT, cancel)).unwrap_err();
        assert!(matches!(error, ConnectionError::Cancelled(_)), "shaking hands: {error}");
    }
}

#[test]
fn a_listener_hears_a_cancel_in_every_state() {
    for kind in KINDS {
        for strangers in [0, 1, 40] {
            let (_caller, listening, offer) = open(kind);
            let silent = || TcpStream::connect(SocketAddr::new(offer.address, offer.port)).unwrap();
            let silent: Vec<_> = (0..strangers).map(|_| silent()).collect();
            let error = ends_at_once(|cancel| listening.accept(1, LIMIT, cancel)).unwrap_err();
            assert!(matches!(error, ConnectionError::Cancelled(_)), "{strangers} strangers: {error}");
            drop(silent);
        }
    }
}

#[test]
fn a_connection_hears_a_cancel_while_it_reads_and_writes_and_is_of_no_more_use() {
    for kind in KINDS {
        let (mut near, mut far) = connections(kind, 1);
        let error = ends_at_once(|cancel| near[0].source(cancel).unwrap().read_within(&mut [0; 100], None));
        assert!(Cancelled::is_in(&error.unwrap_err()));
        let error = ends_at_once(|cancel| {
            let mut target = far[0].target(cancel).unwrap();
            let bytes = vec![1; 100_000];
            loop {
                if let Err(error) = target.write_some(&bytes) {
                    return error;
                }
            }
        });
        assert!(Cancelled::is_in(&error));
        let cancel = Cancel::new().unwrap();
        assert!(near[0].source(&cancel).is_err() && far[0].target(&cancel).is_err());
    }
}

#[test]
fn a_limit_that_passes_loses_nothing() {
    for kind in KINDS {
        let (mut near, mut far) = connections(kind, 1);
        let cancel = Cancel::new().unwrap();
        let sent: Vec<u8> = (0..700_000_u32).map(|at| at.to_le_bytes()[1]).collect();
        let (sent, cancel) = (&sent, &cancel);
        let received = thread::scope(|scope| {
            scope.spawn(move || {
                let mut target = near[0].target(cancel).unwrap();
                for mut part in sent.chunks(130_001) {
                    while !part.is_empty() {
                        let written = target.write_some(part).unwrap();
                        part = &part[written..];
                    }
                    thread::sleep(Duration::from_millis(30));
                }
                target.flush_all().unwrap();
            });
            let mut source = far[0].source(cancel).unwrap();
            let (mut received, mut buffer, mut pauses) = (Vec::new(), vec![0; 50_000], 0);
            while received.len() < sent.len() {
                // Now with a limit, now without one; now little room, now more.
                let room = if received.len() % 3 == 0 { 1000 } else { buffer.len() };
                let limit = (received.len() % 2 == 0).then_some(Duration::from_millis(2));
                match source.read_within(&mut buffer[..room], limit).unwrap() {
                    Some(0) => panic!("an end"),
                    Some(bytes) => received.extend_from_slice(&buffer[..bytes]),
                    None => pauses += 1,
                }
            }
            assert!(pauses > 0, "no limit passed");
            received
        });
        assert!(received == *sent);
    }
}
