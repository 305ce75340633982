//! The worker sessions to one machine: opened when needed, kept for the next use.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::Problem;
use super::liveness;
use super::session::{CompletedCommand, LOOK, Limits, Session};
use super::session_words::Speaks;
use super::{orphans, worker};
use crate::channel::Ssh;
use crate::model::{AgentUse, Hang, HangingPool, Liveness, Orphan, RunMark, pool_of};
use crate::stream::Cancel;
use crate::stream::probe::PoolWatch;

/// Where a worker runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Machine {
    /// This machine.
    Local,
    /// Another one, through ssh.
    Ssh(Ssh),
}

/// A busy sshd drops connections that have not logged in yet (`MaxStartups`): how long to wait before the next try.
const RETRIES: [Duration; 2] = [Duration::from_millis(300), Duration::from_millis(1500)];

/// An agent ends a session that is idle for a minute: one is not given out again shortly before that, and not after an outage
/// of which this end has heard nothing yet.
const IDLE_MAX: Duration = Duration::from_secs(45);

/// More processes than any machine receives with.
const PROCESSES_MAX: usize = 1000;

/// A look at a pool is given up soon: it is made while something else is waited for.
const PROBE_LIMITS: Limits = Limits {
    hello: Duration::from_secs(10),
    answer: Duration::from_secs(10),
    farewell: Duration::from_secs(1),
};

/// The sessions to one machine.
#[derive(Debug)]
pub(super) struct Sessions {
    machine: Machine,
    agent: AgentUse,
    /// An agent there could not be used: it is not tried again.
    is_agent_broken: AtomicBool,
    /// Each with the moment since when it is idle.
    idle: Mutex<Vec<(Session, Instant)>>,
    /// For looks at pools while other sessions wait.
    prober: Mutex<Option<Session>>,
    /// Pools that did not answer: they are not asked again.
    hanging: Mutex<BTreeSet<String>>,
    /// The mark of its sessions' processes on that machine.
    run: OnceLock<RunMark>,
    limits: Limits,
    cancel: Cancel,
}

impl Sessions {
    pub(super) fn new(machine: Machine, limits: Limits, cancel: &Cancel) -> Self {
        let (is_agent_broken, idle, prober, hanging, run) = Default::default();
        let cancel = cancel.clone();
        Self { machine, agent: AgentUse::Off, is_agent_broken, idle, prober, hanging, run, limits, cancel }
    }

    /// With an agent on that machine, where zhaul is installed and the policy wants one.
    pub(super) fn with_agent(self, agent: AgentUse) -> Self {
        Self { agent, ..self }
    }

    /// The protocol that the sessions of this machine speak. Opens a session, if none is open.
    pub(super) fn speaks(&self) -> Result<Speaks, Problem> {
        let session = self.take()?;
        let speaks = session.speaks();
        self.give_back(session);
        Ok(speaks)
    }

