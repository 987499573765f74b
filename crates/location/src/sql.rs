//! The database of the operator's choice, by URL.

use registrar::{Binding, Record, UnixTime};
use sip::Aor;

use crate::feed::{Change, Consumer, Sequenced};
use crate::mariadb::{self, MariaDb};
use crate::postgres::{self, Postgres};
use crate::sqlite::Sqlite;
use crate::{
    ChangeFeed, Credentials, Directory, Error, LocationStore, NodeStatus, Page, Save, Saved, Schema, User,
};

/// A database with the schema of this version.
#[derive(Debug)]
pub struct Database {
    store: Store,
}

/// One variant for each dialect.
#[derive(Debug)]
enum Store {
    /// An embedded database, which several processes of one host may share.
    Sqlite(Sqlite),
    /// A primary, and standbys that may become one.
    Postgres(Postgres),
    /// One server, or a Galera cluster.
    MariaDb(MariaDb),
}

/// Does the same with whichever database it is.
macro_rules! each {
    ($database:expr, $store:ident => $what:expr) => {
        match &$database.store {
            Store::Sqlite($store) => $what,
            Store::Postgres($store) => $what,
            Store::MariaDb($store) => $what,
        }
    };
}

impl Database {
    /// Opens `sqlite:PATH` and brings its schema up to date; or begins to connect to the nodes of a clustered database,
    /// `postgres://…` or `mysql://…`, separated by commas. Those may all be down: what is asked meanwhile fails.
    ///
    /// # Errors
    /// For URLs that cannot be used. For SQLite also a file that cannot be opened, and a schema that is newer than this
    /// program.
    pub async fn open(urls: &str) -> Result<Self, Error> {
        let store = match Urls::of(urls)? {
            Urls::Sqlite(url) => Store::Sqlite(Sqlite::open(url).await?),
            Urls::Postgres(urls) => Store::Postgres(postgres::open(&urls)?),
            Urls::MariaDb(urls) => Store::MariaDb(mariadb::open(&urls)?),
        };
        Ok(Self { store })
    }

    /// Whether URLs can be used, as far as can be told without a connection.
    ///
    /// # Errors
    /// What is wrong with them, without showing them.
    pub fn check(urls: &str) -> Result<(), Error> {
        match Urls::of(urls)? {
            Urls::Sqlite(_) => Ok(()),
            Urls::Postgres(urls) => postgres::nodes(&urls).map(drop),
            Urls::MariaDb(urls) => mariadb::nodes(&urls).map(drop),
        }
    }

    /// How far the schema behind URLs has come. Changes nothing.
    ///
    /// # Errors
    /// As [`open`](Self::open), and for a database that is down.
    pub async fn schema(urls: &str) -> Result<Schema, Error> {
        match Urls::of(urls)? {
            Urls::Sqlite(url) => Sqlite::schema(url).await,
            Urls::Postgres(_) | Urls::MariaDb(_) => Self::open(urls).await?.applied().await,
        }
    }

    /// How far the schema of this database has come.
    ///
    /// # Errors
    /// When it is down.
    pub async fn applied(&self) -> Result<Schema, Error> {
        each!(self, store => store.applied().await)
    }

    /// Brings the schema up to date. Several processes may do so at once.
    ///
    /// # Errors
    /// When the database is down, or what it says to the change.
    pub async fn migrate(&self) -> Result<(), Error> {
        match &self.store {
            // Done by whoever opens it.
            Store::Sqlite(_) => Ok(()),
            Store::Postgres(store) => store.migrate().await,
            Store::MariaDb(store) => store.migrate().await,
        }
    }

    /// The nodes; none for an embedded database.
    pub fn nodes(&self) -> Vec<NodeStatus> {
        match &self.store {
            Store::Sqlite(_) => Vec::new(),
            Store::Postgres(store) => store.status(),
            Store::MariaDb(store) => store.status(),
        }
    }

    /// Waits for running statements and closes.
    pub async fn close(&self) {
        if let Store::Sqlite(store) = &self.store {
            store.close().await;
        }
    }
}

