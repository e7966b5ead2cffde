//! Who asks for devices that others use (`adminAccess`) does so in a namespace that is marked for it. Upstream's registry
//! looks at this before it validates.

use machinery::field::{FieldError, Path};
use machinery::object::ObjectExt;
use machinery::{ApiError, Value};
use resources::Target;

use super::{Operation, Plugin, Review};

const LABEL: &str = "resource.kubernetes.io/admin-access";

pub(super) struct DeviceAdminAccess;

impl Plugin for DeviceAdminAccess {
    fn validate(&self, review: &Review<'_>) -> Result<(), ApiError> {
        if review.kind.row.group != "resource.k8s.io" {
            return Ok(());
        }
        let Some(field) = asked(review) else { return Ok(()) };
        let namespace = review.kinds.core("namespaces")?.find("", review.namespace);
        if namespace.is_some_and(|namespace| namespace.tree().label(LABEL) == Some("true")) {
            return Ok(());
        }
        let detail = format!("admin access to devices requires the `{LABEL}: true` label on the containing namespace");
        let error = FieldError::forbidden(&Path::new(&field), &detail);
        let row = &review.kind.row;
        Err(ApiError::invalid(&row.group, &row.kind, review.object_name(), vec![error]))
    }
}

/// The field by which an object asks for such access (or an allocation gets it), if it does. Specs do not change, so new
/// objects are what matters, and allocations where there was none.
fn asked(review: &Review<'_>) -> Option<String> {
    let requests = match (review.operation, review.target, review.kind.row.plural.as_str()) {
        (Operation::Create, Target::Object, "resourceclaims") => "spec.devices.requests",
        (Operation::Create, Target::Object, "resourceclaimtemplates") => "spec.spec.devices.requests",
        (Operation::Update, Target::Subresource("status"), "resourceclaims") => "status.allocation.devices.results",
        _ => return None,
    };
    let path: Vec<&str> = requests.split('.').collect();
    if review.old.is_some_and(|old| list(old, &path).is_some_and(|list| !list.is_empty())) {
        return None;
    }
    // v1beta1 has the field in the request itself.
    let asks = |item: &Value| {
        [&["exactly", "adminAccess"][..], &["adminAccess"]].iter().any(|path| item.at(path) == Some(&Value::from(true)))
    };
    let index = list(review.object, &path)?.iter().position(asks)?;
    Some(format!("{requests}[{index}].adminAccess"))
}

fn list<'a>(object: &'a Value, path: &[&str]) -> Option<&'a Vec<Value>> {
    object.at(path).and_then(Value::as_array)
}
