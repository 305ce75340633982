//! Somebody between the two ends who changes what passes: nothing of it is taken for the stream.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use super::connections_tests::{HERE, Transfer, meet, open};
use super::{Connection, ConnectionKind};
use crate::stream::Compression;
use crate::stream::frame::FrameError;
use crate::stream::supervise::PumpError;

/// The damage done to the caller's records.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Damage {
    Nothing,
    /// The bit at this place of a record, counted from its start or (negative) from its end, is another one.
    Flip(isize),
    /// The second half of a record is missing, and all that follows.
    CutInside,
    /// All records from there on are missing.
    CutBetween,
    /// A record is missing.
    Drop,
    /// A record comes twice.
    Repeat,
    /// A record comes after the next one.
    Swap,
    /// A byte more than there was.
    Insert,
}

/// The record that is damaged: after the handshake, in the middle of the stream.
const DAMAGED: usize = 9;

/// Connections by way of somebody who damages what the caller sends.
fn connections_by_way_of(kind: ConnectionKind, damage: Damage) -> (Vec<Connection>, Vec<Connection>) {
    let (caller, listening, mut offer) = open(kind);
    let there = SocketAddr::new(offer.address, offer.port);
    let between = TcpListener::bind((HERE, 0)).unwrap();
    offer.port = between.local_addr().unwrap().port();
    thread::spawn(move || {
        let near = between.accept().unwrap().0;
        let far = TcpStream::connect(there).unwrap();
        let (mut back_from, mut back_to) = (far.try_clone().unwrap(), near.try_clone().unwrap());
        thread::spawn(move || io::copy(&mut back_from, &mut back_to));
        drop(pass_on(kind, damage, &near, &far));
        drop(far.shutdown(Shutdown::Both));
        drop(near.shutdown(Shutdown::Both));
    });
    let (near, far) = meet(caller, listening, &offer, 1);
    (near.unwrap(), far.unwrap())
}

fn pass_on(
    kind: ConnectionKind,
    damage: Damage,
    mut near: &TcpStream,
    mut far: &TcpStream,
) -> io::Result<()> {
    if kind == ConnectionKind::Tcp {
        let mut hello = [0; 80];
        near.read_exact(&mut hello)?;
        far.write_all(&hello)?;
    }
    for number in 0.. {
        let mut record = next_record(kind, near)?;
        if number == DAMAGED {
            match damage {
                Damage::Nothing => {}
                Damage::Flip(at) => {
                    let length = isize::try_from(record.len()).unwrap();
                    record[usize::try_from(at.rem_euclid(length)).unwrap()] ^= 1;
                }
                Damage::CutInside => return far.write_all(&record[..record.len() / 2]),
                Damage::CutBetween => return Ok(()),
                Damage::Drop => continue,
                Damage::Repeat => far.write_all(&record)?,
                Damage::Swap => far.write_all(&next_record(kind, near)?)?,
                Damage::Insert => far.write_all(&[0])?,
            }
        }
        far.write_all(&record)?;
    }
    Ok(())
}

/// The next record, as either protocol writes it.
fn next_record(kind: ConnectionKind, mut from: &TcpStream) -> io::Result<Vec<u8>> {
    let head_bytes = if kind == ConnectionKind::Tls { 5 } else { 20 };
    let mut record = vec![0; head_bytes];
    from.read_exact(&mut record)?;
    let length = match kind {
        ConnectionKind::Tls => usize::from(u16::from_be_bytes([record[3], record[4]])),
        ConnectionKind::Tcp => {
            usize::try_from(u32::from_le_bytes([record[0], record[1], record[2], record[3]])).unwrap()
        }
    };
    record.resize(head_bytes + length, 0);
    from.read_exact(&mut record[head_bytes..])?;
    Ok(record)
}

/// Whether what the receiver says is what such damage is to be.
fn is_fitting(damage: Damage, error: &PumpError) -> bool {
    match damage {
        Damage::CutInside | Damage::CutBetween => matches!(error, PumpError::Frame(FrameError::Cut)),
        Damage::Nothing | Damage::Flip(_) | Damage::Drop | Damage::Repeat | Damage::Swap | Damage::Insert => {
            matches!(error, PumpError::Source(error) if error.kind() == io::ErrorKind::InvalidData)
        }
    }
}

#[test]
fn damaged_records_are_found() {
    // Lengths, tags, first and last bytes. The first three bytes of a TLS record always mean the same, and rustls reads
    // them so whatever they are.
    let flips = [
        (ConnectionKind::Tls, &[3, 4, 5, 20, 500, -1][..]),
        (ConnectionKind::Tcp, &[0, 1, 3, 4, 19, 20, 500, -1]),
    ];
    let others =
        [Damage::CutInside, Damage::CutBetween, Damage::Drop, Damage::Repeat, Damage::Swap, Damage::Insert];
    for (kind, places) in flips {
        for damage in places.iter().copied().map(Damage::Flip).chain(others) {
            let (mut near, mut far) = connections_by_way_of(kind, damage);
            let bytes = 4 << 20;
            let transfer = Transfer::new(1, bytes, Compression::Off);
            let (_, received) = transfer.run(&mut near, &mut far);
            // The transfer itself checks the data written before.
            let error = received.expect_err(&format!("{kind} {damage:?}"));
            assert!(is_fitting(damage, &error), "{kind} {damage:?}: {error:?}");
            assert!(transfer.checked.bytes() < u64::try_from(bytes).unwrap());
            assert!(far[0].source(&transfer.cancel_receiver).is_err(), "{kind} {damage:?}: still in use");
        }
    }
}

#[test]
fn records_that_are_passed_on_arrive() {
    for kind in super::connections_tests::KINDS {
        let (mut near, mut far) = connections_by_way_of(kind, Damage::Nothing);
        let (sent, received) = Transfer::new(1, 4 << 20, Compression::Off).run(&mut near, &mut far);
        sent.unwrap();
        received.unwrap();
    }
}
