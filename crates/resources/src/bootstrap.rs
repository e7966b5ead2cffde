//! Objects that every cluster has from its first start, made by the API server.

use std::sync::OnceLock;

use machinery::json::Value;

use crate::flow_control::objects;
use crate::{api_services, priority_classes, table};

/// An object, and what happens to it later.
pub struct Wanted {
    /// As it is made, with its defaults.
    pub object: Value,
    /// Plural of its resource.
    pub plural: String,
    /// Whether its spec is put right as long as its annotations do not say otherwise.
    pub kept_right: bool,
}

/// All of them, in the order in which they are made.
pub fn wanted() -> &'static [Wanted] {
    static ALL: OnceLock<Vec<Wanted>> = OnceLock::new();
    ALL.get_or_init(|| {
        let rows = table();
        let kept = objects::all_objects().into_iter().map(|object| (object, true));
        let made = priority_classes::system().into_iter().chain(api_services::local(&rows));
        let made = made.map(|object| (object, false));
        let complete = |(mut object, kept_right): (Value, bool)| {
            let (api_version, kind) = (object.str_at(&["apiVersion"])?, object.str_at(&["kind"])?);
            let row = rows.iter().find(|row| row.kind == kind && row.group_version().to_string() == api_version)?;
            row.default(&mut object);
            Some(Wanted { object, plural: row.plural.clone(), kept_right })
        };
        made.chain(kept).filter_map(complete).collect()
    })
}

/// Whether an object that is there lets its spec be put right: its annotation says so, or it was never changed.
pub fn lets_be_kept_right(object: &Value) -> bool {
    match object.str_at(&["metadata", "annotations", objects::AUTO_UPDATE]) {
        Some(text) => text == "true",
        None => object.i64_at(&["metadata", "generation"]) == Some(1),
    }
}
