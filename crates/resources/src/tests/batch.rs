//! Jobs and cron jobs.

use super::{Changed, Invalid};

const POD: &str = r#"{"restartPolicy":"Never","containers":[{"name":"a","image":"b"}]}"#;

pub(super) const VALID: &[&str] = &[
    JOB,
    INDEXED,
    r#"{"apiVersion":"batch/v1","kind":"Job","spec":{"manualSelector":true,"selector":{"matchLabels":{"a":"b"}},
        "template":{"metadata":{"labels":{"a":"b"}},"spec":{"restartPolicy":"OnFailure","containers":[{"name":"a","image":"b"}]}}}}"#,
    CRON_JOB,
];

const JOB: &str = r#"{"apiVersion":"batch/v1","kind":"Job","spec":{"suspend":true,"template":{"spec":{"restartPolicy":"Never",
    "containers":[{"name":"a","image":"b"}]}}}}"#;

const INDEXED: &str = r#"{"apiVersion":"batch/v1","kind":"Job","spec":{"completionMode":"Indexed","completions":5,"parallelism":2,
    "backoffLimitPerIndex":1,"maxFailedIndexes":3,"managedBy":"acme.io/foo",
    "podFailurePolicy":{"rules":[{"action":"FailIndex","onExitCodes":{"operator":"In","values":[1,2],"containerName":"a"}},
        {"action":"Ignore","onPodConditions":[{"type":"DisruptionTarget"}]}]},
    "successPolicy":{"rules":[{"succeededIndexes":"0,2-3","succeededCount":2}]},
    "template":{"metadata":{"labels":{"a":"b"}},"spec":{"restartPolicy":"Never","containers":[{"name":"a","image":"b"}]}}}}"#;

const CRON_JOB: &str = r#"{"apiVersion":"batch/v1","kind":"CronJob","spec":{"schedule":"*/5 * * * MON-FRI","timeZone":"Etc/UTC",
    "jobTemplate":{"spec":{"template":{"spec":{"restartPolicy":"Never","containers":[{"name":"a","image":"b"}]}}}}}}"#;

