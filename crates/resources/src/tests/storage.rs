//! Volumes, claims and the storage group.

use super::{Changed, Invalid};

pub(super) const VALID: &[&str] = &[
    VOLUME,
    LOCAL,
    CLAIM,
    BOUND,
    r#"{"apiVersion":"storage.k8s.io/v1","kind":"StorageClass","metadata":{"annotations":{"storageclass.kubernetes.io/is-default-class":"true"}},
        "provisioner":"Example.com/disk","parameters":{"a":"b"},"allowedTopologies":[{"matchLabelExpressions":[{"key":"zone","values":["a"]}]}]}"#,
    DRIVER,
    NODE,
    CAPACITY,
    ATTACHMENT,
    r#"{"apiVersion":"storage.k8s.io/v1","kind":"VolumeAttachment","spec":{"attacher":"d.example.com","nodeName":"n","source":{"inlineVolumeSpec":
        {"accessModes":["ReadWriteOnce"],"csi":{"driver":"d","volumeHandle":"h"}}}}}"#,
    r#"{"apiVersion":"storage.k8s.io/v1","kind":"VolumeAttributesClass","driverName":"d","parameters":{"iops":"5"}}"#,
    r#"{"apiVersion":"storage.k8s.io/v1beta1","kind":"VolumeAttributesClass","driverName":"d","parameters":{"iops":"5"}}"#,
    r#"{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"name":"a","image":"b"}],"volumes":[{"name":"v","ephemeral":{"volumeClaimTemplate":
        {"metadata":{"labels":{"a":"b"}},"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}}}}}}]}}"#,
];

const VOLUME: &str = r#"{"apiVersion":"v1","kind":"PersistentVolume","spec":{"capacity":{"storage":"1Gi"},"accessModes":["ReadWriteOnce"],
    "csi":{"driver":"d.example.com","volumeHandle":"h"},"claimRef":{"namespace":"default","name":"c"},"volumeAttributesClassName":"gold"}}"#;

const LOCAL: &str = r#"{"apiVersion":"v1","kind":"PersistentVolume","spec":{"capacity":{"storage":"1Gi"},"accessModes":["ReadWriteOncePod"],
    "local":{"path":"/mnt/disk"},"storageClassName":"local","nodeAffinity":{"required":{"nodeSelectorTerms":[{"matchExpressions":
        [{"key":"failure-domain.beta.kubernetes.io/zone","operator":"In","values":["a"]}]}]}}}}"#;

const CLAIM: &str = r#"{"apiVersion":"v1","kind":"PersistentVolumeClaim","spec":{"accessModes":["ReadWriteOnce","ReadOnlyMany"],
    "resources":{"requests":{"storage":"1Gi"}},"dataSource":{"kind":"PersistentVolumeClaim","name":"a"}}}"#;

const BOUND: &str = r#"{"apiVersion":"v1","kind":"PersistentVolumeClaim","spec":{"accessModes":["ReadWriteOnce"],"storageClassName":"",
    "volumeName":"pv","resources":{"requests":{"storage":"2Gi"}}}}"#;

const DRIVER: &str = r#"{"apiVersion":"storage.k8s.io/v1","kind":"CSIDriver","spec":{"tokenRequests":[{"audience":"a","expirationSeconds":600}],
    "serviceAccountTokenInSecrets":true,"nodeAllocatableUpdatePeriodSeconds":10}}"#;

const NODE: &str = r#"{"apiVersion":"storage.k8s.io/v1","kind":"CSINode","spec":{"drivers":[{"name":"d","nodeID":"n","topologyKeys":["zone"],
    "allocatable":{"count":5}}]}}"#;

const CAPACITY: &str = r#"{"apiVersion":"storage.k8s.io/v1","kind":"CSIStorageCapacity","storageClassName":"fast","capacity":"10Gi",
    "nodeTopology":{"matchLabels":{"zone":"a"}}}"#;

const ATTACHMENT: &str = r#"{"apiVersion":"storage.k8s.io/v1","kind":"VolumeAttachment","spec":{"attacher":"d.example.com","nodeName":"n",
    "source":{"persistentVolumeName":"pv"}}}"#;

