//! From a body to a tree of the right type.

use client::DeleteOptions;
use machinery::json::ParseOptions;
use machinery::schema::{self, FieldValidation};
use machinery::{ApiError, Value};

use super::Body;
use crate::kind::Kind;

/// A document with the paths that it has twice.
pub(crate) struct Document {
    pub tree: Value,
    pub duplicates: Vec<String>,
}

/// Reads a body as JSON or YAML; `None` when there is none. `kind` is named in errors.
pub(crate) fn document(body: Body, kind: &str) -> Result<Option<Document>, ApiError> {
    match body {
        Body::None => Ok(None),
        Body::Tree(tree) => Ok(Some(Document { tree, duplicates: Vec::new() })),
        Body::Bytes { bytes, .. } if bytes.is_empty() => Ok(None),
        Body::Bytes { content_type, bytes } if content_type.contains("yaml") => {
            let tree = machinery::yaml::parse(&bytes).map_err(|e| ApiError::BadRequest(e.to_string()))?;
            Ok(Some(Document { tree, duplicates: Vec::new() }))
        }
        Body::Bytes { bytes, .. } => {
            let parsed = Value::parse_with(&bytes, ParseOptions { duplicates: true, ..ParseOptions::default() })
                .map_err(|e| schema::unrecognized_body(kind, &e.to_string(), &bytes))?;
            Ok(Some(Document { tree: parsed.tree, duplicates: parsed.duplicates }))
        }
    }
}

/// What the client wants done with unknown fields.
pub(crate) fn validation(text: &str) -> Result<FieldValidation, ApiError> {
    FieldValidation::parse(text).ok_or_else(|| ApiError::BadRequest(format!("invalid fieldValidation {text:?}")))
}

/// Reads a body as an object of a kind. Gives it with warnings.
pub(crate) fn object(kind: &Kind, body: Body, mode: FieldValidation) -> Result<(Value, Vec<String>), ApiError> {
    let row = &kind.row;
    let Some(document) = document(body, &row.kind)? else {
        return Err(schema::unrecognized_body(&row.kind, "unexpected end of JSON input", b""));
    };
    let mut tree = document.tree;
    check_kind(&mut tree, &row.kind, &kind.api_version)?;
    let Some(ty) = kind.ty() else { return Ok((tree, Vec::new())) };
    let decoded = schema::decode_tree(tree, document.duplicates, ty, mode)?;
    Ok((decoded.tree, decoded.warnings))
}

/// Reads a body as an object of a type that is no row's (Scale, Binding …).
pub(crate) fn other(
    body: Body,
    api_version: &str,
    kind: &str,
    type_name: &str,
    mode: FieldValidation,
) -> Result<(Value, Vec<String>), ApiError> {
    let Some(document) = document(body, kind)? else {
        return Err(schema::unrecognized_body(kind, "unexpected end of JSON input", b""));
    };
    let mut tree = document.tree;
    check_kind(&mut tree, kind, api_version)?;
    let Some(ty) = schema::lookup(type_name) else { return Ok((tree, Vec::new())) };
    let decoded = schema::decode_tree(tree, document.duplicates, ty, mode)?;
    Ok((decoded.tree, decoded.warnings))
}

/// A body that does not tell its kind is of the one that the path names; another kind is refused.
fn check_kind(tree: &mut Value, kind: &str, api_version: &str) -> Result<(), ApiError> {
    if !matches!(tree, Value::Object(_)) {
        return Ok(());
    }
    let given = |key: &str| tree.str_at(&[key]).filter(|text| !text.is_empty());
    if let Some(found) = given("kind").filter(|found| *found != kind) {
        let version = given("apiVersion").unwrap_or(api_version);
        let short = version.rsplit('/').next().unwrap_or(version);
        let detail = format!("no kind {found:?} is registered for this path; it takes {api_version}, Kind={kind}");
        return Err(schema::undecodable(found, short, kind, &detail));
    }
    if let Some(version) = given("apiVersion").filter(|version| *version != api_version) {
        return Err(ApiError::BadRequest(format!(
            "the API version in the data ({version}) does not match the expected API version ({api_version})"
        )));
    }
    tree.set_at(&["kind"], kind);
    tree.set_at(&["apiVersion"], api_version);
    Ok(())
}

/// `DeleteOptions`: of the body when there is one, else those of the parameters. Gives them and whether it is a dry run.
pub(crate) fn delete_options(body: Body, parameters: DeleteOptions) -> Result<(DeleteOptions, bool), ApiError> {
    let Some(document) = document(body, "DeleteOptions")? else { return Ok((parameters, false)) };
    let mut tree = document.tree;
    if let Some(ty) = schema::lookup("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions") {
        schema::check(&mut tree, ty).map_err(|e| schema::undecodable("DeleteOptions", "v1", "DeleteOptions", &e.0))?;
    }
    let text = |path: &[&str]| tree.str_at(path).filter(|t| !t.is_empty()).map(str::to_owned);
    let orphan = tree.at(&["orphanDependents"]).and_then(Value::as_bool);
    let policy = text(&["propagationPolicy"]);
    if orphan.is_some() && policy.is_some() {
        let detail = "orphanDependents and deletionPropagation cannot be both set";
        let error = machinery::field::FieldError::invalid(
            &machinery::field::Path::new("propagationPolicy"),
            policy.as_deref().unwrap_or_default(),
            detail,
        );
        return Err(ApiError::invalid("meta.k8s.io", "DeleteOptions", "", vec![error]));
    }
    let from_orphan = orphan.map(|orphan| if orphan { "Orphan".to_owned() } else { "Background".to_owned() });
    let dry_run = tree.at(&["dryRun"]).and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    let options = DeleteOptions {
        grace_period_seconds: tree.i64_at(&["gracePeriodSeconds"]),
        uid: text(&["preconditions", "uid"]),
        resource_version: text(&["preconditions", "resourceVersion"]),
        propagation_policy: policy.or(from_orphan),
    };
    Ok((options, dry_run))
}
