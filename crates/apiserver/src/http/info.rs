//! What a path and a method ask for: upstream's RequestInfo.

use std::borrow::Cow;

use http::Method;

use super::query::Query;

/// What a request is about, read from its path, method and query alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// Whether it names a resource; otherwise only `verb` and `path` mean something.
    pub is_resource: bool,
    /// The path, decoded.
    pub path: String,
    /// `get`, `list`, `watch`, `deletecollection` … or the lower-cased method of paths that name no resource.
    pub verb: String,
    /// `api` or `apis`.
    pub prefix: String,
    /// API group; empty for core.
    pub group: String,
    /// Version of the group.
    pub version: String,
    /// The namespace in the path; empty for cluster scope and for all namespaces.
    pub namespace: String,
    /// The plural.
    pub resource: String,
    /// What below the object.
    pub subresource: String,
    /// The object's name, from the path, or from a field selector on `metadata.name`.
    pub name: String,
    /// The name as it stands in the path; empty for lists.
    pub path_name: String,
    /// What follows the subresource (`proxy/…`), with its leading slash when there is one; still encoded.
    pub rest: String,
    /// How many path segments follow the version (and namespace).
    pub parts: usize,
}

/// Parts of a namespace which are no resources in it.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

impl RequestInfo {
    /// Reads a request. `path` is still percent-encoded.
    pub fn parse(method: &Method, path: &str, query: &Query) -> Self {
        let mut info = Self {
            path: percent_decode(path).into_owned(),
            verb: method.as_str().to_ascii_lowercase(),
            ..Self::default()
        };
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (prefix, mut rest) = match segments.split_first() {
            Some((&"api", rest)) if rest.len() >= 2 => ("api", rest),
            Some((&"apis", rest)) if rest.len() >= 3 => ("apis", rest),
            _ => return info,
        };
        info.prefix = prefix.to_owned();
        if prefix == "apis" {
            info.group = percent_decode(rest[0]).into_owned();
            rest = &rest[1..];
        }
        info.version = percent_decode(rest[0]).into_owned();
        info.is_resource = true;
        info.read_resource(method, &rest[1..], path);
        info.finish_verb(query);
        info
    }

    fn read_resource(&mut self, method: &Method, mut parts: &[&str], path: &str) {
        let special = matches!(parts.first(), Some(&("watch" | "proxy"))) && parts.len() >= 2;
        if special {
            self.verb = parts[0].to_owned();
            parts = &parts[1..];
        } else {
            self.verb = match *method {
                Method::POST => "create",
                Method::GET | Method::HEAD => "get",
                Method::PUT => "update",
                Method::PATCH => "patch",
                Method::DELETE => "delete",
                _ => "",
            }
            .to_owned();
        }
        if parts.first() == Some(&"namespaces") && parts.len() > 1 {
            self.namespace = percent_decode(parts[1]).into_owned();
            if parts.len() > 2 && !NAMESPACE_SUBRESOURCES.contains(&parts[2]) {
                parts = &parts[2..];
            }
        }
        self.parts = parts.len();
        let part = |i: usize| parts.get(i).map(|p| percent_decode(p).into_owned()).unwrap_or_default();
        self.resource = part(0);
        self.name = part(1);
        if self.verb != "proxy" {
            self.subresource = part(2);
        }
        self.path_name = self.name.clone();
        if parts.len() > 3 || (parts.len() == 3 && path.ends_with('/')) {
            self.rest = format!("/{}", parts[3.min(parts.len())..].join("/"));
            if path.ends_with('/') && !self.rest.ends_with('/') {
                self.rest.push('/');
            }
        }
    }

    fn finish_verb(&mut self, query: &Query) {
        if self.name.is_empty() && self.verb == "get" {
            self.verb = if query.flag("watch") { "watch" } else { "list" }.to_owned();
        } else if self.name.is_empty() && self.verb == "delete" {
            "deletecollection".clone_into(&mut self.verb);
        }
        if matches!(self.verb.as_str(), "list" | "watch" | "deletecollection")
            && self.path_name.is_empty()
            && let Some(name) = selected_name(query.first("fieldSelector").unwrap_or_default())
        {
            self.name = name;
        }
    }

