//! Tests over all rows: valid objects pass, defaults are idempotent, bad objects get upstream's words.

mod admission_registration;
mod any_definition;
mod autoscaling;
mod batch;
mod certificates;
mod custom_resource_definitions;
mod devices;
mod flow_control;
mod networking;
mod others;
mod quota;
mod registrations;
mod storage;

use std::sync::Arc;

use machinery::json::Value;

use crate::row::NameRule;
use crate::{Resource, Subresource, Target, table, validate_metadata};

/// `(object, what is wrong with it)`
type Invalid = (&'static str, &'static [&'static str]);

/// `(subresource or none, object, path to change, new value, what is wrong with the change)`
type Changed = (&'static str, &'static str, &'static [&'static str], &'static str, &'static [&'static str]);

const ALL_VALID: &[&[&str]] = &[
    VALID,
    admission_registration::VALID,
    autoscaling::VALID,
    batch::VALID,
    certificates::VALID,
    custom_resource_definitions::VALID,
    devices::VALID,
    flow_control::VALID,
    networking::VALID,
    others::VALID,
    quota::VALID,
    registrations::VALID,
    storage::VALID,
];
const ALL_INVALID: &[&[Invalid]] = &[
    INVALID,
    admission_registration::INVALID,
    autoscaling::INVALID,
    batch::INVALID,
    certificates::INVALID,
    custom_resource_definitions::INVALID,
    devices::INVALID,
    flow_control::INVALID,
    networking::INVALID,
    others::INVALID,
    quota::INVALID,
    registrations::INVALID,
    storage::INVALID,
];
const ALL_CHANGES: &[&[Changed]] = &[
    admission_registration::CHANGES,
    autoscaling::CHANGES,
    batch::CHANGES,
    certificates::CHANGES,
    custom_resource_definitions::CHANGES,
    devices::CHANGES,
    flow_control::CHANGES,
    networking::CHANGES,
    others::CHANGES,
    quota::CHANGES,
    registrations::CHANGES,
    storage::CHANGES,
];

fn row(api_version: &str, kind: &str) -> Arc<Resource> {
    let found = table().into_iter().find(|r| r.kind == kind && r.group_version().to_string() == api_version);
    found.unwrap_or_else(|| panic!("no row for {api_version} {kind}"))
}

fn parse(text: &str) -> Value {
    Value::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// An object as the pipeline has it when it validates a create.
fn created(text: &str) -> (Arc<Resource>, Value) {
    let mut object = parse(text);
    let row = row(object.str_at(&["apiVersion"]).unwrap(), object.str_at(&["kind"]).unwrap());
    if object.str_at(&["metadata", "name"]).is_none() {
        object.set_at(&["metadata", "name"], "web");
    }
    if row.namespaced {
        object.set_at(&["metadata", "namespace"], "default");
    }
    object.set_at(&["metadata", "uid"], "u-1");
    row.default(&mut object);
    if row.has(&Subresource::Status) && !row.strategy.keeps_status_at_create() {
        // As the pipeline does it.
        object.set_at(&["status"], Value::object());
    }
    row.strategy.prepare_for_create(&mut object);
    row.complete(&mut object);
    (row, object)
}

fn problems(row: &Resource, object: &Value) -> Vec<String> {
    let mut errors = validate_metadata(object, row.namespaced, row.strategy.name_rule());
    errors.extend(row.strategy.validate(object));
    errors.iter().map(ToString::to_string).collect()
}

const VALID: &[&str] = &[
    r#"{"apiVersion":"v1","kind":"ConfigMap","data":{"a":"b"}}"#,
    r#"{"apiVersion":"v1","kind":"Secret","stringData":{"a":"b"}}"#,
    r#"{"apiVersion":"v1","kind":"ServiceAccount"}"#,
    r#"{"apiVersion":"v1","kind":"Namespace"}"#,
    r#"{"apiVersion":"v1","kind":"Node"}"#,
    r#"{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"name":"a","image":"b"}]}}"#,
    r#"{"apiVersion":"v1","kind":"Service","spec":{"ports":[{"port":80}],"selector":{"app":"web"}}}"#,
    r#"{"apiVersion":"v1","kind":"Service","spec":{"clusterIP":"None"}}"#,
    r#"{"apiVersion":"v1","kind":"Service","spec":{"type":"ExternalName","externalName":"example.com"}}"#,
    r#"{"apiVersion":"v1","kind":"Service","spec":{"type":"NodePort","ports":[{"port":80,"nodePort":30080}]}}"#,
    r#"{"apiVersion":"v1","kind":"Service","spec":{"type":"LoadBalancer","sessionAffinity":"ClientIP","ports":[{"port":80}]}}"#,
    r#"{"apiVersion":"v1","kind":"Endpoints","subsets":[{"addresses":[{"ip":"10.0.0.1"}],"ports":[{"port":80}]}]}"#,
    r#"{"apiVersion":"v1","kind":"Event","involvedObject":{"kind":"Pod","namespace":"default","name":"a"}}"#,
    r#"{"apiVersion":"events.k8s.io/v1","kind":"Event","eventTime":"2026-01-01T00:00:00.000000Z","regarding":{"namespace":"default"},
        "reportingController":"a","reportingInstance":"a-1","action":"Act","reason":"Because","type":"Normal"}"#,
    r#"{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1"]}],
        "ports":[{"port":80}]}"#,
    r#"{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","spec":{"leaseDurationSeconds":40}}"#,
    r#"{"apiVersion":"apps/v1","kind":"Deployment","spec":{"selector":{"matchLabels":{"app":"web"}},
        "template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"a","image":"b"}]}}}}"#,
    r#"{"apiVersion":"apps/v1","kind":"ReplicaSet","spec":{"selector":{"matchLabels":{"app":"web"}},
        "template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"a","image":"b"}]}}}}"#,
    RICH_POD,
    r#"{"apiVersion":"v1","kind":"PodTemplate","template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"a","image":"b"}]}}}"#,
    r#"{"apiVersion":"v1","kind":"ReplicationController","spec":{"template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"a","image":"b"}]}}}}"#,
    r#"{"apiVersion":"apps/v1","kind":"DaemonSet","spec":{"selector":{"matchLabels":{"app":"web"}},
        "template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"a","image":"b"}]}}}}"#,
    r#"{"apiVersion":"apps/v1","kind":"StatefulSet","spec":{"selector":{"matchLabels":{"app":"web"}},"serviceName":"web",
        "volumeClaimTemplates":[{"metadata":{"name":"data"},"spec":{"accessModes":["ReadWriteOnce"]}}],
        "template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"a","image":"b",
            "volumeMounts":[{"name":"data","mountPath":"/data"}]}]}}}}"#,
    r#"{"apiVersion":"apps/v1","kind":"ControllerRevision","revision":1,"data":{"spec":{}}}"#,
    r#"{"apiVersion":"policy/v1","kind":"PodDisruptionBudget","spec":{"minAvailable":"50%","selector":{"matchLabels":{"app":"web"}}}}"#,
    r#"{"apiVersion":"scheduling.k8s.io/v1","kind":"PriorityClass","value":1000}"#,
    r#"{"apiVersion":"scheduling.k8s.io/v1","kind":"PriorityClass","metadata":{"name":"system-node-critical"},"value":2000001000}"#,
    r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"system:x"},"rules":[{"nonResourceURLs":["/x"],"verbs":["get"]}]}"#,
    r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","rules":[{"apiGroups":[""],"resources":["pods"],"verbs":["get"]}]}"#,
    r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"RoleBinding","roleRef":{"kind":"Role","name":"x"},
        "subjects":[{"kind":"User","name":"a"},{"kind":"ServiceAccount","name":"b"}]}"#,
    r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","roleRef":{"kind":"ClusterRole","name":"x"},
        "subjects":[{"kind":"ServiceAccount","name":"b","namespace":"c"}]}"#,
];

