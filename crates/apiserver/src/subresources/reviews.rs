//! Questions that are answered and not kept: who am I, may I, whose token is this.

use client::{Reply, User};
use machinery::field::{FieldError, Path};
use machinery::object::ObjectExt;
use machinery::{ApiError, Value, time};

use crate::request::{Attributes, Body, Decision, Served, decode, user_info};
use crate::verbs::{Call, create};

/// Answers a review.
pub(crate) async fn review(call: &mut Call<'_>, body: Body) -> Result<Served, ApiError> {
    if call.kind.row.plural == "bindings" {
        return super::pods::bind_named(call, body).await;
    }
    let (mut object, warnings) = decode::object(call.kind, body, call.validation)?;
    call.requested(&object);
    create::fit_to_url(call, &mut object)?;
    let errors = errors_of(&call.kind.row.plural, &object);
    if !errors.is_empty() {
        return Err(ApiError::invalid(&call.kind.row.group, &call.kind.row.kind, "", errors));
    }
    match call.kind.row.plural.as_str() {
        "selfsubjectreviews" => {
            object.set_at(&["metadata", "creationTimestamp"], time::format(seams::clock::now()));
            object.set_at(&["status", "userInfo"], user_info(call.user));
        }
        "selfsubjectaccessreviews" => access(call, &mut object, call.user),
        "subjectaccessreviews" | "localsubjectaccessreviews" => subject_access(call, &mut object),
        "selfsubjectrulesreviews" => rules(call, &mut object)?,
        "tokenreviews" => token(call, &mut object).await?,
        _ => return Err(ApiError::UnknownPath),
    }
    call.kind.row.complete(&mut object);
    Ok(Served { reply: Reply::Value(object), code: 201, warnings })
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let list = value.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// What is wrong with a question about access (upstream's `authorization/validation`).
fn errors_of(plural: &str, review: &Value) -> Vec<FieldError> {
    let (is_self, is_local) = match plural {
        "selfsubjectaccessreviews" => (true, false),
        "subjectaccessreviews" => (false, false),
        "localsubjectaccessreviews" => (false, true),
        _ => return Vec::new(),
    };
    let spec = Path::new("spec");
    let mut errors = Vec::new();
    let part = |name: &str| review.at(&["spec", name]).filter(|part| !part.is_null());
    let (resource, path) = (part("resourceAttributes"), part("nonResourceAttributes"));
    match (resource, path) {
        (Some(_), Some(path)) => {
            let detail = "cannot be specified in combination with resourceAttributes";
            errors.push(FieldError::invalid(&spec.child("nonResourceAttributes"), path, detail));
        }
        (None, None) => {
            let detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            errors.push(FieldError::invalid(&spec.child("resourceAttributes"), &Value::Null, detail));
        }
        _ => {}
    }
    let user = review.str_at(&["spec", "user"]).unwrap_or_default();
    if !is_self && user.is_empty() && texts(part("groups")).is_empty() {
        errors.push(FieldError::invalid(&spec.child("user"), "", "at least one of user or group must be specified"));
    }
    for name in ["fieldSelector", "labelSelector"] {
        let given = resource.and_then(|resource| resource.get(name)).filter(|given| !given.is_null());
        if let Some(given) = given {
            selector_errors(given, &spec.child("resourceAttributes").child(name), &mut errors);
        }
    }
    let mut metadata = review.get("metadata").cloned().unwrap_or_else(Value::object);
    metadata.remove_at(&["managedFields"]);
    if is_local {
        metadata.remove_at(&["namespace"]);
    }
    if metadata.as_object().is_some_and(|metadata| !metadata.is_empty()) {
        let detail = if is_local { "must be empty except for namespace" } else { "must be empty" };
        errors.push(FieldError::invalid(&Path::new("metadata"), &metadata, detail));
    }
    if !is_local {
        return errors;
    }
    let named = resource.map(|resource| resource.str_at(&["namespace"]).unwrap_or_default());
    if let Some(named) = named.filter(|named| *named != review.namespace()) {
        let at = spec.child("resourceAttributes").child("namespace");
        errors.push(FieldError::invalid(&at, named, "must match metadata.namespace"));
    }
    if let Some(path) = path {
        let detail = "disallowed on this kind of request";
        errors.push(FieldError::invalid(&spec.child("nonResourceAttributes"), path, detail));
    }
    errors
}

/// What is wrong with the selector of a question: of fields or of labels. Operators that nobody knows may be a newer client's.
fn selector_errors(selector: &Value, at: &Path, errors: &mut Vec<FieldError>) {
    let raw = selector.str_at(&["rawSelector"]).unwrap_or_default();
    let requirements = selector.get("requirements").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    match (raw.is_empty(), requirements.is_empty()) {
        (false, false) => {
            let detail = "may not specified at the same time as requirements";
            errors.push(FieldError::invalid(&at.child("rawSelector"), raw, detail));
        }
        (true, true) => {
            let detail = format!("when {at} is specified, requirements or rawSelector is required");
            errors.push(FieldError::required(&at.child("requirements"), &detail));
        }
        _ => {}
    }
    for (index, requirement) in requirements.iter().enumerate() {
        let at = at.child("requirements").index(index);
        let empty = texts(requirement.get("values")).is_empty();
        if requirement.str_at(&["key"]).unwrap_or_default().is_empty() {
            errors.push(FieldError::required(&at.child("key"), "must be specified"));
        }
        match requirement.str_at(&["operator"]).unwrap_or_default() {
            "" => errors.push(FieldError::required(&at.child("operator"), "must be specified")),
            "In" | "NotIn" if empty => {
                let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(FieldError::required(&at.child("values"), detail));
            }
            "Exists" | "DoesNotExist" if !empty => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(FieldError::forbidden(&at.child("values"), detail));
            }
            _ => {}
        }
    }
}

fn subject_access(call: &Call<'_>, object: &mut Value) {
    let spec = object.get("spec").cloned().unwrap_or_default();
    let extra = spec.get("extra").and_then(Value::as_object);
    let user = User {
        name: spec.str_at(&["user"]).unwrap_or_default().to_owned(),
        uid: spec.str_at(&["uid"]).unwrap_or_default().to_owned(),
        groups: texts(spec.get("groups")),
        extra: extra.into_iter().flat_map(|e| e.iter()).map(|(key, all)| (key.to_owned(), texts(Some(all)))).collect(),
    };
    access(call, object, &user);
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
            version: Some(text("version")).filter(|version| !version.is_empty()).unwrap_or_else(|| "*".to_owned()),
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

async fn token(call: &Call<'_>, object: &mut Value) -> Result<(), ApiError> {
    let token = object.str_at(&["spec", "token"]).unwrap_or_default().to_owned();
    if token.is_empty() {
        return Err(ApiError::BadRequest("token is required for TokenReview in authentication".to_owned()));
    }
    let audiences = texts(object.at(&["spec", "audiences"]));
    let known = match call.pipeline.token_authenticator.get() {
        Some(authenticator) => authenticator.authenticate(&token, &audiences).await,
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
    Ok(())
}
