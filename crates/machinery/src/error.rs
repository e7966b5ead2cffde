//! The API's errors: one closed enum, one mapping to code, reason and text (`metav1.Status`).
//!
//! The wording follows upstream's `apimachinery/pkg/api/errors`, which kubectl and its users know.

use crate::field::FieldError;
use crate::gvk::GroupResource;
use crate::json::{Map, Value};

/// After how many seconds a revision that is not there yet may be asked for again.
const RETRY_AFTER_SECONDS: u32 = 1;

/// Refused by an admission policy, for a reason of the policy's choice.
#[derive(Debug, Clone, PartialEq)]
pub struct Denied {
    /// The HTTP code that goes with the reason.
    pub code: u16,
    /// The reason.
    pub reason: String,
    /// The whole message.
    pub message: String,
    /// What the policy says.
    pub cause: String,
    /// The object's resource.
    pub resource: GroupResource,
    /// Its name.
    pub name: String,
}

/// Why a request failed. `Display` gives the Status message.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ApiError {
    /// 404 NotFound: no such object.
    #[error("{resource} {name:?} not found")]
    NotFound {
        /// Its resource.
        resource: GroupResource,
        /// Its name.
        name: String,
    },
    /// 404 NotFound: no such path or resource.
    #[error("the server could not find the requested resource")]
    UnknownPath,
    /// 409 AlreadyExists: the name is taken.
    #[error("{resource} {name:?} already exists")]
    AlreadyExists {
        /// Its resource.
        resource: GroupResource,
        /// Its name.
        name: String,
    },
    /// 409 Conflict: someone else wrote first, or a precondition failed.
    #[error("Operation cannot be fulfilled on {resource} {name:?}: {detail}")]
    Conflict {
        /// Its resource.
        resource: GroupResource,
        /// Its name.
        name: String,
        /// What went wrong.
        detail: String,
    },
    /// 409 Conflict of server-side apply, with a cause per field.
    #[error("{message}")]
    ApplyConflict {
        /// The whole message.
        message: String,
        /// `(field path, message)` of each conflict.
        causes: Vec<(String, String)>,
    },
    /// Refused by an admission policy.
    #[error("{}", .0.message)]
    Denied(Box<Denied>),
    /// 422 Invalid: validation failed.
    #[error("{}", invalid_message(.group, .kind, .name, .errors))]
    Invalid {
        /// API group of the kind.
        group: String,
        /// The kind.
        kind: String,
        /// The object's name.
        name: String,
        /// What is wrong, field by field.
        errors: Vec<FieldError>,
    },
    /// 400 BadRequest: the request makes no sense.
    #[error("{0}")]
    BadRequest(String),
    /// 401 Unauthorized: nobody is known by these credentials.
    #[error("Unauthorized")]
    Unauthorized,
    /// 403 Forbidden. The text is whole: [`ApiError::forbidden`] words it for one object.
    #[error("{message}")]
    Forbidden {
        /// The whole message.
        message: String,
        /// The resource, for details.
        resource: GroupResource,
        /// The object's name, when there is one.
        name: String,
        /// Status causes: `(reason, message, field)`.
        causes: Vec<(&'static str, String, &'static str)>,
    },
    /// 405 MethodNotAllowed.
    #[error("{0}")]
    MethodNotAllowed(String),
    /// 406 NotAcceptable: none of the media types asked for can be produced.
    #[error("only the following media types are accepted: {0}")]
    NotAcceptable(String),
    /// 415 UnsupportedMediaType: the body's or patch's type is not known here.
    #[error("{0}")]
    UnsupportedMediaType(String),
    /// 413 RequestEntityTooLarge.
    #[error("{0}")]
    TooLarge(String),
    /// 410 Expired: the resourceVersion is too old (or a continue token is).
    #[error("{message}")]
    Expired {
        /// The whole message.
        message: String,
        /// A new token for an inconsistent continuation, when one is offered.
        continue_token: Option<String>,
    },
    /// 410 Gone.
    #[error("{0}")]
    Gone(String),
    /// 429 TooManyRequests.
    #[error("{message}")]
    TooManyRequests {
        /// The whole message.
        message: String,
        /// Seconds after which to try again.
        retry_after_seconds: u32,
        /// Status causes: `(reason, message)`, as eviction gives them.
        causes: Vec<(String, String)>,
    },
    /// 504 Timeout: the server did not finish in time.
    #[error("Timeout: {0}")]
    Timeout(String),
    /// 504 Timeout: the revision asked for is newer than all there is.
    #[error("Timeout: Too large resource version: {wanted}, current: {current}")]
    TooLargeResourceVersion {
        /// What was asked for.
        wanted: u64,
        /// The newest there is.
        current: u64,
    },
    /// 500 InternalError.
    #[error("Internal error occurred: {0}")]
    Internal(String),
    /// 503 ServiceUnavailable.
    #[error("{0}")]
    ServiceUnavailable(String),
    /// A Status made elsewhere (a node agent, a webhook, a remote API server), passed on as it is.
    #[error("{message}")]
    Other {
        /// HTTP code.
        code: u16,
        /// Status reason.
        reason: String,
        /// Status message.
        message: String,
        /// Status details, which may be there and empty.
        details: Option<Map>,
    },
}

