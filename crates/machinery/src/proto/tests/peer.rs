//! Beside structures that prost makes of upstream's `.proto` files (crate `k8s-pb`, Kubernetes 1.35): what we write reads
//! there under the same names, and what is written there reads here.

use k8s_pb as pb;
use prost::Message;

use super::generate::Maker;
use super::same;
use crate::json::{Map, Value};
use crate::proto::{decode, encode};
use crate::schema::{Schema, Type, check, lookup};

/// Objects of each kind.
const OBJECTS: u64 = 24;

/// Fields of 1.36 which the peer has not.
#[rustfmt::skip]
const NEWER: &[(&str, &[&str])] = &[
    ("io.k8s.api.certificates.v1beta1.PodCertificateRequestSpec", &["stubPKCS10Request"]),
    ("io.k8s.api.core.v1.PodSpec", &["schedulingGroup"]),
    ("io.k8s.api.core.v1.PodStatus", &["nodeAllocatableResourceClaimStatuses"]),
    ("io.k8s.api.core.v1.ResourceHealth", &["message"]),
    ("io.k8s.api.core.v1.VolumeMountStatus", &["volumeStatus"]),
    ("io.k8s.api.resource.v1.Device", &["nodeAllocatableResourceMappings"]),
    ("io.k8s.api.resource.v1.DeviceAttribute", &["bools", "ints", "strings", "versions"]),
    ("io.k8s.api.resource.v1beta1.BasicDevice", &["nodeAllocatableResourceMappings"]),
    ("io.k8s.api.resource.v1beta1.DeviceAttribute", &["bools", "ints", "strings", "versions"]),
    ("io.k8s.api.resource.v1beta2.Device", &["nodeAllocatableResourceMappings"]),
    ("io.k8s.api.resource.v1beta2.DeviceAttribute", &["bools", "ints", "strings", "versions"]),
    ("io.k8s.api.storage.v1.CSIDriverSpec", &["preventPodSchedulingIfMissing"]),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta", &["shardInfo"]),
];

/// Reads our bytes as the peer's type. Gives its text and what it writes.
type Peer = fn(&[u8]) -> Result<(String, Vec<u8>), prost::DecodeError>;

fn through<T: Message + Default + std::fmt::Debug>(bytes: &[u8]) -> Result<(String, Vec<u8>), prost::DecodeError> {
    let message = T::decode(bytes)?;
    Ok((format!("{message:?}"), message.encode_to_vec()))
}

macro_rules! peers {
    ($($package:literal, $($module:ident)::+: $($name:ident)+;)+) => {
        &[$({
            use pb::$($module)::+ as module;
            &[$((concat!($package, ".", stringify!($name)), through::<module::$name> as Peer)),+]
        }),+]
    };
}

