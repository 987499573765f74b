//! Everything that needs more than one crate.

pub mod fuzz;
