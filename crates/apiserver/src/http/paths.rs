//! Paths that name no resource: health, version, discovery, OpenAPI, metrics, keys.

use std::sync::Arc;

use http::header::{ACCEPT, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue};
use machinery::openapi::{V2_PROTOBUF, V2_PROTOBUF_REQUESTED};
use machinery::{ApiError, Value};

use super::info::RequestInfo;
use super::negotiate::{Transforms, accepted, clauses};
use super::options::HealthCheck;
use super::query::Query;
use super::respond::{self, Answer, Wants};
use super::service::Service;
use crate::discovery::{self, Aggregated, version};
use crate::openapi::{Document, decompress, etag};

impl Service {
    /// Answers a `get` of a path that names no resource. The caller was authorized for it.
    pub(super) async fn path(&self, info: &RequestInfo, query: &Query, headers: &HeaderMap, wants: &Wants) -> Answer {
        let path = if info.path == "/" { "/" } else { info.path.trim_end_matches('/') };
        if !matches!(info.verb.as_str(), "get" | "head") {
            let message = "the server does not allow this method on the requested resource";
            return respond::error(&ApiError::MethodNotAllowed(message.to_owned()), wants);
        }
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match segments.as_slice() {
            [""] => self.roots(wants),
            ["version"] => respond::value(200, &version::document(), wants),
            [kind @ ("healthz" | "livez" | "readyz"), one @ ..] if one.len() < 2 => {
                health(&self.options.checks, kind, one.first().copied(), query)
            }
            ["metrics"] => {
                let text = self.metrics.text() + &self.pipeline.flow.metrics();
                respond::answer(200, "text/plain; version=0.0.4", respond::full(text))
            }
            ["debug", "api_priority_and_fairness", page] => {
                let details = query.first("includeRequestDetails").is_some_and(|text| !text.is_empty());
                let page = self.pipeline.flow.debug_page(page, details);
                page.map_or_else(not_found, |text| respond::text(200, text))
            }
            ["api"] | ["apis"] => self.discovery_root(segments[0] == "api", headers, wants),
            ["api", "v1"] => self.discovery(discovery::api_resources(&self.pipeline.rows(), "", "v1"), headers, wants),
            ["apis", group] => self.discovery(discovery::group(&self.pipeline.rows(), group), headers, wants),
            ["apis", group, version] => {
                self.discovery(discovery::api_resources(&self.pipeline.rows(), group, version), headers, wants)
            }
            ["openapi", "v2"] => self.openapi_v2(headers, wants).await,
            ["openapi", "v3"] => self.openapi(Document::V3Index, "application/json", headers, wants).await,
            ["openapi", "v3", rest @ ..] => self.openapi_v3(&rest.join("/"), query, headers, wants).await,
            [".well-known", "openid-configuration"] => self.keys(true),
            ["openid", "v1", "jwks"] => self.keys(false),
            _ => not_found(),
        }
    }

