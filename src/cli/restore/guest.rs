//! The configuration of a guest that is restored: found in its point, checked against what is there, written at the end.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, anyhow};

use super::super::context::CommandContext;
use super::super::exit_code::{Code, Failure, OrExit};
use super::super::render::{escape, shell_word};
use super::Wanted;
use super::stored::{Stored, stored};
use super::{asked, words};
use crate::channel::random_bytes;
use crate::host::{GuestFile, GuestFiles, Restoring, Sending};
use crate::model::{
    Answer, CONSISTENCY_PROPERTY, DatasetName, GuestConfig, GuestId, GuestKind, Inventory, PointName,
    Proxmox, TEMPLATE_SNAPSHOT, TargetName,
};
use crate::plan::restore::{
    ConfigChanges, FormerPlaces, RestorePlan, Volume, VolumeRestore, Volumes, What, former_places,
    is_template, main_lines, restored_config, volume_sizes, volumes_of,
};

/// The configuration to write, and where.
pub(super) struct Restoration {
    files: GuestFiles,
    id: GuestId,
    kind: GuestKind,
    text: String,
    firewall: Option<String>,
    /// The properties as the point has them.
    properties: BTreeMap<String, String>,
    /// Disks that are in the configuration and were not restored.
    disks_left_out: Vec<String>,
    /// Secrets that were never stored.
    secrets_left_out: Vec<String>,
    /// Whether it is a template.
    is_template: bool,
    /// The disks that lack what makes a template of them, where the point's guest was one.
    no_template: Vec<DatasetName>,
    /// The file stays as it is: it is somebody's, or single disks are restored.
    is_kept: bool,
    /// Single disks are restored.
    is_of_disks: bool,
    /// Proxmox VE's snapshots in the file that is here.
    snapshots: Vec<PointName>,
    /// The storages, which say what dataset a volume is.
    proxmox: Proxmox,
}

/// What there is of a guest's configuration.
#[derive(Default)]
pub(super) struct FoundConfig {
    /// It is written.
    pub(super) guest: Option<Restoration>,
    /// There is only what cannot be used, and the guest has no file: why.
    pub(super) unusable: Option<String>,
}