/// A pod with most of what pods can have.
const RICH_POD: &str = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"labels":{"app":"web"},"annotations":{"A/b":"c"}},
    "spec":{"serviceAccountName":"default","nodeSelector":{"a":"b"},"hostname":"web","subdomain":"sub",
    "securityContext":{"runAsUser":1000,"fsGroup":2000,"seccompProfile":{"type":"RuntimeDefault"},
        "sysctls":[{"name":"net.ipv4.ip_unprivileged_port_start","value":"0"}]},
    "tolerations":[{"key":"a","operator":"Exists","effect":"NoExecute","tolerationSeconds":300}],
    "affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[
        {"matchExpressions":[{"key":"a","operator":"In","values":["b"]}]}]}},
      "podAntiAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":[{"weight":1,"podAffinityTerm":{
        "topologyKey":"kubernetes.io/hostname","matchLabelKeys":["app"],"labelSelector":{"matchLabels":{"x":"y"}}}}]}},
    "topologySpreadConstraints":[{"maxSkew":1,"topologyKey":"zone","whenUnsatisfiable":"DoNotSchedule","minDomains":1,
        "labelSelector":{"matchLabels":{"x":"y"}}}],
    "volumes":[{"name":"empty","emptyDir":{"sizeLimit":"1Gi"}},{"name":"config","configMap":{"name":"c","items":[{"key":"a","path":"b/c"}]}},
        {"name":"secret","secret":{"secretName":"s"}},{"name":"host","hostPath":{"path":"/tmp"}},{"name":"default"},
        {"name":"claim","persistentVolumeClaim":{"claimName":"p"}},
        {"name":"token","projected":{"sources":[{"serviceAccountToken":{"path":"token"}},
            {"downwardAPI":{"items":[{"path":"labels","fieldRef":{"fieldPath":"metadata.labels"}}]}}]}}],
    "initContainers":[{"name":"init","image":"i"},{"name":"side","image":"s:1","restartPolicy":"Always",
        "startupProbe":{"exec":{"command":["true"]}}}],
    "containers":[{"name":"a","image":"b@sha256:0","command":["x"],"ports":[{"name":"http","containerPort":80,"hostPort":8080}],
        "env":[{"name":"A","value":"b"},{"name":"B","valueFrom":{"fieldRef":{"fieldPath":"status.podIP"}}},
            {"name":"C","valueFrom":{"resourceFieldRef":{"resource":"limits.cpu","divisor":"1m"}}},
            {"name":"D","valueFrom":{"secretKeyRef":{"name":"s","key":"k"}}}],
        "envFrom":[{"configMapRef":{"name":"c"}}],
        "resources":{"limits":{"cpu":"1","memory":"128Mi","example.com/gpu":1},"requests":{"cpu":"500m"}},
        "volumeMounts":[{"name":"empty","mountPath":"/e","subPath":"a/b"},{"name":"token","mountPath":"/t","readOnly":true}],
        "volumeDevices":[{"name":"claim","devicePath":"/dev/x"}],
        "livenessProbe":{"httpGet":{"port":"http","httpHeaders":[{"name":"X-A","value":"b"}]}},
        "readinessProbe":{"tcpSocket":{"port":80}},"startupProbe":{"grpc":{"port":80}},
        "lifecycle":{"preStop":{"sleep":{"seconds":5}},"postStart":{"exec":{"command":["true"]}}},
        "securityContext":{"capabilities":{"drop":["ALL"]},"allowPrivilegeEscalation":false,"readOnlyRootFilesystem":true}}]}}"#;

