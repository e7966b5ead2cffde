//! Acting as someone else: the `Impersonate-*` headers.

use client::User;
use http::HeaderMap;
use machinery::ApiError;

use super::{ANONYMOUS, UNAUTHENTICATED, authenticated};
use crate::http::info::percent_decode;

/// What the caller must be allowed to `impersonate`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Impersonated {
    /// API group of the resource.
    pub group: &'static str,
    /// `users`, `serviceaccounts`, `groups`, `uids`, `userextras`
    pub resource: &'static str,
    /// Of service accounts.
    pub namespace: String,
    /// Of user extras: the key.
    pub subresource: String,
    /// Which one.
    pub name: String,
}

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// Whom the caller wants to be, and what it needs to be allowed for that. `None` when it does not ask for it.
pub fn requested(headers: &HeaderMap) -> Result<Option<(User, Vec<Impersonated>)>, ApiError> {
    let values = |key: &str| -> Vec<String> {
        headers.get_all(key).iter().filter_map(|v| v.to_str().ok()).map(str::to_owned).collect()
    };
    let name = values(USER).into_iter().next().unwrap_or_default();
    let groups = values(GROUP);
    let uid = values(UID).into_iter().next().unwrap_or_default();
    let extra = extras(headers);
    if name.is_empty() {
        if groups.is_empty() && uid.is_empty() && extra.is_empty() {
            return Ok(None);
        }
        let message = "requested [{groups}] without impersonating a user";
        return Err(ApiError::Internal(message.replace("{groups}", &groups.join(","))));
    }
    let mut needs = vec![user_need(&name)];
    let need = |group, resource, name: &str| Impersonated {
        group,
        resource,
        name: name.to_owned(),
        ..Impersonated::default()
    };
    needs.extend(groups.iter().map(|g| need("", "groups", g)));
    if !uid.is_empty() {
        needs.push(need("authentication.k8s.io", "uids", &uid));
    }
    for (key, values) in &extra {
        needs.extend(values.iter().map(|value| Impersonated {
            subresource: key.clone(),
            ..need("authentication.k8s.io", "userextras", value)
        }));
    }
    let user = User { groups: groups_of(&name, groups), name, uid, extra };
    Ok(Some((if user.groups.iter().any(|g| g == UNAUTHENTICATED) { user } else { authenticated(user) }, needs)))
}

/// The groups that were asked for; a service account's own when none were.
fn groups_of(name: &str, asked: Vec<String>) -> Vec<String> {
    if name == ANONYMOUS && asked.is_empty() {
        return vec![UNAUTHENTICATED.to_owned()];
    }
    match name.strip_prefix(SERVICE_ACCOUNT).and_then(|rest| rest.split_once(':')) {
        Some((namespace, _)) if asked.is_empty() => {
            vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")]
        }
        _ => asked,
    }
}

fn user_need(name: &str) -> Impersonated {
    match name.strip_prefix(SERVICE_ACCOUNT).and_then(|rest| rest.split_once(':')) {
        Some((namespace, account)) => Impersonated {
            resource: "serviceaccounts",
            namespace: namespace.to_owned(),
            name: account.to_owned(),
            ..Impersonated::default()
        },
        None => Impersonated { resource: "users", name: name.to_owned(), ..Impersonated::default() },
    }
}

fn extras(headers: &HeaderMap) -> Vec<(String, Vec<String>)> {
    let keys = headers.keys().filter_map(|k| k.as_str().strip_prefix(EXTRA).map(|extra| (k, extra)));
    let values = |key| headers.get_all(key).iter().filter_map(|v| v.to_str().ok()).map(str::to_owned).collect();
    keys.map(|(key, extra)| (percent_decode(extra).to_lowercase(), values(key))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (key, value) in pairs {
            headers.append(*key, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn users_accounts_groups_and_extras_are_asked_for_one_by_one() {
        assert_eq!(requested(&headers(&[])), Ok(None));
        let asked = headers(&[(USER, "jane"), (GROUP, "a"), (GROUP, "b"), ("impersonate-extra-scopes", "x")]);
        let (user, needs) = requested(&asked).unwrap().unwrap();
        assert_eq!((user.name.as_str(), user.groups.join(",")), ("jane", "a,b,system:authenticated".to_owned()));
        let needs: Vec<_> = needs.iter().map(|n| format!("{}/{} {}", n.resource, n.subresource, n.name)).collect();
        assert_eq!(needs, ["users/ jane", "groups/ a", "groups/ b", "userextras/scopes x"]);
        let (user, needs) = requested(&headers(&[(USER, "system:serviceaccount:ns:web")])).unwrap().unwrap();
        assert!(user.groups.contains(&"system:serviceaccounts:ns".to_owned()));
        assert_eq!(
            (needs[0].resource, needs[0].namespace.as_str(), needs[0].name.as_str()),
            ("serviceaccounts", "ns", "web")
        );
        assert!(requested(&headers(&[(GROUP, "a")])).is_err());
    }
}
