//! Autoscalers of both versions.

use machinery::json::Value;

use super::{Changed, Invalid};

const V2: &str = r#"{"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler","spec":{"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"web"},"maxReplicas":10,
    "metrics":[{"type":"Object","object":{"describedObject":{"kind":"Ingress","name":"i"},"metric":{"name":"rps","selector":{"matchLabels":{"a":"b"}}},"target":{"type":"AverageValue","averageValue":"2k"}}},
        {"type":"Pods","pods":{"metric":{"name":"x"},"target":{"type":"AverageValue","averageValue":"1"}}},
        {"type":"External","external":{"metric":{"name":"q"},"target":{"type":"Value","value":"30"}}},
        {"type":"ContainerResource","containerResource":{"name":"memory","container":"c","target":{"type":"AverageValue","averageValue":"1Gi"}}},
        {"type":"Resource","resource":{"name":"cpu","target":{"type":"Utilization","averageUtilization":60}}}],
    "behavior":{"scaleDown":{"stabilizationWindowSeconds":60,"tolerance":"50m"}}}}"#;
const V1: &str = r#"{"apiVersion":"autoscaling/v1","kind":"HorizontalPodAutoscaler","spec":{"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"web"},"maxReplicas":3,"targetCPUUtilizationPercentage":50}}"#;

pub(super) const VALID: &[&str] = &[
    V2,
    V1,
    r#"{"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler","spec":{"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"web"},"maxReplicas":1}}"#,
];

pub(super) const INVALID: &[Invalid] = &[
    (
        r#"{"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler","spec":{"scaleTargetRef":{"kind":"a/b"},"minReplicas":0,
            "behavior":{"scaleUp":{"stabilizationWindowSeconds":3601,"selectPolicy":"Any","policies":[{"type":"Pots","value":0,"periodSeconds":1801}],"tolerance":"-1"},
                "scaleDown":{"policies":[]}}}}"#,
        &[
            "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
            "spec.maxReplicas: Invalid value: 0: must be greater than 0",
            "spec.scaleTargetRef.kind: Invalid value: \"a/b\": may not contain '/'",
            "spec.scaleTargetRef.name: Required value",
            "spec.scaleTargetRef.apiVersion: Invalid value: \"\": apiVersion must specify API group",
            "spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas",
            "spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600",
            "spec.behavior.scaleUp.selectPolicy: Unsupported value: \"Any\": supported values: \"Disabled\", \"Max\", \"Min\"",
            "spec.behavior.scaleUp.policies[0].type: Unsupported value: \"Pots\": supported values: \"Percent\", \"Pods\"",
            "spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero",
            "spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800",
            "spec.behavior.scaleUp.tolerance: Invalid value: \"-1\": must be greater than or equal to 0",
            "spec.behavior.scaleDown.policies: Required value: must specify at least one Policy",
        ],
    ),
    (
        r#"{"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler","spec":{"scaleTargetRef":{"apiVersion":"x/v1","kind":"D","name":"d"},"minReplicas":5,"maxReplicas":4,
            "metrics":[{"type":"Odd"},{"type":"Pods","resource":{"name":"cpu","target":{"type":"Utilization"}}},
                {"type":"External","external":{"metric":{"name":""},"target":{"type":"Sum","value":"0","averageValue":"1"}}},
                {"type":"ContainerResource","containerResource":{"name":"disk","target":{"type":"Value","averageUtilization":0,"averageValue":"1"}}},
                {"type":"Object","object":{"describedObject":{"kind":"a","name":"b"},"metric":{"name":"m"},"target":{"type":"Value","value":"1"}},"pods":{}}]}}"#,
        &[
            "spec.maxReplicas: Invalid value: 4: must be greater than or equal to `minReplicas`",
            "spec.metrics[0].type: Unsupported value: \"Odd\": supported values: \"ContainerResource\", \"External\", \"Object\", \"Pods\", \"Resource\"",
            "spec.metrics[0].type: Unsupported value: \"Odd\": supported values: \"ContainerResource\", \"External\", \"Object\", \"Pods\", \"Resource\"",
            "spec.metrics[1].resource.target.averageUtilization: Required value: must set either a target raw value or a target utilization",
            "spec.metrics[1].pods: Required value: must populate information for the given metric source",
            "spec.metrics[2].external.metric.name: Required value: must specify a metric name",
            "spec.metrics[2].external.target.type: Invalid value: \"Sum\": must be either Utilization, Value, or AverageValue",
            "spec.metrics[2].external.target.value: Invalid value: \"0\": must be positive",
            "spec.metrics[2].external.target.value: Forbidden: may not set both a target value for metric and a per-pod target",
            "spec.metrics[3].containerResource.name: Invalid value: \"disk\": must be a standard resource type or fully qualified",
            "spec.metrics[3].containerResource.name: Invalid value: \"disk\": must be a standard resource for containers",
            "spec.metrics[3].containerResource.container: Required value: must specify a container",
            "spec.metrics[3].containerResource.target.averageUtilization: Invalid value: 0: must be greater than 0",
            "spec.metrics[3].containerResource.target.averageValue: Forbidden: may not set both a target raw value and a target utilization",
            "spec.metrics[4].pods: Forbidden: must populate the given metric source only",
        ],
    ),
    (
        r#"{"apiVersion":"autoscaling/v1","kind":"HorizontalPodAutoscaler","spec":{"scaleTargetRef":{"apiVersion":"x/v1","kind":"D","name":"d"},"maxReplicas":1,"targetCPUUtilizationPercentage":0}}"#,
        &["spec.metrics[0].resource.target.averageUtilization: Invalid value: 0: must be greater than 0"],
    ),
];

