//! The table: roles of the controllers, each its own service account in `kube-system` (`system:controller:…` upstream).

use super::roles::{CORE, LEASES, READ, RECORD, WRITE, rule};
use super::{Role, Subject};

const APPS: &[&str] = &["apps"];
const BATCH: &[&str] = &["batch"];
const NETWORKING: &[&str] = &["networking.k8s.io"];
const ALL_READ_WRITE: &[&str] = &["get", "list", "watch", "create", "update", "patch", "delete"];

pub(super) const ROLES: &[Role] = &[
    Role {
        name: "system:controller:namespace-controller",
        subjects: &[Subject::Controller("namespace-controller")],
        rules: &[
            rule(&["get", "list", "watch", "delete"], CORE, &["namespaces"]),
            rule(WRITE, CORE, &["namespaces/finalize", "namespaces/status"]),
            rule(&["delete", "deletecollection", "get", "list"], &["*"], &["*"]),
        ],
    },
    Role {
        name: "system:controller:service-account-controller",
        subjects: &[
            Subject::Controller("service-account-controller"),
            Subject::Controller("serviceaccount-controller"),
        ],
        rules: &[rule(&["create"], CORE, &["serviceaccounts"]), RECORD],
    },
    Role {
        name: "system:controller:root-ca-cert-publisher",
        subjects: &[
            Subject::Controller("root-ca-cert-publisher"),
            Subject::Controller("root-ca-certificate-publisher-controller"),
        ],
        rules: &[rule(&["create", "update"], CORE, &["configmaps"]), RECORD],
    },
    Role {
        name: "system:controller:deployment-controller",
        subjects: &[Subject::Controller("deployment-controller")],
        rules: &[
            rule(&["get", "list", "watch", "update", "patch"], APPS, &["deployments"]),
            rule(WRITE, APPS, &["deployments/status", "deployments/finalizers"]),
            rule(ALL_READ_WRITE, APPS, &["replicasets"]),
            rule(&["get", "list", "update", "patch", "watch"], CORE, &["pods"]),
            RECORD,
        ],
    },
    Role {
        name: "system:controller:replicaset-controller",
        subjects: &[Subject::Controller("replicaset-controller")],
        rules: &[
            rule(&["get", "list", "watch", "update", "patch"], APPS, &["replicasets"]),
            rule(WRITE, APPS, &["replicasets/status", "replicasets/finalizers"]),
            rule(&["create", "delete", "get", "list", "patch", "watch"], CORE, &["pods"]),
            RECORD,
        ],
    },
    Role {
        name: "system:controller:replication-controller",
        subjects: &[
            Subject::Controller("replication-controller"),
            Subject::Controller("replicationcontroller-controller"),
        ],
        rules: &[
            rule(&["get", "list", "watch", "update", "patch"], CORE, &["replicationcontrollers"]),
            rule(WRITE, CORE, &["replicationcontrollers/status", "replicationcontrollers/finalizers"]),
            rule(&["create", "delete", "get", "list", "patch", "watch"], CORE, &["pods"]),
            RECORD,
        ],
    },
    Role {
        name: "system:controller:endpoint-controller",
        subjects: &[Subject::Controller("endpoint-controller"), Subject::Controller("endpoints-controller")],
        rules: &[
            rule(READ, CORE, &["services", "pods"]),
            rule(ALL_READ_WRITE, CORE, &["endpoints"]),
            rule(&["create"], CORE, &["endpoints/restricted"]),
            RECORD,
        ],
    },
    Role {
        name: "system:controller:endpointslice-controller",
        subjects: &[Subject::Controller("endpointslice-controller")],
        rules: &[
            rule(READ, CORE, &["services", "pods", "nodes"]),
            rule(&["update"], CORE, &["services/finalizers"]),
            rule(ALL_READ_WRITE, &["discovery.k8s.io"], &["endpointslices"]),
            rule(&["create"], &["discovery.k8s.io"], &["endpointslices/restricted"]),
            RECORD,
        ],
    },
    Role {
        name: "system:controller:endpointslicemirroring-controller",
        subjects: &[
            Subject::Controller("endpointslicemirroring-controller"),
            Subject::Controller("endpointslice-mirroring-controller"),
        ],
        rules: &[
            rule(READ, CORE, &["services", "endpoints"]),
            rule(&["update"], CORE, &["services/finalizers", "endpoints/finalizers"]),
            rule(ALL_READ_WRITE, &["discovery.k8s.io"], &["endpointslices"]),
            rule(&["create"], &["discovery.k8s.io"], &["endpointslices/restricted"]),
            RECORD,
        ],
    },
    Role {
        name: "system:controller:persistent-volume-binder",
        subjects: &[
            Subject::Controller("persistent-volume-binder"),
            Subject::Controller("persistentvolume-binder-controller"),
        ],
        rules: &[
            rule(&["get", "list", "watch", "update", "create", "delete"], CORE, &["persistentvolumes"]),
            rule(&["get", "list", "watch", "update"], CORE, &["persistentvolumeclaims"]),
            rule(&["update"], CORE, &["persistentvolumes/status", "persistentvolumeclaims/status"]),
            rule(&["get", "list", "watch"], CORE, &["pods"]),
            rule(READ, &["storage.k8s.io"], &["storageclasses"]),
            RECORD,
        ],
    },
    Role {
        name: "system:controller:ephemeral-volume-controller",
        subjects: &[Subject::Controller("ephemeral-volume-controller")],
        rules: &[
            rule(READ, CORE, &["pods"]),
            rule(&["update"], CORE, &["pods/finalizers"]),
            rule(&["create", "get", "list", "watch"], CORE, &["persistentvolumeclaims"]),
            RECORD,
        ],
    },
    Role {
        name: "system:controller:pvc-protection-controller",
        subjects: &[Subject::Controller("pvc-protection-controller")],
        rules: &[
            rule(&["get", "list", "watch", "update"], CORE, &["persistentvolumeclaims"]),
            rule(READ, CORE, &["pods"]),
            RECORD,
        ],
    },
    Role {
        name: "system:controller:pv-protection-controller",
        subjects: &[Subject::Controller("pv-protection-controller")],
        rules: &[rule(&["get", "list", "watch", "update"], CORE, &["persistentvolumes"]), RECORD],
    },
    Role {
        name: "system:controller:volumeattributesclass-protection-controller",
        subjects: &[Subject::Controller("volumeattributesclass-protection-controller")],
        rules: &[
            rule(READ, CORE, &["persistentvolumeclaims", "persistentvolumes"]),
            rule(&["get", "list", "watch", "update"], &["storage.k8s.io"], &["volumeattributesclasses"]),
            RECORD,
        ],
    },
    Role {
        name: "system:controller:service-cidrs-controller",
        subjects: &[Subject::Controller("service-cidrs-controller"), Subject::Controller("service-cidr-controller")],
        rules: &[
            rule(&["get", "list", "watch", "patch", "update"], NETWORKING, &["servicecidrs"]),
            rule(WRITE, NETWORKING, &["servicecidrs/finalizers", "servicecidrs/status"]),
            rule(READ, NETWORKING, &["ipaddresses"]),
            RECORD,
        ],
    },
    Role {
        name: "system:controller:disruption-controller",
        subjects: &[Subject::Controller("disruption-controller")],
        rules: &[
            rule(READ, APPS, &["deployments", "replicasets", "statefulsets"]),
            rule(READ, CORE, &["replicationcontrollers", "pods"]),
            rule(READ, &["policy"], &["poddisruptionbudgets"]),
            rule(&["update"], &["policy"], &["poddisruptionbudgets/status"]),
            rule(WRITE, CORE, &["pods/status"]),
            rule(&["get"], &["*"], &["*/scale"]),
            RECORD,
        ],
    },
    Role {
        name: "system:controller:cronjob-controller",
        subjects: &[Subject::Controller("cronjob-controller")],
        rules: &[
            rule(&["get", "list", "watch", "update"], BATCH, &["cronjobs"]),
            rule(ALL_READ_WRITE, BATCH, &["jobs"]),
            rule(&["update"], BATCH, &["cronjobs/status", "cronjobs/finalizers"]),
            rule(&["list", "delete"], CORE, &["pods"]),
            RECORD,
        ],
    },
    Role {
        name: "system:controller:resourcequota-controller",
        subjects: &[Subject::Controller("resourcequota-controller")],
        rules: &[rule(&["list", "watch"], &["*"], &["*"]), rule(&["update"], CORE, &["resourcequotas/status"]), RECORD],
    },
    Role {
        name: "system:controller:generic-garbage-collector",
        subjects: &[
            Subject::Controller("generic-garbage-collector"),
            Subject::Controller("garbage-collector-controller"),
        ],
        rules: &[rule(&["get", "list", "watch", "patch", "update", "delete"], &["*"], &["*"]), RECORD],
    },
    Role {
        name: "system:controller:node-controller",
        subjects: &[
            Subject::Controller("node-controller"),
            Subject::Controller("node-lifecycle-controller"),
            Subject::Controller("node-ipam-controller"),
        ],
        rules: &[
            rule(&["get", "list", "watch", "update", "delete", "patch"], CORE, &["nodes"]),
            rule(WRITE, CORE, &["nodes/status", "pods/status"]),
            rule(&["get", "list", "watch", "delete", "patch", "update"], CORE, &["pods"]),
            rule(READ, LEASES, &["leases"]),
            RECORD,
        ],
    },
    Role {
        name: "system:controller:pod-garbage-collector",
        subjects: &[
            Subject::Controller("pod-garbage-collector"),
            Subject::Controller("pod-garbage-collector-controller"),
        ],
        rules: &[
            rule(&["list", "watch", "delete"], CORE, &["pods"]),
            rule(READ, CORE, &["nodes"]),
            rule(WRITE, CORE, &["pods/status"]),
            RECORD,
        ],
    },
    Role {
        name: "system:controller:validatingadmissionpolicy-status-controller",
        subjects: &[Subject::Controller("validatingadmissionpolicy-status-controller")],
        rules: &[
            rule(READ, &["admissionregistration.k8s.io"], &["validatingadmissionpolicies"]),
            rule(
                &["get", "patch", "update"],
                &["admissionregistration.k8s.io"],
                &["validatingadmissionpolicies", "validatingadmissionpolicies/status"],
            ),
            RECORD,
        ],
    },
];
