//! The contract of a location store and of the service over it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod clusters;
mod common;
mod files;
mod service;
mod stores;
