//! The text that a rollback shows before its question.

use std::fmt::Write as _;

use super::config::Configuration;
use super::{count, place_word};
use crate::cli::render::{Style, escape};
use crate::model::PointKind;
use crate::plan::restore::{DiskRollback, RollbackPlan};

/// Everything that will go, and what stays.
pub(super) fn plan_text(plan: &RollbackPlan, config: Option<&Configuration>, style: Style) -> String {
    let mut text = format!("{}\n", style.bold(&escape(&format!("roll back to @{}", plan.point))));
    for disk in &plan.disks {
        disk_text(&mut text, disk);
    }
    text.push_str(&left_alone_text(plan));
    if plan.ends_replication() {
        let _ = writeln!(
            text,
            "  {} snapshots of storage replication go, as in Proxmox VE's own rollback: pvesr sends the whole replica again",
            style.yellow("note:")
        );
    }
    let _ = writeln!(text, "  what was written since the point is lost");
    if let Some(config) = config {
        text.push_str(&config.plan_text());
    }
    text
}

/// The disks of the guest that stay.
pub(super) fn left_alone_text(plan: &RollbackPlan) -> String {
    let mut text = String::new();
    for disk in &plan.left_alone {
        let _ = writeln!(text, "  {} stays as it is: zhaul has no points of it", escape(disk));
    }
    for disk in &plan.missing {
        let _ = writeln!(text, "  {} stays as it is: it has no snapshot of the point", escape(disk.as_str()));
    }
    text
}

fn disk_text(text: &mut String, disk: &DiskRollback) {
    let _ = writeln!(text, "  {}@{}", escape(disk.dataset.as_str()), disk.to);
    for newer in disk.newer.iter().filter(|newer| newer.kind == PointKind::Snapshot) {
        let places: Vec<String> = newer.also_on.iter().map(place_word).collect();
        let places = if places.is_empty() {
            "nowhere else".to_owned()
        } else {
            format!("also on {}", places.join(", "))
        };
        let goes = newer.is_own || newer.is_replication;
        let whose = if goes { "goes" } else { "is not zhaul's" };
        let _ = writeln!(text, "    newer: @{} {whose}; {places}", escape(newer.name.as_str()));
    }
    let bookmarks = disk.newer.iter().filter(|newer| newer.kind == PointKind::Bookmark).count();
    if bookmarks > 0 {
        let _ = writeln!(text, "    {} of newer snapshots go with them", count(bookmarks, "bookmark"));
    }
}
