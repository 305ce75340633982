//! The table of a measurement, line by line.

use super::*;
use crate::bench::{CompressionRun, Measured, Settings, Together, Way};
use crate::model::{Channel, Compression};
use crate::stream::Bottleneck;

fn report() -> Report {
    let flow = |sent_mib: u64, seconds| Flow::new(256 << 20, sent_mib << 20, seconds, 0.5);
    let way = |channel, connections, has_both_ends, seconds| Way {
        channel,
        connections,
        has_both_ends,
        flow: flow(256, seconds),
    };
    Report {
        target: "nfs8".to_owned(),
        stream: "rpool/data/vm-100-disk-0@2026-01-10-010000".to_owned(),
        measured: Measured {
            cores: 8,
            source: flow(256, 0.25),
            compression_runs: vec![CompressionRun {
                compression: Compression::Zstd(3),
                threads: 8,
                compress: flow(128, 0.5),
                decompress: flow(128, 0.2),
            }],
            ways: vec![way(Channel::Ssh, 1, false, 64.0), way(Channel::Tls, 4, true, 0.5)],
            receive: Some(Received { flow: flow(256, 1.0), waited_for: None }),
        },
        choice: Choice {
            settings: Some(Settings {
                channel: Channel::Tls,
                connections: 4,
                compression: Compression::Zstd(3),
            }),
            mib_per_second: 256.0,
            bottleneck: Bottleneck::TargetReceive,
            tcp_mib_per_second: None,
        },
        together: Some(Together {
            end: "received",
            received: Received { flow: flow(128, 1.1), waited_for: Some(Bottleneck::Compress) },
        }),
        remarks: vec!["one\x1bthing".to_owned()],
        left_behind: vec!["tank/x is left behind\n  next: look".to_owned()],
    }
}

#[test]
fn each_stage_has_its_line_and_what_follows_stands_below() {
    assert_eq!(
        text(&report(), Style::default()),
        "nfs8, 8 cores, rpool/data/vm-100-disk-0@2026-01-10-010000: 256 MiB read\n\n\
             stage                                MiB/s   ratio  CPU s/GiB\n\
             source read                           1024               2.00\n\
             compress zstd:3, 8 threads             512    2.00       2.00\n  \
               and decompress, 8 threads           1280               2.00\n\
             network ssh x1                         4.0               2.00\n\
             network tls x4 (both ends)             512               2.00\n\
             receive, from memory                   256               2.00\n\
             all together, received                 233    2.00       2.00\n\n\
             Bottleneck: target receive by the numbers; all together waited most for: compress\n\
             Settings:   channel = \"tls\", connections = 4, compression = \"zstd:3\"   (256 MiB/s expected)\n\
             note: one\\u{1b}thing\n\
             left behind: tank/x is left behind\n  next: look\n"
    );
}

#[test]
fn where_nothing_is_to_be_set_the_bottleneck_is_still_named() {
    let choice = Choice { settings: None, ..report().choice };
    assert_eq!(
        conclusion(&choice, None, Style::default()),
        "Bottleneck: target receive\nSettings:   none to choose   (256 MiB/s expected)\n"
    );
}

#[test]
fn json_has_names_as_the_policy_writes_them() {
    let json = serde_json::to_value(report()).unwrap();
    assert_eq!(json["choice"]["settings"]["channel"], "tls");
    assert_eq!(json["choice"]["settings"]["compression"], "zstd:3");
    assert_eq!(json["choice"]["bottleneck"], "target-receive");
    assert_eq!(json["measured"]["ways"][0]["channel"], "ssh");
    assert_eq!(json["measured"]["compression_runs"][0]["compress"]["ratio"], 2.0);
    assert_eq!(json["together"]["waited_for"], "compress");
    assert_eq!(json["together"]["end"], "received");
    assert_eq!(json["left_behind"].as_array().unwrap().len(), 1);
}
