//! The fuzz targets under libFuzzer. Their bodies are those that `cargo test` replays, compiled without the rest of the cluster.

#[path = "../src/fuzz/mod.rs"]
pub mod bodies;
