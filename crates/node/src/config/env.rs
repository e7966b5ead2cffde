//! A container's environment, from literals, ConfigMaps, Secrets, the downward API and services.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, FileKeySelector};

use super::env_file::{NAME_BYTES_MAX, VALUE_BYTES_MAX};
use super::fields::{self, NodeFacts};
use crate::wanted::{Member, Wanted};

/// The ConfigMaps and Secrets that a container names, read before its environment is made.
#[derive(Debug, Clone, Default)]
pub struct References {
    /// Text data by ConfigMap name; `None` when it does not exist.
    pub config_maps: HashMap<String, Option<BTreeMap<String, String>>>,
    /// Data by Secret name; `None` when it does not exist.
    pub secrets: HashMap<String, Option<BTreeMap<String, Vec<u8>>>>,
    /// Variables by volume and path of their file; `None` when it does not exist.
    pub files: HashMap<(String, String), Option<BTreeMap<String, String>>>,
}

/// Which ConfigMaps and Secrets a container's environment names.
pub fn names(member: &Member) -> (Vec<String>, Vec<String>) {
    let (mut maps, mut secrets) = (Vec::new(), Vec::new());
    for from in member.spec.env_from.iter().flatten() {
        maps.extend(from.config_map_ref.iter().map(|r| r.name.clone()));
        secrets.extend(from.secret_ref.iter().map(|r| r.name.clone()));
    }
    for source in member.spec.env.iter().flatten().filter_map(|e| e.value_from.as_ref()) {
        maps.extend(source.config_map_key_ref.iter().map(|r| r.name.clone()));
        secrets.extend(source.secret_key_ref.iter().map(|r| r.name.clone()));
    }
    (maps, secrets)
}

/// The volumes and paths of the files that a container's environment names.
pub fn files(member: &Member) -> impl Iterator<Item = (&str, &str)> {
    let sources = member.spec.env.iter().flatten().filter_map(|e| e.value_from.as_ref()?.file_key_ref.as_ref());
    sources.map(|r| (r.volume_name.as_str(), r.path.as_str()))
}

/// Names and values in the order in which they were first set.
#[derive(Default)]
struct Variables {
    order: Vec<String>,
    values: HashMap<String, String>,
}

impl Variables {
    fn set(&mut self, name: String, value: String) {
        if self.values.insert(name.clone(), value).is_none() {
            self.order.push(name);
        }
    }
}

/// The whole environment. An error is the message of `CreateContainerConfigError`.
pub fn environment(
    wanted: &Wanted,
    member: &Member,
    node: &NodeFacts,
    references: &References,
    services: Vec<(String, String)>,
) -> Result<Vec<(String, String)>, String> {
    let mut variables = Variables::default();
    from_sources(member, references, &mut variables)?;
    let of_services: HashMap<String, String> = services.iter().cloned().collect();
    for variable in member.spec.env.iter().flatten() {
        let known = |name: &str| variables.values.get(name).or_else(|| of_services.get(name)).cloned();
        let value = match (&variable.value, &variable.value_from) {
            (Some(text), _) if !text.is_empty() => Some(super::expand(text, &known)),
            (_, Some(source)) => from_source(wanted, member, node, references, variable, source)?,
            _ => Some(String::new()),
        };
        if let Some(value) = value {
            variables.set(variable.name.clone(), value);
        }
    }
    for (name, value) in services {
        if !variables.values.contains_key(&name) {
            variables.set(name, value);
        }
    }
    let Variables { order, mut values } = variables;
    Ok(order.into_iter().filter_map(|name| values.remove(&name).map(|value| (name, value))).collect())
}

fn from_sources(member: &Member, references: &References, out: &mut Variables) -> Result<(), String> {
    for from in member.spec.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        if let Some(reference) = &from.config_map_ref {
            match references.config_maps.get(&reference.name).and_then(Option::as_ref) {
                Some(data) => data.iter().for_each(|(k, v)| out.set(format!("{prefix}{k}"), v.clone())),
                None if reference.optional == Some(true) => {}
                None => return Err(missing("configmap", &reference.name)),
            }
        }
        if let Some(reference) = &from.secret_ref {
            match references.secrets.get(&reference.name).and_then(Option::as_ref) {
                Some(data) => data.iter().for_each(|(k, v)| out.set(format!("{prefix}{k}"), text(v))),
                None if reference.optional == Some(true) => {}
                None => return Err(missing("secret", &reference.name)),
            }
        }
    }
    Ok(())
}

