//! The CNI plugins `skiff` and `loopback`: what a container runtime calls to connect a pod (CNI 0.3.1 to 1.1.0).
//!
//! The configuration names the socket of a running server, which does the work.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use runtime::PortMapping;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::server::cni::{Answer, Connected, LOOPBACK, PLUGIN, Request};

/// What the specification is known in.
const VERSIONS: [&str; 5] = ["0.3.1", "0.4.0", "1.0.0", "1.1.0", "0.3.0"];
/// The largest configuration.
const CONFIG_BYTES_MAX: u64 = 1 << 20;
/// How long the server may take.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// The pod's link, as the pod network makes it.
const LINK: &str = "eth0";

/// Error codes of the specification.
const CODE_VERSION: u32 = 1;
const CODE_ENVIRONMENT: u32 = 4;
const CODE_DECODE: u32 = 6;
const CODE_CONFIG: u32 = 7;
const CODE_LATER: u32 = 11;
/// The first that is a plugin's own.
const CODE_OWN: u32 = 100;

type Failure = (u32, String);

/// The part of a network configuration that we read.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    cni_version: String,
    r#type: String,
    socket: Option<PathBuf>,
    runtime_config: RuntimeConfig,
    prev_result: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RuntimeConfig {
    port_mappings: Vec<Port>,
}

/// One of `runtimeConfig.portMappings`. containerd writes the names with a capital letter, which plugins in Go read too.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Port {
    #[serde(alias = "HostPort")]
    host_port: u16,
    #[serde(alias = "ContainerPort")]
    container_port: u16,
    #[serde(alias = "Protocol")]
    protocol: String,
    #[serde(rename = "hostIP", alias = "HostIP")]
    host_ip: String,
}

/// Whether this process was started as a plugin: with a command in the environment and no argument.
pub fn is_called() -> bool {
    std::env::var_os("CNI_COMMAND").is_some() && std::env::args_os().len() == 1
}

/// Does what the environment says and answers on standard output.
pub fn main() -> ExitCode {
    let mut input = Vec::new();
    let read = std::io::stdin().take(CONFIG_BYTES_MAX).read_to_end(&mut input);
    let config: Result<Config, Failure> = match read {
        Ok(0) => Ok(Config::default()),
        Ok(_) => serde_json::from_slice(&input).map_err(|error| (CODE_DECODE, error.to_string())),
        Err(error) => Err((CODE_DECODE, error.to_string())),
    };
    let version = config.as_ref().map_or(String::new(), |c| c.cni_version.clone());
    let version = if version.is_empty() { VERSIONS[1].to_owned() } else { version };
    let result = config.and_then(|config| act(&config, &version, &|name| std::env::var(name).unwrap_or_default()));
    let (text, code) = match result {
        Ok(None) => return ExitCode::SUCCESS,
        Ok(Some(text)) => (text, ExitCode::SUCCESS),
        Err((code, message)) => (json!({"cniVersion": version, "code": code, "msg": message}), ExitCode::FAILURE),
    };
    let _ = writeln!(std::io::stdout(), "{text}");
    code
}