impl Restoration {
    /// Reads the configuration of the point, and refuses what would be in the way of writing it. Nothing where no guest is restored,
    /// there is no Proxmox VE here, or the point carries no configuration, which is reported.
    pub(super) fn find(
        args: Wanted<'_>,
        context: &CommandContext,
        inventory: &Inventory,
        (known, disks): (&Volumes<'_>, &[&Volume<'_>]),
        plan: &RestorePlan,
        targets: &BTreeMap<TargetName, Sending>,
    ) -> Result<FoundConfig, Failure> {
        let (What::Guest(old), Some(directory)) = (args.what, &context.policy.guest_config) else {
            return Ok(FoundConfig::default());
        };
        if !directory.exists() {
            return Ok(FoundConfig::default());
        }
        let id = args.options.new_id.unwrap_or(*old);
        let files = GuestFiles::new(directory);
        if let Some(node) = inventory.proxmox.elsewhere.get(&id) {
            let error = anyhow!(
                "guest {id} is on node {node}: nothing was done\n  next: restore it there, or with --as"
            );
            return Err(error).or_exit(Code::Blocked);
        }
        let is_kept = check_free(&files, id, args)?;
        let stored = stored(args, context, known, plan, targets)?;
        check_kind(&files, id, args, plan, &stored)?;
        match stored {
            Stored::Usable(stored, properties) => {
                let former = former_places(&stored.config, disks);
                let guest =
                    Self::new(args, inventory, (plan, &former), (files, is_kept), (*stored, properties))?;
                Ok(FoundConfig { guest: Some(guest), unusable: None })
            }
            Stored::Unusable(why) => {
                let is_there = is_kept || matches!(files.find(id), GuestFile::Taken(_));
                let left = if is_there { "; its file stays as it is" } else { "" };
                tracing::warn!(
                    "{why}, and no other is there: only the disks of guest {old} are restored{left}"
                );
                Ok(FoundConfig { guest: None, unusable: (!is_there).then_some(why) })
            }
            Stored::Never => {
                tracing::warn!(
                    "this point carries no configuration of guest {old}: only its disks are restored; \
                     next: write its file by hand, for example from another point (`zfs get zhaul:guest` shows which have one)"
                );
                Ok(FoundConfig::default())
            }
        }
    }

    fn new(
        args: Wanted<'_>,
        inventory: &Inventory,
        (plan, former): (&RestorePlan, &FormerPlaces),
        (files, is_kept): (GuestFiles, bool),
        (stored, mut properties): (GuestConfig, BTreeMap<String, String>),
    ) -> Result<Self, Failure> {
        let (proxmox, old) = (&inventory.proxmox, stored.id);
        let id = args.options.new_id.unwrap_or(old);
        // Each snapshot's own: the first volume's says nothing of the others.
        properties.remove(CONSISTENCY_PROPERTY);
        let changes = ConfigChanges {
            id: args.options.new_id,
            is_unique: args.options.unique || id != old,
            is_link_down: args.options.link_down,
        };
        let mut random = random().context("cannot read random numbers").or_exit(Code::Failed)?;
        let is_here = |dataset: &DatasetName| matches!(&inventory.source, Answer::Listed(all) if all.get(dataset).is_some());
        let (text, disks_left_out) =
            restored_config(&stored, (&plan.volumes, former), proxmox, (changes, &is_here), &mut || {
                random.next().unwrap_or(0)
            });
        let was_template = main_lines(&stored.config)
            .filter_map(|line| line.split_once(':'))
            .any(|(key, value)| key == "template" && value.trim() != "0");
        let is_template = was_template && is_template(&plan.volumes);
        let lacking = plan.volumes.iter().filter(|volume| was_template && !volume.is_template);
        let no_template = lacking.map(|volume| volume.to.clone()).collect();
        if id != old {
            // The points of the new guest carry its own configuration: that of another guest is not used.
            let own = GuestConfig { id, config: text.clone(), ..stored.clone() };
            properties = own.properties().unwrap_or_default();
        }
        Ok(Self {
            files,
            id,
            kind: stored.kind,
            text,
            firewall: stored.firewall,
            properties,
            disks_left_out,
            secrets_left_out: stored.left_out,
            is_template,
            no_template,
            is_kept,
            is_of_disks: !args.options.disks.is_empty(),
            snapshots: proxmox.guest(old).map(|guest| guest.snapshots.clone()).unwrap_or_default(),
            proxmox: proxmox.clone(),
        })
    }

    /// Whether the file in the guest's place is of a restore that was begun and not ended.
    pub(super) fn is_begun(&self) -> bool {
        self.files.find(self.id) == GuestFile::OfRestore
    }

    /// Whether the configuration of the point names this disk.
    pub(super) fn had(&self, disk: &DatasetName) -> bool {
        let left_out = self.disks_left_out.join("\n");
        let mut named = volumes_of(&self.text).into_iter().chain(volumes_of(&left_out));
        named.any(|named| self.is_of(named, disk))
    }

    fn file(&self) -> String {
        format!("{}/{}.conf", self.kind.directory(), self.id)
    }

    /// Takes the number, before anything is received.
    /// With a stamp, the guest's files are put aside under it.
    pub(super) fn begin(&self, stamp: Option<&str>) -> Result<(), Failure> {
        if self.is_kept {
            return Ok(());
        }
        let begun = match stamp {
            Some(stamp) => self.files.begin_instead(self.kind, self.id, &self.text, stamp),
            None => self.files.begin(self.kind, self.id, &self.text),
        };
        begun.with_context(|| {
            format!("cannot write {}: nothing was restored\n  next: see that the node is quorate (`pvecm status`)", self.file())
        })
        .or_exit(Code::Blocked)
    }

    /// Writes the restored file, and reports this.
    pub(super) fn finish(&self, plan: &RestorePlan, here: &Restoring) -> Result<String, Failure> {
        for volume in &plan.volumes {
            let snapshot = volume.to.snapshot(&volume.point).or_exit(Code::Failed)?;
            if let Err(error) = here.store_config(&snapshot, volume.guid, &self.properties) {
                tracing::warn!("{}", error.chain());
            }
        }
        let sizes = volume_sizes(&self.text);
        for volume in plan.volumes.iter().filter(|volume| volume.is_container) {
            let size = sizes.iter().find(|(named, _)| self.is_of(*named, &volume.to));
            if let Some((_, bytes)) = size
                && let Err(error) = here.set_refquota(&volume.to, *bytes)
            {
                tracing::warn!("{}; next: zfs set refquota={bytes} {}", error.chain(), volume.to);
            }
        }
        if !self.is_kept {
            let written = self.files.finish(self.kind, self.id, &self.text, self.firewall.as_deref());
            written
                .with_context(|| {
                    format!(
                        "the disks are restored, but {} cannot be written\n  \
                         next: see that the node is quorate (`pvecm status`), then write it from: {}",
                        self.file(),
                        words::decode_line(plan)
                    )
                })
                .or_exit(Code::Failed)?;
        }
        Ok(self.text_after(plan))
    }

    /// Whether a line of the file with this storage and volume means this dataset: two storages may each have a volume of one name.
    fn is_of(&self, (storage, volume): (&str, &str), dataset: &DatasetName) -> bool {
        match self.proxmox.dataset_of(storage, volume) {
            Some(named) => named == *dataset,
            None => dataset.last() == volume,
        }
    }

    /// The planned file, in words; what has its place is set aside under this stamp.
    pub(super) fn plan_text(&self, stamp: Option<&str>) -> String {
        let file = self.file();
        if self.is_kept {
            return format!("  only disks are restored: {file} is left as it is\n");
        }
        let present = stamp.zip(self.files.current(self.id).ok().flatten());
        let aside = present.map(|(stamp, present)| {
            let directory = present.kind.directory();
            format!(
                "\n  the present file is set aside as {directory}/{}.conf.zhaul-{}",
                self.id,
                escape(stamp)
            )
        });
        format!("  {file} is written from the point{}{}\n", aside.unwrap_or_default(), self.remarks())
    }

    fn text_after(&self, plan: &RestorePlan) -> String {
        if self.is_of_disks {
            return self.text_after_disks(plan);
        }
        if self.is_kept {
            return format!("{} exists and was left as it is\n", self.file());
        }
        let (program, id) = (self.program(), self.id);
        let next = if self.is_template { format!("clone {id} VMID") } else { format!("start {id}") };
        format!("wrote {}{}\n  next: {program} {next}\n", self.file(), self.remarks())
    }

    /// What a person has to know of the file that stays: lines of the restored disks that it lacks, and snapshots of Proxmox VE that
    /// these disks do not have.
    fn text_after_disks(&self, plan: &RestorePlan) -> String {
        let file = self.file();
        let Ok(Some(current)) = self.files.current(self.id) else {
            return format!(
                "{file} is not here, and is not written where single disks are restored\n  next: write it from: {}\n",
                words::decode_line(plan)
            );
        };
        let mut text = format!("{file} was left as it is\n");
        let has: Vec<&str> = main_lines(&current.text).collect();
        let is_restored = |line: &&str| {
            let named = volumes_of(line);
            named.iter().any(|named| plan.volumes.iter().any(|one| self.is_of(*named, &one.to)))
        };
        for line in main_lines(&self.text).filter(is_restored).filter(|line| !has.contains(line)) {
            let Some((key, value)) = line.split_once(": ") else { continue };
            // A target that was tampered with may hold any text, and a person copies the command.
            let (option, value) = (shell_word(&format!("--{key}")), shell_word(value));
            let set = format!("{} set {} {option} {value}", self.program(), self.id);
            let _ =
                writeln!(text, "  at the point it had the line {}\n  next: {}", escape(line), escape(&set));
        }
        if plan.stamp.is_some() && !self.snapshots.is_empty() {
            let snapshots: Vec<&str> = self.snapshots.iter().map(PointName::as_str).collect();
            let _ = writeln!(
                text,
                "  the restored disks lack the snapshots that the file lists, and what was set aside has them: {}\n  next: keep that as \
                 long as one of them is wanted; `{} delsnapshot {} NAME --force` removes one from the guest and all its disks",
                escape(&snapshots.join(", ")),
                self.program(),
                self.id
            );
        }
        text
    }

    fn program(&self) -> &'static str {
        if self.kind == GuestKind::Machine { "qm" } else { "pct" }
    }

    fn remarks(&self) -> String {
        let disks = self
            .disks_left_out
            .iter()
            .map(|line| format!("\n  not restored, kept as a comment: {}", escape(line)));
        let secrets =
            self.secrets_left_out.iter().map(|key| escape(key)).map(|key| {
                format!("\n  {key} was never stored: set it again (qm set {} --{key} ...)", self.id)
            });
        let snapshots =
            self.no_template.iter().map(|disk| format!("zfs snapshot {disk}@{TEMPLATE_SNAPSHOT} && "));
        let template = (!self.no_template.is_empty()).then(|| {
            format!(
                "\n  it was a template, and this point lacks the @{TEMPLATE_SNAPSHOT} of its disks: it is an ordinary guest now; \
                 to make it a template again: `{}{} set {} --template 1`",
                snapshots.collect::<String>(),
                self.program(),
                self.id
            )
        });
        disks.chain(secrets).chain(template).collect()
    }
}

