//! `serviceaccounts/token`: tokens that are bound to an account, and to a pod, node or secret (KEP-1205).

use std::time::Duration;

use client::Reply;
use machinery::field::{FieldError, Path};
use machinery::object::ObjectExt;
use machinery::{ApiError, GroupResource, Value, schema, time};

use crate::request::{Body, Named, Served, TokenWanted, decode};
use crate::verbs::{Call, create};

/// Shortest and longest lifetime of a token, in seconds.
const SECONDS_MIN: i64 = 600;
const TYPE: &str = "io.k8s.api.authentication.v1.TokenRequest";
const SECONDS_MAX: i64 = 1 << 32;
const SECONDS_DEFAULT: i64 = 3600;

pub(super) async fn create(call: &mut Call<'_>, body: Body) -> Result<Served, ApiError> {
    let (mut request, warnings) =
        decode::other(body, "authentication.k8s.io/v1", "TokenRequest", TYPE, call.validation)?;
    call.warnings.extend(warnings);
    call.requested(&request);
    create::fit_to_url(call, &mut request)?;
    if !request.name().is_empty() && request.name() != call.name() {
        let (path, detail) = (Path::new("metadata").child("name"), "must match the service account name if specified");
        return Err(invalid(call.name(), FieldError::invalid(&path, request.name(), detail)));
    }
    super::admit(call, "token", &mut request).await?;
    let issuer = call.pipeline.config.token_issuer.as_ref().ok_or(ApiError::UnknownPath)?;
    call.pipeline.feed.current().await?;
    let account = call.kind.find(call.namespace(), call.name());
    let account = account.ok_or_else(|| ApiError::not_found(&call.kind.resource, call.name()))?;
    let seconds = request.i64_at(&["spec", "expirationSeconds"]).unwrap_or(SECONDS_DEFAULT);
    check_seconds(seconds)?;
    let audiences = request.at(&["spec", "audiences"]).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut wanted = TokenWanted {
        namespace: call.namespace().to_owned(),
        service_account: Named { name: call.name().to_owned(), uid: account.tree().uid().to_owned() },
        audiences: audiences.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        expiration_seconds: seconds,
        ..TokenWanted::default()
    };
    if let Some(reference) = request.at(&["spec", "boundObjectRef"]).filter(|r| !r.is_null()) {
        bind(call, reference, &mut wanted)?;
    }
    let (token, audiences) = issuer.issue(&wanted)?;
    let expires = seams::clock::now() + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    request.set_at(&["metadata", "name"], call.name());
    request.set_at(&["metadata", "namespace"], call.namespace());
    request.set_at(&["metadata", "creationTimestamp"], time::format(seams::clock::now()));
    request.set_at(&["spec", "expirationSeconds"], seconds);
    request.set_at(&["spec", "audiences"], audiences);
    request.set_at(&["status", "token"], token);
    request.set_at(&["status", "expirationTimestamp"], time::format(expires));
    if let Some(ty) = schema::lookup(TYPE) {
        schema::complete(&mut request, ty);
    }
    Ok(Served { reply: Reply::Value(request), code: 201, warnings: std::mem::take(&mut call.warnings) })
}

fn check_seconds(seconds: i64) -> Result<(), ApiError> {
    let detail = match seconds {
        ..SECONDS_MIN => "may not specify a duration less than 10 minutes",
        SECONDS_MIN..=SECONDS_MAX => return Ok(()),
        _ => "may not specify a duration larger than 2^32 seconds",
    };
    let error = FieldError::invalid(&Path::new("spec").child("expirationSeconds"), seconds, detail);
    Err(invalid("", error))
}

fn invalid(name: &str, error: FieldError) -> ApiError {
    ApiError::invalid("authentication.k8s.io", "TokenRequest", name, vec![error])
}

/// Looks up the object that a token is bound to.
fn bind(call: &Call<'_>, reference: &Value, wanted: &mut TokenWanted) -> Result<(), ApiError> {
    let text = |key: &str| reference.str_at(&[key]).unwrap_or_default();
    let (kind, name, uid) = (text("kind"), text("name"), text("uid"));
    let is_core = !text("apiVersion").contains('/');
    let (plural, namespace) = match kind {
        "Pod" if is_core => ("pods", call.namespace()),
        "Secret" if is_core => ("secrets", call.namespace()),
        "Node" if is_core => ("nodes", ""),
        other => {
            return Err(ApiError::BadRequest(format!(
                "cannot bind token for serviceaccount {:?} to object of type {other:?}",
                call.name()
            )));
        }
    };
    let found = call.pipeline.kinds.core(plural)?.find(namespace, name);
    let resource = GroupResource { group: "".into(), resource: plural.into() };
    let entry = found.ok_or_else(|| ApiError::not_found(&resource, name))?;
    let found_uid = entry.tree().uid();
    if !uid.is_empty() && uid != found_uid {
        let detail = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. \
             The object might have been deleted and then recreated"
        );
        // Upstream names the kind here, not the resource.
        let kind = GroupResource { group: "".into(), resource: kind.into() };
        return Err(ApiError::conflict(&kind, name, detail));
    }
    let named = Named { name: name.to_owned(), uid: found_uid.to_owned() };
    match plural {
        "pods" => bind_pod(call, entry.tree(), named, wanted)?,
        "secrets" => wanted.secret = Some(named),
        _ => wanted.node = Some(named),
    }
    Ok(())
}

fn bind_pod(call: &Call<'_>, pod: &Value, named: Named, wanted: &mut TokenWanted) -> Result<(), ApiError> {
    let account = pod.str_at(&["spec", "serviceAccountName"]).unwrap_or_default();
    if account != call.name() {
        let message = format!(
            "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
            call.name()
        );
        return Err(ApiError::BadRequest(message));
    }
    if let Some(node) = pod.str_at(&["spec", "nodeName"]).filter(|node| !node.is_empty()) {
        let uid = call.pipeline.kinds.core("nodes")?.find("", node).map(|n| n.tree().uid().to_owned());
        wanted.node = Some(Named { name: node.to_owned(), uid: uid.unwrap_or_default() });
    }
    wanted.pod = Some(named);
    Ok(())
}
