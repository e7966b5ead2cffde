//! Protobuf bodies, which the typed clients of newer kubectls send: turned into JSON, so that the pipeline sees one form.

use bytes::Bytes;
use machinery::proto::Document;
use machinery::{ApiError, GroupVersion, GroupVersionKind, schema};

/// The media type of such bodies.
pub(super) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// The type that has a kind in every group.
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";

/// The JSON of a protobuf body.
pub(super) fn to_json(bytes: &[u8]) -> Result<Bytes, ApiError> {
    let bad = |e: &dyn std::fmt::Display| ApiError::BadRequest(format!("the object provided is unrecognized: {e}"));
    let document = Document::read(bytes).map_err(|e| bad(&e))?;
    let ty = if document.kind == "DeleteOptions" {
        schema::lookup(DELETE_OPTIONS)
    } else {
        GroupVersion::parse(&document.api_version)
            .and_then(|gv| schema::lookup_gvk(&GroupVersionKind::new(gv.group, gv.version, document.kind.as_str())))
    };
    let unknown = || {
        let (kind, version) = (&document.kind, &document.api_version);
        ApiError::BadRequest(format!("no kind {kind:?} is registered for version {version:?} in scheme"))
    };
    let tree = document.decode(ty.ok_or_else(unknown)?).map_err(|e| bad(&e))?;
    Ok(tree.to_bytes().into())
}
