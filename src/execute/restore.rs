//! Carries a restore out: receives every dataset beside its place, and only when all are there puts them into place.
//!
//! Datasets of an interrupted restore are found by GUID and by marks, and the same command continues with them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::stream::Stream;
use super::{Settings, busy};
use crate::host::{
    HostError, Outgoing, Problem, ReceiveSpec, Restoring, SendBase, SendSpec, Sending, SourceHost,
};
use crate::model::{
    ByteCount, CopyEncryption, Dataset, DatasetName, Guid, INCOMING_NAME, PointKind, ResumePoint,
    ResumeToken, SendFlags, TargetName,
};
use crate::plan::Place;
use crate::plan::restore::{RestorePlan, RestoreStream, Stage, VolumeRestore};
use crate::stream::threads::beside_or_here;
use crate::stream::{Cancel, Sample};

/// How often a volume's place is created: each restore that ends beside this one may take it away once.
const PLACE_ATTEMPTS: usize = 3;

/// The machines that take part.
#[derive(Clone, Copy)]
#[expect(missing_debug_implementations, reason = "hosts are seen by what they do")]
pub struct RestoreHosts<'a> {
    /// This machine, as the one that restores.
    pub here: &'a Restoring,
    /// This machine, as the one that sends and bookmarks.
    pub source: &'a dyn SourceHost,
    /// Every backup and archive, as one that sends.
    pub targets: &'a BTreeMap<TargetName, Sending>,
}

/// Who watches a restore.
pub trait RestoreObserver: Sync {
    /// A stream begins.
    fn started(&self, volume: &VolumeRestore, stream: &RestoreStream);

    /// A stream has moved.
    fn moved(&self, volume: &VolumeRestore, sample: &Sample);

    /// A stream was received.
    fn ended(&self, volume: &VolumeRestore, stream: &RestoreStream);
}

/// The outcome for one dataset.
#[derive(Debug)]
pub struct VolumeOutcome {
    /// Bytes that were received now.
    pub moved_bytes: ByteCount,
    /// Whether it is in its place, ready for use.
    pub result: Result<Placed, RestoreFailure>,
}

/// A dataset in its place.
#[derive(Debug)]
pub struct Placed {
    /// Why a file system could not be mounted, which is for a person to mend.
    pub not_mounted: Option<Problem>,
}

/// Why a dataset is not in its place.
#[derive(Debug)]
pub enum RestoreFailure {
    /// A step failed.
    Failed(HostError),
    /// Another dataset of the same restore was not received: they are put into place together.
    Waits,
}

/// The received bytes of each volume, with the result of its receive.
pub type Received = Vec<(u64, Result<(), HostError>)>;

/// Receives what is missing of each volume, beside its place.
pub fn receive(
    plan: &RestorePlan,
    hosts: RestoreHosts<'_>,
    settings: &Settings,
    observer: &dyn RestoreObserver,
    cancel: &Cancel,
) -> Received {
    let work = Work { plan, hosts, settings, observer, cancel, creating: Mutex::new(()) };
    in_parallel(&plan.volumes, settings.jobs, |volume| work.receive_all(volume))
}

/// Puts everything into its place, if all was received; an outcome for each volume.
pub fn place(
    plan: &RestorePlan,
    hosts: RestoreHosts<'_>,
    settings: &Settings,
    observer: &dyn RestoreObserver,
    cancel: &Cancel,
    received: Received,
) -> Vec<VolumeOutcome> {
    let work = Work { plan, hosts, settings, observer, cancel, creating: Mutex::new(()) };
    let is_all_there = received.iter().all(|(_, result)| result.is_ok());
    // Before anything leaves its place, every mark names its destination: a continued restore uses the same one.
    let mut marked = if is_all_there && plan.stamp.is_some() { work.mark_all().err() } else { None };
    let is_all_there = is_all_there && marked.is_none();
    let place = |(volume, (moved_bytes, result)): (&VolumeRestore, (u64, Result<(), HostError>))| {
        let result = match result {
            Err(error) => Err(RestoreFailure::Failed(error)),
            Ok(()) if !is_all_there => {
                Err(marked.take().map_or(RestoreFailure::Waits, RestoreFailure::Failed))
            }
            Ok(()) => busy::patiently(cancel, || work.put_in_place(volume)).map_err(RestoreFailure::Failed),
        };
        VolumeOutcome { moved_bytes: ByteCount(moved_bytes), result }
    };
    let mut outcomes: Vec<VolumeOutcome> = plan.volumes.iter().zip(received).map(place).collect();
    // A volume without a mark is one that exists: as long as one volume of a guest is not in its place, all keep theirs.
    if outcomes.iter().all(|outcome| outcome.result.is_ok()) {
        for (volume, outcome) in plan.volumes.iter().zip(&mut outcomes) {
            if let Err(error) = work.finish(volume) {
                outcome.result = Err(RestoreFailure::Failed(error));
            }
        }
    }
    outcomes
}

