//! What an agent says of the machine that it is on, and what it stores of a caller's words.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use zhaul::host::{ReceiveSpec, TargetHost as _};
use zhaul::model::{Change, Guid, SetAside, Writer};

use super::attacker::{Attacker, NEWEST, away, dataset, evil, guid, stream};
use super::raw_session::{Raw, is_failed};
use crate::agent::{key, key_that_runs};
use crate::pool::{property, zfs};
use crate::stand_in;
use crate::world::{DAY_1, DAY_2, GUEST, World};

/// A key whose agent finds a `zpool` that names these as damaged, once `on` is there.
fn with_damage(name: &str, damaged: &dyn Fn(&str) -> Vec<String>) -> (Attacker, PathBuf) {
    let mut on = PathBuf::new();
    let attacker = Attacker::behind(name, |world: &World| {
        let directory = world.directory().join("bin");
        fs::create_dir_all(&directory).unwrap();
        on = directory.join("on");
        let list = damaged(&world.backup_root()).join("\n        ");
        let errors = format!("errors: Permanent errors have been detected:\n\n        {list}\n");
        fs::write(directory.join("list"), errors).unwrap();
        let script = format!(
            "[ -e {on} ] || exec $real \"$@\"\n\
             case \"$1 $2\" in\n\"status -v\") cat {list};;\n\
             status*) $real \"$@\" | sed \"s/No known data errors/7 data errors, use '-v' for a list/\";;\n\
             *) exec $real \"$@\";;\nesac\nexit",
            on = on.display(),
            list = directory.join("list").display()
        );
        stand_in::write_around(&directory, "zpool", &script);
        let command = format!(
            "env PATH={}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin {} agent --root {} --append-only",
            directory.display(),
            env!("CARGO_BIN_EXE_zhaul"),
            world.backup_root()
        );
        format!("{}agent = \"require\"\n", key_that_runs(world, &command))
    });
    fs::write(&on, "").unwrap();
    (attacker, on)
}

