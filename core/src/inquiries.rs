//! Questions of operators to the engines, and the way of the answers back to whoever asked.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use node::shard::{self, Inbox};
use sip::Aor;
use tokio::sync::oneshot;

use crate::engine::Input;
use crate::why::{Question, Why};

/// Shared by the API, which asks, and the shards' drivers, which bring the answers.
pub struct Inquiries {
    inboxes: Vec<Inbox<Input>>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    last: u64,
    answers: HashMap<u64, oneshot::Sender<Box<Why>>>,
}

impl Inquiries {
    /// `inboxes` of all shards.
    pub fn new(inboxes: Vec<Inbox<Input>>) -> Self {
        Self { inboxes, waiting: Mutex::default() }
    }

    /// What becomes of a call to `aor`. `None` when the engine has too much to do.
    pub async fn why(&self, aor: Aor) -> Option<Box<Why>> {
        let inbox = self.inboxes.get(shard::of(aor.as_str().as_bytes(), self.inboxes.len()))?;
        let (sender, answer) = oneshot::channel();
        let id = self.open(sender);
        if inbox.try_send(Input::Why(Question { id, aor })).is_err() {
            self.waiting().answers.remove(&id);
        }
        answer.await.ok()
    }

    /// The answer of an engine. Every question gets one, so no entry stays.
    pub fn answer(&self, id: u64, why: Box<Why>) {
        if let Some(asker) = self.waiting().answers.remove(&id) {
            let _ = asker.send(why); // gone meanwhile
        }
    }

    fn open(&self, answer: oneshot::Sender<Box<Why>>) -> u64 {
        let mut waiting = self.waiting();
        waiting.last += 1;
        let id = waiting.last;
        waiting.answers.insert(id, answer);
        id
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Inquiries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inquiries").field("waiting", &self.waiting().answers.len()).finish_non_exhaustive()
    }
}
