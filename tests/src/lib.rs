//! Everything that needs more than one crate.

pub mod chain;
pub mod cluster;
pub mod database;
pub mod dns;
pub mod feed;
pub mod fuzz;
pub mod lab;
pub mod nat;
pub mod net;
pub mod oracle;
pub mod phone;
pub mod raw;
pub mod sim;
pub mod sipp;
pub mod ua;
