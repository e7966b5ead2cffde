//! Writes and their errors, in upstream's words.

use client::PatchKind;
use machinery::Value;
use machinery::object::ObjectExt;

use super::{Ask, cluster, config_map, over, pod};

#[tokio::test]
async fn bad_bodies_are_refused_in_upstreams_words() {
    let cluster = cluster().await;
    let ask = |body: &str| Ask::new("create", "v1", "configmaps").body(body);
    let cases = [
        (
            r#"{"metadata":{"name":"UPPER"}}"#,
            422,
            "ConfigMap \"UPPER\" is invalid: metadata.name: Invalid value: \"UPPER\"",
        ),
        (
            r#"{"metadata":{}}"#,
            422,
            "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required",
        ),
        (
            r#"{"metadata":{"name":"a","namespace":"other"}}"#,
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            r#"{"apiVersion":"v2","kind":"ConfigMap","metadata":{"name":"a"}}"#,
            400,
            "the API version in the data (v2) does not match the expected API version (v1)",
        ),
        (
            r#"{"metadata":{"name":"a"},"data":{"k":1}}"#,
            400,
            "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: json: cannot unmarshal number",
        ),
        ("{", 400, "the object provided is unrecognized (must be of type ConfigMap)"),
        ("", 400, "the object provided is unrecognized (must be of type ConfigMap)"),
    ];
    for (body, code, message) in cases {
        let error = cluster.tree(ask(body)).await.unwrap_err();
        assert_eq!(error.code(), code, "{body}: {error}");
        assert!(error.to_string().starts_with(message), "{body}: {error}");
    }
    let strict = ask(r#"{"metadata":{"name":"a"},"nonsense":1}"#).options(|o| o.field_validation = "Strict".into());
    let error = cluster.tree(strict).await.unwrap_err().to_string();
    assert!(error.ends_with("strict decoding error: unknown field \"nonsense\""), "{error}");
    let served = cluster.ask(&ask(r#"{"metadata":{"name":"a"},"nonsense":1}"#)).await.unwrap();
    assert_eq!((served.code, served.warnings), (201, vec!["unknown field \"nonsense\"".to_owned()]));
    let nowhere = config_map("a").namespace("nowhere");
    assert_eq!(cluster.tree(nowhere).await.unwrap_err().to_string(), "namespaces \"nowhere\" not found");
    let nothing = Ask::new("get", "v1", "nonsense").name("x");
    assert_eq!(cluster.tree(nothing).await.unwrap_err().code(), 404);
    let wrong = Ask::new("deletecollection", "v1", "namespaces").namespace("");
    assert_eq!(cluster.ask(&wrong).await.unwrap_err().code(), 405);
}

#[tokio::test]
async fn patches_change_what_they_name() {
    let cluster = cluster().await;
    cluster.tree(config_map("a")).await.unwrap();
    let patch = |kind, json: &str| Ask::new("patch", "v1", "configmaps").name("a").patch(kind, json);
    let json = r#"[{"op":"add","path":"/data/x","value":"1"},{"op":"test","path":"/data/k","value":"v"}]"#;
    let tree = cluster.tree(patch(PatchKind::Json, json)).await.unwrap();
    assert_eq!(tree.str_at(&["data", "x"]), Some("1"));
    let tree = cluster.tree(patch(PatchKind::Merge, r#"{"data":{"x":null,"y":"2"}}"#)).await.unwrap();
    assert_eq!((tree.at(&["data", "x"]), tree.str_at(&["data", "y"])), (None, Some("2")));
    let stale = r#"{"metadata":{"resourceVersion":"1"},"data":{"x":"3"}}"#;
    assert!(cluster.tree(patch(PatchKind::Merge, stale)).await.unwrap_err().is_conflict());
    let missing = Ask::new("patch", "v1", "configmaps").name("b").patch(PatchKind::Merge, "{}");
    assert_eq!(cluster.tree(missing).await.unwrap_err().to_string(), "configmaps \"b\" not found");
}

#[tokio::test]
async fn applies_make_and_change_and_conflict() {
    let cluster = cluster().await;
    let apply = |manager: &str, value: &str, force| {
        let body =
            format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"s"}},"data":{{"k":"{value}"}}}}"#);
        let ask = Ask::new("patch", "v1", "configmaps").name("s").patch(PatchKind::Apply, &body);
        ask.options(|o| (o.field_manager, o.force) = (manager.to_owned(), force))
    };
    assert_eq!(cluster.ask(&apply("one", "1", false)).await.unwrap().code, 201);
    assert_eq!(cluster.tree(apply("one", "2", false)).await.unwrap().str_at(&["data", "k"]), Some("2"));
    let conflict = cluster.tree(apply("two", "3", false)).await.unwrap_err();
    assert!(conflict.to_string().contains("conflict with \"one\""), "{conflict}");
    assert_eq!(cluster.tree(apply("two", "3", true)).await.unwrap().str_at(&["data", "k"]), Some("3"));
}

#[tokio::test]
async fn who_applies_with_a_uid_makes_nothing() {
    let cluster = cluster().await;
    let body = |more: &str| format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"s"{more}}}}}"#);
    let apply = |more: &str| Ask::new("patch", "v1", "configmaps").name("s").patch(PatchKind::Apply, &body(more));
    let gone = cluster.tree(apply(r#","uid":"u""#)).await.unwrap_err();
    assert_eq!(
        gone.to_string(),
        "Operation cannot be fulfilled on configmaps \"s\": uid mismatch: the provided object specified uid u, and no \
         existing object was found"
    );
    assert_eq!(cluster.ask(&apply(r#","resourceVersion":"1""#)).await.unwrap().code, 201);
    let other = cluster.tree(apply(r#","uid":"u""#)).await.unwrap_err();
    assert!(other.is_conflict() && other.to_string().contains("UID in precondition: u"), "{other}");
}

#[tokio::test]
async fn an_applied_field_may_be_empty() {
    let cluster = cluster().await;
    let apply = |(version, resource): (&str, &str), body: &str, manager: &str, force| {
        let ask = Ask::new("patch", version, resource).name("a").patch(PatchKind::Apply, body);
        ask.options(|o| (o.field_manager, o.force) = (manager.to_owned(), force))
    };
    let deployment = |spec: &str| {
        format!(
            r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"a"}},"spec":{{{spec},"selector":{{"matchLabels":
            {{"x":"y"}}}},"template":{{"metadata":{{"labels":{{"x":"y"}}}},"spec":{{"containers":[{{"name":"c","image":"i"}}]}}}}}}}}"#
        )
    };
    let change =
        |spec: &str, manager: &str, force| apply(("apps/v1", "deployments"), &deployment(spec), manager, force);
    let paused = cluster.tree(change(r#""paused":true,"replicas":3"#, "one", false)).await.unwrap();
    assert_eq!(paused.at(&["spec", "paused"]), Some(&true.into()));
    // What Go's encoder leaves out is said all the same.
    let conflict = cluster.tree(change(r#""paused":false"#, "two", false)).await.unwrap_err();
    assert!(conflict.to_string().contains("conflict with \"one\": .spec.paused"), "{conflict}");
    let conflict = cluster.tree(change(r#""replicas":null"#, "two", false)).await.unwrap_err();
    assert!(conflict.to_string().contains("conflict with \"one\": .spec.replicas"), "{conflict}");
    let forced = cluster.tree(change(r#""paused":false,"replicas":null"#, "two", true)).await.unwrap();
    assert_eq!((forced.at(&["spec", "paused"]), forced.i64_at(&["spec", "replicas"])), (None, Some(1)));
    let again = cluster.tree(change(r#""paused":false,"replicas":null"#, "two", false)).await.unwrap();
    assert_eq!(again.str_at(&["metadata", "resourceVersion"]), forced.str_at(&["metadata", "resourceVersion"]));
    let bare = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","labels":null,"annotations":{},
        "creationTimestamp":null,"managedFields":null},"data":{}}"#;
    let made = cluster.tree(apply(("v1", "configmaps"), bare, "one", false)).await.unwrap();
    let owned = made.at(&["metadata", "managedFields"]).and_then(Value::as_array).unwrap()[0].clone();
    assert_eq!(
        owned.get("fieldsV1").map(ToString::to_string).unwrap(),
        r#"{"f:data":{},"f:metadata":{"f:annotations":{},"f:labels":{}}}"#
    );
    assert!(made.get("data").is_none() && made.at(&["metadata", "labels"]).is_none());
}

#[tokio::test]
async fn updates_create_only_where_that_is_allowed() {
    let cluster = cluster().await;
    let lease =
        Ask::new("update", "coordination.k8s.io/v1", "leases").name("l").body(r#"{"metadata":{"name":"l"},"spec":{}}"#);
    assert_eq!(cluster.ask(&lease).await.unwrap().code, 201);
    let error = cluster.tree(lease).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "leases.coordination.k8s.io \"l\" is invalid: metadata.resourceVersion: Invalid value: 0x0: must be specified for an update"
    );
    let missing = Ask::new("update", "v1", "configmaps").name("m").body(r#"{"metadata":{"name":"m"}}"#);
    assert_eq!(cluster.tree(missing).await.unwrap_err().code(), 404);
    let made = cluster.tree(config_map("u")).await.unwrap();
    let mut other = made.clone();
    other.set_at(&["metadata", "uid"], "other");
    other.remove_at(&["metadata", "resourceVersion"]);
    let error = cluster.tree(Ask::new("update", "v1", "configmaps").name("u").tree(other)).await.unwrap_err();
    assert!(error.to_string().contains("Precondition failed: UID in precondition: other"), "{error}");
    let error = cluster.tree(Ask::new("update", "v1", "configmaps").name("v").tree(made)).await.unwrap_err();
    assert_eq!(error.to_string(), "the name of the object (u) does not match the name on the URL (v)");
}

#[tokio::test]
async fn generation_counts_what_users_want_and_scale_changes_it() {
    let cluster = cluster().await;
    let body = r#"{"metadata":{"name":"d"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i:1"}]}}}}"#;
    let made = cluster.tree(Ask::new("create", "apps/v1", "deployments").body(body)).await.unwrap();
    assert_eq!((made.generation(), made.i64_at(&["spec", "replicas"])), (1, Some(1)));
    let scale = Ask::new("get", "apps/v1", "deployments").name("d").sub("scale");
    let read = cluster.tree(scale.clone()).await.unwrap();
    assert_eq!((read.kind(), read.i64_at(&["spec", "replicas"])), ("Scale", Some(1)));
    let patch = r#"{"spec":{"replicas":4}}"#;
    let ask = Ask::new("patch", "apps/v1", "deployments").name("d").sub("scale").patch(PatchKind::Merge, patch);
    assert_eq!(cluster.tree(ask).await.unwrap().i64_at(&["spec", "replicas"]), Some(4));
    let read = cluster.tree(Ask::new("get", "apps/v1", "deployments").name("d")).await.unwrap();
    assert_eq!((read.generation(), read.i64_at(&["spec", "replicas"])), (2, Some(4)));
    let label = Ask::new("patch", "apps/v1", "deployments")
        .name("d")
        .patch(PatchKind::Merge, r#"{"metadata":{"labels":{"x":"y"}}}"#);
    assert_eq!(cluster.tree(label).await.unwrap().generation(), 2);
}

#[tokio::test]
async fn pods_are_bound_once() {
    let cluster = cluster().await;
    cluster.tree(pod("p")).await.unwrap();
    let bind = |node: &str| {
        let body = format!(r#"{{"metadata":{{"name":"p"}},"target":{{"kind":"Node","name":"{node}"}}}}"#);
        Ask::new("create", "v1", "pods").name("p").sub("binding").body(&body)
    };
    assert_eq!(cluster.ask(&bind("n1")).await.unwrap().code, 201);
    let bound = cluster.tree(Ask::new("get", "v1", "pods").name("p")).await.unwrap();
    assert_eq!(bound.str_at(&["spec", "nodeName"]), Some("n1"));
    let conditions = bound.at(&["status", "conditions"]).and_then(Value::as_array).unwrap();
    assert!(
        conditions.iter().any(|c| c.str_at(&["type"]) == Some("PodScheduled") && c.str_at(&["status"]) == Some("True"))
    );
    let error = cluster.tree(bind("n2")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"n1\""
    );
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart_and_secrets_are_sealed() {
    let first = cluster().await;
    let secret = Ask::new("create", "v1", "secrets").body(r#"{"metadata":{"name":"s"},"stringData":{"p":"hunter2"}}"#);
    let made = first.tree(secret).await.unwrap();
    first.tree(config_map("c")).await.unwrap();
    let stored = first.store.get("/registry/secrets/default/s").await.unwrap().unwrap();
    assert_eq!(stored.value[0], b'E');
    let second = over(first.store.clone()).await;
    assert_eq!(second.tree(Ask::new("get", "v1", "secrets").name("s")).await.unwrap(), made);
    assert!(second.tree(Ask::new("get", "v1", "configmaps").name("c")).await.is_ok());
}

#[tokio::test]
async fn what_is_wrong_is_told_before_what_is_taken() {
    let cluster = cluster().await;
    cluster.tree(config_map("a")).await.unwrap();
    let error = cluster.tree(config_map("a").options(|o| o.dry_run = true)).await.unwrap_err();
    assert_eq!(error.to_string(), "configmaps \"a\" already exists");
    let bad = r#"{"metadata":{"name":"a"},"data":{"no spaces":"x"}}"#;
    let error = cluster.tree(Ask::new("create", "v1", "configmaps").body(bad)).await.unwrap_err();
    assert_eq!(error.code(), 422, "{error}");
    let old = r#"{"metadata":{"name":"b","resourceVersion":"7"}}"#;
    let error = cluster.tree(Ask::new("create", "v1", "configmaps").body(old)).await.unwrap_err();
    assert_eq!(
        (error.code(), error.to_string().as_str()),
        (500, "resourceVersion should not be set on objects to be created")
    );
}

#[tokio::test]
async fn status_writes_take_the_metadata_that_upstream_takes() {
    let cluster = cluster().await;
    let template = r#""selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i:1"}]}}"#;
    let apps = format!(r#"{{"metadata":{{"name":"x"}},"spec":{{{template}}}}}"#);
    let pod = r#"{"metadata":{"name":"x"},"spec":{"containers":[{"name":"c","image":"i:1"}]}}"#;
    // Which of labels and owner references a status write changes; annotations always.
    let cases = [
        ("v1", "pods", pod, true, false),
        ("apps/v1", "deployments", apps.as_str(), false, true),
        ("apps/v1", "replicasets", apps.as_str(), true, true),
    ];
    let patch = r#"{"metadata":{"labels":{"l":"1"},"annotations":{"n":"1"},"ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":"o","uid":"u"}]}}"#;
    for (version, plural, body, labels, owners) in cases {
        cluster.tree(Ask::new("create", version, plural).body(body)).await.unwrap();
        let ask = Ask::new("patch", version, plural).name("x").sub("status").patch(PatchKind::Merge, patch);
        let made = cluster.tree(ask).await.unwrap();
        assert_eq!((made.label("l").is_some(), made.annotation("n")), (labels, Some("1")), "{plural}");
        assert_eq!(made.at(&["metadata", "ownerReferences"]).is_some(), owners, "{plural}");
    }
}

#[tokio::test]
async fn what_lives_in_no_namespace_forgets_the_one_that_it_says() {
    let cluster = cluster().await;
    let roles = |verb: &str| Ask::new(verb, "rbac.authorization.k8s.io/v1", "clusterroles").namespace("");
    let body = |name: &str| {
        format!(
            r#"{{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{{"name":"{name}",
            "namespace":"default"}},"rules":[]}}"#
        )
    };
    let merge = r#"{"metadata":{"namespace":"default","labels":{"a":"b"}}}"#;
    let asks = [
        roles("create").body(&body("a")),
        roles("update").name("a").body(&body("a")),
        roles("patch").name("a").patch(PatchKind::Merge, merge),
        roles("patch").name("b").patch(PatchKind::Apply, &body("b")).options(|o| o.field_manager = "m".into()),
        Ask::new("create", "v1", "namespaces").namespace("").body(r#"{"metadata":{"name":"n","namespace":"other"}}"#),
    ];
    for ask in asks {
        let made = cluster.tree(ask).await.unwrap();
        assert_eq!(made.at(&["metadata", "namespace"]), None, "{made}");
    }
    let other = r#"{"metadata":{"namespace":"other"}}"#;
    cluster.tree(config_map("c")).await.unwrap();
    let moved = Ask::new("patch", "v1", "configmaps").name("c").patch(PatchKind::Merge, other);
    let error = cluster.tree(moved).await.unwrap_err();
    let message = "the namespace of the provided object does not match the namespace sent on the request";
    assert_eq!((error.code(), error.to_string().as_str()), (400, message));
}

#[tokio::test]
async fn nothing_becomes_another_kind() {
    let cluster = cluster().await;
    let made = cluster.tree(config_map("a")).await.unwrap();
    let ask = |kind, body: &str| Ask::new("patch", "v1", "configmaps").name("a").patch(kind, body);
    let apply = |name: &str, body: &str| {
        ask(PatchKind::Apply, body).name(name).options(|options| options.field_manager = "m".to_owned())
    };
    let wrong = "no kind \"Secret\" is registered for this path; it takes v1, Kind=ConfigMap";
    let version = "the API version in the data (v2) does not match the expected API version (v1)";
    let applied = "Incorrect kind specified in apply patch. Specified patch kind: Secret, expected: ConfigMap";
    let cases = [
        (ask(PatchKind::Merge, r#"{"kind":"Secret"}"#), 422, wrong),
        (ask(PatchKind::StrategicMerge, r#"{"kind":"Secret"}"#), 422, wrong),
        (ask(PatchKind::Json, r#"[{"op":"replace","path":"/kind","value":"Secret"}]"#), 422, wrong),
        (ask(PatchKind::Merge, r#"{"apiVersion":"v2"}"#), 422, version),
        (apply("a", r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"}}"#), 400, applied),
        (apply("new", r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"new"}}"#), 400, applied),
        (apply("new", r#"{"apiVersion":"v1","metadata":{"name":"new"}}"#), 400, "Object 'Kind' is missing in"),
    ];
    for (ask, code, message) in cases {
        let error = cluster.tree(ask).await.unwrap_err();
        assert!(error.code() == code && error.to_string().contains(message), "{code} {error}");
    }
    // Who does not say it means this kind.
    let same = cluster.tree(ask(PatchKind::Merge, r#"{"kind":null,"apiVersion":null}"#)).await.unwrap();
    assert_eq!(same, made);
}

#[tokio::test]
async fn an_update_names_its_object() {
    let cluster = cluster().await;
    cluster.tree(config_map("a")).await.unwrap();
    let unnamed = "the name of the object (a based on URL) was undeterminable: name must be provided";
    let other = "the name of the object (b) does not match the name on the URL (a)";
    let merge = |json: &str| Ask::new("patch", "v1", "configmaps").name("a").patch(PatchKind::Merge, json);
    let apply = |name: &str| {
        let body = r#"{"apiVersion":"v1","kind":"ConfigMap"}"#;
        let ask = Ask::new("patch", "v1", "configmaps").name(name).patch(PatchKind::Apply, body);
        ask.options(|options| options.field_manager = "m".to_owned())
    };
    let put = |json: &str| Ask::new("update", "v1", "configmaps").name("a").body(json);
    let cases = [
        (put("{}"), unnamed),
        (put(r#"{"metadata":{"name":"b"}}"#), other),
        (merge(r#"{"metadata":{"name":null}}"#), unnamed),
        (merge(r#"{"metadata":{"name":"b"}}"#), other),
        (apply("b"), "the name of the object (b based on URL) was undeterminable: name must be provided"),
    ];
    for (ask, message) in cases {
        let error = cluster.tree(ask).await.unwrap_err();
        assert_eq!((error.code(), error.to_string().as_str()), (400, message));
    }
    // An apply to what is there may leave it out.
    assert_eq!(cluster.tree(apply("a")).await.unwrap().name(), "a");
}

#[tokio::test]
async fn the_servers_own_metadata_stays() {
    let cluster = cluster().await;
    let made = cluster.tree(config_map("a")).await.unwrap();
    let merge = |json: &str| Ask::new("patch", "v1", "configmaps").name("a").patch(PatchKind::Merge, json);
    let old = r#"{"metadata":{"creationTimestamp":"2020-01-01T00:00:00Z","generation":7}}"#;
    assert_eq!(cluster.tree(merge(old)).await.unwrap(), made, "as if it had not been said");
    for (field, value) in [("deletionTimestamp", "\"2020-01-01T00:00:00Z\""), ("deletionGracePeriodSeconds", "5")] {
        let error = cluster.tree(merge(&format!(r#"{{"metadata":{{"{field}":{value}}}}}"#))).await.unwrap_err();
        let message = format!("metadata.{field}: Invalid value: {value}: field is immutable");
        assert!(error.code() == 422 && error.to_string().ends_with(&message), "{error}");
    }
}

#[tokio::test]
async fn owners_that_are_named_twice_are_kept_once() {
    let cluster = cluster().await;
    let owner = |uid: u8| format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","name":"o","uid":"{uid}"}}"#);
    let metadata = |more: &str| {
        format!(r#"{{"metadata":{{"name":"a"{more},"ownerReferences":[{},{},{}]}}}}"#, owner(1), owner(2), owner(1))
    };
    let warning = |when: &str| {
        format!(
            ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, and may \
             reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: 1"
        )
    };
    let asks = [
        (Ask::new("create", "v1", "configmaps").body(&metadata("")), ""),
        (Ask::new("update", "v1", "configmaps").name("a").body(&metadata(r#","labels":{"a":"b"}"#)), ""),
        (
            Ask::new("patch", "v1", "configmaps").name("a").patch(PatchKind::Merge, &metadata("")),
            " after mutating admission happens",
        ),
    ];
    for (ask, when) in asks {
        let served = cluster.ask(&ask).await.unwrap();
        assert_eq!(served.warnings, [warning(when)]);
        let client::Reply::Object(entry) = served.reply else { panic!("no object") };
        let owners = entry.tree().at(&["metadata", "ownerReferences"]).and_then(Value::as_array).unwrap().len();
        assert_eq!(owners, 2);
    }
}

#[tokio::test]
async fn who_may_not_create_makes_nothing_by_writing_to_what_is_not_there() {
    let cluster = cluster().await;
    let leases = |verb: &str| {
        let ask = Ask::new(verb, "coordination.k8s.io/v1", "leases").name("a");
        ask.options(|o| o.field_manager = "m".to_owned())
    };
    let body = r#"{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"a"},"spec":{}}"#;
    let asks = [leases("update").body(body), leases("patch").patch(PatchKind::Apply, body)];
    for ask in &asks {
        let error = cluster.tree(ask.clone().user("editor", &[])).await.unwrap_err();
        let message = "leases.coordination.k8s.io \"a\" is forbidden: User \"editor\" cannot create resource \"leases\" in \
            API group \"coordination.k8s.io\" in the namespace \"default\"";
        assert_eq!((error.code(), error.to_string().as_str()), (403, message));
    }
    assert_eq!(cluster.ask(&asks[0]).await.unwrap().code, 201);
    assert_eq!(cluster.ask(&asks[1].clone().user("editor", &[])).await.unwrap().code, 200);
}

#[tokio::test]
async fn what_is_sent_below_an_object_names_it() {
    let cluster = cluster().await;
    let zone = r#"{"metadata":{"name":"n","labels":{"topology.kubernetes.io/zone":"z","other":"o"}}}"#;
    cluster.tree(Ask::new("create", "v1", "nodes").namespace("").body(zone)).await.unwrap();
    let made = cluster.tree(pod("p")).await.unwrap();
    let bind = |metadata: &str| {
        let body = format!(r#"{{"metadata":{{{metadata}}},"target":{{"kind":"Node","name":"n"}}}}"#);
        Ask::new("create", "v1", "pods").name("p").sub("binding").body(&body)
    };
    let evict = |metadata: &str| {
        let body = format!(r#"{{"metadata":{{{metadata}}}}}"#);
        Ask::new("create", "v1", "pods").name("p").sub("eviction").body(&body)
    };
    let token = |metadata: &str| {
        let body = format!(r#"{{"metadata":{{{metadata}}}}}"#);
        Ask::new("create", "v1", "serviceaccounts").name("default").sub("token").body(&body)
    };
    let elsewhere = "the namespace of the provided object does not match the namespace sent on the request";
    let cases = [
        (bind(r#""name":"p","namespace":"other""#), 400, elsewhere),
        (evict(r#""name":"p","namespace":"other""#), 400, elsewhere),
        (token(r#""namespace":"other""#), 400, elsewhere),
        (bind(r#""name":"q""#), 400, "name in URL does not match name in Binding object"),
        (bind(""), 400, "name in URL does not match name in Binding object"),
        (evict(""), 400, "name in URL does not match name in Eviction object"),
        (token(r#""name":"q""#), 422, "must match the service account name if specified"),
        (bind(r#""name":"p","uid":"u""#), 409, "UID in precondition: u"),
        (bind(r#""name":"p","resourceVersion":"1""#), 409, "the object has been modified"),
    ];
    for (ask, code, message) in cases {
        let error = cluster.tree(ask).await.unwrap_err();
        assert!(error.code() == code && error.to_string().contains(message), "{code} {error}");
    }
    let metadata = format!(r#""name":"p","uid":"{}","labels":{{"l":"m"}},"annotations":{{"a":"b"}}"#, made.uid());
    cluster.tree(bind(&metadata)).await.unwrap();
    let bound = cluster.tree(Ask::new("get", "v1", "pods").name("p")).await.unwrap();
    let labels = bound.at(&["metadata", "labels"]).unwrap().to_string();
    // What the binding says, and where the node is.
    assert_eq!(labels, r#"{"l":"m","topology.kubernetes.io/zone":"z"}"#);
    assert_eq!(bound.annotation("a"), Some("b"));
    let body = r#"{"metadata":{"name":"direct"},"spec":{"nodeName":"n","containers":[{"name":"c","image":"i:1"}]}}"#;
    let direct = cluster.tree(Ask::new("create", "v1", "pods").body(body)).await.unwrap();
    assert_eq!(direct.label("topology.kubernetes.io/zone"), Some("z"));
}

#[tokio::test]
async fn each_verb_has_its_path() {
    let cluster = cluster().await;
    cluster.tree(config_map("a")).await.unwrap();
    let ask = |verb: &str| Ask::new(verb, "v1", "configmaps");
    let body = r#"{"metadata":{"name":"b"}}"#;
    let cases = [
        (ask("create").name("b").body(body), 405),
        (ask("update").body(body), 405),
        (ask("patch").patch(PatchKind::Merge, "{}"), 405),
        (ask("create").namespace("").body(body), 405),
        (ask("deletecollection").namespace(""), 405),
        (ask("get").namespace("").name("a"), 404),
        (ask("delete").namespace("").name("a"), 404),
    ];
    for (ask, code) in cases {
        let error = cluster.ask(&ask).await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().starts_with("the server "), "{error}");
    }
    cluster.tree(ask("get").name("a")).await.unwrap();
}

#[tokio::test]
async fn questions_about_access_are_checked() {
    let cluster = cluster().await;
    let review = |kind: &str, namespace: &str, spec: &str| {
        let plural = format!("{}s", kind.to_lowercase());
        let body = format!(r#"{{"kind":"{kind}",{spec}}}"#);
        Ask::new("create", "authorization.k8s.io/v1", &plural).namespace(namespace).body(&body)
    };
    let own = |spec: &str| review("SelfSubjectAccessReview", "", spec);
    let others = |spec: &str| review("SubjectAccessReview", "", spec);
    let local = |spec: &str| review("LocalSubjectAccessReview", "default", spec);
    let get = r#""resourceAttributes":{"verb":"get","resource":"pods","namespace":"default"}"#;
    let path = r#""nonResourceAttributes":{"verb":"get","path":"/x"}"#;
    let user = r#""user":"u""#;
    let refused = [
        (own(r#""spec":{}"#), "exactly one of nonResourceAttributes or resourceAttributes must be specified"),
        (own(&format!(r#""spec":{{{get},{path}}}"#)), "cannot be specified in combination with resourceAttributes"),
        (
            own(&format!(r#""metadata":{{"name":"x"}},"spec":{{{get}}}"#)),
            "metadata: Invalid value: {\"name\":\"x\"}: must be empty",
        ),
        (
            others(&format!(r#""spec":{{{get}}}"#)),
            "spec.user: Invalid value: \"\": at least one of user or group must be specified",
        ),
        (local(&format!(r#""spec":{{{user},{path}}}"#)), "disallowed on this kind of request"),
        (
            local(&format!(r#""spec":{{{user},"resourceAttributes":{{"namespace":"other"}}}}"#)),
            "spec.resourceAttributes.namespace: Invalid value: \"other\": must match metadata.namespace",
        ),
        (
            own(r#""spec":{"resourceAttributes":{"fieldSelector":{}}}"#),
            "when spec.resourceAttributes.fieldSelector is specified, requirements or rawSelector is required",
        ),
        (
            own(r#""spec":{"resourceAttributes":{"labelSelector":{"requirements":[{"key":"a","operator":"In"}]}}}"#),
            "spec.resourceAttributes.labelSelector.requirements[0].values: Required value: must be specified when `operator`",
        ),
    ];
    for (ask, message) in refused {
        let error = cluster.tree(ask).await.unwrap_err();
        assert!(error.code() == 422 && error.to_string().contains(message), "{error}");
    }
    let allowed = |review: Value| review.at(&["status", "allowed"]).and_then(Value::as_bool).unwrap();
    assert!(allowed(cluster.tree(own(&format!(r#""spec":{{{get}}}"#))).await.unwrap()));
    assert!(!allowed(cluster.tree(others(&format!(r#""spec":{{"user":"nobody",{get}}}"#))).await.unwrap()));
    assert!(allowed(cluster.tree(local(&format!(r#""spec":{{{user},{get}}}"#))).await.unwrap()));
    let token = Ask::new("create", "authentication.k8s.io/v1", "tokenreviews").namespace("").body(r#"{"spec":{}}"#);
    let error = cluster.tree(token).await.unwrap_err().to_string();
    assert_eq!(error, "token is required for TokenReview in authentication");
}

#[tokio::test]
async fn changes_of_a_daemon_sets_template_are_counted() {
    let cluster = cluster().await;
    let sets = |verb: &str| Ask::new(verb, "apps/v1", "daemonsets");
    let body = r#"{"metadata":{"name":"d"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},
        "spec":{"hostNetwork":true,"containers":[{"name":"c","image":"i:1","ports":[{"containerPort":80}]}]}}}}"#;
    let counted = |tree: Value| tree.annotation("deprecated.daemonset.template.generation").unwrap().to_owned();
    let made = cluster.tree(sets("create").body(body)).await.unwrap();
    let ports = made.at(&["spec", "template", "spec", "containers"]).unwrap().to_string();
    assert!(!ports.contains("hostPort"), "only pods get the host's ports: {ports}");
    assert_eq!(counted(made), "1");
    let patches = [
        (r#"{"metadata":{"annotations":{"deprecated.daemonset.template.generation":"7"},"labels":{"x":"y"}}}"#, "1"),
        (r#"{"spec":{"template":{"metadata":{"annotations":{"x":"y"}}}}}"#, "2"),
        (r#"{"metadata":{"annotations":null},"spec":{"minReadySeconds":5}}"#, "2"),
    ];
    for (patch, wanted) in patches {
        assert_eq!(
            counted(cluster.tree(sets("patch").name("d").patch(PatchKind::Merge, patch)).await.unwrap()),
            wanted
        );
    }
    let status = r#"{"metadata":{"annotations":null},"status":{"numberReady":1}}"#;
    let told = sets("patch").name("d").sub("status").patch(PatchKind::Merge, status);
    assert_eq!(counted(cluster.tree(told).await.unwrap()), "2");
}
