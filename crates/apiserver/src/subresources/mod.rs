//! What can be done below an object.

pub(crate) mod connect;
mod eviction;
mod pods;
mod reviews;
mod scale;
mod token;

use client::{PatchKind, Reply};
use machinery::object::ObjectExt;
use machinery::{ApiError, GroupResource, Value};
use resources::{Subresource, Target};

use crate::admission::{Operation, Review};
use crate::request::{Body, Served};
use crate::verbs::{Call, read, update};

pub(crate) use reviews::review;

/// Which part of an object a path names, if the row has it.
pub(crate) fn find(call: &Call<'_>) -> Result<Subresource, ApiError> {
    let name = call.attributes.subresource.as_str();
    let known = match name {
        "status" => Subresource::Status,
        "scale" => Subresource::Scale,
        "binding" => Subresource::Binding,
        "eviction" => Subresource::Eviction,
        "ephemeralcontainers" => Subresource::EphemeralContainers,
        "resize" => Subresource::Resize,
        "finalize" => Subresource::Finalize,
        "token" => Subresource::Token,
        "log" => Subresource::Log,
        "exec" => Subresource::Exec,
        "attach" => Subresource::Attach,
        "portforward" => Subresource::PortForward,
        "proxy" => Subresource::Proxy,
        "approval" => Subresource::Approval,
        _ => return Err(ApiError::UnknownPath),
    };
    if call.kind.row.has(&known) { Ok(known) } else { Err(ApiError::UnknownPath) }
}

/// Answers a request below an object.
pub(crate) async fn serve(call: &mut Call<'_>, patch: Option<PatchKind>, body: Body) -> Result<Served, ApiError> {
    let subresource = find(call)?;
    let verb = call.attributes.verb.as_str();
    match (subresource, verb) {
        (Subresource::Scale, _) => scale::serve(call, patch, body).await,
        (Subresource::Binding, "create") => pods::bind(call, body).await,
        (Subresource::Eviction, "create") => eviction::evict(call, body).await,
        (Subresource::Token, "create") => token::create(call, body).await,
        (Subresource::Status, _) => part(call, Target::Subresource("status"), patch, body).await,
        (Subresource::EphemeralContainers, _) => {
            part(call, Target::Subresource("ephemeralcontainers"), patch, body).await
        }
        (Subresource::Resize, _) => part(call, Target::Subresource("resize"), patch, body).await,
        (Subresource::Finalize, "update") => update::update(call, Target::Subresource("finalize"), body).await,
        (Subresource::Approval, _) => part(call, Target::Subresource("approval"), patch, body).await,
        _ => Err(not_allowed()),
    }
}

/// A part that is read and written as the whole object.
async fn part(call: &mut Call<'_>, target: Target, patch: Option<PatchKind>, body: Body) -> Result<Served, ApiError> {
    match call.attributes.verb.as_str() {
        "get" => read::get(call).await.map(Served::ok),
        "update" => update::update(call, target, body).await,
        "patch" => update::patch(call, target, patch, body).await,
        _ => Err(not_allowed()),
    }
}

/// 405
pub(crate) fn not_allowed() -> ApiError {
    ApiError::MethodNotAllowed("the server does not allow this method on the requested resource".to_owned())
}

/// Which object a request below it means, when its body says so: preconditions.
struct Meant {
    resource: GroupResource,
    name: String,
    revision: String,
    uid: String,
}

impl Meant {
    fn new(call: &Call<'_>, scale: &Value) -> Self {
        Self {
            resource: call.kind.resource.clone(),
            name: call.name().to_owned(),
            revision: scale.resource_version().to_owned(),
            uid: scale.uid().to_owned(),
        }
    }

    fn check(&self, object: &Value) -> Result<(), ApiError> {
        let (given, found) = (&self.uid, object.uid());
        if !given.is_empty() && given != found {
            return Err(ApiError::other_uid(&self.resource, &self.name, given, found));
        }
        if !self.revision.is_empty() && self.revision != object.resource_version() {
            return Err(ApiError::conflict(&self.resource, &self.name, ApiError::MODIFIED));
        }
        Ok(())
    }
}

/// Has the body of a request below an object admitted.
async fn admit(call: &mut Call<'_>, name: &'static str, body: &mut Value) -> Result<(), ApiError> {
    let mut review = Review::new(call, Operation::Create, Target::Subresource(name), body, None);
    call.pipeline.admission.admit(&mut review).await?;
    let mut warnings = Vec::new();
    let judged = call.pipeline.admission.validate(&review, &mut warnings);
    call.warnings.extend(warnings);
    judged
}

/// `Status` of a success without an object.
fn success(code: u16) -> Served {
    let mut status = Value::object();
    status.set_at(&["kind"], "Status");
    status.set_at(&["apiVersion"], "v1");
    status.set_at(&["metadata"], Value::object());
    status.set_at(&["status"], "Success");
    if code == 201 {
        status.set_at(&["code"], 201);
    }
    Served { reply: Reply::Value(status), code, warnings: Vec::new() }
}
