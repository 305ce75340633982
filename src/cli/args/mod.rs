//! The command line, as clap structs; no logic beyond the shape of each word.

mod bench;
mod examples;
mod prune;
mod restore;
mod verify;

use std::num::NonZeroU64;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;
use jiff::SignedDuration;

use super::exit_code::EXIT_CODES_HELP;
use super::when::TimeArgument;
use crate::model::{ByteCount, DatasetName, GuestId, NameFormat, PortRange, SizeError};

pub(super) use bench::BenchArgs;
pub(super) use prune::PruneArgs;
pub(super) use restore::{AtArg, ListArgs, RestoreArgs, RollbackArgs, StorageArg};
pub(super) use verify::VerifyArgs;

/// Where the policy is unless `--config` says otherwise.
pub(super) const DEFAULT_CONFIG: &str = "/etc/zhaul.toml";

/// Back up and archive the guests of a Proxmox VE host that lie on ZFS
///
/// One run snapshots and bookmarks every selected dataset, sends what is new to the backup, once a month to the
/// archive, and removes snapshots that no rule keeps. Everything is decided from ZFS itself, so a run can be killed at
/// any moment and the next one continues where it stopped.
#[derive(Debug, Parser)]
#[command(
    name = "zhaul",
    version,
    after_help = EXIT_CODES_HELP,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub(super) struct Cli {
    /// The subcommand.
    #[command(subcommand)]
    pub(super) command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Carry out the whole policy: snapshot, send, archive, prune
    ///
    /// Without a configuration file name what to back up with --dataset; the other flags are those of vm-backup.sh, with
    /// its defaults: the backup is nfs8:tank/backup/HOSTNAME, the archive is nfs9:tank/archive/HOSTNAME.
    #[command(after_help = EXIT_CODES_HELP, after_long_help = with_exit_codes(examples::RUN))]
    Run(RunArgs),
    /// Show how old the newest snapshot, backup and archive of each dataset are
    ///
    /// With --check the answer is one line for Nagios or Icinga and the exit code 0 (OK), 1 (warning) or 2 (critical).
    #[command(after_help = EXIT_CODES_HELP, after_long_help = with_exit_codes(examples::STATUS))]
    Status(StatusArgs),
    /// List the restore points of a guest or dataset, here, on the backup and on the archive
    ///
    /// Without a guest or dataset it lists what can be restored at all, also what no longer exists on this host.
    #[command(after_help = EXIT_CODES_HELP, after_long_help = with_exit_codes(examples::LIST))]
    List(ListArgs),
    /// Restore a guest's disks or a dataset from the backup, the archive or this host
    ///
    /// Everything is received beside its place (below `zhaul-incoming`) and renamed into place when it is complete. Nothing
    /// that exists is overwritten; with --replace it is set aside, and can be put back (--put-back). `zhaul help restore` has
    /// the commands for each kind of disaster. Interrupted, the same command continues where it stopped; --abandon gives it up. The next
    /// run after a restore sends increments only.
    #[command(after_help = EXIT_CODES_HELP, after_long_help = with_exit_codes(examples::RESTORE))]
    Restore(RestoreArgs),
    /// Roll a guest's disks or a dataset back to a restore point on this host
    ///
    /// Shows which newer points go and where else they are, and asks. All disks are checked before anything is done. Points
    /// that zhaul did not make are never destroyed. The guest must be stopped; its configuration and firewall file come back as
    /// the point has them. With --keep nothing goes: what is there now is set aside, and can be put back. Interrupted, the same
    /// command continues. The next run repairs backup and archive by policy.
    #[command(after_help = EXIT_CODES_HELP, after_long_help = with_exit_codes(examples::ROLLBACK))]
    Rollback(RollbackArgs),
    /// Apply keep rules to the copies below a dataset of this host: for backups that no source may prune
    ///
    /// An append-only agent destroys nothing for those who send, so the backup's own host applies the rules, from its own cron.
    /// Only copies with a mark of zhaul (zhaul:writer) are pruned, and of these only snapshots that zhaul named, never the
    /// newest; holds and clones are respected. The months of an archive all stay.
    #[command(after_help = EXIT_CODES_HELP, after_long_help = with_exit_codes(examples::PRUNE))]
    Prune(PruneArgs),
    /// Measure each stage of a transfer alone, then all together, and say which settings suit
    ///
    /// Reads a snapshot in full and throws it away; compresses the beginning of it in memory; sends it to the target's
    /// agent, which throws it away, over ssh and over connections of its own; and at last does all of that at once.
    /// Without a target both ends are this machine. Nothing is written anywhere, unless --receive says so.
    #[command(after_help = EXIT_CODES_HELP, after_long_help = with_exit_codes(examples::BENCH))]
    Bench(BenchArgs),
    /// Receive what zhaul on another machine sends: started by it, through ssh
    ///
    /// As a forced command in `authorized_keys`, the agent hides from an SSH key all datasets outside of `--root`:
    /// `command="zhaul agent --root tank/backup/pve0 --append-only",restrict ssh-ed25519 ...`
    #[command(after_help = EXIT_CODES_HELP)]
    Agent(AgentArgs),
    #[command(hide = true, about = "Make calls into ZFS for another zhaul", after_help = EXIT_CODES_HELP)]
    ZfsCalls,
    #[command(hide = true, about = "Read Proxmox VE's configuration for another zhaul", after_help = EXIT_CODES_HELP)]
    ReadGuests {
        /// Where it is.
        directory: PathBuf,
        /// The guests whose files are wanted; none for what there is.
        guests: Vec<u32>,
    },
    #[command(hide = true, about = "Freeze a guest for another zhaul, and thaw it", after_help = EXIT_CODES_HELP)]
    FreezeGuest {
        /// Its number.
        guest: u32,
        /// For how long at most, in milliseconds.
        limit: u64,
        /// The directory for the notes of what is frozen.
        directory: PathBuf,
    },
    /// Check or write a configuration file
    #[command(after_help = EXIT_CODES_HELP, arg_required_else_help = true, disable_help_subcommand = true)]
    Config {
        /// The action.
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Compare every copy with its source by GUID, and ask the pools of both ends for errors and their last scrub
    ///
    /// Compares by GUID, and reads no block: what a pool holds is read by `zpool scrub`, and this says when that was. With --deep
    /// all content of the newest common snapshots is read on both machines and compared; only digests cross the network where
    /// zhaul is installed on the target. What is the same is marked so on the copy. A copy that could not be compared, has
    /// diverged from its source, or is on a pool with errors ends with 1.
    ///
    /// --drill restores a guest beside its place and destroys it again; --heal mends what the pool of a target has lost.
    #[command(after_help = EXIT_CODES_HELP, after_long_help = with_exit_codes(examples::VERIFY))]
    Verify(VerifyArgs),
    /// Look for everything that stands in the way of backups and restores, and say what mends it
    ///
    /// Judges what `status` and a dry run know, and looks at this host: locks and interrupted restores, points that stop Proxmox
    /// VE's own rollback, what was set aside, the space of its pools; and at all machines: clocks, versions of OpenZFS, errors of
    /// pools. Changes nothing.
    #[command(after_help = EXIT_CODES_HELP)]
    Doctor(DoctorArgs),
    /// Print how to get data back (`zhaul help restore`), or the help of another command
    ///
    /// What `restore` prints, after each kind of disaster, is built into the program, and works when nothing else does.
    #[command(after_help = EXIT_CODES_HELP)]
    Help {
        /// `restore`, or another command; without it, all commands
        #[arg(value_name = "PAGE")]
        page: Option<String>,
    },
    /// Print the completion script for a shell
    #[command(after_help = EXIT_CODES_HELP, after_long_help = with_exit_codes(examples::COMPLETIONS))]
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Write the manual pages of all commands into a directory
    #[command(after_help = EXIT_CODES_HELP, after_long_help = with_exit_codes(examples::MAN))]
    Man {
        /// The directory; it must exist.
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        directory: PathBuf,
    },
}

fn with_exit_codes(examples: &str) -> String {
    format!("{examples}\n\n{EXIT_CODES_HELP}")
}

/// The actions on a configuration file.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Check the configuration and say in words what it means
    #[command(after_help = EXIT_CODES_HELP)]
    Check {
        /// Which policy.
        #[command(flatten)]
        policy: PolicyArgs,
        /// Ask this host which datasets the policy selects, and which patterns match nothing
        #[arg(long)]
        show_datasets: bool,
        /// The log options.
        #[command(flatten)]
        log: LogArgs,
    },
    /// Print a commented example
    #[command(after_help = EXIT_CODES_HELP, after_long_help = with_exit_codes(examples::CONFIG))]
    Example,
}

