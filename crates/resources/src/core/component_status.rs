//! ComponentStatuses: what is left of an old way to ask how the control plane does.

use machinery::json::Value;

use crate::read::Read;
use crate::row::{Column, Resource};

const COMPONENTS: [&str; 3] = ["controller-manager", "etcd-0", "scheduler"];

/// The row. All parts live in the process that answers, so an answer says that they are well.
pub fn row() -> Resource {
    Resource::new("v1", "ComponentStatus", "componentstatuses")
        .cluster_scoped()
        .short_names(&["cs"])
        .fixed(COMPONENTS.map(component).to_vec())
        .columns(vec![
            Column::text("Status", "Whether it is healthy.", |object, _| {
                match healthy(object).map(|condition| condition.text("status")) {
                    Some("True") => "Healthy".into(),
                    Some(_) => "Unhealthy".into(),
                    None => "Unknown".into(),
                }
            }),
            Column::text("Message", "What it says.", |object, _| {
                healthy(object).map(|condition| condition.text("message")).unwrap_or_default().into()
            }),
            Column::text("Error", "What is wrong.", |object, _| {
                healthy(object).map(|condition| condition.text("error")).unwrap_or_default().into()
            }),
        ])
}

fn component(name: &str) -> Value {
    let mut condition = Value::object();
    for (field, text) in [("type", "Healthy"), ("status", "True"), ("message", "ok")] {
        condition.set_at(&[field], text);
    }
    let mut object = Value::object();
    object.set_at(&["apiVersion"], "v1");
    object.set_at(&["kind"], "ComponentStatus");
    object.set_at(&["metadata", "name"], name);
    object.set_at(&["conditions"], vec![condition]);
    object
}

fn healthy(object: &Value) -> Option<&Value> {
    object.items("conditions").iter().find(|condition| condition.text("type") == "Healthy")
}
