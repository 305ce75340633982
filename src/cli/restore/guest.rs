//! The configuration of a guest that is restored: found in its point, checked against what is there, written at the end.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, anyhow};

use super::super::context::CommandContext;
use super::super::exit_code::{Code, Failure, OrExit};
use super::super::render::escape;
use super::Wanted;
use super::{asked, words};
use crate::channel::random_bytes;
use crate::host::{GuestFile, GuestFiles, Restoring, Sending};
use crate::model::{
    Answer, CONSISTENCY_PROPERTY, DatasetName, GuestConfig, GuestId, GuestKind, Inventory, Listing,
    PointName, Proxmox, SnapshotName, TEMPLATE_SNAPSHOT, TargetName,
};
use crate::plan::Place;
use crate::plan::restore::{
    ConfigChanges, RestorePlan, Volumes, What, is_template, main_lines, restored_config, volume_sizes,
    volumes_of,
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
}

/// The dataset of a storage.
pub(super) fn storage(proxmox: &Proxmox, id: &str) -> Result<DatasetName, Failure> {
    let storages = proxmox.storages.iter().flatten();
    let found = storages.clone().find(|storage| storage.id == id).map(|storage| storage.dataset.clone());
    let known: Vec<&str> = storages.map(|storage| storage.id.as_str()).collect();
    let error = || {
        anyhow!("this node has no ZFS storage {id}: nothing was done\n  next: one of: {}", known.join(", "))
    };
    found.ok_or_else(error).or_exit(Code::Usage)
}

/// The number of the guest that is restored, if a guest is.
pub(super) fn number(args: Wanted<'_>) -> Option<GuestId> {
    let What::Guest(id) = args.what else { return None };
    Some(args.options.new_id.unwrap_or(*id))
}

/// The number of the guest, and the files of all.
fn files(args: Wanted<'_>, context: &CommandContext) -> Option<(GuestId, GuestFiles)> {
    Some((number(args)?, GuestFiles::new(context.policy.guest_config.as_deref()?)))
}

/// Whether a restore of the guest was begun and not ended.
pub(super) fn is_begun(args: Wanted<'_>, context: &CommandContext) -> bool {
    files(args, context).is_some_and(|(id, files)| files.find(id) == GuestFile::OfRestore)
}

/// Whether every disk that the guest's file names is in its place.
pub(super) fn has_all_disks(
    args: Wanted<'_>,
    context: &CommandContext,
    here: &Listing,
    proxmox: &Proxmox,
) -> bool {
    let Some((id, files)) = files(args, context) else { return false };
    let Ok(Some(current)) = files.current(id) else { return false };
    let named = volumes_of(&current.text).into_iter();
    let mut disks = named.filter_map(|(storage, volume)| proxmox.dataset_of(storage, volume)).peekable();
    disks.peek().is_some() && disks.all(|disk| here.get(&disk).is_some())
}

/// Gives up the file of a restore that was begun.
pub(super) fn give_up(args: Wanted<'_>, context: &CommandContext) -> Result<bool, Failure> {
    let Some((id, files)) = files(args, context) else { return Ok(false) };
    let removed = files.give_up(id);
    let what = || {
        format!(
            "cannot remove the file of guest {id}\n  next: see that the node is quorate (`pvecm status`); then the same command again"
        )
    };
    removed.with_context(what).or_exit(Code::Failed)
}