/// Which policy: a file, or the flags of `vm-backup.sh`.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct PolicyArgs {
    /// Read the policy from this file [default: /etc/zhaul.toml if it exists]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) config: Option<PathBuf>,
    /// Back up the datasets below this one instead of those that the configuration names; can be given again
    #[arg(long = "dataset", value_name = "DATASET", value_parser = DatasetName::new)]
    pub(super) datasets: Vec<DatasetName>,
    /// Back up to this host
    #[arg(long, value_name = "HOST")]
    pub(super) backup_host: Option<String>,
    /// Back up below this dataset
    #[arg(long, value_name = "DATASET", value_parser = DatasetName::new)]
    pub(super) backup_dataset: Option<DatasetName>,
    /// Archive to this host
    #[arg(long, value_name = "HOST")]
    pub(super) archive_host: Option<String>,
    /// Archive below this dataset
    #[arg(long, value_name = "DATASET", value_parser = DatasetName::new)]
    pub(super) archive_dataset: Option<DatasetName>,
}

/// How much is logged on stderr.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(super) struct LogArgs {
    /// Log more on stderr: 0 warnings, 1 each step, 2 details, 3 everything
    #[arg(long, value_name = "LEVEL", value_parser = clap::value_parser!(u8).range(0..=3), conflicts_with = "quiet")]
    pub(super) debug: Option<u8>,
    /// Log more on stderr; twice and three times for still more
    #[arg(short, long, action = ArgAction::Count, conflicts_with_all = ["quiet", "debug"])]
    pub(super) verbose: u8,
    /// Show neither progress nor summary; only what went wrong
    #[arg(short, long)]
    pub(super) quiet: bool,
}

