//! Create.

use client::Reply;
use machinery::object::ObjectExt;
use machinery::{ApiError, Map, Value};
use resources::Target;

use super::Call;
use super::change::{Change, Fields, change};
use super::prepare::dedup_owners;
use crate::cache::feed::WriteError;
use crate::request::{Body, Served, decode};

/// How often a generated name that is taken is made anew (KEP-4420).
const NAME_ATTEMPTS_MAX: usize = 8;

/// Makes an object of a request's body.
pub(crate) async fn create(call: &mut Call<'_>, body: Body) -> Result<Served, ApiError> {
    let (object, warnings) = decode::object(call.kind, body, call.validation)?;
    call.warnings.extend(warnings);
    call.requested(&object);
    make(call, object).await
}

/// Makes a decoded object.
pub(crate) async fn make(call: &mut Call<'_>, mut object: Value) -> Result<Served, ApiError> {
    fit_to_url(call, &mut object)?;
    dedup_owners(&mut object, "", &mut call.warnings);
    let generates =
        object.name().is_empty() && object.str_at(&["metadata", "generateName"]).is_some_and(|n| !n.is_empty());
    let attempts = if generates { NAME_ATTEMPTS_MAX } else { 1 };
    for attempt in 1..=attempts {
        // Only names that are generated need the object again.
        let this = if attempt == attempts { std::mem::take(&mut object) } else { object.clone() };
        let name = this.name().to_owned();
        let prefix = this.str_at(&["metadata", "generateName"]).unwrap_or_default().to_owned();
        match change(call, Change { target: Target::Object, old: None, object: this, fields: Fields::Tracked }).await {
            Ok(entry) => {
                return Ok(Served {
                    reply: Reply::Object(entry),
                    code: 201,
                    warnings: std::mem::take(&mut call.warnings),
                });
            }
            Err(WriteError::Api(error)) => return Err(error),
            Err(WriteError::Raced) if attempt < attempts => {}
            Err(WriteError::Raced) if !prefix.is_empty() => return Err(not_generated(call, &name, &prefix)),
            Err(WriteError::Raced) => return Err(taken_by(call, &name)),
        }
    }
    Err(ApiError::Internal("a name could not be generated".to_owned()))
}

/// Who gives the start of a name too is told that none could be made of it (upstream's `NewGenerateNameConflict`).
fn not_generated(call: &Call<'_>, name: &str, prefix: &str) -> ApiError {
    let name = if name.is_empty() { prefix } else { name };
    let exists = ApiError::already_exists(&call.kind.resource, name);
    let mut details = exists.details();
    details.insert("retryAfterSeconds", 1);
    reworded(&exists, format!("{exists}, the server was not able to generate a unique name for the object"), details)
}

fn taken_by(call: &Call<'_>, name: &str) -> ApiError {
    let exists = ApiError::already_exists(&call.kind.resource, name);
    match call.kind.find(call.namespace(), name) {
        Some(entry) if entry.tree().is_deleting() => {
            reworded(&exists, format!("object is being deleted: {exists}"), exists.details())
        }
        _ => exists,
    }
}

fn reworded(error: &ApiError, message: String, details: Map) -> ApiError {
    ApiError::Other { code: error.code(), reason: error.reason().to_owned(), message, details: Some(details) }
}

/// The namespace of the URL holds: an object that says another one is refused, and one that lives in none forgets what it
/// says (upstream's `EnsureObjectNamespaceMatchesRequestNamespace`).
pub(crate) fn fit_to_url(call: &Call<'_>, object: &mut Value) -> Result<(), ApiError> {
    if !call.kind.row.namespaced {
        object.remove_at(&["metadata", "namespace"]);
        return Ok(());
    }
    let namespace = call.namespace();
    if namespace.is_empty() {
        return Err(ApiError::BadRequest("an empty namespace may not be set during creation".to_owned()));
    }
    let given = object.namespace();
    if given.is_empty() {
        object.set_at(&["metadata", "namespace"], namespace);
    } else if given != namespace {
        let message =
            "the namespace of the provided object does not match the namespace sent on the request".to_owned();
        return Err(ApiError::BadRequest(message));
    }
    Ok(())
}
