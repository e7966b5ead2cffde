//! From a body to a tree of the right type.

use client::DeleteOptions;
use machinery::field::{FieldError, Path};
use machinery::json::ParseOptions;
use machinery::object::ObjectExt;
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
    fit_kind(tree, kind, api_version).map_err(|detail| {
        let found = tree.kind();
        if found.is_empty() || found == kind {
            return ApiError::BadRequest(detail);
        }
        let version = Some(tree.api_version()).filter(|version| !version.is_empty()).unwrap_or(api_version);
        schema::undecodable(found, version.rsplit('/').next().unwrap_or(version), kind, &detail)
    })
}

/// Gives a tree that does not tell its kind or version those of its path; others are an error, which this words.
pub(crate) fn fit_kind(tree: &mut Value, kind: &str, api_version: &str) -> Result<(), String> {
    if !matches!(tree, Value::Object(_)) {
        return Ok(());
    }
    for (field, wanted) in [("kind", kind), ("apiVersion", api_version)] {
        match tree.str_at(&[field]).unwrap_or_default() {
            found if found == wanted => {}
            "" => tree.set_at(&[field], wanted),
            found if field == "kind" => {
                return Err(format!(
                    "no kind {found:?} is registered for this path; it takes {api_version}, Kind={kind}"
                ));
            }
            found => {
                return Err(format!(
                    "the API version in the data ({found}) does not match the expected API version ({api_version})"
                ));
            }
        }
    }
    Ok(())
}

/// `DeleteOptions`: of the body when there is one, else those of the parameters. Gives them and whether it is a dry run.
pub(crate) fn delete_options(body: Body, parameters: DeleteOptions) -> Result<(DeleteOptions, bool), ApiError> {
    let Some(document) = document(body, "DeleteOptions")? else {
        check_delete_options(&parameters, &[])?;
        return Ok((parameters, false));
    };
    let mut tree = document.tree;
    // Every group and version knows them.
    let version = Some(tree.api_version().to_owned()).filter(|version| !version.is_empty());
    check_kind(&mut tree, "DeleteOptions", version.as_deref().unwrap_or("v1"))?;
    if let Some(ty) = schema::lookup("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions") {
        schema::check(&mut tree, ty).map_err(|e| schema::undecodable("DeleteOptions", "v1", "DeleteOptions", &e.0))?;
    }
    let text = |path: &[&str]| tree.str_at(path).filter(|t| !t.is_empty()).map(str::to_owned);
    let dry_run = tree.at(&["dryRun"]).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let dry_run: Vec<&str> = dry_run.iter().filter_map(Value::as_str).collect();
    let options = DeleteOptions {
        grace_period_seconds: tree.i64_at(&["gracePeriodSeconds"]),
        uid: text(&["preconditions", "uid"]),
        resource_version: text(&["preconditions", "resourceVersion"]),
        propagation_policy: text(&["propagationPolicy"]),
        orphan_dependents: tree.at(&["orphanDependents"]).and_then(Value::as_bool),
    };
    check_delete_options(&options, &dry_run)?;
    Ok((options, !dry_run.is_empty()))
}

/// What is wrong with them (upstream's `ValidateDeleteOptions`).
fn check_delete_options(options: &DeleteOptions, dry_run: &[&str]) -> Result<(), ApiError> {
    let at = Path::new("propagationPolicy");
    let mut errors = Vec::new();
    match options.propagation_policy.as_deref() {
        Some(policy) if options.orphan_dependents.is_some() => {
            let detail = "orphanDependents and deletionPropagation cannot be both set";
            errors.push(FieldError::invalid(&at, policy, detail));
        }
        None | Some("Background" | "Foreground" | "Orphan") => {}
        Some(other) => {
            errors.push(FieldError::not_supported(&at, other, &["Foreground", "Background", "Orphan", "nil"]));
        }
    }
    errors.extend(dry_run_error(dry_run));
    if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid("meta.k8s.io", "DeleteOptions", "", errors)) }
}

/// `dryRun` knows one word.
pub(crate) fn dry_run_error(given: &[&str]) -> Option<FieldError> {
    let known = given.iter().all(|word| *word == "All");
    (!known).then(|| FieldError::not_supported(&Path::new("dryRun"), &Value::from(given.to_vec()), &["All"]))
}