/// Every kind that the peer has. Those that are new in 1.36 are read and written as in upstream's own documents
/// (`upstream.rs`): policies of mutating admission, device taint rules, pod groups, workloads.
#[rustfmt::skip]
const PEERS: &[&[(&str, Peer)]] = peers! {
    "io.k8s.api.admissionregistration.v1", api::admissionregistration::v1:
        MutatingWebhookConfiguration MutatingWebhookConfigurationList ValidatingAdmissionPolicy
        ValidatingAdmissionPolicyBinding ValidatingAdmissionPolicyBindingList ValidatingAdmissionPolicyList
        ValidatingWebhookConfiguration ValidatingWebhookConfigurationList;
    "io.k8s.api.admissionregistration.v1alpha1", api::admissionregistration::v1alpha1:
        MutatingAdmissionPolicy MutatingAdmissionPolicyBinding MutatingAdmissionPolicyBindingList
        MutatingAdmissionPolicyList;
    "io.k8s.api.admissionregistration.v1beta1", api::admissionregistration::v1beta1:
        MutatingAdmissionPolicy MutatingAdmissionPolicyBinding MutatingAdmissionPolicyBindingList
        MutatingAdmissionPolicyList;
    "io.k8s.api.apiserverinternal.v1alpha1", api::apiserverinternal::v1alpha1:
        StorageVersion StorageVersionList;
    "io.k8s.api.apps.v1", api::apps::v1:
        ControllerRevision ControllerRevisionList DaemonSet DaemonSetList Deployment DeploymentList ReplicaSet
        ReplicaSetList StatefulSet StatefulSetList;
    "io.k8s.api.authentication.v1", api::authentication::v1:
        SelfSubjectReview TokenRequest TokenReview;
    "io.k8s.api.authorization.v1", api::authorization::v1:
        LocalSubjectAccessReview SelfSubjectAccessReview SelfSubjectRulesReview SubjectAccessReview;
    "io.k8s.api.autoscaling.v1", api::autoscaling::v1:
        HorizontalPodAutoscaler HorizontalPodAutoscalerList Scale;
    "io.k8s.api.autoscaling.v2", api::autoscaling::v2:
        HorizontalPodAutoscaler HorizontalPodAutoscalerList;
    "io.k8s.api.batch.v1", api::batch::v1:
        CronJob CronJobList Job JobList;
    "io.k8s.api.certificates.v1", api::certificates::v1:
        CertificateSigningRequest CertificateSigningRequestList;
    "io.k8s.api.certificates.v1alpha1", api::certificates::v1alpha1:
        ClusterTrustBundle ClusterTrustBundleList;
    "io.k8s.api.certificates.v1beta1", api::certificates::v1beta1:
        ClusterTrustBundle ClusterTrustBundleList PodCertificateRequest PodCertificateRequestList;
    "io.k8s.api.coordination.v1", api::coordination::v1:
        Lease LeaseList;
    "io.k8s.api.coordination.v1alpha2", api::coordination::v1alpha2:
        LeaseCandidate LeaseCandidateList;
    "io.k8s.api.coordination.v1beta1", api::coordination::v1beta1:
        LeaseCandidate LeaseCandidateList;
    "io.k8s.api.core.v1", api::core::v1:
        Binding ComponentStatus ComponentStatusList ConfigMap ConfigMapList Endpoints EndpointsList Event
        EventList LimitRange LimitRangeList Namespace NamespaceList Node NodeList PersistentVolume
        PersistentVolumeClaim PersistentVolumeClaimList PersistentVolumeList Pod PodList PodTemplate
        PodTemplateList ReplicationController ReplicationControllerList ResourceQuota ResourceQuotaList Secret
        SecretList Service ServiceAccount ServiceAccountList ServiceList;
    "io.k8s.api.discovery.v1", api::discovery::v1:
        EndpointSlice EndpointSliceList;
    "io.k8s.api.events.v1", api::events::v1:
        Event EventList;
    "io.k8s.api.flowcontrol.v1", api::flowcontrol::v1:
        FlowSchema FlowSchemaList PriorityLevelConfiguration PriorityLevelConfigurationList;
    "io.k8s.api.networking.v1", api::networking::v1:
        IPAddress IPAddressList Ingress IngressClass IngressClassList IngressList NetworkPolicy
        NetworkPolicyList ServiceCIDR ServiceCIDRList;
    "io.k8s.api.networking.v1beta1", api::networking::v1beta1:
        IPAddress IPAddressList ServiceCIDR ServiceCIDRList;
    "io.k8s.api.node.v1", api::node::v1:
        RuntimeClass RuntimeClassList;
    "io.k8s.api.policy.v1", api::policy::v1:
        Eviction PodDisruptionBudget PodDisruptionBudgetList;
    "io.k8s.api.rbac.v1", api::rbac::v1:
        ClusterRole ClusterRoleBinding ClusterRoleBindingList ClusterRoleList Role RoleBinding RoleBindingList
        RoleList;
    "io.k8s.api.resource.v1", api::resource::v1:
        DeviceClass DeviceClassList ResourceClaim ResourceClaimList ResourceClaimTemplate
        ResourceClaimTemplateList ResourceSlice ResourceSliceList;
    "io.k8s.api.resource.v1alpha3", api::resource::v1alpha3:
        DeviceTaintRule DeviceTaintRuleList;
    "io.k8s.api.resource.v1beta1", api::resource::v1beta1:
        DeviceClass DeviceClassList ResourceClaim ResourceClaimList ResourceClaimTemplate
        ResourceClaimTemplateList ResourceSlice ResourceSliceList;
    "io.k8s.api.resource.v1beta2", api::resource::v1beta2:
        DeviceClass DeviceClassList ResourceClaim ResourceClaimList ResourceClaimTemplate
        ResourceClaimTemplateList ResourceSlice ResourceSliceList;
    "io.k8s.api.scheduling.v1", api::scheduling::v1:
        PriorityClass PriorityClassList;
    "io.k8s.api.storage.v1", api::storage::v1:
        CSIDriver CSIDriverList CSINode CSINodeList CSIStorageCapacity CSIStorageCapacityList StorageClass
        StorageClassList VolumeAttachment VolumeAttachmentList VolumeAttributesClass
        VolumeAttributesClassList;
    "io.k8s.api.storage.v1beta1", api::storage::v1beta1:
        VolumeAttributesClass VolumeAttributesClassList;
    "io.k8s.api.storagemigration.v1beta1", api::storagemigration::v1beta1:
        StorageVersionMigration StorageVersionMigrationList;
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1", apiextensions_apiserver::pkg::apis::apiextensions::v1:
        CustomResourceDefinition CustomResourceDefinitionList;
    "io.k8s.apimachinery.pkg.apis.meta.v1", apimachinery::pkg::apis::meta::v1:
        APIGroup APIGroupList APIResourceList APIVersions Status;
    "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1", kube_aggregator::pkg::apis::apiregistration::v1:
        APIService APIServiceList;
};

