//! ServiceCIDRs: the ranges that addresses of services come from.

use machinery::field::FieldError;
use machinery::json::Value;

use crate::addresses::{Cidr, validate_canonical_cidr};
use crate::checks::validate_immutable;
use crate::place::{Json, Place, Report};
use crate::read::{Read, set_default};
use crate::row::{Column, Resource, Strategy, Subresource, Target};

/// The row of a version.
pub fn row(version: &str) -> Resource {
    Resource::new(&format!("networking.k8s.io/{version}"), "ServiceCIDR", "servicecidrs")
        .cluster_scoped()
        .subresources(&[Subresource::Status])
        .columns(vec![
            Column::text("CIDRs", "The ranges.", |object, _| {
                let cidrs: Vec<&str> = object.get("spec").map(|spec| spec.texts("cidrs").collect()).unwrap_or_default();
                cidrs.join(",").into()
            }),
            Column::age(),
        ])
        .strategy(ServiceCidr)
}

struct ServiceCidr;

impl Strategy for ServiceCidr {
    fn default(&self, object: &mut Value) {
        set_default(object, "spec", Value::object());
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let empty = Value::object();
        let spec = object.get("spec").unwrap_or(&empty);
        let at = Place::root("spec.cidrs");
        let cidrs: Vec<&str> = spec.texts("cidrs").collect();
        match cidrs[..] {
            [] => errors.required(&at, "at least one CIDR required"),
            [one, other] if !of_both_families(one, other) => {
                let detail = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
                errors.invalid(&at, Json(spec), detail);
            }
            [_] | [_, _] => {
                for (index, cidr) in cidrs.iter().enumerate() {
                    validate_canonical_cidr(cidr, &at.index(index), &mut errors);
                }
            }
            _ => errors.invalid(&at, Json(spec), "may only hold up to 2 values"),
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value, target: Target) -> Vec<FieldError> {
        if target == Target::Subresource("status") {
            return Vec::new();
        }
        let mut errors = self.validate(object);
        let empty = Value::object();
        let (new, old) = (object.get("spec").unwrap_or(&empty), old.get("spec").unwrap_or(&empty));
        validate_immutable(new, old, "cidrs", &Place::root("spec"), &mut errors);
        errors
    }
}

fn of_both_families(one: &str, other: &str) -> bool {
    matches!((Cidr::parse(one), Cidr::parse(other)), (Some(one), Some(other)) if one.is_ipv6() != other.is_ipv6())
}