/// What a State reply names as damaged.
fn damaged(attacker: &Attacker) -> Vec<String> {
    let mut raw = Raw::welcome(attacker);
    let said = raw.ask(&json!({"ask": "state", "root": attacker.world.backup_root()}));
    assert_eq!(said[0]["tell"], "state", "{said:?}");
    raw.leave();
    let all = said[0]["state"]["pool"]["damaged"].as_array().unwrap();
    all.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

#[test]
fn names_of_damaged_data_beside_the_root_are_not_reported() {
    let inside = |root: &str| -> Vec<String> {
        [":/file", ":<0x1>", "@s:/file", "/a:<0x1>", "/a@s:/a file", "/a:b@s:<0x7>"]
            .iter()
            .map(|rest| format!("{root}{rest}"))
            .collect()
    };
    let outside = |root: &str| -> Vec<String> {
        let parent = root.rsplit_once('/').unwrap().0;
        let mut all: Vec<String> =
            ["2/secret:/f", "2@secret:/f", "-secret:/f", ".secret:/f", " secret:/f", "_secret:<0x1>"]
                .iter()
                .map(|rest| format!("{root}{rest}"))
                .collect();
        all.extend([
            format!("{parent}:/secret"),
            format!("{parent}/other/{root}:/secret"),
            format!("/{root}/secret"),
            format!("/mnt/{root}:/secret"),
            "<metadata>:<0xsecret>".to_owned(),
            format!("{}:/secret", root.to_uppercase()),
        ]);
        all
    };
    let (attacker, _) = with_damage("cage-damaged", &|root| [outside(root), inside(root)].concat());
    assert_eq!(damaged(&attacker), inside(&attacker.world.backup_root()));
}

#[test]
fn the_name_of_a_dataset_that_begins_as_the_root_and_a_colon_is_not_reported() {
    let names = |root: &str| {
        [":secret:/file", ":secret@s:/file", ":secret/deep:<0x1>", ":secret/deep@s:/file", "::/file"]
            .map(|rest| format!("{root}{rest}"))
            .to_vec()
    };
    let (attacker, _) = with_damage("cage-colon", &names);
    assert_eq!(damaged(&attacker), Vec::<String>::new());
}

#[test]
fn long_names_of_damaged_files_do_not_hide_the_state_of_the_pool() {
    let names =
        |root: &str| (0..1000).map(|n| format!("{root}/a@s:/{n}{}", "\u{20ac}".repeat(380))).collect();
    let (attacker, _) = with_damage("cage-long", &names);
    assert!(!damaged(&attacker).is_empty());
    let state = attacker.remote.state(&dataset(&attacker.world.backup_root())).map_err(|error| error.chain());
    assert_eq!(state.unwrap().pool.data_errors, Some(7));
}

/// A request of every kind for a dataset of this name and GUID.
fn every_request(attacker: &Attacker, name: &str, own: &str) -> Vec<Value> {
    let root = attacker.world.backup_root();
    let change = |action: &str, more: Value| {
        let mut request = json!({"ask": "change", "action": action, "dataset": name});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    };
    let mut receive = json!({"ask": "receive", "over_connections": false, "stream": 1, "buffer_bytes": 1,
                             "stall_limit_seconds": 5});
    receive["spec"] = serde_json::to_value(attacker.spec("x@1")).unwrap();
    receive["spec"]["snapshot"] = json!(format!("{name}@1"));
    let moved = json!({"ask": "change", "action": "rename-dataset", "from": format!("{root}/{GUEST}"), "guid": "1", "to": name});
    vec![
        json!({"ask": "list", "root": name}),
        json!({"ask": "state", "root": name}),
        json!({"ask": "details", "snapshots": [[format!("{name}@secret"), "1"]]}),
        json!({"ask": "details", "snapshots": [[format!("{root}/{GUEST}@{NEWEST}"), "1"], [format!("{name}@secret"), "1"]]}),
        receive,
        moved,
        change("create-container", json!({})),
        change("create-container", json!({"dataset": format!("{name}/x")})),
        change("abort-receive", json!({"token": "-"})),
        change("claim", json!({"guid": own, "writer": {"guid": "1", "label": "x"}})),
        change(
            "set-aside",
            json!({"guid": own, "base": null, "cause": "diverged", "writer": {"guid": "1", "label": "x"}}),
        ),
        change("store-config", json!({"snapshot": "secret", "guid": "1", "properties": {}})),
        change("rename-snapshot", json!({"from": "secret", "guid": "1", "to": "2026-Jan"})),
        change("destroy-snapshots", json!({"snapshots": [["secret", "1"]]})),
        change("destroy-dataset", json!({"guid": own, "snapshots": []})),
        change("rollback", json!({"to": "secret", "guid": "1"})),
    ]
}

#[test]
fn names_beside_the_root_are_served_in_no_request() {
    let attacker = Attacker::new("cage-beside", "");
    let root = attacker.world.backup_root();
    let (parent, last) = root.rsplit_once('/').unwrap();
    let beside: Vec<String> =
        ["2", ":x", " x", ".x", "-x", "_x"].iter().map(|end| format!("{root}{end}")).collect();
    for name in &beside {
        zfs(&["create", "-o", "canmount=off", name]);
        zfs(&["snapshot", &format!("{name}@secret")]);
    }
    let mut names = beside.clone();
    let other = [parent.to_owned(), parent.split('/').next().unwrap().to_owned(), root.to_uppercase()];
    names.extend(other);
    let names_count = names.len();
    // No names at all.
    names.extend(
        ["/", "//", "/../x", "/.", "/%recv", "/a%b", "@secret", "#secret", "/a\n", "/\u{e9}", "/a\0"]
            .map(|end| format!("{root}{end}")),
    );
    names.extend([
        format!(" {root}"),
        format!("/{root}"),
        format!("{parent}//{last}"),
        format!("{parent}/./{last}"),
    ]);
    let before = attacker.house();
    let mut raw = Raw::welcome(&attacker);
    for (at, name) in names.iter().enumerate() {
        let own = if beside.contains(name) { property("guid", name) } else { "1".to_owned() };
        let requests = every_request(&attacker, name, &own);
        // What is no name ends the session, and each login takes its time.
        for request in requests.into_iter().step_by(if at < names_count { 1 } else { 6 }) {
            let said = raw.ask(&request);
            assert!(is_failed(&said), "{request}: {said:?}");
            if said.is_empty() || said[0].to_string().contains("cannot be read") {
                raw.leave();
                raw = Raw::welcome(&attacker);
            }
            assert!(!said.is_empty(), "{request}");
        }
        assert_eq!(before, attacker.house(), "{name}");
    }
    raw.leave();
}

#[test]
fn clones_and_origins_outside_of_the_root_are_not_named() {
    let attacker =
        Attacker::behind("cage-clones", |world| key(world, &format!("--root {}", world.backup_root())));
    let (root, copy) = (attacker.world.backup_root(), attacker.world.backup(GUEST));
    let (parent, _) = root.rsplit_once('/').unwrap();
    let outside = format!("{parent}/secret");
    let passphrase = attacker.world.directory().join("passphrase");
    fs::write(&passphrase, "correct horse battery").unwrap();
    let key = format!("keylocation=file://{}", passphrase.display());
    let encrypted =
        ["create", "-o", "canmount=off", "-o", "encryption=on", "-o", "keyformat=passphrase", "-o"];
    zfs(&[&encrypted[..], &[key.as_str(), outside.as_str()]].concat());
    zfs(&["snapshot", &format!("{outside}@secret")]);
    // The administrator clones to and fro. A clone has the encryption root of its origin.
    zfs(&["clone", "-o", "canmount=off", &format!("{outside}@secret"), &format!("{root}/in")]);
    zfs(&["clone", "-o", "canmount=off", &format!("{copy}@{NEWEST}"), &format!("{parent}/secret-out")]);
    assert_eq!(property("encryptionroot", &format!("{root}/in")), outside);
    let of = guid(&format!("{copy}@{NEWEST}")).to_string();
    let own = guid(&copy).to_string();
    let before = attacker.house();
    let mut raw = Raw::welcome(&attacker);
    let change = |more: Value| {
        let mut request = json!({"ask": "change", "dataset": copy});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    };
    for request in [
        json!({"ask": "list", "root": root}),
        json!({"ask": "list", "root": format!("{root}/in")}),
        json!({"ask": "details", "snapshots": [[format!("{copy}@{NEWEST}"), of]]}),
        json!({"ask": "state", "root": root}),
        change(json!({"action": "destroy-snapshots", "snapshots": [[NEWEST, of]]})),
        change(json!({"action": "destroy-dataset", "guid": own, "snapshots": [[NEWEST, of]]})),
        change(json!({"action": "rollback", "to": "2020-01-01-000000", "guid": "1"})),
        json!({"ask": "change", "action": "rename-dataset", "from": format!("{root}/in"), "guid": guid(&format!("{root}/in")).to_string(), "to": outside}),
        json!({"ask": "change", "action": "destroy-dataset", "dataset": root, "guid": guid(&root).to_string(), "snapshots": []}),
    ] {
        let said = raw.ask(&request);
        let text = Value::from(said).to_string();
        assert!(!text.contains("secret"), "{request}: {text}");
        assert_eq!(before, attacker.house(), "{request}: {text}");
    }
    raw.leave();
}

#[test]
fn nothing_that_a_terminal_obeys_is_stored_or_said() {
    let attacker = Attacker::new("cage-escapes", "");
    let copy = attacker.world.backup(GUEST);
    let evil = evil(&attacker);
    let esc = "\u{1b}]0;owned\u{7}\u{9b}31m\r\u{8}";
    let mut raw = Raw::open(&attacker, &format!("exec env ZHAUL_RUN={esc} sh -c 'id' zhaul agent"));
    let said = raw.ask(&json!({"ask": "hello", "protocol": 1, "version": esc}));
    assert!(is_failed(&said), "{said:?}");
    let (errors, _) = raw.leave();
    assert!(!errors.contains('\u{1b}'), "{errors:?}");
    let before = attacker.house();
    let label = Writer { guid: Guid(1), label: esc.to_owned() };
    let claimed =
        attacker.change(&Change::Claim { dataset: dataset(&copy), guid: guid(&copy), writer: label.clone() });
    let Change::SetAside(wish) = away(&copy, Some(NEWEST)) else { panic!() };
    let set_aside = attacker.change(&Change::SetAside(SetAside { writer: label.clone(), ..wish }));
    let spec = ReceiveSpec { writer: Some(label), ..attacker.spec("escapes@1") };
    let pushed = attacker.push(&spec, &stream(&[&format!("{evil}@1")]));
    for refused in [claimed, pushed, set_aside] {
        assert!(refused.as_ref().unwrap_err().contains("control characters"), "{refused:?}");
    }
    drop(attacker.change(&Change::AbortReceive { dataset: dataset(&copy), token: esc.to_owned() }));
    assert_eq!(before, attacker.house());
}

#[test]
fn an_encryption_root_above_the_agents_root_is_known() {
    let mut world = World::new("cage-crypt");
    let (parent, _) =
        world.backup_root().rsplit_once('/').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let file = world.directory().join("passphrase");
    fs::write(&file, "correct horse battery").unwrap();
    let location = format!("keylocation=file://{}", file.display());
    let encrypted = ["create", "-o", "encryption=on", "-o", "keyformat=passphrase", "-o", &location];
    zfs(&[&encrypted[..], &["-o", "canmount=off", &parent]].concat());
    world.policy.backup = key(&world, &format!("--root {} --append-only", world.backup_root()));
    world.filesystem(GUEST, 1);
    zfs(&[&encrypted[..], &[&world.guest("secret")]].concat());
    for day in [DAY_1, DAY_2] {
        let run = world.run_with(day, &[]).expect_code(0);
        assert!(!run.stderr.contains("failed"), "{run:?}");
    }
    assert_eq!(property("encryptionroot", &world.backup(GUEST)), parent);
    assert_eq!(property("encryptionroot", &world.backup("secret")), world.backup("secret"));
}
