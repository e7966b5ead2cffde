//! Lists: the stored bytes of the objects, joined.

use std::io::Write;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use client::List;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream;
use machinery::{ApiError, Entry, Map, Value};
use resources::{Column, Resource};

use super::negotiate::{Format, Shape};
use super::protobuf;
use super::respond::{self, Answer, GZIP_BYTES_MIN, Wants};
use crate::table::{TableOptions, partial};

/// Size of the pieces that a list is sent in.
const PIECE_BYTES: usize = 64 * 1024;
/// The most that one frame of HTTP/2 carries here: with its head of 9 bytes it fills a record of TLS (16 KiB), where a frame of 16 KiB
/// would take a second one for its last bytes.
const FRAME_BYTES: usize = 16 * 1024 - 9;
/// Lists of more items whose form has to be made are made and sent piece by piece.
const WHOLE_ITEMS_MAX: usize = 500;

/// A list in the form that the client wants. DIVERGES: items carry their apiVersion and kind, as upstream's lists of custom
/// resources do; those of its built-in types do not.
pub(super) fn answer(row: &Resource, list: List, wants: &Wants, table: Option<TableOptions>) -> Answer {
    match (wants.accepted.shape, table) {
        (shape, table) if is_long(&list, shape, wants) => in_shape(row, list, shape, table, wants),
        (Shape::Table(_), Some(options)) => {
            let columns = row.all_columns();
            let mut tree = options.head(row, true);
            tree.insert("metadata", metadata(&list));
            tree.insert("rows", list.items.iter().map(|e| options.row(&columns, e.tree())).collect::<Vec<_>>());
            respond::value(200, &tree.into(), wants)
        }
        (shape, _) if wants.accepted.format == Format::Protobuf => in_protobuf(row, list, shape, wants),
        (Shape::Metadata(version), _) => {
            let items: Vec<Value> = list.items.iter().map(|e| partial(e.tree(), version)).collect();
            let head = head("PartialObjectMetadataList", &format!("meta.k8s.io/{version}"), &list);
            respond::value(200, &with_items(head, items), wants)
        }
        _ if wants.accepted.format == Format::Yaml || wants.pretty => respond::value(200, &tree(row, &list), wants),
        _ => joined(row, list, wants),
    }
}

/// A list as one tree.
pub(crate) fn tree(row: &Resource, list: &List) -> Value {
    let items = list.items.iter().map(|e| e.tree().as_ref().clone()).collect();
    with_items(head(&row.list_kind, &row.group_version().to_string(), list), items)
}

/// Whether this is one of the forms that is made of each item, and too long to be made as a whole.
fn is_long(list: &List, shape: Shape, wants: &Wants) -> bool {
    let made = matches!(shape, Shape::Table(_) | Shape::Metadata(_));
    made && wants.accepted.format == Format::Json && !wants.pretty && list.items.len() > WHOLE_ITEMS_MAX
}

/// Metadata or rows, made of each item when its turn comes.
fn in_shape(row: &Resource, list: List, shape: Shape, table: Option<TableOptions>, wants: &Wants) -> Answer {
    let (mut head, items, write): (Map, &str, WriteItem) = match (shape, table) {
        (Shape::Table(_), Some(options)) => {
            let mut head = options.head(row, true);
            head.remove("rows");
            head.insert("metadata", metadata(&list));
            let columns: Vec<Column> = row.all_columns().into_iter().cloned().collect();
            let write = move |entry: &Entry, piece: &mut BytesMut| {
                let row = entry.with_tree(|tree| options.row(&columns.iter().collect::<Vec<_>>(), tree));
                piece.extend_from_slice(&row.to_bytes());
            };
            (head, "rows", Box::new(write))
        }
        (Shape::Metadata(version), _) => {
            let head = head("PartialObjectMetadataList", &format!("meta.k8s.io/{version}"), &list);
            let write = move |entry: &Entry, piece: &mut BytesMut| {
                piece.extend_from_slice(&entry.with_tree(|tree| partial(tree, version)).to_bytes());
            };
            (head, "items", Box::new(write))
        }
        _ => (head(&row.list_kind, &row.group_version().to_string(), &list), "items", Box::new(write_stored)),
    };
    head.remove(items);
    let pieces = Pieces::new(begun(head, items), list.items, write);
    let media_type = wants.accepted.format.media_type();
    if wants.gzip {
        let mut answer = respond::answer(200, media_type, body(Compressed::new(pieces)));
        respond::mark_gzip(answer.headers_mut());
        return answer;
    }
    respond::answer(200, media_type, body(pieces))
}

