//! bindings: the older way to put a pod on a node. Only made, never kept; `pods/binding` does the same.

use crate::row::Resource;

/// The row.
pub fn row() -> Resource {
    Resource::new("v1", "Binding", "bindings").create_only()
}
