//! Where webhooks are called: a URL, or a service of the cluster.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use crate::place::{Place, Report};
use crate::read::{Read, present_mut, set_default};

const FORM: &str = "; desired format: https://host[/path]";
const HTTPS_PORT: i64 = 443;

/// A service has a port.
pub(super) fn default(config: &mut Value) {
    if let Some(service) = present_mut(config, "service") {
        set_default(service, "port", HTTPS_PORT);
    }
}

/// A `WebhookClientConfig`.
pub(super) fn validate(config: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    match (config.present("url"), config.present("service")) {
        (Some(url), None) => validate_url(url.as_str().unwrap_or_default(), &at.field("url"), errors),
        (None, Some(service)) => validate_service(service, &at.field("service"), errors),
        _ => errors.required(at, "exactly one of url or service is required"),
    }
}

/// The parts of a URL that are judged.
#[derive(Debug, PartialEq, Eq)]
struct Url<'a> {
    scheme: String,
    user: Option<&'a str>,
    host: &'a str,
    query: &'a str,
    fragment: &'a str,
}

/// A webhook's URL.
pub(crate) fn validate_url(text: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let url = match split_url(text) {
        Ok(url) => url,
        Err(wrong) => {
            let quoted = machinery::field::quoted(text);
            errors.required(at, &format!("url must be a valid URL: parse {quoted}: {wrong}{FORM}"));
            return;
        }
    };
    if url.scheme != "https" {
        errors.invalid(at, &url.scheme, &format!("'https' is the only allowed URL scheme{FORM}"));
    }
    if url.host.is_empty() {
        errors.invalid(at, url.host, &format!("host must be specified{FORM}"));
    }
    if let Some(user) = url.user {
        errors.invalid(at, user, "user information is not permitted in the URL");
    }
    if !url.fragment.is_empty() {
        errors.invalid(at, url.fragment, "fragments are not permitted in the URL");
    }
    if !url.query.is_empty() {
        errors.invalid(at, url.query, "query parameters are not permitted in the URL");
    }
}

/// Takes a URL apart as Go does; what it says otherwise.
fn split_url(text: &str) -> Result<Url<'_>, String> {
    if text.chars().any(|c| c.is_ascii_control()) {
        return Err("net/url: invalid control character in URL".to_owned());
    }
    let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (scheme, rest) = match rest.split_once(':') {
        Some(("", _)) => return Err("missing protocol scheme".to_owned()),
        Some((scheme, after)) if is_scheme(scheme) => (scheme.to_lowercase(), after),
        Some((first, _)) if !first.contains(['/', '?']) => {
            return Err("first path segment in URL cannot contain colon".to_owned());
        }
        _ => (String::new(), rest),
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let Some(authority) = rest.strip_prefix("//") else {
        return Ok(Url { scheme, user: None, host: "", query, fragment });
    };
    let authority = authority.split('/').next().unwrap_or_default();
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    let port = host.rsplit_once(':').map_or("", |(_, port)| port);
    if !host.ends_with(']') && !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("invalid port {} after host", machinery::field::quoted(&format!(":{port}"))));
    }
    Ok(Url { scheme, user, host, query, fragment })
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

/// A webhook's service.
pub(crate) fn validate_service(service: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    for field in ["name", "namespace"].into_iter().filter(|field| service.text(field).is_empty()) {
        errors.required(&at.field(field), &format!("service {field} is required"));
    }
    let port = service.int("port").unwrap_or(0);
    let wrong = names::port_number(port);
    if !wrong.is_empty() {
        errors.invalid(&at.field("port"), port, &format!("port is not valid: {}", wrong.join(", ")));
    }
    validate_path(service.text("path"), &at.field("path"), errors);
}

fn validate_path(path: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if path.is_empty() || path == "/" {
        return;
    }
    if path == "//" {
        errors.invalid(at, path, "segment[0] may not be empty");
        return;
    }
    if !path.starts_with('/') {
        errors.invalid(at, path, "must start with a '/'");
    }
    let mut letters = path.chars();
    letters.next();
    let inner = letters.as_str();
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    for (index, segment) in inner.split('/').enumerate() {
        if segment.is_empty() {
            errors.invalid(at, path, &format!("segment[{index}] may not be empty"));
            continue;
        }
        for message in names::dns1123_subdomain(segment) {
            errors.invalid(at, path, &format!("segment[{index}]: {message}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_as_go_does() {
        let url =
            |scheme: &str, user, host, query, fragment| Ok(Url { scheme: scheme.into(), user, host, query, fragment });
        let cases = [
            ("https://a.b:443/x", url("https", None, "a.b:443", "", "")),
            ("HTTP://u:p@[::1]/x?q#f", url("http", Some("u:p"), "[::1]", "q", "f")),
            ("a/b", url("", None, "", "", "")),
            ("https:opaque", url("https", None, "", "", "")),
            (":x", Err("missing protocol scheme".to_owned())),
            ("https://a:b", Err("invalid port \":b\" after host".to_owned())),
            ("1:2", Err("first path segment in URL cannot contain colon".to_owned())),
        ];
        for (text, wanted) in cases {
            assert_eq!(split_url(text), wanted, "{text}");
        }
    }

    #[test]
    fn paths_have_no_empty_segments() {
        let problems = |path: &str| {
            let mut errors = Vec::new();
            validate_path(path, &Place::root("path"), &mut errors);
            errors.len()
        };
        let counts = ["", "/", "/a/b/", "//", "/a//b", "a", "/A"].map(problems);
        assert_eq!(counts, [0, 0, 0, 1, 1, 2, 1]);
    }
}
