//! A cluster in a network of its own: an internet, homes behind real NATs, phones in them. Needs root.

mod network;
mod phone;
mod program;

pub use self::network::{Network, folder, make_certificate};
pub use self::phone::{PASSWORD, Phone, Wire};
pub use self::program::Program;