/// Destroys what a drill has received, and the place where it was if nothing else is there.
pub fn give_up(here: &Restoring, volume: &VolumeRestore, cancel: &Cancel) -> Result<(), HostError> {
    let guid = match here.guid_of(&volume.incoming) {
        Ok(guid) => guid,
        Err(error) if matches!(error.problem, Problem::NotFound) => return Ok(()),
        Err(error) => return Err(error),
    };
    here.unmount_snapshots(&volume.incoming);
    destroy_received(here, &volume.incoming, guid, cancel)
}

/// Destroys what a restore has received into `incoming`, and the place where it was if nothing else is there. A receive that
/// has just been ended keeps it busy for a moment.
pub fn destroy_received(
    here: &Restoring,
    incoming: &DatasetName,
    guid: Guid,
    cancel: &Cancel,
) -> Result<(), HostError> {
    busy::patiently(cancel, || here.abandon(incoming, guid))?;
    incoming.parent().map_or(Ok(()), |place| here.remove_place(&place))
}

/// How many bytes a stream of `plan` will have, about.
pub fn estimate(
    plan: &RestorePlan,
    volume: &VolumeRestore,
    stream: &RestoreStream,
    (source, targets): (&dyn SourceHost, &BTreeMap<TargetName, Sending>),
    cancel: &Cancel,
) -> Result<ByteCount, HostError> {
    let spec = send_spec(volume, stream)?;
    match sender(plan, targets, &spec)? {
        Some(sending) => sending.estimate(&spec, stream.token.as_deref()),
        None => source.estimate(&spec, cancel),
    }
}

/// The machine that sends; `None` is this one.
fn sender<'a>(
    plan: &RestorePlan,
    targets: &'a BTreeMap<TargetName, Sending>,
    spec: &SendSpec,
) -> Result<Option<&'a Sending>, HostError> {
    match &plan.from {
        Place::Source => Ok(None),
        Place::Target(name) => targets.get(name).map(Some).ok_or_else(|| {
            let problem = Problem::Other("no such host is set up; this is a bug".to_owned());
            HostError::new(name, "send", &spec.snapshot, problem)
        }),
    }
}

struct Work<'a> {
    plan: &'a RestorePlan,
    hosts: RestoreHosts<'a>,
    settings: &'a Settings,
    observer: &'a dyn RestoreObserver,
    cancel: &'a Cancel,
    /// `zfs create` sets properties only after the dataset exists: no other step reads them meanwhile.
    creating: Mutex<()>,
}

