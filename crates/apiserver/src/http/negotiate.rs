//! Which form the client wants: `Accept` and `Content-Type`, as upstream's serializers negotiate.

use client::PatchKind;
use machinery::{ApiError, proto};

/// How bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// `application/json`
    #[default]
    Json,
    /// `application/yaml`
    Yaml,
    /// `application/vnd.kubernetes.protobuf`
    Protobuf,
}

impl Format {
    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => proto::MEDIA_TYPE,
        }
    }
}

/// What objects are turned into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shape {
    /// As they are.
    #[default]
    Object,
    /// `metav1.Table`; the version is `v1` or `v1beta1`.
    Table(&'static str),
    /// `metav1.PartialObjectMetadata`
    Metadata(&'static str),
    /// `metav1.PartialObjectMetadataList`
    MetadataList(&'static str),
}

/// What the client accepts best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Accepted {
    /// How bytes are written.
    pub format: Format,
    /// What objects are turned into.
    pub shape: Shape,
    /// Whether the client asked for indented JSON.
    pub pretty: bool,
}

/// One clause of an `Accept` header.
#[derive(Debug, Clone, PartialEq)]
pub struct Clause<'a> {
    /// `application`, `*`
    pub kind: &'a str,
    /// `json`, `*`
    pub subtype: &'a str,
    /// Parameters besides `q`.
    pub params: Vec<(&'a str, &'a str)>,
    quality: f32,
}

impl Clause<'_> {
    /// A parameter's value; empty when it is not there.
    pub fn param(&self, key: &str) -> &str {
        self.params.iter().find(|(k, _)| *k == key).map_or("", |(_, v)| v)
    }
}

/// The media types of bodies and answers, as errors list them.
pub const MEDIA_TYPES: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
/// Those of custom resources.
const CUSTOM_MEDIA_TYPES: &str = "application/json, application/yaml";
/// The media types of patches, as errors list them.
const PATCH_TYPES: &str = "application/json-patch+json, application/merge-patch+json, \
     application/strategic-merge-patch+json, application/apply-patch+yaml";
/// Those of patches of custom resources, which no strategy is known of.
const CUSTOM_PATCH_TYPES: &str =
    "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";

/// The clauses of an `Accept` header, the most wanted first (by quality, then as they stand, the specific before `*`).
pub fn clauses(accept: &str) -> Vec<Clause<'_>> {
    let mut clauses: Vec<Clause<'_>> = accept.split(',').filter_map(clause).collect();
    let rank = |c: &Clause<'_>| u8::from(c.kind == "*") + u8::from(c.subtype == "*");
    clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality).then(rank(a).cmp(&rank(b))));
    clauses
}

fn clause(text: &str) -> Option<Clause<'_>> {
    let mut parts = text.split(';').map(str::trim);
    let media = parts.next().filter(|m| !m.is_empty())?;
    let (kind, subtype) = media.split_once('/').or((media == "*").then_some(("*", "*")))?;
    let mut clause = Clause { kind, subtype, params: Vec::new(), quality: 1.0 };
    for (key, value) in parts.filter_map(|p| p.split_once('=')) {
        let (key, value) = (key.trim(), value.trim().trim_matches('"'));
        if key == "q" {
            clause.quality = value.parse().ok().filter(|q: &f32| q.is_finite()).unwrap_or(1.0);
        } else {
            clause.params.push((key, value));
        }
    }
    Some(clause)
}

/// What objects can be turned into somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transforms {
    /// Nothing else: these are no objects.
    None,
    /// Metadata: objects that are answered and not kept have no tables.
    Metadata,
    /// Tables and metadata.
    All,
    /// The same of custom resources, whose objects have no protobuf form.
    Custom,
}

/// What to answer with. Tables have no protobuf form.
pub fn accepted(accept: Option<&str>, transforms: Transforms) -> Result<Accepted, ApiError> {
    let Some(accept) = accept.filter(|a| !a.trim().is_empty()) else { return Ok(Accepted::default()) };
    let found = clauses(accept).iter().find_map(|clause| {
        let format = format(clause.kind, clause.subtype)?;
        let shape = shape(clause, transforms)?;
        let is_object = matches!(shape, Shape::Object) && transforms == Transforms::Custom;
        if format == Format::Protobuf && (is_object || matches!(shape, Shape::Table(_))) {
            return None;
        }
        Some(Accepted { format, shape, pretty: clause.param("pretty") == "1" })
    });
    let known = if transforms == Transforms::Custom { CUSTOM_MEDIA_TYPES } else { MEDIA_TYPES };
    found.ok_or_else(|| ApiError::NotAcceptable(known.to_owned()))
}

fn format(kind: &str, subtype: &str) -> Option<Format> {
    match (kind, subtype) {
        ("application", "json" | "*") | ("*", "*") => Some(Format::Json),
        ("application", "yaml") => Some(Format::Yaml),
        ("application", "vnd.kubernetes.protobuf") => Some(Format::Protobuf),
        _ => None,
    }
}

