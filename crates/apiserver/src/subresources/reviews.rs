//! Questions that are answered and not kept: who am I, may I, whose token is this.

use client::{Reply, User};
use machinery::{ApiError, Value, time};

use crate::request::{Attributes, Body, Decision, Served, decode, user_info};
use crate::verbs::Call;

/// Answers a review.
pub(crate) async fn review(call: &mut Call<'_>, body: Body) -> Result<Served, ApiError> {
    if call.kind.row.plural == "bindings" {
        return super::pods::bind_named(call, body).await;
    }
    let (mut object, warnings) = decode::object(call.kind, body, call.validation)?;
    call.requested(&object);
    match call.kind.row.plural.as_str() {
        "selfsubjectreviews" => {
            object.set_at(&["metadata", "creationTimestamp"], time::format(seams::clock::now()));
            object.set_at(&["status", "userInfo"], user_info(call.user));
        }
        "selfsubjectaccessreviews" => access(call, &mut object, call.user),
        "subjectaccessreviews" | "localsubjectaccessreviews" => subject_access(call, &mut object)?,
        "selfsubjectrulesreviews" => rules(call, &mut object)?,
        "tokenreviews" => token(call, &mut object).await,
        _ => return Err(ApiError::UnknownPath),
    }
    Ok(Served { reply: Reply::Value(object), code: 201, warnings })
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let list = value.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn subject_access(call: &Call<'_>, object: &mut Value) -> Result<(), ApiError> {
    let spec = object.get("spec").cloned().unwrap_or_default();
    let user = User {
        name: spec.str_at(&["user"]).unwrap_or_default().to_owned(),
        uid: spec.str_at(&["uid"]).unwrap_or_default().to_owned(),
        groups: texts(spec.get("groups")),
        extra: Vec::new(),
    };
    let local = call.kind.row.namespaced;
    let named = object.str_at(&["spec", "resourceAttributes", "namespace"]).unwrap_or_default();
    if local && named != call.namespace() {
        let message = format!("spec.resourceAttributes.namespace must match namespace: {}", call.namespace());
        return Err(ApiError::BadRequest(message));
    }
    if user.name.is_empty() && user.groups.is_empty() {
        let path = machinery::field::Path::new("spec.user");
        let error = machinery::field::FieldError::invalid(&path, "", "at least one of user or group must be specified");
        return Err(ApiError::invalid(&call.kind.row.group, &call.kind.row.kind, "", vec![error]));
    }
    access(call, object, &user);
    Ok(())
}

fn access(call: &Call<'_>, object: &mut Value, user: &User) {
    let question = question(object.get("spec").unwrap_or(&Value::Null));
    let decision = call.pipeline.config.authorizer.authorize(user, &question);
    let mut status = Value::object();
    status.set_at(&["allowed"], decision == Decision::Allow);
    if let Decision::Deny(reason) = decision
        && !reason.is_empty()
    {
        status.set_at(&["reason"], reason);
    }
    object.set_at(&["status"], status);
}

fn question(spec: &Value) -> Attributes {
    let text = |path: &[&str]| spec.str_at(path).unwrap_or_default().to_owned();
    if let Some(attributes) = spec.get("resourceAttributes").filter(|a| !a.is_null()) {
        let text = |key: &str| attributes.str_at(&[key]).unwrap_or_default().to_owned();
        return Attributes {
            verb: text("verb"),
            group: text("group"),
            version: text("version"),
            resource: text("resource"),
            subresource: text("subresource"),
            namespace: text("namespace"),
            name: text("name"),
            path: String::new(),
        };
    }
    Attributes {
        verb: text(&["nonResourceAttributes", "verb"]),
        path: text(&["nonResourceAttributes", "path"]),
        ..Attributes::default()
    }
}

fn rules(call: &Call<'_>, object: &mut Value) -> Result<(), ApiError> {
    let namespace = object.str_at(&["spec", "namespace"]).unwrap_or_default().to_owned();
    if namespace.is_empty() {
        return Err(ApiError::BadRequest("no namespace on request".to_owned()));
    }
    let rules = call.pipeline.config.authorizer.rules(call.user, &namespace);
    object.set_at(&["status", "resourceRules"], rules.resources);
    object.set_at(&["status", "nonResourceRules"], rules.paths);
    object.set_at(&["status", "incomplete"], rules.incomplete);
    Ok(())
}

async fn token(call: &Call<'_>, object: &mut Value) {
    let token = object.str_at(&["spec", "token"]).unwrap_or_default().to_owned();
    let audiences = texts(object.at(&["spec", "audiences"]));
    let known = match call.pipeline.token_authenticator.get() {
        Some(authenticator) if !token.is_empty() => authenticator.authenticate(&token, &audiences).await,
        _ => None,
    };
    let mut status = Value::object();
    match known {
        Some((user, audiences)) => {
            status.set_at(&["authenticated"], true);
            status.set_at(&["user"], user_info(&user));
            status.set_at(&["audiences"], audiences);
        }
        None => {
            status.set_at(&["authenticated"], false);
            status.set_at(&["user"], Value::object());
            status.set_at(&["error"], "invalid bearer token");
        }
    }
    object.set_at(&["status"], status);
    object.set_at(&["spec", "token"], "");
}
