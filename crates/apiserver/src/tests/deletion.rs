//! Deletion: finalizers, grace periods, preconditions, namespaces.

use client::{PatchKind, Reply};
use machinery::Value;
use machinery::object::ObjectExt;

use super::{Ask, cluster, config_map, pod};

#[tokio::test]
async fn finalizers_hold_an_object_until_the_last_is_gone() {
    let cluster = cluster().await;
    let body = r#"{"metadata":{"name":"f","finalizers":["example.com/a"]}}"#;
    cluster.tree(Ask::new("create", "v1", "configmaps").body(body)).await.unwrap();
    let deleted = cluster.tree(Ask::new("delete", "v1", "configmaps").name("f")).await.unwrap();
    assert!(deleted.is_deleting() && deleted.kind() == "ConfigMap");
    let again = cluster.tree(config_map("f")).await.unwrap_err();
    assert_eq!(again.to_string(), "object is being deleted: configmaps \"f\" already exists");
    assert_eq!(again.to_status().str_at(&["details", "name"]), Some("f"));
    let more = r#"{"metadata":{"finalizers":["example.com/a","example.com/b"]}}"#;
    let patch = |json: &str| Ask::new("patch", "v1", "configmaps").name("f").patch(PatchKind::Merge, json);
    let error = cluster.tree(patch(more)).await.unwrap_err();
    assert!(error.to_string().contains("no new finalizers can be added if the object is being deleted"), "{error}");
    cluster.tree(patch(r#"{"metadata":{"finalizers":null}}"#)).await.unwrap();
    assert!(cluster.tree(Ask::new("get", "v1", "configmaps").name("f")).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn propagation_sets_the_collectors_finalizers() {
    let cluster = cluster().await;
    for (policy, finalizers) in [("Foreground", vec!["foregroundDeletion"]), ("Orphan", vec!["orphan"])] {
        let name = policy.to_lowercase();
        cluster.tree(config_map(&name)).await.unwrap();
        let ask =
            Ask::new("delete", "v1", "configmaps").name(&name).delete(|o| o.propagation_policy = Some(policy.into()));
        let left = cluster.tree(ask).await.unwrap();
        assert_eq!(left.finalizers(), finalizers);
        assert!(left.is_deleting());
    }
    cluster.tree(config_map("b")).await.unwrap();
    let ask =
        Ask::new("delete", "v1", "configmaps").name("b").delete(|o| o.propagation_policy = Some("Background".into()));
    let status = cluster.tree(ask).await.unwrap();
    assert_eq!((status.kind(), status.str_at(&["status"])), ("Status", Some("Success")));
    assert_eq!(status.str_at(&["details", "kind"]), Some("configmaps"));
    for verb in ["delete", "deletecollection"] {
        let name = if verb == "delete" { "b" } else { "" };
        let bad = Ask::new(verb, "v1", "configmaps").name(name).delete(|o| o.propagation_policy = Some("Never".into()));
        assert_eq!(cluster.ask(&bad).await.unwrap_err().code(), 422);
    }
}

#[tokio::test]
async fn options_of_a_deletion_are_checked() {
    let cluster = cluster().await;
    cluster.tree(config_map("a")).await.unwrap();
    let delete = |body: &str| Ask::new("delete", "v1", "configmaps").name("a").body(body);
    let cases = [
        (r#"{"kind":"Foo"}"#, 400, "Foo in version \"v1\" cannot be handled as a DeleteOptions: no kind \"Foo\""),
        (r#"{"dryRun":["Some"]}"#, 422, "dryRun: Unsupported value: [\"Some\"]: supported values: \"All\""),
        (r#"{"orphanDependents":true,"propagationPolicy":"Orphan"}"#, 422, "cannot be both set"),
        (
            r#"{"preconditions":{"uid":"x"}}"#,
            409,
            "Operation cannot be fulfilled on ConfigMap \"a\": the UID in the precondition (x) does not match",
        ),
        (
            r#"{"preconditions":{"resourceVersion":"1"}}"#,
            409,
            "Operation cannot be fulfilled on ConfigMap \"a\": the ResourceVersion in the precondition (1) does not match",
        ),
    ];
    for (body, code, message) in cases {
        let error = cluster.tree(delete(body)).await.unwrap_err();
        assert!(error.code() == code && error.to_string().contains(message), "{body}: {error}");
    }
    let held = r#"{"metadata":{"name":"held","finalizers":["example.com/a"]}}"#;
    cluster.tree(Ask::new("create", "v1", "configmaps").body(held)).await.unwrap();
    let old_way = r#"{"kind":"DeleteOptions","apiVersion":"apps/v1","orphanDependents":false}"#;
    assert_eq!(cluster.ask(&delete(old_way).name("held")).await.unwrap().code, 202, "it waits");
    assert_eq!(cluster.ask(&delete(old_way)).await.unwrap().code, 200);
}

#[tokio::test]
async fn pods_get_their_grace_and_only_a_shorter_one() {
    let cluster = cluster().await;
    // A pod that no node has goes at once.
    cluster.tree(pod("free")).await.unwrap();
    assert_eq!(cluster.tree(Ask::new("delete", "v1", "pods").name("free")).await.unwrap().kind(), "Pod");
    assert!(cluster.tree(Ask::new("get", "v1", "pods").name("free")).await.is_err());
    let body = r#"{"metadata":{"name":"p"},"spec":{"nodeName":"n","containers":[{"name":"c","image":"i:1"}]}}"#;
    cluster.tree(Ask::new("create", "v1", "pods").body(body)).await.unwrap();
    let delete = |seconds| Ask::new("delete", "v1", "pods").name("p").delete(|o| o.grace_period_seconds = seconds);
    let grace = |tree: &Value| tree.i64_at(&["metadata", "deletionGracePeriodSeconds"]);
    let first = cluster.tree(delete(None)).await.unwrap();
    assert_eq!(grace(&first), Some(30));
    assert_eq!(cluster.tree(delete(Some(60))).await.unwrap(), first);
    let shorter = cluster.tree(delete(Some(5))).await.unwrap();
    assert_eq!(grace(&shorter), Some(5));
    let times = [&first, &shorter].map(|t| t.str_at(&["metadata", "deletionTimestamp"]).unwrap().to_owned());
    assert!(times[1] < times[0]);
    cluster.tree(delete(Some(0))).await.unwrap();
    assert!(cluster.tree(Ask::new("get", "v1", "pods").name("p")).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn preconditions_hold() {
    let cluster = cluster().await;
    cluster.tree(config_map("c")).await.unwrap();
    let ask = Ask::new("delete", "v1", "configmaps").name("c");
    let error = cluster.tree(ask.clone().delete(|o| o.uid = Some("other".into()))).await.unwrap_err();
    assert!(error.is_conflict() && error.to_string().contains("the UID in the precondition (other)"), "{error}");
    let error = cluster.tree(ask.clone().delete(|o| o.resource_version = Some("1".into()))).await.unwrap_err();
    assert!(error.is_conflict(), "{error}");
    cluster.tree(ask.clone().options(|o| o.dry_run = true)).await.unwrap();
    let body = r#"{"kind":"DeleteOptions","apiVersion":"v1","gracePeriodSeconds":0,"preconditions":{"uid":"no"}}"#;
    assert!(cluster.tree(ask.clone().body(body)).await.unwrap_err().is_conflict());
    cluster.tree(ask).await.unwrap();
}

#[tokio::test]
async fn a_namespace_empties_before_it_goes() {
    let cluster = cluster().await;
    cluster
        .tree(Ask::new("create", "v1", "namespaces").namespace("").body(r#"{"metadata":{"name":"x"}}"#))
        .await
        .unwrap();
    let delete = |name: &str| Ask::new("delete", "v1", "namespaces").namespace("").name(name);
    let left = cluster.tree(delete("x")).await.unwrap();
    assert_eq!(left.str_at(&["status", "phase"]), Some("Terminating"));
    let error = cluster.tree(config_map("c").namespace("x")).await.unwrap_err();
    assert!(error.to_status().to_string().contains(r#""reason":"NamespaceTerminating""#));
    assert_eq!(
        error.to_string(),
        "configmaps \"c\" is forbidden: unable to create new content in namespace x because it is being terminated"
    );
    let mut done = left.clone();
    done.set_at(&["spec", "finalizers"], Value::Array(Vec::new()));
    cluster
        .tree(Ask::new("update", "v1", "namespaces").namespace("").name("x").sub("finalize").tree(done))
        .await
        .unwrap();
    let gone = cluster.tree(Ask::new("get", "v1", "namespaces").namespace("").name("x")).await.unwrap_err();
    assert_eq!(gone.to_string(), "namespaces \"x\" not found");
    let error = cluster.tree(delete("kube-system")).await.unwrap_err().to_string();
    assert_eq!(error, "namespaces \"kube-system\" is forbidden: this namespace may not be deleted");
}

#[tokio::test]
async fn a_budget_refuses_evictions_until_it_allows_them() {
    let cluster = cluster().await;
    let body = r#"{"metadata":{"name":"b"},"spec":{"minAvailable":1,"selector":{"matchLabels":{"a":"b"}}}}"#;
    cluster.tree(Ask::new("create", "policy/v1", "poddisruptionbudgets").body(body)).await.unwrap();
    let body = r#"{"metadata":{"name":"e","labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i:1"}]}}"#;
    cluster.tree(Ask::new("create", "v1", "pods").body(body)).await.unwrap();
    let status = |plural: &str, api: &str, name: &str, json: &str| {
        Ask::new("patch", api, plural).name(name).sub("status").patch(PatchKind::Merge, json)
    };
    let running = r#"{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}"#;
    cluster.tree(status("pods", "v1", "e", running)).await.unwrap();
    let body = r#"{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"e"}}"#;
    let evict = Ask::new("create", "v1", "pods").name("e").sub("eviction").body(body);
    let error = cluster.tree(evict.clone()).await.unwrap_err();
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    assert_eq!((error.code(), error.to_string().as_str()), (429, message));
    let allowed = r#"{"status":{"observedGeneration":1,"disruptionsAllowed":1,"currentHealthy":2,"desiredHealthy":1,"expectedPods":2}}"#;
    cluster.tree(status("poddisruptionbudgets", "policy/v1", "b", allowed)).await.unwrap();
    cluster.tree(evict).await.unwrap();
    let budget = cluster.tree(Ask::new("get", "policy/v1", "poddisruptionbudgets").name("b")).await.unwrap();
    assert_eq!(budget.i64_at(&["status", "disruptionsAllowed"]), Some(0));
    assert!(budget.at(&["status", "disruptedPods", "e"]).is_some());
}

#[tokio::test]
async fn pods_that_are_not_ready_may_go_uncounted() {
    let cluster = cluster().await;
    let cases = [
        ("AlwaysAllow", r#"{"currentHealthy":0,"desiredHealthy":1}"#, true),
        ("IfHealthyBudget", r#"{"currentHealthy":0,"desiredHealthy":1}"#, false),
        ("IfHealthyBudget", r#"{"currentHealthy":1,"desiredHealthy":1}"#, true),
        ("IfHealthyBudget", r#"{"currentHealthy":0,"desiredHealthy":0}"#, false),
    ];
    for (number, (policy, numbers, goes)) in cases.into_iter().enumerate() {
        let name = format!("p{number}");
        let body = format!(
            r#"{{"metadata":{{"name":"{name}"}},"spec":{{"minAvailable":1,"unhealthyPodEvictionPolicy":"{policy}",
            "selector":{{"matchLabels":{{"a":"{name}"}}}}}}}}"#
        );
        cluster.tree(Ask::new("create", "policy/v1", "poddisruptionbudgets").body(&body)).await.unwrap();
        let mut tree = cluster.tree(Ask::new("get", "policy/v1", "poddisruptionbudgets").name(&name)).await.unwrap();
        tree.set_at(&["status"], Value::parse(numbers.as_bytes()).unwrap());
        tree.set_at(&["status", "observedGeneration"], 1);
        let update = Ask::new("update", "policy/v1", "poddisruptionbudgets").name(&name).sub("status").tree(tree);
        cluster.tree(update).await.unwrap();
        let body = format!(
            r#"{{"metadata":{{"name":"{name}","labels":{{"a":"{name}"}},"finalizers":["a/b"]}},
            "spec":{{"containers":[{{"name":"c","image":"i:1"}}]}}}}"#
        );
        cluster.tree(Ask::new("create", "v1", "pods").body(&body)).await.unwrap();
        let running = r#"{"status":{"phase":"Running"}}"#;
        let patch = Ask::new("patch", "v1", "pods").name(&name).sub("status").patch(PatchKind::Merge, running);
        cluster.tree(patch).await.unwrap();
        let body = format!(r#"{{"apiVersion":"policy/v1","kind":"Eviction","metadata":{{"name":"{name}"}}}}"#);
        let evicted = cluster.ask(&Ask::new("create", "v1", "pods").name(&name).sub("eviction").body(&body)).await;
        assert_eq!(evicted.is_ok(), goes, "{policy} {numbers}");
        let pod = cluster.tree(Ask::new("get", "v1", "pods").name(&name)).await.unwrap();
        let reason = pod.at(&["status", "conditions"]).and_then(Value::as_array).and_then(|c| c.last());
        let reason = reason.and_then(|c| c.str_at(&["reason"]));
        assert_eq!(reason, goes.then_some("EvictionByEvictionAPI"), "{policy} {numbers}");
    }
}

#[tokio::test]
async fn an_eviction_deletes() {
    let cluster = cluster().await;
    cluster.tree(pod("e")).await.unwrap();
    let body = r#"{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"e"}}"#;
    let served = cluster.ask(&Ask::new("create", "v1", "pods").name("e").sub("eviction").body(body)).await.unwrap();
    assert!(served.code == 201 && matches!(served.reply, Reply::Value(_)));
    assert!(cluster.tree(Ask::new("get", "v1", "pods").name("e")).await.unwrap_err().is_not_found());
}
