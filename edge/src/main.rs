//! `edge-proxy`: the edge node.

use std::process::ExitCode;

use clap::Parser;
use edge_proxy::{Config, config::PREFIX, serve};
use node::exit::Failure;
use node::{config, exit, runtime, shutdown, telemetry};

/// Edge node of a SIP cluster: owns every flow to the user agents. Configured by environment variables `EDGE_…`.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Print the effective configuration, secrets hidden, and exit: 0 when it is usable, 78 when not.
    #[arg(long)]
    check: bool,
}

#[expect(clippy::print_stdout, reason = "--check prints")]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(error) = telemetry::init() {
        return error.into();
    }
    exit::on_panic();
    let checked = config::load::<Config>(PREFIX).and_then(|config| config.check().map(|()| config));
    let config = match checked {
        Ok(config) => config,
        Err(error) => return error.into(),
    };
    if arguments.check {
        print!("{}", config::check_text(PREFIX, &config));
        return ExitCode::SUCCESS;
    }
    let runtime = match runtime::build(config.workers) {
        Ok(runtime) => runtime,
        Err(error) => return exit::because(exit::UNAVAILABLE, error),
    };
    let ended = runtime.block_on(async {
        let shutdown = shutdown::Shutdown::new(config.drain_grace.duration());
        let signals = shutdown::signals().map_err(|error| Failure::unavailable(&error))?;
        tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.supervise(signals).await }
        });
        serve(config, shutdown).await
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.into(),
    }
}
