//! Controllers at work on the real request pipeline.

mod bounds;

use client::{DeleteOptions, Options};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Namespace, Node, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use machinery::json::Value;

use crate::testing::{Cluster, until};

fn template(app: &str, image: &str) -> String {
    format!(
        r#""selector":{{"matchLabels":{{"app":"{app}"}}}},"template":{{"metadata":{{"labels":{{"app":"{app}"}}}},
        "spec":{{"containers":[{{"name":"c","image":"{image}"}}]}}}}"#
    )
}

fn labelled(selector: &str) -> Options {
    Options { label_selector: selector.to_owned(), ..Options::default() }
}

fn delete(policy: &str) -> DeleteOptions {
    DeleteOptions { propagation_policy: Some(policy.to_owned()), ..DeleteOptions::default() }
}

/// Names of the pods of an app, once there are so many.
async fn pods(cluster: &Cluster, app: &str, count: usize) -> Vec<String> {
    let api = cluster.api::<Pod>("default");
    until(&format!("{count} pods of {app}"), async || {
        let found = api.list(labelled(&format!("app={app}"))).await.unwrap();
        let names: Vec<String> = found.iter().filter_map(|p| p.metadata.name.clone()).collect();
        (names.len() == count).then_some(names)
    })
    .await
}

async fn make_ready(cluster: &Cluster, names: &[String]) {
    for (number, name) in names.iter().enumerate() {
        cluster.set_pod("default", name, &format!("10.42.0.{}", number + 2), true).await;
    }
}

