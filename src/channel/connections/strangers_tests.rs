//! Who comes to the port without being asked, and what either end makes of somebody else.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::connections_tests::{HERE, KINDS, LIMIT, Transfer, connections, meet, open};
use super::exchange::Token;
use super::{Caller, ConnectionError, ConnectionKind, Listening, Offer};
use crate::model::PortRange;
use crate::stream::{Cancel, Compression};

fn at(offer: &Offer) -> SocketAddr {
    SocketAddr::new(offer.address, offer.port)
}

/// A caller who knows all that can be seen, but is another one.
fn impostor(kind: ConnectionKind, offer: &Offer) -> Result<Vec<super::Connection>, ConnectionError> {
    let limit = Duration::from_secs(3);
    Caller::new(kind).unwrap().connect(offer, 1, limit, &Cancel::new().unwrap())
}

/// Everybody who might come; some stay until they are dropped.
fn strangers(offer: &Offer) -> Vec<TcpStream> {
    let silent = TcpStream::connect(at(offer)).unwrap();
    let mut noisy = TcpStream::connect(at(offer)).unwrap();
    drop(noisy.write_all(&[0x5a; 5000]));
    let mut polite = TcpStream::connect(at(offer)).unwrap();
    drop(polite.write_all(b"GET / HTTP/1.0\r\n\r\n"));
    let mut half = TcpStream::connect(at(offer)).unwrap();
    drop(half.write_all(&[0x16, 3, 1]));
    drop(TcpStream::connect(at(offer)).unwrap());
    vec![silent, noisy, polite, half]
}

#[test]
fn strangers_do_not_keep_the_caller_out() {
    for kind in KINDS {
        let (caller, listening, offer) = open(kind);
        let over = Arc::new(AtomicBool::new(false));
        let (mut near, mut far) = thread::scope(|scope| {
            // Before the caller comes; they wait in the system's queue.
            let early = strangers(&offer);
            // And while it comes.
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    if let Ok(mut stream) = TcpStream::connect(at(&offer)) {
                        drop(stream.write_all(b"\x16\x03\x01\x00\x05hello"));
                    }
                    thread::sleep(Duration::from_millis(2));
                }
            });
            let impostor = scope.spawn(|| impostor(kind, &offer));
            let (near, far) = meet(caller, listening, &offer, 3);
            over.store(true, Ordering::SeqCst);
            assert!(impostor.join().unwrap().is_err());
            drop(early);
            (near.unwrap(), far.unwrap())
        });
        // And after it.
        assert!(TcpStream::connect(at(&offer)).is_err(), "the port is still open");
        let (sent, received) = Transfer::new(1, 3 << 20, Compression::Off).run(&mut near, &mut far);
        sent.unwrap();
        received.unwrap();
    }
}

#[test]
fn strangers_who_say_nothing_do_not_keep_the_caller_out() {
    // Over TCP this end speaks first: `PENDING_MAX` handshakes run at once, for a second each.
    for (kind, limit) in [(ConnectionKind::Tls, 3), (ConnectionKind::Tcp, 6)] {
        let (caller, listening, offer) = open(kind);
        let silent: Vec<_> = (0..120).map(|_| TcpStream::connect(at(&offer)).unwrap()).collect();
        let asked = Instant::now();
        let (near, far) = meet(caller, listening, &offer, 2);
        assert_eq!((near.unwrap().len(), far.unwrap().len()), (2, 2));
        assert!(asked.elapsed() < Duration::from_secs(limit), "{:?}", asked.elapsed());
        drop(silent);
    }
}

#[test]
fn who_says_nothing_is_dropped_after_a_second() {
    let (_caller, listening, offer) = open(ConnectionKind::Tls);
    let cancel = Cancel::new().unwrap();
    let mut silent = TcpStream::connect(at(&offer)).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(4))).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| listening.accept(1, Duration::from_secs(3), &cancel));
        let asked = Instant::now();
        // An end, or a reset: in any case before the time is up.
        assert!(
            !matches!(silent.read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
        );
        let took = asked.elapsed();
        assert!((800..2500).contains(&took.as_millis()), "{took:?}");
    });
}

#[test]
fn a_stranger_gets_no_connection_and_is_reported() {
    for kind in KINDS {
        let (_caller, listening, offer) = open(kind);
        let cancel = Cancel::new().unwrap();
        let (at_caller, at_listener) = thread::scope(|scope| {
            let accepting = scope.spawn(|| listening.accept(1, Duration::from_secs(2), &cancel));
            (impostor(kind, &offer).unwrap_err(), accepting.join().unwrap().unwrap_err())
        });
        // With a wrong key of its own it cannot know which of the two keys is wrong.
        assert!(matches!(at_caller, ConnectionError::TurnedAway { .. }), "{at_caller}");
        let ConnectionError::TooFew { came: 0, strangers: 1, last: Some(last), .. } = at_listener else {
            panic!("{at_listener}")
        };
        match kind {
            ConnectionKind::Tls => {
                assert!(matches!(*last, ConnectionError::WrongCertificate { .. }), "{last}");
            }
            ConnectionKind::Tcp => assert!(matches!(*last, ConnectionError::WrongKey { .. }), "{last}"),
        }
    }
}