fn missing(kind: &str, name: &str) -> String {
    format!("{kind} {name:?} not found")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn from_source(
    wanted: &Wanted,
    member: &Member,
    node: &NodeFacts,
    references: &References,
    variable: &EnvVar,
    source: &EnvVarSource,
) -> Result<Option<String>, String> {
    let namespace = wanted.namespace();
    if let Some(r) = &source.config_map_key_ref {
        let found = references.config_maps.get(&r.name).and_then(Option::as_ref);
        let value = found.map(|data| data.get(&r.key).cloned());
        return pick(value, r.optional, ("ConfigMap", "configmap"), namespace, &r.name, &r.key);
    }
    if let Some(r) = &source.secret_key_ref {
        let found = references.secrets.get(&r.name).and_then(Option::as_ref);
        let value = found.map(|data| data.get(&r.key).map(|v| text(v)));
        return pick(value, r.optional, ("Secret", "secret"), namespace, &r.name, &r.key);
    }
    if let Some(r) = &source.field_ref {
        return fields::field(wanted, node, &r.field_path).map(Some);
    }
    if let Some(r) = &source.resource_field_ref {
        return fields::resource(wanted, node, member.name(), r).map(Some);
    }
    if let Some(r) = &source.file_key_ref {
        return from_file(references, r);
    }
    Err(format!("environment variable {}: this source of a value is not supported", variable.name))
}

fn from_file(references: &References, r: &FileKeySelector) -> Result<Option<String>, String> {
    if r.key.len() > NAME_BYTES_MAX {
        return Err(format!("environment variable key {:?} exceeds {NAME_BYTES_MAX} characters", r.key));
    }
    let file = references.files.get(&(r.volume_name.clone(), r.path.clone())).and_then(Option::as_ref);
    match file.map(|variables| variables.get(&r.key)) {
        Some(Some(value)) if value.len() > VALUE_BYTES_MAX => {
            Err(format!("environment variable value of key {:?} exceeds {VALUE_BYTES_MAX} bytes", r.key))
        }
        Some(Some(value)) => Ok(Some(value.clone())),
        _ if r.optional == Some(true) => Ok(None),
        Some(None) => Err(format!("environment variable key {:?} not found in file {:?}", r.key, r.path)),
        None => Err(format!("environment variable file {:?} not found in volume {:?}", r.path, r.volume_name)),
    }
}

fn pick(
    value: Option<Option<String>>,
    optional: Option<bool>,
    (kind, resource): (&str, &str),
    namespace: &str,
    name: &str,
    key: &str,
) -> Result<Option<String>, String> {
    match value {
        Some(Some(value)) => Ok(Some(value)),
        _ if optional == Some(true) => Ok(None),
        Some(None) => Err(format!("couldn't find key {key} in {kind} {namespace}/{name}")),
        None => Err(missing(resource, name)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn made(container: &str, references: &References) -> Result<Vec<String>, String> {
        let text = format!(
            r#"{{"metadata":{{"name":"p","namespace":"n","labels":{{"app":"web"}}}},"spec":{{"containers":[{container}]}}}}"#
        );
        let wanted = Wanted::new(Arc::new(serde_json::from_str(&text).unwrap()));
        let services = vec![("DB_SERVICE_HOST".to_owned(), "10.43.0.9".to_owned())];
        let env = environment(&wanted, &wanted.members[0], &NodeFacts::default(), references, services)?;
        Ok(env.into_iter().map(|(k, v)| format!("{k}={v}")).collect())
    }

    fn references() -> References {
        let data = BTreeMap::from([("K".to_owned(), "v".to_owned())]);
        let secret = BTreeMap::from([("S".to_owned(), b"hidden".to_vec())]);
        References {
            config_maps: [("m".to_owned(), Some(data)), ("none".to_owned(), None)].into(),
            secrets: [("s".to_owned(), Some(secret))].into(),
            files: [(("v".to_owned(), "f".to_owned()), Some(BTreeMap::from([("F".to_owned(), "1".to_owned())])))]
                .into(),
        }
    }

    #[test]
    fn later_variables_see_earlier_ones_and_services() {
        let env = made(
            r#"{"name":"a","envFrom":[{"prefix":"P_","configMapRef":{"name":"m"}}],"env":[
                {"name":"A","value":"$(P_K)-$(DB_SERVICE_HOST)-$(NO)"},
                {"name":"B","valueFrom":{"fieldRef":{"fieldPath":"metadata.labels['app']"}}},
                {"name":"C","valueFrom":{"secretKeyRef":{"name":"s","key":"S"}}},
                {"name":"F","valueFrom":{"fileKeyRef":{"volumeName":"v","path":"f","key":"F"}}},
                {"name":"G","valueFrom":{"fileKeyRef":{"volumeName":"v","path":"none","key":"F","optional":true}}},
                {"name":"D","valueFrom":{"configMapKeyRef":{"name":"none","key":"x","optional":true}}}]}"#,
            &references(),
        );
        let wanted = ["P_K=v", "A=v-10.43.0.9-$(NO)", "B=web", "C=hidden", "F=1", "DB_SERVICE_HOST=10.43.0.9"];
        assert_eq!(env.unwrap(), wanted);
    }

    #[test]
    fn what_is_missing_is_named() {
        for (source, message) in [
            (r#""configMapKeyRef":{"name":"none","key":"x"}"#, r#"configmap "none" not found"#),
            (r#""configMapKeyRef":{"name":"m","key":"x"}"#, "couldn't find key x in ConfigMap n/m"),
            (r#""secretKeyRef":{"name":"s","key":"x"}"#, "couldn't find key x in Secret n/s"),
            (
                r#""fileKeyRef":{"volumeName":"v","path":"f","key":"x"}"#,
                r#"environment variable key "x" not found in file "f""#,
            ),
            (
                r#""fileKeyRef":{"volumeName":"v","path":"g","key":"x"}"#,
                r#"environment variable file "g" not found in volume "v""#,
            ),
            (r#""fieldRef":{"fieldPath":"spec.odd"}"#, "unsupported fieldPath: spec.odd"),
        ] {
            let container = format!(r#"{{"name":"a","env":[{{"name":"A","valueFrom":{{{source}}}}}]}}"#);
            assert_eq!(made(&container, &references()).unwrap_err(), message);
        }
    }
}
