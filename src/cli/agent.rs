//! `zhaul agent`: serves one session on standard input and output.

use std::io::IsTerminal as _;
use std::net::IpAddr;
use std::os::fd::AsFd as _;

use anyhow::Context as _;

use super::args::AgentArgs;
use super::exit_code::{Code, Failure, OrExit};
use super::{logging, progress, signals, slots};
use crate::host::Shell;
use crate::host::agent::{Restrictions, Service, serve};
use crate::stream::Cancel;

/// How the command ends that a zhaul on another machine asks sshd for, of every version.
const WORKER_ENDS: [&str; 2] = [" zhaul worker", " zhaul agent"];

/// Carries out `zhaul agent`.
pub(super) fn agent(args: &AgentArgs) -> Result<Code, Failure> {
    logging::start(args.log.level(), args.log.quiet, progress::screen(false));
    turn_away_people()?;
    let (input, output) = (std::io::stdin(), std::io::stdout());
    if input.is_terminal() {
        let error = anyhow::anyhow!(
            "the agent talks to a zhaul on another machine, not to a person\n  \
             next: run `zhaul run` there, with this machine as a target; it starts the agent through ssh"
        );
        return Err(error).or_exit(Code::Usage);
    }
    let cancel = Cancel::new().or_exit(Code::Failed)?;
    let asked = cancel.clone();
    signals::watch("stopping", move || asked.request()).or_exit(Code::Failed)?;
    let slot = slots::take(&args.roots, args.sessions);
    let lock = if args.append_only { slots::changes(&args.roots) } else { None };
    let host = Shell::for_agent("this machine", &cancel);
    let service = Service {
        host: &host,
        cage: Restrictions {
            roots: args.roots.clone(),
            append_only: args.append_only,
            name_format: args.name.clone(),
        },
        address: own_address(),
        ports: args.ports,
        buffer_bytes_max: args.buffer.0,
        lock,
        has_room: slot.is_some(),
    };
    let served = serve((input.as_fd(), output.as_fd()), &mut std::io::stderr(), &service, &cancel);
    served.context("cannot serve").or_exit(Code::Failed)?;
    Ok(if cancel.is_requested() { Code::Interrupted } else { Code::Done })
}

/// A key with a forced command (`authorized_keys`) runs the agent whatever is asked for: any other request than a
/// zhaul's is refused at once, with the reason.
fn turn_away_people() -> Result<(), Failure> {
    let Some(asked) = std::env::var_os("SSH_ORIGINAL_COMMAND") else { return Ok(()) };
    if WORKER_ENDS.iter().any(|end| asked.to_string_lossy().trim_end().ends_with(end)) {
        return Ok(());
    }
    let error = anyhow::anyhow!(
        "this key runs nothing but the agent of zhaul, which is started by `zhaul run` on another machine\n  \
         next: use another key for a shell or a command"
    );
    Err(error).or_exit(Code::Usage)
}

/// The address under which ssh came in, as sshd reports it (`SSH_CONNECTION`: client, its port, server, its port).
fn own_address() -> Option<IpAddr> {
    let addresses = std::env::var_os("SSH_CONNECTION")?.into_string().ok()?;
    addresses.split(' ').nth(2)?.parse().ok()
}
