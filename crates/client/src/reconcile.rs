//! Runs a reconciler: keys come from a queue, failures and panics are counted and backed off.

use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use machinery::ApiError;
use tokio::task::JoinSet;

use crate::Shutdown;
use crate::queue::Queue;

/// What a successful reconcile wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing until something changes.
    Wait,
    /// To be called again after a while, whatever happens.
    After(Duration),
}

/// Works on `queue` with `workers` tasks until shutdown. `reconcile` takes a key, reads state anew, and acts idempotently.
/// Conflicts are tried again quietly; other errors and panics are logged and backed off.
pub async fn run<T, F, Fut>(name: &'static str, workers: usize, queue: Queue<T>, shutdown: Shutdown, reconcile: F)
where
    T: Clone + Eq + Hash + Ord + fmt::Display + Send + Sync + 'static,
    F: Fn(T) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Next, ApiError>> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for _ in 0..workers {
        tasks.spawn(work(name, queue.clone(), reconcile.clone()));
    }
    crate::stopped(shutdown).await;
    queue.close();
    tasks.shutdown().await;
}

async fn work<T, F, Fut>(name: &'static str, queue: Queue<T>, reconcile: F)
where
    T: Clone + Eq + Hash + Ord + fmt::Display,
    F: Fn(T) -> Fut,
    Fut: Future<Output = Result<Next, ApiError>>,
{
    while let Some(key) = queue.next().await {
        match AssertUnwindSafe(reconcile(key.clone())).catch_unwind().await {
            Ok(Ok(next)) => {
                queue.forget(&key);
                if let Next::After(wait) = next {
                    queue.add_after(key.clone(), wait);
                }
            }
            Ok(Err(error)) => {
                if !error.is_conflict() {
                    tracing::warn!(controller = name, %key, %error, "reconcile failed");
                }
                queue.add_rate_limited(key.clone());
            }
            Err(_) => {
                tracing::error!(controller = name, %key, "reconcile panicked");
                queue.add_rate_limited(key.clone());
            }
        }
        queue.done(&key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_backed_off_and_tried_again() {
        let (stop, shutdown) = tokio::sync::watch::channel(false);
        let (queue, calls) = (Queue::new(), Arc::new(AtomicUsize::new(0)));
        queue.add("a");
        let counted = calls.clone();
        let running = tokio::spawn(run("test", 1, queue, shutdown, move |_| {
            let calls = counted.clone();
            async move {
                assert!(calls.fetch_add(1, Ordering::SeqCst) > 0, "the first call panics");
                Ok(Next::Wait)
            }
        }));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(calls.load(Ordering::SeqCst), 2);
        stop.send_replace(true);
        running.await.unwrap();
    }
}