    /// Whether the answer may take as long as the client likes.
    pub fn is_long_running(&self) -> bool {
        self.is_resource && (matches!(self.verb.as_str(), "watch" | "proxy") || self.is_streamed())
    }

    /// Whether it is carried on to a node, a pod or a service.
    pub(crate) fn is_streamed(&self) -> bool {
        self.is_resource && matches!(self.subresource.as_str(), "attach" | "exec" | "proxy" | "log" | "portforward")
    }
}

/// The name that a field selector asks for with `metadata.name=x`.
pub(crate) fn selected_name(selector: &str) -> Option<String> {
    selector.split(',').find_map(|term| {
        let value = term.trim().strip_prefix("metadata.name=")?;
        let value = value.strip_prefix('=').unwrap_or(value);
        (!value.is_empty() && !value.contains('\\')).then(|| value.to_owned())
    })
}

/// Decodes `%41`. What is no valid escape stays as it is.
pub fn percent_decode(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%').and_then(|h| std::str::from_utf8(h).ok());
        match hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_upstream_reads_them() {
        // Method and path; verb, group, version, namespace, resource, name, subresource.
        let cases = [
            ("GET /api/v1/namespaces", "list||v1||namespaces||"),
            ("GET /api/v1/namespaces/a", "get||v1|a|namespaces|a|"),
            ("PUT /api/v1/namespaces/a/status", "update||v1|a|namespaces|a|status"),
            ("PUT /api/v1/namespaces/a/finalize", "update||v1|a|namespaces|a|finalize"),
            ("GET /api/v1/namespaces/a/pods", "list||v1|a|pods||"),
            ("GET /api/v1/namespaces/a/pods?watch=1", "watch||v1|a|pods||"),
            ("GET /api/v1/namespaces/a/pods?watch=false", "list||v1|a|pods||"),
            ("GET /api/v1/namespaces/a/pods?fieldSelector=metadata.name%3Dx", "list||v1|a|pods|x|"),
            ("GET /api/v1/watch/namespaces/a/pods/x", "watch||v1|a|pods|x|"),
            ("GET /api/v1/watch/pods", "watch||v1||pods||"),
            ("POST /api/v1/namespaces/a/pods/x/binding", "create||v1|a|pods|x|binding"),
            ("GET /api/v1/nodes/n/proxy/logs/", "get||v1||nodes|n|proxy"),
            ("DELETE /apis/apps/v1/namespaces/a/deployments", "deletecollection|apps|v1|a|deployments||"),
            ("DELETE /apis/apps/v1/namespaces/a/deployments/x", "delete|apps|v1|a|deployments|x|"),
            ("PATCH /apis/apps/v1/namespaces/a/deployments/x/scale", "patch|apps|v1|a|deployments|x|scale"),
            ("HEAD /api/v1/nodes/n", "get||v1||nodes|n|"),
        ];
        for (request, wanted) in cases {
            let (method, uri) = request.split_once(' ').unwrap();
            let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
            let i = RequestInfo::parse(&method.parse().unwrap(), path, &Query::parse(query));
            assert!(i.is_resource, "{request}");
            let got = [&i.verb, &i.group, &i.version, &i.namespace, &i.resource, &i.name, &i.subresource];
            assert_eq!(got.map(String::as_str).join("|"), wanted, "{request}");
        }
    }

    #[test]
    fn other_paths_name_no_resource() {
        for path in ["/", "/api", "/api/v1", "/apis", "/apis/apps", "/apis/apps/v1", "/version", "/healthz/ping"] {
            assert!(!RequestInfo::parse(&Method::GET, path, &Query::default()).is_resource, "{path}");
        }
    }

    #[test]
    fn the_rest_of_a_proxy_path_keeps_its_slashes() {
        let rest = |path: &str| RequestInfo::parse(&Method::GET, path, &Query::default()).rest;
        assert_eq!(rest("/api/v1/namespaces/a/pods/x/proxy"), "");
        assert_eq!(rest("/api/v1/namespaces/a/pods/x/proxy/"), "/");
        assert_eq!(rest("/api/v1/namespaces/a/pods/x/proxy/a%20b/c/"), "/a%20b/c/");
    }
}
