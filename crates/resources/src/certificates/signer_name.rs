//! Names of signers: `example.com/signer-name`.

use machinery::field::FieldError;
use machinery::names;

use crate::place::{Place, Report};

const DOMAIN_LENGTH_MAX: usize = 253;
/// A namespace, a dot and a name.
const PATH_LENGTH_MAX: usize = 253 + 63 + 1;
const LENGTH_MAX: usize = DOMAIN_LENGTH_MAX + PATH_LENGTH_MAX + 1;

/// A signer's name.
pub(super) fn validate(name: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if name.is_empty() {
        errors.required(at, "");
        return;
    }
    let Some((domain, path)) = name.split_once('/').filter(|(_, path)| !path.contains('/')) else {
        let detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        errors.invalid(at, name, detail);
        return;
    };
    if domain.len() > DOMAIN_LENGTH_MAX {
        errors.too_long(at, DOMAIN_LENGTH_MAX);
    }
    validate_labels(domain, names::dns1123_label, at, errors);
    if !domain.contains('.') {
        errors.invalid(at, domain, "should be a domain with at least two segments separated by dots");
    }
    validate_labels(path, names::dns1123_subdomain, at, errors);
    if name.len() > LENGTH_MAX {
        errors.too_long(at, LENGTH_MAX);
    }
}

/// Parts between dots; only the first that is wrong is told.
fn validate_labels(text: &str, check: fn(&str) -> Vec<String>, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let wrong = text.split('.').map(|label| (label, check(label))).find(|(_, wrong)| !wrong.is_empty());
    let Some((label, wrong)) = wrong else { return };
    for message in wrong {
        errors.invalid(at, text, &format!("validating label {label:?}: {message}"));
    }
}