fn invalid_message(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> String {
    let list = match errors {
        [] => "<nil>".to_owned(),
        [one] => one.to_string(),
        many => {
            let mut texts: Vec<String> = Vec::with_capacity(many.len());
            for error in many {
                let text = error.to_string();
                if !texts.contains(&text) {
                    texts.push(text);
                }
            }
            format!("[{}]", texts.join(", "))
        }
    };
    let dot = if group.is_empty() { "" } else { "." };
    format!("{kind}{dot}{group} {name:?} is invalid: {list}")
}

impl ApiError {
    /// The message for a stale resourceVersion, as upstream's registry words it.
    pub const MODIFIED: &str =
        "the object has been modified; please apply your changes to the latest version and try again";

    /// No such object.
    pub fn not_found(resource: &GroupResource, name: &str) -> Self {
        Self::NotFound { resource: resource.clone(), name: name.to_owned() }
    }

    /// The name is taken.
    pub fn already_exists(resource: &GroupResource, name: &str) -> Self {
        Self::AlreadyExists { resource: resource.clone(), name: name.to_owned() }
    }

    /// A Status without details. The reason may be empty.
    pub fn other(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self::Other { code, reason: reason.to_owned(), message: message.into(), details: None }
    }

    /// Someone else wrote first, or a precondition failed.
    pub fn conflict(resource: &GroupResource, name: &str, detail: impl Into<String>) -> Self {
        Self::Conflict { resource: resource.clone(), name: name.to_owned(), detail: detail.into() }
    }

    /// An object with another UID (`found`; empty when there is none) than the one that is meant.
    pub fn other_uid(resource: &GroupResource, name: &str, given: &str, found: &str) -> Self {
        let detail = format!("Precondition failed: UID in precondition: {given}, UID in object meta: {found}");
        Self::conflict(resource, name, detail)
    }

    /// Not allowed on this object: `pods "x" is forbidden: detail`.
    pub fn forbidden(resource: &GroupResource, name: &str, detail: &str) -> Self {
        let message = if resource.resource.is_empty() {
            format!("forbidden: {detail}")
        } else if name.is_empty() {
            format!("{resource} is forbidden: {detail}")
        } else {
            format!("{resource} {name:?} is forbidden: {detail}")
        };
        Self::Forbidden { message, resource: resource.clone(), name: name.to_owned(), causes: Vec::new() }
    }

    /// Validation failed.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: Vec<FieldError>) -> Self {
        Self::Invalid { group: group.to_owned(), kind: kind.to_owned(), name: name.to_owned(), errors }
    }

    /// The HTTP code.
    pub fn code(&self) -> u16 {
        match self {
            Self::NotFound { .. } | Self::UnknownPath => 404,
            Self::AlreadyExists { .. } | Self::Conflict { .. } | Self::ApplyConflict { .. } => 409,
            Self::Invalid { .. } => 422,
            Self::BadRequest(_) => 400,
            Self::Unauthorized => 401,
            Self::Forbidden { .. } => 403,
            Self::MethodNotAllowed(_) => 405,
            Self::NotAcceptable(_) => 406,
            Self::UnsupportedMediaType(_) => 415,
            Self::TooLarge(_) => 413,
            Self::Expired { .. } | Self::Gone(_) => 410,
            Self::TooManyRequests { .. } => 429,
            Self::Timeout(_) | Self::TooLargeResourceVersion { .. } => 504,
            Self::Internal(_) => 500,
            Self::ServiceUnavailable(_) => 503,
            Self::Other { code, .. } => *code,
            Self::Denied(denied) => denied.code,
        }
    }

    /// The Status reason.
    pub fn reason(&self) -> &str {
        match self {
            Self::NotFound { .. } | Self::UnknownPath => "NotFound",
            Self::AlreadyExists { .. } => "AlreadyExists",
            Self::Conflict { .. } | Self::ApplyConflict { .. } => "Conflict",
            Self::Invalid { .. } => "Invalid",
            Self::BadRequest(_) => "BadRequest",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden { .. } => "Forbidden",
            Self::MethodNotAllowed(_) => "MethodNotAllowed",
            Self::NotAcceptable(_) => "NotAcceptable",
            Self::UnsupportedMediaType(_) => "UnsupportedMediaType",
            Self::TooLarge(_) => "RequestEntityTooLarge",
            Self::Expired { .. } => "Expired",
            Self::Gone(_) => "Gone",
            Self::TooManyRequests { .. } => "TooManyRequests",
            Self::Timeout(_) | Self::TooLargeResourceVersion { .. } => "Timeout",
            Self::Internal(_) => "InternalError",
            Self::ServiceUnavailable(_) => "ServiceUnavailable",
            Self::Other { reason, .. } => reason,
            Self::Denied(denied) => &denied.reason,
        }
    }

    /// Seconds after which to try again, when the error says so.
    pub fn retry_after_seconds(&self) -> Option<u32> {
        match self {
            Self::TooManyRequests { retry_after_seconds, .. } => Some(*retry_after_seconds),
            Self::TooLargeResourceVersion { .. } => Some(RETRY_AFTER_SECONDS),
            _ => None,
        }
    }

    /// Whether this says that the object is not there.
    pub fn is_not_found(&self) -> bool {
        self.reason() == "NotFound"
    }

    /// Whether this says that the name is taken.
    pub fn is_already_exists(&self) -> bool {
        self.reason() == "AlreadyExists"
    }

    /// Whether this says that someone else wrote first.
    pub fn is_conflict(&self) -> bool {
        self.reason() == "Conflict"
    }

    /// Whether it is refused for a cause of this reason (`NamespaceTerminating`).
    pub fn has_cause(&self, reason: &str) -> bool {
        matches!(self, Self::Forbidden { causes, .. } if causes.iter().any(|(own, _, _)| *own == reason))
    }

    /// Whether a watch or list must start anew.
    pub fn is_expired(&self) -> bool {
        matches!(self.code(), 410)
    }

    /// The `metav1.Status` object.
    pub fn to_status(&self) -> Value {
        let mut status = Map::new();
        status.insert("kind", "Status");
        status.insert("apiVersion", "v1");
        let mut list_meta = Map::new();
        if let Self::Expired { continue_token: Some(token), .. } = self {
            list_meta.insert("continue", token);
        }
        status.insert("metadata", list_meta);
        status.insert("status", "Failure");
        status.insert("message", self.to_string());
        if !self.reason().is_empty() {
            status.insert("reason", self.reason());
        }
        let details = match self {
            Self::Other { details, .. } => details.clone(),
            _ => Some(self.details()).filter(|details| !details.is_empty()),
        };
        if let Some(details) = details {
            status.insert("details", details);
        }
        status.insert("code", i64::from(self.code()));
        status.into()
    }

    /// What is told of the object and of the causes.
    pub fn details(&self) -> Map {
        let mut details = Map::new();
        match self {
            Self::NotFound { resource, name }
            | Self::AlreadyExists { resource, name }
            | Self::Conflict { resource, name, .. }
            | Self::Forbidden { resource, name, .. } => {
                insert_filled(&mut details, "name", name);
                insert_filled(&mut details, "group", &resource.group);
                insert_filled(&mut details, "kind", &resource.resource);
                if let Self::Forbidden { causes, .. } = self
                    && !causes.is_empty()
                {
                    let causes: Vec<_> = causes.iter().map(|(r, m, field)| cause(r, m, field)).collect();
                    details.insert("causes", causes);
                }
            }
            Self::Denied(denied) => {
                insert_filled(&mut details, "name", &denied.name);
                insert_filled(&mut details, "group", &denied.resource.group);
                insert_filled(&mut details, "kind", &denied.resource.resource);
                let cause = Value::Object([("message", denied.cause.as_str())].into_iter().collect());
                details.insert("causes", vec![cause]);
            }
            Self::Invalid { group, kind, name, errors } => {
                insert_filled(&mut details, "name", name);
                insert_filled(&mut details, "group", group);
                insert_filled(&mut details, "kind", kind);
                details.insert(
                    "causes",
                    errors.iter().map(|e| cause(e.kind.reason(), &e.body, &e.field)).collect::<Vec<_>>(),
                );
            }
            Self::ApplyConflict { causes, .. } => {
                let causes: Vec<_> =
                    causes.iter().map(|(field, message)| cause("FieldManagerConflict", message, field)).collect();
                details.insert("causes", causes);
            }
            Self::TooManyRequests { retry_after_seconds, causes, .. } => {
                details.insert("retryAfterSeconds", *retry_after_seconds);
                if !causes.is_empty() {
                    details.insert("causes", causes.iter().map(|(r, m)| cause(r, m, "")).collect::<Vec<_>>());
                }
            }
            Self::TooLargeResourceVersion { .. } => {
                details.insert("retryAfterSeconds", RETRY_AFTER_SECONDS);
                let causes = vec![cause("ResourceVersionTooLarge", "Too large resource version", "")];
                details.insert("causes", causes);
            }
            Self::Internal(message) => {
                details.insert("causes", vec![cause("", message, "")]);
            }
            _ => {}
        }
        details
    }
}

