//! Update and patch, of objects and of the subresources that write into them.

use std::sync::Arc;

use client::{PatchKind, Reply};
use machinery::apply::note_last_applied;
use machinery::field::{FieldError, Path};
use machinery::object::ObjectExt;
use machinery::patch::{decode_patched, json_patch, merge_patch, strategic_merge_patch};
use machinery::schema::{FieldValidation, check_configuration};
use machinery::{ApiError, Entry, Value};
use resources::Target;

use super::Call;
use super::change::{Change, Fields, change, modified};
use super::create;
use super::prepare::dedup_owners;
use crate::cache::feed::WriteError;
use crate::request::{Attributes, Body, Served, decode};

/// How often a change is tried on a newer object before the conflict is told (upstream's `MaxRetryWhenPatchConflicts`).
const ATTEMPTS_MAX: usize = 5;

/// Makes a changed object of the current one.
pub(crate) type Edit<'a> = &'a (dyn Fn(&Value) -> Result<Value, ApiError> + Sync);

/// What to do to an object.
pub(crate) enum Source<'a> {
    /// Put this in its place.
    Object(Value),
    /// Patch it.
    Patch(Patch),
    /// Let the server change it, and leave it to whom it belongs.
    Edit(Edit<'a>),
    /// Let the server change it as a client of its own.
    Update(Edit<'a>),
}

/// A patch as it came.
pub(crate) struct Patch {
    kind: PatchKind,
    pub tree: Value,
    duplicates: Vec<String>,
}

/// What an attempt at a change made of the current object.
struct Wanted {
    object: Value,
    /// The client said which revision it changes.
    pinned: bool,
    fields: Fields,
}

/// Replaces an object by a request's body.
pub(crate) async fn update(call: &mut Call<'_>, target: Target, body: Body) -> Result<Served, ApiError> {
    let (mut object, warnings) = decode::object(call.kind, body, call.validation)?;
    call.warnings.extend(warnings);
    call.requested(&object);
    create::fit_to_url(call, &mut object)?;
    check_name(call, &object)?;
    dedup_owners(&mut object, "", &mut call.warnings);
    run(call, target, Source::Object(object)).await
}

/// An object is the one that the URL names (upstream's `checkName`).
pub(crate) fn check_name(call: &Call<'_>, object: &Value) -> Result<(), ApiError> {
    let (given, wanted) = (object.name(), call.name());
    if given == wanted {
        return Ok(());
    }
    Err(ApiError::BadRequest(if given.is_empty() {
        format!("the name of the object ({wanted} based on URL) was undeterminable: name must be provided")
    } else {
        format!("the name of the object ({given}) does not match the name on the URL ({wanted})")
    }))
}

/// Patches an object by a request's body.
pub(crate) async fn patch(
    call: &mut Call<'_>,
    target: Target,
    kind: Option<PatchKind>,
    body: Body,
) -> Result<Served, ApiError> {
    let patch = read_patch(kind, body)?;
    if let Some(record) = call.audit {
        record.sent(&patch.tree);
    }
    run(call, target, Source::Patch(patch)).await
}

/// Reads a patch.
pub(crate) fn read_patch(kind: Option<PatchKind>, body: Body) -> Result<Patch, ApiError> {
    let kind = kind.ok_or_else(|| ApiError::UnsupportedMediaType("the type of the patch is not known".to_owned()))?;
    let mut yaml_duplicates = Vec::new();
    let body = match body {
        // An apply patch is YAML, of which JSON is a part.
        Body::Bytes { bytes, .. } if kind == PatchKind::Apply && bytes.first() != Some(&b'{') => {
            yaml_duplicates = machinery::yaml::duplicates(&bytes);
            Body::Bytes { content_type: "application/yaml".to_owned(), bytes }
        }
        Body::Bytes { bytes, .. } => Body::Bytes { content_type: String::new(), bytes },
        other => other,
    };
    let document = match body {
        Body::Bytes { content_type, bytes } if content_type.is_empty() => {
            let options = machinery::json::ParseOptions { duplicates: true, ..Default::default() };
            let parsed = Value::parse_with(&bytes, options)
                .map_err(|e| ApiError::BadRequest(format!("error decoding patch: {e}")))?;
            let is_yaml = kind == PatchKind::Apply && !parsed.duplicates.is_empty();
            Some((parsed.tree, if is_yaml { machinery::yaml::duplicates(&bytes) } else { parsed.duplicates }))
        }
        other => decode::document(other, "patch")?.map(|d| (d.tree, yaml_duplicates)),
    };
    let (tree, duplicates) = document.ok_or_else(|| ApiError::BadRequest("the patch is empty".to_owned()))?;
    Ok(Patch { kind, tree, duplicates })
}

/// Changes an object, anew as often as others are quicker (unless the client said which revision it means).
pub(crate) async fn run(call: &mut Call<'_>, target: Target, source: Source<'_>) -> Result<Served, ApiError> {
    let kind = call.kind;
    let before = call.warnings.len();
    for attempt in 1..=ATTEMPTS_MAX {
        let Some(current) = kind.find(call.namespace(), call.name()) else {
            return create_instead(call, target, source).await;
        };
        let current = kind.present(&current);
        call.warnings.truncate(before);
        let wanted = source.apply(call, target, &current)?;
        let made = Change { target, old: Some(&current), object: wanted.object, fields: wanted.fields };
        match change(call, made).await {
            Ok(entry) => return Ok(served(call, entry, 200)),
            Err(WriteError::Api(error)) => return Err(error),
            Err(WriteError::Raced) if wanted.pinned || attempt == ATTEMPTS_MAX => break,
            Err(WriteError::Raced) => {
                call.pipeline.feed.current().await?;
            }
        }
    }
    Err(modified(call, call.name()))
}

fn served(call: &mut Call<'_>, entry: Arc<Entry>, code: u16) -> Served {
    Served { reply: Reply::Object(entry), code, warnings: std::mem::take(&mut call.warnings) }
}

/// An update or apply of what is not there makes it, where that is allowed.
async fn create_instead(call: &mut Call<'_>, target: Target, source: Source<'_>) -> Result<Served, ApiError> {
    let missing = ApiError::not_found(&call.kind.resource, call.name());
    if target != Target::Object {
        return Err(missing);
    }
    let (object, fields) = match source {
        Source::Object(object) if call.kind.row.strategy.allow_create_on_update() => {
            if !object.uid().is_empty() {
                return Err(ApiError::other_uid(&call.kind.resource, call.name(), object.uid(), ""));
            }
            (object, Fields::Tracked)
        }
        Source::Patch(patch) if patch.kind == PatchKind::Apply => {
            let object = apply(call, target, &patch, None)?;
            if !object.uid().is_empty() {
                // Who names a UID means an object that was there.
                let uid = object.uid();
                let detail =
                    format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
                return Err(ApiError::conflict(&call.kind.resource, call.name(), detail));
            }
            (object, Fields::Kept)
        }
        _ => return Err(missing),
    };
    let attributes = Attributes { verb: "create".to_owned(), ..call.attributes.clone() };
    call.pipeline.authorize(call.user, &attributes, None)?;
    match change(call, Change { target, old: None, object, fields }).await {
        Ok(entry) => Ok(served(call, entry, 201)),
        Err(WriteError::Api(error)) => Err(error),
        Err(WriteError::Raced) => Err(ApiError::already_exists(&call.kind.resource, call.name())),
    }
}

impl Source<'_> {
    fn apply(&self, call: &mut Call<'_>, target: Target, current: &Arc<Entry>) -> Result<Wanted, ApiError> {
        let tree = current.tree();
        match self {
            Self::Object(object) => {
                let pinned = check_revision(call, object, current)?;
                check_uid(call, object, tree)?;
                Ok(Wanted { object: object.clone(), pinned, fields: Fields::Tracked })
            }
            Self::Edit(edit) => Ok(Wanted { object: edit(tree)?, pinned: false, fields: Fields::Kept }),
            Self::Update(edit) => Ok(Wanted { object: edit(tree)?, pinned: false, fields: Fields::Tracked }),
            Self::Patch(patch) if patch.kind == PatchKind::Apply => {
                let pinned = !patch.tree.resource_version().is_empty();
                let object = apply(call, target, patch, Some(tree))?;
                if pinned {
                    check_revision(call, &patch.tree, current)?;
                }
                check_uid(call, &patch.tree, tree)?;
                Ok(Wanted { object, pinned, fields: Fields::Kept })
            }
            Self::Patch(patch) => {
                let object = patched(call, patch, tree)?;
                let pinned = object.resource_version() != tree.resource_version();
                check_revision(call, &object, current)?;
                check_uid(call, &object, tree)?;
                Ok(Wanted { object, pinned, fields: Fields::Tracked })
            }
        }
    }
}