    /// `/`: the paths that there are.
    fn roots(&self, wants: &Wants) -> Answer {
        let rows = self.pipeline.rows();
        let mut paths: Vec<String> = rows
            .iter()
            .map(|r| if r.group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{}", r.group_version()) })
            .chain(rows.iter().filter(|r| !r.group.is_empty()).map(|r| format!("/apis/{}", r.group)))
            .collect();
        let fixed = ["/api", "/apis", "/healthz", "/livez", "/readyz", "/metrics", "/openapi/v2", "/openapi/v3"];
        let others = ["/version", "/.well-known/openid-configuration", "/openid/v1/jwks"];
        paths.extend(fixed.iter().chain(&others).map(|p| (*p).to_owned()));
        paths.sort();
        paths.dedup();
        let mut tree = Value::object();
        tree.set_at(&["paths"], paths);
        respond::value(200, &tree, wants)
    }

    fn discovery_root(&self, core: bool, headers: &HeaderMap, wants: &Wants) -> Answer {
        let rows = self.pipeline.rows();
        match aggregated_wanted(headers) {
            Some(form) => {
                let tree = discovery::aggregated(&rows, form, core);
                let bytes = tree.to_bytes();
                let tag = etag(&bytes);
                if is_known(headers, &tag) {
                    return not_modified(&tag);
                }
                let mut answer = respond::bytes(200, bytes.into(), wants);
                put_header(answer.headers_mut(), http::header::CONTENT_TYPE.as_str(), &form.media_type());
                put_header(answer.headers_mut(), ETAG.as_str(), &tag);
                answer.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
                answer
            }
            None if core => {
                self.discovery(Some(discovery::api_versions(&rows, &self.options.advertise)), headers, wants)
            }
            None => self.discovery(Some(discovery::groups(&rows)), headers, wants),
        }
    }

    fn discovery(&self, document: Option<Value>, headers: &HeaderMap, wants: &Wants) -> Answer {
        let Some(tree) = document else { return not_found() };
        match accepted(header(headers, ACCEPT.as_str()), Transforms::None) {
            Ok(form) => respond::value(200, &tree, &wants.with(form)),
            Err(e) => respond::error(&e, wants),
        }
    }

    async fn openapi_v2(&self, headers: &HeaderMap, wants: &Wants) -> Answer {
        let protobuf = header(headers, ACCEPT.as_str()).is_some_and(|accept| {
            accept.split(',').any(|a| {
                let media = a.split(';').next().unwrap_or_default().trim();
                media == V2_PROTOBUF_REQUESTED || media == V2_PROTOBUF
            })
        });
        let (document, media_type) =
            if protobuf { (Document::V2Protobuf, V2_PROTOBUF) } else { (Document::V2, "application/json") };
        self.openapi(document, media_type, headers, wants).await
    }

    async fn openapi_v3(&self, path: &str, query: &Query, headers: &HeaderMap, wants: &Wants) -> Answer {
        let hash = self.documents.hash(path);
        match query.first("hash") {
            // Another version's address: the client is sent to the current one, as upstream does.
            Some(asked) if asked != hash && self.documents.has(path) => {
                let mut answer = respond::text(301, "");
                let place = format!("/openapi/v3/{path}?hash={hash}");
                put_header(answer.headers_mut(), http::header::LOCATION.as_str(), &place);
                answer
            }
            asked => {
                let forever = asked.is_some();
                let mut answer = self.openapi(Document::V3(path.to_owned()), "application/json", headers, wants).await;
                if forever && answer.status().is_success() {
                    put_header(answer.headers_mut(), "cache-control", "public, immutable");
                    put_header(answer.headers_mut(), "expires", "Fri, 31 Dec 2099 23:59:59 GMT");
                }
                answer
            }
        }
    }

    async fn openapi(&self, document: Document, media_type: &str, headers: &HeaderMap, wants: &Wants) -> Answer {
        let documents = self.documents.clone();
        // Building one takes a while the first time; it must not hold up other requests.
        let made = tokio::task::spawn_blocking(move || documents.get(&document)).await;
        let Ok(Some(served)) = made else { return not_found() };
        if is_known(headers, &served.etag) {
            return not_modified(&served.etag);
        }
        let mut answer = if wants.gzip {
            let mut answer = respond::answer(200, media_type, respond::full(served.gzip));
            respond::mark_gzip(answer.headers_mut());
            answer
        } else {
            respond::answer(200, media_type, respond::full(decompress(&served.gzip)))
        };
        put_header(answer.headers_mut(), ETAG.as_str(), &served.etag);
        answer
    }

    fn keys(&self, configuration: bool) -> Answer {
        let Some(issuer) = self.authenticator.issuer() else { return not_found() };
        let (media_type, tree) = if configuration {
            let uri = format!("https://{}/openid/v1/jwks", self.options.advertise);
            ("application/json", issuer.configuration(&uri))
        } else {
            ("application/jwk-set+json", issuer.keys())
        };
        let mut answer = respond::answer(200, media_type, respond::full(tree.to_bytes()));
        put_header(answer.headers_mut(), "cache-control", "public, max-age=3600");
        answer
    }
}

/// As Go's `http.NotFound` words it, which upstream answers for unknown paths.
pub(super) fn not_found() -> Answer {
    respond::text(404, "404 page not found\n")
}

/// Caches put the headers of this answer over those that they keep: nothing may stand here that the content does not have.
fn not_modified(tag: &str) -> Answer {
    let mut answer = Answer::new(respond::full(""));
    *answer.status_mut() = http::StatusCode::NOT_MODIFIED;
    put_header(answer.headers_mut(), ETAG.as_str(), tag);
    answer
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn put_header(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let known = header(headers, IF_NONE_MATCH.as_str()).unwrap_or_default();
    known.split(',').any(|t| t.trim().trim_start_matches("W/") == tag)
}

/// Which aggregated form the client prefers over the plain one.
fn aggregated_wanted(headers: &HeaderMap) -> Option<Aggregated> {
    let accept = header(headers, ACCEPT.as_str())?;
    for clause in clauses(accept) {
        if clause.kind != "application" || clause.subtype != "json" {
            continue;
        }
        match (clause.param("g"), clause.param("v"), clause.param("as")) {
            ("apidiscovery.k8s.io", "v2", "APIGroupDiscoveryList") => return Some(Aggregated::V2),
            ("apidiscovery.k8s.io", "v2beta1", "APIGroupDiscoveryList") => return Some(Aggregated::V2Beta1),
            (_, _, "") => return None,
            _ => {}
        }
    }
    None
}

/// `/healthz`, `/livez`, `/readyz`, and one check of them.
fn health(checks: &[HealthCheck], kind: &str, one: Option<&str>, query: &Query) -> Answer {
    let ping = HealthCheck { name: "ping", live: true, check: Arc::new(|| Ok(())) };
    let all: Vec<&HealthCheck> =
        std::iter::once(&ping).chain(checks.iter().filter(|c| kind != "livez" || c.live)).collect();
    if let Some(name) = one {
        let Some(check) = all.iter().find(|c| c.name == name) else { return not_found() };
        return match (check.check)() {
            Ok(()) => respond::text(200, "ok"),
            Err(reason) => {
                tracing::warn!("{kind} check {name} failed: {reason}");
                respond::text(500, format!("internal server error: {reason}\n"))
            }
        };
    }
    let excluded: Vec<&str> = query.all("exclude").collect();
    let (mut text, mut failed) = (String::new(), Vec::new());
    for check in all {
        let name = check.name;
        if excluded.contains(&name) {
            text.push_str(&format!("[+]{name} excluded: ok\n"));
            continue;
        }
        match (check.check)() {
            Ok(()) => text.push_str(&format!("[+]{name} ok\n")),
            Err(reason) => {
                tracing::warn!("{kind} check {name} failed: {reason}");
                text.push_str(&format!("[-]{name} failed: reason withheld\n"));
                failed.push(name);
            }
        }
    }
    if !failed.is_empty() {
        return respond::text(500, format!("{text}{kind} check failed\n"));
    }
    if query.has("verbose") {
        respond::text(200, format!("{text}{kind} check passed\n"))
    } else {
        respond::text(200, "ok")
    }
}
