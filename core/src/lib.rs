//! The core node: authenticates, registers, looks up, forks.
