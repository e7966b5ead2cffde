//! Admission.

use client::PatchKind;
use machinery::Value;
use machinery::object::ObjectExt;

use super::{Ask, cluster, config_map, pod};

#[tokio::test]
async fn pods_get_account_token_tolerations_and_priority() {
    let cluster = cluster().await;
    let made = cluster.tree(pod("p")).await.unwrap();
    let spec = made.get("spec").unwrap();
    assert_eq!(spec.str_at(&["serviceAccountName"]), Some("default"));
    assert_eq!(
        (spec.str_at(&["serviceAccount"]), spec.str_at(&["schedulerName"])),
        (Some("default"), Some("default-scheduler"))
    );
    assert_eq!(
        (spec.i64_at(&["priority"]), spec.str_at(&["preemptionPolicy"])),
        (Some(0), Some("PreemptLowerPriority"))
    );
    let items = |key: &str| spec.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    assert_eq!(items("tolerations").len(), 2);
    let volume = &items("volumes")[0];
    assert!(volume.str_at(&["name"]).unwrap().starts_with("kube-api-access-"));
    let mounts = items("containers")[0].get("volumeMounts").cloned().unwrap().to_string();
    assert!(mounts.contains("/var/run/secrets/kubernetes.io/serviceaccount"), "{mounts}");
    let body =
        r#"{"metadata":{"name":"q"},"spec":{"serviceAccountName":"no","containers":[{"name":"c","image":"i:1"}]}}"#;
    let error = cluster.tree(Ask::new("create", "v1", "pods").body(body)).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "pods \"q\" is forbidden: error looking up service account default/no: serviceaccount \"no\" not found"
    );
    let critical = r#"{"metadata":{"name":"r"},"spec":{"priorityClassName":"system-node-critical","automountServiceAccountToken":false,"containers":[{"name":"c","image":"i:1"}]}}"#;
    let made = cluster.tree(Ask::new("create", "v1", "pods").namespace("default").body(critical)).await.unwrap();
    assert_eq!(made.i64_at(&["spec", "priority"]), Some(2_000_001_000));
    assert!(made.at(&["spec", "volumes"]).is_none());
    let unknown = critical.replace("system-node-critical", "nope").replace("\"r\"", "\"s\"");
    let error = cluster.tree(Ask::new("create", "v1", "pods").body(&unknown)).await.unwrap_err().to_string();
    assert_eq!(error, "pods \"s\" is forbidden: no PriorityClass with name nope was found");
}

