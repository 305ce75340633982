//! `zhaul bench` against a target in the lab: what it finds, and that nothing is left of what it received.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::agent::behind_agents;
use crate::look;
use crate::outcome::Run;
use crate::world::{DAY_1, GUEST, World};

/// A bench of the world's backup, each measurement of which ends after so much; time is not what the lab has.
fn bench(world: &World, size: &str, more: &[&str]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zhaul"));
    command
        .args(["bench", "backup", "--seconds", "120", "--size", size, "--json", "--config"])
        .arg(world.config());
    command.args(more).stdin(Stdio::null()).env_remove("RUST_LOG");
    Run::of(command)
}

fn channels(report: &Value) -> Vec<String> {
    let ways = report["measured"]["ways"].as_array().unwrap();
    ways.iter().map(|way| format!("{} {}", way["channel"].as_str().unwrap(), way["connections"])).collect()
}

#[test]
fn a_receive_that_was_measured_leaves_nothing_behind() {
    let mut world = behind_agents("bench_receive", "");
    world.filesystem(GUEST, 24);
    world.run(DAY_1);
    let before = world.state();
    let report = bench(&world, "64MiB", &["--receive"]).expect_code(0).json();
    assert_eq!(world.state(), before);
    let newest = look::snapshots(&world.guest(GUEST)).pop().unwrap();
    assert!(report["stream"].as_str().unwrap().ends_with(&newest), "{report}");
    let measured = &report["measured"];
    let all = measured["source"]["bytes"].as_u64().unwrap();
    assert!(all > 24 << 20, "{report}");
    assert_eq!(measured["receive"]["flow"]["bytes"], all, "the whole stream: {report}");
    assert_eq!(report["together"]["flow"]["bytes"], all, "{report}");
    assert_eq!(report["together"]["end"], "received");
    assert_eq!(
        channels(&report),
        ["ssh 1", "tls 1", "tls 2", "tls 4", "tcp 1", "tcp 2", "tcp 4"],
        "{report}"
    );
    assert!(report["choice"]["settings"].is_object(), "{report}");
}

#[test]
fn of_a_stream_that_was_cut_nothing_is_left_either() {
    let mut world = behind_agents("bench_cut", "");
    world.filesystem(GUEST, 24);
    world.run(DAY_1);
    let before = world.state();
    let report = bench(&world, "8MiB", &["--receive"]).expect_code(0).json();
    assert_eq!(world.state(), before, "{report}");
    assert_eq!(report["measured"]["receive"]["flow"]["bytes"], 8 << 20, "{report}");
}

#[test]
fn an_append_only_agent_is_sent_nothing_that_would_have_to_be_destroyed() {
    let mut world = behind_agents("bench_append_only", "--append-only");
    world.filesystem(GUEST, 2);
    world.run(DAY_1);
    let before = world.state();
    let run = bench(&world, "8MiB", &["--receive"]).expect_code(2);
    assert!(run.stderr.contains("is append-only and would refuse to destroy"), "{run:?}");
    assert_eq!(world.state(), before);
    let report = bench(&world, "8MiB", &[]).expect_code(0).json();
    assert_eq!(report["together"]["end"], "thrown away");
    assert_eq!(world.state(), before);
}

#[test]
fn a_target_with_nothing_but_zfs_is_measured_by_its_receive() {
    let mut world = World::new("bench_zfs_alone");
    world.policy.backup = String::from("agent = \"off\"\n");
    world.filesystem(GUEST, 8);
    world.run(DAY_1);
    let before = world.state();
    for (size, is_whole) in [("64MiB", true), ("4MiB", false)] {
        let report = bench(&world, size, &["--receive"]).expect_code(0).json();
        assert_eq!(world.state(), before, "{report}");
        assert_eq!(channels(&report), [""; 0], "{report}");
        assert_eq!(report["choice"]["settings"], Value::Null, "{report}");
        let received = report["measured"]["receive"]["flow"]["bytes"].as_u64().unwrap();
        assert_eq!(received > 8 << 20, is_whole, "{report}");
        assert!(report["remarks"][0].as_str().unwrap().contains("no agent of zhaul there"), "{report}");
    }
}