#[test]
fn valid_objects_pass_and_defaults_are_idempotent() {
    for text in ALL_VALID.iter().copied().flatten() {
        let (row, object) = created(text);
        assert_eq!(problems(&row, &object), Vec::<String>::new(), "{text}");
        let mut again = object.clone();
        row.default(&mut again);
        assert_eq!(again, object, "{text}");
        let unchanged = row.strategy.validate_update(&object, &object, Target::Object);
        assert_eq!(unchanged, Vec::new(), "{text}");
        assert!(!row.strategy.wants_new_generation(&object, &object));
        for column in row.all_columns() {
            column.cell.of(&object, jiff::Timestamp::UNIX_EPOCH);
        }
    }
}

#[test]
fn every_row_names_a_known_type_and_gives_cells_of_nothing() {
    for row in table() {
        assert!(machinery::schema::lookup(&row.type_name).is_some(), "{}", row.type_name);
        let mut nothing = Value::object();
        for column in row.all_columns() {
            column.cell.of(&nothing, jiff::Timestamp::UNIX_EPOCH);
        }
        for field in &row.selectable_fields {
            field.value.of(&nothing);
        }
        row.strategy.validate(&nothing);
        row.strategy.validate_update(&nothing, &nothing, Target::Object);
        row.strategy.validate_update(&nothing, &nothing, Target::Subresource("status"));
        row.default(&mut nothing);
        row.strategy.prepare_for_create(&mut nothing);
    }
}

