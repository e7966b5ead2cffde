//! The node agent's paths (the kubelet's, which ours serves as well), made of a request's parameters.

use machinery::ApiError;
use machinery::field::{FieldError, Path};

use crate::http::query::Query;
use crate::pipeline::ConnectTarget;

/// Parameters of `log` that the node agent takes.
const LOG_PARAMETERS: [&str; 8] =
    ["follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes", "stream"];

/// Checks `PodLogOptions`, as upstream validates them.
pub(super) fn check_log(query: &Query) -> Result<(), ApiError> {
    let given = |key: &str| query.first(key).filter(|v| !v.is_empty());
    let mut errors = Vec::new();
    for (key, least) in [("tailLines", 0), ("limitBytes", 1), ("sinceSeconds", 1)] {
        let Some(text) = given(key) else { continue };
        let number: i64 = text
            .parse()
            .map_err(|_| ApiError::BadRequest(format!("strconv.ParseInt: parsing {text:?}: invalid syntax")))?;
        if number < least {
            let detail = if least == 0 { "must be greater than or equal to 0" } else { "must be greater than 0" };
            errors.push(FieldError::invalid(&Path::new(key), number, detail));
        }
    }
    if given("sinceSeconds").is_some() && given("sinceTime").is_some() {
        let detail = "at most one of `sinceTime` or `sinceSeconds` may be specified";
        errors.push(FieldError::forbidden(&Path::default(), detail));
    }
    if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid("", "PodLogOptions", "", errors)) }
}

/// `/containerLogs/NAMESPACE/POD/CONTAINER?…`
pub(super) fn log(target: &ConnectTarget, query: &Query) -> Result<String, ApiError> {
    let container = container(target, query)?;
    let given = LOG_PARAMETERS.iter().filter_map(|key| query.first(key).map(|v| ((*key).to_owned(), v.to_owned())));
    let path = format!("/containerLogs/{}/{}/{container}", encode(&target.namespace), encode(&target.name));
    Ok(with_query(path, given))
}

/// `/exec/…`, `/attach/…`, `/portForward/…`. Flags get the names that the node agent knows them by.
pub(super) fn stream(kind: &str, target: &ConnectTarget, query: &Query) -> Result<String, ApiError> {
    let place = format!("{}/{}", encode(&target.namespace), encode(&target.name));
    if kind == "portforward" {
        let ports = query.all("ports").map(|p| ("port".to_owned(), p.to_owned()));
        return Ok(with_query(format!("/portForward/{place}"), ports));
    }
    let container = container(target, query)?;
    let flags = [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")];
    let flags: Vec<(String, String)> = flags
        .iter()
        .filter(|(theirs, _)| query.flag(theirs))
        .map(|(_, ours)| ((*ours).to_owned(), "1".to_owned()))
        .collect();
    if !flags.iter().any(|(flag, _)| flag != "tty") {
        let message = "you must specify at least 1 of stdin, stdout, stderr";
        return Err(ApiError::BadRequest(message.to_owned()));
    }
    let command: Vec<(String, String)> =
        query.all("command").map(|word| ("command".to_owned(), word.to_owned())).collect();
    if kind == "exec" && command.is_empty() {
        return Err(ApiError::BadRequest("you must specify at least 1 command for the container".to_owned()));
    }
    Ok(with_query(format!("/{kind}/{place}/{container}"), command.into_iter().chain(flags)))
}

/// The container that a request names, or the pod's default.
fn container(target: &ConnectTarget, query: &Query) -> Result<String, ApiError> {
    let named = query.first("container").filter(|c| !c.is_empty()).unwrap_or(&target.container);
    if !target.containers.iter().any(|c| c == named) {
        return Err(ApiError::BadRequest(format!("container {named} is not valid for pod {}", target.name)));
    }
    Ok(encode(named))
}

fn with_query(path: String, pairs: impl IntoIterator<Item = (String, String)>) -> String {
    let pairs: Vec<String> = pairs.into_iter().map(|(k, v)| format!("{}={}", encode(&k), encode(&v))).collect();
    if pairs.is_empty() { path } else { format!("{path}?{}", pairs.join("&")) }
}

/// Percent-encodes all but unreserved characters (RFC 3986).
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> ConnectTarget {
        ConnectTarget {
            namespace: "default".into(),
            name: "web".into(),
            container: "main".into(),
            containers: vec!["main".into(), "side".into()],
            ..ConnectTarget::default()
        }
    }

    #[test]
    fn parameters_are_carried_on_under_the_nodes_names() {
        let exec =
            Query::parse("command=sh&command=-c&command=echo%20%26&stdin=true&stdout=true&tty=false&container=side");
        assert_eq!(
            stream("exec", &target(), &exec).unwrap(),
            "/exec/default/web/side?command=sh&command=-c&command=echo%20%26&input=1&output=1"
        );
        assert_eq!(
            stream("portforward", &target(), &Query::parse("ports=80")).unwrap(),
            "/portForward/default/web?port=80"
        );
        assert_eq!(
            log(&target(), &Query::parse("follow=true&tailLines=5&insecureSkipTLSVerifyBackend=true")).unwrap(),
            "/containerLogs/default/web/main?follow=true&tailLines=5"
        );
    }

    #[test]
    fn bad_parameters_are_refused() {
        let exec = |query: &str| stream("exec", &target(), &Query::parse(query)).unwrap_err().to_string();
        assert_eq!(exec("command=sh&stdout=1&container=x"), "container x is not valid for pod web");
        assert_eq!(exec("command=sh"), "you must specify at least 1 of stdin, stdout, stderr");
        assert_eq!(exec("stdout=1"), "you must specify at least 1 command for the container");
        assert_eq!(check_log(&Query::parse("tailLines=-1")).unwrap_err().code(), 422);
        assert_eq!(check_log(&Query::parse("tailLines=x")).unwrap_err().code(), 400);
        assert_eq!(check_log(&Query::parse("tailLines=0&sinceSeconds=5")), Ok(()));
    }
}