/// A list's JSON up to its first item.
fn begun(head: Map, items: &str) -> Vec<u8> {
    let mut head = Value::from(head).to_bytes();
    head.pop();
    head.extend_from_slice(format!(",\"{items}\":[").as_bytes());
    head
}

/// Protobuf, of objects or of their metadata.
fn in_protobuf(row: &Resource, list: List, shape: Shape, wants: &Wants) -> Answer {
    let (head, item): (Map, protobuf::Item) = match shape {
        Shape::Metadata(version) => {
            let head = head("PartialObjectMetadataList", &format!("meta.k8s.io/{version}"), &list);
            (head, protobuf::metadata_item)
        }
        _ => (head(&row.list_kind, &row.group_version().to_string(), &list), protobuf::item),
    };
    let resource_version = list.resource_version;
    let Some((pieces, length)) = protobuf::list(&head.into(), list.items, item, PIECE_BYTES) else {
        let message = format!("the list at {resource_version} has no protobuf form");
        return respond::plain_error(&ApiError::Internal(message));
    };
    let mut answer = respond::answer(200, wants.accepted.format.media_type(), body(pieces));
    answer.headers_mut().insert(http::header::CONTENT_LENGTH, http::HeaderValue::from(length));
    answer
}

fn metadata(list: &List) -> Map {
    let mut metadata = Map::new();
    metadata.insert("resourceVersion", list.resource_version.to_string());
    if !list.continue_token.is_empty() {
        metadata.insert("continue", &list.continue_token);
    }
    if let Some(remaining) = list.remaining {
        metadata.insert("remainingItemCount", i64::try_from(remaining).unwrap_or(i64::MAX));
    }
    metadata
}

fn head(kind: &str, api_version: &str, list: &List) -> Map {
    let mut head = Map::new();
    head.insert("kind", kind);
    head.insert("apiVersion", api_version);
    head.insert("metadata", metadata(list));
    head
}

fn with_items(mut head: Map, items: Vec<Value>) -> Value {
    head.insert("items", items);
    head.into()
}

/// The bytes of the entries between a head and a tail. Small lists are one piece; large ones are copied, and compressed when
/// the client accepts that, piece by piece as the client takes them.
fn joined(row: &Resource, list: List, wants: &Wants) -> Answer {
    let head = begun(head(&row.list_kind, &row.group_version().to_string(), &list), "items");
    let is_small = is_small(&list.items);
    let mut pieces = Pieces::new(head, list.items, write_stored);
    if is_small {
        let mut all = BytesMut::new();
        while pieces.append(&mut all, usize::MAX) {}
        return respond::bytes(200, all.freeze(), wants);
    }
    let media_type = wants.accepted.format.media_type();
    if wants.gzip {
        let mut answer = respond::answer(200, media_type, body(Compressed::new(pieces)));
        respond::mark_gzip(answer.headers_mut());
        return answer;
    }
    respond::answer(200, media_type, body(pieces))
}

/// Whether a list is sent at once. Of a large one not every item is looked at.
fn is_small(items: &[Arc<Entry>]) -> bool {
    let mut length = 0;
    items.iter().all(|item| {
        length += item.json().len() + 1;
        length < GZIP_BYTES_MIN
    })
}

fn write_stored(entry: &Entry, piece: &mut BytesMut) {
    piece.extend_from_slice(entry.json());
}

const TAIL: &[u8] = b"]}\n";

/// Appends an item's JSON.
type WriteItem = Box<dyn Fn(&Entry, &mut BytesMut) + Send>;

/// The pieces of a list.
struct Pieces<W> {
    /// Taken by the first piece.
    head: Option<Vec<u8>>,
    items: std::vec::IntoIter<Arc<Entry>>,
    is_first: bool,
    write: W,
}

impl<W: Fn(&Entry, &mut BytesMut)> Pieces<W> {
    fn new(head: Vec<u8>, items: Vec<Arc<Entry>>, write: W) -> Self {
        Self { head: Some(head), items: items.into_iter(), is_first: true, write }
    }

    /// Appends until the piece is full; false when nothing is left, which the tail of the list tells.
    fn append(&mut self, piece: &mut BytesMut, full: usize) -> bool {
        if let Some(head) = self.head.take() {
            piece.extend_from_slice(&head);
        } else if self.items.len() == 0 {
            return false;
        }
        while piece.len() < full {
            let Some(item) = self.items.next() else { break };
            if !std::mem::take(&mut self.is_first) {
                piece.extend_from_slice(b",");
            }
            (self.write)(&item, piece);
        }
        if self.items.len() == 0 {
            piece.extend_from_slice(TAIL);
        }
        true
    }
}

