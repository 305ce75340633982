//! A plan as a person reads it.

use super::super::examples::{estimates, plan};
use super::*;

#[test]
fn a_plan_reads_as_it_should() {
    let expected = "\
several datasets
  source  snapshot 2 datasets in one transaction group
            because guest 100: all 2 volumes in one transaction group
            rpool/data/vm-100-disk-0@2026-02-01-030000
            rpool/data/vm-100-disk-1@2026-02-01-030000

rpool/data/vm-100-disk-0
  source  bookmark #2026-02-01-030000
            because the next increment can start from it when the snapshot is gone
  nfs8    send #2026-01-31-030000 -> @2026-02-01-030000 into tank/backup/pve0/vm-100-disk-0, about 1.50 GiB
            because the newest common snapshot is @2026-01-31-030000
  nfs9    send @2026-02-01-030000 in full into tank/archive/pve0/vm-100-disk-0, of unknown size
            because the target has nothing yet
  nfs9    rename tank/archive/pve0/vm-100-disk-0@2026-02-01-030000 to @2026-Feb
            because it was received, but not renamed
  source  destroy 2 snapshots of rpool/data/vm-100-disk-0, frees at least 3.00 MiB
            because kept by no rule (keep-last = 1)
            @2026-01-01-030000  1.00 MiB
            @2026-01-02-030000  2.00 MiB

blocked: rpool/data/vm-101-disk-0 (nfs9): tank/archive/pve0/vm-101-disk-0 has snapshots, but the source knows none of \
them; the copy stays as it is
  next: on nfs9, rename tank/archive/pve0/vm-101-disk-0 (zfs rename), or set on-no-base = \"supersede\"
note: source: 2026-Jan can no longer be archived: the source has no zhaul snapshot left from then

Plan for 2026-02-01T03:00:00Z: 2 snapshots, 2 transfers of about 1.50 GiB and 1 of unknown size, \
2 snapshots destroyed (at least 3.00 MiB freed), 1 other step; 1 blocked
";
    assert_eq!(plan_text(&plan(), &estimates(), Style::default()), expected);
}

#[test]
fn an_empty_plan_says_so() {
    let plan = Plan { steps: Vec::new(), findings: Vec::new(), ..plan() };
    assert_eq!(
        plan_text(&plan, &Estimates::new(), Style::default()),
        "Plan for 2026-02-01T03:00:00Z: nothing to do\n"
    );
}
