//! Selectors of devices: expressions over one `device`.

use std::sync::LazyLock;

use cel::{Environment, Type, compile};
use machinery::field::FieldError;

use crate::place::{Place, Report};

static ENVIRONMENT: LazyLock<Environment> = LazyLock::new(|| {
    let by_domain = |value: Type| Type::map(Type::String, Type::map(Type::String, value));
    let device = Type::object(
        "kubernetes.DRADevice",
        [
            ("driver", Type::String),
            ("attributes", by_domain(Type::Dyn)),
            ("capacity", by_domain(Type::Opaque("kubernetes.Quantity"))),
            ("allowMultipleAllocations", Type::Bool),
        ],
    );
    Environment::new().variable("device", device)
});

/// Reports what is wrong in an expression.
pub(super) fn check(expression: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    match compile(expression, &ENVIRONMENT, &[]) {
        Err(wrong) => errors.invalid(at, expression, &wrong.to_string()),
        Ok(program) if !matches!(program.result_type(), Type::Bool | Type::Dyn) => {
            let found = program.result_type();
            errors.invalid(at, expression, &format!("must evaluate to bool or the unknown type, not {found}"));
        }
        Ok(_) => {}
    }
}
