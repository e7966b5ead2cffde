//! What holds for every row of the table.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use client::{DeleteOptions, PatchKind, Reply, WatchEvent};
use futures_util::StreamExt;
use machinery::Value;
use machinery::object::ObjectExt;
use rcgen::{BasicConstraints, CertificateParams, CertificateSigningRequest, DnType, IsCa, KeyPair};
use resources::{NameRule, Resource, Subresource, Verb};

use super::{Ask, Cluster, cluster, names};

const JOB_POD: &str = r#"{"restartPolicy":"Never","containers":[{"name":"c","image":"i:1"}]}"#;

/// The smallest valid object of a row, without its metadata.
fn sample(row: &Resource) -> Value {
    let template = r#""selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i:1"}]}}"#;
    let text = match (row.group.as_str(), row.plural.as_str()) {
        ("", "pods") => r#"{"spec":{"containers":[{"name":"c","image":"i:1"}]}}"#.to_owned(),
        ("", "services") => r#"{"spec":{"ports":[{"port":80}]}}"#.to_owned(),
        ("apps", "controllerrevisions") => r#"{"revision":1,"data":{"x":1}}"#.to_owned(),
        ("", "podtemplates") => r#"{"template":{"spec":{"containers":[{"name":"c","image":"i:1"}]}}}"#.to_owned(),
        ("", "replicationcontrollers") => r#"{"spec":{"selector":{"a":"b"},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i:1"}]}}}}"#.to_owned(),
        ("apps", _) => format!(r#"{{"spec":{{{template}}}}}"#),
        ("", "events") => r#"{"involvedObject":{"namespace":"default"}}"#.to_owned(),
        ("events.k8s.io", "events") => r#"{"regarding":{"namespace":"default"},"eventTime":"2026-01-01T00:00:00.000000Z","reportingController":"k8s.io/x","reportingInstance":"i","action":"a","reason":"r","type":"Normal"}"#.to_owned(),
        ("discovery.k8s.io", _) => r#"{"addressType":"IPv4","endpoints":[],"ports":[]}"#.to_owned(),
        ("rbac.authorization.k8s.io", plural) if plural.ends_with("bindings") => r#"{"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"x"}}"#.to_owned(),
        ("scheduling.k8s.io", _) => r#"{"value":10}"#.to_owned(),
        ("policy", _) => r#"{"spec":{"minAvailable":1,"selector":{"matchLabels":{"a":"b"}}}}"#.to_owned(),
        ("networking.k8s.io", "ingresses") => r#"{"spec":{"defaultBackend":{"service":{"name":"web","port":{"number":80}}}}}"#.to_owned(),
        ("networking.k8s.io", "ingressclasses") => r#"{"spec":{"controller":"example.com/c"}}"#.to_owned(),
        ("networking.k8s.io", "ipaddresses") => r#"{"spec":{"parentRef":{"resource":"services","name":"web"}}}"#.to_owned(),
        ("networking.k8s.io", "servicecidrs") => r#"{"spec":{"cidrs":["10.0.0.0/16"]}}"#.to_owned(),
        ("autoscaling", _) => r#"{"spec":{"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"web"},"maxReplicas":3}}"#.to_owned(),
        ("node.k8s.io", _) => r#"{"handler":"runc"}"#.to_owned(),
        ("coordination.k8s.io", "leasecandidates") => r#"{"spec":{"leaseName":"l","binaryVersion":"1.36.0","emulationVersion":"1.36.0","strategy":"OldestEmulationVersion"}}"#.to_owned(),
        ("certificates.k8s.io", "certificatesigningrequests") => {
            format!(r#"{{"spec":{{"signerName":"example.com/s","usages":["client auth"],"request":"{}"}}}}"#, signing_request("x"))
        }
        ("certificates.k8s.io", "clustertrustbundles") => {
            let mut bundle = Value::object();
            bundle.set_at(&["spec", "trustBundle"], authority());
            bundle.to_string()
        }
        ("certificates.k8s.io", _) => {
            let request = BASE64_STANDARD.encode(request_of("x").der());
            format!(r#"{{"spec":{{"signerName":"example.com/s","podName":"p","podUID":"1","serviceAccountName":"a","serviceAccountUID":"2","nodeName":"n","nodeUID":"3","stubPKCS10Request":"{request}"}}}}"#)
        }
        ("batch", "jobs") => format!(r#"{{"spec":{{"template":{{"spec":{JOB_POD}}}}}}}"#),
        ("batch", "cronjobs") => {
            format!(r#"{{"spec":{{"schedule":"@daily","jobTemplate":{{"spec":{{"template":{{"spec":{JOB_POD}}}}}}}}}}}"#)
        }
        ("", "persistentvolumes") => r#"{"spec":{"capacity":{"storage":"1Gi"},"accessModes":["ReadWriteOnce"],"hostPath":{"path":"/x"}}}"#.to_owned(),
        ("", "persistentvolumeclaims") => r#"{"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}}}}"#.to_owned(),
        ("apiregistration.k8s.io", _) => r#"{"spec":{"group":"example.com","groupPriorityMinimum":1,"versionPriority":1}}"#.to_owned(),
        ("storagemigration.k8s.io", _) => r#"{"spec":{"resource":{"resource":"secrets"}}}"#.to_owned(),
        ("resource.k8s.io", "resourceslices") => r#"{"spec":{"driver":"d.example.com","nodeName":"n","pool":{"name":"p","generation":1,"resourceSliceCount":1}}}"#.to_owned(),
        ("resource.k8s.io", "devicetaintrules") => r#"{"spec":{"taint":{"key":"k","effect":"None"}}}"#.to_owned(),
        ("resource.k8s.io", "resourceclaimtemplates") => r#"{"spec":{"spec":{}}}"#.to_owned(),
        ("resource.k8s.io", _) => r#"{"spec":{}}"#.to_owned(),
        ("flowcontrol.apiserver.k8s.io", "flowschemas") => r#"{"spec":{"priorityLevelConfiguration":{"name":"system"}}}"#.to_owned(),
        ("flowcontrol.apiserver.k8s.io", _) => r#"{"spec":{"type":"Limited","limited":{"limitResponse":{"type":"Reject"}}}}"#.to_owned(),
        ("admissionregistration.k8s.io", plural) => admission(plural).to_owned(),
        ("storage.k8s.io", plural) => storage(plural).to_owned(),
        ("coordination.k8s.io", _) => r#"{"spec":{}}"#.to_owned(),
        _ => "{}".to_owned(),
    };
    Value::parse(text.as_bytes()).unwrap()
}

fn storage(plural: &str) -> &'static str {
    match plural {
        "csidrivers" => r#"{"spec":{}}"#,
        "csinodes" => r#"{"spec":{"drivers":[]}}"#,
        "csistoragecapacities" => r#"{"storageClassName":"fast"}"#,
        "volumeattachments" => r#"{"spec":{"attacher":"d","nodeName":"n","source":{"persistentVolumeName":"v"}}}"#,
        "volumeattributesclasses" => r#"{"driverName":"d","parameters":{"a":"b"}}"#,
        _ => r#"{"provisioner":"example.com/disk"}"#,
    }
}

fn admission(plural: &str) -> &'static str {
    match plural {
        "validatingadmissionpolicies" => {
            r#"{"spec":{"matchConstraints":{"resourceRules":[{"operations":["*"],"apiGroups":["*"],"apiVersions":["*"],"resources":["*"]}]},"validations":[{"expression":"true"}]}}"#
        }
        "mutatingadmissionpolicies" => {
            r#"{"spec":{"reinvocationPolicy":"Never","matchConstraints":{"resourceRules":[{"operations":["*"],"apiGroups":["*"],"apiVersions":["*"],"resources":["*"]}]},"mutations":[{"patchType":"JSONPatch","jsonPatch":{"expression":"[JSONPatch{op: 'test', path: '/metadata/name', value: object.metadata.name}]"}}]}}"#
        }
        "validatingadmissionpolicybindings" => r#"{"spec":{"policyName":"p","validationActions":["Deny"]}}"#,
        "mutatingadmissionpolicybindings" => r#"{"spec":{"policyName":"p"}}"#,
        _ => "{}",
    }
}

fn request_of(group: &str) -> CertificateSigningRequest {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::OrganizationName, group);
    params.serialize_request(&KeyPair::generate().unwrap()).unwrap()
}

/// `spec.request` of a CertificateSigningRequest.
pub(super) fn signing_request(group: &str) -> String {
    BASE64_STANDARD.encode(request_of(group).pem().unwrap())
}

/// `spec.stubPKCS10Request` of a PodCertificateRequest.
pub(super) fn stub_request() -> String {
    BASE64_STANDARD.encode(request_of("x").der())
}

fn authority() -> String {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}

/// Definitions of custom resources are changed by the server and outlive their deletion: they have tests of their own.
fn stored() -> impl Iterator<Item = std::sync::Arc<Resource>> {
    let all = resources::table().into_iter().filter(|row| row.stored && row.verbs.contains(&Verb::Create));
    all.filter(|row| row.plural != "customresourcedefinitions")
}

/// A short name as this row's names look: IP addresses are named by themselves, APIServices by what they serve.
fn named(row: &Resource, name: &str) -> String {
    match row.strategy.name_rule() {
        NameRule::IpAddress => format!("10.0.0.{}", name.as_bytes()[0]),
        _ if row.kind == "APIService" => format!("{name}.example.com"),
        _ => name.to_owned(),
    }
}

fn object(row: &Resource, name: &str) -> Value {
    let mut object = sample(row);
    object.set_at(&["metadata", "name"], named(row, name));
    object.set_at(&["metadata", "labels", "test"], name);
    if row.kind == "APIService" {
        object.set_at(&["spec", "version"], name);
    }
    object
}

async fn make(cluster: &Cluster, row: &Resource, name: &str) -> Value {
    let made = cluster.tree(Ask::row("create", row).tree(object(row, name))).await;
    made.unwrap_or_else(|e| panic!("{}: {e}", row.plural))
}

/// Storage objects wait for their controllers to let them go; here nobody uses them.
async fn unprotect(cluster: &Cluster, row: &Resource, name: &str) {
    if ["persistentvolumes", "persistentvolumeclaims", "volumeattributesclasses"].contains(&row.plural.as_str()) {
        let patch = r#"{"metadata":{"finalizers":null}}"#;
        let patch = Ask::row("patch", row).name(&named(row, name)).patch(PatchKind::Merge, patch);
        cluster.tree(patch).await.unwrap();
    }
}

#[tokio::test]
async fn every_row_is_made_read_changed_and_deleted() {
    let cluster = cluster().await;
    for row in stored() {
        let what = row.group_resource();
        let made = make(&cluster, &row, "one").await;
        assert_eq!((made.name(), made.kind()), (named(&row, "one").as_str(), row.kind.as_str()), "{what}");
        assert_eq!(made.api_version(), row.group_version().to_string(), "{what}");
        assert!(!made.uid().is_empty() && !made.resource_version().is_empty(), "{what}");
        let read = cluster.tree(Ask::row("get", &row).name(&named(&row, "one"))).await.unwrap();
        assert_eq!(read, made, "{what}");
        let mut again = read.clone();
        again.set_at(&["metadata", "annotations", "x"], "y");
        let updated = cluster.tree(Ask::row("update", &row).name(&named(&row, "one")).tree(again.clone())).await;
        let updated = updated.unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(updated.annotation("x"), Some("y"), "{what}");
        // The old revision is refused now.
        again.set_at(&["metadata", "annotations", "x"], "z");
        let stale = cluster.tree(Ask::row("update", &row).name(&named(&row, "one")).tree(again)).await.unwrap_err();
        assert!(stale.is_conflict() && stale.to_string().contains("the object has been modified"), "{what}: {stale}");
        // What changes nothing writes nothing.
        let same =
            cluster.tree(Ask::row("update", &row).name(&named(&row, "one")).tree(updated.clone())).await.unwrap();
        assert_eq!(same.resource_version(), updated.resource_version(), "{what}");
        let patch = r#"{"metadata":{"labels":{"patched":"yes"}}}"#;
        for kind in [PatchKind::Merge, PatchKind::StrategicMerge] {
            let patched =
                cluster.tree(Ask::row("patch", &row).name(&named(&row, "one")).patch(kind, patch)).await.unwrap();
            assert_eq!(patched.label("patched"), Some("yes"), "{what}");
        }
        let at_once = |o: &mut DeleteOptions| {
            (o.grace_period_seconds, o.propagation_policy) = (Some(0), Some("Background".to_owned()));
        };
        unprotect(&cluster, &row, "one").await;
        cluster.ask(&Ask::row("delete", &row).name(&named(&row, "one")).delete(at_once)).await.unwrap();
        if row.plural != "namespaces" {
            let gone = cluster.tree(Ask::row("get", &row).name(&named(&row, "one"))).await.unwrap_err();
            assert_eq!(gone.to_string(), format!("{what} {:?} not found", named(&row, "one")));
        }
    }
}

/// Clients tell an empty list from none, and some scripts a null from nothing.
#[tokio::test]
async fn what_gos_encoder_always_writes_is_there() {
    let cluster = cluster().await;
    let rows: Vec<_> = stored().collect();
    for row in &rows {
        let name = if row.version == "v1" { "one" } else { "two" };
        // What two groups share is there already.
        if cluster.tree(Ask::row("get", row).name(&named(row, name))).await.is_err() {
            make(&cluster, row, name).await;
        }
        let versions = rows.iter().filter(|other| other.storage == row.storage);
        for version in versions {
            let read = cluster.tree(Ask::row("get", version).name(&named(row, name))).await.unwrap();
            let mut complete = read.clone();
            version.complete(&mut complete);
            assert_eq!(read, complete, "{}", version.type_name);
        }
    }
    let role = cluster.tree(Ask::new("get", "rbac.authorization.k8s.io/v1", "roles").name("one")).await.unwrap();
    assert_eq!(role.get("rules"), Some(&Value::Null));
    let review = r#"{"spec":{"resourceAttributes":{"verb":"get"}}}"#;
    let review = Ask::new("create", "authorization.k8s.io/v1", "selfsubjectaccessreviews").namespace("").body(review);
    let review = cluster.tree(review).await.unwrap();
    assert_eq!(review.at(&["status", "allowed"]), Some(&Value::from(true)));
    assert_eq!(review.get("metadata"), Some(&Value::object()));
}

#[tokio::test]
async fn names_are_generated_and_dry_runs_leave_nothing() {
    let cluster = cluster().await;
    for row in stored() {
        let what = row.group_resource();
        let before = cluster.list(Ask::row("list", &row)).await.unwrap().items.len();
        let dry = Ask::row("create", &row).tree(object(&row, "dry")).options(|o| o.dry_run = true);
        let made = cluster.tree(dry).await.unwrap_or_else(|e| panic!("{what}: {e}"));
        assert!(!made.uid().is_empty() && made.resource_version().is_empty(), "{what}");
        assert_eq!(cluster.list(Ask::row("list", &row)).await.unwrap().items.len(), before, "{what}");
        if row.strategy.name_rule() == NameRule::IpAddress || row.kind == "APIService" {
            continue;
        }
        let mut generated = object(&row, "x");
        generated.remove_at(&["metadata", "name"]);
        generated.set_at(&["metadata", "generateName"], "gen-");
        let made =
            cluster.tree(Ask::row("create", &row).tree(generated)).await.unwrap_or_else(|e| panic!("{what}: {e}"));
        assert!(made.name().starts_with("gen-") && made.name().len() == 9, "{what}: {}", made.name());
        let twice = cluster.tree(Ask::row("create", &row).tree(object(&row, made.name()))).await.unwrap_err();
        assert_eq!(twice.to_string(), format!("{what} {:?} already exists", made.name()));
    }
}

#[tokio::test]
async fn status_and_spec_are_written_apart() {
    for row in stored().filter(|row| row.has(&Subresource::Status) && row.plural != "namespaces") {
        // Two rows may share their objects.
        let cluster = cluster().await;
        let what = row.group_resource();
        let made = make(&cluster, &row, "apart").await;
        let mut changed = made.clone();
        changed.set_at(&["status", "observedGeneration"], 7);
        changed.set_at(&["metadata", "annotations", "x"], "y");
        let main = cluster.tree(Ask::row("update", &row).name(&named(&row, "apart")).tree(changed)).await.unwrap();
        assert_eq!(main.get("status"), made.get("status"), "{what}");
        let mut changed = main.clone();
        changed.set_at(&["spec"], Value::object());
        let status =
            cluster.tree(Ask::row("update", &row).name(&named(&row, "apart")).sub("status").tree(changed)).await;
        let status = status.unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(status.get("spec"), main.get("spec"), "{what}");
        assert_eq!(status.generation(), main.generation(), "{what}");
    }
}

#[tokio::test]
async fn selectors_pages_and_watches_work_on_every_row() {
    for row in stored() {
        // Two rows may share their objects.
        let cluster = cluster().await;
        let what = row.group_resource();
        let start = cluster.list(Ask::row("list", &row)).await.unwrap();
        let others = start.items.len();
        for name in ["a", "b", "c"] {
            make(&cluster, &row, name).await;
        }
        let chosen = Ask::row("list", &row).options(|o| o.label_selector = "test in (a,c)".into());
        assert_eq!(names(&cluster.list(chosen).await.unwrap()), [named(&row, "a"), named(&row, "c")], "{what}");
        let chosen =
            Ask::row("list", &row).options(|o| o.field_selector = format!("metadata.name={}", named(&row, "b")));
        assert_eq!(names(&cluster.list(chosen).await.unwrap()), [named(&row, "b")], "{what}");
        let unknown = Ask::row("list", &row).options(|o| o.field_selector = "spec.nonsense=b".into());
        assert_eq!(cluster.list(unknown).await.unwrap_err().code(), 400, "{what}");
        let mut seen = Vec::new();
        let mut page = cluster.list(Ask::row("list", &row).options(|o| o.limit = 2)).await.unwrap();
        assert_eq!(page.remaining, Some(others as u64 + 1).filter(|n| *n > 0), "{what}");
        let revision = page.resource_version;
        // What is made between pages is not seen.
        make(&cluster, &row, "later").await;
        loop {
            assert_eq!(page.resource_version, revision, "{what}");
            seen.extend(names(&page));
            if page.continue_token.is_empty() {
                break;
            }
            let token = page.continue_token.clone();
            let next = Ask::row("list", &row).options(|o| (o.limit, o.continue_token) = (2, token));
            page = cluster.list(next).await.unwrap();
        }
        assert_eq!(seen.len(), others + 3, "{what}: {seen:?}");
        if !row.verbs.contains(&Verb::Watch) {
            continue;
        }
        let from = start.resource_version.to_string();
        let watch = cluster.watch(Ask::row("list", &row).options(|o| o.resource_version = from)).await.unwrap();
        let events: Vec<_> = watch.take(4).collect().await;
        let added = events.iter().map(|e| match e {
            WatchEvent::Added(entry) => entry.tree().name().to_owned(),
            other => panic!("{what}: {other:?}"),
        });
        assert_eq!(added.collect::<Vec<_>>(), ["a", "b", "c", "later"].map(|n| named(&row, n)), "{what}");
    }
}

#[tokio::test]
async fn collections_are_deleted_by_selector() {
    for row in stored().filter(|row| row.verbs.contains(&Verb::DeleteCollection)) {
        let cluster = cluster().await;
        for name in ["a", "b"] {
            make(&cluster, &row, name).await;
            unprotect(&cluster, &row, name).await;
        }
        let ask = Ask::row("deletecollection", &row).options(|o| o.label_selector = "test=a".into());
        let ask = ask.delete(|o| o.propagation_policy = Some("Background".to_owned()));
        let served = cluster.ask(&ask).await.unwrap();
        assert!(matches!(served.reply, Reply::List(list) if list.items.len() == 1), "{}", row.plural);
        let left = cluster.list(Ask::row("list", &row).options(|o| o.label_selector = "test".into())).await.unwrap();
        assert_eq!(names(&left), [named(&row, "b")], "{}", row.plural);
    }
}

#[tokio::test]
async fn the_unauthorized_get_nothing() {
    let cluster = cluster().await;
    for row in resources::table() {
        for verb in &row.verbs {
            let ask = Ask::row(verb.as_str(), &row).name("x").user("nobody", &[]);
            let error = match verb {
                Verb::Watch => cluster.watch(ask).await.err().unwrap(),
                _ => cluster.ask(&ask).await.unwrap_err(),
            };
            assert_eq!(error.code(), 403, "{} {}", verb.as_str(), row.plural);
        }
    }
}

#[tokio::test]
async fn jobs_leave_their_pods_behind_unless_asked() {
    let cluster = cluster().await;
    let row = stored().find(|row| row.plural == "jobs").unwrap();
    make(&cluster, &row, "one").await;
    cluster.ask(&Ask::row("delete", &row).name("one")).await.unwrap();
    let left = cluster.tree(Ask::row("get", &row).name("one")).await.unwrap();
    assert_eq!(left.at(&["metadata", "finalizers"]), Some(&Value::from(vec![Value::from("orphan")])));
}

#[tokio::test]
async fn components_are_read_and_not_written() {
    let cluster = cluster().await;
    let row = resources::table().into_iter().find(|row| row.plural == "componentstatuses").unwrap();
    let all = cluster.list(Ask::row("list", &row)).await.unwrap();
    assert_eq!(names(&all), ["controller-manager", "etcd-0", "scheduler"]);
    let one = cluster.tree(Ask::row("get", &row).name("scheduler")).await.unwrap();
    assert_eq!(one.name(), "scheduler");
    let refused = cluster.ask(&Ask::row("create", &row).tree(Value::object())).await.unwrap_err();
    assert_eq!(refused.code(), 405);
}

#[tokio::test]
async fn reviews_are_answered() {
    let cluster = cluster().await;
    let review =
        |plural: &str, body: &str| Ask::new("create", "authorization.k8s.io/v1", plural).namespace("").body(body);
    let spec = r#"{"spec":{"resourceAttributes":{"verb":"get","resource":"pods","namespace":"default"}}}"#;
    let answer = cluster.tree(review("selfsubjectaccessreviews", spec)).await.unwrap();
    assert_eq!(answer.at(&["status", "allowed"]), Some(&Value::from(true)));
    let spec = r#"{"spec":{"user":"nobody","resourceAttributes":{"verb":"get","resource":"pods"}}}"#;
    let answer = cluster.tree(review("subjectaccessreviews", spec)).await.unwrap();
    assert_eq!(answer.at(&["status", "allowed"]), Some(&Value::from(false)));
    let who = Ask::new("create", "authentication.k8s.io/v1", "selfsubjectreviews").namespace("").body("{}");
    assert_eq!(cluster.tree(who).await.unwrap().str_at(&["status", "userInfo", "username"]), Some("admin"));
}
