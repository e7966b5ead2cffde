//! OpenAPI v2 and v3: built when asked for, kept compressed.
//!
//! Descriptions lie beside this file, compressed; `cargo xtask descriptions` makes them of k8s-openapi's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use machinery::Value;
use machinery::openapi::{self, Descriptions, v2_to_protobuf};
use machinery::schema::{Schema, TypeRef};
use resources::Resource;

use crate::discovery::subresources;
use crate::discovery::version::GIT_VERSION;

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

/// The documents of some rows. Only what was asked for is built, and only its compressed form is kept (a tenth of the size).
pub struct Documents {
    rows: Vec<Arc<Resource>>,
    made: Mutex<BTreeMap<Document, Served>>,
}

impl Documents {
    /// The documents of these rows.
    pub fn new(rows: Vec<Arc<Resource>>) -> Self {
        Self { rows, made: Mutex::new(BTreeMap::new()) }
    }

    /// One document; `None` when there is no such one. Building takes tens of milliseconds: call it where blocking is fine.
    pub fn get(&self, document: &Document) -> Option<Served> {
        let known = self.made.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get(document).cloned();
        if known.is_some() {
            return known;
        }
        let bytes = self.build(document)?;
        let served = Served { gzip: compress(&bytes), etag: etag(&bytes) };
        let mut made = self.made.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        made.insert(document.clone(), served.clone());
        Some(served)
    }

    fn build(&self, document: &Document) -> Option<Vec<u8>> {
        match document {
            Document::V2 => Some(self.v2().to_bytes()),
            Document::V2Protobuf => Some(v2_to_protobuf(&self.v2())),
            Document::V3(path) => {
                let rows: Vec<_> = self.rows.iter().filter(|row| path_of(row) == *path).collect();
                let described: Vec<_> = rows.iter().filter_map(|row| describe(row)).collect();
                let table = table();
                let descriptions = Descriptions::parse(&table);
                (!rows.is_empty()).then(|| openapi::v3(&described, GIT_VERSION, &descriptions).to_bytes())
            }
            Document::V3Index => {
                let mut paths: Vec<String> = self.rows.iter().map(|row| path_of(row)).collect();
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
        self.rows.iter().any(|row| path_of(row) == path)
    }

    /// The hash of a v3 document. It names what the document is made of (the rows and the version), so that the index can be
    /// told without building them all.
    pub fn hash(&self, path: &str) -> String {
        let mut told = format!("{GIT_VERSION} {path} {}", DESCRIPTIONS.len());
        for row in self.rows.iter().filter(|row| path_of(row) == path) {
            told.push_str(&format!("|{} {} {:?} {:?}", row.plural, row.type_name, row.verbs, row.subresources));
        }
        hex(ring::digest::digest(&ring::digest::SHA256, told.as_bytes()).as_ref()).to_ascii_uppercase()
    }

    fn v2(&self) -> Value {
        let described: Vec<_> = self.rows.iter().filter_map(|row| describe(row)).collect();
        let table = table();
        openapi::v2(&described, GIT_VERSION, &Descriptions::parse(&table))
    }
}

/// The table of descriptions: unpacked for each document and then forgotten, since documents are rarely made.
fn table() -> String {
    String::from_utf8(decompress(DESCRIPTIONS)).expect("the table is text")
}

/// `api/v1`, `apis/apps/v1`
fn path_of(row: &Resource) -> String {
    if row.group.is_empty() { format!("api/{}", row.version) } else { format!("apis/{}/{}", row.group, row.version) }
}

fn type_of(name: &str) -> Option<TypeRef> {
    match Schema::builtin(name)? {
        Schema::Struct(ty, _) => Some(ty),
        _ => None,
    }
}

fn describe(row: &Resource) -> Option<openapi::Resource> {
    let subresources = subresources::of(row).into_iter().map(|sub| {
        let ty = machinery::schema::lookup_gvk(&sub.kind).and_then(|ty| type_of(&ty.name)).filter(|_| !sub.is_stream);
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
        ty: type_of(&row.type_name)?,
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

    #[test]
    fn documents_are_made_once_and_named_by_the_index() {
        let documents = Documents::new(resources::table());
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
