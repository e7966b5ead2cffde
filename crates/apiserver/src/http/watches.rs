//! Watches: a JSON document per event. An event's object is encoded once, in its entry; watchers only copy its bytes.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use client::{Shutdown, Watch, WatchEvent, stopped};
use futures_util::StreamExt;
use machinery::{ApiError, Entry, Map, Value};
use resources::Resource;

use super::negotiate::Shape;
use super::respond::{self, Answer};
use crate::table::{IncludeObject, TableOptions, partial};

/// Most events that are sent in one piece.
const EVENTS_PER_PIECE_MAX: usize = 256;
/// A watch without `timeoutSeconds` ends after this, or up to twice as long (upstream's `--min-request-timeout`).
const TIMEOUT_SECONDS_MIN: u64 = 1_800;

/// How the events of one watch are written.
pub(super) struct Encoder {
    pub row: Arc<Resource>,
    pub shape: Shape,
    pub include: IncludeObject,
    /// Whether a table told its columns already.
    pub told_columns: bool,
}

/// Sends events until the watch ends, its time is up, or the server stops.
pub(super) fn answer(watch: Watch, mut encoder: Encoder, timeout_seconds: Option<u64>, shutdown: Shutdown) -> Answer {
    let spread = TIMEOUT_SECONDS_MIN + seams::random::below(TIMEOUT_SECONDS_MIN);
    let timeout = Duration::from_secs(timeout_seconds.filter(|s| *s > 0).unwrap_or(spread));
    let end = async move {
        tokio::select! {
            () = stopped(shutdown) => {}
            () = tokio::time::sleep(timeout) => {}
        }
    };
    let pieces = watch.take_until(Box::pin(end)).ready_chunks(EVENTS_PER_PIECE_MAX).map(move |events| {
        let mut piece = BytesMut::new();
        for event in &events {
            encoder.write(event, &mut piece);
        }
        piece.freeze()
    });
    respond::answer(200, "application/json", respond::stream(pieces))
}

impl Encoder {
    fn write(&mut self, event: &WatchEvent, out: &mut BytesMut) {
        let (kind, object) = match event {
            WatchEvent::Added(entry) => ("ADDED", self.object(entry)),
            WatchEvent::Modified(entry) => ("MODIFIED", self.object(entry)),
            WatchEvent::Deleted(entry) => ("DELETED", self.object(entry)),
            WatchEvent::Bookmark { revision, initial_end } => ("BOOKMARK", self.bookmark(*revision, *initial_end)),
            WatchEvent::Error(error) => ("ERROR", status(error)),
        };
        out.reserve(object.len() + 32);
        out.put_slice(b"{\"type\":\"");
        out.put_slice(kind.as_bytes());
        out.put_slice(b"\",\"object\":");
        out.put_slice(&object);
        out.put_slice(b"}\n");
    }

    fn object(&mut self, entry: &Entry) -> Bytes {
        match self.shape {
            Shape::Object => entry.bytes(),
            Shape::Metadata(version) => partial(entry.tree(), version).to_bytes().into(),
            Shape::Table(version) => self.table(entry.tree(), version),
        }
    }

    fn table(&mut self, object: &Value, version: &'static str) -> Bytes {
        let options = TableOptions { version, include: self.include, now: seams::clock::now() };
        let first = !std::mem::replace(&mut self.told_columns, true);
        options.single(&self.row, object, first).to_bytes().into()
    }

    fn bookmark(&mut self, revision: u64, initial_end: bool) -> Bytes {
        let mut metadata = Map::new();
        metadata.insert("resourceVersion", revision.to_string());
        metadata.insert("creationTimestamp", Value::Null);
        if initial_end {
            metadata.insert("annotations", Map::from_iter([("k8s.io/initial-events-end", "true")]));
        }
        let mut object = Map::new();
        object.insert("kind", &self.row.kind);
        object.insert("apiVersion", self.row.group_version().to_string());
        object.insert("metadata", metadata);
        let object = Value::from(object);
        match self.shape {
            Shape::Object => object.to_bytes().into(),
            Shape::Metadata(version) => partial(&object, version).to_bytes().into(),
            Shape::Table(version) => self.table(&object, version),
        }
    }
}

fn status(error: &ApiError) -> Bytes {
    error.to_status().to_bytes().into()
}
