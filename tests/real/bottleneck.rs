//! The display of a run: which stage the others wait for, and when that changes.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::agent::key;
use crate::failing::FailingPool;
use crate::look;
use crate::spare::SpareHost;
use crate::world::{DAY_1, GUEST, World};

#[test]
fn the_display_names_the_slow_stage_and_follows_when_it_changes() {
    let pool = FailingPool::new("bottleneck-pool", 512);
    let mut world = World::new("bottleneck");
    world.filesystem(GUEST, 160);
    let host = SpareHost::new("slowpoke", 44);
    let mut lines = key(&world, "");
    // The key's file stays, the host's own address and name come on top.
    let own = fs::read_to_string(world.directory().join("ssh_config")).unwrap();
    let path = host.ssh_config(world.directory());
    let of_host = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{of_host}{own}")).unwrap();
    lines.push_str("channel = \"tls\"\n");
    world.policy.backup = lines;
    world.policy.backup_at = Some(("slowpoke".to_owned(), format!("{}/pve0", pool.name)));
    world.policy.transfer = String::from("buffer = \"8MiB\"");

    host.queue("add", &["root", "tbf", "rate", "24mbit", "burst", "64kb", "latency", "50ms"]);
    let screen = world.directory().join("screen");
    let zhaul = env!("CARGO_BIN_EXE_zhaul");
    let line = format!("{zhaul} run --config {} --lab-clock {DAY_1}", world.config().display());
    // A terminal of its own.
    let mut run = Command::new("script")
        .args(["-qefc", &line])
        .arg(&screen)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .env("COLUMNS", "200")
        .spawn()
        .unwrap();
    let seen = |words: &str, from: usize| {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let drawn = fs::read_to_string(&screen).unwrap_or_default();
            let new = drawn.get(from..).unwrap_or_default();
            if new.contains(words) {
                return drawn.len();
            }
            assert!(Instant::now() < deadline, "not {words:?} in: {new}");
            thread::sleep(Duration::from_millis(50));
        }
    };
    let until = seen("limited by network", 0);
    pool.freeze();
    host.queue("del", &["root"]);
    let until = seen("limited by target receive", until);
    pool.mend();
    assert!(run.wait().unwrap().success(), "{}", fs::read_to_string(&screen).unwrap());
    seen("Done in", until);
    look::assert_same_newest(&world.guest(GUEST), &format!("{}/pve0/{GUEST}", pool.name));
}
