//! Protobuf, which Go's typed clients speak: bodies are turned into JSON, so that the pipeline sees one form, and answers are
//! encoded from their trees.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use machinery::proto::{self, Document};
use machinery::schema::Type;
use machinery::{ApiError, Entry, Value, schema};

/// The type that has a kind in every group.
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";

/// The JSON of a protobuf body.
pub(super) fn to_json(bytes: &[u8]) -> Result<Bytes, ApiError> {
    let bad = |e: &dyn std::fmt::Display| ApiError::BadRequest(format!("the object provided is unrecognized: {e}"));
    let document = Document::read(bytes).map_err(|e| bad(&e))?;
    let ty = if document.kind == "DeleteOptions" {
        schema::lookup(DELETE_OPTIONS)
    } else {
        schema::lookup_kind(&document.api_version, &document.kind)
    };
    let unknown = || {
        let (kind, version) = (&document.kind, &document.api_version);
        ApiError::BadRequest(format!("no kind {kind:?} is registered for version {version:?} in scheme"))
    };
    let tree = document.decode(ty.ok_or_else(unknown)?).map_err(|e| bad(&e))?;
    Ok(tree.to_bytes().into())
}

/// An object as a document; `None` when its kind has no protobuf form.
pub(super) fn encode(tree: &Value) -> Option<Vec<u8>> {
    proto::encode(tree, type_of(tree)?).ok()
}

fn type_of(tree: &Value) -> Option<&'static Type> {
    let (version, kind) = (tree.str_at(&["apiVersion"])?, tree.str_at(&["kind"])?);
    match kind {
        // Of all kinds, metadata is the first field, and items of lists the second.
        "PartialObjectMetadata" => schema::lookup("io.k8s.api.core.v1.ConfigMap"),
        "PartialObjectMetadataList" => schema::lookup("io.k8s.api.core.v1.ConfigMapList"),
        _ => schema::lookup_kind(version, kind),
    }
}

/// A list, in pieces: the items are encoded once to know how long the list is, and again when their turn comes, so that a
/// long list is never held as a whole.
pub(super) struct ListPieces {
    /// Up to the first item.
    head: Option<Vec<u8>>,
    items: std::vec::IntoIter<Arc<Entry>>,
    item: Item,
    piece_bytes: usize,
}

/// Gives an object as it stands in a list; nothing when it has no protobuf form.
pub(super) type Item = fn(&Entry) -> Option<Vec<u8>>;

/// The object.
pub(super) fn item(entry: &Entry) -> Option<Vec<u8>> {
    entry.with_tree(framed)
}

/// Its metadata.
pub(super) fn metadata_item(entry: &Entry) -> Option<Vec<u8>> {
    entry.with_tree(|tree| framed(&crate::table::partial(tree, "v1")))
}

/// Makes a list of its head (kind, apiVersion and metadata, no items) and of its items in some form. Gives it with its
/// length; `None` when there is no protobuf form.
pub(super) fn list(
    head: &Value,
    items: Vec<Arc<Entry>>,
    item: Item,
    piece_bytes: usize,
) -> Option<(ListPieces, usize)> {
    let ty = type_of(head)?;
    let mut items_bytes = 0;
    for entry in &items {
        items_bytes += item(entry)?.len();
    }
    let start = proto::begin_list(head, ty, items_bytes).ok()?;
    let length = start.len() + items_bytes;
    Some((ListPieces { head: Some(start), items: items.into_iter(), item, piece_bytes }, length))
}

/// An item as it stands in a list.
fn framed(item: &Value) -> Option<Vec<u8>> {
    proto::encode_item(item, type_of(item)?).ok()
}

impl Iterator for ListPieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let head = self.head.take();
        if head.is_none() && self.items.len() == 0 {
            return None;
        }
        let mut piece = BytesMut::with_capacity(self.piece_bytes + self.piece_bytes / 4);
        piece.extend_from_slice(&head.unwrap_or_default());
        while piece.len() < self.piece_bytes {
            let Some(entry) = self.items.next() else { break };
            piece.extend_from_slice(&(self.item)(&entry).unwrap_or_default());
        }
        Some(piece.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_read_back_as_they_were() {
        let entry = |n: usize| {
            let json = format!(
                r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"m{n}"}},"data":{{"k":"{}"}}}}"#,
                "v".repeat(n)
            );
            Arc::new(Entry::from_bytes(1, json.into()))
        };
        let items: Vec<_> = (0..300).map(entry).collect();
        let head = Value::parse(
            br#"{"apiVersion":"v1","kind":"ConfigMapList","metadata":{"resourceVersion":"7","continue":"c","remainingItemCount":3}}"#,
        )
        .unwrap();
        let (pieces, length) = list(&head, items.clone(), item, 4096).unwrap();
        let pieces: Vec<Bytes> = pieces.collect();
        assert!(pieces.len() > 10, "{}", pieces.len());
        let bytes = pieces.concat();
        assert_eq!(bytes.len(), length);
        let document = Document::read(&bytes).unwrap();
        let mut tree = document.decode(type_of(&head).unwrap()).unwrap();
        let read = tree.remove_at(&["items"]).unwrap();
        assert_eq!(tree, head);
        for (read, made) in read.as_array().unwrap().iter().zip(&items) {
            assert_eq!(read.get("metadata"), made.tree().get("metadata"));
            assert_eq!(read.get("data"), made.tree().get("data"));
        }
        let head = Value::parse(br#"{"apiVersion":"meta.k8s.io/v1","kind":"PartialObjectMetadataList"}"#).unwrap();
        let (pieces, length) = list(&head, items, metadata_item, 4096).unwrap();
        let bytes = pieces.collect::<Vec<_>>().concat();
        assert_eq!(bytes.len(), length);
        let document = Document::read(&bytes).unwrap();
        assert_eq!(
            (document.kind.as_str(), document.api_version.as_str()),
            ("PartialObjectMetadataList", "meta.k8s.io/v1")
        );
        let tree = document.decode(schema::lookup("io.k8s.api.core.v1.ConfigMapList").unwrap()).unwrap();
        let first = &tree.get("items").and_then(Value::as_array).unwrap()[299];
        assert_eq!((first.str_at(&["metadata", "name"]), first.get("data")), (Some("m299"), None));
    }

    #[test]
    fn statuses_and_every_row_have_a_form() {
        let status = ApiError::UnknownPath.to_status();
        let bytes = encode(&status).expect("a Status has a form");
        let document = Document::read(&bytes).unwrap();
        assert_eq!(document.kind, "Status");
        for row in resources::table() {
            for kind in [&row.kind, &row.list_kind] {
                let tree =
                    Value::parse(format!(r#"{{"apiVersion":"{}","kind":"{kind}"}}"#, row.group_version()).as_bytes());
                let is_list_of_nothing = !row.stored && *kind == row.list_kind;
                assert!(is_list_of_nothing || encode(&tree.unwrap()).is_some(), "{} {kind}", row.group_version());
            }
        }
    }
}