    /// An idle session, or a new one. One that died while it was idle is replaced, and so is one whose
    /// connection was not used for long and may be dead.
    pub(super) fn take(&self) -> Result<Session, Problem> {
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some((mut session, since)) = idle else {
                return self.open();
            };
            if since.elapsed() < IDLE_MAX && session.is_usable() {
                return Ok(session);
            }
        }
    }

    /// Keeps a session whose last answer was complete.
    pub(super) fn give_back(&self, session: Session) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push((session, Instant::now()));
    }

    /// Runs one `zfs` and hands each line of its output to `take`.
    pub(super) fn run(
        &self,
        arguments: &[&str],
        take: &mut dyn FnMut(&[u8]) -> Result<(), Problem>,
    ) -> Result<CompletedCommand, Problem> {
        let pools = pools_of(arguments);
        let known = self.hanging.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.iter().find(|pool| known.contains(*pool)) {
            let hang = Hang::NoReturn(self.limits.answer.as_secs());
            return Err(Problem::PoolHangs(HangingPool::of(pool, hang)));
        }
        drop(known);
        let mut session = self.take()?;
        let answer = session.ask_of_pool("run", arguments, take, &mut doubt(self, pools));
        match &answer {
            Ok(_) => self.give_back(session),
            Err(Problem::PoolHangs(of)) if matches!(of.hang, Hang::NoReturn(_)) => {
                self.hanging.lock().unwrap_or_else(PoisonError::into_inner).insert(of.pool.clone());
            }
            Err(_) => {}
        }
        answer
    }

    /// Ends every wait.
    pub(super) fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// The state of a pool there, asked beside all else, within seconds.
    pub(super) fn liveness(&self, pool: &str) -> Liveness {
        if !self.is_remote() {
            return liveness::of(pool);
        }
        let Ok(mut kept) = self.prober.try_lock() else { return Liveness::Unknown };
        let usable = kept.take().and_then(|mut session| session.is_usable().then_some(session));
        let open = || Session::open(self.command(false), true, PROBE_LIMITS, &self.cancel);
        let Ok(mut session) = usable.map_or_else(open, Ok) else { return Liveness::Unknown };
        if session.speaks() != Speaks::Worker {
            return Liveness::Unknown;
        }
        let Ok(state) = session.liveness(pool) else { return Liveness::Unknown };
        *kept = Some(session);
        state
    }

    /// From now on sessions are part of `run`. Those that are open stay what they are.
    pub(super) fn mark(&self, run: RunMark) {
        self.run.get_or_init(|| run);
    }

    /// Ends what earlier runs of the policy left there; only a worker of a marked session can.
    pub(super) fn end_orphans(&self) -> Result<Vec<Orphan>, Problem> {
        self.processes("orphans")
    }

    /// Every `zfs receive` there; only a worker can list them.
    pub(super) fn receivers(&self) -> Result<Vec<Orphan>, Problem> {
        self.processes("receivers")
    }

    fn processes(&self, mode: &str) -> Result<Vec<Orphan>, Problem> {
        let mut session = self.take()?;
        let mut found = Vec::new();
        session.ask_of_machine(mode, &[], &mut |line| {
            found.extend(orphans::parse(line).filter(|_| found.len() < PROCESSES_MAX));
            Ok(())
        })?;
        self.give_back(session);
        Ok(found)
    }

    /// The output of `date` there: seconds since 1970.
    pub(super) fn now(&self) -> Result<String, Problem> {
        let mut session = self.take()?;
        let mut line = String::new();
        let answer = session.ask_of_machine("date", &[], &mut |text| {
            line = String::from_utf8_lossy(text).into_owned();
            Ok(())
        })?;
        self.give_back(session);
        if answer.status == 0 { Ok(line) } else { Err(Problem::Other(answer.errors)) }
    }

    /// Hands each line of the history of `pool` to `take`; only a worker can read it.
    pub(super) fn pool_history(
        &self,
        pool: &str,
        take: &mut dyn FnMut(&[u8]) -> Result<(), Problem>,
    ) -> Result<CompletedCommand, Problem> {
        let mut session = self.take()?;
        let pools = BTreeSet::from([pool.to_owned()]);
        let answer = session.ask_of_pool("history", &[pool], take, &mut doubt(self, pools))?;
        self.give_back(session);
        Ok(answer)
    }

    /// Hands each line of `zpool status` with these arguments, the last of which is the pool, to `take`; only a worker can run
    /// it.
    pub(super) fn pool_status(
        &self,
        arguments: &[&str],
        take: &mut dyn FnMut(&[u8]) -> Result<(), Problem>,
    ) -> Result<CompletedCommand, Problem> {
        let mut session = self.take()?;
        let pools = arguments.last().map(|pool| (*pool).to_owned()).into_iter().collect();
        let answer = session.ask_of_pool("pool", arguments, take, &mut doubt(self, pools))?;
        self.give_back(session);
        Ok(answer)
    }

    /// The state of a feature of a pool: `disabled`, `enabled` or `active`; `-` where it is not known there.
    pub(super) fn pool_feature(&self, feature: &str, pool: &str) -> Result<String, Problem> {
        let mut session = self.take()?;
        let mut value = String::new();
        let property = format!("feature@{feature}");
        let mut take = |line: &[u8]| {
            value = String::from_utf8_lossy(line).into_owned();
            Ok(())
        };
        let pools = BTreeSet::from([pool.to_owned()]);
        session.ask_of_pool("feature", &[&property, pool], &mut take, &mut doubt(self, pools))?;
        self.give_back(session);
        Ok(value)
    }

    fn open(&self) -> Result<Session, Problem> {
        if self.agent == AgentUse::Off || self.is_agent_broken.load(Ordering::Relaxed) {
            return self.log_in(false);
        }
        match (self.log_in(true), self.agent) {
            (Ok(session), AgentUse::Require) if session.speaks() == Speaks::Worker => {
                Err(Problem::Other("zhaul is not installed there, and the policy wants its agent".to_owned()))
            }
            (Err(Problem::Protocol(why)), AgentUse::Auto) => {
                tracing::warn!(
                    "the zhaul agent there cannot be used ({why}); falling back to plain zfs receive over ssh"
                );
                self.is_agent_broken.store(true, Ordering::Relaxed);
                self.log_in(false)
            }
            (opened, _) => opened,
        }
    }

    fn log_in(&self, wants_agent: bool) -> Result<Session, Problem> {
        let mut retries = RETRIES.iter();
        loop {
            let command = self.command(wants_agent);
            let opened = Session::open(command, self.is_remote(), self.limits, &self.cancel);
            match (opened, retries.next()) {
                (Err(Problem::Unreachable(text)), Some(pause)) if is_dropped(&text) => {
                    self.cancel.sleep(*pause).map_err(|_| Problem::Cancelled)?;
                }
                (opened, _) => return opened,
            }
        }
    }

    /// Whether the machine is reached over a network.
    pub(super) fn is_remote(&self) -> bool {
        matches!(self.machine, Machine::Ssh(_))
    }

    fn command(&self, wants_agent: bool) -> Command {
        match &self.machine {
            Machine::Local => worker::local_command(),
            Machine::Ssh(ssh) => ssh.command(self.run.get().copied(), worker::remote_command(wants_agent)),
        }
    }
}