/// The object that a patch makes.
fn patched(call: &mut Call<'_>, patch: &Patch, tree: &Value) -> Result<Value, ApiError> {
    let kind = call.kind;
    let made = match (patch.kind, kind.ty()) {
        (PatchKind::Json, _) if names_fields(&patch.tree) => json_patch(tree.unfolded(), &patch.tree)?,
        (PatchKind::Json, _) => json_patch(tree.clone(), &patch.tree)?,
        (PatchKind::StrategicMerge, Some(ty)) if kind.custom.is_none() => {
            strategic_merge_patch(tree.clone(), patch.tree.clone(), ty)?
        }
        (PatchKind::StrategicMerge, _) => {
            let message = "the body of the request was in an unknown format - accepted media types include: \
                application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
            return Err(ApiError::UnsupportedMediaType(message.to_owned()));
        }
        (PatchKind::Merge | PatchKind::Apply, _) => merge_patch(tree.clone(), &patch.tree)?,
    };
    let mut made = match kind.ty() {
        Some(ty) => {
            let (made, warnings) = decode_patched(made, &patch.tree, patch.duplicates.clone(), ty, call.validation)?;
            call.warnings.extend(warnings);
            made
        }
        None => made,
    };
    if let Err(detail) = decode::fit_kind(&mut made, &kind.row.kind, &kind.api_version) {
        let error = FieldError::invalid(&Path::new("patch"), &patch.tree, &detail);
        return Err(ApiError::invalid("", "", "", vec![error]));
    }
    create::fit_to_url(call, &mut made)?;
    check_name(call, &made)?;
    Ok(made)
}

