//! Watches: a JSON document per event, or a protobuf message. An event's object is encoded once, in its entry; watchers only copy its bytes.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use client::{Shutdown, Watch, WatchEvent, stopped};
use futures_util::StreamExt;
use machinery::{ApiError, Entry, Map, Value, proto};
use resources::Resource;

use super::negotiate::{Format, Shape};
use super::protobuf;
use super::respond::{self, Answer};
use crate::table::{IncludeObject, TableOptions, partial};

/// Most events that are sent in one piece.
const EVENTS_PER_PIECE_MAX: usize = 256;
/// A watch without `timeoutSeconds` ends after this, or up to twice as long (upstream's `--min-request-timeout`).
const TIMEOUT_SECONDS_MIN: u64 = 1_800;

/// How the events of one watch are written.
pub(super) struct Encoder {
    pub row: Arc<Resource>,
    /// JSON or protobuf.
    pub format: Format,
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
    let media_type = match encoder.format {
        Format::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        _ => "application/json",
    };
    let pieces = watch.take_until(Box::pin(end)).ready_chunks(EVENTS_PER_PIECE_MAX).map(move |events| {
        let mut piece = BytesMut::new();
        for event in &events {
            encoder.write(event, &mut piece);
        }
        piece.freeze()
    });
    respond::answer(200, media_type, respond::stream(pieces))
}

impl Encoder {
    fn write(&mut self, event: &WatchEvent, out: &mut BytesMut) {
        if self.format == Format::Protobuf {
            return self.write_message(event, out);
        }
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

    /// Each event is framed by its length.
    fn write_message(&self, event: &WatchEvent, out: &mut BytesMut) {
        let object = |entry: &Entry| match self.shape {
            Shape::Metadata(version) | Shape::MetadataList(version) => {
                protobuf::encode(&partial(entry.tree(), version))
            }
            _ => protobuf::encode(entry.tree()),
        };
        let (kind, object) = match event {
            WatchEvent::Added(entry) => ("ADDED", object(entry)),
            WatchEvent::Modified(entry) => ("MODIFIED", object(entry)),
            WatchEvent::Deleted(entry) => ("DELETED", object(entry)),
            WatchEvent::Bookmark { revision, initial_end } => {
                let object = self.bare(*revision, *initial_end);
                let object = match self.shape {
                    Shape::Metadata(version) | Shape::MetadataList(version) => partial(&object, version),
                    _ => object,
                };
                ("BOOKMARK", protobuf::encode(&object))
            }
            WatchEvent::Error(error) => ("ERROR", protobuf::encode(&error.to_status())),
        };
        match object {
            Some(object) => out.put_slice(&proto::encode_watch_event(kind, &object)),
            None => tracing::error!("an event of {} has no protobuf form", self.row.plural),
        }
    }

    fn object(&mut self, entry: &Entry) -> Bytes {
        match self.shape {
            Shape::Object => entry.bytes(),
            Shape::Metadata(version) | Shape::MetadataList(version) => partial(entry.tree(), version).to_bytes().into(),
            Shape::Table(version) => self.table(entry.tree(), version),
        }
    }

    fn table(&mut self, object: &Value, version: &'static str) -> Bytes {
        let options = TableOptions { version, include: self.include, now: seams::clock::now() };
        let first = !std::mem::replace(&mut self.told_columns, true);
        options.single(&self.row, object, first).to_bytes().into()
    }

    fn bookmark(&mut self, revision: u64, initial_end: bool) -> Bytes {
        let object = self.bare(revision, initial_end);
        match self.shape {
            Shape::Object => object.to_bytes().into(),
            Shape::Metadata(version) | Shape::MetadataList(version) => partial(&object, version).to_bytes().into(),
            Shape::Table(version) => self.table(&object, version),
        }
    }

    /// An object of nothing but a revision.
    fn bare(&self, revision: u64, initial_end: bool) -> Value {
        let mut metadata = Map::new();
        metadata.insert("resourceVersion", revision.to_string());
        if initial_end {
            metadata.insert("annotations", Map::from_iter([("k8s.io/initial-events-end", "true")]));
        }
        let mut object = Map::new();
        object.insert("kind", &self.row.kind);
        object.insert("apiVersion", self.row.group_version().to_string());
        object.insert("metadata", metadata);
        let mut object = object.into();
        self.row.complete(&mut object);
        object
    }
}

fn status(error: &ApiError) -> Bytes {
    error.to_status().to_bytes().into()
}