pub(super) const INVALID: &[Invalid] = &[
    (
        r#"{"apiVersion":"v1","kind":"PersistentVolume","spec":{}}"#,
        &[
            "spec.accessModes: Required value",
            "spec.capacity: Required value",
            "spec.capacity: Unsupported value: null: supported values: \"storage\"",
            "spec: Required value: must specify a volume type",
        ],
    ),
    (
        r#"{"apiVersion":"v1","kind":"PersistentVolume","metadata":{"annotations":{"volume.beta.kubernetes.io/mount-options":"ro"}},
            "spec":{"capacity":{"storage":"0"},"accessModes":["ReadWriteOncePod","ReadOnlyMany","Any"],"persistentVolumeReclaimPolicy":"Recycle",
            "hostPath":{"path":"/a/.."},"gcePersistentDisk":{"pdName":"x"},"nodeAffinity":{},"volumeAttributesClassName":""}}"#,
        &[
            "spec.accessModes: Unsupported value: \"Any\": supported values: \"ReadOnlyMany\", \"ReadWriteMany\", \"ReadWriteOnce\", \"ReadWriteOncePod\"",
            "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
            "spec.capacity[storage]: Invalid value: \"0\": must be greater than zero",
            "spec.nodeAffinity.required: Required value: must specify required node constraints",
            "spec.hostPath.path: Invalid value: \"/a/..\": must not contain '..'",
            "spec.gcePersistentDisk: Forbidden: may not specify more than 1 volume type",
            "spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'",
            "spec.volumeAttributesClassName: Required value: an empty string is disallowed",
            "spec.csi: Required value: has to be specified when using volumeAttributesClassName",
        ],
    ),
    (
        r#"{"apiVersion":"v1","kind":"PersistentVolume","metadata":{"annotations":{"volume.beta.kubernetes.io/mount-options":"ro"}},
            "spec":{"capacity":{"storage":"1"},"accessModes":["ReadWriteOnce"],"local":{"path":"/a"}}}"#,
        &[
            "metadata.annotations.volume.beta.kubernetes.io/mount-options: Forbidden: may not specify mount options for this volume type",
        ],
    ),
    (
        r#"{"apiVersion":"v1","kind":"PersistentVolume","spec":{"capacity":{"storage":"1"},"accessModes":["ReadWriteOnce"],"volumeMode":"x",
            "csi":{"nodePublishSecretRef":{"name":"A"}}}}"#,
        &[
            "spec.csi.driver: Required value",
            "spec.csi.driver: Invalid value: \"\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            "spec.csi.volumeHandle: Required value",
            "spec.csi.nodePublishSecretRef.name: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            "spec.csi.nodePublishSecretRef.namespace: Required value",
            "spec.volumeMode: Unsupported value: \"x\": supported values: \"Block\", \"Filesystem\"",
        ],
    ),
    (
        r#"{"apiVersion":"v1","kind":"PersistentVolumeClaim","spec":{"resources":{"requests":{"storage":"-1"}},
            "dataSourceRef":{"apiGroup":"a.b","kind":"x","name":"y"},"dataSource":{"kind":"PersistentVolumeClaim","name":"y"}}}"#,
        &[
            "spec.accessModes: Required value: at least 1 access mode is required",
            "spec.resources[storage]: Invalid value: \"-1\": must be greater than zero",
            "spec: Invalid value: {}: must match dataSourceRef",
        ],
    ),
    (
        r#"{"apiVersion":"v1","kind":"PersistentVolumeClaim","spec":{"accessModes":["ReadWriteOnce"]}}"#,
        &["spec.resources[storage]: Required value"],
    ),
    (
        r#"{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"name":"a","image":"b"}],"volumes":[{"name":"v","ephemeral":{"volumeClaimTemplate":
            {"metadata":{"name":"x"},"spec":{"accessModes":["ReadWriteOnce"]}}}}]}}"#,
        &[
            "spec.volumes[0].ephemeral.volumeClaimTemplate.metadata.name: Forbidden: cannot be set",
            "spec.volumes[0].ephemeral.volumeClaimTemplate.spec.resources[storage]: Required value",
        ],
    ),
    (
        r#"{"apiVersion":"storage.k8s.io/v1","kind":"StorageClass","reclaimPolicy":"Recycle","volumeBindingMode":"Late","parameters":{"":"a"},
            "allowedTopologies":[{"matchLabelExpressions":[{"key":"zone","values":["a","a"]},{"key":"zone"}]}]}"#,
        &[
            "provisioner: Required value",
            "parameters: Invalid value: \"\": field can not be empty.",
            "reclaimPolicy: Unsupported value: \"Recycle\": supported values: \"Delete\", \"Retain\"",
            "volumeBindingMode: Unsupported value: \"Late\": supported values: \"Immediate\", \"WaitForFirstConsumer\"",
            "allowedTopologies[0].matchLabelExpressions[0].values[1]: Duplicate value: \"a\"",
            "allowedTopologies[0].matchLabelExpressions[1].values: Required value",
            "allowedTopologies[0].matchLabelExpressions[1].key: Duplicate value: \"zone\"",
        ],
    ),
    (
        r#"{"apiVersion":"storage.k8s.io/v1","kind":"CSIDriver","spec":{"fsGroupPolicy":"x","volumeLifecycleModes":["y"],
            "nodeAllocatableUpdatePeriodSeconds":9,"tokenRequests":[{"audience":""},{"audience":""},{"audience":"b","expirationSeconds":1}]}}"#,
        &[
            "spec.fsGroupPolicy: Unsupported value: \"x\": supported values: \"File\", \"None\", \"ReadWriteOnceWithFSType\"",
            "spec.tokenRequests[1].audience: Duplicate value: \"\"",
            "spec.tokenRequests[2].expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes",
            "spec.volumeLifecycleModes: Unsupported value: \"y\": supported values: \"Persistent\", \"Ephemeral\"",
            "spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 9: must be greater than or equal to 10 seconds",
        ],
    ),
    (
        r#"{"apiVersion":"storage.k8s.io/v1","kind":"CSINode","spec":{"drivers":[{"name":"d","nodeID":"a"},{"name":"d","nodeID":"","allocatable":{"count":-1}}]}}"#,
        &[
            "spec.drivers[1].nodeID: Required value",
            "spec.drivers[1].allocatable.count: Invalid value: -1: must be greater than or equal to 0",
            "spec.drivers[1].name: Duplicate value: \"d\"",
        ],
    ),
    (
        r#"{"apiVersion":"storage.k8s.io/v1","kind":"CSIStorageCapacity","storageClassName":"fast","capacity":"-1"}"#,
        &["capacity: Invalid value: \"-1\": must be greater than or equal to 0"],
    ),
    (
        r#"{"apiVersion":"storage.k8s.io/v1","kind":"VolumeAttachment","spec":{"attacher":"d","nodeName":"n","source":{}}}"#,
        &["spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName"],
    ),
    (
        r#"{"apiVersion":"storage.k8s.io/v1","kind":"VolumeAttachment","spec":{"attacher":"d","nodeName":"n","source":{"inlineVolumeSpec":
            {"accessModes":["ReadWriteOnce"],"capacity":{"storage":"1"},"storageClassName":"x","hostPath":{"path":"/"}}}}}"#,
        &[
            "spec.source.inlineVolumeSpec.capacity: Forbidden: may not be specified in the context of inline volumes",
            "spec.source.inlineVolumeSpec.csi: Required value: has to be specified in the context of inline volumes",
            "spec.source.inlineVolumeSpec.storageClassName: Forbidden: may not be specified in the context of inline volumes",
        ],
    ),
    (
        r#"{"apiVersion":"storage.k8s.io/v1","kind":"VolumeAttributesClass","driverName":"d"}"#,
        &["parameters: Required value: must contain at least one key/value pair"],
    ),
];

