//! What can be done with objects.

pub(crate) mod change;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod delete_collection;
pub(crate) mod manager;
mod prepare;
pub(crate) mod read;
pub(crate) mod update;

use client::{Options, User};
use machinery::Value;
use machinery::schema::FieldValidation;

use crate::audit::Record;
use crate::kind::Kind;
use crate::pipeline::Pipeline;
use crate::request::Attributes;

/// One request on its way: what every step may look at.
pub(crate) struct Call<'a> {
    pub pipeline: &'a Pipeline,
    pub kind: &'a Kind,
    pub user: &'a User,
    pub attributes: &'a Attributes,
    /// Who writes, when the options name no field manager.
    pub agent: &'a str,
    pub options: &'a Options,
    pub validation: FieldValidation,
    pub warnings: Vec<String>,
    /// What is recorded of it, when somebody listens.
    pub audit: Option<&'a Record>,
}

impl Call<'_> {
    pub(crate) fn namespace(&self) -> &str {
        &self.attributes.namespace
    }

    pub(crate) fn name(&self) -> &str {
        &self.attributes.name
    }

    /// Tells the object that was sent to who listens.
    pub(crate) fn requested(&self, object: &Value) {
        if let Some(record) = self.audit {
            record.requested(object);
        }
    }

    /// Who owns what this call writes.
    pub(crate) fn manager(&self) -> &str {
        match self.options.field_manager.as_str() {
            "" => self.agent,
            named => named,
        }
    }
}
