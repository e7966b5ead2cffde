//! Lists: the stored bytes of the objects, joined.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use client::List;
use futures_util::stream;
use machinery::{Entry, Map, Value};
use resources::Resource;

use super::negotiate::{Format, Shape};
use super::respond::{self, Answer, GZIP_BYTES_MIN, Wants};
use crate::table::{TableOptions, partial};

/// Size of the pieces that a list is sent in.
const PIECE_BYTES: usize = 64 * 1024;

/// A list in the form that the client wants. DIVERGES: items carry their apiVersion and kind, as upstream's lists of custom
/// resources do; those of its built-in types do not.
pub(super) fn answer(row: &Resource, list: List, wants: &Wants, table: Option<TableOptions>) -> Answer {
    match (wants.accepted.shape, table) {
        (Shape::Table(_), Some(options)) => {
            let columns = row.all_columns();
            let mut tree = options.head(row, true);
            tree.insert("metadata", metadata(&list));
            tree.insert("rows", list.items.iter().map(|e| options.row(&columns, e.tree())).collect::<Vec<_>>());
            respond::value(200, &tree.into(), wants)
        }
        (Shape::Metadata(version), _) => {
            let items: Vec<Value> = list.items.iter().map(|e| partial(e.tree(), version)).collect();
            let head = head("PartialObjectMetadataList", &format!("meta.k8s.io/{version}"), &list);
            respond::value(200, &with_items(head, items), wants)
        }
        _ if wants.accepted.format == Format::Yaml || wants.pretty => {
            let items: Vec<Value> = list.items.iter().map(|e| e.tree().as_ref().clone()).collect();
            let head = head(&row.list_kind, &row.group_version().to_string(), &list);
            respond::value(200, &with_items(head, items), wants)
        }
        _ => joined(row, list, wants),
    }
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

/// The bytes of the entries between a head and a tail. The length is known, so small lists are one piece; large ones are
/// copied piece by piece as the client takes them.
fn joined(row: &Resource, list: List, wants: &Wants) -> Answer {
    let mut head = Value::from(head(&row.list_kind, &row.group_version().to_string(), &list)).to_bytes();
    head.pop();
    head.extend_from_slice(b",\"items\":[");
    let items: Vec<Bytes> = list.items.iter().map(|e: &Arc<Entry>| e.bytes()).collect();
    drop(list);
    let size = head.len() + items.iter().map(|i| i.len() + 1).sum::<usize>() + 3;
    if size < GZIP_BYTES_MIN || wants.gzip {
        let mut all = BytesMut::with_capacity(size);
        all.extend_from_slice(&head);
        push_items(&mut all, &items, 0, usize::MAX);
        all.extend_from_slice(b"]}\n");
        return respond::bytes(200, all.freeze(), wants);
    }
    let length = head.len() + items.iter().map(Bytes::len).sum::<usize>() + items.len().saturating_sub(1) + 3;
    let pieces = stream::unfold((Some(head), 0), move |(head, mut at)| {
        let mut piece = BytesMut::with_capacity(PIECE_BYTES * 2);
        let started = head.is_some();
        piece.extend_from_slice(&head.unwrap_or_default());
        let is_last = at > items.len();
        if !is_last {
            at = push_items(&mut piece, &items, at, PIECE_BYTES);
            if at == items.len() {
                piece.extend_from_slice(b"]}\n");
                at += 1;
            }
        }
        let piece = (started || !is_last).then(|| (piece.freeze(), (None, at)));
        std::future::ready(piece)
    });
    let mut answer = respond::answer(200, wants.accepted.format.media_type(), respond::stream(pieces));
    answer.headers_mut().insert(http::header::CONTENT_LENGTH, http::HeaderValue::from(length));
    answer
}

/// Appends items from `at` on, until the piece is full; returns where it stopped.
fn push_items(piece: &mut BytesMut, items: &[Bytes], mut at: usize, full: usize) -> usize {
    while at < items.len() && piece.len() < full {
        if at > 0 {
            piece.extend_from_slice(b",");
        }
        piece.extend_from_slice(&items[at]);
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

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
