//! Programs that stand in for the machine's own: for what has to happen between two of zhaul's steps, and for answers that the
//! real one cannot be brought to give.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

/// Where the machine's own programs are.
const PATH: &str = "/usr/sbin:/sbin:/usr/bin:/bin";

/// Writes a shell script as program `name` of a directory.
pub(crate) fn write(directory: &Path, name: &str, script: &str) {
    fs::create_dir_all(directory).unwrap();
    let program = directory.join(name);
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Writes one that runs the machine's own program after the script, which has it as `$real`.
pub(crate) fn write_around(directory: &Path, name: &str, script: &str) {
    let script = format!("real=$(PATH={PATH} command -v {name})\n{script}\nexec $real \"$@\"");
    write(directory, name, &script);
}

/// The command, which finds the programs of a directory before the machine's own.
pub(crate) fn with(mut command: Command, directory: &Path) -> Command {
    command.env("PATH", format!("{}:{PATH}", directory.display()));
    command
}
