//! /etc/hosts, /etc/resolv.conf and the hostname of a pod.

use std::fmt::Write;
use std::net::IpAddr;

use crate::wanted::Wanted;

/// The hostname seen inside, and the cluster-wide name when there is one (hostname, subdomain, setHostnameAsFQDN).
pub fn host_names(wanted: &Wanted, cluster_domain: &str) -> (String, Option<String>) {
    let spec = wanted.spec();
    if let Some(own) = spec.hostname_override.as_deref().filter(|h| !h.is_empty()) {
        return (own.to_owned(), None);
    }
    let name = spec.hostname.as_deref().filter(|h| !h.is_empty()).unwrap_or(wanted.name());
    let mut short = name.to_owned();
    short.truncate(63);
    let short = short.trim_end_matches(['-', '.']).to_owned();
    let subdomain = spec.subdomain.as_deref().filter(|s| !s.is_empty());
    let full = subdomain.map(|s| format!("{short}.{s}.{}.svc.{cluster_domain}", wanted.namespace()));
    match (&full, spec.set_hostname_as_fqdn) {
        (Some(fqdn), Some(true)) => (fqdn.clone(), full),
        _ => (short, full),
    }
}

/// The pod's /etc/hosts. `host_file` is the node's own, which pods on the host's network see.
pub fn hosts(wanted: &Wanted, ips: &[IpAddr], cluster_domain: &str, host_file: &str) -> String {
    let mut out = String::new();
    if wanted.host_network() {
        out.push_str("# Kubernetes-managed hosts file (host network).\n");
        out.push_str(host_file);
    } else {
        out.push_str("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n");
        out.push_str("::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\n");
        out.push_str("fe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n");
        let (name, full) = host_names(wanted, cluster_domain);
        let short = name.split('.').next().unwrap_or_default();
        for ip in ips {
            let _ = match &full {
                Some(full) => writeln!(out, "{ip}\t{full}\t{short}"),
                None => writeln!(out, "{ip}\t{name}"),
            };
        }
    }
    let aliases = wanted.spec().host_aliases.as_deref().unwrap_or_default();
    if !aliases.is_empty() {
        out.push_str("\n# Entries added by HostAliases.\n");
        for alias in aliases {
            let _ = writeln!(out, "{}\t{}", alias.ip, alias.hostnames.as_deref().unwrap_or_default().join("\t"));
        }
    }
    out
}

/// What a resolv.conf says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Resolver {
    servers: Vec<String>,
    searches: Vec<String>,
    options: Vec<String>,
}

/// What resolvers of the C library take (upstream's limits).
const SERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const SEARCH_BYTES_MAX: usize = 2048;

/// The pod's /etc/resolv.conf by its dnsPolicy and dnsConfig, and what had to be left out, as events word it. `host_file`
/// is the node's own.
pub fn resolv_conf(
    wanted: &Wanted,
    cluster_dns: &[IpAddr],
    cluster_domain: &str,
    host_file: &str,
) -> (String, Vec<String>) {
    let spec = wanted.spec();
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let cluster = match policy {
        "ClusterFirst" => !wanted.host_network(),
        "ClusterFirstWithHostNet" => true,
        _ => false,
    };
    let mut resolver = match policy {
        "None" => Resolver::default(),
        _ => parse(host_file),
    };
    if cluster && !cluster_dns.is_empty() {
        resolver.servers = cluster_dns.iter().map(ToString::to_string).collect();
        let own = [format!("{}.svc.{cluster_domain}", wanted.namespace()), format!("svc.{cluster_domain}")];
        let cluster = own.into_iter().chain([cluster_domain.to_owned()]);
        resolver.searches = cluster.chain(std::mem::take(&mut resolver.searches)).collect();
        resolver.options = vec!["ndots:5".to_owned()];
    }
    if let Some(config) = &spec.dns_config {
        resolver.servers.extend(config.nameservers.iter().flatten().cloned());
        resolver.searches.extend(config.searches.iter().flatten().cloned());
        for option in config.options.iter().flatten() {
            let Some(name) = &option.name else { continue };
            resolver.options.retain(|o| o.split(':').next() != Some(name));
            resolver.options.push(option.value.as_ref().map_or_else(|| name.clone(), |v| format!("{name}:{v}")));
        }
    }
    dedup(&mut resolver.servers);
    dedup(&mut resolver.searches);
    let warnings = limit(&mut resolver);
    (print(&resolver), warnings)
}