/// Names as both sides would write them without case and signs: `x-kubernetes-int-or-string` is `x_kubernetes_int_or_string`.
fn folded(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-' | '$')).flat_map(char::to_lowercase).collect()
}

/// What the peer's text must hold: each scalar that stands once in the object, with its field's name.
fn named_scalars(map: &Map, ty: &Type, out: &mut Vec<String>) {
    for (name, value) in map.iter() {
        let Some(field) = ty.field(name) else { continue };
        match (&field.schema, value) {
            (Schema::String, Value::String(text)) if text.starts_with("s#") => {
                out.push(format!("{}: Some(\"{text}\")", folded(name)));
            }
            (Schema::Int32 | Schema::Int64, Value::Integer(number)) if (1000..1_000_000).contains(number) => {
                out.push(format!("{}: Some({number})", folded(name)));
            }
            (Schema::Struct(inner, _), Value::Object(map)) => named_scalars(map, inner.get(), out),
            (Schema::List(list), Value::Array(items)) => {
                for item in items {
                    if let (Some(ty), Value::Object(map)) = (list.element.as_type(), item) {
                        named_scalars(map, ty, out);
                    }
                }
            }
            _ => {}
        }
    }
}

/// Takes away what the peer does not know.
fn without_newer(value: &mut Value, ty: &Type) {
    let Value::Object(map) = value else { return };
    let newer = NEWER.iter().find(|(name, _)| *name == ty.name).map_or(&[][..], |(_, fields)| *fields);
    map.retain(|name, value| {
        let schema = ty.field(name).map(|f| &f.schema);
        match (schema, &mut *value) {
            (Some(Schema::Struct(inner, _)), value) => without_newer(value, inner.get()),
            (Some(Schema::List(list)), Value::Array(items)) => {
                if let Some(inner) = list.element.as_type() {
                    items.iter_mut().for_each(|item| without_newer(item, inner));
                }
            }
            (Some(Schema::Map(of)), Value::Object(map)) => {
                if let Some(inner) = of.element.as_type() {
                    map.iter_mut().for_each(|(_, item)| without_newer(item, inner));
                }
            }
            _ => {}
        }
        !newer.contains(&name)
    });
}

#[test]
fn the_peer_reads_what_we_write_and_we_what_it_writes() {
    let mut report = String::new();
    for (name, peer) in PEERS.iter().copied().flatten() {
        let ty = lookup(name).unwrap();
        for seed in 0..OBJECTS {
            let mut tree = Maker::new(seed).whole(ty);
            check(&mut tree, ty).unwrap();
            without_newer(&mut tree, ty);
            tree.remove_at(&["apiVersion"]);
            tree.remove_at(&["kind"]);
            let (text, bytes) = match peer(&encode::message(&tree, ty).unwrap()) {
                Ok(read) => read,
                Err(error) => {
                    report.push_str(&format!("{name} {seed}: {error:?}\n"));
                    continue;
                }
            };
            let mut wanted = Vec::new();
            named_scalars(tree.as_object().unwrap(), ty, &mut wanted);
            let text: String = text.chars().filter(|c| *c != '_').flat_map(char::to_lowercase).collect();
            for scalar in wanted.iter().map(|w| w.replace("Some(", "some(")).filter(|w| !text.contains(w.as_str())) {
                report.push_str(&format!("{name} {seed}: the peer has no {scalar}\n"));
            }
            let mut back = Value::from(decode::message(&bytes, ty).unwrap());
            check(&mut back, ty).unwrap();
            if let Err(difference) = same(&back, &tree) {
                report.push_str(&format!("{name} {seed}: {difference}\n"));
            }
        }
    }
    assert!(report.is_empty(), "{report}");
}
