//! apiregistration.k8s.io: APIServices, which say who serves a version of a group. Those that this server serves itself are
//! made at its start. DIVERGES: those of other servers are stored and checked, and requests are not passed on to them yet;
//! the README says so.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use machinery::field::FieldError;
use machinery::json::Value;
use machinery::{names, time};

use crate::place::{Place, Report};
use crate::read::{Read, present_mut, set_default};
use crate::row::{Column, NameRule, Resource, STATUS_KEEPS_ALL, Strategy, Subresource, Target};

const API_VERSION: &str = "apiregistration.k8s.io/v1";
const HTTPS_PORT: i64 = 443;
const GROUP_PRIORITY_MAX: i64 = 20_000;
const VERSION_PRIORITY_MAX: i64 = 1000;
const STATUSES: [&str; 3] = ["True", "False", "Unknown"];
/// Says that an APIService was made at a server's start.
const MANAGED: (&str, &str) = ("kube-aggregator.kubernetes.io/automanaged", "onstart");

/// A group, its priority, and its versions with theirs.
type Priorities = (&'static str, i64, &'static [(&'static str, i64)]);

/// Higher ones are listed first.
const PRIORITIES: &[Priorities] = &[
    ("", 18_000, &[("v1", 1)]),
    ("apps", 17_800, &[("v1", 15)]),
    ("events.k8s.io", 17_750, &[("v1", 15)]),
    ("authentication.k8s.io", 17_700, &[("v1", 15)]),
    ("authorization.k8s.io", 17_600, &[("v1", 15)]),
    ("autoscaling", 17_500, &[("v1", 15), ("v2", 30)]),
    ("batch", 17_400, &[("v1", 15)]),
    ("certificates.k8s.io", 17_300, &[("v1", 15), ("v1beta1", 9), ("v1alpha1", 1)]),
    ("networking.k8s.io", 17_200, &[("v1", 15), ("v1beta1", 9)]),
    ("policy", 17_100, &[("v1", 15)]),
    ("rbac.authorization.k8s.io", 17_000, &[("v1", 15)]),
    ("storage.k8s.io", 16_800, &[("v1", 15), ("v1beta1", 9)]),
    ("admissionregistration.k8s.io", 16_700, &[("v1", 15), ("v1beta1", 12)]),
    ("apiextensions.k8s.io", 16_700, &[("v1", 15)]),
    ("scheduling.k8s.io", 16_600, &[("v1", 15)]),
    ("coordination.k8s.io", 16_500, &[("v1", 15), ("v1beta1", 13), ("v1alpha2", 12)]),
    ("node.k8s.io", 16_300, &[("v1", 15)]),
    ("discovery.k8s.io", 16_200, &[("v1", 15)]),
    ("resource.k8s.io", 16_200, &[("v1", 20), ("v1beta2", 15), ("v1beta1", 9)]),
    ("flowcontrol.apiserver.k8s.io", 16_100, &[("v1", 21)]),
    ("storagemigration.k8s.io", 15_800, &[("v1beta1", 9)]),
];

/// The row.
pub fn row() -> Resource {
    let mut row = Resource::new(API_VERSION, "APIService", "apiservices")
        .cluster_scoped()
        .categories(&["api-extensions"])
        .subresources(&[Subresource::Status])
        .columns(vec![
            Column::text("Service", "Who serves it.", service),
            Column::text("Available", "Whether it is served.", available),
            Column::age(),
        ])
        .strategy(ApiService);
    "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService".clone_into(&mut row.type_name);
    row
}

/// Where a group stands among others. This group itself comes first.
pub(crate) fn group_priority(group: &str) -> i64 {
    let known = PRIORITIES.iter().find(|(known, ..)| *known == group).map(|(_, priority, _)| *priority);
    known.unwrap_or(if API_VERSION.starts_with(group) { GROUP_PRIORITY_MAX } else { 0 })
}

/// The APIServices of what some rows serve.
pub(crate) fn local(rows: &[std::sync::Arc<Resource>]) -> Vec<Value> {
    let served = |group: &str, version: &str| rows.iter().any(|row| row.group == group && row.version == version);
    let mut all = Vec::new();
    for (group, priority, versions) in PRIORITIES {
        for (version, version_priority) in versions.iter().filter(|(version, _)| served(group, version)) {
            let mut object = Value::object();
            object.set_at(&["apiVersion"], API_VERSION);
            object.set_at(&["kind"], "APIService");
            object.set_at(&["metadata", "name"], format!("{version}.{group}"));
            object.set_at(&["metadata", "labels", MANAGED.0], MANAGED.1);
            if !group.is_empty() {
                object.set_at(&["spec", "group"], *group);
            }
            object.set_at(&["spec", "version"], *version);
            object.set_at(&["spec", "groupPriorityMinimum"], *priority);
            object.set_at(&["spec", "versionPriority"], *version_priority);
            all.push(object);
        }
    }
    all
}

fn service(object: &Value, _now: Timestamp) -> Value {
    match object.at(&["spec", "service"]).filter(|service| !service.is_null()) {
        Some(service) => format!("{}/{}", service.text("namespace"), service.text("name")).into(),
        None => "Local".into(),
    }
}

fn available(object: &Value, _now: Timestamp) -> Value {
    let conditions = object.get("status").map_or(&[][..], |status| status.items("conditions"));
    let Some(condition) = conditions.iter().find(|c| c.text("type") == "Available") else { return "Unknown".into() };
    match (condition.text("status"), condition.text("reason")) {
        (status @ "True", _) | (status, "") => status.into(),
        (status, reason) => format!("{status} ({reason})").into(),
    }
}

struct ApiService;

impl Strategy for ApiService {
    fn default(&self, object: &mut Value) {
        if let Some(service) = object.get_mut("spec").and_then(|spec| present_mut(spec, "service")) {
            set_default(service, "port", HTTPS_PORT);
        }
    }

    /// What this server serves is there from the start.
    fn prepare_for_create(&self, object: &mut Value) {
        if object.at(&["spec", "service"]).is_some_and(|service| !service.is_null()) {
            return;
        }
        let mut condition = Value::object();
        for (field, text) in [
            ("type", "Available"),
            ("status", "True"),
            ("reason", "Local"),
            ("message", "Local APIServices are always available"),
        ] {
            condition.set_at(&[field], text);
        }
        condition.set_at(&["lastTransitionTime"], time::format(seams::clock::now_seconds()));
        object.set_at(&["status", "conditions"], vec![condition]);
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let empty = Value::object();
        let (spec, at) = (object.get("spec").unwrap_or(&empty), Place::root("spec"));
        let (group, version) = (spec.text("group"), spec.text("version"));
        let (name, wanted) = (object.str_at(&["metadata", "name"]).unwrap_or_default(), format!("{version}.{group}"));
        if name != wanted && names::path_segment_name(name).is_empty() {
            let detail = format!("must be `spec.version+\".\"+spec.group`: {}", machinery::field::quoted(&wanted));
            errors.invalid(&Place::root("metadata").field("name"), name, &detail);
        }
        if group.is_empty() && version != "v1" {
            let detail = "only v1 may have an empty group and it better be legacy kube";
            errors.required(&at.field("group"), detail);
        }
        if !group.is_empty() {
            errors.invalid_each(&at.field("group"), group, names::dns1123_subdomain(group));
        }
        errors.invalid_each(&at.field("version"), version, names::dns1035_label(version));
        for (field, max) in [("groupPriorityMinimum", GROUP_PRIORITY_MAX), ("versionPriority", VERSION_PRIORITY_MAX)] {
            let priority = spec.int(field).unwrap_or(0);
            if !(1..=max).contains(&priority) {
                errors.invalid(&at.field(field), priority, &format!("must be positive and less than {max}"));
            }
        }
        validate_service(spec, &at, &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, _old: &Value, target: Target) -> Vec<FieldError> {
        if target != Target::Subresource("status") {
            return self.validate(object);
        }
        let mut errors = Vec::new();
        let at = Place::root("status");
        let list = at.field("conditions");
        let conditions = object.get("status").map_or(&[][..], |status| status.items("conditions"));
        for (index, condition) in conditions.iter().enumerate() {
            let status = condition.text("status");
            if !STATUSES.contains(&status) {
                errors.unsupported(&list.index(index).field("status"), status, &STATUSES);
            }
        }
        errors
    }

    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn status_keeps_metadata(&self) -> &'static [&'static str] {
        STATUS_KEEPS_ALL
    }
}

fn validate_service(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let (bundle, insecure) = (spec.text("caBundle"), spec.flag("insecureSkipTLSVerify"));
    let Some(service) = spec.present("service") else {
        if !bundle.is_empty() {
            let bytes = STANDARD.decode(bundle).map_or(bundle.len(), |bytes| bytes.len());
            let shown = format!("{bytes} bytes");
            errors.invalid(&at.field("caBundle"), shown, "local APIServices may not have a caBundle");
        }
        if insecure {
            let detail = "local APIServices may not have insecureSkipTLSVerify";
            errors.invalid(&at.field("insecureSkipTLSVerify"), true, detail);
        }
        return;
    };
    let place = at.field("service");
    for field in ["namespace", "name"].into_iter().filter(|field| service.text(field).is_empty()) {
        errors.required(&place.field(field), "");
    }
    let port = service.int("port").unwrap_or(0);
    let wrong = names::port_number(port);
    if !wrong.is_empty() {
        errors.invalid(&place.field("port"), port, &format!("port is not valid: {}", wrong.join(", ")));
    }
    if insecure && !bundle.is_empty() {
        errors.invalid(&at.field("insecureSkipTLSVerify"), true, "may not be true if caBundle is present");
    }
}
