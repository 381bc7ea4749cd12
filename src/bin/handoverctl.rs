//! handoverctl, the command line client of handoverd.

use std::process::ExitCode;

fn main() -> ExitCode {
    handoverd::cli::main()
}
