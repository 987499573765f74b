//! A cluster in a network of its own: an internet, homes behind real NATs, phones in them. Needs root.

mod client;
mod network;
mod phone;
mod program;
mod tone;

pub use self::client::{Client, Flows, Media, Model, Seat, Way};
pub use self::network::{Network, folder, make_certificate};
pub use self::phone::{PASSWORD, Phone, Wire};
pub use self::program::Program;