pub(super) const INVALID: &[Invalid] = &[
    (
        r#"{"apiVersion":"batch/v1","kind":"Job","spec":{"completions":-1,"maxFailedIndexes":1,"managedBy":"acme",
            "template":{"spec":{"containers":[{"name":"a","image":"b"}]}}}}"#,
        &[
            "spec.completions: Invalid value: -1: must be greater than or equal to 0",
            "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
            "spec.managedBy: Invalid value: \"acme\": must be a domain-prefixed path (such as \"acme.io/foo\")",
            "spec.maxFailedIndexes: Invalid value: 1: requires indexed completion mode",
            "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
        ],
    ),
    (
        r#"{"apiVersion":"batch/v1","kind":"Job","spec":{"completionMode":"Indexed","backoffLimitPerIndex":1,"parallelism":100001,
            "template":{"spec":{"restartPolicy":"Never","containers":[{"name":"a","image":"b"}]}}}}"#,
        &[
            "spec.completions: Required value: when completion mode is Indexed",
            "spec.parallelism: Invalid value: 100001: must be less than or equal to 100000 when completion mode is Indexed",
        ],
    ),
    (
        r#"{"apiVersion":"batch/v1","kind":"Job","spec":{"podFailurePolicy":{"rules":[
            {"action":"FailIndex","onExitCodes":{"operator":"In","values":[2,0,0],"containerName":"x"}},
            {"action":"","onExitCodes":{"values":[]},"onPodConditions":[{"type":"A b"}]},
            {"action":"Go"}]},"podReplacementPolicy":"TerminatingOrFailed","successPolicy":{"rules":[]},
            "template":{"spec":{"restartPolicy":"OnFailure","containers":[{"name":"a","image":"b"}]}}}}"#,
        &[
            "spec.podFailurePolicy.rules[0].action: Invalid value: \"FailIndex\": requires the backoffLimitPerIndex to be set",
            "spec.podFailurePolicy.rules[0].onExitCodes.containerName: Invalid value: \"x\": must be one of the container or initContainer names in the pod template",
            "spec.podFailurePolicy.rules[0].onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator",
            "spec.podFailurePolicy.rules[0].onExitCodes.values[2]: Invalid value: 0: must not be 0 for the In operator",
            "spec.podFailurePolicy.rules[0].onExitCodes.values[2]: Duplicate value: 0",
            "spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [2,0,0]: must be ordered",
            "spec.podFailurePolicy.rules[1].action: Required value: valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]",
            "spec.podFailurePolicy.rules[1].onExitCodes.operator: Required value: valid values: [\"In\" \"NotIn\"]",
            "spec.podFailurePolicy.rules[1].onExitCodes.values: Invalid value: []: at least one value is required",
            "spec.podFailurePolicy.rules[1].onPodConditions[0].type: Invalid value: \"A b\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
            "spec.podFailurePolicy.rules[1]: Invalid value: specifying both OnExitCodes and OnPodConditions is not supported",
            "spec.podFailurePolicy.rules[2].action: Unsupported value: \"Go\": supported values: \"Count\", \"FailIndex\", \"FailJob\", \"Ignore\"",
            "spec.podFailurePolicy.rules[2]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required",
            "spec.successPolicy: Invalid value: {\"rules\":[]}: requires indexed completion mode",
            "spec.podReplacementPolicy: Unsupported value: \"TerminatingOrFailed\": supported values: \"Failed\"",
            "spec.template.spec.restartPolicy: Invalid value: \"OnFailure\": only \"Never\" is supported when podFailurePolicy is specified",
        ],
    ),
    (
        r#"{"apiVersion":"batch/v1","kind":"Job","spec":{"completionMode":"Indexed","completions":2,
            "successPolicy":{"rules":[{},{"succeededIndexes":"0,5"},{"succeededIndexes":"0","succeededCount":3}]},
            "template":{"spec":{"restartPolicy":"Never","containers":[{"name":"a","image":"b"}]}}}}"#,
        &[
            "spec.successPolicy.rules[0]: Required value: at least one of succeededCount or succeededIndexes must be specified",
            "spec.successPolicy.rules[1].succeededIndexes: Invalid value: \"0,5\": error parsing succeededIndexes: too large index: \"5\"",
            "spec.successPolicy.rules[2].succeededCount: Invalid value: 3: must be less than or equal to 2 (the number of specified completions)",
            "spec.successPolicy.rules[2].succeededCount: Invalid value: 3: must be less than or equal to 1 (the number of indexes in the specified succeededIndexes field)",
        ],
    ),
    (
        r#"{"apiVersion":"batch/v1","kind":"Job","spec":{"template":{"metadata":{"labels":{"job-name":"x"}},
            "spec":{"restartPolicy":"Never","containers":[{"name":"a","image":"b"}]}}}}"#,
        &[
            "spec.template.metadata.labels[job-name]: Invalid value: {\"batch.kubernetes.io/controller-uid\":\"u-1\",\"batch.kubernetes.io/job-name\":\"web\",\"controller-uid\":\"u-1\",\"job-name\":\"x\"}: must be 'web'",
        ],
    ),
    (
        r#"{"apiVersion":"batch/v1","kind":"Job","spec":{"manualSelector":true,"template":{"spec":{"restartPolicy":"Never","containers":[{"name":"a","image":"b"}]}}}}"#,
        &[
            "spec.selector: Required value",
            "spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`",
        ],
    ),
    (
        r#"{"apiVersion":"batch/v1","kind":"CronJob","spec":{"schedule":"TZ=UTC * * * *","timeZone":"Mars/Base","concurrencyPolicy":"Sometimes",
            "failedJobsHistoryLimit":-1,"jobTemplate":{"spec":{"manualSelector":true,"selector":{},"template":{"spec":{"restartPolicy":"Never","containers":[{"name":"a","image":"b"}]}}}}}}"#,
        &[
            "spec.schedule: Invalid value: \"TZ=UTC * * * *\": expected exactly 5 fields, found 4: [* * * *]",
            "spec.schedule: Invalid value: \"TZ=UTC * * * *\": cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
            "spec.timeZone: Invalid value: \"Mars/Base\": unknown time zone Mars/Base",
            "spec.concurrencyPolicy: Unsupported value: \"Sometimes\": supported values: \"Allow\", \"Forbid\", \"Replace\"",
            "spec.jobTemplate.spec.selector: Invalid value: {}: `selector` will be auto-generated",
            "spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: \"nil\", \"false\"",
            "spec.failedJobsHistoryLimit: Invalid value: -1: must be greater than or equal to 0",
        ],
    ),
    (
        r#"{"apiVersion":"batch/v1","kind":"CronJob","metadata":{"name":"a-name-that-is-longer-than-the-names-of-its-jobs-let-it"},"spec":{"schedule":"@daily",
            "jobTemplate":{"spec":{"template":{"spec":{"restartPolicy":"Never","containers":[{"name":"a","image":"b"}]}}}}}}"#,
        &[
            "metadata.name: Invalid value: \"a-name-that-is-longer-than-the-names-of-its-jobs-let-it\": must be no more than 52 characters",
        ],
    ),
];