impl<W: Fn(&Entry, &mut BytesMut)> Iterator for Pieces<W> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut piece = BytesMut::with_capacity(PIECE_BYTES + PIECE_BYTES / 4);
        self.append(&mut piece, PIECE_BYTES).then(|| piece.freeze())
    }
}

/// A body of pieces.
fn body(pieces: impl Iterator<Item = Bytes> + Send + 'static) -> respond::ResponseBody {
    respond::stream(stream::iter(Frames { pieces, piece: Bytes::new() }))
}

/// Pieces cut to what a frame carries.
struct Frames<P> {
    pieces: P,
    piece: Bytes,
}

impl<P: Iterator<Item = Bytes>> Iterator for Frames<P> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.piece.is_empty() {
            self.piece = self.pieces.next()?;
        }
        Some(self.piece.split_to(self.piece.len().min(FRAME_BYTES)))
    }
}

/// Pieces, compressed.
struct Compressed<P> {
    pieces: P,
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl<P: Iterator<Item = Bytes>> Compressed<P> {
    fn new(pieces: P) -> Self {
        Self { pieces, encoder: Some(GzEncoder::new(Vec::new(), Compression::fast())) }
    }
}

impl<P: Iterator<Item = Bytes>> Iterator for Compressed<P> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let encoder = self.encoder.as_mut()?;
        for piece in &mut self.pieces {
            encoder.write_all(&piece).expect("writing into memory does not fail");
            if !encoder.get_ref().is_empty() {
                return Some(std::mem::take(encoder.get_mut()).into());
            }
        }
        let last = self.encoder.take()?.finish();
        Some(last.expect("writing into memory does not fail").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::negotiate::Accepted;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn long_lists_of_metadata_and_rows_are_as_short_ones() {
        let rows = resources::table();
        let row = rows.iter().find(|r| r.plural == "configmaps").unwrap();
        let options = TableOptions {
            version: "v1",
            include: crate::table::IncludeObject::Metadata,
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
        };
        for (shape, table, items) in
            [(Shape::Metadata("v1"), None, "items"), (Shape::Table("v1"), Some(options), "rows")]
        {
            let read = async |count: usize, gzip: bool| {
                let item = |i: usize| {
                    let text = format!(r#"{{"kind":"ConfigMap","metadata":{{"name":"m{i}"}},"data":{{"a":"b"}}}}"#);
                    Arc::new(Entry::from_bytes(1, text.into()))
                };
                let list = List { items: (0..count).map(item).collect(), resource_version: 7, ..List::default() };
                let wants = Wants { accepted: Accepted { shape, ..Accepted::default() }, gzip, pretty: false };
                let answer = answer(row, list, &wants, table);
                let is_gzip = answer.headers().contains_key("content-encoding");
                let body = answer.into_body().collect().await.unwrap().to_bytes();
                let body = if is_gzip { crate::openapi::decompress(&body) } else { body.to_vec() };
                Value::parse(&body).unwrap()
            };
            let mut short = read(1, false).await;
            for gzip in [false, true] {
                let mut long = read(WHOLE_ITEMS_MAX + 1000, gzip).await;
                let made = long.get_mut(items).and_then(Value::as_array_mut).unwrap();
                assert_eq!(made.len(), WHOLE_ITEMS_MAX + 1000);
                made.truncate(1);
                assert_eq!(long, short);
            }
            assert!(short.remove_at(&[items]).is_some());
        }
    }

    #[tokio::test]
    async fn joined_lists_are_valid_at_every_size() {
        let rows = resources::table();
        let row = rows.iter().find(|r| r.plural == "configmaps").unwrap();
        for count in [0, 1, 2, 300, 3_000] {
            let item = |i: usize| {
                let text = format!(
                    r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"m{i}"}},"x":"{}"}}"#,
                    "y".repeat(500)
                );
                Arc::new(Entry::from_bytes(1, text.into()))
            };
            let list = List { items: (0..count).map(item).collect(), resource_version: 7, ..List::default() };
            for gzip in [false, true] {
                let answer = answer(row, list.clone(), &Wants { gzip, ..Wants::default() }, None);
                let is_gzip = answer.headers().contains_key("content-encoding");
                assert_eq!(is_gzip, gzip && count >= 300, "{count}");
                let length = answer.headers().get("content-length").map(|l| l.to_str().unwrap().parse().unwrap());
                let body = answer.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(length.unwrap_or(body.len()), body.len());
                let body = if is_gzip { crate::openapi::decompress(&body) } else { body.to_vec() };
                let tree = Value::parse(&body).unwrap();
                assert_eq!(tree.get("items").and_then(Value::as_array).map(Vec::len), Some(count));
                assert_eq!(tree.str_at(&["metadata", "resourceVersion"]), Some("7"));
            }
        }
    }
}