/// URLs by what they name.
pub(crate) enum Urls<'a> {
    /// A path may hold commas.
    Sqlite(&'a str),
    Postgres(Vec<&'a str>),
    MariaDb(Vec<&'a str>),
}

impl<'a> Urls<'a> {
    pub(crate) fn of(text: &'a str) -> Result<Self, Error> {
        if text.starts_with("sqlite:") {
            return Ok(Self::Sqlite(text));
        }
        let urls: Vec<_> = text.split(',').map(str::trim).filter(|url| !url.is_empty()).collect();
        let have = |schemes: &[&str]| {
            let scheme =
                |url: &&str| url.split_once("://").is_some_and(|(scheme, _)| schemes.contains(&scheme));
            !urls.is_empty() && urls.iter().all(scheme)
        };
        if have(&["postgres", "postgresql"]) {
            return Ok(Self::Postgres(urls));
        }
        if have(&["mysql", "mariadb"]) {
            return Ok(Self::MariaDb(urls));
        }
        Err(Error::Url("`sqlite:PATH`, or `postgres://…` or `mysql://…` for each node, is expected"))
    }
}

impl LocationStore for Database {
    async fn load(&self, aors: &[Aor]) -> Result<Vec<Record>, Error> {
        each!(self, store => store.load(aors).await)
    }

    async fn lookup(
        &self,
        aors: &[Aor],
        users: &[User],
    ) -> Result<(Vec<Record>, Vec<Option<Credentials>>), Error> {
        each!(self, store => store.lookup(aors, users).await)
    }

    async fn save(&self, saves: &[Save]) -> Result<Vec<Saved>, Error> {
        each!(self, store => store.save(saves).await)
    }

    async fn sweep(&self, now: UnixTime, limit: u32) -> Result<u64, Error> {
        each!(self, store => store.sweep(now, limit).await)
    }

    async fn due(&self, now: UnixTime, limit: u32) -> Result<Vec<(Aor, Record)>, Error> {
        each!(self, store => store.due(now, limit).await)
    }

    async fn flows_of(
        &self,
        edge: &str,
        now: UnixTime,
        after: Option<&Aor>,
        limit: u32,
    ) -> Result<Page<(Aor, Binding)>, Error> {
        each!(self, store => store.flows_of(edge, now, after, limit).await)
    }

    async fn list(&self, after: Option<&Aor>, limit: u32) -> Result<Page<(Aor, Record)>, Error> {
        each!(self, store => store.list(after, limit).await)
    }
}

impl Directory for Database {
    async fn credentials(&self, users: &[User]) -> Result<Vec<Option<Credentials>>, Error> {
        each!(self, store => store.credentials(users).await)
    }

    async fn put(&self, user: &User, credentials: &Credentials) -> Result<(), Error> {
        each!(self, store => store.put(user, credentials).await)
    }

    async fn put_all(&self, users: &[(User, Credentials)]) -> Result<(), Error> {
        each!(self, store => store.put_all(users).await)
    }

    async fn remove_user(&self, user: &User) -> Result<bool, Error> {
        each!(self, store => store.remove_user(user).await)
    }

    async fn users(&self, after: Option<&User>, limit: u32) -> Result<Vec<User>, Error> {
        each!(self, store => store.users(after, limit).await)
    }

    async fn domains(&self) -> Result<Vec<String>, Error> {
        each!(self, store => store.domains().await)
    }

    async fn has_domain(&self, name: &str) -> Result<bool, Error> {
        each!(self, store => store.has_domain(name).await)
    }

    async fn put_domain(&self, name: &str) -> Result<bool, Error> {
        each!(self, store => store.put_domain(name).await)
    }

    async fn remove_domain(&self, name: &str) -> Result<bool, Error> {
        each!(self, store => store.remove_domain(name).await)
    }
}

impl ChangeFeed for Database {
    async fn sequence(&self, limit: u32) -> Result<Sequenced, Error> {
        each!(self, store => store.sequence(limit).await)
    }

    async fn head(&self) -> Result<u64, Error> {
        each!(self, store => store.head().await)
    }

    async fn stored_changes(&self, after: u64, limit: u32) -> Result<Vec<Change>, Error> {
        each!(self, store => store.stored_changes(after, limit).await)
    }

    async fn trim(&self, until: UnixTime, limit: u32) -> Result<u64, Error> {
        each!(self, store => store.trim(until, limit).await)
    }

    async fn begin(&self) -> Result<(), Error> {
        each!(self, store => store.begin().await)
    }

    async fn interrupt(&self) -> Result<(), Error> {
        each!(self, store => store.interrupt().await)
    }

    async fn consumers(&self) -> Result<Vec<Consumer>, Error> {
        each!(self, store => store.consumers().await)
    }

    async fn put_consumer(&self, consumer: &Consumer) -> Result<(), Error> {
        each!(self, store => store.put_consumer(consumer).await)
    }

    async fn remove_consumer(&self, name: &str) -> Result<bool, Error> {
        each!(self, store => store.remove_consumer(name).await)
    }
}