#[tokio::test(start_paused = true)]
async fn a_pod_waits_for_the_account_of_a_new_namespace() {
    let cluster = cluster().await;
    cluster
        .tree(Ask::new("create", "v1", "namespaces").namespace("").body(r#"{"metadata":{"name":"n"}}"#))
        .await
        .unwrap();
    let account = Ask::new("create", "v1", "serviceaccounts").namespace("n").body(r#"{"metadata":{"name":"default"}}"#);
    let later = async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        cluster.tree(account).await.unwrap();
    };
    let (made, ()) = tokio::join!(cluster.tree(pod("p").namespace("n")), later);
    assert_eq!(made.unwrap().namespace(), "n");
}

#[tokio::test]
async fn nodes_write_only_what_is_theirs() {
    let cluster = cluster().await;
    let node = |ask: Ask| ask.user("system:node:n1", &["system:nodes"]);
    let nodes = |verb: &str| Ask::new(verb, "v1", "nodes").namespace("");
    cluster.tree(node(nodes("create").body(r#"{"metadata":{"name":"n1"}}"#))).await.unwrap();
    let error = cluster.tree(node(nodes("create").body(r#"{"metadata":{"name":"n2"}}"#))).await.unwrap_err();
    assert_eq!(error.to_string(), "nodes \"n2\" is forbidden: node \"n1\" is not allowed to modify node \"n2\"");
    let lease = |name: &str, namespace: &str| {
        let body = format!(r#"{{"metadata":{{"name":"{name}"}},"spec":{{}}}}"#);
        node(Ask::new("create", "coordination.k8s.io/v1", "leases").namespace(namespace).body(&body))
    };
    cluster.tree(lease("n1", "kube-node-lease")).await.unwrap();
    assert_eq!(cluster.tree(lease("n2", "kube-node-lease")).await.unwrap_err().code(), 403);
    assert_eq!(cluster.tree(lease("n1", "default")).await.unwrap_err().code(), 403);
    let made = cluster.tree(pod("p")).await.unwrap();
    let status = Ask::new("update", "v1", "pods").name("p").sub("status").tree(made.clone());
    assert_eq!(cluster.tree(node(status)).await.unwrap_err().code(), 403);
    assert_eq!(cluster.tree(node(Ask::new("delete", "v1", "pods").name("p"))).await.unwrap_err().code(), 403);
    assert_eq!(cluster.tree(node(pod("q"))).await.unwrap_err().code(), 403);
    cluster.tree(node(config_map("free"))).await.unwrap();
}

#[tokio::test]
async fn devices_of_others_are_for_marked_namespaces() {
    let cluster = cluster().await;
    for (version, request) in [
        ("v1", r#"{"name":"a","exactly":{"deviceClassName":"c","adminAccess":true}}"#),
        ("v1beta1", r#"{"name":"a","deviceClassName":"c","adminAccess":true}"#),
    ] {
        let body = format!(r#"{{"metadata":{{"generateName":"a-"}},"spec":{{"devices":{{"requests":[{request}]}}}}}}"#);
        let ask = Ask::new("create", &format!("resource.k8s.io/{version}"), "resourceclaims").body(&body);
        let refused = cluster.tree(ask.clone()).await.unwrap_err().to_string();
        let text = "spec.devices.requests[0].adminAccess: Forbidden: admin access to devices requires the \
                    `resource.kubernetes.io/admin-access: true` label on the containing namespace";
        assert!(refused.contains(text), "{refused}");
        let mark = |value: &str| {
            let patch = format!(r#"{{"metadata":{{"labels":{{"resource.kubernetes.io/admin-access":{value}}}}}}}"#);
            Ask::new("patch", "v1", "namespaces").namespace("").name("default").patch(PatchKind::Merge, &patch)
        };
        cluster.tree(mark("\"true\"")).await.unwrap();
        let made = cluster.tree(ask).await.unwrap();
        let stored = Ask::new("get", "resource.k8s.io/v1beta2", "resourceclaims").name(made.name());
        let stored = cluster.tree(stored).await.unwrap();
        let requests = stored.at(&["spec", "devices", "requests"]).unwrap().as_array().unwrap();
        assert_eq!(requests[0].at(&["exactly", "adminAccess"]), Some(&true.into()));
        cluster.tree(mark("null")).await.unwrap();
    }
}

#[tokio::test]
async fn what_every_cluster_has_is_made_and_put_right() {
    let cluster = cluster().await;
    let ask = |verb: &str, plural: &str, name: &str| {
        Ask::new(verb, "flowcontrol.apiserver.k8s.io/v1", plural).namespace("").name(name)
    };
    let level = cluster.tree(ask("get", "prioritylevelconfigurations", "workload-low")).await.unwrap();
    assert_eq!(level.i64_at(&["spec", "limited", "nominalConcurrencyShares"]), Some(100));
    let patch = r#"{"spec":{"limited":{"nominalConcurrencyShares":1}}}"#;
    let changed = ask("patch", "prioritylevelconfigurations", "workload-low").patch(PatchKind::Merge, patch);
    cluster.tree(changed).await.unwrap();
    cluster.ask(&ask("delete", "flowschemas", "probes")).await.unwrap();
    crate::bootstrap::run(&cluster.pipeline).await.unwrap();
    let level = cluster.tree(ask("get", "prioritylevelconfigurations", "workload-low")).await.unwrap();
    assert_eq!(level.i64_at(&["spec", "limited", "nominalConcurrencyShares"]), Some(100));
    cluster.tree(ask("get", "flowschemas", "probes")).await.unwrap();
    let class = Ask::new("get", "scheduling.k8s.io/v1", "priorityclasses").namespace("").name("system-node-critical");
    assert_eq!(cluster.tree(class).await.unwrap().i64_at(&["value"]), Some(2_000_001_000));
}

#[tokio::test]
async fn nodes_ask_for_certificates_of_their_own_pods() {
    let cluster = cluster().await;
    let body = r#"{"metadata":{"name":"own"},"spec":{"nodeName":"n1","containers":[{"name":"c","image":"i:1"}]}}"#;
    let made = cluster.tree(Ask::new("create", "v1", "pods").body(body)).await.unwrap();
    let uid = made.str_at(&["metadata", "uid"]).unwrap().to_owned();
    let request = super::rows::stub_request();
    let ask = |pod: &str, uid: &str, account: &str, node: &str| {
        let body = format!(
            r#"{{"metadata":{{"generateName":"r-"}},"spec":{{"signerName":"example.com/s","podName":"{pod}","podUID":"{uid}",
                "serviceAccountName":"{account}","serviceAccountUID":"s","nodeName":"{node}","nodeUID":"n",
                "stubPKCS10Request":"{request}"}}}}"#
        );
        let ask = Ask::new("create", "certificates.k8s.io/v1beta1", "podcertificaterequests").body(&body);
        ask.user("system:node:n1", &["system:nodes"])
    };
    cluster.tree(ask("own", &uid, "default", "n1")).await.unwrap();
    for (asked, why) in [
        (ask("own", &uid, "default", "n2"), "which is not the requesting node \"n1\""),
        (ask("none", &uid, "default", "n1"), "for pod \"none\" that is not there"),
        (ask("own", "u", "default", "n1"), "PodCertificateRequest.Spec.PodUID=\"u\", which is not the pod's own"),
        (ask("own", &uid, "other", "n1"), "PodCertificateRequest.Spec.ServiceAccountName=\"other\", which"),
    ] {
        let error = cluster.tree(asked).await.unwrap_err();
        assert!(error.code() == 403 && error.to_string().contains(why), "{error}");
    }
}

#[tokio::test]
async fn requests_for_certificates_name_their_user() {
    let cluster = cluster().await;
    let requests = |verb: &str| Ask::new(verb, "certificates.k8s.io/v1", "certificatesigningrequests").namespace("");
    let body = |name: &str, group: &str| {
        let request = super::rows::signing_request(group);
        format!(
            r#"{{"metadata":{{"name":"{name}"}},"spec":{{"signerName":"kubernetes.io/kube-apiserver-client","usages":["client auth"],"username":"liar","request":"{request}"}}}}"#
        )
    };
    let node = |ask: Ask| ask.user("system:node:n1", &["system:nodes"]);
    let made = cluster.tree(node(requests("create").body(&body("a", "x")))).await.unwrap();
    assert_eq!(made.str_at(&["spec", "username"]), Some("system:node:n1"));
    assert_eq!(made.at(&["spec", "groups"]).unwrap().to_string(), r#"["system:nodes","system:authenticated"]"#);
    let error = cluster.tree(requests("create").body(&body("b", "system:masters"))).await.unwrap_err().to_string();
    let wanted = "certificatesigningrequests.certificates.k8s.io \"b\" is forbidden: use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed";
    assert_eq!(error, wanted);
    let mut approved = made.clone();
    let condition = r#"[{"type":"Approved","status":"True","reason":"r"}]"#;
    approved.set_at(&["status", "conditions"], Value::parse(condition.as_bytes()).unwrap());
    let approval = || requests("update").name("a").sub("approval").tree(approved.clone());
    let error = cluster.tree(node(approval())).await.unwrap_err().to_string();
    let wanted = "user not permitted to approve requests with signerName \"kubernetes.io/kube-apiserver-client\"";
    assert!(error.ends_with(wanted), "{error}");
    let approved = cluster.tree(approval()).await.unwrap();
    assert!(approved.at(&["status", "conditions"]).unwrap().to_string().contains("lastUpdateTime"));
}

#[tokio::test]
async fn runtime_classes_shape_their_pods() {
    let cluster = cluster().await;
    let body = |name: &str, more: &str| {
        format!(
            r#"{{"metadata":{{"name":"{name}"}},"spec":{{"runtimeClassName":"kata",{more}"automountServiceAccountToken":false,"containers":[{{"name":"c","image":"i:1"}}]}}}}"#
        )
    };
    let make = |body: String| Ask::new("create", "v1", "pods").body(&body);
    let error = cluster.tree(make(body("a", ""))).await.unwrap_err().to_string();
    assert_eq!(error, "pods \"a\" is forbidden: pod rejected: RuntimeClass \"kata\" not found");
    let class = r#"{"metadata":{"name":"kata"},"handler":"kata","overhead":{"podFixed":{"cpu":"100m"}},"scheduling":{"nodeSelector":{"kata":"yes"},
        "tolerations":[{"key":"kata","operator":"Exists"},{"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute","tolerationSeconds":300}]}}"#;
    cluster.tree(Ask::new("create", "node.k8s.io/v1", "runtimeclasses").namespace("").body(class)).await.unwrap();
    let pod = cluster.tree(make(body("a", ""))).await.unwrap();
    assert_eq!(pod.str_at(&["spec", "overhead", "cpu"]), Some("100m"));
    assert_eq!(pod.str_at(&["spec", "nodeSelector", "kata"]), Some("yes"));
    assert_eq!(pod.at(&["spec", "tolerations"]).and_then(Value::as_array).map(Vec::len), Some(3));
    let error = cluster.tree(make(body("b", r#""nodeSelector":{"kata":"no"},"#))).await.unwrap_err().to_string();
    let wanted = "conflict: runtimeClass.scheduling.nodeSelector[kata] = yes; pod.spec.nodeSelector[kata] = no";
    assert!(error.ends_with(wanted), "{error}");
    let error = cluster.tree(make(body("b", r#""overhead":{"cpu":"1"},"#))).await.unwrap_err().to_string();
    assert!(error.ends_with("Pod's Overhead doesn't match RuntimeClass's defined Overhead"), "{error}");
    let plain = body("b", r#""overhead":{"cpu":"1"},"#).replace(r#""runtimeClassName":"kata","#, "");
    let error = cluster.tree(make(plain)).await.unwrap_err().to_string();
    assert!(error.ends_with("Pod Overhead set without corresponding RuntimeClass defined Overhead"), "{error}");
}

#[tokio::test]
async fn ingresses_get_the_newest_default_class() {
    let cluster = cluster().await;
    let ingress = |name: &str| {
        let body = format!(
            r#"{{"metadata":{{"name":"{name}"}},"spec":{{"defaultBackend":{{"service":{{"name":"s","port":{{"number":80}}}}}}}}}}"#
        );
        cluster.tree(Ask::new("create", "networking.k8s.io/v1", "ingresses").body(&body))
    };
    let class_of = |ingress: Value| ingress.str_at(&["spec", "ingressClassName"]).map(str::to_owned);
    assert_eq!(class_of(ingress("a").await.unwrap()), None);
    for (name, marked) in [("b", "true"), ("a", "true"), ("c", "false")] {
        let body = format!(
            r#"{{"metadata":{{"name":"{name}","annotations":{{"ingressclass.kubernetes.io/is-default-class":"{marked}"}}}},"spec":{{"controller":"a.b/c"}}}}"#
        );
        let ask = Ask::new("create", "networking.k8s.io/v1", "ingressclasses").namespace("").body(&body);
        cluster.tree(ask).await.unwrap();
    }
    assert_eq!(class_of(ingress("b").await.unwrap()).as_deref(), Some("a"));
}

#[tokio::test]
async fn limit_ranges_give_defaults_and_refuse_what_is_beyond() {
    let cluster = cluster().await;
    let range = r#"{"metadata":{"name":"r"},"spec":{"limits":[{"type":"Container","max":{"cpu":"1"},"default":{"cpu":"500m"}}]}}"#;
    cluster.tree(Ask::new("create", "v1", "limitranges").body(range)).await.unwrap();
    let made = cluster.tree(pod("p")).await.unwrap();
    let container = &made.at(&["spec", "containers"]).and_then(Value::as_array).unwrap()[0];
    let resources = container.get("resources").unwrap();
    assert_eq!(resources.to_string(), r#"{"limits":{"cpu":"500m"},"requests":{"cpu":"500m"}}"#);
    assert_eq!(made.str_at(&["status", "qosClass"]), Some("Burstable"));
    let body = r#"{"metadata":{"name":"q"},"spec":{"containers":[{"name":"c","image":"i:1","resources":{"limits":{"cpu":"2"}}}]}}"#;
    let error = cluster.tree(Ask::new("create", "v1", "pods").body(body)).await.unwrap_err().to_string();
    assert_eq!(error, "pods \"q\" is forbidden: maximum cpu usage per Container is 1, but limit is 2");
}

#[tokio::test]
async fn claims_get_the_default_class_and_storage_objects_their_finalizers() {
    let cluster = cluster().await;
    let class = async |name: &str, default: &str, expands: bool| {
        let body = format!(
            r#"{{"metadata":{{"name":"{name}","annotations":{{"storageclass.kubernetes.io/is-default-class":"{default}"}}}},
            "provisioner":"p","allowVolumeExpansion":{expands}}}"#
        );
        let ask = Ask::new("create", "storage.k8s.io/v1", "storageclasses").namespace("");
        cluster.tree(ask.body(&body)).await.unwrap();
    };
    let claim = |name: &str, class: &str| {
        let body = format!(
            r#"{{"metadata":{{"name":"{name}"}},"spec":{{{class}"accessModes":["ReadWriteOnce"],
            "resources":{{"requests":{{"storage":"1Gi"}}}}}}}}"#
        );
        Ask::new("create", "v1", "persistentvolumeclaims").body(&body)
    };
    let none = cluster.tree(claim("none", "")).await.unwrap();
    assert_eq!(none.at(&["spec", "storageClassName"]), None);
    assert_eq!(none.finalizers(), ["kubernetes.io/pvc-protection"]);
    class("b", "true", true).await;
    class("a", "true", false).await;
    class("other", "false", false).await;
    for (name, given, wanted) in
        [("x", "", "a"), ("y", r#""storageClassName":"","#, ""), ("z", r#""storageClassName":"b","#, "b")]
    {
        let made = cluster.tree(claim(name, given)).await.unwrap();
        // Classes of one second are taken by name.
        let class = made.str_at(&["spec", "storageClassName"]).unwrap();
        assert!(class == wanted || (name == "x" && class == "b"), "{name}: {class}");
    }
    // Only bound claims of classes that say so can grow.
    for (name, grows) in [("y", false), ("z", true)] {
        let bound = r#"{"status":{"phase":"Bound"}}"#;
        let claim = || Ask::new("patch", "v1", "persistentvolumeclaims").name(name);
        cluster.tree(claim().sub("status").patch(PatchKind::Merge, bound)).await.unwrap();
        let grow = r#"{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}"#;
        let grown = cluster.tree(claim().patch(PatchKind::Merge, grow)).await;
        assert_eq!(grown.as_ref().err().map(machinery::ApiError::code), (!grows).then_some(403), "{name}: {grown:?}");
    }
}

#[tokio::test]
async fn new_nodes_keep_the_status_that_they_come_with() {
    let cluster = cluster().await;
    let node = r#"{"metadata":{"name":"n"},"status":{"capacity":{"cpu":"4"},"nodeInfo":{"kubeletVersion":"v1"}}}"#;
    let made = cluster.tree(Ask::new("create", "v1", "nodes").namespace("").body(node)).await.unwrap();
    assert_eq!(made.str_at(&["status", "nodeInfo", "kubeletVersion"]), Some("v1"));
    assert_eq!(made.str_at(&["status", "allocatable", "cpu"]), Some("4"));
    let taint = r#"{"effect":"NoSchedule","key":"node.kubernetes.io/not-ready"}"#;
    assert_eq!(made.at(&["spec", "taints"]).unwrap().to_string(), format!("[{taint}]"));
    // Who brings it has it once, beside others.
    for own in [format!("[{taint}]"), r#"[{"effect":"NoExecute","key":"a"}]"#.to_owned()] {
        let node = format!(r#"{{"metadata":{{"generateName":"n-"}},"spec":{{"taints":{own}}}}}"#);
        let made = cluster.tree(Ask::new("create", "v1", "nodes").namespace("").body(&node)).await.unwrap();
        let taints = made.at(&["spec", "taints"]).unwrap().to_string();
        assert_eq!(
            (taints.matches(taint).count(), taints.starts_with(own.trim_end_matches(']'))),
            (1, true),
            "{taints}"
        );
    }
}