impl Work<'_> {
    /// Receives what is missing; gives how many bytes came, also where it failed.
    fn receive_all(&self, volume: &VolumeRestore) -> (u64, Result<(), HostError>) {
        let moved = AtomicU64::new(0);
        let mut result = Ok(());
        for (number, stream) in volume.streams.iter().enumerate() {
            let receive = || busy::patiently(self.cancel, || self.receive(volume, stream, &moved));
            // Only what is empty is removed: with the first stream there is something in it.
            result = if number == 0 { self.in_place(volume, receive) } else { receive() };
            if result.is_err() {
                break;
            }
        }
        (moved.into_inner(), result)
    }

    /// Receives where the place for it exists. Another restore that ends removes the place, if nothing is in it yet: then it is
    /// created again.
    fn in_place(
        &self,
        volume: &VolumeRestore,
        receive: impl Fn() -> Result<(), HostError>,
    ) -> Result<(), HostError> {
        let Some(place) = volume.incoming.parent() else { return receive() };
        let here = self.hosts.here;
        let mut attempt = 1;
        loop {
            let created = {
                let _creating = self.creating.lock().unwrap_or_else(PoisonError::into_inner);
                here.create_place(&place)
            };
            let missing = match created.and_then(|()| receive()) {
                Err(error) if matches!(error.problem, Problem::NotFound) && attempt < PLACE_ATTEMPTS => error,
                ended => return ended,
            };
            let is_gone = here.guid_of(&place).is_err_and(|error| matches!(error.problem, Problem::NotFound));
            if !is_gone || self.cancel.is_requested() {
                return Err(missing);
            }
            tracing::info!("another restore has removed {place}; creating it again");
            attempt += 1;
        }
    }

    /// Receives one stream, and adds its bytes to `moved`, also where it fails.
    fn receive(
        &self,
        volume: &VolumeRestore,
        stream: &RestoreStream,
        moved: &AtomicU64,
    ) -> Result<(), HostError> {
        let misnamed = |error: crate::model::NameError| {
            HostError::new("here", "receive", &volume.incoming, Problem::Other(error.to_string()))
        };
        let target = volume.incoming.snapshot(&stream.name).map_err(misnamed)?;
        let send = send_spec(volume, stream)?;
        self.observer.started(volume, stream);
        let cancel = self.cancel.child().map_err(|error| {
            HostError::new("here", "receive", &volume.incoming, Problem::Other(error.to_string()))
        })?;
        let incoming = self.hosts.here.receive(&ReceiveSpec {
            snapshot: target.clone(),
            origin: stream
                .origin
                .as_ref()
                .filter(|_| stream.token.is_none())
                .map(|origin| origin.here.clone()),
            heals: false,
            creates_dataset: (stream.base.is_none() || stream.origin.is_some()) && stream.token.is_none(),
            kind: volume.kind,
            copy_encryption: CopyEncryption::default(),
            // This machine believes itself.
            to: None,
            from: None,
            // It is to be a source.
            writer: None,
        })?;
        let outgoing = match self.outgoing(&send, stream) {
            Ok(outgoing) => outgoing,
            Err(error) => {
                incoming.abort();
                return Err(error);
            }
        };
        let show = |sample: &Sample| self.observer.moved(volume, sample);
        let moving = Stream {
            snapshot: &stream.snapshot,
            target: &target,
            settings: self.settings,
            show: &show,
            run_cancel: self.cancel,
            handed_on: Some(moved),
        };
        moving.run(outgoing, incoming, cancel)?;
        self.observer.ended(volume, stream);
        Ok(())
    }

    fn outgoing(&self, spec: &SendSpec, stream: &RestoreStream) -> Result<Box<dyn Outgoing + '_>, HostError> {
        match sender(self.plan, self.hosts.targets, spec)? {
            Some(sending) => sending.send(spec, stream.token.as_deref()),
            None => self.hosts.source.send(spec),
        }
    }

    /// Marks everything that waits for its place.
    fn mark_all(&self) -> Result<(), HostError> {
        for volume in self.plan.volumes.iter().filter(|volume| is_to_be_renamed(volume)) {
            let received = self.received(&volume.incoming, volume)?;
            self.hosts.here.mark(&volume.incoming, received.guid, &self.mark_of(volume))?;
        }
        Ok(())
    }

    fn mark_of(&self, volume: &VolumeRestore) -> String {
        match &self.plan.stamp {
            Some(stamp) => format!("{} {stamp}", volume.guid),
            None => volume.guid.to_string(),
        }
    }

    /// Each step looks again at what it acts on; each one that was done before is no harm.
    fn put_in_place(&self, volume: &VolumeRestore) -> Result<Placed, HostError> {
        let here = self.hosts.here;
        if volume.stage == Stage::Done {
            return Ok(Placed { not_mounted: None });
        }
        if self.cancel.is_requested() {
            return Err(HostError::new("here", "restore", &volume.to, Problem::Cancelled));
        }
        let at = if volume.stage == Stage::Finish { &volume.to } else { &volume.incoming };
        let received = self.received(at, volume)?;
        self.bookmark(&received)?;
        if volume.stage != Stage::Finish {
            here.mark(at, received.guid, &self.mark_of(volume))?;
            if let Some(replaced) = &volume.replaces {
                if let Some(place) = replaced.aside.parent() {
                    here.create_aside_place(&place)?;
                }
                here.set_aside(&volume.to, replaced.guid, &replaced.aside)?;
            }
            here.put_in_place(&volume.incoming, received.guid, &volume.to)?;
        }
        here.bring_into_use(&volume.to, received.guid, volume.kind, volume.is_thick)?;
        if volume.is_container {
            here.set_container_properties(&volume.to, received.guid)?;
        }
        let not_mounted = match volume.kind {
            crate::model::DatasetKind::Filesystem => here.mount(&volume.to),
            crate::model::DatasetKind::Volume => None,
        };
        Ok(Placed { not_mounted })
    }

    /// Leaves nothing of the restore but what was restored.
    fn finish(&self, volume: &VolumeRestore) -> Result<(), HostError> {
        let here = self.hosts.here;
        if volume.stage != Stage::Done {
            let received = self.received(&volume.to, volume)?;
            here.unmark(&volume.to, received.guid)?;
        }
        match volume.incoming.parent().filter(|place| place.last() == INCOMING_NAME) {
            Some(place) => here.remove_place(&place),
            None => Ok(()),
        }
    }

    /// The received dataset, which must be at the very snapshot of the plan.
    fn received(&self, at: &DatasetName, volume: &VolumeRestore) -> Result<Dataset, HostError> {
        let listing = self.hosts.here.list(std::slice::from_ref(at))?;
        let failed = |problem| HostError::new("here", "use", at, problem);
        let found = listing.get(at).ok_or_else(|| failed(Problem::NotFound))?;
        if found.history.find_snapshot(volume.guid).is_none() || found.resume_token.is_some() {
            return Err(failed(Problem::Changed(format!(
                "it has no snapshot with the guid {}",
                volume.guid
            ))));
        }
        Ok(found.clone())
    }

    /// Bookmarks every snapshot, whatever it is called: each may be all that a target has in common with it.
    fn bookmark(&self, received: &Dataset) -> Result<(), HostError> {
        let failed = |problem| HostError::new("here", "bookmark", &received.name, problem);
        let pair = |point: &crate::model::Point| {
            Ok((received.name.snapshot(&point.name)?, received.name.bookmark(&point.name)?))
        };
        let pairs: Result<Vec<_>, crate::model::NameError> = received.history.snapshots().map(pair).collect();
        let pairs = pairs.map_err(|error| failed(Problem::Other(error.to_string())))?;
        let mut made = self.hosts.source.bookmark(&pairs)?;
        made.not_made.pop().map_or(Ok(()), |left| Err(failed(left.problem)))
    }
}

