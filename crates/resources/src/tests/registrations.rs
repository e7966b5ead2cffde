//! APIServices and migrations of what is stored.

use super::{Changed, Invalid};

pub(super) const VALID: &[&str] = &[
    r#"{"apiVersion":"apiregistration.k8s.io/v1","kind":"APIService","metadata":{"name":"v1."},"spec":{"version":"v1","groupPriorityMinimum":18000,"versionPriority":1}}"#,
    SERVICE,
    MIGRATION,
];

const SERVICE: &str = r#"{"apiVersion":"apiregistration.k8s.io/v1","kind":"APIService","metadata":{"name":"v1beta1.metrics.k8s.io"},
    "spec":{"group":"metrics.k8s.io","version":"v1beta1","groupPriorityMinimum":100,"versionPriority":100,"insecureSkipTLSVerify":true,
        "service":{"namespace":"kube-system","name":"metrics-server"}}}"#;

const MIGRATION: &str = r#"{"apiVersion":"storagemigration.k8s.io/v1beta1","kind":"StorageVersionMigration","spec":{"resource":{"resource":"secrets"}}}"#;

pub(super) const INVALID: &[Invalid] = &[
    (
        r#"{"apiVersion":"apiregistration.k8s.io/v1","kind":"APIService","metadata":{"name":"x"},"spec":{"version":"v2","groupPriorityMinimum":20001,
            "caBundle":"QUJD","insecureSkipTLSVerify":true}}"#,
        &[
            "metadata.name: Invalid value: \"x\": must be `spec.version+\".\"+spec.group`: \"v2.\"",
            "spec.group: Required value: only v1 may have an empty group and it better be legacy kube",
            "spec.groupPriorityMinimum: Invalid value: 20001: must be positive and less than 20000",
            "spec.versionPriority: Invalid value: 0: must be positive and less than 1000",
            "spec.caBundle: Invalid value: \"3 bytes\": local APIServices may not have a caBundle",
            "spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have insecureSkipTLSVerify",
        ],
    ),
    (
        r#"{"apiVersion":"apiregistration.k8s.io/v1","kind":"APIService","metadata":{"name":"v1.a"},"spec":{"group":"a","version":"v1",
            "groupPriorityMinimum":1,"versionPriority":1,"caBundle":"QUJD","insecureSkipTLSVerify":true,"service":{"port":0}}}"#,
        &[
            "spec.service.namespace: Required value",
            "spec.service.name: Required value",
            "spec.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive",
            "spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present",
        ],
    ),
    (
        r#"{"apiVersion":"storagemigration.k8s.io/v1beta1","kind":"StorageVersionMigration","spec":{"resource":{"group":"apps"}}}"#,
        &["spec.resource.resource: Required value: resource is required"],
    ),
];

pub(super) const CHANGES: &[Changed] = &[
    ("", SERVICE, &["spec", "versionPriority"], "5", &[]),
    (
        "status",
        SERVICE,
        &["status", "conditions"],
        r#"[{"type":"Available","status":"Maybe"}]"#,
        &[
            "status.conditions[0].status: Unsupported value: \"Maybe\": supported values: \"True\", \"False\", \"Unknown\"",
        ],
    ),
    (
        "",
        MIGRATION,
        &["spec", "resource", "resource"],
        "\"configmaps\"",
        &["resource: Invalid value: \"configmaps\": field is immutable"],
    ),
    (
        "status",
        MIGRATION,
        &["status"],
        r#"{"resourceVersion":"x","conditions":[{"type":"Succeeded","status":"True","reason":"R","lastTransitionTime":"2026-01-01T00:00:00Z"},
            {"type":"Running","status":"True","reason":"R","lastTransitionTime":"2026-01-01T00:00:00Z"}]}"#,
        &[
            "status.resourceVersion: Invalid value: \"x\": failed to parse resource version \"x\": strconv.ParseInt: parsing \"x\": invalid syntax",
            "status.conditions: Invalid value: [{\"lastTransitionTime\":\"2026-01-01T00:00:00Z\",\"message\":\"\",\"reason\":\"R\",\"status\":\"True\",\"type\":\"Succeeded\"},{\"lastTransitionTime\":\"2026-01-01T00:00:00Z\",\"message\":\"\",\"reason\":\"R\",\"status\":\"True\",\"type\":\"Running\"}]: Running condition cannot be true when success condition is true",
        ],
    ),
];