fn shape(clause: &Clause<'_>, transforms: Transforms) -> Option<Shape> {
    let (kind, group, version) = (clause.param("as"), clause.param("g"), clause.param("v"));
    if kind.is_empty() {
        return Some(Shape::Object);
    }
    if transforms == Transforms::None || group != "meta.k8s.io" {
        return None;
    }
    let version = match version {
        "v1" => "v1",
        "v1beta1" => "v1beta1",
        _ => return None,
    };
    match kind {
        "Table" if matches!(transforms, Transforms::All | Transforms::Custom) => Some(Shape::Table(version)),
        "PartialObjectMetadata" => Some(Shape::Metadata(version)),
        "PartialObjectMetadataList" => Some(Shape::MetadataList(version)),
        _ => None,
    }
}

/// The media type of a header without its parameters, in lower case.
pub fn media_type(header: &str) -> String {
    header.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// How a body is written. No header means JSON.
pub fn body_format(content_type: Option<&str>) -> Result<Format, ApiError> {
    match media_type(content_type.unwrap_or_default()).as_str() {
        "" | "*/*" | "application/json" => Ok(Format::Json),
        "application/yaml" => Ok(Format::Yaml),
        proto::MEDIA_TYPE => Ok(Format::Protobuf),
        _ => Err(unsupported(MEDIA_TYPES)),
    }
}

/// Which patch a body is.
pub fn patch_kind(content_type: Option<&str>) -> Result<PatchKind, ApiError> {
    match media_type(content_type.unwrap_or_default()).as_str() {
        "application/json-patch+json" => Ok(PatchKind::Json),
        "application/merge-patch+json" => Ok(PatchKind::Merge),
        "application/strategic-merge-patch+json" => Ok(PatchKind::StrategicMerge),
        "application/apply-patch+yaml" => Ok(PatchKind::Apply),
        _ => Err(unsupported(PATCH_TYPES)),
    }
}

/// What a custom resource cannot be written with.
pub fn check_custom(patch: Option<PatchKind>, format: Format) -> Result<(), ApiError> {
    match (patch, format) {
        (Some(PatchKind::StrategicMerge), _) => Err(unsupported(CUSTOM_PATCH_TYPES)),
        (None, Format::Protobuf) => Err(unsupported(CUSTOM_MEDIA_TYPES)),
        _ => Ok(()),
    }
}

fn unsupported(known: &str) -> ApiError {
    let message = format!("the body of the request was in an unknown format - accepted media types include: {known}");
    ApiError::UnsupportedMediaType(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,\
        application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";

    #[test]
    fn the_first_form_that_can_be_made_is_taken() {
        let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,\
            application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
        let proto_table = "application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1,application/json";
        let cases = [
            ("", Format::Json, Shape::Object),
            ("*/*", Format::Json, Shape::Object),
            ("application/yaml", Format::Yaml, Shape::Object),
            ("application/json;q=0.5, application/yaml", Format::Yaml, Shape::Object),
            ("text/html, */*;q=0.1", Format::Json, Shape::Object),
            ("application/vnd.kubernetes.protobuf,application/json", Format::Protobuf, Shape::Object),
            (TABLE, Format::Json, Shape::Table("v1")),
            (metadata, Format::Protobuf, Shape::Metadata("v1")),
            (proto_table, Format::Json, Shape::Object),
            ("application/json;as=Table;v=v2;g=meta.k8s.io,application/json", Format::Json, Shape::Object),
        ];
        for (accept, format, shape) in cases {
            let got = accepted(Some(accept), Transforms::All).unwrap();
            assert_eq!((got.format, got.shape), (format, shape), "{accept}");
        }
        assert_eq!(accepted(Some(TABLE), Transforms::None).unwrap().shape, Shape::Object);
        assert_eq!(accepted(Some(TABLE), Transforms::Metadata).unwrap().shape, Shape::Object);
        let metadata = accepted(Some(metadata), Transforms::Metadata).unwrap();
        assert_eq!(metadata.shape, Shape::Metadata("v1"));
        let custom = |accept| accepted(Some(accept), Transforms::Custom);
        assert_eq!(custom("application/vnd.kubernetes.protobuf").unwrap_err().code(), 406);
        assert_eq!(custom("application/vnd.kubernetes.protobuf,application/json").unwrap().format, Format::Json);
        assert_eq!(custom(TABLE).unwrap().shape, Shape::Table("v1"));
        let metadata =
            custom("application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1").unwrap();
        assert_eq!((metadata.format, metadata.shape), (Format::Protobuf, Shape::Metadata("v1")));
        for accept in [
            "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io",
            "text/plain",
            "application/json;as=Table;v=v1;g=x",
        ] {
            assert_eq!(accepted(Some(accept), Transforms::All).unwrap_err().code(), 406, "{accept}");
        }
    }

    #[test]
    fn unknown_bodies_are_refused() {
        assert_eq!(body_format(Some("application/json; charset=utf-8")), Ok(Format::Json));
        assert_eq!(body_format(Some("application/vnd.kubernetes.protobuf")), Ok(Format::Protobuf));
        assert_eq!(body_format(Some("application/cbor")).unwrap_err().code(), 415);
        assert_eq!(patch_kind(Some("application/json")).unwrap_err().code(), 415);
        assert_eq!(patch_kind(Some("application/apply-patch+yaml")), Ok(PatchKind::Apply));
    }
}
