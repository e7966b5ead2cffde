//! Devices and claims on them.

use super::{Changed, Invalid};

pub(super) const VALID: &[&str] = &[
    r#"{"apiVersion":"resource.k8s.io/v1","kind":"DeviceClass","spec":{"selectors":[{"cel":{"expression":"true"}}],"extendedResourceName":"example.com/gpu",
        "config":[{"opaque":{"driver":"d.example.com","parameters":{"a":1}}}]}}"#,
    r#"{"apiVersion":"resource.k8s.io/v1beta2","kind":"DeviceClass","spec":{}}"#,
    r#"{"apiVersion":"resource.k8s.io/v1beta1","kind":"DeviceClass","spec":{}}"#,
    CLAIM,
    BETA_CLAIM,
    r#"{"apiVersion":"resource.k8s.io/v1beta2","kind":"ResourceClaim","spec":{"devices":{}}}"#,
    TEMPLATE,
    r#"{"apiVersion":"resource.k8s.io/v1beta1","kind":"ResourceClaimTemplate","spec":{"spec":{"devices":{"requests":[{"name":"a","deviceClassName":"c"}]}}}}"#,
    SLICE,
    RULE,
    r#"{"apiVersion":"resource.k8s.io/v1","kind":"ResourceSlice","spec":{"driver":"d.example.com","nodeName":"n","pool":{"name":"p/q","generation":1,"resourceSliceCount":1},
        "sharedCounters":[{"name":"memory","counters":{"total":{"value":"8Gi"}}}]}}"#,
    r#"{"apiVersion":"resource.k8s.io/v1beta1","kind":"ResourceSlice","spec":{"driver":"d.example.com","nodeName":"n",
        "pool":{"name":"p","generation":1,"resourceSliceCount":1},"devices":[{"name":"a","basic":{"attributes":{"model":{"string":"x"}}}}]}}"#,
];

const CLAIM: &str = r#"{"apiVersion":"resource.k8s.io/v1","kind":"ResourceClaim","spec":{"devices":{
    "requests":[{"name":"a","exactly":{"deviceClassName":"c","tolerations":[{"key":"k","operator":"Exists"}]}},
        {"name":"b","firstAvailable":[{"name":"big","deviceClassName":"c","count":2},{"name":"all","deviceClassName":"c","allocationMode":"All"}]}],
    "constraints":[{"requests":["a","b/big"],"matchAttribute":"example.com/model"}],
    "config":[{"requests":["b"],"opaque":{"driver":"d.example.com","parameters":{}}}]}}}"#;

const BETA_CLAIM: &str = r#"{"apiVersion":"resource.k8s.io/v1beta1","kind":"ResourceClaim","spec":{"devices":{
    "requests":[{"name":"a","deviceClassName":"c"},{"name":"b","firstAvailable":[{"name":"x","deviceClassName":"c"}]}]}}}"#;

const TEMPLATE: &str = r#"{"apiVersion":"resource.k8s.io/v1","kind":"ResourceClaimTemplate","spec":{"metadata":{"labels":{"a":"b"}},
    "spec":{"devices":{"requests":[{"name":"a","exactly":{"deviceClassName":"c"}}]}}}}"#;

const SLICE: &str = r#"{"apiVersion":"resource.k8s.io/v1","kind":"ResourceSlice","spec":{"driver":"d.example.com","allNodes":true,
    "pool":{"name":"p","generation":0,"resourceSliceCount":1},"devices":[
        {"name":"a","attributes":{"model":{"string":"x"},"example.com/version":{"version":"1.2.3"},"listed":{"int":1}},"allowMultipleAllocations":true,
         "capacity":{"memory":{"value":"8Gi","requestPolicy":{"default":"1Gi","validRange":{"min":"1Gi","step":"1Gi","max":"4Gi"}}}},
         "taints":[{"key":"k","effect":"NoSchedule","timeAdded":"2026-01-01T00:00:00Z"}],
         "bindingConditions":["ready"],"bindingFailureConditions":["broken"]},
        {"name":"b","allowMultipleAllocations":true,"consumesCounters":[{"counterSet":"memory","counters":{"total":{"value":"1Gi"}}}],
         "capacity":{"slots":{"value":"4","requestPolicy":{"default":"2","validValues":["1","2","4"]}}}}]}}"#;

const RULE: &str = r#"{"apiVersion":"resource.k8s.io/v1beta2","kind":"DeviceTaintRule","spec":{"deviceSelector":{"pool":"p"},
    "taint":{"key":"k","effect":"None"}}}"#;