/// Whether a JSON patch looks into managed fields.
fn names_fields(patch: &Value) -> bool {
    let names = |operation: &Value| {
        let path = |name| operation.str_at(&[name]).unwrap_or_default().contains("/fieldsV1");
        path("path") || path("from")
    };
    patch.as_array().is_some_and(|operations| operations.iter().any(names))
}

/// The object that server-side apply makes.
fn apply(call: &mut Call<'_>, target: Target, patch: &Patch, live: Option<&Value>) -> Result<Value, ApiError> {
    let subresource = match target {
        Target::Object => "",
        Target::Subresource(name) => name,
    };
    let kind = call.kind;
    let (Some(fields), Some(ty)) = (kind.fields(subresource), kind.ty()) else {
        return Err(ApiError::UnsupportedMediaType("apply is not supported on this resource".to_owned()));
    };
    // What the schema does not know is an error of its own here, whatever the client wants done with it elsewhere.
    fields.check_config(&patch.tree)?;
    check_applied_kind(&patch.tree, &kind.row.kind)?;
    let mut config = patch.tree.clone();
    check_configuration(&mut config, ty).map_err(|error| ApiError::BadRequest(error.to_string()))?;
    if config.name().is_empty() && live.is_some() {
        config.set_at(&["metadata", "name"], call.name());
    }
    create::fit_to_url(call, &mut config)?;
    check_name(call, &config)?;
    config.remove_at(&["metadata", "resourceVersion"]);
    let manager = call.options.field_manager.as_str();
    let (versions, now) = (kind.versions(&call.pipeline.kinds), seams::clock::now_seconds());
    let mut applied = fields.apply(live, &config, manager, call.options.force, now, Some(&versions))?;
    note_last_applied(&mut applied, &patch.tree, manager);
    tell_duplicates(call, patch)?;
    Ok(applied)
}

/// What is applied says its kind, and it is this one.
pub(crate) fn check_applied_kind(config: &Value, wanted: &str) -> Result<(), ApiError> {
    match config.kind() {
        kind if kind == wanted => Ok(()),
        "" => Err(ApiError::BadRequest(format!("Object 'Kind' is missing in '{config}'"))),
        // DIVERGES: upstream fails while it compares the two types, with a 500.
        kind => Err(ApiError::BadRequest(format!(
            "Incorrect kind specified in apply patch. Specified patch kind: {kind}, expected: {wanted}"
        ))),
    }
}

/// Refuses what an apply says twice, or warns of it, as the client wants.
pub(crate) fn tell_duplicates(call: &mut Call<'_>, patch: &Patch) -> Result<(), ApiError> {
    match call.validation {
        _ if patch.duplicates.is_empty() => {}
        FieldValidation::Strict => {
            let detail = patch.duplicates.join("\n  ");
            return Err(ApiError::BadRequest(format!("error strict decoding YAML: {UNMARSHAL_ERRORS}\n  {detail}")));
        }
        FieldValidation::Warn => call.warnings.extend(patch.duplicates.iter().cloned()),
        FieldValidation::Ignore => {}
    }
    Ok(())
}

/// What upstream's YAML reader puts before what it found.
const UNMARSHAL_ERRORS: &str = "error converting YAML to JSON: yaml: unmarshal errors:";

/// Compares the revision that the client changes with the current one. Gives whether it said one.
fn check_revision(call: &Call<'_>, object: &Value, current: &Entry) -> Result<bool, ApiError> {
    let given = object.resource_version();
    if given.is_empty() || given == "0" {
        if call.kind.row.strategy.allow_unconditional_update() {
            return Ok(false);
        }
        let path = Path::new("metadata").child("resourceVersion");
        let error = FieldError::invalid(&path, Hex(0), "must be specified for an update");
        // Upstream names the resource here, not the kind.
        return Err(ApiError::invalid(&call.kind.row.group, &call.kind.row.plural, call.name(), vec![error]));
    }
    let revision: u64 = given.parse().map_err(|_| {
        let path = Path::new("metadata").child("resourceVersion");
        let detail = format!("strconv.ParseUint: parsing {given:?}: invalid syntax");
        ApiError::invalid(
            &call.kind.row.group,
            &call.kind.row.kind,
            call.name(),
            vec![FieldError::invalid(&path, given, &detail)],
        )
    })?;
    if revision == current.revision { Ok(true) } else { Err(modified(call, call.name())) }
}

/// A number as Go's `%#v` shows one without a sign.
struct Hex(u64);

impl machinery::field::Shown for Hex {
    fn shown(&self) -> String {
        format!("{:#x}", self.0)
    }
}

fn check_uid(call: &Call<'_>, object: &Value, current: &Value) -> Result<(), ApiError> {
    let given = object.uid();
    if given.is_empty() || given == current.uid() {
        return Ok(());
    }
    Err(ApiError::other_uid(&call.kind.resource, call.name(), given, current.uid()))
}
