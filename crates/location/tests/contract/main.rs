//! The contract of a location store and of the service over it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

/// One test function per store for each of these rules. Clustered databases are named by the environment.
macro_rules! contract {
    ($($rule:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test] async fn $rule() { super::$rule(&crate::common::memory()).await; })*
        }
        mod sqlite {
            $(#[tokio::test] async fn $rule() {
                let (store, _folder) = crate::common::sqlite().await;
                super::$rule(&store).await;
            })*
        }
        mod sqlite_in_memory {
            $(#[tokio::test] async fn $rule() {
                super::$rule(&location::Database::open("sqlite::memory:").await.unwrap()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test] async fn $rule() {
                if let Some((_, store)) = crate::common::Cluster::new(crate::common::POSTGRES).await {
                    super::$rule(&store).await;
                }
            })*
        }
        mod mariadb {
            $(#[tokio::test] async fn $rule() {
                if let Some((_, store)) = crate::common::Cluster::new(crate::common::MARIADB).await {
                    super::$rule(&store).await;
                }
            })*
        }
    };
}

mod clusters;
mod common;
mod feed;
mod files;
mod service;
mod stores;
mod upgrade;