/// The pools of the datasets, snapshots and bookmarks that a `zfs` is given.
fn pools_of(arguments: &[&str]) -> BTreeSet<String> {
    let is_name =
        |word: &&&str| !word.starts_with('-') && !word.contains('=') && word.contains(['/', '@', '#']);
    let named = arguments.iter().filter(is_name).chain(arguments.last());
    named.map(|name| pool_of(name).to_owned()).collect()
}

/// Why an answer that has to do with `pools` will not come: their states are looked at on another session. Where that cannot
/// be found out, the limit of the sessions holds.
pub(super) fn doubt(
    sessions: impl Borrow<Sessions>,
    pools: BTreeSet<String>,
) -> impl FnMut(Duration) -> Option<Problem> {
    let limit = sessions.borrow().limits.answer;
    let mut watches = BTreeMap::new();
    move |silent| {
        if silent < LOOK * 2 {
            watches.clear();
        }
        let mut is_known = false;
        for pool in &pools {
            let watch = watches.entry(pool.clone()).or_insert_with(|| PoolWatch::new(Some(limit)));
            if let Some(hang) = watch.note(sessions.borrow().liveness(pool)) {
                return Some(Problem::PoolHangs(HangingPool::of(pool, hang)));
            }
            is_known |= watch.is_known();
        }
        (silent >= limit && !is_known).then_some(Problem::Stalled(limit.as_secs()))
    }
}

/// Whether sshd hung up before the login.
fn is_dropped(text: &str) -> bool {
    ["kex_exchange_identification", "Connection closed by", "Connection reset by"]
        .iter()
        .any(|phrase| text.contains(phrase))
}
