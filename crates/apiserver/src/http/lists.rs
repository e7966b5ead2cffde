//! Lists: the stored bytes of the objects, joined.

use std::io::Write;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use client::List;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream;
use machinery::{ApiError, Entry, Map, Value, yaml};
use resources::{Column, Resource};

use super::negotiate::{Format, Shape};
use super::respond::{self, Answer, GZIP_BYTES_MIN, Wants};
use super::{encode, protobuf};
use crate::table::{TableOptions, partial};

/// Size of the pieces that a list is sent in.
const PIECE_BYTES: usize = 64 * 1024;
/// The most that one frame of HTTP/2 carries here: with its head of 9 bytes it fills a record of TLS (16 KiB), where a frame of 16 KiB
/// would take a second one for its last bytes.
const FRAME_BYTES: usize = 16 * 1024 - 9;

/// A list in the form that the client wants. DIVERGES: items carry their apiVersion and kind, as upstream's lists of custom
/// resources do; those of its built-in types do not.
pub(super) fn answer(row: &Resource, list: List, wants: &Wants, table: Option<TableOptions>) -> Answer {
    let syntax = Syntax::of(wants);
    let (head, items, write): (Map, &str, WriteItem) = match (wants.accepted.shape, table) {
        (Shape::Table(_), Some(options)) => {
            let mut head = options.head(row, true);
            head.insert("metadata", metadata(&list));
            let columns: Vec<Column> = row.all_columns().into_iter().cloned().collect();
            let made = move |tree: &Value| options.row(&columns.iter().collect::<Vec<_>>(), tree);
            (head, "rows", syntax.writer(made))
        }
        (shape, _) if wants.accepted.format == Format::Protobuf => return in_protobuf(row, list, shape, wants),
        (Shape::MetadataList(version), _) => {
            let head = head("PartialObjectMetadataList", &format!("meta.k8s.io/{version}"), &list);
            (head, "items", syntax.writer(move |tree| partial(tree, version)))
        }
        _ => {
            let head = head(&row.list_kind, &row.group_version().to_string(), &list);
            let write: WriteItem = match syntax {
                Syntax::Compact => Box::new(|entry, piece| piece.extend_from_slice(entry.json())),
                _ => syntax.writer(Value::clone),
            };
            (head, "items", write)
        }
    };
    let is_small = is_small(&list.items);
    let mut pieces = Pieces::new(syntax, head, items, list.items, write);
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

/// A list as one tree.
pub(crate) fn tree(row: &Resource, list: &List) -> Value {
    let items = list.items.iter().map(|e| e.tree().as_ref().clone()).collect();
    with_items(head(&row.list_kind, &row.group_version().to_string(), list), items)
}

/// Protobuf, of objects or of their metadata.
fn in_protobuf(row: &Resource, list: List, shape: Shape, wants: &Wants) -> Answer {
    let (head, item): (Map, protobuf::Item) = match shape {
        Shape::MetadataList(version) => {
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

/// Whether a list is sent at once, which what is stored of it decides. Of a large one not every item is looked at.
fn is_small(items: &[Arc<Entry>]) -> bool {
    let mut length = 0;
    items.iter().all(|item| {
        length += item.json().len() + 1;
        length < GZIP_BYTES_MIN
    })
}

/// Appends an item as it is written in its list.
type WriteItem = Box<dyn Fn(&Entry, &mut BytesMut) + Send>;

/// How a list is written around its items.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Syntax {
    Compact,
    /// JSON, indented.
    Pretty,
    Yaml,
}

impl Syntax {
    fn of(wants: &Wants) -> Self {
        match wants.accepted.format {
            Format::Yaml => Self::Yaml,
            _ if wants.pretty => Self::Pretty,
            _ => Self::Compact,
        }
    }

    /// Writes what is made of each item, when its turn comes.
    fn writer(self, made: impl Fn(&Value) -> Value + Send + 'static) -> WriteItem {
        Box::new(move |entry, piece| {
            let item = entry.with_tree(&made);
            match self {
                Self::Compact => piece.extend_from_slice(&item.to_bytes()),
                Self::Pretty => piece.extend_from_slice(&encode::indented_item(&item)),
                Self::Yaml => piece.extend_from_slice(yaml::write_item(&item).as_bytes()),
            }
        })
    }

    /// A list up to its first item, and what comes after the last.
    fn around(self, mut head: Map, items: &str, is_empty: bool) -> (Vec<u8>, &'static [u8]) {
        head.remove(items);
        match (self, is_empty) {
            (Self::Compact, _) => {
                let mut head = Value::from(head).to_bytes();
                head.pop();
                head.extend_from_slice(format!(",\"{items}\":[").as_bytes());
                (head, b"]}\n")
            }
            (Self::Pretty, _) => {
                let mut head = encode::indented(&head.into());
                head.truncate(head.len() - b"\n}".len());
                head.extend_from_slice(format!(",\n  \"{items}\": [").as_bytes());
                (head, if is_empty { b"]\n}\n" } else { b"\n  ]\n}\n" })
            }
            (Self::Yaml, true) => ((yaml::write(&head.into()) + items + ": []\n").into_bytes(), b""),
            (Self::Yaml, false) => ((yaml::write(&head.into()) + items + ":\n").into_bytes(), b""),
        }
    }

    fn separator(self) -> &'static [u8] {
        match self {
            Self::Compact | Self::Pretty => b",",
            Self::Yaml => b"",
        }
    }
}

/// The pieces of a list.
struct Pieces {
    /// Taken by the first piece.
    head: Option<Vec<u8>>,
    items: std::vec::IntoIter<Arc<Entry>>,
    is_first: bool,
    separator: &'static [u8],
    tail: &'static [u8],
    write: WriteItem,
}

impl Pieces {
    fn new(syntax: Syntax, head: Map, key: &str, items: Vec<Arc<Entry>>, write: WriteItem) -> Self {
        let (head, tail) = syntax.around(head, key, items.is_empty());
        let separator = syntax.separator();
        Self { head: Some(head), items: items.into_iter(), is_first: true, separator, tail, write }
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
                piece.extend_from_slice(self.separator);
            }
            (self.write)(&item, piece);
        }
        if self.items.len() == 0 {
            piece.extend_from_slice(self.tail);
        }
        true
    }
}