#[tokio::test]
async fn a_replica_set_has_as_many_pods_as_it_asks_for() {
    let cluster = Cluster::start(&["replicaset-controller"]).await;
    let stray = cluster.pod("default", "stray", "web", None).await;
    let spec = template("web", "i");
    cluster
        .create::<ReplicaSet>("default", &format!(r#"{{"metadata":{{"name":"web"}},"spec":{{"replicas":3,{spec}}}}}"#))
        .await;
    let names = pods(&cluster, "web", 3).await;
    let api = cluster.api::<Pod>("default");
    let adopted = until("the stray is adopted", async || {
        let pod = api.get("stray").await.unwrap();
        pod.metadata.owner_references.is_some().then_some(pod)
    })
    .await;
    assert_eq!(adopted.metadata.uid, stray.metadata.uid);

    let gone = names.iter().find(|n| *n != "stray").unwrap();
    api.delete(gone, DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() }).await.unwrap();
    until("another one comes", async || {
        let names = pods(&cluster, "web", 3).await;
        (!names.contains(gone)).then_some(())
    })
    .await;

    cluster.merge::<Pod>("default", "stray", r#"{"metadata":{"labels":{"app":"else"}}}"#).await;
    until("the stray is let go, and replaced", async || {
        let stray = api.get("stray").await.unwrap();
        let others = api.list(labelled("app=web")).await.unwrap();
        (stray.metadata.owner_references.is_none() && others.len() == 3).then_some(())
    })
    .await;

    cluster.merge::<ReplicaSet>("default", "web", r#"{"spec":{"replicas":1}}"#).await;
    until("one is left, and counted", async || {
        let alive = api.list(labelled("app=web")).await.unwrap();
        let alive = alive.iter().filter(|p| p.metadata.deletion_timestamp.is_none()).count();
        let set = cluster.api::<ReplicaSet>("default").get("web").await.unwrap();
        let status = set.status.clone().unwrap();
        (alive == 1 && status.replicas == 1 && status.observed_generation == set.metadata.generation).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_deployment_rolls_over_and_back() {
    let cluster = Cluster::start(&["replicaset-controller", "deployment-controller"]).await;
    let spec = template("web", "first");
    let deployment = format!(r#"{{"metadata":{{"name":"web"}},"spec":{{"replicas":2,{spec}}}}}"#);
    cluster.create::<Deployment>("default", &deployment).await;
    let old = pods(&cluster, "web", 2).await;
    make_ready(&cluster, &old).await;
    let deployments = cluster.api::<Deployment>("default");
    let has_rolled = async || {
        let deployment = deployments.get("web").await.unwrap();
        let status = deployment.status.clone().unwrap_or_default();
        let is_new = status.observed_generation == deployment.metadata.generation;
        let counts = [status.replicas, status.updated_replicas, status.available_replicas];
        (is_new && counts == [Some(2); 3]).then_some(())
    };
    until("both are available", has_rolled).await;

    let image = |image: &str| {
        format!(r#"{{"spec":{{"template":{{"spec":{{"containers":[{{"name":"c","image":"{image}"}}]}}}}}}}}"#)
    };
    cluster.merge::<Deployment>("default", "web", &image("second")).await;
    until("the pods of the first template are gone", async || {
        let all = cluster.api::<Pod>("default").list(labelled("app=web")).await.unwrap();
        let names: Vec<String> = all.iter().filter_map(|p| p.metadata.name.clone()).collect();
        make_ready(&cluster, &names.iter().filter(|n| !old.contains(n)).cloned().collect::<Vec<_>>()).await;
        (!names.iter().any(|n| old.contains(n))).then_some(())
    })
    .await;
    until("the new ones are available", has_rolled).await;

    let sets = cluster.api::<ReplicaSet>("default").list(labelled("app=web")).await.unwrap();
    let revision = |image: &str| {
        let found = sets.iter().find(|s| {
            let template = s.spec.as_ref().and_then(|s| s.template.as_ref()).and_then(|t| t.spec.as_ref());
            template.is_some_and(|t| t.containers[0].image.as_deref() == Some(image))
        });
        found.and_then(|s| s.metadata.annotations.as_ref()?.get("deployment.kubernetes.io/revision").cloned())
    };
    assert_eq!((revision("first").as_deref(), revision("second").as_deref()), (Some("1"), Some("2")));

    cluster.merge::<Deployment>("default", "web", &image("first")).await;
    until("going back is the third revision of the same replica set", async || {
        let sets = cluster.api::<ReplicaSet>("default").list(labelled("app=web")).await.unwrap();
        let revisions: Vec<&String> = sets
            .iter()
            .filter_map(|s| s.metadata.annotations.as_ref()?.get("deployment.kubernetes.io/revision"))
            .collect();
        (sets.len() == 2 && revisions.iter().any(|r| *r == "3")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn endpoints_and_slices_follow_pods() {
    let cluster = Cluster::start(&["endpoints-controller", "endpointslice-controller"]).await;
    cluster.pod("default", "a", "web", Some("10.42.0.2")).await;
    cluster.pod("default", "b", "web", Some("10.42.0.3")).await;
    cluster.pod("default", "c", "other", Some("10.42.0.4")).await;
    let service =
        r#"{"metadata":{"name":"web"},"spec":{"selector":{"app":"web"},"ports":[{"port":80,"targetPort":"web"}]}}"#;
    cluster.create::<Service>("default", service).await;
    let seen = async |wanted: [&str; 2]| {
        until(&format!("ready and not ready are {wanted:?}"), async || {
            let found = cluster.api::<Endpoints>("default").get_opt("web").await.unwrap()?;
            let slices = cluster.api::<EndpointSlice>("default");
            let slices = slices.list(labelled("kubernetes.io/service-name=web")).await.unwrap();
            (subsets(&found) == wanted && endpoints(&slices) == wanted).then_some((found, slices))
        })
        .await
    };
    let (found, slices) = seen(["10.42.0.2 10.42.0.3", ""]).await;
    let port = &found.subsets.as_ref().unwrap()[0].ports.as_ref().unwrap()[0];
    assert_eq!(port.port, 8080);
    assert_eq!(slices[0].ports.as_ref().unwrap()[0].port, Some(8080));
    cluster.set_pod("default", "b", "10.42.0.3", false).await;
    seen(["10.42.0.2", "10.42.0.3"]).await;
    cluster.merge::<Pod>("default", "a", r#"{"metadata":{"labels":{"app":"other"}}}"#).await;
    seen(["", "10.42.0.3"]).await;
    cluster.merge::<Service>("default", "web", r#"{"spec":{"selector":{"app":"other"}}}"#).await;
    seen(["10.42.0.2 10.42.0.4", ""]).await;
    cluster.api::<Service>("default").delete("web", DeleteOptions::default()).await.unwrap();
    until("the endpoints go with the service", async || {
        cluster.api::<Endpoints>("default").get_opt("web").await.unwrap().is_none().then_some(())
    })
    .await;
}

/// Ready and other addresses.
fn subsets(found: &Endpoints) -> [String; 2] {
    let all = || found.subsets.iter().flatten();
    let ready = all().flat_map(|s| s.addresses.iter().flatten()).map(|a| a.ip.clone());
    let other = all().flat_map(|s| s.not_ready_addresses.iter().flatten()).map(|a| a.ip.clone());
    [sorted(ready.collect()), sorted(other.collect())]
}

fn endpoints(slices: &[std::sync::Arc<EndpointSlice>]) -> [String; 2] {
    let of = |ready: bool| {
        let all = slices.iter().flat_map(|s| s.endpoints.iter().flatten());
        let chosen = all.filter(|e| e.conditions.as_ref().and_then(|c| c.ready) == Some(ready));
        sorted(chosen.flat_map(|e| e.addresses.clone()).collect())
    };
    [of(true), of(false)]
}

fn sorted(mut texts: Vec<String>) -> String {
    texts.sort();
    texts.join(" ")
}

#[tokio::test]
async fn a_namespace_ends_with_what_it_holds() {
    let names = ["namespace-controller", "serviceaccount-controller", "root-ca-certificate-publisher-controller"];
    let cluster = Cluster::start(&names).await;
    cluster.create::<Namespace>("", r#"{"metadata":{"name":"mine"}}"#).await;
    until("the account and the certificate are there", async || {
        let account = cluster.api::<ServiceAccount>("mine").get_opt("default").await.unwrap();
        let certificate = cluster.api::<ConfigMap>("mine").get_opt("kube-root-ca.crt").await.unwrap();
        account.and(certificate)
    })
    .await;
    cluster.api::<ConfigMap>("mine").delete("kube-root-ca.crt", DeleteOptions::default()).await.unwrap();
    until("the certificate comes back", async || {
        cluster.api::<ConfigMap>("mine").get_opt("kube-root-ca.crt").await.unwrap()
    })
    .await;
    let held = r#"{"metadata":{"name":"held","finalizers":["example.com/hold"]}}"#;
    cluster.create::<ConfigMap>("mine", held).await;
    cluster.create::<ConfigMap>("mine", r#"{"metadata":{"name":"free"}}"#).await;

    let namespaces = cluster.api::<Namespace>("");
    namespaces.delete("mine", DeleteOptions::default()).await.unwrap();
    until("what holds it is told", async || {
        let namespace = namespaces.get("mine").await.unwrap();
        let conditions = namespace.status.as_ref()?.conditions.clone().unwrap_or_default();
        let told = conditions.iter().find(|c| c.type_ == "NamespaceFinalizersRemaining" && c.status == "True")?;
        let message = told.message.clone().unwrap_or_default();
        assert!(message.contains("example.com/hold in 1 resource instances"), "{message}");
        let free = cluster.api::<ConfigMap>("mine").get_opt("free").await.unwrap();
        free.is_none().then_some(())
    })
    .await;
    let late = Value::parse(br#"{"metadata":{"name":"late"}}"#).unwrap();
    let late = machinery::json::from_value::<ConfigMap>(&late).unwrap();
    let refused = cluster.api::<ConfigMap>("mine").create(&late).await.unwrap_err();
    assert!(refused.to_string().contains("because it is being terminated"), "{refused}");
    cluster.merge::<ConfigMap>("mine", "held", r#"{"metadata":{"finalizers":null}}"#).await;
    until("it ends", async || namespaces.get_opt("mine").await.unwrap().is_none().then_some(())).await;
}

#[tokio::test]
async fn dependents_go_or_stay_as_the_deletion_says() {
    let cluster = Cluster::start(&["garbage-collector-controller"]).await;
    let maps = cluster.api::<ConfigMap>("default");
    for (policy, left) in [("Background", false), ("Foreground", false), ("Orphan", true)] {
        let owner = cluster.create::<ConfigMap>("default", r#"{"metadata":{"name":"owner"}}"#).await;
        let uid = owner.metadata.uid.as_deref().unwrap();
        let reference = format!(
            r#"[{{"apiVersion":"v1","kind":"ConfigMap","name":"owner","uid":"{uid}","blockOwnerDeletion":true}}]"#
        );
        let name = format!("dependent-of-{}", policy.to_lowercase());
        let dependent = format!(r#"{{"metadata":{{"name":"{name}","ownerReferences":{reference}}}}}"#);
        cluster.create::<ConfigMap>("default", &dependent).await;
        maps.delete("owner", delete(policy)).await.unwrap();
        until(&format!("{policy}: the owner is gone, and what depends on it stays: {left}"), async || {
            let owner = maps.get_opt("owner").await.unwrap();
            let dependent = maps.get_opt(&name).await.unwrap();
            let is_free = dependent.as_ref().is_none_or(|d| d.metadata.owner_references.is_none());
            (owner.is_none() && dependent.is_some() == left && is_free).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn an_owner_that_never_was_leaves_no_dependents() {
    let cluster = Cluster::start(&["garbage-collector-controller"]).await;
    let dependent = r#"{"metadata":{"name":"d","ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"none","uid":"none"}]}}"#;
    cluster.create::<ConfigMap>("default", dependent).await;
    let maps = cluster.api::<ConfigMap>("default");
    until("it is gone", async || maps.get_opt("d").await.unwrap().is_none().then_some(())).await;
}

#[tokio::test]
async fn nodes_get_their_part_of_the_pods_addresses() {
    let cluster = Cluster::start(&["node-ipam-controller"]).await;
    let mut parts = std::collections::BTreeSet::new();
    for name in ["one", "two", "three"] {
        cluster.create::<Node>("", &format!(r#"{{"metadata":{{"name":"{name}"}}}}"#)).await;
        let part = until("it has a part", async || {
            cluster.api::<Node>("").get(name).await.unwrap().spec.as_ref()?.pod_cidr.clone()
        })
        .await;
        assert!(part.starts_with("10.42.") && part.ends_with(".0/24"), "{part}");
        parts.insert(part);
    }
    assert_eq!(parts.len(), 3);
}
