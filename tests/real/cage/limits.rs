//! What a session may cost the target's machine, and what ends it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::attacker::{Attacker, evil, stream};
use super::raw_session::{Raw, answer_to, is_failed, message, speak, ssh};
use crate::agent::key;
use crate::look;
use crate::world::{DAY_1, DAY_2, GUEST, World};

#[test]
fn a_caged_key_gives_no_shell_and_bytes_that_are_no_requests_end_the_session() {
    let attacker = Attacker::new("cage-bytes", "");
    let before = attacker.house();
    for command in
        [&["id"][..], &["zfs", "list"], &["sh", "-c", "'id'", "zhaul", "agent;id"], &["scp", "-t", "/"]]
    {
        let (code, answer, took) = speak(&attacker, command, b"");
        assert!(!answer.contains("uid=") && !answer.contains("tank8"), "{command:?}: {answer}");
        assert!(code != Some(0) && took < Duration::from_secs(5), "{command:?}: {code:?} {answer} {took:?}");
        assert!(answer.contains("this key runs nothing but the agent"), "{command:?}: {answer}");
    }
    let requests: [Vec<u8>; 12] = [
        b"GET / HTTP/1.0\r\n\r\n".to_vec(),
        b"zfs destroy -r tank8\n".to_vec(),
        b"zhm\x01\xff\xff\xff\xff".to_vec(),
        message("{}"),
        message("null"),
        message(r#"{"ask":"shell","command":"id"}"#),
        message(r#"{"ask":"list","root":"tank8/../tank9"}"#),
        message(r#"{"ask":"list","root":"-r"}"#),
        message(r#"{"ask":"list","root":"tank8","roots":[]}"#),
        message(r#"{"ask":"hello","protocol":1,"version":"x"}"#),
        message(r#"{"ask":"change","action":"destroy-everything","dataset":"tank8"}"#),
        message(&"[".repeat(100_000)),
    ];
    for bytes in requests {
        let (answer, took) = answer_to(&attacker, &bytes);
        let shown = String::from_utf8_lossy(&bytes).chars().take(80).collect::<String>();
        assert!(answer.starts_with(r#"{"tell":"failed""#), "{shown}: {answer}");
        assert!(!answer.contains("uid="), "{shown}: {answer}");
        assert!(took < Duration::from_secs(10), "{shown}: {took:?}");
        assert_eq!(before, attacker.house(), "{shown}");
    }
    let (code, _, took) = speak(&attacker, &["exec sh -c 'id' zhaul agent"], b"GET / HTTP/1.0\r\n\r\n");
    assert!(code != Some(0) && took < Duration::from_secs(5), "{code:?} {took:?}");
}

#[test]
fn no_more_sessions_are_open_than_the_admin_of_the_target_allows() {
    let mut attacker = Attacker::new("cage-sessions", "--sessions 2");
    let mut held: Vec<Child> = (0..2).map(|_| ssh(&attacker, &["exec sh -c 'id' zhaul agent"])).collect();
    for one in &mut held {
        one.stdin.as_mut().unwrap().write_all(b"0123456789abcdef0123456789abcdef\n").unwrap();
        let mut greeting = [0; 11];
        one.stdout.as_mut().unwrap().read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting, b"zhaul-agent");
    }
    let run = attacker.world.run_with(DAY_2, &[]).expect_code(1);
    assert!(run.stderr.contains("--sessions"), "{run:?}");
    // It is the hello that is refused: without one nothing is served.
    let request = format!(r#"{{"ask":"list","root":"{}"}}"#, attacker.inside(GUEST));
    let (answer, _) = answer_to(&attacker, &message(&request));
    assert!(answer.starts_with(r#"{"tell":"failed""#) && answer.contains("a hello"), "{answer}");
    for mut one in held {
        drop(one.stdin.take());
        one.wait().unwrap();
    }
    attacker.world.run(DAY_2);
}

#[test]
fn whoever_is_refused_for_want_of_room_does_not_stay() {
    let attacker = Attacker::new("cage-room", "--sessions 2");
    let held: Vec<Raw> = (0..2).map(|_| Raw::welcome(&attacker)).collect();
    let mut more: Vec<Raw> = (0..3).map(|_| Raw::open(&attacker, "exec sh -c 'id' zhaul agent")).collect();
    for raw in &mut more {
        let said = raw.hello();
        assert!(is_failed(&said) && said[0].to_string().contains("--sessions"), "{said:?}");
    }
    let again: Vec<Vec<Value>> = more.iter_mut().map(Raw::hello).collect();
    let stay = again.iter().filter(|said| !said.is_empty()).count();
    more.into_iter().chain(held).for_each(|raw| drop(raw.leave()));
    assert_eq!(stay, 0, "sessions beyond --sessions live for as long as they say hello: {again:?}");
}

/// What looks like the last record of a stream.
fn end_record() -> Vec<u8> {
    let mut end = vec![0; 312];
    end[0] = 5;
    end
}

#[test]
fn an_end_that_is_data_keeps_nothing_busy_once_its_caller_has_gone() {
    let attacker = Attacker::new("cage-fake-end", "");
    let evil = evil(&attacker);
    let full = stream(&[&format!("{evil}@1")]);
    let before = attacker.house();
    let copy = attacker.world.backup("fake");
    let bytes = [&full[..full.len() / 2], &end_record()].concat();
    let spec = attacker.spec("fake@1");
    thread::scope(|scope| {
        let pushed = scope.spawn(|| attacker.push(&spec, &bytes));
        let until = Instant::now() + Duration::from_secs(15);
        while !pushed.is_finished() && Instant::now() < until {
            thread::sleep(Duration::from_millis(50));
        }
        attacker.cancel.request();
        pushed.join().unwrap().unwrap_err();
    });
    let gone = Instant::now() + Duration::from_secs(15);
    while look::exists(&copy) {
        let aborted = std::process::Command::new("zfs").args(["receive", "-A", &copy]).output().unwrap();
        assert!(aborted.status.success() || Instant::now() < gone, "{copy} stays busy: {aborted:?}");
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(before, attacker.house());
}

/// The most memory that a shell has had, in KiB. The caller's ssh has the shell's program in its arguments, too.
fn shells() -> u64 {
    let of = |pid: i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    let is_worker = |words: &[String]| {
        words[0].ends_with("sh")
            && !words[0].ends_with("ssh")
            && words.iter().any(|word| word.contains("zhaul-worker 1"))
    };
    look::processes(is_worker).into_iter().filter_map(of).max().unwrap_or_default()
}

#[test]
fn what_follows_the_end_of_a_stream_fills_no_memory() {
    let attacker = Attacker::new("cage-tail", "--buffer 8MiB");
    let evil = evil(&attacker);
    let full = stream(&[&format!("{evil}@1")]);
    let bytes = [full, vec![b'A'; 4 << 20], end_record()].concat();
    let spec = attacker.spec("tail@1");
    let (mut first, mut most) = (0, 0);
    thread::scope(|scope| {
        let pushed = scope.spawn(|| attacker.push(&spec, &bytes));
        let until = Instant::now() + Duration::from_secs(100);
        while !pushed.is_finished() && Instant::now() < until {
            let now = shells();
            first = if first == 0 { now } else { first };
            most = most.max(now);
            thread::sleep(Duration::from_millis(20));
        }
        assert!(pushed.is_finished(), "the agent reads on");
        pushed.join().unwrap().unwrap_err();
    });
    assert!(first > 0 && most < first + 2048, "a shell grew from {first} to {most} KiB");
}

#[test]
fn numbers_out_of_all_bounds_crash_and_hang_nothing() {
    let attacker = Attacker::new("cage-numbers", "--buffer 8MiB");
    let before = attacker.house();
    let frames = |ask: &str, buffer: u64, stall: Value, over: bool| {
        json!({"ask": ask, "over_connections": over, "stream": u32::MAX, "buffer_bytes": buffer,
               "stall_limit_seconds": stall})
    };
    let receive = |buffer: u64, stall: Value, over: bool| {
        let mut request = frames("receive", buffer, stall, over);
        request["spec"] = serde_json::to_value(attacker.spec("numbers@1")).unwrap();
        request
    };
    let open = |connections: u64, ports: &str| {
        json!({"ask": "open-connections", "connections": connections, "ports": ports,
               "greeting": {"caller": {"tcp": "5a".repeat(32)}}})
    };
    let requests = vec![
        frames("sink", u64::MAX, json!(u64::MAX), false),
        frames("sink", 0, json!(0), false),
        frames("sink", 1, Value::Null, true),
        receive(u64::MAX, json!(u64::MAX), false),
        receive(0, json!(0), false),
        receive(0, Value::Null, true),
        open(0, "0"),
        open(65, "0"),
        open(u64::MAX, "0"),
        open(1, "9-1"),
        open(1, "0"),
        json!({"ask": "end-orphans", "run": {"policy": u64::MAX, "run": 0}}),
        json!({"ask": "details", "snapshots": []}),
    ];
    for request in requests {
        let mut raw = Raw::welcome(&attacker);
        let said = raw.ask(&request);
        assert!(!said.is_empty(), "{request}: the agent hung up without a word");
        // Frames would be next.
        thread::sleep(Duration::from_millis(1500));
        let (errors, took) = raw.leave();
        assert!(!errors.contains("panicked") && !errors.contains("this is a bug"), "{request}: {errors}");
        assert!(took < Duration::from_secs(15), "{request}: {took:?}");
        assert_eq!(before, attacker.house(), "{request}");
    }
}

#[test]
fn orphans_of_another_key_are_not_ended() {
    let first = Attacker::new("cage-orphans-a", "");
    let second = Attacker::new("cage-orphans-b", "");
    let mark = "00000000000000ff-0000000000000001";
    let command = format!("exec env ZHAUL_RUN={mark} sh -c 'id' zhaul agent");
    let mut victim = Raw::open(&first, &command);
    assert_eq!(victim.hello().last().unwrap()["tell"], "done");
    let mut raw = Raw::welcome(&second);
    let said = raw.ask(&json!({"ask": "end-orphans", "run": {"policy": 255, "run": 2}}));
    assert_eq!(said[0], json!({"tell": "orphans", "orphans": []}), "{said:?}");
    let said = victim.ask(&json!({"ask": "list", "root": first.world.backup(GUEST)}));
    assert_eq!(said.last().unwrap()["tell"], "done");
    raw.leave();
    victim.leave();
}

#[test]
fn a_caller_chooses_no_port_of_the_system_and_no_more_connections_than_there_is_room_for() {
    let attacker = Attacker::new("cage-ports", "--buffer 17MiB");
    let open = |connections: u64, ports: &str| {
        json!({"ask": "open-connections", "connections": connections, "ports": ports,
               "greeting": {"caller": {"tcp": "5a".repeat(32)}}})
    };
    for (request, words) in [
        (open(1, "99"), "--ports"),
        (open(1, "1-65535"), "--ports"),
        (open(1, "1023-1024"), "--ports"),
        (open(18, "0"), "instead of 1 to 17"),
    ] {
        let mut raw = Raw::welcome(&attacker);
        let said = raw.ask(&request);
        assert!(is_failed(&said) && said[0].to_string().contains(words), "{request}: {said:?}");
        raw.leave();
    }
}

fn behind(name: &str, options: &str, transfer: &str) -> World {
    let mut world = World::new(name);
    world.policy.backup = format!("{}channel = \"auto\"\n", key(&world, options));
    transfer.clone_into(&mut world.policy.transfer);
    world.filesystem(GUEST, 1);
    world
}

#[test]
fn a_policy_with_a_port_below_1024_backs_up() {
    let mut world = behind("cage-port-low", "", "ports = \"989\"\n");
    let run = world.run_with(DAY_1, &[]);
    assert_eq!(run.stderr, "", "{run:?}");
    run.expect_code(0);
}

#[test]
fn a_policy_with_many_connections_backs_up() {
    let mut world = behind("cage-many", "--buffer 8MiB", "connections = 16\n");
    let run = world.run_with(DAY_1, &[]);
    run.expect_code(0);
}

#[test]
fn sessions_that_say_no_hello_do_not_stay_beyond_the_limit() {
    let attacker = Attacker::new("cage-silent", "--sessions 6");
    let held: Vec<Raw> = (0..6).map(|_| Raw::welcome(&attacker)).collect();
    let mut more: Vec<Raw> = (0..8).map(|_| Raw::open(&attacker, "exec sh -c 'id' zhaul agent")).collect();
    thread::sleep(Duration::from_secs(25));
    let stay = more.iter_mut().map(|raw| raw.child.try_wait().unwrap()).filter(Option::is_none).count();
    more.into_iter().chain(held).for_each(|raw| drop(raw.leave()));
    assert_eq!(stay, 0, "of 8 beyond --sessions still there after 25 s");
}