impl Restoration {
    /// Reads the configuration of the point, and refuses what would be in the way of writing it. `None` where no guest is
    /// restored, there is no Proxmox VE here, or the point carries no configuration, which is reported.
    pub(super) fn find(
        args: Wanted<'_>,
        context: &CommandContext,
        inventory: &Inventory,
        known: &Volumes<'_>,
        plan: &RestorePlan,
        targets: &BTreeMap<TargetName, Sending>,
    ) -> Result<Option<Self>, Failure> {
        let (What::Guest(old), Some(directory)) = (args.what, &context.policy.guest_config) else {
            return Ok(None);
        };
        if !directory.exists() {
            return Ok(None);
        }
        let id = args.options.new_id.unwrap_or(*old);
        let files = GuestFiles::new(directory);
        let proxmox = &inventory.proxmox;
        if let Some(node) = proxmox.elsewhere.get(&id) {
            let error = anyhow!(
                "guest {id} is on node {node}: nothing was done\n  next: restore it there, or with --as"
            );
            return Err(error).or_exit(Code::Blocked);
        }
        let is_kept = check_free(&files, id, args)?;
        let Some((stored, properties)) = stored(context, known, plan, targets)? else {
            tracing::warn!(
                "this point carries no configuration of guest {old}: only its disks are restored; \
                 next: write its file by hand, for example from another point (`zfs get zhaul:guest` shows which have one)"
            );
            return Ok(None);
        };
        // Each snapshot's own: the first volume's says nothing of the others.
        let mut properties = properties;
        properties.remove(CONSISTENCY_PROPERTY);
        let changes = ConfigChanges {
            id: args.options.new_id,
            is_unique: args.options.unique || id != *old,
            is_link_down: args.options.link_down,
        };
        let mut random = random().context("cannot read random numbers").or_exit(Code::Failed)?;
        let is_here = |dataset: &DatasetName| matches!(&inventory.source, Answer::Listed(all) if all.get(dataset).is_some());
        let (text, disks_left_out) =
            restored_config(&stored, &plan.volumes, proxmox, (changes, &is_here), &mut || {
                random.next().unwrap_or(0)
            });
        let was_template = main_lines(&stored.config)
            .filter_map(|line| line.split_once(':'))
            .any(|(key, value)| key == "template" && value.trim() != "0");
        let is_template = was_template && is_template(&plan.volumes);
        let lacking = plan.volumes.iter().filter(|volume| was_template && !volume.is_template);
        let no_template = lacking.map(|volume| volume.to.clone()).collect();
        Ok(Some(Self {
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
            snapshots: proxmox.guest(*old).map(|guest| guest.snapshots.clone()).unwrap_or_default(),
        }))
    }

    /// Whether the file in the guest's place is of a restore that was begun and not ended.
    pub(super) fn is_begun(&self) -> bool {
        self.files.find(self.id) == GuestFile::OfRestore
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
            let size = sizes.iter().find(|(name, _)| *name == volume.to.last());
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

    /// The planned file, in words.
    pub(super) fn plan_text(&self) -> String {
        if self.is_kept {
            return format!("  only disks are restored: {} is left as it is\n", self.file());
        }
        format!("  {} is written from the point{}\n", self.file(), self.remarks())
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
            named.iter().any(|(_, volume)| plan.volumes.iter().any(|one| one.to.last() == *volume))
        };
        for line in main_lines(&self.text).filter(is_restored).filter(|line| !has.contains(line)) {
            let Some((key, value)) = line.split_once(": ") else { continue };
            let set = format!("{} set {} --{key} {value}", self.program(), self.id);
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
        let secrets = self
            .secrets_left_out
            .iter()
            .map(|key| format!("\n  {key} was never stored: set it again (qm set {} --{key} ...)", self.id));
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

/// A configuration, and the properties that it was read from.
type Stored = (GuestConfig, BTreeMap<String, String>);

/// The configuration of the first volume that carries one: where it is restored from, else on whatever copy of the point. What was
/// received here has none before the end of its restore.
fn stored(
    context: &CommandContext,
    known: &Volumes<'_>,
    plan: &RestorePlan,
    targets: &BTreeMap<TargetName, Sending>,
) -> Result<Option<Stored>, Failure> {
    let read = |place: &Place, snapshot: &SnapshotName| match place {
        Place::Source => Some(context.source.config(snapshot)),
        Place::Target(name) => targets.get(name).map(|target| target.config(snapshot)),
    };
    for volume in &plan.volumes {
        let Some(properties) = read(&plan.from, &volume.copy) else { continue };
        let properties = properties.or_exit(Code::Failed)?;
        if let Some(config) = GuestConfig::parse(&properties) {
            return Ok(Some((config, properties)));
        }
    }
    for volume in &plan.volumes {
        for copy in known.volumes.iter().flat_map(|known| &known.copies) {
            let Some(point) = copy.dataset.history.find_snapshot(volume.guid) else { continue };
            let Ok(snapshot) = copy.dataset.name.snapshot(&point.name) else { continue };
            let properties = read(&copy.place, &snapshot)
                .and_then(|read| read.inspect_err(|error| tracing::debug!("{error}")).ok());
            if let Some(properties) = properties
                && let Some(config) = GuestConfig::parse(&properties)
            {
                return Ok(Some((config, properties)));
            }
        }
    }
    Ok(None)
}

/// Random numbers without end.
pub(in crate::cli) fn random() -> std::io::Result<impl Iterator<Item = u64>> {
    let bytes = random_bytes::<{ 64 * 8 }>()?;
    let numbers: Vec<u64> =
        bytes.chunks_exact(8).filter_map(|eight| Some(u64::from_ne_bytes(eight.try_into().ok()?))).collect();
    Ok(numbers.into_iter().cycle())
}