impl LogArgs {
    /// 0 to 3.
    pub(super) fn level(self) -> u8 {
        self.debug.unwrap_or(self.verbose).min(3)
    }
}

/// `zhaul run`.
#[derive(Debug, Clone, Default, Args)]
#[expect(clippy::struct_excessive_bools, reason = "independent flags of a command line")]
pub(super) struct RunArgs {
    /// Show the plan with sizes and reasons, and change nothing
    #[arg(short = 'n', long, visible_alias = "dryrun")]
    pub(super) dry_run: bool,
    /// Which policy.
    #[command(flatten)]
    pub(super) policy: PolicyArgs,
    /// Serve only this guest's disks; can be given again
    #[arg(long = "guest", value_name = "ID", value_parser = parse_guest)]
    pub(super) guests: Vec<GuestId>,
    /// Archive now, due or not; the archive's snapshot is named after the day
    #[arg(long)]
    pub(super) archive: bool,
    /// Take no snapshot: send and prune what exists
    #[arg(long)]
    pub(super) no_snapshot: bool,
    /// If another run of this policy is active, wait for it to end, at most for TIME (without TIME: as long as it takes)
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "forever",
          value_parser = parse_wait)]
    pub(super) wait: Option<SignedDuration>,
    /// Plan as of another time, e.g. "2026-02-01 03:00" or 2026-02-01T03:00:00+01:00; only with --dry-run
    #[arg(long, value_name = "TIME")]
    pub(super) at: Option<TimeArgument>,
    /// Run as if it were this time; for tests.
    #[arg(long, value_name = "TIME", hide = true, conflicts_with = "at")]
    pub(super) lab_clock: Option<TimeArgument>,
    /// Print one JSON object instead of text: with --dry-run the plan, otherwise the report
    #[arg(long)]
    pub(super) json: bool,
    /// The log options.
    #[command(flatten)]
    pub(super) log: LogArgs,
}

/// `zhaul status`.
#[derive(Debug, Clone, Args)]
pub(super) struct StatusArgs {
    /// Which policy.
    #[command(flatten)]
    pub(super) policy: PolicyArgs,
    /// Print one line for Nagios and exit with 0 (OK), 1 (warning) or 2 (critical)
    #[arg(long, conflicts_with = "json")]
    pub(super) check: bool,
    /// A snapshot or backup older than this is a warning
    #[arg(long, value_name = "AGE", default_value = "26h", value_parser = parse_age)]
    pub(super) warn_after: SignedDuration,
    /// A snapshot or backup older than this is critical
    #[arg(long, value_name = "AGE", default_value = "50h", value_parser = parse_age)]
    pub(super) critical_after: SignedDuration,
    /// A month that is not on the archive after this many of its days is a warning
    #[arg(long, value_name = "DAYS", default_value_t = 3, value_parser = clap::value_parser!(i8).range(0..=31))]
    pub(super) archive_grace: i8,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
    /// Write Prometheus metrics into this file, in one go, for the textfile collector
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) metrics: Option<PathBuf>,
    /// Judge ages as of another time
    #[arg(long, value_name = "TIME", hide = true)]
    pub(super) lab_clock: Option<TimeArgument>,
    /// The log options.
    #[command(flatten)]
    pub(super) log: LogArgs,
}

/// `zhaul doctor`.
#[derive(Debug, Clone, Args)]
pub(super) struct DoctorArgs {
    /// Which policy.
    #[command(flatten)]
    pub(super) policy: PolicyArgs,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
    /// Judge ages as of another time
    #[arg(long, value_name = "TIME", hide = true)]
    pub(super) lab_clock: Option<TimeArgument>,
    /// The log options.
    #[command(flatten)]
    pub(super) log: LogArgs,
}

