//! Scripted phones before real processes: three edges, two cores, one SQLite file. Each scenario has phones of its own, all
//! share the cluster. What is expected is what the RFCs say, section by section; nothing waits for time to pass.

mod cancelling;
mod dialogs;
mod digest;
mod flows;
mod forking;
mod losing;
mod mishaps;
mod passing;
mod proxying;
mod registering;
mod watching;
