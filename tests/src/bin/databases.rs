//! Runs a command beside databases that are started for it: `databases postgres galera -- COMMAND ARGUMENTS…`.
//!
//! The command finds them in `SIGNALBOX_POSTGRES` and `SIGNALBOX_MARIADB`: the URLs of all nodes without a database, and
//! ready for a core in `SIGNALBOX_POSTGRES_URL` and `SIGNALBOX_MARIADB_URL`. They end with the command.

use std::process::ExitCode;

use cluster_tests::cluster::Problem;
use cluster_tests::database::{Buffers, Galera, Postgres};
use tokio::process::Command;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(code) => ExitCode::from(code),
        Err(problem) => {
            eprintln!("databases: {problem}");
            ExitCode::from(69)
        }
    }
}

async fn run() -> Result<u8, Problem> {
    let mut arguments = std::env::args().skip(1);
    let kinds: Vec<_> = arguments.by_ref().take_while(|argument| argument != "--").collect();
    let program = arguments.next().ok_or_else(|| Problem::new("databases postgres galera -- COMMAND"))?;
    let mut command = Command::new(program);
    command.args(arguments);
    let wants = |kind: &str| kinds.iter().any(|wanted| wanted == kind);
    let postgres = if wants("postgres") { Some(Postgres::start(2, Buffers::Small).await?) } else { None };
    let galera = if wants("galera") { Some(Galera::start(3, Buffers::Small).await?) } else { None };
    if let Some(postgres) = &postgres {
        command.env("SIGNALBOX_POSTGRES", postgres.servers(0).join(","));
        command.env("SIGNALBOX_POSTGRES_URL", postgres.url(0));
    }
    if let Some(galera) = &galera {
        command.env("SIGNALBOX_MARIADB", galera.servers(0).join(","));
        command.env("SIGNALBOX_MARIADB_URL", galera.url(0));
    }
    let status = command.status().await?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