/// `zhaul agent`.
#[derive(Debug, Clone, Args)]
pub(super) struct AgentArgs {
    /// Serve nothing outside of this dataset; can be given again [default: no limit]
    #[arg(long = "root", value_name = "DATASET", value_parser = DatasetName::new)]
    pub(super) roots: Vec<DatasetName>,
    /// Wait for TLS and TCP connections on these ports only, for example 50000-50015 [default: what the caller asks for]
    #[arg(long, value_name = "PORTS")]
    pub(super) ports: Option<PortRange>,
    /// Destroy nothing and roll nothing back; rename only what an archive renames
    #[arg(long)]
    pub(super) append_only: bool,
    /// Name format of the policies' snapshots (`name`), if it is not the default
    #[arg(long, value_name = "FORMAT", value_parser = NameFormat::new)]
    pub(super) name: Option<NameFormat>,
    /// Memory for one stream, whatever the caller asks for, and one connection for each MiB (at least 16)
    #[arg(long, value_name = "SIZE", default_value = "1GiB")]
    pub(super) buffer: ByteCount,
    /// How many sessions may be open at once, of all agents of this user with the same roots
    #[arg(long, value_name = "COUNT", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) sessions: u32,
    /// The log options.
    #[command(flatten)]
    pub(super) log: LogArgs,
}

fn parse_guest(text: &str) -> Result<GuestId, String> {
    let id = text.parse().ok().filter(|id| (100..=999_999_999).contains(id));
    id.map(GuestId).ok_or_else(|| "a guest's number is between 100 and 999999999".to_owned())
}

fn parse_rate(text: &str) -> Result<NonZeroU64, String> {
    let bytes: ByteCount =
        text.strip_suffix("/s").unwrap_or(text).parse().map_err(|e: SizeError| e.to_string())?;
    let is_enough = |bytes: &NonZeroU64| bytes.get() >= 16 << 10;
    NonZeroU64::new(bytes.0).filter(is_enough).ok_or_else(|| "write at least 16KiB, with the unit".to_owned())
}

fn parse_wait(text: &str) -> Result<SignedDuration, String> {
    if text == "forever" { Ok(SignedDuration::MAX) } else { parse_age(text) }
}

fn parse_age(text: &str) -> Result<SignedDuration, String> {
    let age: Option<SignedDuration> = text.parse().ok();
    age.filter(SignedDuration::is_positive)
        .ok_or_else(|| "write a number and a unit, for example 26h or 90min".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn walk(command: &clap::Command, visit: &mut impl FnMut(&clap::Command)) {
        visit(command);
        for sub in command.get_subcommands() {
            walk(sub, visit);
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_help_lists_the_exit_codes_and_begins_with_a_line_without_a_period() {
        let mut command = Cli::command();
        command.build();
        walk(&command, &mut |sub| {
            let name = sub.get_name();
            let about = sub.get_about().unwrap().to_string();
            assert!(!about.ends_with('.') && !about.contains('\n'), "{name}: {about}");
            assert!(sub.clone().render_help().to_string().contains("130  interrupted"), "{name}");
            assert!(sub.clone().render_long_help().to_string().contains("130  interrupted"), "{name}");
            for arg in sub.get_arguments().filter(|arg| !arg.is_hide_set()) {
                let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
                assert!(!help.is_empty() && !help.ends_with('.'), "{name}: {}: {help}", arg.get_id());
            }
        });
    }

    #[test]
    fn the_old_scripts_flags_are_taken() {
        let line = "zhaul run --dry-run --debug 2 --archive --dataset tank/vm --dataset tank/ct --backup-host nfs8 \
                    --backup-dataset tank/backup/pve0 --archive-host nfs9 --archive-dataset tank/archive/pve0";
        let Command::Run(args) = Cli::try_parse_from(line.split_whitespace()).unwrap().command else {
            panic!("not a run");
        };
        assert!(args.dry_run && args.archive);
        assert_eq!(args.log.level(), 2);
        assert_eq!(args.policy.datasets.len(), 2);
        assert_eq!(args.policy.archive_dataset.unwrap().as_str(), "tank/archive/pve0");
    }

    #[test]
    fn wrong_words_are_refused_with_the_reason() {
        let cases = [
            ("zhaul run --dataset tank/@x", "only letters, digits"),
            ("zhaul run --guest 7", "between 100 and"),
            ("zhaul run --debug 4", "0..=3"),
            ("zhaul run -q -v", "cannot be used with"),
            ("zhaul run --at yesterday", "2026-02-01 03:00"),
            ("zhaul status --warn-after soon", "26h"),
            ("zhaul run --wait=soon", "26h"),
            ("zhaul run --at 2026-02-01 --lab-clock 2026-02-01", "cannot be used with"),
        ];
        for (line, expected) in cases {
            let error = Cli::try_parse_from(line.split_whitespace()).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains(expected), "{line}: {error}");
        }
    }
}