const INVALID: &[Invalid] = &[
    (
        r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"Web_1"},"spec":{"containers":[{"name":"a","image":"b"}]}}"#,
        &[
            "metadata.name: Invalid value: \"Web_1\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        ],
    ),
    (r#"{"apiVersion":"v1","kind":"Pod","spec":{"containers":[]}}"#, &["spec.containers: Required value"]),
    (
        r#"{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"name":"a"}]}}"#,
        &["spec.containers[0].image: Required value"],
    ),
    (
        r#"{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"name":"a","image":"b"},{"name":"a","image":"b"}]}}"#,
        &["spec.containers[1].name: Duplicate value: \"a\""],
    ),
    (
        r#"{"apiVersion":"v1","kind":"Pod","spec":{"restartPolicy":"Sometimes","containers":[{"name":"a","image":"b"}]}}"#,
        &[
            "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\"",
        ],
    ),
    (
        r#"{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"name":"a","image":"b","volumeMounts":[{"name":"x","mountPath":"/x"}]}]}}"#,
        &["spec.containers[0].volumeMounts[0].name: Not found: \"x\""],
    ),
    (
        r#"{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"name":"a","image":"b","resources":{"requests":{"cpu":"2"},"limits":{"cpu":"1"}}}]}}"#,
        &["spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1"],
    ),
    (
        r#"{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"name":"a","image":"b","livenessProbe":{}}]}}"#,
        &["spec.containers[0].livenessProbe: Required value: must specify a handler type"],
    ),
    (
        r#"{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"name":"a","image":"b","ports":[{"containerPort":70000}]}]}}"#,
        &["spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive"],
    ),
    (
        r#"{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"name":"a","image":"b","env":[{"name":"A","valueFrom":{"fieldRef":{"fieldPath":"spec.bad"}}}]}]}}"#,
        &[
            "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"spec.bad\": error converting fieldPath: field label not supported: spec.bad",
        ],
    ),
    (
        r#"{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"name":"a","image":"b"}],"volumes":[{"name":"v","hostPath":{"path":"/a/../b"}}]}}"#,
        &["spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"],
    ),
    (
        r#"{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"name":"a","image":"b"}],"tolerations":[{"operator":"Equal"}]}}"#,
        &[
            "spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
        ],
    ),
    (
        r#"{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"name":"a","image":"b","securityContext":{"runAsUser":-1}}]}}"#,
        &[
            "spec.containers[0].securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
        ],
    ),
    (
        r#"{"apiVersion":"v1","kind":"Pod","spec":{"hostNetwork":true,"containers":[{"name":"a","image":"b","ports":[{"containerPort":80,"hostPort":81}]}]}}"#,
        &[
            "spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true",
        ],
    ),
    (
        r#"{"apiVersion":"v1","kind":"Pod","spec":{"initContainers":[{"name":"i","image":"b","livenessProbe":{"exec":{"command":["x"]}}}],"containers":[{"name":"a","image":"b"}]}}"#,
        &[
            "spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
        ],
    ),
    (
        r#"{"apiVersion":"apps/v1","kind":"Deployment","spec":{"selector":{"matchLabels":{"app":"web"}},"template":{"metadata":{"labels":{"app":"x"}},"spec":{"containers":[{"name":"a","image":"b"}]}}}}"#,
        &["spec.template.metadata.labels: Invalid value: {\"app\":\"x\"}: `selector` does not match template `labels`"],
    ),
    (
        r#"{"apiVersion":"apps/v1","kind":"Deployment","spec":{"replicas":-1,"template":{"metadata":{"labels":{"app":"x"}},"spec":{"containers":[{"name":"a","image":"b"}]}}}}"#,
        &[
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
            "spec.selector: Required value",
            "spec.template.metadata.labels: Invalid value: {\"app\":\"x\"}: `selector` does not match template `labels`",
        ],
    ),
    (
        r#"{"apiVersion":"apps/v1","kind":"DaemonSet","spec":{"updateStrategy":{"rollingUpdate":{"maxSurge":1}},"selector":{"matchLabels":{"app":"x"}},"template":{"metadata":{"labels":{"app":"x"}},"spec":{"containers":[{"name":"a","image":"b"}]}}}}"#,
        &[
            "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero",
        ],
    ),
    (
        r#"{"apiVersion":"apps/v1","kind":"StatefulSet","spec":{"podManagementPolicy":"Any","selector":{"matchLabels":{"app":"x"}},"template":{"metadata":{"labels":{"app":"x"}},"spec":{"containers":[{"name":"a","image":"b"}]}}}}"#,
        &["spec.podManagementPolicy: Invalid value: \"Any\": must be 'OrderedReady' or 'Parallel'"],
    ),
    (
        r#"{"apiVersion":"v1","kind":"ReplicationController","spec":{"selector":{"a":"b"},"template":{"metadata":{"labels":{"app":"web"}},"spec":{"restartPolicy":"Never","containers":[{"name":"a","image":"b"}]}}}}"#,
        &[
            "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`",
            "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
        ],
    ),
    (
        r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","rules":[{"nonResourceURLs":["/x"]}]}"#,
        &[
            "rules[0].verbs: Required value: verbs must contain at least one value",
            "rules[0].nonResourceURLs: Invalid value: [\"/x\"]: namespaced rules cannot apply to non-resource URLs",
        ],
    ),
    (
        r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","roleRef":{"kind":"Role","name":"x"},"subjects":[{"kind":"Dog","name":"a"}]}"#,
        &[
            "roleRef.kind: Unsupported value: \"Role\": supported values: \"ClusterRole\"",
            "subjects[0].kind: Unsupported value: \"Dog\": supported values: \"ServiceAccount\", \"User\", \"Group\"",
        ],
    ),
    (
        r#"{"apiVersion":"scheduling.k8s.io/v1","kind":"PriorityClass","value":1000000001}"#,
        &["value: Forbidden: maximum allowed value of a user defined priority is 1000000000, but it is 1000000001"],
    ),
    (
        r#"{"apiVersion":"policy/v1","kind":"PodDisruptionBudget","spec":{"minAvailable":"x","maxUnavailable":-1}}"#,
        &[
            "spec: Invalid value: {\"maxUnavailable\":-1,\"minAvailable\":\"x\"}: minAvailable and maxUnavailable cannot be both set",
            "spec.minAvailable: Invalid value: \"x\": a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
            "spec.maxUnavailable: Invalid value: -1: must be greater than or equal to 0",
        ],
    ),
    (r#"{"apiVersion":"v1","kind":"Service","spec":{}}"#, &["spec.ports: Required value"]),
    (
        r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"-1web"},"spec":{"ports":[{"port":80}]}}"#,
        &[
            "metadata.name: Invalid value: \"-1web\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
        ],
    ),
    (
        r#"{"apiVersion":"v1","kind":"Service","spec":{"ports":[{"port":80,"nodePort":30000}]}}"#,
        &["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
    ),
    (
        r#"{"apiVersion":"v1","kind":"Service","spec":{"ports":[{"port":80},{"port":81}]}}"#,
        &["spec.ports[0].name: Required value", "spec.ports[1].name: Required value"],
    ),
    (
        r#"{"apiVersion":"v1","kind":"ConfigMap","data":{"a/b":"c"}}"#,
        &[
            "data[a/b]: Invalid value: \"a/b\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
        ],
    ),
    (
        r#"{"apiVersion":"v1","kind":"Secret","type":"kubernetes.io/tls"}"#,
        &["data[tls.crt]: Required value", "data[tls.key]: Required value"],
    ),
    (
        r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"a.b"}}"#,
        &["metadata.name: Invalid value: \"a.b\": must not contain dots"],
    ),
    (
        r#"{"apiVersion":"v1","kind":"Endpoints","subsets":[{"addresses":[{"ip":"x"}],"notReadyAddresses":[{"ip":"010.0.0.1"}]}]}"#,
        &[
            "subsets[0].addresses[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            "subsets[0].addresses[0].ip: Invalid value: \"x\": must be a valid IP address",
            "subsets[0].notReadyAddresses[0].ip: Invalid value: \"010.0.0.1\": must not have leading 0s",
        ],
    ),
    (
        r#"{"apiVersion":"v1","kind":"Node","spec":{"podCIDR":"10.0.0.0/24","podCIDRs":["x"]},"status":{"capacity":{"cpu":"-1","pods":"1500m"},"allocatable":{}}}"#,
        &[
            "status.capacity.cpu: Invalid value: \"-1\": must be greater than or equal to 0",
            "status.capacity.pods: Invalid value: \"1500m\": must be an integer",
        ],
    ),
    (
        r#"{"apiVersion":"v1","kind":"Node","spec":{"podCIDRs":["10.0.0.0/24","10.0.1.0/24"]}}"#,
        &[
            "spec.podCIDRs: Invalid value: [\"10.0.0.0/24\",\"10.0.1.0/24\"]: may specify no more than one CIDR for each IP family",
        ],
    ),
    (
        r#"{"apiVersion":"autoscaling/v1","kind":"HorizontalPodAutoscaler","spec":{"scaleTargetRef":{"apiVersion":"a/b/c","kind":"ReplicationController","name":"d"},"maxReplicas":1}}"#,
        &["spec.scaleTargetRef.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c"],
    ),
    (
        r#"{"apiVersion":"v1","kind":"Endpoints","subsets":[{"addresses":[{"ip":"127.0.0.1"}]}]}"#,
        &[
            "subsets[0].addresses[0].ip: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
        ],
    ),
    (
        r#"{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","spec":{"leaseDurationSeconds":0}}"#,
        &["spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"],
    ),
    (
        r#"{"apiVersion":"v1","kind":"Node","spec":{"taints":[{"key":"a"}]}}"#,
        &["metadata.taints[0].effect: Required value"],
    ),
    (
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"finalizers":["mine"]}}"#,
        &[
            "metadata.finalizers[0]: Invalid value: \"mine\": name is neither a standard finalizer name nor is it fully qualified",
        ],
    ),
];

