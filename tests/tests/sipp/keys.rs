//! Flow keys are replaced under load: RFC 5626 §5.2, by SIGHUP, edge after edge.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cluster_tests::cluster::Problem;
use cluster_tests::sipp::Sipp;
use tempfile::TempDir;

use crate::exchange::{Exchange, RATE, end_to_end, length, report};

/// The files of the edges with their keys.
struct Files(TempDir);

impl Files {
    fn path(&self, edge: usize) -> PathBuf {
        self.0.path().join(format!("ep{}", edge + 1))
    }

    /// Gives an edge other keys.
    async fn change(&self, exchange: &Exchange, edge: usize, keys: &str) -> Result<(), Problem> {
        fs::write(self.path(edge), keys)?;
        exchange.cluster.edges[edge].reload("flow keys are read again").await
    }
}

#[test]
fn flow_keys_change_under_load() {
    end_to_end(async || {
        let [old, new] = [[1; 32], [2; 32]].map(|key| STANDARD.encode(key));
        let files = Files(tempfile::tempdir()?);
        let mut settings = vec![("EDGE_FLOW_KEYS".to_owned(), String::new())];
        for edge in 0..2 {
            fs::write(files.path(edge), &old)?;
            let variable = format!("ep{}/EDGE_FLOW_KEYS_FILE", edge + 1);
            settings.push((variable, files.path(edge).display().to_string()));
        }
        let exchange = Exchange::start_with(settings).await?;
        exchange.register_all().await?;
        let calls = RATE * 25;
        let callees = exchange.waiting("answer", exchange.east, calls).await?;
        // Every call lasts over several changes.
        let run = exchange.load(&exchange.lines, calls, Duration::from_secs(4));
        let limit = length(&run);
        let callers = Sipp::start(exchange.dir(), &run)?;
        let steps = [(0, [&old, &new]), (1, [&old, &new]), (0, [&new, &old]), (1, [&new, &old])];
        for ((edge, keys), part) in steps.into_iter().zip(1_u32..) {
            callers.reaches(limit, |outcome| outcome.created >= calls / 6 * part).await?;
            files.change(&exchange, edge, &format!("{},{}", keys[0], keys[1])).await?;
        }
        let outcome = callers.finish(limit).await?;
        callees.kill().await?;
        report("flow keys changed", outcome);
        assert_eq!((outcome.created, outcome.successful), (calls, calls));

        for edge in 0..2 {
            files.change(&exchange, edge, &new).await?;
        }
        exchange.register_all().await?;
        let calls = RATE * 5;
        let outcome = exchange.calls(calls, Duration::ZERO).await?;
        assert_eq!((outcome.created, outcome.successful), (calls, calls), "with the new key alone");
        Ok(())
    });
}