/// Cuts what resolvers would not read.
fn limit(resolver: &mut Resolver) -> Vec<String> {
    let mut warnings = Vec::new();
    let omitted = "some nameservers have been omitted, the applied nameserver line is:";
    if resolver.servers.len() > SERVERS_MAX {
        resolver.servers.truncate(SERVERS_MAX);
        warnings.push(format!("Nameserver limits were exceeded, {omitted} {}", resolver.servers.join(" ")));
    }
    let before = resolver.searches.len();
    resolver.searches.truncate(SEARCHES_MAX);
    while resolver.searches.join(" ").len() > SEARCH_BYTES_MAX {
        resolver.searches.pop();
    }
    let omitted = "some search paths have been omitted, the applied search line is:";
    if resolver.searches.len() < before {
        warnings.push(format!("Search Line limits were exceeded, {omitted} {}", resolver.searches.join(" ")));
    }
    warnings
}

fn dedup(list: &mut Vec<String>) {
    let mut seen = std::collections::HashSet::new();
    list.retain(|item| seen.insert(item.clone()));
}

fn parse(file: &str) -> Resolver {
    let mut resolver = Resolver::default();
    for line in file.lines() {
        let mut words = line.split(['#', ';']).next().unwrap_or_default().split_whitespace();
        match words.next() {
            Some("nameserver") => resolver.servers.extend(words.next().map(str::to_owned)),
            Some("search" | "domain") => resolver.searches = words.map(str::to_owned).collect(),
            Some("options") => resolver.options.extend(words.map(str::to_owned)),
            _ => {}
        }
    }
    resolver
}

fn print(resolver: &Resolver) -> String {
    let mut out = String::new();
    if !resolver.searches.is_empty() {
        let _ = writeln!(out, "search {}", resolver.searches.join(" "));
    }
    for server in &resolver.servers {
        let _ = writeln!(out, "nameserver {server}");
    }
    if !resolver.options.is_empty() {
        let _ = writeln!(out, "options {}", resolver.options.join(" "));
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn pod(spec: &str) -> Wanted {
        let text = format!(r#"{{"metadata":{{"name":"web","namespace":"shop"}},"spec":{spec}}}"#);
        Wanted::new(Arc::new(serde_json::from_str(&text).unwrap()))
    }

    #[test]
    fn hosts_name_the_pod_and_its_aliases() {
        let wanted = pod(
            r#"{"containers":[],"hostname":"h","subdomain":"s","hostAliases":[{"ip":"1.2.3.4","hostnames":["x","y"]}]}"#,
        );
        let text = hosts(&wanted, &["10.0.0.5".parse().unwrap()], "cluster.local", "");
        assert!(text.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"), "{text}");
        let end = "10.0.0.5\th.s.shop.svc.cluster.local\th\n\n# Entries added by HostAliases.\n1.2.3.4\tx\ty\n";
        assert!(text.ends_with(end), "{text}");
    }

    #[test]
    fn resolv_conf_follows_the_policy() {
        let host = "search lan\nnameserver 9.9.9.9\noptions timeout:1\n";
        let cluster = "search shop.svc.cluster.local svc.cluster.local cluster.local lan\nnameserver 10.43.0.10\n\
            options ndots:5\n";
        let dns = ["10.43.0.10".parse().unwrap()];
        for (spec, servers, wanted) in [
            (r#"{"containers":[]}"#, &dns[..], cluster),
            (r#"{"containers":[]}"#, &[], host),
            (r#"{"containers":[],"dnsPolicy":"Default"}"#, &dns, host),
            (r#"{"containers":[],"hostNetwork":true,"dnsPolicy":"ClusterFirst"}"#, &dns, host),
            (
                r#"{"containers":[],"dnsPolicy":"None","dnsConfig":{"nameservers":["1.1.1.1"],
                    "options":[{"name":"ndots","value":"2"}]}}"#,
                &dns,
                "nameserver 1.1.1.1\noptions ndots:2\n",
            ),
        ] {
            assert_eq!(resolv_conf(&pod(spec), servers, "cluster.local", host).0, wanted, "{spec}");
        }
    }

    #[test]
    fn what_resolvers_do_not_read_is_left_out_and_told() {
        let long = "x".repeat(1500);
        let spec = format!(
            r#"{{"containers":[],"dnsPolicy":"None","dnsConfig":{{
                "nameservers":["1.0.0.1","1.0.0.2","1.0.0.3","1.0.0.4"],"searches":["a","{long}","{long}y"]}}}}"#
        );
        let (text, warnings) = resolv_conf(&pod(&spec), &[], "cluster.local", "");
        assert!(!text.contains("1.0.0.4") && text.contains("1.0.0.3") && !text.contains('y'), "{text}");
        let first = "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: \
            1.0.0.1 1.0.0.2 1.0.0.3";
        assert_eq!(warnings[0], first);
        assert!(warnings[1].starts_with("Search Line limits were exceeded, some search paths have been omitted"));
    }
}
