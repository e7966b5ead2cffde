//! DefaultIngressClass: an ingress that names no class gets the newest of those that are marked as the default.

use std::cmp::Reverse;

use machinery::ApiError;
use machinery::object::ObjectExt;
use resources::Target;

use super::{Operation, Plugin, Review};

const GROUP: &str = "networking.k8s.io";
/// How ingresses named their class at first.
const OLD_CLASS: &str = "kubernetes.io/ingress.class";
const IS_DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";

pub(super) struct DefaultIngressClass;

impl Plugin for DefaultIngressClass {
    fn admit(&self, review: &mut Review<'_>) -> Result<(), ApiError> {
        let row = &review.kind.row;
        let is_new = (review.operation, review.target) == (Operation::Create, Target::Object);
        if !is_new || (row.group.as_str(), row.plural.as_str()) != (GROUP, "ingresses") {
            return Ok(());
        }
        let path = ["spec", "ingressClassName"];
        if review.object.str_at(&path).is_some() || review.object.annotation(OLD_CLASS).is_some() {
            return Ok(());
        }
        let Some(kind) = review.kinds.get(GROUP, "v1", "ingressclasses") else { return Ok(()) };
        let classes = kind.cache.stretch(&kind.cache.prefix, None, 0).items;
        let marked = classes.iter().map(|(_, entry)| entry.tree()).filter(|c| c.annotation(IS_DEFAULT) == Some("true"));
        let made =
            |class: &machinery::Value| class.str_at(&["metadata", "creationTimestamp"]).unwrap_or_default().to_owned();
        if let Some(class) = marked.min_by_key(|class| (Reverse(made(class)), class.name().to_owned())) {
            review.object.set_at(&path, class.name());
        }
        Ok(())
    }
}
