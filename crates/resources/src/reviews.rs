//! authentication.k8s.io and authorization.k8s.io: questions that the API server answers and does not keep.

use crate::row::Resource;

/// The rows.
pub fn rows() -> Vec<Resource> {
    let (authentication, authorization) = ("authentication.k8s.io/v1", "authorization.k8s.io/v1");
    vec![
        Resource::new(authentication, "SelfSubjectReview", "selfsubjectreviews").cluster_scoped().create_only(),
        Resource::new(authentication, "TokenReview", "tokenreviews").cluster_scoped().create_only(),
        Resource::new(authorization, "LocalSubjectAccessReview", "localsubjectaccessreviews").create_only(),
        Resource::new(authorization, "SelfSubjectAccessReview", "selfsubjectaccessreviews")
            .cluster_scoped()
            .create_only(),
        Resource::new(authorization, "SelfSubjectRulesReview", "selfsubjectrulesreviews")
            .cluster_scoped()
            .create_only(),
        Resource::new(authorization, "SubjectAccessReview", "subjectaccessreviews").cluster_scoped().create_only(),
    ]
}