#[test]
fn bad_objects_get_upstreams_words() {
    for (text, wanted) in ALL_INVALID.iter().copied().flatten() {
        let (row, object) = created(text);
        assert_eq!(problems(&row, &object), *wanted, "{text}");
    }
}

/// `(object, path to change, new value, what is wrong with the change)`
const CHANGES: &[(&str, &[&str], &str, &[&str])] = &[
    (VALID[0], &["data", "a"], "\"c\"", &[]),
    (
        r#"{"apiVersion":"v1","kind":"ConfigMap","immutable":true,"data":{"a":"b"}}"#,
        &["data", "a"],
        "\"c\"",
        &["data: Forbidden: field is immutable when `immutable` is set"],
    ),
    (VALID[1], &["type"], "\"x\"", &["type: Invalid value: \"x\": field is immutable"]),
    (
        VALID[16],
        &["spec", "selector", "matchLabels"],
        r#"{"a":"b"}"#,
        &[
            "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`",
            "spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"b\"}}: field is immutable",
        ],
    ),
    (VALID[5], &["spec", "activeDeadlineSeconds"], "10", &[]),
    (
        VALID[5],
        &["spec", "restartPolicy"],
        "\"Never\"",
        &[
            "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n  core.PodSpec{\n- \tRestartPolicy: \"Always\",\n+ \tRestartPolicy: \"Never\",\n  \t... // 5 identical fields\n  }\n",
        ],
    ),
    (
        VALID[5],
        &["spec", "containers"],
        "[]",
        &[
            "spec.containers: Required value",
            "spec.containers: Forbidden: pod updates may not add or remove containers",
        ],
    ),
    (
        r#"{"apiVersion":"v1","kind":"Service","spec":{"clusterIP":"10.0.0.1","ports":[{"port":80}]}}"#,
        &["spec", "clusterIP"],
        "\"10.0.0.2\"",
        &["spec.clusterIPs[0]: Invalid value: [\"10.0.0.2\"]: may not change once set"],
    ),
];

