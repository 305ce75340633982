//! Start: parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    zhaul::cli::main(std::env::args_os())
}
