//! Runtime classes, candidates for leases, component statuses.

use super::{Changed, Invalid};

const CLASS: &str = r#"{"apiVersion":"node.k8s.io/v1","kind":"RuntimeClass","handler":"kata","overhead":{"podFixed":{"cpu":"100m","memory":"64Mi"}},
    "scheduling":{"nodeSelector":{"kata":"yes"},"tolerations":[{"key":"kata","operator":"Exists"}]}}"#;
const CANDIDATE: &str = r#"{"apiVersion":"coordination.k8s.io/v1alpha2","kind":"LeaseCandidate","metadata":{"name":"Some_1"},"spec":{"leaseName":"scheduler",
    "strategy":"OldestEmulationVersion","binaryVersion":"1.36.0","emulationVersion":"1.35.0-rc.1+x"}}"#;

pub(super) const VALID: &[&str] = &[CLASS, CANDIDATE];

pub(super) const INVALID: &[Invalid] = &[
    (
        r#"{"apiVersion":"node.k8s.io/v1","kind":"RuntimeClass","handler":"a.b","overhead":{"podFixed":{"cpu":"-1"}},"scheduling":{"tolerations":[{"key":"a"},{"key":"a"},{"operator":"Odd","key":"b"}]}}"#,
        &[
            "handler: Invalid value: \"a.b\": must not contain dots",
            "overhead.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
            "scheduling.tolerations.tolerations[2].operator: Unsupported value: \"Odd\": supported values: \"Equal\", \"Exists\"",
            "scheduling.tolerations[1]: Duplicate value: {\"key\":\"a\"}",
        ],
    ),
    (
        r#"{"apiVersion":"coordination.k8s.io/v1beta1","kind":"LeaseCandidate","spec":{"binaryVersion":"1.35.0","emulationVersion":"1.36.0","strategy":"Best"}}"#,
        &[
            "spec.leaseName: Required value",
            "spec.binaryVersion: Invalid value: \"1.35.0\": must be greater than or equal to `emulationVersion`",
            "spec.strategy: Unsupported value: \"Best\": supported values: \"OldestEmulationVersion\"",
        ],
    ),
    (
        r#"{"apiVersion":"coordination.k8s.io/v1beta1","kind":"LeaseCandidate","spec":{"leaseName":"l","emulationVersion":"1.36","strategy":"OldestEmulationVersion"}}"#,
        &[
            "spec.emulationVersion: Invalid value: \"1.36\": must be a valid semantic version",
            "spec.binaryVersion: Required value",
            "spec.binaryVersion: Required value: must be specified when `strategy` is 'OldestEmulationVersion'",
            "spec.emulationVersion: Required value: must be specified when `strategy` is 'OldestEmulationVersion'",
        ],
    ),
    (
        r#"{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","spec":{"preferredHolder":"a"}}"#,
        &["spec.preferredHolder: Forbidden: may only be specified if `strategy` is defined"],
    ),
];

pub(super) const CHANGES: &[Changed] = &[
    ("status", r#"{"apiVersion":"v1","kind":"Namespace"}"#, &["status"], "{}", &[]),
    (
        "status",
        r#"{"apiVersion":"v1","kind":"Node"}"#,
        &["status", "addresses"],
        r#"[{"type":"InternalIP","address":"10.0.0.1"},{"type":"Hostname","address":"n"},{"type":"InternalIP","address":"10.0.0.1"}]"#,
        &["status.addresses[2]: Duplicate value: {\"address\":\"10.0.0.1\",\"type\":\"InternalIP\"}"],
    ),
    (
        "status",
        r#"{"apiVersion":"v1","kind":"Service","spec":{"type":"LoadBalancer","ports":[{"port":80}]}}"#,
        &["status", "loadBalancer", "ingress"],
        r#"[{"ip":"10.0.0.1"},{"ip":"10.0.0.2","ipMode":"Odd"},{"hostname":"a","ipMode":"VIP"}]"#,
        &[
            "status.loadBalancer.ingress[1].ipMode: Unsupported value: \"Odd\": supported values: \"Proxy\", \"VIP\"",
            "status.loadBalancer.ingress[2].ipMode: Forbidden: may not be specified when `ip` is not set",
        ],
    ),
    (
        "status",
        r#"{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"name":"a","image":"b"}]}}"#,
        &["status", "conditions"],
        r#"[{"type":"Ready","status":"True","observedGeneration":-1},{"type":"","status":"True"}]"#,
        &[
            "status.conditions[0].observedGeneration: Invalid value: -1: must be a non-negative integer",
            "status.conditions[1].Type: Invalid value: \"\": name part must be non-empty",
            "status.conditions[1].Type: Invalid value: \"\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
        ],
    ),
    ("", CLASS, &["handler"], "\"runc\"", &["handler: Invalid value: \"runc\": field is immutable"]),
    (
        "",
        CANDIDATE,
        &["spec", "leaseName"],
        "\"other\"",
        &["spec.leaseName: Invalid value: \"other\": field is immutable"],
    ),
];

#[test]
fn components_are_always_well() {
    let row = super::row("v1", "ComponentStatus");
    let cells = |object: &machinery::Value| -> Vec<String> {
        row.all_columns().iter().map(|c| c.cell.of(object, jiff::Timestamp::UNIX_EPOCH).to_string()).collect()
    };
    assert_eq!(cells(&row.fixed[1]), ["\"etcd-0\"", "\"Healthy\"", "\"ok\"", "\"\""]);
}