#[test]
fn changes_follow_upstreams_rules() {
    for (text, path, value, wanted) in CHANGES {
        let (row, old) = created(text);
        let mut new = old.clone();
        new.set_at(path, parse(value));
        row.strategy.prepare_for_update(&mut new, &old, Target::Object);
        let errors = row.strategy.validate_update(&new, &old, Target::Object);
        assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), *wanted, "{path:?} {text}");
    }
}

#[test]
fn changes_of_objects_and_subresources_follow_upstreams_rules() {
    for (subresource, text, path, value, wanted) in ALL_CHANGES.iter().copied().flatten() {
        let (row, old) = created(text);
        let mut new = old.clone();
        new.set_at(path, parse(value));
        row.default(&mut new);
        let target = if subresource.is_empty() { Target::Object } else { Target::Subresource(subresource) };
        row.strategy.prepare_for_update(&mut new, &old, target);
        let errors = row.strategy.validate_update(&new, &old, target);
        assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), *wanted, "{path:?} {value} {text}");
    }
}

#[test]
fn what_types_of_service_do_not_use_goes() {
    let (row, old) = created(
        r#"{"apiVersion":"v1","kind":"Service","spec":{"type":"NodePort","clusterIP":"10.0.0.1","ports":[{"port":80,"nodePort":30080}]}}"#,
    );
    let mut new = old.clone();
    new.set_at(&["spec", "type"], "ClusterIP");
    row.strategy.prepare_for_update(&mut new, &old, Target::Object);
    assert_eq!(new.at(&["spec", "ports"]).unwrap().as_array().unwrap()[0].get("nodePort"), None);
    assert_eq!(new.str_at(&["spec", "externalTrafficPolicy"]), None);
    assert_eq!(row.strategy.validate_update(&new, &old, Target::Object), Vec::new());
    let mut apply = parse(r#"{"apiVersion":"v1","kind":"Service","spec":{"type":"NodePort","ports":[{"port":80}]}}"#);
    row.default(&mut apply);
    row.strategy.prepare_for_update(&mut apply, &old, Target::Object);
    assert_eq!(apply.str_at(&["spec", "clusterIP"]), Some("10.0.0.1"));
    assert_eq!(apply.at(&["spec", "ports"]).unwrap().as_array().unwrap()[0].get("nodePort"), Some(&Value::from(30080)));
}

#[test]
fn new_pods_and_namespaces_get_what_the_server_owns() {
    let (_, pod) = created(RICH_POD);
    assert_eq!(pod.str_at(&["status", "phase"]), Some("Pending"));
    assert_eq!(pod.str_at(&["status", "qosClass"]), Some("Burstable"));
    let (_, pod) = created(VALID[5]);
    assert_eq!(pod.str_at(&["status", "qosClass"]), Some("BestEffort"));
    let (_, namespace) = created(r#"{"apiVersion":"v1","kind":"Namespace"}"#);
    let wanted = r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"labels":{"kubernetes.io/metadata.name":"web"},"name":"web","uid":"u-1"},
        "spec":{"finalizers":["kubernetes"]},"status":{"phase":"Active"}}"#;
    assert_eq!(namespace, parse(wanted));
    let (_, secret) = created(VALID[1]);
    assert_eq!(secret.str_at(&["data", "a"]), Some("Yg=="));
}