impl Iterator for Pieces {
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
            [(Shape::MetadataList("v1"), None, "items"), (Shape::Table("v1"), Some(options), "rows")]
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
                let mut long = read(3_000, gzip).await;
                let made = long.get_mut(items).and_then(Value::as_array_mut).unwrap();
                assert_eq!(made.len(), 3_000);
                made.truncate(1);
                assert_eq!(long, short);
            }
            assert!(short.remove_at(&[items]).is_some());
        }
    }

    #[tokio::test]
    async fn lists_are_written_as_their_trees() {
        let rows = resources::table();
        let row = rows.iter().find(|r| r.plural == "configmaps").unwrap();
        for count in [0, 1, 2, 3_000] {
            let item = |i: usize| {
                let text = format!(
                    r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"m{i}","finalizers":["a"]}},"data":{{"a":"b: c\n"}}}}"#
                );
                Arc::new(Entry::from_bytes(1, text.into()))
            };
            let list = List { items: (0..count).map(item).collect(), resource_version: 7, ..List::default() };
            let wanted = tree(row, &list);
            for (format, pretty) in [(Format::Json, false), (Format::Json, true), (Format::Yaml, false)] {
                let accepted = Accepted { format, ..Accepted::default() };
                let wants = Wants { accepted, pretty, gzip: false };
                let body = answer(row, list.clone(), &wants, None).into_body().collect().await.unwrap().to_bytes();
                let read = if format == Format::Yaml { yaml::parse(&body) } else { Ok(Value::parse(&body).unwrap()) };
                assert_eq!(read.unwrap(), wanted);
                if pretty {
                    // Only the order of the list's own fields differs.
                    assert_eq!(sorted_lines(&body), sorted_lines(&encode::encode(&wanted, &wants)));
                }
            }
        }
    }

    fn sorted_lines(text: &[u8]) -> Vec<&str> {
        let mut lines: Vec<_> = std::str::from_utf8(text).unwrap().lines().map(|l| l.trim_end_matches(',')).collect();
        lines.sort_unstable();
        lines
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