macro_rules! concat_claim {
    ($changes:literal) => {
        concat!(
            "spec: Forbidden: spec is immutable after creation except resources.requests and ",
            "volumeAttributesClassName for bound claims\n  core.PersistentVolumeClaimSpec{\n",
            $changes
        )
    };
}

pub(super) const CHANGES: &[Changed] = &[
    (
        "",
        VOLUME,
        &["spec", "csi", "volumeHandle"],
        "\"i\"",
        &[
            "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation\n  core.PersistentVolumeSource{\n- \tCsi: {\"driver\":\"d.example.com\",\"volumeHandle\":\"h\"},\n+ \tCsi: {\"driver\":\"d.example.com\",\"volumeHandle\":\"i\"},\n  }\n",
        ],
    ),
    ("", VOLUME, &["spec", "csi", "controllerExpandSecretRef"], r#"{"name":"a","namespace":"b"}"#, &[]),
    (
        "",
        VOLUME,
        &["spec", "volumeAttributesClassName"],
        "null",
        &["spec.volumeAttributesClassName: Forbidden: update from non-nil value to nil is forbidden"],
    ),
    ("", VOLUME, &["spec", "capacity", "storage"], "\"2Gi\"", &[]),
    ("", VOLUME, &["spec", "volumeMode"], "\"Block\"", &["volumeMode: Invalid value: \"Block\": field is immutable"]),
    (
        "",
        LOCAL,
        &["spec", "nodeAffinity", "required", "nodeSelectorTerms"],
        r#"[{"matchExpressions":[{"key":"topology.kubernetes.io/zone","operator":"In","values":["a"]}]}]"#,
        &[],
    ),
    (
        "",
        LOCAL,
        &["spec", "nodeAffinity", "required", "nodeSelectorTerms"],
        r#"[{"matchExpressions":[{"key":"zone","operator":"Exists"}]}]"#,
        &[
            "nodeAffinity: Invalid value: {\"required\":{\"nodeSelectorTerms\":[{\"matchExpressions\":[{\"key\":\"zone\",\"operator\":\"Exists\"}]}]}}: field is immutable, except for updating from beta label to GA",
        ],
    ),
    ("", CLAIM, &["spec", "volumeName"], "\"pv\"", &[]),
    ("", CLAIM, &["spec", "storageClassName"], "\"fast\"", &[]),
    ("", CLAIM, &["spec", "volumeAttributesClassName"], "\"gold\"", &[]),
    (
        "",
        CLAIM,
        &["spec", "accessModes"],
        "[\"ReadWriteMany\"]",
        &[concat_claim!(
            "- \tAccessModes: [\"ReadWriteOnce\",\"ReadOnlyMany\"],\n+ \tAccessModes: [\"ReadWriteMany\"],\n  \t... // 4 identical fields\n  }\n"
        )],
    ),
    (
        "",
        BOUND,
        &["spec", "storageClassName"],
        "\"fast\"",
        &[concat_claim!(
            "- \tStorageClassName: nil,\n+ \tStorageClassName: \"fast\",\n  \t... // 4 identical fields\n  }\n"
        )],
    ),
    (
        "",
        BOUND,
        &["spec", "resources", "requests", "storage"],
        "\"1Gi\"",
        &[concat_claim!(
            "- \tResources: {\"requests\":{\"storage\":\"2Gi\"}},\n+ \tResources: {\"requests\":{\"storage\":\"1Gi\"}},\n  \t... // 3 identical fields\n  }\n"
        )],
    ),
    (
        "status",
        CLAIM,
        &["status"],
        r#"{"phase":"Bound","capacity":{"storage":"-1"},"allocatedResources":{"cpu":"1"},"allocatedResourceStatuses":{"storage":"x"}}"#,
        &[
            "status.capacity[storage]: Invalid value: -1: must be a valid resource quantity",
            "status.allocatedResourceStatuses: Unsupported value: \"storage\": supported values: \"ControllerResizeInProgress\", \"ControllerResizeInfeasible\", \"NodeResizeInProgress\", \"NodeResizeInfeasible\", \"NodeResizePending\"",
            "status.allocatedResources: Unsupported value: \"cpu\": supported values: \"storage\"",
        ],
    ),
    (
        "",
        r#"{"apiVersion":"storage.k8s.io/v1","kind":"StorageClass","provisioner":"a"}"#,
        &["provisioner"],
        "\"b\"",
        &["provisioner: Forbidden: updates to provisioner are forbidden."],
    ),
    (
        "",
        DRIVER,
        &["spec", "attachRequired"],
        "false",
        &["spec.attachedRequired: Invalid value: false: field is immutable"],
    ),
    ("", DRIVER, &["spec", "podInfoOnMount"], "true", &[]),
    (
        "",
        NODE,
        &["spec", "drivers"],
        r#"[{"name":"d","nodeID":"m"}]"#,
        &["CSINodeDriver: Invalid value: {\"name\":\"d\",\"nodeID\":\"m\",\"topologyKeys\":null}: field is immutable"],
    ),
    (
        "",
        NODE,
        &["spec", "drivers"],
        r#"[{"name":"d","nodeID":"n","topologyKeys":["zone"],"allocatable":{"count":6}}]"#,
        &[],
    ),
    (
        "",
        CAPACITY,
        &["storageClassName"],
        "\"slow\"",
        &["storageClassName: Invalid value: \"slow\": field is immutable"],
    ),
    (
        "",
        ATTACHMENT,
        &["spec", "nodeName"],
        "\"m\"",
        &[
            "spec: Invalid value: {\"attacher\":\"d.example.com\",\"nodeName\":\"m\",\"source\":{\"persistentVolumeName\":\"pv\"}}: field is immutable",
        ],
    ),
    ("status", ATTACHMENT, &["status", "attached"], "true", &[]),
    (
        "",
        r#"{"apiVersion":"storage.k8s.io/v1beta1","kind":"VolumeAttributesClass","driverName":"d","parameters":{"iops":"5"}}"#,
        &["parameters", "iops"],
        "\"6\"",
        &["parameters: Forbidden: updates to parameters are forbidden."],
    ),
];