fn act(config: &Config, version: &str, environment: &dyn Fn(&str) -> String) -> Result<Option<Value>, Failure> {
    let command = environment("CNI_COMMAND");
    if command == "VERSION" {
        return Ok(Some(json!({"cniVersion": version, "supportedVersions": VERSIONS})));
    }
    if !VERSIONS.contains(&version) {
        return Err((CODE_VERSION, format!("CNI version {version} is not supported")));
    }
    let sandbox_id = environment("CNI_CONTAINERID");
    let netns = environment("CNI_NETNS");
    let loopback = config.r#type == LOOPBACK;
    match command.as_str() {
        // The pod network brings loopback up with everything else.
        "ADD" if loopback => Ok(Some(loopback_result(version, &netns, config.prev_result.as_ref()))),
        "DEL" | "CHECK" if loopback => Ok(None),
        "STATUS" | "GC" => Ok(None),
        "ADD" | "DEL" | "CHECK" if config.r#type != PLUGIN => {
            Err((CODE_CONFIG, format!("this is the plugin {PLUGIN}, not {:?}", config.r#type)))
        }
        "ADD" => {
            let connected = ask(config, &add(config, sandbox_id, &netns, environment)?)?;
            Ok(Some(result(version, &netns, &connected)))
        }
        "DEL" => ask(config, &Request::Delete { sandbox_id }).map(|_| None),
        "CHECK" => ask(config, &Request::Check { sandbox_id }).map(|_| None),
        other => Err((CODE_ENVIRONMENT, format!("unknown CNI_COMMAND {other:?}"))),
    }
}

fn add(
    config: &Config,
    sandbox_id: String,
    netns: &str,
    environment: &dyn Fn(&str) -> String,
) -> Result<Request, Failure> {
    let link = environment("CNI_IFNAME");
    if sandbox_id.is_empty() || netns.is_empty() || link != LINK {
        let text = format!("CNI_CONTAINERID and CNI_NETNS must be set, and CNI_IFNAME be {LINK}, not {link:?}");
        return Err((CODE_ENVIRONMENT, text));
    }
    let arguments = environment("CNI_ARGS");
    let argument = |name: &str| {
        let found = arguments.split(';').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_default().to_owned()
    };
    let port = |port: &Port| PortMapping {
        protocol: if port.protocol.is_empty() { "TCP".to_owned() } else { port.protocol.to_uppercase() },
        container_port: port.container_port,
        host_port: port.host_port,
        host_ip: port.host_ip.parse().ok(),
    };
    // A port without one on the host asks for nothing.
    let host_ports = config.runtime_config.port_mappings.iter().filter(|p| p.host_port != 0).map(port).collect();
    let (namespace, name) = (argument("K8S_POD_NAMESPACE"), argument("K8S_POD_NAME"));
    Ok(Request::Add { sandbox_id, netns: netns.into(), namespace, name, host_ports })
}

/// Asks the server.
fn ask(config: &Config, request: &Request) -> Result<Connected, Failure> {
    let socket = config.socket.as_ref().ok_or((CODE_CONFIG, "the configuration names no socket".to_owned()))?;
    let later = |error: std::io::Error| (CODE_LATER, format!("skiff does not answer at {}: {error}", socket.display()));
    let mut stream = UnixStream::connect(socket).map_err(later)?;
    stream.set_read_timeout(Some(ANSWER_MAX)).map_err(later)?;
    let mut bytes = serde_json::to_vec(request).map_err(|error| (CODE_DECODE, error.to_string()))?;
    bytes.push(b'\n');
    stream.write_all(&bytes).map_err(later)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).map_err(later)?;
    let answer: Answer = serde_json::from_str(&line).map_err(|error| (CODE_DECODE, error.to_string()))?;
    answer.map_err(|message| (CODE_OWN, message))
}

fn result(version: &str, netns: &str, connected: &Connected) -> Value {
    let address = |ip: &std::net::IpAddr| {
        let bits = if ip.is_ipv4() { 32 } else { 128 };
        let mut one = json!({"address": format!("{ip}/{bits}"), "interface": 0, "gateway": connected.gateway});
        if version.starts_with("0.") {
            one["version"] = if ip.is_ipv4() { "4" } else { "6" }.into();
        }
        one
    };
    json!({
        "cniVersion": version,
        "interfaces": [{"name": LINK, "sandbox": netns}],
        "ips": connected.ips.iter().map(address).collect::<Vec<_>>(),
        "dns": {},
    })
}

fn loopback_result(version: &str, netns: &str, before: Option<&Value>) -> Value {
    if let Some(before) = before {
        return before.clone();
    }
    let mut address = json!({"address": "127.0.0.1/8", "interface": 0});
    if version.starts_with("0.") {
        address["version"] = "4".into();
    }
    json!({"cniVersion": version, "interfaces": [{"name": "lo", "sandbox": netns}], "ips": [address], "dns": {}})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(command: &'static str) -> impl Fn(&str) -> String {
        move |name| {
            let value = match name {
                "CNI_COMMAND" => command,
                "CNI_CONTAINERID" => "abc",
                "CNI_NETNS" => "/run/netns/x",
                "CNI_IFNAME" => "eth0",
                "CNI_ARGS" => "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web",
                _ => "",
            };
            value.to_owned()
        }
    }

    #[test]
    fn a_pod_is_described_to_the_server() {
        let text = r#"{"cniVersion":"0.4.0","type":"skiff","socket":"/s","runtimeConfig":{"portMappings":[
            {"hostPort":8080,"containerPort":80,"protocol":"tcp","hostIP":""},{"hostPort":0,"containerPort":81},
            {"HostPort":53,"ContainerPort":5353,"Protocol":"UDP","HostIP":"127.0.0.1"}]}}"#;
        let config: Config = serde_json::from_str(text).unwrap();
        let request = add(&config, "abc".to_owned(), "/run/netns/x", &environment("ADD")).unwrap();
        let Request::Add { namespace, name, host_ports, .. } = request else { panic!("not an addition") };
        assert_eq!((namespace.as_str(), name.as_str()), ("default", "web"));
        let web = PortMapping { protocol: "TCP".to_owned(), container_port: 80, host_port: 8080, host_ip: None };
        let host_ip = "127.0.0.1".parse().ok();
        let dns = PortMapping { protocol: "UDP".to_owned(), container_port: 5353, host_port: 53, host_ip };
        assert_eq!(host_ports, [web, dns]);
    }

    #[test]
    fn results_are_as_the_specification_has_them() {
        let connected = Connected { ips: vec!["10.42.0.5".parse().unwrap()], gateway: "10.42.0.1".parse().ok() };
        let old = result("0.4.0", "/n", &connected);
        assert_eq!((&old["ips"][0]["address"], &old["ips"][0]["version"]), (&json!("10.42.0.5/32"), &json!("4")));
        assert!(result("1.0.0", "/n", &connected)["ips"][0].get("version").is_none());
        let config = Config { r#type: "loopback".to_owned(), ..Config::default() };
        let lo = act(&config, "1.0.0", &environment("ADD")).unwrap().unwrap();
        assert_eq!(lo["ips"][0]["address"], "127.0.0.1/8");
        let versions = act(&Config::default(), "1.0.0", &environment("VERSION")).unwrap().unwrap();
        assert!(versions["supportedVersions"].as_array().unwrap().contains(&json!("1.0.0")));
    }

    #[test]
    fn failures_have_the_specifications_codes() {
        let config = |text: &str| serde_json::from_str::<Config>(text).unwrap();
        let ours = config(r#"{"type":"skiff","socket":"/nowhere/cni.sock"}"#);
        for (config, version, command, code) in [
            (&ours, "0.1.0", "ADD", CODE_VERSION),
            (&ours, "1.0.0", "JUMP", CODE_ENVIRONMENT),
            (&ours, "1.0.0", "ADD", CODE_LATER),
            (&ours, "1.0.0", "DEL", CODE_LATER),
            (&config(r#"{"type":"skiff"}"#), "1.0.0", "DEL", CODE_CONFIG),
            (&config(r#"{"type":"bridge"}"#), "1.0.0", "ADD", CODE_CONFIG),
        ] {
            let failure = act(config, version, &environment(command)).unwrap_err();
            assert_eq!(failure.0, code, "{command} {version}: {}", failure.1);
        }
    }
}