#[test]
fn who_knows_one_address_only_is_right() {
    let row = row("v1", "Pod");
    for (given, wanted) in [
        (r#"{"podIP":"10.0.0.1"}"#, r#"{"podIP":"10.0.0.1","podIPs":[{"ip":"10.0.0.1"}]}"#),
        (r#"{"podIPs":[{"ip":"10.0.0.2"}]}"#, r#"{"podIP":"10.0.0.2","podIPs":[{"ip":"10.0.0.2"}]}"#),
        (
            r#"{"podIP":"10.0.0.1","podIPs":[{"ip":"10.0.0.2"}]}"#,
            r#"{"podIP":"10.0.0.1","podIPs":[{"ip":"10.0.0.1"}]}"#,
        ),
        ("{}", "{}"),
    ] {
        let mut pod = parse("{}");
        pod.set_at(&["status"], parse(given));
        row.default(&mut pod);
        assert_eq!(pod.get("status"), Some(&parse(wanted)), "{given}");
    }
}

#[test]
fn pods_wait_for_their_grace_period() {
    let (row, mut pod) = created(VALID[5]);
    assert_eq!(row.strategy.grace_period_seconds(&pod, Some(10)), 0);
    pod.set_at(&["spec", "nodeName"], "n");
    assert_eq!(row.strategy.grace_period_seconds(&pod, None), 30);
    assert_eq!(row.strategy.grace_period_seconds(&pod, Some(5)), 5);
    assert_eq!(row.strategy.grace_period_seconds(&pod, Some(0)), 0);
    pod.set_at(&["status", "phase"], "Succeeded");
    assert_eq!(row.strategy.grace_period_seconds(&pod, None), 0);
}

/// `(subresource, path to change, new value, what is wrong with the change)` of a pod that runs on a node.
const SUBRESOURCE_CHANGES: &[(&str, &[&str], &str, &[&str])] = &[
    (
        "ephemeralcontainers",
        &["spec", "ephemeralContainers"],
        r#"[{"name":"debug","image":"b:1","imagePullPolicy":"Always","terminationMessagePolicy":"File","targetContainerName":"a"}]"#,
        &[],
    ),
    (
        "ephemeralcontainers",
        &["spec", "ephemeralContainers"],
        r#"[{"name":"a","image":"b:1","imagePullPolicy":"Always","terminationMessagePolicy":"File","ports":[{"containerPort":1,"protocol":"TCP"}]}]"#,
        &[
            "spec.ephemeralContainers[0].name: Duplicate value: \"a\"",
            "spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container",
        ],
    ),
    (
        "resize",
        &["spec", "containers"],
        r#"[{"name":"a","image":"b","imagePullPolicy":"Always","terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File",
        "resources":{"requests":{"cpu":"2"}}}]"#,
        &[],
    ),
    (
        "resize",
        &["spec", "containers"],
        r#"[{"name":"a","image":"c","imagePullPolicy":"Always","terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File",
        "resources":{"requests":{"cpu":"2"}}}]"#,
        &["spec: Forbidden: only cpu and memory resources are mutable"],
    ),
    (
        "status",
        &["status", "qosClass"],
        "\"Guaranteed\"",
        &["status.qosClass: Invalid value: \"Guaranteed\": field is immutable"],
    ),
    (
        "status",
        &["status", "podIPs"],
        r#"[{"ip":"10.0.0.1"},{"ip":"10.0.0.300"}]"#,
        &[
            "status.podIPs[1]: Invalid value: \"10.0.0.300\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            "status.podIPs: Internal error: failed to check for dual stack with error:invalid IP[1]: 10.0.0.300",
            "status.podIPs: Invalid value: [{\"ip\":\"10.0.0.1\"},{\"ip\":\"10.0.0.300\"}]: may specify no more than one IP for each IP family",
        ],
    ),
];

#[test]
fn subresources_of_pods_have_rules_of_their_own() {
    let text = r#"{"apiVersion":"v1","kind":"Pod","spec":{"nodeName":"n","containers":[{"name":"a","image":"b","resources":{"requests":{"cpu":"1"}}}]}}"#;
    for (subresource, path, value, wanted) in SUBRESOURCE_CHANGES {
        let (row, old) = created(text);
        let mut new = old.clone();
        new.set_at(path, parse(value));
        let target = Target::Subresource(subresource);
        row.strategy.prepare_for_update(&mut new, &old, target);
        let errors = row.strategy.validate_update(&new, &old, target);
        assert_eq!(
            errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
            *wanted,
            "{subresource} {path:?} {value}"
        );
    }
}

#[test]
fn gates_may_only_open_and_gated_pods_get_choosier() {
    let text = r#"{"apiVersion":"v1","kind":"Pod","spec":{"schedulingGates":[{"name":"a/b"}],"containers":[{"name":"a","image":"b"}]}}"#;
    let (row, old) = created(text);
    assert_eq!(old.at(&["status", "conditions"]).unwrap().as_array().unwrap().len(), 1);
    let mut new = old.clone();
    new.set_at(&["spec", "nodeSelector", "zone"], "x");
    assert_eq!(row.strategy.validate_update(&new, &old, Target::Object), Vec::new());
    new.set_at(&["spec", "schedulingGates"], parse(r#"[{"name":"c/d"}]"#));
    let errors = row.strategy.validate_update(&new, &old, Target::Object);
    let text = "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'c/d'";
    assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), [text]);
}

