//! Watches that end when their resource goes out of service, with all that happened before.

use client::Watch;
use futures_util::future::{Either, select};
use futures_util::{FutureExt, StreamExt, stream};

/// Sends what `watch` sends until `end` resolves, and then what is there already.
pub(crate) fn with(watch: Watch, end: impl Future<Output = ()> + Send + 'static) -> Watch {
    let start = (watch, Some(end.boxed()));
    let next = |(mut watch, end): (Watch, Option<_>)| async move {
        let event = match end {
            None => watch.next().now_or_never().flatten(),
            Some(end) => match select(watch.next(), end).await {
                Either::Left((event, end)) => return event.map(|event| (event, (watch, Some(end)))),
                Either::Right(((), left)) => left.now_or_never().flatten(),
            },
        };
        event.map(|event| (event, (watch, None)))
    };
    stream::unfold(start, next).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::WatchEvent;
    use tokio::sync::{mpsc, oneshot};

    #[tokio::test]
    async fn what_happened_before_the_end_is_sent() {
        let (send, mut events) = mpsc::unbounded_channel();
        let (end, ended) = oneshot::channel::<()>();
        let mut watch = with(stream::poll_fn(move |context| events.poll_recv(context)).boxed(), ended.map(drop));
        let event = |revision| WatchEvent::Bookmark { revision, initial_end: false };
        send.send(event(1)).unwrap();
        assert!(matches!(watch.next().await, Some(WatchEvent::Bookmark { revision: 1, .. })));
        for revision in 2..4 {
            send.send(event(revision)).unwrap();
        }
        drop(end);
        for wanted in 2..4 {
            assert!(matches!(watch.next().await, Some(WatchEvent::Bookmark { revision, .. }) if revision == wanted));
        }
        assert!(watch.next().await.is_none());
    }
}
