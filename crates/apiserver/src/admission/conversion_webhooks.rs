//! Definitions of custom resources whose versions a webhook converts are refused. DIVERGES: versions differ in their names
//! alone (strategy `None`); Kubernetes also asks webhooks.

use machinery::ApiError;
use machinery::field::{FieldError, Path};
use machinery::object::ObjectExt;
use resources::Target;

use super::{Operation, Plugin, Review};
use crate::custom;

pub(super) struct ConversionWebhooks;

impl Plugin for ConversionWebhooks {
    fn validate(&self, review: &Review<'_>) -> Result<(), ApiError> {
        let row = &review.kind.row;
        let is_definition = row.group == custom::GROUP && row.plural == custom::PLURAL;
        let is_written = review.operation != Operation::Delete && review.target == Target::Object;
        // What goes has to be let go, whatever it says.
        let is_kept = is_definition && is_written && !review.object.is_deleting();
        if !is_kept || review.object.str_at(&["spec", "conversion", "strategy"]) != Some("Webhook") {
            return Ok(());
        }
        let error = FieldError::not_supported(&Path::new("spec.conversion.strategy"), "Webhook", &["None"]);
        Err(ApiError::invalid(&row.group, &row.kind, review.object_name(), vec![error]))
    }
}