pub(super) const CHANGES: &[Changed] = &[
    ("", V2, &["spec", "maxReplicas"], "11", &[]),
    (
        "",
        V1,
        &["spec", "maxReplicas"],
        "0",
        &[
            "spec.maxReplicas: Invalid value: 0: must be greater than 0",
            "spec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`",
        ],
    ),
    (
        "status",
        V1,
        &["status", "currentReplicas"],
        "-1",
        &["status.currentReplicas: Invalid value: -1: must be greater than or equal to 0"],
    ),
];

const STATUS: &str = r#"{"currentReplicas":2,"desiredReplicas":3,"observedGeneration":1,"lastScaleTime":"2026-01-01T00:00:00Z",
    "currentMetrics":[{"type":"Object","object":{"describedObject":{"kind":"Ingress","name":"i"},"metric":{"name":"rps"},"current":{"averageValue":"1k"}}},
        {"type":"Resource","resource":{"name":"cpu","current":{"averageUtilization":12,"averageValue":"0"}}}],
    "conditions":[{"type":"AbleToScale","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z","reason":"r","message":"m"}]}"#;

#[test]
fn both_versions_tell_the_same() {
    let (_, mut stored) = super::created(V2);
    stored.set_at(&["status"], super::parse(STATUS));
    stored.set_at(&["metadata", "annotations", "mine"], "kept");
    let older = super::row("autoscaling/v1", "HorizontalPodAutoscaler");
    let mut object = stored.clone();
    older.strategy.from_storage(&mut object);
    assert_eq!(object.i64_at(&["spec", "targetCPUUtilizationPercentage"]), Some(60));
    assert_eq!(object.i64_at(&["status", "currentCPUUtilizationPercentage"]), Some(12));
    for field in [["spec", "metrics"], ["spec", "behavior"], ["status", "conditions"], ["status", "currentMetrics"]] {
        assert_eq!(object.at(&field), None, "{field:?}");
    }
    let behavior = object.str_at(&["metadata", "annotations", "autoscaling.alpha.kubernetes.io/behavior"]).unwrap();
    assert_eq!(super::parse(behavior).i64_at(&["ScaleDown", "StabilizationWindowSeconds"]), Some(60));
    let cells = |row: &crate::Resource, object: &Value| -> Vec<String> {
        row.all_columns().iter().map(|c| c.cell.of(object, jiff::Timestamp::UNIX_EPOCH).to_string()).collect()
    };
    let shown = cells(&older, &object);
    assert_eq!(shown, cells(&super::row("autoscaling/v2", "HorizontalPodAutoscaler"), &stored));
    assert_eq!(shown[2], "\"1k/2k (avg), \\u003cunknown\\u003e/1 + 3 more...\"");
    older.strategy.to_storage(&mut object);
    assert_eq!(object, stored);
}

#[test]
fn the_older_version_asks_for_the_processor() {
    let (row, mut object) = super::created(
        r#"{"apiVersion":"autoscaling/v1","kind":"HorizontalPodAutoscaler","spec":{"scaleTargetRef":{"apiVersion":"x/v1","kind":"D","name":"d"},"maxReplicas":1}}"#,
    );
    row.strategy.to_storage(&mut object);
    let wanted =
        r#"[{"type":"Resource","resource":{"name":"cpu","target":{"type":"Utilization","averageUtilization":80}}}]"#;
    assert_eq!(object.at(&["spec", "metrics"]), Some(&super::parse(wanted)));
}

#[test]
fn annotations_of_the_status_are_the_servers() {
    let (row, old) = super::created(V1);
    let mut new = old.clone();
    new.set_at(&["metadata", "annotations", "autoscaling.alpha.kubernetes.io/conditions"], "[]");
    row.strategy.prepare_for_update(&mut new, &old, crate::Target::Object);
    assert_eq!(new, old);
}