pub(super) const CHANGES: &[Changed] = &[
    ("", JOB, &["spec", "parallelism"], "3", &[]),
    ("", JOB, &["spec", "completions"], "3", &["spec.completions: Invalid value: 3: field is immutable"]),
    ("", JOB, &["spec", "template", "spec", "nodeSelector"], r#"{"a":"b"}"#, &[]),
    ("", JOB, &["spec", "template", "spec", "affinity"], r#"{"nodeAffinity":{}}"#, &[]),
    (
        "",
        INDEXED,
        &["spec", "completions"],
        "6",
        &["spec.completions: Invalid value: 6: can only be modified in tandem with spec.parallelism"],
    ),
    (
        "",
        INDEXED,
        &["spec", "managedBy"],
        "\"acme.io/bar\"",
        &["spec.managedBy: Invalid value: \"acme.io/bar\": field is immutable"],
    ),
    ("status", JOB, &["status", "startTime"], "\"2026-01-01T00:00:00Z\"", &[]),
    (
        "status",
        JOB,
        &["status"],
        r#"{"active":1,"ready":2,"completedIndexes":"0","conditions":[{"type":"Complete","status":"True"},{"type":"Failed","status":"True"}],
            "uncountedTerminatedPods":{"succeeded":["a",""],"failed":["a"]}}"#,
        &[
            "status.uncountedTerminatedPods.succeeded[1]: Invalid value: \"\": must not be empty",
            "status.uncountedTerminatedPods.failed[0]: Duplicate value: \"a\"",
            "status.conditions: Invalid value: cannot set Complete=True and Failed=true conditions",
            "status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition",
            "status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
            "status.completionTime: Required value: completionTime is required for Complete jobs",
            "status.active: Invalid value: 1: active>0 is invalid for finished job",
            "status.startTime: Required value: startTime is required for finished job",
            "status.uncountedTerminatedPods: Invalid value: {\"failed\":[\"a\"],\"succeeded\":[\"a\",\"\"]}: uncountedTerminatedPods needs to be empty for finished job",
            "status.completedIndexes: Invalid value: \"0\": cannot set non-empty completedIndexes when non-indexed completion mode",
            "status.ready: Invalid value: 2: cannot set more ready pods than active",
        ],
    ),
    ("", CRON_JOB, &["spec", "schedule"], "\"@hourly\"", &[]),
    (
        "",
        CRON_JOB,
        &["spec", "schedule"],
        "\"@never\"",
        &["spec.schedule: Invalid value: \"@never\": unrecognized descriptor: @never"],
    ),
];

#[test]
fn jobs_get_a_selector_of_their_own() {
    let (_, job) = super::created(&format!(
        r#"{{"apiVersion":"batch/v1","kind":"Job","spec":{{"template":{{"metadata":{{"labels":{{"a":"b"}}}},"spec":{POD}}}}}}}"#
    ));
    let labels = job.at(&["spec", "template", "metadata", "labels"]).unwrap();
    assert_eq!(labels.str_at(&["batch.kubernetes.io/job-name"]), Some("web"));
    assert_eq!(job.at(&["metadata", "labels"]), Some(labels));
    let selector = job.at(&["spec", "selector", "matchLabels"]).unwrap();
    assert_eq!(selector, &super::parse(r#"{"batch.kubernetes.io/controller-uid":"u-1"}"#));
    assert_eq!((job.i64_at(&["spec", "backoffLimit"]), job.i64_at(&["spec", "completions"])), (Some(6), Some(1)));
}

#[test]
fn templates_of_suspended_jobs_may_change_where_pods_go() {
    let (row, old) = super::created(JOB);
    let mut new = old.clone();
    new.set_at(&["spec", "template", "spec", "nodeSelector", "zone"], "x");
    let mut running = old.clone();
    running.set_at(&["spec", "suspend"], false);
    let errors = |old| row.strategy.validate_update(&new, old, crate::Target::Object);
    assert_eq!(errors(&old), Vec::new());
    assert!(errors(&running).iter().any(|e| e.field == "spec.template" && e.body.ends_with("field is immutable")));
}