pub(super) const INVALID: &[Invalid] = &[
    (
        r#"{"apiVersion":"resource.k8s.io/v1beta2","kind":"DeviceTaintRule","spec":{"deviceSelector":{"pool":"","driver":"A_"},"taint":{"key":"k"}}}"#,
        &[
            "spec.deviceSelector.driver: Invalid value: \"A_\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            "spec.deviceSelector.pool: Required value",
            "spec.taint.effect: Required value",
        ],
    ),
    (
        r#"{"apiVersion":"resource.k8s.io/v1","kind":"DeviceClass","spec":{"selectors":[{}],"extendedResourceName":"cpu","config":[{},
            {"opaque":{"driver":"d","parameters":"x"}}]}}"#,
        &[
            "spec.selectors[0].cel: Required value",
            "spec.config[0].opaque: Required value",
            "spec.config[1].opaque.parameters: Invalid value: \"<value omitted>\": must be a valid JSON object",
            "spec.extendedResourceName: Invalid value: \"cpu\": must be a valid extended resource name",
        ],
    ),
    (
        r#"{"apiVersion":"resource.k8s.io/v1","kind":"ResourceClaim","spec":{"devices":{"requests":[{"name":"a"},
            {"name":"a","exactly":{"deviceClassName":"c","allocationMode":"All","count":1,"tolerations":[{"operator":"Exists","value":"x"},{"effect":"x"}]}},
            {"name":"b","exactly":{},"firstAvailable":[{"name":"x"}]},{"name":"c","exactly":{"allocationMode":"Some"}}],
            "constraints":[{"requests":["a","a","z","a/b/c"]},{"matchAttribute":"model"}]}}}"#,
        &[
            "spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required",
            "spec.devices.requests[1].exactly.count: Invalid value: 1: must not be specified when allocationMode is 'All'",
            "spec.devices.requests[1].exactly.tolerations[0].value: Invalid value: \"x\": must be empty for operator `Exists`",
            "spec.devices.requests[1].exactly.tolerations[1].operator: Required value",
            "spec.devices.requests[1].exactly.tolerations[1].effect: Unsupported value: \"x\": supported values: \"NoExecute\", \"NoSchedule\", \"None\"",
            "spec.devices.requests[2]: Invalid value: null: exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set",
            "spec.devices.requests[3].exactly.deviceClassName: Required value",
            "spec.devices.requests[3].exactly.allocationMode: Unsupported value: \"Some\": supported values: \"All\", \"ExactCount\"",
            "spec.devices.requests[1]: Duplicate value: \"a\"",
            "spec.devices.constraints[0].requests[2]: Invalid value: \"z\": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'",
            "spec.devices.constraints[0].requests[3]: Invalid value: \"a/b/c\": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'",
            "spec.devices.constraints[0].requests[1]: Duplicate value: \"a\"",
            "spec.devices.constraints[0]: Required value: exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set",
            "spec.devices.constraints[1].matchAttribute: Invalid value: \"model\": a fully qualified name must be a domain and a name separated by a slash",
        ],
    ),
    (
        r#"{"apiVersion":"resource.k8s.io/v1beta1","kind":"ResourceClaim","spec":{"devices":{"requests":[{"name":"a"}]}}}"#,
        &["spec.devices.requests[0].exactly.deviceClassName: Required value"],
    ),
    (
        r#"{"apiVersion":"resource.k8s.io/v1","kind":"ResourceClaimTemplate","spec":{"metadata":{"name":"x"},"spec":{}}}"#,
        &["spec.metadata.name: Forbidden: cannot be set"],
    ),
    (
        r#"{"apiVersion":"resource.k8s.io/v1","kind":"ResourceSlice","spec":{"driver":"d","pool":{"generation":-1},"nodeName":"","allNodes":false,
            "sharedCounters":[{"name":"A_","counters":{}}],"devices":[]}}"#,
        &[
            "spec.pool.name: Required value",
            "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero",
            "spec.pool.generation: Invalid value: -1: must be greater than or equal to zero",
            "spec.nodeName: Invalid value: \"\": must be either unset or set to a non-empty string",
            "spec.allNodes: Invalid value: false: must be either unset or set to true",
            "spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required",
            "spec: Invalid value: \"\": only one of `sharedCounters` or `devices` is allowed",
            "spec.sharedCounters[0].name: Invalid value: \"A_\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
            "spec.sharedCounters[0].counters: Required value",
        ],
    ),
    (
        r#"{"apiVersion":"resource.k8s.io/v1","kind":"ResourceSlice","spec":{"driver":"d","nodeName":"n","perDeviceNodeSelection":true,
            "pool":{"name":"p","resourceSliceCount":1},"devices":[
            {"name":"a","allNodes":true,"attributes":{"a/b/c":{"int":1,"bool":true},"x":{},"v":{"version":"1"}},"bindingConditions":["a","a"],
             "capacity":{"m":{"value":"1","requestPolicy":{}}},"taints":[{"key":"k","effect":"Never"}]},
            {"name":"a","nodeName":"","allowMultipleAllocations":true,
             "capacity":{"m":{"value":"4","requestPolicy":{"default":"3","validValues":["2","1","5"]}},
                "n":{"value":"4","requestPolicy":{"default":"5","validRange":{"min":"1","max":"6","step":"3"}}}}}]}}"#,
        &[
            "spec: Invalid value: \"{`nodeName`, `perDeviceNodeSelection`}\": exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set",
            "spec.devices[0].attributes: Invalid value: \"a/b/c\": must not contain more than one slash",
            "spec.devices[0].attributes[a/b/c]: Invalid value: {\"bool\":true,\"int\":1}: exactly one value must be specified",
            "spec.devices[0].attributes[v].version: Invalid value: \"1\": must be a string compatible with semver.org spec 2.0.0",
            "spec.devices[0].attributes[x]: Invalid value: \"\": exactly one value must be specified",
            "spec.devices[0].capacity[m].requestPolicy: Forbidden: allowMultipleAllocations must be true",
            "spec.devices[0].taints[0].effect: Unsupported value: \"Never\": supported values: \"NoExecute\", \"NoSchedule\", \"None\"",
            "spec.devices[0].bindingConditions[1]: Duplicate value: \"a\"",
            "spec.devices[0].bindingFailureConditions: Invalid value: null: bindingFailureConditions are required to use bindingConditions",
            "spec.devices[1].capacity[m].requestPolicy.validValues[1]: Invalid value: \"1\": values must be sorted in ascending order",
            "spec.devices[1].capacity[m].requestPolicy.validValues[2]: Invalid value: \"5\": option is larger than capacity value: 4",
            "spec.devices[1].capacity[m].requestPolicy.validValues: Invalid value: \"3\": default value is not valid according to the requestPolicy",
            "spec.devices[1].capacity[n].requestPolicy.validRange.max: Invalid value: \"6\": max is larger than capacity value: 4",
            "spec.devices[1].capacity[n].requestPolicy.validRange.step: Invalid value: \"5\": value is not a multiple of a given step (3) from (1)",
            "spec.devices[1].capacity[n].requestPolicy.validRange.step: Invalid value: \"6\": value is not a multiple of a given step (3) from (1)",
            "spec.devices[1].nodeName: Invalid value: \"\": must not be empty",
            "spec.devices[1]: Required value: exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec",
            "spec.devices[1]: Duplicate value: \"a\"",
        ],
    ),
];

