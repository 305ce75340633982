//! The examples at the end of each subcommand's help.

pub(super) const RUN: &str = "\
Examples:
  zhaul run --dry-run                      show what the next run would do, and why
  zhaul run                                do it, as cron does
  zhaul run --dataset tank/vm --archive    without a configuration file; archive now
  zhaul run -n --at 2026-02-01             plan as of the first of February";

pub(super) const STATUS: &str = "\
Examples:
  zhaul status
  zhaul status --check --warn-after 26h --critical-after 50h
  zhaul status --metrics /var/lib/prometheus/node-exporter/zhaul.prom";

pub(super) const COMPLETIONS: &str = "\
Example:
  zhaul completions bash > /etc/bash_completion.d/zhaul";

pub(super) const MAN: &str = "\
Example:
  zhaul man /usr/local/share/man/man1";

pub(super) const CONFIG: &str = "\
Example:
  zhaul config example > /etc/zhaul.toml";

pub(super) const LIST: &str = "\
Examples:
  zhaul list                             all guests and datasets that can be restored
  zhaul list 100                         the restore points of guest 100
  zhaul list rpool/data/vm-100-disk-0    those of one disk
  zhaul list 100 --json";

pub(super) const RESTORE: &str = "\
Examples:
  zhaul list 100                               what there is to go back to
  zhaul restore 100 --dry-run                  what would be received, and how much
  zhaul restore 100                            all disks of guest 100, which no longer exist here
  zhaul restore 100 --at 2026-02-01            as it was at the beginning of that day
  zhaul restore rpool/data/vm-100-disk-0 --from nfs9 --at 2026-Jan --to rpool/data/vm-900-disk-0
  zhaul restore 100 --abandon                  give up a restore that was interrupted";

pub(super) const ROLLBACK: &str = "\
Examples:
  zhaul rollback 100 --dry-run               what would go, and where else it is
  zhaul rollback 100                         to the newest point; asks before
  zhaul rollback 100 --to 2026-02-01-030000 --yes
  zhaul rollback 100 --keep-config           the disks only
  zhaul rollback 100 --to 2026-02-01 --keep  what is there now is set aside, with all newer points";

pub(super) const BENCH: &str = "\
Examples:
  zhaul bench --synthetic                  this machine alone, with a synthetic stream
  zhaul bench nfs8                         the way to a target, with what a run would send
  zhaul bench nfs8 --receive --seconds 30  and its pool; what it writes there is destroyed again
  zhaul bench nfs8 --snapshot rpool/data/vm-100-disk-0@2026-01-10-010000 --json";

pub(super) const PRUNE: &str = "\
Examples, on the backup's host:
  zhaul prune -n tank/backup/pve0 --keep-last 30          show what would go, and why
  zhaul prune tank/backup/pve0 --keep-daily 14 --keep-weekly 8 --keep-superseded 90d";

pub(super) const VERIFY: &str = "\
Examples:
  zhaul verify                                       by GUID, and what the pools report
  zhaul verify --deep 100                            compare all content of guest 100 with its copies
  zhaul verify --deep --target nfs8 --for 2h         as cron does: what was compared longest ago first
  zhaul verify --deep --rate 100MiB                  without being in the way
  zhaul verify --drill 100 --target nfs9             can guest 100 be restored from the archive?
  zhaul verify --heal --dry-run                      what a scrub has found, and where it is whole";
