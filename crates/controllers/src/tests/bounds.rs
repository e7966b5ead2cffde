//! Quotas, disruption budgets, replication controllers, mirrored endpoints and cron jobs.

use client::DeleteOptions;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Endpoints, Pod, ReplicationController, ResourceQuota, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use super::{labelled, make_ready, pods};
use crate::testing::{Cluster, until};

/// What a quota says is used, as text, once it says so.
async fn used(cluster: &Cluster, wanted: &str) {
    let api = cluster.api::<ResourceQuota>("default");
    let tell = async || {
        let status = api.get("q").await.unwrap().status.clone().unwrap_or_default();
        let used = status.used.unwrap_or_default();
        used.iter().map(|(name, amount)| format!("{name}={}", amount.0)).collect::<Vec<_>>().join(",")
    };
    until(&format!("a quota's use of {wanted}"), async || (tell().await == wanted).then_some(())).await;
}

#[tokio::test]
async fn a_quota_is_charged_and_given_back() {
    let cluster = Cluster::start(&["resourcequota-controller", "garbage-collector-controller"]).await;
    cluster.pod("default", "before", "a", None).await;
    let hard =
        r#"{"metadata":{"name":"q"},"spec":{"hard":{"pods":"2","count/configmaps":"1","services.nodeports":"1"}}}"#;
    cluster.create::<ResourceQuota>("default", hard).await;
    used(&cluster, "count/configmaps=0,pods=1,services.nodeports=0").await;
    cluster.pod("default", "second", "a", None).await;
    let api = cluster.api::<Pod>("default");
    let mut third = api.get("second").await.unwrap().as_ref().clone();
    third.metadata =
        k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta { name: Some("third".into()), ..Default::default() };
    let refused = api.create(&third).await.unwrap_err().to_string();
    let text = "pods \"third\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2";
    assert_eq!(refused, text);
    let now = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    api.delete("before", now).await.unwrap();
    used(&cluster, "count/configmaps=0,pods=1,services.nodeports=0").await;

    let service = r#"{"metadata":{"name":"s"},"spec":{"type":"NodePort","ports":[{"port":80}]}}"#;
    cluster.create::<Service>("default", service).await;
    used(&cluster, "count/configmaps=0,pods=1,services.nodeports=1").await;
    cluster.merge::<Service>("default", "s", r#"{"spec":{"type":"ClusterIP","ports":[{"port":80}]}}"#).await;
    used(&cluster, "count/configmaps=0,pods=1,services.nodeports=0").await;
}

#[tokio::test]
async fn a_budget_counts_its_pods() {
    let cluster = Cluster::start(&["replicationcontroller-controller", "disruption-controller"]).await;
    let spec = r#"{"metadata":{"name":"web"},"spec":{"replicas":3,"template":{"metadata":{"labels":{"app":"web"}},
        "spec":{"containers":[{"name":"c","image":"i"}]}}}}"#;
    cluster.create::<ReplicationController>("default", spec).await;
    let names = pods(&cluster, "web", 3).await;
    let budget = r#"{"metadata":{"name":"b"},"spec":{"maxUnavailable":1,"selector":{"matchLabels":{"app":"web"}}}}"#;
    cluster.create::<PodDisruptionBudget>("default", budget).await;
    let api = cluster.api::<PodDisruptionBudget>("default");
    let numbers = async || {
        let status = api.get("b").await.unwrap().status.clone().unwrap_or_default();
        [status.expected_pods, status.desired_healthy, status.current_healthy, status.disruptions_allowed]
    };
    let wait = async |wanted: [i32; 4]| {
        let wanted = wanted.map(Some);
        until(&format!("{wanted:?}"), async || (numbers().await == wanted).then_some(())).await;
    };
    wait([3, 2, 0, 0]).await;
    make_ready(&cluster, &names).await;
    wait([3, 2, 3, 1]).await;
    cluster.set_pod("default", &names[0], "10.42.0.2", false).await;
    wait([3, 2, 2, 0]).await;
    let replicas = async || {
        let status = cluster.api::<ReplicationController>("default").get("web").await.unwrap().status.clone().unwrap();
        (status.replicas, status.ready_replicas)
    };
    until("the controller tells the same", async || (replicas().await == (3, Some(2))).then_some(())).await;
    cluster.pod("default", "stray", "web", None).await;
    // It is adopted, and the least useful one goes: one that has no node.
    let left = pods(&cluster, "web", 3).await;
    assert!(left.contains(&"stray".to_owned()), "{left:?}");
}