/// Both forms select by the same values, each by its own names.
#[test]
fn events_are_selected_by_the_names_of_their_form() {
    let event = parse(
        r#"{"regarding":{"kind":"Pod","name":"web"},"deprecatedSource":{"component":"old"},"reportingController":"c"}"#,
    );
    let value = |row: &Resource, field: &str| {
        let found = row.selectable_fields.iter().find(|f| f.name == field);
        found.map(|f| f.value.of(&event))
    };
    let rows: Vec<_> = table().into_iter().filter(|row| row.kind == "Event").collect();
    let cases = [
        (["involvedObject.kind", "regarding.kind"], "Pod"),
        (["involvedObject.name", "regarding.name"], "web"),
        (["reportingComponent", "reportingController"], "c"),
    ];
    for (fields, wanted) in cases {
        for (row, [own, other]) in rows.iter().zip([fields, [fields[1], fields[0]]]) {
            assert_eq!(value(row, own).as_deref(), Some(wanted), "{} {own}", row.group);
            assert_eq!(value(row, other), None, "{} {other}", row.group);
        }
    }
}

#[test]
fn claims_and_volumes_get_what_the_server_owns() {
    let (_, claim) = created(storage::VALID[2]);
    assert_eq!(claim.at(&["spec", "dataSourceRef"]), claim.at(&["spec", "dataSource"]));
    assert_eq!(claim.str_at(&["status", "phase"]), Some("Pending"));
    let (row, old) = created(storage::VALID[0]);
    let mut new = old.clone();
    new.set_at(&["status", "phase"], "Bound");
    row.strategy.prepare_for_update(&mut new, &old, Target::Subresource("status"));
    assert!(new.str_at(&["status", "lastPhaseTransitionTime"]).is_some());
    let (row, old) = created(storage::VALID[5]);
    let mut new = old.clone();
    new.set_at(&["spec", "requiresRepublish"], true);
    row.strategy.prepare_for_update(&mut new, &old, Target::Object);
    assert_eq!(new.i64_at(&["metadata", "generation"]), Some(1));
}

#[test]
fn what_every_cluster_has_is_valid_and_complete() {
    let wanted = crate::bootstrap::wanted();
    let services = wanted.iter().filter(|w| w.plural == "apiservices").count();
    assert_eq!(wanted.len(), 2 + services + 8 + 11);
    let versions: std::collections::HashSet<_> = table().iter().map(|row| row.group_version().to_string()).collect();
    // All but the group of APIServices itself.
    assert_eq!(services, versions.len() - 1);
    for wanted in wanted {
        let (row, object) = created(&wanted.object.to_string());
        assert_eq!(problems(&row, &object), Vec::<String>::new(), "{}", wanted.object);
        assert_eq!(object.get("spec"), wanted.object.get("spec"));
        if wanted.kept_right {
            assert!(crate::bootstrap::lets_be_kept_right(&object));
        }
    }
}

#[test]
fn warnings_name_the_field() {
    let (row, pod) = created(
        r#"{"apiVersion":"v1","kind":"Pod","spec":{"nodeSelector":{"beta.kubernetes.io/os":"linux"},
            "containers":[{"name":"a","image":"b","env":[{"name":"A"},{"name":"A"}]}]}}"#,
    );
    let wanted = [
        "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
        "spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
    ];
    assert_eq!(row.strategy.warnings(&pod), wanted);
}

/// Validation runs on every write. Not a promise on a busy machine, so it prints and only bounds what would be absurd.
#[test]
fn a_pod_is_validated_quickly() {
    let (row, pod) = created(RICH_POD);
    let once = || {
        let before = stopwatch();
        std::hint::black_box(problems(&row, std::hint::black_box(&pod)));
        before.elapsed()
    };
    let best = (0..2_000).map(|_| once()).min().expect("there were rounds");
    println!("a rich pod takes {best:?}");
    assert!(best.as_millis() < 5, "{best:?}");
}

#[allow(clippy::disallowed_methods, reason = "a stopwatch, not a decision")]
fn stopwatch() -> std::time::Instant {
    std::time::Instant::now()
}

/// Definitions may have objects in Kubernetes' own groups; upstream's server of them asks for no domain.
#[test]
fn finalizers_of_built_in_objects_have_a_domain() {
    let cases = [
        ("v1", 1),
        ("apps/v1", 1),
        ("storage.k8s.io/v1", 1),
        ("snapshot.storage.k8s.io/v1", 0),
        ("apiextensions.k8s.io/v1", 0),
        ("example.com/v1", 0),
    ];
    for (api_version, wanted) in cases {
        let object = format!(r#"{{"apiVersion":"{api_version}","metadata":{{"name":"a","finalizers":["mine"]}}}}"#);
        assert_eq!(validate_metadata(&parse(&object), false, NameRule::Subdomain).len(), wanted, "{api_version}");
    }
}
