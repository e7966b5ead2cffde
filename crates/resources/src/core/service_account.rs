//! ServiceAccounts.

use crate::cells;
use crate::row::{Column, Resource, Subresource};

/// The row.
pub fn row() -> Resource {
    Resource::new("v1", "ServiceAccount", "serviceaccounts")
        .short_names(&["sa"])
        .subresources(&[Subresource::Token])
        .columns(vec![
            Column::text("Secrets", "Number of secrets that pods of this account may use.", |object, _| {
                cells::count(object, "secrets").into()
            }),
            Column::age(),
        ])
}