/// Refuses a number that is another guest's, and single disks of a guest whose restore was begun. Gives whether the file stays.
fn check_free(files: &GuestFiles, id: GuestId, args: Wanted<'_>) -> Result<bool, Failure> {
    let is_of_disks = !args.options.disks.is_empty();
    match files.find(id) {
        GuestFile::OfRestore if is_of_disks => {
            let error = anyhow!(
                "a restore of guest {id} was begun and not ended: nothing was done\n  \
                 next: continue it by the command that began it, or give it up: `{}`",
                asked(args).abandon()
            );
            Err(error).or_exit(Code::Blocked)
        }
        GuestFile::Missing | GuestFile::OfRestore => Ok(is_of_disks),
        GuestFile::Taken(_) if args.options.new_id.is_none() => Ok(!args.options.replace || is_of_disks),
        GuestFile::Taken(path) => {
            let error = anyhow!(
                "guest {id} exists ({}): nothing was done\n  next: another number; `pvesh get /cluster/nextid` gives a free one",
                path.display()
            );
            Err(error).or_exit(Code::Blocked)
        }
    }
}

/// Refuses where the number has passed to a guest of another kind: beside that one's file the disks would be of no guest. Where the point
/// has no usable configuration, its disks say what it was.
fn check_kind(
    files: &GuestFiles,
    id: GuestId,
    args: Wanted<'_>,
    plan: &RestorePlan,
    stored: &Stored,
) -> Result<(), Failure> {
    let is_of_disks = !args.options.disks.is_empty();
    let GuestFile::Taken(path) = files.find(id) else { return Ok(()) };
    let of_disk = |volume: &VolumeRestore| GuestKind::of_volume(volume.volume.last()) == GuestKind::Machine;
    let kind = match stored {
        Stored::Usable(stored, _) => stored.kind,
        Stored::Unusable(_) | Stored::Never if plan.volumes.iter().all(of_disk) => GuestKind::Machine,
        Stored::Unusable(_) | Stored::Never => return Ok(()),
    };
    let directory = path.parent().and_then(Path::file_name);
    if args.options.replace && !is_of_disks || directory.is_some_and(|name| name == kind.directory()) {
        return Ok(());
    }
    let disk = plan.volumes.first().map(|volume| &volume.volume).filter(|_| is_of_disks);
    let text = words::other_kind(&path.display().to_string(), kind, disk, asked(args));
    Err(anyhow!(text)).or_exit(Code::Blocked)
}

/// A guest whose disks are restored and that has no file cannot be started: the failure that says so, and what helps.
pub(super) fn without_file(args: Wanted<'_>, why: &str) -> anyhow::Error {
    let asked = asked(args);
    let (old, id) = (asked.what, asked.new_id);
    let id = id.map_or_else(|| old.to_string(), |id| id.to_string());
    let again = if asked.new_id.is_some() { " --as VMID" } else { " --replace --stopped" };
    anyhow!(
        "guest {id} has its disks, but no file, so it cannot be started: {why}\n  \
         next: `zhaul restore {old} --at POINT{again}` with another point of `zhaul list {old}`; or write the file by hand: \
         `zhaul help restore`, \"An archive of years ago, without zhaul\""
    )
}

/// Random numbers without end.
pub(in crate::cli) fn random() -> std::io::Result<impl Iterator<Item = u64>> {
    let bytes = random_bytes::<{ 64 * 8 }>()?;
    let numbers: Vec<u64> =
        bytes.chunks_exact(8).filter_map(|eight| Some(u64::from_ne_bytes(eight.try_into().ok()?))).collect();
    Ok(numbers.into_iter().cycle())
}
