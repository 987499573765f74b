//! The core node: authenticates, registers, looks up, forks. Keeps no state that a call or a registration needs.
//!
//! [`engine`] decides, purely, with [`register`](self), [`calls`](self) and [`in_dialog`](self) for the journeys of requests; [`driver`](self)
//! joins it to the links and the store; [`config`], [`database`] and [`domains`] hold what an operator may set; [`command`] are the subcommands and
//! [`admin`] is the API over HTTP.

pub mod admin;
pub mod auth;
pub mod callee;
mod calls;
pub mod command;
pub mod config;
pub mod contact;
pub mod counters;
pub mod database;
pub mod domains;
mod driver;
mod due;
pub mod edges;
pub mod egress;
pub mod engine;
mod events;
pub mod feed;
#[cfg(test)]
#[path = "../tests/fixture/mod.rs"]
mod fixture;
mod flows;
pub mod gruu;
mod in_dialog;
pub mod inquiries;
pub mod keys;
mod metrics;
pub mod nonce;
pub mod notify;
mod passing;
mod pending;
pub mod provision;
mod register;
pub mod routes;
pub mod routing;
mod serve;
pub mod service_route;
pub mod settings;
pub mod signature;
mod sips;
pub mod snapshot;
mod subscribe;
mod ways;
pub mod why;

pub use config::Config;
pub use serve::serve;
