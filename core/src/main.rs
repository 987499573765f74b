//! `core-registrar`: the core node and its operator's commands.

use std::process::ExitCode;

use clap::Parser;
use core_registrar::Config;
use core_registrar::command::{self, Command};
use core_registrar::config::PREFIX;
use node::config::ConfigError;
use node::{config, exit, runtime, telemetry};

/// Core node of a SIP cluster: authenticates, registers, looks up, forks. Configured by environment variables `CORE_…`.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Print the effective configuration, secrets hidden, and exit: 0 when it is usable, 78 when not.
    #[arg(long)]
    check: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(error) = telemetry::init() {
        return error.into();
    }
    exit::on_panic();
    let command = if arguments.check { Command::Check } else { arguments.command.unwrap_or(Command::Serve) };
    let config = match configuration(&command) {
        Ok(config) => config,
        Err(error) => return error.into(),
    };
    let runtime = match runtime::build(config.workers) {
        Ok(runtime) => runtime,
        Err(error) => return exit::because(exit::UNAVAILABLE, error),
    };
    match runtime.block_on(command::run(command, config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.into(),
    }
}

fn configuration(command: &Command) -> Result<Config, ConfigError> {
    if !command.needs_configuration() {
        return Ok(Config::default());
    }
    let config = config::load::<Config>(PREFIX)?;
    config.check().map(|()| config)
}
