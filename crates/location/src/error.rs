//! What can go wrong with a store.

use sqlx::migrate::MigrateError;

/// A store did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL names no database that can be used. The URL itself is not shown: it may hold a password.
    #[error("database URL: {0}")]
    Url(&'static str),
    /// The database refused or is gone.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// No node of the database takes writes; which, and why.
    #[error("database: no node takes writes: {0}")]
    Down(String),
    /// The schema could not be brought up to date.
    #[error("database schema: {0}")]
    Migration(#[from] MigrateError),
    /// It did not answer in time.
    #[error("database did not answer within {0:?}")]
    TimedOut(std::time::Duration),
}

impl Error {
    /// What the database or its driver said.
    pub(crate) fn of_database(&self) -> Option<&sqlx::Error> {
        match self {
            Self::Database(error)
            | Self::Migration(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => {
                Some(error)
            }
            _ => None,
        }
    }
}
