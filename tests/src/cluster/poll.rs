//! Waiting for what another process does: asked again every few milliseconds, never longer than a limit.

use std::time::Duration;

use tokio::time::{interval, timeout};

/// How often is asked.
const EVERY: Duration = Duration::from_millis(20);

/// Asks `question` until it has an answer; `None` when it has none within `limit`.
pub async fn poll<T>(limit: Duration, mut question: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let answer = async {
        let mut tick = interval(EVERY);
        loop {
            tick.tick().await;
            if let Some(answer) = question().await {
                return answer;
            }
        }
    };
    timeout(limit, answer).await.ok()
}
