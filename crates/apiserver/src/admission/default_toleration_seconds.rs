//! DefaultTolerationSeconds: pods stay five minutes on a node that is not ready or unreachable, unless they say else.

use machinery::{ApiError, Value};
use resources::Target;

use super::{Operation, Plugin, Review};

const SECONDS: i64 = 300;
const TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

pub(super) struct DefaultTolerationSeconds;

impl Plugin for DefaultTolerationSeconds {
    fn admit(&self, review: &mut Review<'_>) -> Result<(), ApiError> {
        let applies =
            review.operation != Operation::Delete && review.target == Target::Object && review.is_core("pods");
        if !applies {
            return Ok(());
        }
        for taint in TAINTS {
            let list = review.object.ensure_at(&["spec", "tolerations"]);
            if list.as_array().is_none() {
                *list = Value::Array(Vec::new());
            }
            let Some(list) = list.as_array_mut() else { continue };
            if !list.iter().any(|toleration| tolerates(toleration, taint)) {
                list.push(toleration(taint));
            }
        }
        Ok(())
    }
}

fn tolerates(toleration: &Value, taint: &str) -> bool {
    let text = |key: &str| toleration.str_at(&[key]).unwrap_or_default();
    matches!(text("key"), key if key == taint || key.is_empty()) && matches!(text("effect"), "" | "NoExecute")
}

fn toleration(taint: &str) -> Value {
    let mut toleration = Value::object();
    toleration.set_at(&["key"], taint);
    toleration.set_at(&["operator"], "Exists");
    toleration.set_at(&["effect"], "NoExecute");
    toleration.set_at(&["tolerationSeconds"], SECONDS);
    toleration
}
