//! The asynchronous runtime of a process.

use std::{io, num::NonZeroUsize, thread};

use tokio::runtime::{Builder, Runtime};

use crate::rest;

/// Builds the runtime for this many worker threads.
///
/// One worker runs everything on the calling thread: no work stealing, no cross-thread wake-ups. More workers
/// make a multi-threaded runtime. Zero means one worker per CPU that the process may use.
///
/// # Errors
///
/// The operating system refused a thread or an event queue.
pub fn build(workers: usize) -> io::Result<Runtime> {
    let mut builder = match workers_or_cpus(workers) {
        1 => Builder::new_current_thread(),
        more => {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(more);
            builder
        }
    };
    builder.enable_all().thread_name("worker").on_thread_park(rest::before_park).build()
}

/// The number of workers that [`build`] uses for this setting.
pub fn workers_or_cpus(workers: usize) -> usize {
    if workers > 0 { workers } else { thread::available_parallelism().map_or(1, NonZeroUsize::get) }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::RuntimeFlavor;

    use super::*;

    #[test]
    fn one_worker_stays_on_this_thread() {
        let runtime = build(1).unwrap();
        assert_eq!(runtime.handle().runtime_flavor(), RuntimeFlavor::CurrentThread);
    }

    #[test]
    fn more_workers_are_threads() {
        let runtime = build(3).unwrap();
        assert_eq!(runtime.handle().runtime_flavor(), RuntimeFlavor::MultiThread);
        assert_eq!(runtime.metrics().num_workers(), 3);
    }

    #[test]
    fn zero_asks_the_machine() {
        assert!(workers_or_cpus(0) >= 1);
        assert_eq!(workers_or_cpus(5), 5);
    }
}
