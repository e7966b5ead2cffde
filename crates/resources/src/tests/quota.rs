//! Limit ranges and quotas.

use super::{Changed, Invalid};

const QUOTA: &str = r#"{"apiVersion":"v1","kind":"ResourceQuota","spec":{"hard":{"pods":"10","requests.cpu":"4","example.com/gpu":1,"count/jobs.batch":"5"},
    "scopes":["NotTerminating"],"scopeSelector":{"matchExpressions":[{"scopeName":"PriorityClass","operator":"In","values":["high"]}]}}}"#;

pub(super) const VALID: &[&str] = &[
    r#"{"apiVersion":"v1","kind":"LimitRange","spec":{"limits":[{"type":"Pod","max":{"cpu":"2"}},
        {"type":"Container","max":{"memory":"1Gi"},"min":{"memory":"1Mi"},"maxLimitRequestRatio":{"memory":"2"}},
        {"type":"PersistentVolumeClaim","max":{"storage":"1Gi"}},{"type":"example.com/x"}]}}"#,
    QUOTA,
];

pub(super) const INVALID: &[Invalid] = &[
    (
        r#"{"apiVersion":"v1","kind":"LimitRange","spec":{"limits":[{"type":"Pods"},{"type":"Pod","default":{"cpu":"1"},"max":{"disk":"1"}},
            {"type":"PersistentVolumeClaim"},{"type":"PersistentVolumeClaim","min":{"storage":"1"}}]}}"#,
        &[
            "spec.limits[0].type: Invalid value: \"Pods\": must be a standard limit type or fully qualified",
            "spec.limits[1].max[disk]: Invalid value: \"disk\": must be a standard resource type or fully qualified",
            "spec.limits[1].max[disk]: Invalid value: \"disk\": must be a standard resource for containers",
            "spec.limits[1].default: Forbidden: may not be specified when `type` is 'Pod'",
            "spec.limits[2].limits: Required value: either minimum or maximum storage value is required, but neither was provided",
            "spec.limits[3].type: Duplicate value: \"PersistentVolumeClaim\"",
        ],
    ),
    (
        r#"{"apiVersion":"v1","kind":"LimitRange","spec":{"limits":[{"type":"Container","min":{"cpu":"2"},"max":{"cpu":"1"},
            "default":{"cpu":"3","example.com/gpu":2},"defaultRequest":{"cpu":"4","example.com/gpu":1},"maxLimitRequestRatio":{"cpu":"800m"}}]}}"#,
        &[
            "spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1",
            "spec.limits[0].defaultRequest[cpu]: Invalid value: \"4\": default request value 4 is greater than max value 1",
            "spec.limits[0].defaultRequest[cpu]: Invalid value: \"4\": default request value 4 is greater than default limit value 3",
            "spec.limits[0].default[cpu]: Invalid value: \"1\": default value 3 is greater than max value 1",
            "spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"800m\": ratio 800m is less than 1",
            "spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"800m\": ratio 800m is greater than max/min = 0.500000",
            "spec.limits[0].defaultRequest[example.com/gpu]: Invalid value: \"1\": default value 2 must equal to defaultRequest value 1 in example.com/gpu",
        ],
    ),
    (
        r#"{"apiVersion":"v1","kind":"ResourceQuota","spec":{"hard":{"pods":"1500m","cpus":"1","secrets":-1,"storage":"1"},
            "scopes":["Terminating","NotTerminating","Odd"],"scopeSelector":{"matchExpressions":[{"scopeName":"BestEffort","operator":"In"}]}}}"#,
        &[
            "spec.hard[cpus]: Invalid value: \"cpus\": must be a standard resource type or fully qualified",
            "spec.hard[cpus]: Invalid value: \"cpus\": must be a standard resource for quota",
            "spec.hard[pods]: Invalid value: \"1500m\": must be an integer",
            "spec.hard[secrets]: Invalid value: \"-1\": must be greater than or equal to 0",
            "spec.hard[storage]: Invalid value: \"storage\": must be a standard resource for quota",
            "spec.scopes: Invalid value: [\"Terminating\",\"NotTerminating\",\"Odd\"]: unsupported scope applied to resource",
            "spec.scopes: Invalid value: [\"Terminating\",\"NotTerminating\",\"Odd\"]: unsupported scope applied to resource",
            "spec.scopes: Invalid value: [\"Terminating\",\"NotTerminating\",\"Odd\"]: unsupported scope",
            "spec.scopes: Invalid value: [\"Terminating\",\"NotTerminating\",\"Odd\"]: conflicting scopes",
            "spec.scopeSelector.matchExpressions: Invalid value: {\"matchExpressions\":[{\"operator\":\"In\",\"scopeName\":\"BestEffort\"}]}: unsupported scope applied to resource",
            "spec.scopeSelector.matchExpressions.operator: Invalid value: \"In\": must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity",
            "spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
        ],
    ),
];

pub(super) const CHANGES: &[Changed] = &[
    ("", QUOTA, &["spec", "hard", "pods"], "\"11\"", &[]),
    (
        "",
        QUOTA,
        &["spec", "scopes"],
        r#"["NotBestEffort"]"#,
        &["spec.scopes: Invalid value: [\"NotBestEffort\"]: field is immutable"],
    ),
    (
        "status",
        QUOTA,
        &["status", "used", "pods"],
        "\"-1\"",
        &["status.used[pods]: Invalid value: \"-1\": must be greater than or equal to 0"],
    ),
];

#[test]
fn limits_of_containers_follow_from_each_other() {
    let text = r#"{"apiVersion":"v1","kind":"LimitRange","spec":{"limits":[{"type":"Container","max":{"cpu":"2"},"min":{"memory":"1Mi"}}]}}"#;
    let (_, range) = super::created(text);
    let wanted = r#"[{"type":"Container","default":{"cpu":"2"},"defaultRequest":{"cpu":"2","memory":"1Mi"},"max":{"cpu":"2"},"min":{"memory":"1Mi"}}]"#;
    assert_eq!(range.at(&["spec", "limits"]), Some(&super::parse(wanted)));
}

#[test]
fn tables_of_quotas_show_what_is_used() {
    let (row, mut quota) = super::created(QUOTA);
    quota.set_at(
        &["status"],
        super::parse(r#"{"hard":{"pods":"10","limits.cpu":"4"},"used":{"pods":"3","limits.cpu":"500m"}}"#),
    );
    let cells: Vec<String> =
        row.all_columns()[1..3].iter().map(|c| c.cell.of(&quota, jiff::Timestamp::UNIX_EPOCH).to_string()).collect();
    assert_eq!(cells, ["\"pods: 3/10\"", "\"limits.cpu: 500m/4\""]);
}