#[tokio::test]
async fn endpoints_of_users_are_mirrored() {
    let cluster = Cluster::start(&["endpointslice-mirroring-controller"]).await;
    cluster.create::<Service>("default", r#"{"metadata":{"name":"db"},"spec":{"ports":[{"port":80}]}}"#).await;
    let endpoints =
        r#"{"metadata":{"name":"db"},"subsets":[{"addresses":[{"ip":"192.0.2.7"}],"ports":[{"port":80}]}]}"#;
    cluster.create::<Endpoints>("default", endpoints).await;
    let api = cluster.api::<EndpointSlice>("default");
    let mirrored = async |wanted: &[&str]| {
        until(&format!("slices of {wanted:?}"), async || {
            let slices = api.list(labelled("kubernetes.io/service-name=db")).await.unwrap();
            let found = slices.iter().flat_map(|s| s.endpoints.iter().flatten()).flat_map(|e| e.addresses.clone());
            (found.collect::<Vec<_>>() == wanted).then_some(())
        })
        .await;
    };
    mirrored(&["192.0.2.7"]).await;
    let other = r#"{"subsets":[{"addresses":[{"ip":"192.0.2.8"}],"ports":[{"port":81}]}]}"#;
    cluster.merge::<Endpoints>("default", "db", other).await;
    mirrored(&["192.0.2.8"]).await;
    cluster.api::<Endpoints>("default").delete("db", DeleteOptions::default()).await.unwrap();
    mirrored(&[]).await;
}

#[tokio::test]
async fn a_cron_job_makes_a_job_for_each_start() {
    let cluster = Cluster::start(&["cronjob-controller", "garbage-collector-controller"]).await;
    let json = r#"{"metadata":{"name":"c"},"spec":{"schedule":"@every 1s","concurrencyPolicy":"POLICY","jobTemplate":{
        "metadata":{"labels":{"of":"c"}},
        "spec":{"template":{"spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"i"}]}}}}}}"#;
    cluster.create::<CronJob>("default", &json.replace("POLICY", "Replace")).await;
    let api = cluster.api::<Job>("default");
    let jobs = async || api.list(labelled("of=c")).await.unwrap();
    let first = until("a job", async || jobs().await.first().cloned()).await;
    assert!(first.metadata.name.as_deref().unwrap().starts_with("c-"));
    assert_eq!(first.metadata.owner_references.as_ref().unwrap()[0].kind, "CronJob");
    let active = async || {
        let status = cluster.api::<CronJob>("default").get("c").await.unwrap().status.clone().unwrap_or_default();
        status.active.unwrap_or_default()
    };
    until("the job is told", async || (active().await.len() == 1).then_some(())).await;
    cluster.merge::<CronJob>("default", "c", r#"{"spec":{"suspend":true}}"#).await;
    let listed = active().await;
    for job in jobs().await {
        api.delete(job.metadata.name.as_deref().unwrap(), DeleteOptions::default()).await.unwrap();
    }
    until("what is gone is not active", async || active().await.is_empty().then_some(())).await;
    assert!(listed.len() <= 1, "{listed:?}");
}

#[tokio::test]
async fn an_owner_on_its_way_out_adopts_nothing() {
    let cluster = Cluster::start(&[]).await;
    let json = r#"{"metadata":{"name":"web"},"spec":{"replicas":0,"template":{"metadata":{"labels":{"app":"web"}},
        "spec":{"containers":[{"name":"c","image":"i"}]}}}}"#;
    let known = cluster.create::<ReplicationController>("default", json).await;
    let check = async || crate::owners::check_may_adopt(&cluster.client, known.as_ref()).await;
    check().await.unwrap();
    let api = cluster.api::<ReplicationController>("default");
    api.delete("web", super::delete("Orphan")).await.unwrap();
    assert!(check().await.unwrap_err().is_conflict(), "its deletion waits for its pods to be let go");
    cluster.merge::<ReplicationController>("default", "web", r#"{"metadata":{"finalizers":null}}"#).await;
    assert!(check().await.unwrap_err().is_conflict(), "it is gone");
    cluster.create::<ReplicationController>("default", json).await;
    assert!(check().await.unwrap_err().is_conflict(), "another one has its name");
}
