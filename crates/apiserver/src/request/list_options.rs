//! What lists and watches accept as resourceVersion, and what it means (upstream's `ValidateListOptions`).

use client::Options;
use machinery::ApiError;
use machinery::field::{FieldError, Path};

/// How fresh a list must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// All that was acknowledged.
    Newest,
    /// Whatever the cache holds.
    Any,
    /// At least this revision.
    NotOlderThan(u64),
    /// Exactly this revision.
    Exact(u64),
}

/// Reads a resourceVersion; `None` when it is empty.
pub(crate) fn revision(text: &str) -> Result<Option<u64>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        let detail = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
        let error = FieldError::invalid(&Path::new("resourceVersion"), text, &detail);
        ApiError::BadRequest(format!("invalid resource version: {error}"))
    })
}

/// Checks the options of a list or watch and says how fresh it must be.
pub(crate) fn freshness(options: &Options, watch: bool) -> Result<Freshness, ApiError> {
    let errors = if watch { watch_errors(options) } else { list_errors(options) };
    if !errors.is_empty() {
        return Err(ApiError::invalid("meta.k8s.io", "ListOptions", "", errors));
    }
    // A continued list stands at its token's revision.
    if !watch && !options.continue_token.is_empty() {
        return Ok(Freshness::Newest);
    }
    Ok(match (revision(&options.resource_version)?, options.resource_version_match.as_str()) {
        (None, _) => Freshness::Newest,
        (Some(0), _) => Freshness::Any,
        (Some(revision), "Exact") => Freshness::Exact(revision),
        // Pages of a list without a match are exact, as upstream's legacy rule has it.
        (Some(revision), "") if options.limit > 0 && !watch => Freshness::Exact(revision),
        (Some(revision), _) => Freshness::NotOlderThan(revision),
    })
}

fn list_errors(options: &Options) -> Vec<FieldError> {
    let at = Path::new("resourceVersionMatch");
    let mut errors = Vec::new();
    let wanted = options.resource_version_match.as_str();
    if options.send_initial_events.is_some() {
        let detail = "sendInitialEvents is forbidden for list";
        errors.push(FieldError::forbidden(&Path::new("sendInitialEvents"), detail));
    }
    if wanted.is_empty() {
        return errors;
    }
    if options.resource_version.is_empty() {
        errors.push(FieldError::forbidden(&at, "resourceVersionMatch is forbidden unless resourceVersion is provided"));
    }
    if !options.continue_token.is_empty() {
        errors.push(FieldError::forbidden(&at, "resourceVersionMatch is forbidden when continue is provided"));
    }
    if !["Exact", "NotOlderThan"].contains(&wanted) {
        errors.push(FieldError::not_supported(&at, wanted, &["Exact", "NotOlderThan", ""]));
    }
    if wanted == "Exact" && options.resource_version == "0" {
        let detail = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
        errors.push(FieldError::forbidden(&at, detail));
    }
    errors
}

fn watch_errors(options: &Options) -> Vec<FieldError> {
    let at = Path::new("resourceVersionMatch");
    let mut errors = Vec::new();
    let wanted = options.resource_version_match.as_str();
    if options.send_initial_events.is_some() && wanted != "NotOlderThan" {
        let detail = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        errors.push(FieldError::forbidden(&at, detail));
    }
    if wanted.is_empty() {
        return errors;
    }
    if options.send_initial_events.is_none() {
        let detail = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
        errors.push(FieldError::forbidden(&at, detail));
    }
    if wanted != "NotOlderThan" {
        errors.push(FieldError::not_supported(&at, wanted, &["NotOlderThan"]));
    }
    if !options.continue_token.is_empty() {
        errors.push(FieldError::forbidden(&at, "resourceVersionMatch is forbidden when continue is provided"));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_mean_what_upstream_says() {
        let options = |version: &str, wanted: &str, limit| Options {
            resource_version: version.into(),
            resource_version_match: wanted.into(),
            limit,
            ..Options::default()
        };
        assert_eq!(freshness(&options("", "", 0), false), Ok(Freshness::Newest));
        assert_eq!(freshness(&options("0", "", 5), false), Ok(Freshness::Any));
        assert_eq!(freshness(&options("5", "", 0), false), Ok(Freshness::NotOlderThan(5)));
        assert_eq!(freshness(&options("5", "", 3), false), Ok(Freshness::Exact(5)));
        assert_eq!(freshness(&options("5", "Exact", 0), false), Ok(Freshness::Exact(5)));
        assert_eq!(freshness(&options("", "Exact", 0), false).unwrap_err().code(), 422);
        assert_eq!(freshness(&options("0", "Exact", 0), false).unwrap_err().code(), 422);
        assert_eq!(freshness(&options("x", "", 0), false).unwrap_err().code(), 400);
        assert_eq!(freshness(&options("5", "NotOlderThan", 0), true).unwrap_err().code(), 422);
        let continued = |version: &str, wanted: &str| {
            freshness(&Options { continue_token: "x".into(), ..options(version, wanted, 5) }, false)
        };
        assert_eq!(continued("x", ""), Ok(Freshness::Newest));
        let error = continued("5", "Exact").unwrap_err().to_string();
        assert!(error.ends_with("Forbidden: resourceVersionMatch is forbidden when continue is provided"), "{error}");
        let initial = |wanted: &str| Options { send_initial_events: Some(true), ..options("5", wanted, 0) };
        assert_eq!(freshness(&initial("NotOlderThan"), true), Ok(Freshness::NotOlderThan(5)));
        assert_eq!(freshness(&initial("NotOlderThan"), false).unwrap_err().code(), 422);
        let error = freshness(&initial("Exact"), true).unwrap_err().to_string();
        assert!(error.contains("requires setting") && error.contains(r#"Unsupported value: "Exact""#), "{error}");
    }
}
