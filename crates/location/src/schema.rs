//! How far the schema of a database has come.

use sqlx::migrate::Migrator;

/// Which migrations a database has, and which this program has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schema {
    /// The newest one in the database; 0 before the first.
    pub applied: i64,
    /// The newest one in this program.
    pub newest: i64,
}

impl Schema {
    pub(crate) fn of(migrations: &Migrator, applied: i64) -> Self {
        let newest = migrations.iter().map(|migration| migration.version).max().unwrap_or(0);
        Self { applied, newest }
    }

    /// Whether this program finds all that it needs. A newer one may have added to it.
    pub fn is_enough(&self) -> bool {
        self.applied >= self.newest
    }

    /// Whether there is nothing to do.
    pub fn is_current(&self) -> bool {
        self.applied == self.newest
    }
}