pub(super) const CHANGES: &[Changed] = &[
    ("", RULE, &["spec", "taint", "effect"], "\"NoExecute\"", &[]),
    (
        "status",
        RULE,
        &["status", "conditions"],
        r#"[{"type":"EvictionInProgress","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z"}]"#,
        &["status.conditions[0].reason: Required value"],
    ),
    (
        "",
        r#"{"apiVersion":"resource.k8s.io/v1","kind":"ResourceClaim","spec":{"devices":{}}}"#,
        &["spec", "devices", "requests"],
        r#"[{"name":"a"}]"#,
        &["spec: Invalid value: {\"devices\":{\"requests\":[{\"name\":\"a\"}]}}: field is immutable"],
    ),
    (
        "status",
        CLAIM,
        &["status"],
        r#"{"allocation":{"devices":{"results":[{"request":"a","driver":"d.example.com","pool":"p","device":"x"}],
            "config":[{"source":"FromClaim","opaque":{"driver":"d","parameters":{}}}]}},
            "reservedFor":[{"resource":"pods","name":"web","uid":"u"}],
            "devices":[{"driver":"d.example.com","pool":"p","device":"x","networkData":{"ips":["10.0.0.1/24"]}}]}"#,
        &[],
    ),
    (
        "status",
        CLAIM,
        &["status"],
        r#"{"reservedFor":[{"resource":"pods","name":"web"}],"devices":[{"driver":"d","pool":"p","device":"x","networkData":{"ips":["10.0.0.1"]}}]}"#,
        &[
            "status.reservedFor[0].uid: Required value",
            "status.devices[0]: Invalid value: \"d/p/x\": must be an allocated device in the claim",
            "status.devices[0].networkData.ips[0]: Invalid value: \"10.0.0.1\": must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)",
            "status.reservedFor: Forbidden: may not be specified when `allocated` is not set",
        ],
    ),
    (
        "status",
        CLAIM,
        &["status", "allocation"],
        r#"{"devices":{"results":[{"request":"z","driver":"d","pool":"","device":"x","shareID":"1"}],"config":[{"source":"x"}]}}"#,
        &[
            "status.allocation.devices.results[0].request: Invalid value: \"z\": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'",
            "status.allocation.devices.results[0].pool: Required value",
            "status.allocation.devices.results[0].shareID: Invalid value: \"1\": error validating uid: invalid UUID length: 1",
            "status.allocation.devices.config[0].source: Unsupported value: \"x\": supported values: \"FromClaim\", \"FromClass\"",
            "status.allocation.devices.config[0].opaque: Required value",
        ],
    ),
    ("", SLICE, &["spec", "driver"], "\"e\"", &["spec.driver: Invalid value: \"e\": field is immutable"]),
    (
        "",
        SLICE,
        &["spec", "devices"],
        r#"[{"name":"a","nodeName":"n"}]"#,
        &[
            "spec.devices[0]: Invalid value: null: `nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec",
        ],
    ),
];
