//! Query parameters, and the options made of them.

use client::{DeleteOptions, Options};
use machinery::ApiError;
use machinery::field::{FieldError, Path};

use super::info::percent_decode;
use crate::request::decode;

/// The parameters of a query, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

/// Which options a request takes; names the kind in errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionsKind {
    /// Of reads of many.
    List,
    /// Of reads of one.
    Get,
    /// `CreateOptions`
    Create,
    /// `UpdateOptions`
    Update,
    /// `PatchOptions`; the flag tells apply patches apart.
    Patch {
        /// Whether it is an apply patch.
        apply: bool,
    },
    /// `DeleteOptions`
    Delete,
}

/// Longest name of a field manager (upstream's `FieldManagerMaxLength`).
const FIELD_MANAGER_LENGTH_MAX: usize = 128;

impl Query {
    /// Reads what stands after the question mark.
    pub fn parse(query: &str) -> Self {
        let decode = |text: &str| percent_decode(&text.replace('+', " ")).into_owned();
        let pair = |part: &str| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            (decode(key), decode(value))
        };
        Self { pairs: query.split('&').filter(|p| !p.is_empty()).map(pair).collect() }
    }

    /// The first value of a parameter.
    pub fn first(&self, key: &str) -> Option<&str> {
        self.pairs.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// All values of a parameter.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// Whether a parameter is there and says neither `false` nor `0`, as upstream converts booleans.
    pub fn flag(&self, key: &str) -> bool {
        self.first(key).is_some_and(|v| !v.eq_ignore_ascii_case("false") && v != "0")
    }

    /// Whether a parameter is there.
    pub fn has(&self, key: &str) -> bool {
        self.first(key).is_some()
    }

    fn number(&self, key: &str) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.first(key).filter(|t| !t.is_empty()) else { return Ok(None) };
        let problem = || match text.trim_start_matches(['-', '+']) {
            digits if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => "value out of range",
            _ => "invalid syntax",
        };
        let parsed = text.parse::<i64>().map(Some);
        parsed.map_err(|_| ApiError::BadRequest(format!("strconv.ParseInt: parsing {text:?}: {}", problem())))
    }

    /// The options of a request.
    pub fn options(&self, kind: OptionsKind) -> Result<Options, ApiError> {
        let text = |key: &str| self.first(key).unwrap_or_default().to_owned();
        let mut options = Options { resource_version: text("resourceVersion"), ..Options::default() };
        match kind {
            OptionsKind::Get => {}
            OptionsKind::List => self.list_options(&mut options)?,
            _ => self.write_options(kind, &mut options)?,
        }
        if kind == OptionsKind::Delete {
            self.list_options(&mut options)?;
        }
        Ok(options)
    }

    fn list_options(&self, options: &mut Options) -> Result<(), ApiError> {
        let text = |key: &str| self.first(key).unwrap_or_default().to_owned();
        options.label_selector = text("labelSelector");
        options.field_selector = text("fieldSelector");
        options.resource_version_match = text("resourceVersionMatch");
        // A negative limit means none, as upstream's storage treats it.
        options.limit = u64::try_from(self.number("limit")?.unwrap_or(0)).unwrap_or(0);
        options.continue_token = text("continue");
        options.timeout_seconds = self.number("timeoutSeconds")?.and_then(|s| u64::try_from(s).ok());
        options.allow_watch_bookmarks = self.flag("allowWatchBookmarks");
        options.send_initial_events = self.has("sendInitialEvents").then(|| self.flag("sendInitialEvents"));
        Ok(())
    }

    fn write_options(&self, kind: OptionsKind, options: &mut Options) -> Result<(), ApiError> {
        let name = match kind {
            OptionsKind::Create => "CreateOptions",
            OptionsKind::Update => "UpdateOptions",
            OptionsKind::Patch { .. } => "PatchOptions",
            _ => "DeleteOptions",
        };
        let mut errors = Vec::new();
        let dry_run: Vec<&str> = self.all("dryRun").filter(|v| !v.is_empty()).collect();
        errors.extend(decode::dry_run_error(&dry_run));
        options.dry_run = !dry_run.is_empty();
        if kind != OptionsKind::Delete {
            self.first("fieldManager").unwrap_or_default().clone_into(&mut options.field_manager);
            self.first("fieldValidation").unwrap_or_default().clone_into(&mut options.field_validation);
            errors.extend(field_manager_error(&options.field_manager));
            let known = ["", "Ignore", "Warn", "Strict"];
            if !known.contains(&options.field_validation.as_str()) {
                let path = Path::new("fieldValidation");
                let shown = options.field_validation.clone();
                errors.push(FieldError::not_supported(&path, shown, &["", "Ignore", "Strict", "Warn"]));
            }
        }
        options.force = self.flag("force");
        if let OptionsKind::Patch { apply } = kind {
            if apply && options.field_manager.is_empty() {
                let path = Path::new("fieldManager");
                errors.push(FieldError::required(&path, "is required for apply patch"));
            }
            if !apply && self.has("force") {
                errors.push(FieldError::forbidden(&Path::new("force"), "may not be specified for non-apply patch"));
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid("meta.k8s.io", name, "", errors)) }
    }

    /// `DeleteOptions` given as parameters; a body wins over them.
    pub fn delete_options(&self) -> Result<DeleteOptions, ApiError> {
        let policy = self.first("propagationPolicy").filter(|policy| !policy.is_empty());
        Ok(DeleteOptions {
            grace_period_seconds: self.number("gracePeriodSeconds")?,
            propagation_policy: policy.map(str::to_owned),
            orphan_dependents: self.has("orphanDependents").then(|| self.flag("orphanDependents")),
            ..DeleteOptions::default()
        })
    }
}

fn field_manager_error(manager: &str) -> Option<FieldError> {
    let path = Path::new("fieldManager");
    if manager.len() > FIELD_MANAGER_LENGTH_MAX {
        return Some(FieldError::too_long(&path, FIELD_MANAGER_LENGTH_MAX));
    }
    let printable = |c: char| !c.is_control();
    let bad = manager.chars().find(|c| !printable(*c))?;
    let detail = format!("should not contain non-printable characters, found {:?}", bad);
    Some(FieldError::invalid(&path, manager, &detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_become_options() {
        let query = Query::parse(
            "labelSelector=a%3Db%2Cc&limit=500&watch&allowWatchBookmarks=true&dryRun=All&timeoutSeconds=5",
        );
        let options = query.options(OptionsKind::List).unwrap();
        assert_eq!(options.label_selector, "a=b,c");
        assert_eq!((options.limit, options.timeout_seconds), (500, Some(5)));
        assert!(options.allow_watch_bookmarks && query.flag("watch"));
        assert!(query.options(OptionsKind::Create).unwrap().dry_run);
    }

    #[test]
    fn bad_values_are_told_as_upstream_tells_them() {
        let error = |query: &str, kind| Query::parse(query).options(kind).unwrap_err().to_string();
        assert_eq!(error("limit=x", OptionsKind::List), r#"strconv.ParseInt: parsing "x": invalid syntax"#);
        assert_eq!(
            error("dryRun=Some", OptionsKind::Create),
            r#"CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["Some"]: supported values: "All""#
        );
        assert_eq!(
            error("", OptionsKind::Patch { apply: true }),
            r#"PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch"#
        );
    }
}
