//! `scale`: the replicas of anything that has them, as `autoscaling/v1` Scale.

use client::{PatchKind, Reply};
use machinery::apply::FieldManagement;
use machinery::field::{FieldError, Path};
use machinery::object::ObjectExt;
use machinery::patch::{json_patch, merge_patch};
use machinery::schema::{Schema, Text};
use machinery::{ApiError, Value};
use resources::{Resource, Target};

use super::{Meant, not_allowed};
use crate::request::{Body, Served, decode};
use crate::verbs::update::{self, Source};
use crate::verbs::{Call, create};

const API_VERSION: &str = "autoscaling/v1";
const TYPE: &str = "io.k8s.api.autoscaling.v1.Scale";

pub(super) async fn serve(call: &mut Call<'_>, patch: Option<PatchKind>, body: Body) -> Result<Served, ApiError> {
    if patch == Some(PatchKind::Apply) {
        return apply(call, body).await;
    }
    call.pipeline.feed.current().await?;
    let found = call.kind.find(call.namespace(), call.name());
    let current = found.ok_or_else(|| ApiError::not_found(&call.kind.resource, call.name()))?;
    let is_known = current.tree().i64_at(&at(&call.kind.row.scale.spec_replicas)).is_some();
    let is_custom = call.kind.custom.is_some();
    let current = scale_of(&call.kind.row, current.tree());
    let mut wanted = match call.attributes.verb.as_str() {
        "get" if is_custom && !is_known => return Err(ApiError::Internal(missing(&call.kind.row, "does not exist"))),
        "get" => return Ok(Served::ok(Reply::Value(current))),
        "update" => decode::other(body, API_VERSION, "Scale", TYPE, call.validation)?.0,
        "patch" => {
            let mut current = current;
            if is_custom && !is_known {
                current.remove_at(&["spec", "replicas"]);
            }
            let wanted = patched(call, &current, patch, body)?;
            if is_custom && !is_known && wanted.i64_at(&["spec", "replicas"]).is_none() {
                return Err(ApiError::BadRequest(missing(&call.kind.row, "cannot be empty")));
            }
            wanted
        }
        _ => return Err(not_allowed()),
    };
    call.requested(&wanted);
    create::fit_to_url(call, &mut wanted)?;
    let replicas = wanted.i64_at(&["spec", "replicas"]).unwrap_or(0);
    check(call, &wanted, replicas)?;
    let meant = Meant::new(call, &wanted);
    let paths = call.kind.row.scale.clone();
    let edit = move |object: &Value| {
        meant.check(object)?;
        let mut object = object.clone();
        object.set_at(&at(&paths.spec_replicas), replicas);
        Ok(object)
    };
    answer(call, Source::Update(&edit)).await
}

/// Server-side apply of a Scale: an apply of the replicas alone to the object, whose managed fields then say so.
///
/// DIVERGES: a conflict names the version in which the object's managed fields stand (`using apps/v1`); upstream's names that
/// of Scale.
async fn apply(call: &mut Call<'_>, body: Body) -> Result<Served, ApiError> {
    let mut patch = update::read_patch(Some(PatchKind::Apply), body)?;
    let kind = call.kind;
    let (Some(fields), Some(Schema::Struct(ty, _))) = (kind.fields("scale"), Schema::builtin(TYPE)) else {
        return Err(not_allowed());
    };
    FieldManagement::new(ty, API_VERSION, "scale").check_config(&patch.tree)?;
    update::check_applied_kind(&patch.tree, "Scale")?;
    call.requested(&patch.tree);
    create::fit_to_url(call, &mut patch.tree)?;
    let replicas = patch.tree.i64_at(&["spec", "replicas"]);
    check(call, &patch.tree, replicas.unwrap_or(0))?;
    let path = at(&kind.row.scale.spec_replicas);
    let mut config = Value::object();
    config.set_at(&["apiVersion"], kind.api_version.as_str());
    config.set_at(&["kind"], kind.row.kind.as_str());
    if let Some(replicas) = replicas {
        config.set_at(&path, replicas);
    }
    update::tell_duplicates(call, &patch)?;
    let meant = Meant::new(call, &patch.tree);
    let (manager, force) = (call.options.field_manager.clone(), call.options.force);
    let versions = kind.versions(&call.pipeline.kinds);
    let edit = |object: &Value| {
        meant.check(object)?;
        let now = seams::clock::now_seconds();
        let mut applied = fields.apply(Some(object), &config, &manager, force, now, Some(&versions))?;
        // A Scale always has replicas: none are zero.
        applied.default_at(&path, 0);
        Ok(applied)
    };
    answer(call, Source::Edit(&edit)).await
}

/// Changes the object and answers with its scale.
async fn answer(call: &mut Call<'_>, source: Source<'_>) -> Result<Served, ApiError> {
    let served = update::run(call, Target::Subresource("scale"), source).await?;
    let Reply::Object(entry) = &served.reply else { return Ok(served) };
    let scale = scale_of(&call.kind.row, entry.tree());
    Ok(Served { reply: Reply::Value(scale), ..served })
}

fn missing(row: &Resource, what: &str) -> String {
    format!("the spec replicas field \".{}\" {what}", row.scale.spec_replicas.join("."))
}

fn patched(call: &Call<'_>, current: &Value, kind: Option<PatchKind>, body: Body) -> Result<Value, ApiError> {
    let document = decode::document(body, "patch")?;
    let patch = document.ok_or_else(|| ApiError::BadRequest("the patch is empty".to_owned()))?.tree;
    let made = match kind {
        Some(PatchKind::Json) => json_patch(current.clone(), &patch)?,
        // A Scale has no lists: merging by strategy is merging.
        Some(PatchKind::Merge | PatchKind::StrategicMerge) => merge_patch(current.clone(), &patch)?,
        _ => return Err(ApiError::UnsupportedMediaType("the type of the patch is not known".to_owned())),
    };
    Ok(decode::other(Body::Tree(made), API_VERSION, "Scale", TYPE, call.validation)?.0)
}

fn check(call: &Call<'_>, wanted: &Value, replicas: i64) -> Result<(), ApiError> {
    if !wanted.name().is_empty() {
        update::check_name(call, wanted)?;
    }
    if replicas >= 0 {
        return Ok(());
    }
    let path = Path::new("spec").child("replicas");
    let error = FieldError::invalid(&path, replicas, "must be greater than or equal to 0");
    Err(ApiError::invalid("autoscaling", "Scale", call.name(), vec![error]))
}

fn at(path: &[Text]) -> Vec<&str> {
    path.iter().map(AsRef::as_ref).collect()
}

fn scale_of(row: &Resource, object: &Value) -> Value {
    let mut scale = Value::object();
    scale.set_at(&["kind"], "Scale");
    scale.set_at(&["apiVersion"], API_VERSION);
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object.at(&["metadata", field]) {
            scale.set_at(&["metadata", field], value.clone());
        }
    }
    for (field, path) in [("spec", &row.scale.spec_replicas), ("status", &row.scale.status_replicas)] {
        scale.set_at(&[field, "replicas"], object.i64_at(&at(path)).unwrap_or(0));
    }
    let selector = row.strategy.scale_selector(object);
    if !selector.is_empty() {
        scale.set_at(&["status", "selector"], selector);
    }
    scale
}
