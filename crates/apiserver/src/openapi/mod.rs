//! OpenAPI v2 and v3: built when asked for, kept compressed.
//!
//! Descriptions lie beside this file, compressed; `cargo xtask descriptions` makes them of k8s-openapi's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use machinery::Value;
use machinery::openapi::{self, Descriptions, v2_to_protobuf};
use machinery::schema::{Schema, TypeRef};
use resources::Resource;

use crate::discovery::subresources;
use crate::discovery::version::GIT_VERSION;
use crate::pipeline::Pipeline;

static DESCRIPTIONS: &[u8] = include_bytes!("descriptions.txt.gz");

/// Which document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Document {
    /// `/openapi/v2` as JSON.
    V2,
    /// `/openapi/v2` as gnostic's protobuf, which kubectl asks for.
    V2Protobuf,
    /// `/openapi/v3`: which documents there are.
    V3Index,
    /// `/openapi/v3/apis/apps/v1`, named by what follows `v3/`.
    V3(String),
}

/// A document as it is served.
#[derive(Debug, Clone)]
pub struct Served {
    /// Compressed by gzip.
    pub gzip: Bytes,
    /// Its ETag, in quotes.
    pub etag: String,
}

/// The rows that are served, which change as custom resources come and go.
pub trait Rows: Send + Sync {
    /// All of them: the same allocation as long as they stay the same.
    fn rows(&self) -> Arc<[Arc<Resource>]>;
}

impl Rows for Pipeline {
    fn rows(&self) -> Arc<[Arc<Resource>]> {
        Self::rows(self)
    }
}

/// The documents of what is served. Only what was asked for is built, and only its compressed form is kept (a tenth of the size).
pub struct Documents {
    source: Arc<dyn Rows>,
    state: Mutex<State>,
}

/// What was made of some rows.
struct State {
    rows: Arc<[Arc<Resource>]>,
    /// Of v3 documents.
    hashes: BTreeMap<String, String>,
    made: BTreeMap<Document, Served>,
}

impl State {
    /// Goes on with other rows: what was made stays if it would be made the same.
    fn follow(&mut self, rows: Arc<[Arc<Resource>]>) {
        if Arc::ptr_eq(&self.rows, &rows) {
            return;
        }
        let before = std::mem::replace(self, Self { rows, hashes: BTreeMap::new(), made: BTreeMap::new() });
        for (document, served) in before.made {
            let Document::V3(path) = &document else { continue };
            if before.hashes.get(path).is_some_and(|hash| *hash == self.hash(path)) {
                self.made.insert(document, served);
            }
        }
    }

    fn hash(&mut self, path: &str) -> String {
        if let Some(known) = self.hashes.get(path) {
            return known.clone();
        }
        let hash = hash(&self.rows, path);
        // Paths that nothing is served below are asked for too.
        if self.rows.iter().any(|row| path_of(row) == path) {
            self.hashes.insert(path.to_owned(), hash.clone());
        }
        hash
    }
}

/// The hash of a v3 document. It names what the document is made of (the rows and the version), so that the index can be told
/// without building them all.
fn hash(rows: &[Arc<Resource>], path: &str) -> String {
    let mut told = format!("{GIT_VERSION} {path} {}", DESCRIPTIONS.len());
    for row in rows.iter().filter(|row| path_of(row) == path) {
        told.push_str(&format!("|{} {} {:?} {:?}", row.plural, row.type_name, row.verbs, row.subresources));
        if let Some(made) = &row.schema {
            let definition = made.definition.as_ref().map(ToString::to_string).unwrap_or_default();
            told.push_str(&format!(" {} {} {definition}", row.namespaced, row.list_kind));
        }
    }
    hex(ring::digest::digest(&ring::digest::SHA256, told.as_bytes()).as_ref()).to_ascii_uppercase()
}

impl Documents {
    /// The documents of these rows.
    pub fn new(source: Arc<dyn Rows>) -> Self {
        let state = State { rows: Arc::new([]), hashes: BTreeMap::new(), made: BTreeMap::new() };
        Self { source, state: Mutex::new(state) }
    }

    /// One document; `None` when there is no such one. Building takes tens of milliseconds: call it where blocking is fine.
    pub fn get(&self, document: &Document) -> Option<Served> {
        let rows = {
            let state = self.state();
            if let Some(known) = state.made.get(document) {
                return Some(known.clone());
            }
            state.rows.clone()
        };
        let bytes = self.build(&rows, document)?;
        let served = Served { gzip: compress(&bytes), etag: etag(&bytes) };
        let mut state = self.state();
        if Arc::ptr_eq(&state.rows, &rows) {
            state.made.insert(document.clone(), served.clone());
        }
        Some(served)
    }