#[test]
fn the_caller_takes_no_other_listener() {
    // Somebody else listens where ours was to be: with another certificate, or without the key.
    for kind in KINDS {
        let (caller, _listening, mut offer) = open(kind);
        let theirs = match kind {
            ConnectionKind::Tls => Listening::open(&caller.greeting(), HERE, PortRange::default()),
            // The greeting never left ssh, so whoever else listens does not know it.
            ConnectionKind::Tcp => {
                Listening::open(&Caller::new(kind).unwrap().greeting(), HERE, PortRange::default())
            }
        };
        let (theirs, their_offer) = theirs.unwrap();
        offer.port = their_offer.port;
        let (at_caller, _) = meet(caller, theirs, &offer, 1);
        let error = at_caller.unwrap_err();
        match kind {
            ConnectionKind::Tls => {
                assert!(matches!(error, ConnectionError::WrongCertificate { .. }), "{error}");
            }
            ConnectionKind::Tcp => assert!(matches!(error, ConnectionError::TurnedAway { .. }), "{error}"),
        }
        assert!(error.to_string().contains(&format!("127.0.0.1:{}", offer.port)), "{error}");
    }
}

#[test]
fn a_listener_that_cannot_prove_its_key_is_no_listener() {
    let (caller, _listening, mut offer) = open(ConnectionKind::Tcp);
    // It speaks the protocol and takes any proof.
    let theirs = TcpListener::bind((HERE, 0)).unwrap();
    offer.port = theirs.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut stream = theirs.accept().unwrap().0;
        stream.write_all(b"zhaul lane 1").unwrap();
        stream.write_all(&[7; 32]).unwrap();
        let mut hello = [0; 80];
        stream.read_exact(&mut hello).unwrap();
        // The caller's own proof is no proof of the listener.
        stream.write_all(&hello[48..]).unwrap();
        thread::sleep(Duration::from_secs(1));
    });
    let error = caller.connect(&offer, 1, LIMIT, &Cancel::new().unwrap()).unwrap_err();
    assert!(matches!(error, ConnectionError::WrongKey { .. }), "{error}");
}

#[test]
fn a_peer_that_is_no_zhaul_is_reported() {
    for kind in KINDS {
        let (caller, _listening, mut offer) = open(kind);
        let theirs = TcpListener::bind((HERE, 0)).unwrap();
        offer.port = theirs.local_addr().unwrap().port();
        thread::spawn(move || {
            let mut stream = theirs.accept().unwrap().0;
            stream.write_all(b"SSH-2.0-OpenSSH_9.2 and more than enough for either protocol\r\n").unwrap();
            drop(stream.read_to_end(&mut Vec::new()));
        });
        let error = caller.connect(&offer, 1, LIMIT, &Cancel::new().unwrap()).unwrap_err();
        assert!(matches!(error, ConnectionError::NotZhaul { .. }), "{error}");
    }
}

#[test]
fn an_offer_of_another_kind_or_of_nonsense_is_refused() {
    let cancel = Cancel::new().unwrap();
    let (_, _listening, tcp) = open(ConnectionKind::Tcp);
    let error = Caller::new(ConnectionKind::Tls).unwrap().connect(&tcp, 1, LIMIT, &cancel).unwrap_err();
    assert!(matches!(error, ConnectionError::Nonsense(_)), "{error}");
    let mut greeting = Caller::new(ConnectionKind::Tcp).unwrap().greeting();
    greeting.caller = Token::Tcp(vec![1; 31]);
    let error = Listening::open(&greeting, HERE, PortRange::default()).unwrap_err();
    assert!(matches!(error, ConnectionError::Nonsense(_)), "{error}");
}

#[test]
fn ports_that_are_taken_are_passed_over_and_named() {
    let taken = TcpListener::bind((HERE, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let greeting = Caller::new(ConnectionKind::Tls).unwrap().greeting();
    let error = Listening::open(&greeting, HERE, port.to_string().parse().unwrap()).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on 127.0.0.1: every port of {port} is in use"));
    let range = format!("{port}-{}", port.saturating_add(50)).parse().unwrap();
    let (_listening, offer) = Listening::open(&greeting, HERE, range).unwrap();
    assert!(offer.port > port && offer.port <= port.saturating_add(50));
    // An address that is not of this machine.
    let error = Listening::open(&greeting, [192, 0, 2, 1].into(), PortRange::default()).unwrap_err();
    assert!(matches!(error, ConnectionError::Listen { .. }), "{error}");
}

#[test]
fn a_peer_that_went_is_noticed_without_writing() {
    for kind in KINDS {
        let (mut near, far) = connections(kind, 1);
        let cancel = Cancel::new().unwrap();
        let target = near[0].target(&cancel).unwrap();
        assert!(!target.is_gone());
        drop(far);
        let asked = Instant::now();
        while !target.is_gone() {
            assert!(asked.elapsed() < Duration::from_secs(2));
            thread::sleep(Duration::from_millis(1));
        }
    }
}
