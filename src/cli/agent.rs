//! `zhaul agent`: serves one session on standard input and output.

use std::io::IsTerminal as _;
use std::net::IpAddr;
use std::os::fd::AsFd as _;

use anyhow::Context as _;

use super::args::AgentArgs;
use super::exit_code::{Code, Failure, OrExit};
use super::{logging, progress, signals};
use crate::host::agent::{Cage, Service, serve};
use crate::host::{Machine, Shell};
use crate::stream::Cancel;

/// Carries out `zhaul agent`.
pub(super) fn agent(args: &AgentArgs) -> Result<Code, Failure> {
    logging::start(args.log.level(), args.log.quiet, progress::screen(false));
    let (input, output) = (std::io::stdin(), std::io::stdout());
    if input.is_terminal() {
        let error = anyhow::anyhow!(
            "the agent talks to a zhaul on another machine, not to a person\n  \
             next: run `zhaul run` there, with this machine as a target; it starts the agent through ssh"
        );
        return Err(error).or_exit(Code::Usage);
    }
    let stop = Cancel::new().or_exit(Code::Failed)?;
    let asked = stop.clone();
    signals::watch("stopping", move || asked.request()).or_exit(Code::Failed)?;
    let host = Shell::new("this machine", Machine::Local, &stop);
    let service = Service {
        host: &host,
        cage: Cage { roots: args.roots.clone(), append_only: args.append_only },
        address: own_address(),
        ports: args.ports,
    };
    let served = serve((input.as_fd(), output.as_fd()), &mut std::io::stderr(), &service, &stop);
    served.context("cannot serve").or_exit(Code::Failed)?;
    Ok(if stop.is_requested() { Code::Interrupted } else { Code::Done })
}

/// The address under which ssh came in, as sshd tells it (`SSH_CONNECTION`: client, its port, server, its port).
fn own_address() -> Option<IpAddr> {
    let told = std::env::var_os("SSH_CONNECTION")?.into_string().ok()?;
    told.split(' ').nth(2)?.parse().ok()
}