fn insert_filled(map: &mut Map, key: &str, value: &str) {
    if !value.is_empty() {
        map.insert(key, value);
    }
}

fn cause(reason: &str, message: &str, field: &str) -> Value {
    let mut cause = Map::new();
    insert_filled(&mut cause, "reason", reason);
    insert_filled(&mut cause, "message", message);
    insert_filled(&mut cause, "field", field);
    cause.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Path;

    #[test]
    fn an_invalid_object_is_worded_as_kubectl_users_know_it() {
        let path = Path::new("spec").child("replicas");
        let error = ApiError::invalid(
            "apps",
            "Deployment",
            "web",
            vec![FieldError::invalid(&path, -1, "must be greater than or equal to 0")],
        );
        assert_eq!(
            error.to_string(),
            r#"Deployment.apps "web" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"#
        );
        let status = error.to_status();
        assert_eq!(status.i64_at(&["code"]), Some(422));
        assert_eq!(status.str_at(&["details", "kind"]), Some("Deployment"));
        let cause = &status.at(&["details", "causes"]).and_then(Value::as_array).unwrap()[0];
        assert_eq!(cause.str_at(&["field"]), Some("spec.replicas"));
    }

    #[test]
    fn a_revision_from_the_future_is_told_as_reflectors_know_it() {
        let error = ApiError::TooLargeResourceVersion { wanted: 9, current: 7 };
        let status = error.to_status();
        assert_eq!(status.str_at(&["message"]), Some("Timeout: Too large resource version: 9, current: 7"));
        assert_eq!((status.i64_at(&["code"]), status.str_at(&["reason"])), (Some(504), Some("Timeout")));
        assert_eq!(status.i64_at(&["details", "retryAfterSeconds"]), Some(1));
        let cause = &status.at(&["details", "causes"]).and_then(Value::as_array).unwrap()[0];
        assert_eq!(cause.str_at(&["reason"]), Some("ResourceVersionTooLarge"));
    }

    #[test]
    fn a_missing_object_names_its_group_resource() {
        let resource = GroupResource { group: "apps".into(), resource: "deployments".into() };
        let error = ApiError::not_found(&resource, "web");
        assert_eq!(error.to_string(), r#"deployments.apps "web" not found"#);
        assert_eq!((error.code(), error.reason()), (404, "NotFound"));
    }
}
