//! customresourcedefinitions. DIVERGES: there are none, and none can be made yet. The list is served, because kubectl asks it
//! whether an unknown kind is a custom one before it says `no matches for kind`.

use crate::row::{Resource, Verb};

/// The row: to be read only.
pub fn row() -> Resource {
    let mut row = Resource::new("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions")
        .cluster_scoped()
        .short_names(&["crd", "crds"])
        .categories(&["api-extensions"]);
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition".clone_into(&mut row.type_name);
    row.verbs = vec![Verb::Get, Verb::List, Verb::Watch];
    row
}