/// Whether a volume has still to leave the place where it was received.
fn is_to_be_renamed(volume: &VolumeRestore) -> bool {
    matches!(volume.stage, Stage::Receive | Stage::Rename)
}

fn send_spec(volume: &VolumeRestore, stream: &RestoreStream) -> Result<SendSpec, HostError> {
    let token = stream.token.as_deref().map(ResumeToken::parse).transpose().map_err(|error| {
        HostError::new("here", "resume", &volume.incoming, Problem::Other(error.to_string()))
    })?;
    let resume = token.map(|token| ResumePoint {
        object: token.object,
        offset: token.offset,
        received_bytes: token.received_bytes,
        flags: SendFlags {
            large_block: token.large_block,
            embed: token.embed,
            compress: token.compress,
            raw: token.raw,
        },
    });
    Ok(SendSpec {
        snapshot: stream.snapshot.clone(),
        guid: Some(stream.guid),
        base: stream.base.as_ref().map(|(name, guid)| SendBase {
            kind: PointKind::Snapshot,
            name: name.clone(),
            origin: stream.origin.as_ref().map(|origin| origin.there.dataset().clone()),
            guid: *guid,
        }),
        resume,
        encryption: volume.encryption,
        // The parent dataset may be encrypted with a key of this machine.
        copy_encryption: CopyEncryption::ByTarget,
    })
}

/// Does `work` for each volume, at most `jobs` at a time; results in their order.
fn in_parallel<T: Send>(
    volumes: &[VolumeRestore],
    jobs: usize,
    work: impl Fn(&VolumeRestore) -> T + Sync,
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let results: Mutex<BTreeMap<usize, T>> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, volumes.len().max(1)) {
            beside_or_here(scope, "restore", || {
                while let Some((at, volume)) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, volumes.get(at)?)))
                {
                    let result = work(volume);
                    results.lock().unwrap_or_else(PoisonError::into_inner).insert(at, result);
                }
            });
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}
