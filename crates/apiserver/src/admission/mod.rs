//! Admission: what is decided by looking beyond the object, one file per plugin, in upstream's order.

mod certificates;
mod conversion_webhooks;
mod default_ingress_class;
mod default_storage_class;
mod default_toleration_seconds;
mod device_admin_access;
mod limit_ranger;
mod namespace_lifecycle;
mod node_restriction;
mod persistent_volume_claim_resize;
mod pod_topology_labels;
pub(crate) mod policies;
mod priority;
pub(crate) mod resource_quota;
mod runtime_class;
mod service_account;
mod storage_object_in_use_protection;
mod taint_nodes_by_condition;

use client::{Options, User};
use futures_util::future::BoxFuture;
use machinery::object::ObjectExt;
use machinery::{ApiError, Value};
use resources::Target;

use crate::audit::Record;
use crate::kind::Kind;
use crate::kinds::Kinds;
use crate::pipeline::Authorizer;
use crate::verbs::Call;

/// What is about to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

/// A write under review.
pub(crate) struct Review<'a> {
    pub operation: Operation,
    pub user: &'a User,
    pub authorizer: &'a dyn Authorizer,
    pub kinds: &'a Kinds,
    pub kind: &'a Kind,
    pub target: Target,
    pub namespace: &'a str,
    pub name: &'a str,
    /// What is wanted; null of deletes.
    pub object: &'a mut Value,
    /// What there is.
    pub old: Option<&'a Value>,
    pub options: &'a Options,
    audit: Option<&'a Record>,
}

impl<'a> Review<'a> {
    pub(crate) fn new<'c: 'a>(
        call: &Call<'c>,
        operation: Operation,
        target: Target,
        object: &'a mut Value,
        old: Option<&'a Value>,
    ) -> Self {
        let (kinds, authorizer) = (&call.pipeline.kinds, &*call.pipeline.config.authorizer);
        let Call { kind, user, attributes, options, audit, .. } = *call;
        let (namespace, name) = (attributes.namespace.as_str(), attributes.name.as_str());
        Self { operation, user, authorizer, kinds, kind, target, namespace, name, object, old, options, audit }
    }

    /// Whether it is about this resource (of the core group) itself.
    fn is(&self, operation: Operation, plural: &str) -> bool {
        self.operation == operation && self.target == Target::Object && self.is_core(plural)
    }

    fn is_core(&self, plural: &str) -> bool {
        self.kind.row.group.is_empty() && self.kind.row.plural == plural
    }

    /// The object's name: of the path, or of the object that is made.
    fn object_name(&self) -> &str {
        if self.name.is_empty() { self.object.name() } else { self.name }
    }

    /// Adds an annotation to what is recorded of the request.
    fn annotate(&self, key: &str, value: &str) {
        if let Some(audit) = self.audit {
            audit.annotate(key, value);
        }
    }

    fn forbidden(&self, detail: &str) -> ApiError {
        ApiError::forbidden(&self.kind.resource, self.object_name(), detail)
    }
}

/// One admission plugin.
pub(crate) trait Plugin: Send + Sync {
    /// Waits for what the decision needs, when that is about to come.
    fn ready<'a>(&self, _review: &Review<'a>) -> Option<BoxFuture<'a, ()>> {
        None
    }

    /// Changes or refuses what is wanted.
    fn admit(&self, _review: &mut Review<'_>) -> Result<(), ApiError> {
        Ok(())
    }

    /// Refuses what is wanted, as it is going to be stored.
    fn validate(&self, _review: &Review<'_>) -> Result<(), ApiError> {
        Ok(())
    }
}

/// All plugins.
pub(crate) struct Admission {
    plugins: Vec<Box<dyn Plugin>>,
    policies: policies::Policies,
    turns: resource_quota::Turns,
}

impl Admission {
    pub(crate) fn new(kinds: &Kinds) -> Self {
        Self {
            policies: policies::Policies::new(kinds),
            turns: resource_quota::Turns::default(),
            plugins: vec![
                Box::new(namespace_lifecycle::NamespaceLifecycle),
                Box::new(limit_ranger::LimitRanger),
                Box::new(service_account::ServiceAccount),
                Box::new(node_restriction::NodeRestriction),
                Box::new(taint_nodes_by_condition::TaintNodesByCondition),
                Box::new(priority::Priority),
                Box::new(default_toleration_seconds::DefaultTolerationSeconds),
                Box::new(default_storage_class::DefaultStorageClass),
                Box::new(storage_object_in_use_protection::StorageObjectInUseProtection),
                Box::new(persistent_volume_claim_resize::PersistentVolumeClaimResize),
                Box::new(runtime_class::RuntimeClass),
                Box::new(certificates::Certificates),
                Box::new(default_ingress_class::DefaultIngressClass),
                Box::new(pod_topology_labels::PodTopologyLabels),
                Box::new(device_admin_access::DeviceAdminAccess),
                Box::new(conversion_webhooks::ConversionWebhooks),
            ],
        }
    }

    pub(crate) async fn admit(&self, review: &mut Review<'_>) -> Result<(), ApiError> {
        for plugin in &self.plugins {
            if let Some(ready) = plugin.ready(review) {
                ready.await;
            }
            plugin.admit(review)?;
        }
        self.policies.mutate(review)
    }

    /// Judges a request that is carried on, of which `options` tell. DIVERGES: policies that change objects are not asked.
    pub(crate) fn connect(&self, call: &Call<'_>, options: &mut Value) -> Result<(), ApiError> {
        let names = ["exec", "attach", "portforward", "proxy"];
        let name = names.into_iter().find(|name| *name == call.attributes.subresource).unwrap_or_default();
        let review = Review::new(call, Operation::Connect, Target::Subresource(name), options, None);
        // Streams have no place for warnings.
        self.policies.validate(&review, &mut Vec::new())
    }

    /// Adds what there is to warn of, also when it refuses.
    pub(crate) fn validate(&self, review: &Review<'_>, warnings: &mut Vec<String>) -> Result<(), ApiError> {
        self.plugins.iter().try_for_each(|plugin| plugin.validate(review))?;
        self.policies.validate(review, warnings)
    }
}
