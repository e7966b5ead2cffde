"""A session of the official Python client: typed clients, watches, streams, the dynamic client, server-side apply."""

import json
import os
import time
import sys

from kubernetes import client, config, dynamic, stream, watch
from kubernetes.client.exceptions import ApiException

IMAGE = "localhost/skiff/hello:v1"
# How many times slower than usual this machine is.
SLOWNESS = int(os.environ.get("SKIFF_TEST_PATIENCE", 1))


def refused(status, reason, call, *arguments, **options):
    try:
        call(*arguments, **options)
    except ApiException as error:
        assert error.status == status and f'"reason":"{reason}"' in error.body.replace('": "', '":"'), error
        return
    raise AssertionError(f"{call.__name__} was not refused")


def config_maps(core):
    def named(name, **labels):
        metadata = client.V1ObjectMeta(name=name, labels=labels or None)
        return client.V1ConfigMap(metadata=metadata, data={"a": "1"})

    first = core.create_namespaced_config_map("py", named("first", tier="x"))
    refused(409, "AlreadyExists", core.create_namespaced_config_map, "py", named("first"))
    refused(404, "NotFound", core.read_namespaced_config_map, "none", "py")
    refused(422, "Invalid", core.create_namespaced_config_map, "py", named("Not A Name"))
    core.patch_namespaced_config_map("first", "py", {"data": {"b": "2"}})
    first.data = {"c": "3"}
    refused(409, "Conflict", core.replace_namespaced_config_map, "first", "py", first)
    for number in range(5):
        core.create_namespaced_config_map("py", named(f"page-{number}", tier="page"))
    names, page = [], None
    while page is None or page.metadata._continue:
        token = page.metadata._continue if page else None
        page = core.list_namespaced_config_map("py", label_selector="tier=page", limit=2, _continue=token)
        names += [item.metadata.name for item in page.items]
    assert names == [f"page-{number}" for number in range(5)], names
    found = core.list_config_map_for_all_namespaces(field_selector="metadata.name=first")
    assert [item.data for item in found.items] == [{"a": "1", "b": "2"}], found

    start = core.list_namespaced_config_map("py").metadata.resource_version
    core.delete_collection_namespaced_config_map("py", label_selector="tier=page")
    events = watch.Watch().stream(
        core.list_namespaced_config_map, "py", resource_version=start, timeout_seconds=5 * SLOWNESS
    )
    gone = set()
    for event in events:
        assert event["type"] == "DELETED", event
        gone.add(event["object"].metadata.name)
        if len(gone) == 5:
            break
    assert len(gone) == 5, gone


def workloads(core, apps):
    container = client.V1Container(name="hello", image=IMAGE)
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels={"app": "hello"}), spec=client.V1PodSpec(containers=[container])
    )
    selector = client.V1LabelSelector(match_labels={"app": "hello"})
    spec = client.V1DeploymentSpec(replicas=2, selector=selector, template=template)
    deployment = client.V1Deployment(metadata=client.V1ObjectMeta(name="hello"), spec=spec)
    apps.create_namespaced_deployment("py", deployment)
    for event in watch.Watch().stream(apps.list_namespaced_deployment, "py", timeout_seconds=60 * SLOWNESS):
        if event["object"].status.available_replicas == 2:
            break
    else:
        raise AssertionError("the deployment did not become available")
    apps.patch_namespaced_deployment_scale("hello", "py", {"spec": {"replicas": 1}})
    assert apps.read_namespaced_deployment_scale("hello", "py").spec.replicas == 1
    pods = core.list_namespaced_pod("py", label_selector="app=hello").items
    while len(pods) > 1:
        time.sleep(0.05)
        pods = core.list_namespaced_pod("py", label_selector="app=hello").items
    pod = pods[0]
    assert pod.status.pod_ip and pod.spec.node_name, pod
    core.read_namespaced_pod_log(pod.metadata.name, "py")
    said = stream.stream(
        core.connect_get_namespaced_pod_exec, pod.metadata.name, "py", command=["/skiff", "--version"], stdout=True,
        stderr=True,
    )
    assert said.startswith("skiff "), said


def dynamically():
    cluster = dynamic.DynamicClient(client.ApiClient())
    maps = cluster.resources.get(api_version="v1", kind="ConfigMap")
    wanted = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": {"k": "v"}}
    maps.server_side_apply(body=wanted, name="applied", namespace="py", field_manager="one")
    wanted["data"]["k"] = "other"
    try:
        maps.server_side_apply(body=wanted, name="applied", namespace="py", field_manager="two")
        raise AssertionError("no conflict")
    except dynamic.exceptions.ConflictError as error:
        message = json.loads(error.body)["message"]
        assert message == 'Apply failed with 1 conflict: conflict with "one": .data.k', message
    maps.server_side_apply(body=wanted, name="applied", namespace="py", field_manager="two", force_conflicts=True)
    assert maps.get(name="applied", namespace="py").data.k == "other"
    for kind in ["Deployment", "CronJob", "Ingress", "StorageClass", "ClusterRole"]:
        cluster.resources.get(kind=kind, prefix="apis")


def main():
    config.load_kube_config(sys.argv[1])
    core, apps = client.CoreV1Api(), client.AppsV1Api()
    assert client.VersionApi().get_code().major == "1"
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name="py")))
    config_maps(core)
    workloads(core, apps)
    dynamically()
    core.delete_namespace("py")
    print("done")


main()
