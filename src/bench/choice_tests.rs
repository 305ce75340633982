//! The choices that synthetic measurements lead to.

use super::choice::choose;
use super::measured::{CompressionRun, Flow, Measured, Received, Way};
use crate::model::{Channel, Compression};
use crate::stream::Bottleneck;

/// A flow of this rate and ratio, and these CPU seconds for a GiB.
fn flow(mib_per_second: f64, ratio: f64, cpu_seconds_per_gib: f64) -> Flow {
    Flow { bytes: 1 << 30, sent_bytes: 0, seconds: 1.0, mib_per_second, ratio, cpu_seconds_per_gib }
}

/// Compression on a machine whose one thread compresses lz4 at `lz4` MiB a second, on one and on `threads` threads.
fn compression_runs(lz4: f64, threads: u32) -> Vec<CompressionRun> {
    let levels = [
        (Compression::Lz4, 1.0, 1.6),
        (Compression::Zstd(1), 0.8, 2.0),
        (Compression::Zstd(3), 0.5, 2.2),
        (Compression::Zstd(6), 0.2, 2.4),
        (Compression::Zstd(9), 0.1, 2.6),
    ];
    let compression_run = |compression, threads: u32, speed: f64, ratio| {
        let one = lz4 * speed;
        CompressionRun {
            compression,
            threads: usize::try_from(threads).unwrap(),
            compress: flow(one * f64::from(threads), ratio, 1024.0 / one),
            decompress: flow(1500.0 * f64::from(threads), 1.0, 0.7),
        }
    };
    let both = |(compression, speed, ratio)| {
        [1, threads].map(|count| compression_run(compression, count, speed, ratio))
    };
    levels.into_iter().flat_map(both).collect()
}

fn way(channel: Channel, connections: usize, mib_per_second: f64, cpu_seconds_per_gib: f64) -> Way {
    Way { channel, connections, has_both_ends: false, flow: flow(mib_per_second, 1.0, cpu_seconds_per_gib) }
}

/// A link of `link` MiB a second, where one connection carries `one` at most; ssh is a third of that.
fn ways(link: f64, one: f64) -> Vec<Way> {
    let connections = |channel, cpu| {
        [1_u32, 2, 4]
            .map(|count| way(channel, usize::try_from(count).unwrap(), link.min(one * f64::from(count)), cpu))
    };
    let mut ways = vec![way(Channel::Ssh, 1, link.min(one / 3.0), 3.0)];
    ways.extend(connections(Channel::Tls, 0.9));
    ways.extend(connections(Channel::Tcp, 0.6));
    ways
}

fn measured(source: f64, compression_runs: Vec<CompressionRun>, ways: Vec<Way>) -> Measured {
    Measured { cores: 8, source: flow(source, 1.0, 0.5), compression_runs, ways, receive: None }
}

/// Channel, connections and compression, as the policy writes them.
fn settings(measured: &Measured) -> (Channel, usize, String) {
    let chosen = choose(measured).settings.unwrap();
    (chosen.channel, chosen.connections, chosen.compression.to_string())
}

#[test]
fn a_slow_link_is_worth_strong_compression() {
    let measured = measured(1000.0, compression_runs(500.0, 8), ways(11.0, 400.0));
    let choice = choose(&measured);
    assert_eq!(choice.bottleneck, Bottleneck::Network);
    assert_eq!(choice.settings.unwrap().compression, Compression::Zstd(9));
    assert!((choice.mib_per_second - 11.0 * 2.6).abs() < 0.1, "{}", choice.mib_per_second);
}

#[test]
fn on_ten_gigabits_a_slow_cpu_compresses_nothing_and_takes_more_connections() {
    let measured = measured(1000.0, compression_runs(60.0, 8), ways(1150.0, 400.0));
    assert_eq!(settings(&measured), (Channel::Tls, 4, "off".to_owned()));
    assert_eq!(choose(&measured).bottleneck, Bottleneck::SourceRead);
}

#[test]
fn no_more_connections_than_help() {
    let measured = measured(350.0, Vec::new(), ways(1150.0, 400.0));
    assert_eq!(settings(&measured), (Channel::Tls, 1, "off".to_owned()));
}

#[test]
fn the_least_work_that_keeps_up_with_the_source_is_enough() {
    // A gigabit that takes 112 MiB/s, and a pool that gives 170: lz4 shrinks it to less than that.
    let measured = measured(170.0, compression_runs(500.0, 8), ways(112.0, 400.0));
    assert_eq!(settings(&measured).2, "lz4");
    assert_eq!(choose(&measured).bottleneck, Bottleneck::SourceRead);
}

#[test]
fn all_cores_together_limit_what_no_stage_alone_does() {
    let mut measured = measured(3000.0, compression_runs(500.0, 2), ways(300.0, 400.0));
    measured.cores = 2;
    let choice = choose(&measured);
    assert_eq!(choice.bottleneck, Bottleneck::Compress);
    let lz4 = 0.5 + 1024.0 / 500.0 + 0.9 / 1.6;
    assert!(choice.mib_per_second <= 2.0 * 1024.0 / lz4 + 0.1, "{choice:?}");
}

#[test]
fn tcp_is_suggested_but_never_chosen() {
    let only = |channel, rate| way(channel, 1, rate, 0.5);
    let fast = measured(3000.0, Vec::new(), vec![only(Channel::Tls, 400.0), only(Channel::Tcp, 900.0)]);
    let choice = choose(&fast);
    assert_eq!(choice.settings.unwrap().channel, Channel::Tls);
    assert_eq!(choice.tcp_mib_per_second, Some(900.0));
    let alike = measured(3000.0, Vec::new(), vec![only(Channel::Tls, 400.0), only(Channel::Tcp, 420.0)]);
    assert_eq!(choose(&alike).tcp_mib_per_second, None);
}

#[test]
fn ssh_is_chosen_where_nothing_else_goes() {
    let measured = measured(1000.0, compression_runs(500.0, 8), vec![way(Channel::Ssh, 1, 250.0, 3.0)]);
    let (channel, connections, compression) = settings(&measured);
    assert_eq!((channel, connections), (Channel::Ssh, 1));
    assert_ne!(compression, "off", "compressed data costs ssh less, too");
}

#[test]
fn a_slow_pool_is_named_but_not_for_what_the_network_did() {
    let mut measured = measured(1000.0, compression_runs(500.0, 8), ways(11.0, 400.0));
    let received = |waited_for| Some(Received { flow: flow(9.0, 1.0, 1.0), waited_for: Some(waited_for) });
    measured.receive = received(Bottleneck::Network);
    assert_eq!(choose(&measured).bottleneck, Bottleneck::Network);
    measured.receive = received(Bottleneck::TargetReceive);
    let choice = choose(&measured);
    assert_eq!((choice.bottleneck, choice.mib_per_second), (Bottleneck::TargetReceive, 9.0));
    assert_eq!(choice.settings.unwrap().compression, Compression::Off, "compression would not help");
}

#[test]
fn without_a_network_there_is_nothing_to_set() {
    let mut measured = measured(1000.0, compression_runs(500.0, 8), Vec::new());
    measured.receive = Some(Received { flow: flow(300.0, 1.0, 1.0), waited_for: None });
    let choice = choose(&measured);
    assert_eq!((choice.settings, choice.bottleneck), (None, Bottleneck::TargetReceive));
}
