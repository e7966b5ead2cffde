//! Validation of probes and lifecycle hooks.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use super::containers::Pod;
use crate::core::service_rules::validate_port_or_name;
use crate::place::{Place, Report};
use crate::read::Read;

const NOT_NEGATIVE: &str = "must be greater than or equal to 0";
const COUNTS: [&str; 5] =
    ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"];

/// Lifecycle hooks and probes of a container that may have them.
pub(super) fn validate_all(container: &Value, pod: &Pod<'_>, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if let Some(lifecycle) = container.present("lifecycle") {
        let at = at.field("lifecycle");
        for hook in ["postStart", "preStop"] {
            if let Some(handler) = lifecycle.present(hook) {
                let kinds = ["exec", "httpGet", "tcpSocket", "sleep"];
                validate_handler(handler, &kinds, pod, &at.field(hook), errors);
            }
        }
        validate_stop_signal(lifecycle, pod, &at.field("stopSignal"), errors);
    }
    for field in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.present(field) else { continue };
        let at = at.field(field);
        validate_probe(probe, pod, &at, errors);
        if field != "readinessProbe" {
            if let Some(threshold) = probe.int("successThreshold").filter(|t| *t != 1) {
                errors.invalid(&at.field("successThreshold"), threshold, "must be 1");
            }
        } else if let Some(seconds) = probe.int("terminationGracePeriodSeconds") {
            let detail = "must not be set for readinessProbes";
            errors.invalid(&at.field("terminationGracePeriodSeconds"), seconds, detail);
        }
    }
}

fn validate_stop_signal(lifecycle: &Value, pod: &Pod<'_>, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let signal = lifecycle.text("stopSignal");
    if signal.is_empty() {
        return;
    }
    match pod.spec.str_at(&["os", "name"]) {
        None => errors.forbidden(at, "may not be set for containers with empty `spec.os.name`"),
        Some("windows") if !matches!(signal, "SIGTERM" | "SIGKILL") => {
            errors.unsupported(at, signal, &["SIGKILL", "SIGTERM"]);
        }
        Some(_) if !signal.starts_with("SIG") => errors.unsupported(at, signal, &[]),
        Some(_) => {}
    }
}

fn validate_probe(probe: &Value, pod: &Pod<'_>, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    validate_handler(probe, &["exec", "httpGet", "tcpSocket", "grpc"], pod, at, errors);
    for field in COUNTS {
        if let Some(count @ ..0) = probe.int(field) {
            errors.invalid(&at.field(field), count, NOT_NEGATIVE);
        }
    }
    if let Some(seconds @ ..=0) = probe.int("terminationGracePeriodSeconds") {
        errors.invalid(&at.field("terminationGracePeriodSeconds"), seconds, "must be greater than 0");
    }
}

fn validate_handler(handler: &Value, kinds: &[&str], pod: &Pod<'_>, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let mut found = false;
    for kind in kinds {
        let Some(action) = handler.present(kind) else { continue };
        let at = at.field(kind);
        if found {
            errors.forbidden(&at, "may not specify more than 1 handler type");
            continue;
        }
        found = true;
        match *kind {
            "exec" if action.items("command").is_empty() => errors.required(&at.field("command"), ""),
            "httpGet" => validate_http(action, &at, errors),
            "tcpSocket" | "grpc" => validate_port_or_name(action.get("port"), &at.field("port"), errors),
            "sleep" => validate_sleep(action, pod, &at, errors),
            _ => {}
        }
    }
    if !found {
        errors.required(at, "must specify a handler type");
    }
}

fn validate_http(action: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if action.text("path").is_empty() {
        errors.required(&at.field("path"), "");
    }
    validate_port_or_name(action.get("port"), &at.field("port"), errors);
    let scheme = action.text("scheme");
    if !matches!(scheme, "HTTP" | "HTTPS") {
        errors.unsupported(&at.field("scheme"), scheme, &["HTTP", "HTTPS"]);
    }
    for header in action.items("httpHeaders") {
        let name = header.text("name");
        errors.invalid_each(&at.field("httpHeaders"), name, names::http_header_name(name));
    }
}

fn validate_sleep(action: &Value, pod: &Pod<'_>, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let seconds = action.int("seconds").unwrap_or(0);
    if let Some(grace) = pod.grace_period_seconds.filter(|grace| !(0..=*grace).contains(&seconds)) {
        let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errors.invalid(at, seconds, &detail);
    }
}
