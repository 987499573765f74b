//! Everything that needs more than one crate.

pub mod cluster;
pub mod fuzz;
pub mod lab;