    /// What was made of the rows of this moment.
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.follow(self.source.rows());
        state
    }

    fn build(&self, rows: &[Arc<Resource>], document: &Document) -> Option<Vec<u8>> {
        match document {
            Document::V2 => Some(v2(rows).to_bytes()),
            Document::V2Protobuf => Some(v2_to_protobuf(&v2(rows))),
            Document::V3(path) => {
                let rows: Vec<_> = rows.iter().filter(|row| path_of(row) == *path).collect();
                let described: Vec<_> = rows.iter().filter_map(|row| describe(row)).collect();
                let table = table();
                let descriptions = Descriptions::parse(&table);
                (!rows.is_empty()).then(|| openapi::v3(&described, GIT_VERSION, &descriptions).to_bytes())
            }
            Document::V3Index => {
                let mut paths: Vec<String> = rows.iter().map(|row| path_of(row)).collect();
                paths.sort();
                paths.dedup();
                let hashes: Vec<String> = paths.iter().map(|path| self.hash(path)).collect();
                let index = openapi::v3_index(paths.iter().map(String::as_str).zip(hashes.iter().map(String::as_str)));
                Some(index.to_bytes())
            }
        }
    }

    /// Whether there is a v3 document of this name.
    pub fn has(&self, path: &str) -> bool {
        self.state().rows.iter().any(|row| path_of(row) == path)
    }

    /// The hash of a v3 document.
    pub fn hash(&self, path: &str) -> String {
        self.state().hash(path)
    }
}

fn v2(rows: &[Arc<Resource>]) -> Value {
    let described: Vec<_> = rows.iter().filter_map(|row| describe(row)).collect();
    let table = table();
    openapi::v2(&described, GIT_VERSION, &Descriptions::parse(&table))
}

/// The table of descriptions: unpacked for each document and then forgotten, since documents are rarely made.
fn table() -> String {
    String::from_utf8(decompress(DESCRIPTIONS)).expect("the table is text")
}

/// `api/v1`, `apis/apps/v1`
fn path_of(row: &Resource) -> String {
    if row.group.is_empty() { format!("api/{}", row.version) } else { format!("apis/{}/{}", row.group, row.version) }
}

fn type_of_row(row: &Resource) -> Option<TypeRef> {
    match &row.schema {
        Some(made) => Some(TypeRef::Owned(made.clone())),
        None => type_of(&row.type_name),
    }
}

fn type_of(name: &str) -> Option<TypeRef> {
    match Schema::builtin(name)? {
        Schema::Struct(ty, _) => Some(ty),
        _ => None,
    }
}

fn describe(row: &Resource) -> Option<openapi::Resource> {
    let subresources = subresources::of(row).into_iter().map(|sub| {
        let ty = if sub.kind == row.gvk() {
            type_of_row(row)
        } else {
            machinery::schema::lookup_gvk(&sub.kind).and_then(|ty| type_of(&ty.name))
        };
        let ty = ty.filter(|_| !sub.is_stream);
        let verbs = if sub.is_stream {
            vec!["connect".to_owned()]
        } else {
            sub.verbs.iter().map(|v| (*v).to_owned()).collect()
        };
        openapi::Subresource { name: sub.name.to_owned(), verbs, kind: sub.kind, ty }
    });
    Some(openapi::Resource {
        kind: row.gvk(),
        plural: row.plural.clone(),
        namespaced: row.namespaced,
        verbs: row.verbs.iter().map(|v| v.as_str().to_owned()).collect(),
        ty: type_of_row(row)?,
        subresources: subresources.collect(),
    })
}

fn compress(bytes: &[u8]) -> Bytes {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    Bytes::from(written.expect("writing into memory does not fail"))
}

/// The bytes of a document whose client does not accept gzip.
pub fn decompress(gzip: &[u8]) -> Vec<u8> {
    use std::io::Read;
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(gzip).read_to_end(&mut bytes).expect("it was compressed here");
    bytes
}

/// The ETag of some bytes, in quotes, as upstream's (SHA-512, upper case).
pub fn etag(bytes: &[u8]) -> String {
    format!("\"{}\"", hex(ring::digest::digest(&ring::digest::SHA512, bytes).as_ref()).to_ascii_uppercase())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Table;

    impl Rows for Table {
        fn rows(&self) -> Arc<[Arc<Resource>]> {
            static ROWS: std::sync::LazyLock<Arc<[Arc<Resource>]>> =
                std::sync::LazyLock::new(|| resources::table().into());
            ROWS.clone()
        }
    }

    #[test]
    fn documents_are_made_once_and_named_by_the_index() {
        let documents = Documents::new(Arc::new(Table));
        let index = documents.get(&Document::V3Index).expect("there is an index");
        let index = Value::parse(&decompress(&index.gzip)).unwrap();
        let url = index.str_at(&["paths", "apis/apps/v1", "serverRelativeURL"]).unwrap();
        assert_eq!(url, format!("/openapi/v3/apis/apps/v1?hash={}", documents.hash("apis/apps/v1")));
        let apps = documents.get(&Document::V3("apis/apps/v1".to_owned())).expect("apps are served");
        let tree = Value::parse(&decompress(&apps.gzip)).unwrap();
        assert!(tree.at(&["components", "schemas", "io.k8s.api.apps.v1.Deployment"]).is_some());
        assert_eq!(documents.get(&Document::V3("apis/apps/v1".to_owned())).unwrap().etag, apps.etag);
        let schemas = tree.at(&["components", "schemas"]).unwrap();
        let container = schemas.get("io.k8s.api.core.v1.Container").unwrap();
        let image = container.str_at(&["properties", "image", "description"]).unwrap();
        assert!(image.starts_with("Container image name."), "{image}");
        assert!(container.str_at(&["description"]).is_some());
        assert!(documents.get(&Document::V3("apis/none/v1".to_owned())).is_none());
        assert!(decompress(&documents.get(&Document::V2Protobuf).unwrap().gzip).len() > 10_000);
    }
}
