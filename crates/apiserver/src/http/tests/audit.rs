//! What is recorded of requests, as a listener hears it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use client::{Action, Backend, Options, Request, User};
use http::Method;
use machinery::{GroupVersionResource, Value};

use super::harness::{Cluster, Identity};
use super::{CONFIG_MAPS, config_map};
use crate::audit::{Audit, Event, Level};
use crate::pipeline::Attributes;

/// Keeps all that it hears of those whom a test sends.
#[derive(Default)]
pub struct Kept(Mutex<Vec<Value>>);

impl Audit for Kept {
    fn level(&self, user: &User, attributes: &Attributes) -> Option<Level> {
        match (user.name.as_str(), attributes.resource.as_str()) {
            ("apiserver", _) | (_, "leases") => None,
            (_, "secrets") => Some(Level::Metadata),
            (_, "services") => Some(Level::Request),
            _ => Some(Level::RequestResponse),
        }
    }

    fn record(&self, event: &Event) {
        if event.user_agent == "slow" && event.verb == "get" && event.stage.as_str() == "RequestReceived" {
            panic!("a listener is broken");
        }
        self.0.lock().unwrap_or_else(|e| e.into_inner()).push(event.to_value());
    }
}

impl Kept {
    /// The events of one request, once so many are there.
    pub(super) async fn of(&self, audit_id: &str, count: usize) -> Vec<Value> {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        loop {
            let all = self.0.lock().unwrap_or_else(|e| e.into_inner()).clone();
            let found: Vec<Value> = all.into_iter().filter(|e| e.str_at(&["auditID"]) == Some(audit_id)).collect();
            if found.len() >= count {
                assert_eq!(found.len(), count, "{found:?}");
                return found;
            }
            assert!(tokio::time::Instant::now() < deadline, "{audit_id}: {found:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn listened() -> (Cluster, Arc<Kept>) {
    let kept = Arc::new(Kept::default());
    (Cluster::start_with(Some(kept.clone())).await, kept)
}

/// The same without what differs from run to run.
fn settled(event: &Value) -> String {
    let mut event = event.clone();
    for key in ["requestReceivedTimestamp", "stageTimestamp"] {
        let time = event.str_at(&[key]).unwrap_or_default().to_owned();
        assert!(time.len() == 27 && time.ends_with('Z'), "{key} {time}");
        event.remove_at(&[key]);
    }
    for key in ["kind", "apiVersion"] {
        event.remove_at(&[key]);
    }
    event.to_string()
}

const JANE: &str = r#"{"groups":["system:authenticated"],"username":"jane"}"#;
const ADMIN: &str = r#"{"groups":["system:masters","system:authenticated"],"username":"admin"}"#;
const ALLOWED: &str = r#""annotations":{"authorization.k8s.io/decision":"allow","authorization.k8s.io/reason":""}"#;
const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn a_create_is_recorded_when_it_comes_and_when_it_is_answered() {
    let (cluster, kept) = listened().await;
    let mut client = cluster.client(Identity::Admin, "h2").await;
    let headers = [JSON, ("audit-id", "made"), ("user-agent", "test/1"), ("x-forwarded-for", "10.1.1.1")];
    let body = r#"{"metadata":{"name":"a"},"data":{"k":"dg=="}}"#;
    let made = client.send(Method::POST, "/api/v1/namespaces/default/secrets?dryRun=All", &headers, body).await;
    assert_eq!((made.code, made.headers["audit-id"].to_str().unwrap()), (201, "made"));
    let events = kept.of("made", 2).await;
    let common = |annotations: &str, status: &str, stage: &str, name: &str| {
        format!(
            r#"{{{annotations}"auditID":"made","level":"Metadata","objectRef":{{"apiVersion":"v1",{name}"namespace":"default","resource":"secrets"}},"requestURI":"/api/v1/namespaces/default/secrets?dryRun=All",{status}"sourceIPs":["10.1.1.1","127.0.0.1"],"stage":"{stage}","user":{ADMIN},"userAgent":"test/1","verb":"create"}}"#
        )
    };
    assert_eq!(settled(&events[0]), common("", "", "RequestReceived", ""));
    assert_eq!(events[0].get("requestReceivedTimestamp"), events[0].get("stageTimestamp"));
    let status = r#""responseStatus":{"code":201,"metadata":{}},"#;
    let name = r#""name":"a","#;
    assert_eq!(settled(&events[1]), common(&format!("{ALLOWED},"), status, "ResponseComplete", name));
    cluster.stop().await;
}

#[tokio::test]
async fn objects_are_recorded_where_the_level_wants_them() {
    let (cluster, kept) = listened().await;
    let mut client = cluster.client(Identity::Admin, "h2").await;
    let audit_id = |id| [JSON, ("audit-id", id)];
    client.send(Method::POST, CONFIG_MAPS, &audit_id("create"), &config_map("a", 1)).await;
    let made = kept.of("create", 2).await.remove(1);
    assert_eq!(made.str_at(&["requestObject", "data", "a"]), Some("x"));
    assert!(made.at(&["requestObject", "metadata", "uid"]).is_none());
    assert!(made.str_at(&["responseObject", "metadata", "uid"]).is_some_and(|uid| !uid.is_empty()));
    let patch = [("content-type", "application/merge-patch+json"), ("audit-id", "patch")];
    client.send(Method::PATCH, &format!("{CONFIG_MAPS}/a"), &patch, r#"{"data":{"b":"y"}}"#).await;
    let patched = kept.of("patch", 2).await.remove(1);
    assert_eq!(patched.at(&["requestObject"]).unwrap().to_string(), r#"{"data":{"b":"y"}}"#);
    client.get(CONFIG_MAPS, &audit_id("list")).await;
    let listed = kept.of("list", 2).await.remove(1);
    assert_eq!(listed.str_at(&["responseObject", "kind"]), Some("ConfigMapList"));
    assert_eq!(listed.at(&["objectRef", "name"]), None);
    client.get(&format!("{CONFIG_MAPS}/none"), &audit_id("missing")).await;
    let missing = kept.of("missing", 2).await.remove(1);
    assert_eq!(
        missing.at(&["responseStatus"]).unwrap().to_string(),
        r#"{"code":404,"details":{"kind":"configmaps","name":"none"},"message":"configmaps \"none\" not found","metadata":{},"reason":"NotFound","status":"Failure"}"#
    );
    let options = r#"{"kind":"DeleteOptions","apiVersion":"v1","propagationPolicy":"Background"}"#;
    client.send(Method::DELETE, &format!("{CONFIG_MAPS}/a"), &audit_id("delete"), options).await;
    let deleted = kept.of("delete", 2).await.remove(1);
    assert_eq!(deleted.str_at(&["requestObject", "propagationPolicy"]), Some("Background"));
    assert_eq!(deleted.str_at(&["responseStatus", "status"]), Some("Success"));
    let services = "/api/v1/namespaces/default/services";
    client.send(Method::POST, services, &audit_id("broken"), "{\"kind\":").await;
    let broken = kept.of("broken", 2).await.remove(1);
    assert_eq!(broken.str_at(&["responseStatus", "reason"]), Some("BadRequest"));
    assert!(broken.get("requestObject").is_none() && broken.get("responseObject").is_none());
    client.get("/apis/networking.k8s.io/v1beta1/servicecidrs", &audit_id("old")).await;
    let old = kept.of("old", 2).await.remove(1);
    assert_eq!(old.str_at(&["annotations", "k8s.io/removed-release"]), Some("1.37"));
    client.get("/api/v1/namespaces/default", &audit_id("namespace")).await;
    let namespace = kept.of("namespace", 2).await.remove(1);
    assert_eq!(namespace.str_at(&["objectRef", "namespace"]), Some("default"));
    cluster.stop().await;
}

#[tokio::test]
async fn who_is_refused_and_who_acts_as_another_is_recorded() {
    let (cluster, kept) = listened().await;
    let mut jane = cluster.client(Identity::User, "h2").await;
    assert_eq!(jane.get(CONFIG_MAPS, &[("audit-id", "denied")]).await.code, 403);
    let denied = kept.of("denied", 2).await.remove(1);
    assert_eq!(denied.get("user").unwrap().to_string(), JANE);
    assert_eq!(denied.str_at(&["annotations", "authorization.k8s.io/decision"]), Some("forbid"));
    assert_eq!(denied.str_at(&["responseStatus", "reason"]), Some("Forbidden"));
    let as_admin = [("audit-id", "grab"), ("impersonate-user", "admin")];
    assert_eq!(jane.get(CONFIG_MAPS, &as_admin).await.code, 403);
    let grab = kept.of("grab", 2).await.remove(1);
    assert!(grab.get("impersonatedUser").is_none() && grab.get("annotations").is_none(), "{grab}");
    assert_eq!(grab.i64_at(&["responseStatus", "code"]), Some(403));
    let mut admin = cluster.client(Identity::Admin, "h2").await;
    assert_eq!(admin.get("/version", &[("audit-id", "as"), ("impersonate-user", "jane")]).await.code, 200);
    let other = kept.of("as", 2).await.remove(1);
    assert_eq!(other.get("user").unwrap().to_string(), ADMIN);
    assert_eq!(other.get("impersonatedUser").unwrap().to_string(), JANE);
    assert!(other.get("objectRef").is_none());
    let mut stranger = cluster.client(Identity::Stranger, "h2").await;
    assert_eq!(stranger.get(CONFIG_MAPS, &[("audit-id", "stranger")]).await.code, 401);
    let stranger = kept.of("stranger", 1).await.remove(0);
    assert_eq!(stranger.str_at(&["stage"]), Some("ResponseStarted"));
    assert_eq!(stranger.i64_at(&["responseStatus", "code"]), Some(401));
    cluster.stop().await;
}

#[tokio::test]
async fn watches_and_panics_have_stages_of_their_own() {
    let (cluster, kept) = listened().await;
    let mut client = cluster.client(Identity::Admin, "h2").await;
    let path = format!("{CONFIG_MAPS}?watch=true&timeoutSeconds=1");
    let started = client.open(Method::GET, &path, &[("audit-id", "watch")], "").await;
    let begun = kept.of("watch", 2).await;
    assert_eq!(begun[1].str_at(&["stage"]), Some("ResponseStarted"));
    assert_eq!(begun[1].i64_at(&["responseStatus", "code"]), Some(200));
    drop(started);
    let ended = kept.of("watch", 3).await.remove(2);
    assert_eq!(ended.str_at(&["stage"]), Some("ResponseComplete"));
    let panicked = client.get("/api/v1/namespaces/default", &[("audit-id", "broken"), ("user-agent", "slow")]).await;
    assert_eq!(panicked.code, 500);
    let event = kept.of("broken", 1).await.remove(0);
    assert_eq!(event.str_at(&["stage"]), Some("Panic"));
    assert_eq!(event.str_at(&["responseStatus", "message"]), Some("APIServer panic'd: a listener is broken"));
    assert_eq!(event.str_at(&["responseStatus", "reason"]), Some("InternalError"));
    cluster.stop().await;
}

/// What is quiet is not recorded; what has no level costs its listener nothing but the question.
#[tokio::test]
async fn components_in_this_process_are_recorded_too() {
    let (cluster, kept) = listened().await;
    let user = User::component("system:serviceaccount:kube-system:somebody", &["system:masters"]);
    let pods = GroupVersionResource { group: "".into(), version: "v1".into(), resource: "pods".into() };
    let request = |action, resource: &GroupVersionResource, name: Option<&str>| Request {
        action,
        resource: resource.clone(),
        namespace: Some("default".to_owned()),
        name: name.map(str::to_owned),
        subresource: None,
        options: Options::default(),
    };
    cluster.pipeline.call(&user, request(Action::Get, &pods, Some("p"))).await.unwrap_err();
    drop(Backend::watch(&*cluster.pipeline, &user, request(Action::List, &pods, None)).await.unwrap());
    let leases =
        GroupVersionResource { group: "coordination.k8s.io".into(), version: "v1".into(), resource: "leases".into() };
    cluster.pipeline.call(&user, request(Action::List, &leases, None)).await.unwrap();
    let own = |event: &Value| event.str_at(&["user", "username"]) == Some(user.name.as_str());
    let events: Vec<Value> = kept.0.lock().unwrap().iter().filter(|event| own(event)).cloned().collect();
    let told: Vec<String> = events
        .iter()
        .map(|e| {
            let code = e.i64_at(&["responseStatus", "code"]).unwrap_or(0);
            let text = |key| e.str_at(&[key]).unwrap_or_default();
            format!("{} {} {} {code}", text("verb"), text("requestURI"), text("stage"))
        })
        .collect();
    let path = "/api/v1/namespaces/default/pods";
    let wanted = [
        format!("get {path}/p RequestReceived 0"),
        format!("get {path}/p ResponseComplete 404"),
        format!("watch {path} RequestReceived 0"),
        format!("watch {path} ResponseStarted 200"),
        format!("watch {path} ResponseComplete 200"),
    ];
    assert_eq!(told, wanted);
    assert!(events[0].get("sourceIPs").is_none());
    cluster.stop().await;
}

#[tokio::test]
async fn policies_annotate_records() {
    let (cluster, kept) = listened().await;
    let mut client = cluster.client(Identity::Admin, "h2").await;
    let api = "/apis/admissionregistration.k8s.io/v1";
    let policy = r#"{"apiVersion":"admissionregistration.k8s.io/v1","kind":"ValidatingAdmissionPolicy","metadata":{"name":"p"},
        "spec":{"matchConstraints":{"resourceRules":[{"apiGroups":[""],"apiVersions":["v1"],"operations":["CREATE"],"resources":["configmaps"]}]},
        "validations":[{"expression":"object.metadata.name != 'bad'","message":"a bad name"}],
        "auditAnnotations":[{"key":"who","valueExpression":"'made ' + object.metadata.name"}]}}"#;
    let made = client.send(Method::POST, &format!("{api}/validatingadmissionpolicies"), &[JSON], policy).await;
    assert_eq!(made.code, 201, "{}", made.text);
    for name in ["b1", "b2"] {
        let binding = format!(
            r#"{{"apiVersion":"admissionregistration.k8s.io/v1","kind":"ValidatingAdmissionPolicyBinding","metadata":{{"name":"{name}"}},
                "spec":{{"policyName":"p","validationActions":["Audit"]}}}}"#
        );
        let path = format!("{api}/validatingadmissionpolicybindings");
        assert_eq!(client.send(Method::POST, &path, &[JSON], &binding).await.code, 201);
    }
    client.send(Method::POST, CONFIG_MAPS, &[JSON, ("audit-id", "bad")], &config_map("bad", 1)).await;
    let event = kept.of("bad", 2).await.remove(1);
    assert_eq!(event.str_at(&["annotations", "p/who"]), Some("made bad"));
    let failure = event.str_at(&["annotations", "validation.policy.admission.k8s.io/validation_failure"]);
    let wanted =
        r#"[{"binding":"b1","expressionIndex":0,"message":"a bad name","policy":"p","validationActions":["Audit"]}]"#;
    assert_eq!(failure, Some(wanted));
    cluster.stop().await;
}
