//! The edge node: owns every flow to the user agents.
//!
//! [`engine`] decides, purely; `driver` joins it to the sockets (`transport`) and the links (`link`); [`config`]
//! holds what an operator may set. [`serve()`] is the process.

pub mod access;
mod ack;
pub mod config;
mod context;
pub mod counters;
mod direction;
mod driver;
pub mod egress;
pub mod engine;
mod events;
mod failover;
mod health;
pub mod hop;
pub mod keeper;
mod metrics;
pub mod network;
mod news;
pub mod next_hop;
mod peer;
pub mod ping;
mod probe;
pub mod rates;
mod recovery;
pub mod registered;
pub mod registration;
mod reload;
mod serve;
pub mod settings;
mod silence;

pub use config::Config;
pub use serve::serve;
