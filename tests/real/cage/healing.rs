//! What a caller of an append-only agent can do with a corrective receive: nothing but heal.

use std::process::Command;

use zhaul::host::ReceiveSpec;
use zhaul::model::Change;

use super::attacker::{Attacker, NEWEST, guid, stream};
use crate::pool::{property, zfs};
use crate::world::GUEST;

#[test]
fn no_snapshot_that_stays_is_received_into_and_no_one_elses_is_destroyed() {
    let attacker = Attacker::new("cage-heal", "");
    let source = format!("{}@{NEWEST}", attacker.world.guest(GUEST));
    let copy = attacker.world.backup(GUEST);
    let spec =
        ReceiveSpec { heals: true, to: Some(guid(&source)), ..attacker.spec(&format!("{GUEST}@{NEWEST}")) };
    let full = stream(&[&source]);
    attacker
        .fails("a heal of a snapshot", "only the scratch snapshot", |attacker| attacker.push(&spec, &full));
    let person = format!("{copy}@zhaul-healing");
    zfs(&["snapshot", &person]);
    let (inside, newest) = (attacker.inside(GUEST), guid(&person));
    let begin = Change::BeginHealing { dataset: inside.clone(), newest };
    assert!(attacker.change(&begin).is_err());
    attacker.change(&Change::EndHealing { dataset: inside }).unwrap();
    let spec =
        ReceiveSpec { heals: true, to: Some(newest), ..attacker.spec(&format!("{GUEST}@zhaul-healing")) };
    attacker
        .fails("a heal of a person's", "only the scratch snapshot", |attacker| attacker.push(&spec, &full));
    assert!(Command::new("zfs").args(["list", &person]).output().unwrap().status.success());
    assert_eq!(property("zhaul:healing", &copy), "-");
    zfs(&["destroy", &person]);
}
