//! Who a container's process runs as. Names are looked up in the container's own files, from inside its root.

use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;

use crate::api::Security;

/// The most bytes of /etc/passwd and /etc/group that are read.
const DATABASE_BYTES_MAX: u64 = 4 << 20;

/// Numbers to run with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User.
    pub uid: u32,
    /// Main group.
    pub gid: u32,
    /// All supplementary groups.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: String,
}

struct Account {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

/// Reads a database; what is missing, not a plain file or unreadable is empty.
fn database(path: &str) -> String {
    let opened = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let Ok(file) = opened else { return String::new() };
    let mut bytes = Vec::new();
    if file.metadata().is_ok_and(|data| data.is_file()) {
        let _ = file.take(DATABASE_BYTES_MAX).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn accounts(text: &str) -> impl Iterator<Item = Account> {
    text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let home = fields.get(5).copied().unwrap_or_default().to_owned();
        let (uid, gid) = (fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?);
        Some(Account { name: fields[0].to_owned(), uid, gid, home })
    })
}

fn groups(text: &str) -> impl Iterator<Item = Group> {
    text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let members = fields.get(3).copied().unwrap_or_default();
        let members = members.split(',').filter(|name| !name.is_empty()).map(|name| name.trim().to_owned()).collect();
        Some(Group { name: fields[0].to_owned(), gid: fields.get(2)?.parse().ok()?, members })
    })
}

/// Resolves the user from the container's root, which must be this process's root.
pub fn resolve(image_user: &str, security: &Security) -> Result<User, String> {
    resolve_in(image_user, security, &database("/etc/passwd"), &database("/etc/group"))
}

fn resolve_in(image_user: &str, security: &Security, passwd: &str, group: &str) -> Result<User, String> {
    let number = |value: i64| u32::try_from(value).map_err(|_| format!("{value} is not a user or group id"));
    let (wanted_user, wanted_group) = match security.run_as_user {
        Some(uid) => (number(uid)?.to_string(), None),
        None => match image_user.split_once(':') {
            Some((user, group)) => (user.to_owned(), Some(group).filter(|group| !group.is_empty())),
            None => (image_user.to_owned(), None),
        },
    };
    let wanted_user = if wanted_user.is_empty() { "0".to_owned() } else { wanted_user };
    let numeric: Option<u32> = wanted_user.parse().ok();
    // A name wins over a number, as in Docker.
    let account = accounts(passwd)
        .find(|account| account.name == wanted_user)
        .or_else(|| accounts(passwd).find(|account| Some(account.uid) == numeric));
    let uid = match (&account, numeric) {
        (Some(account), _) => account.uid,
        (None, Some(uid)) => uid,
        (None, None) => {
            return Err(format!("unable to find user {wanted_user}: no matching entries in passwd file"));
        }
    };
    let gid = match (security.run_as_group, wanted_group) {
        (Some(gid), _) => number(gid)?,
        (None, Some(name)) => match groups(group).find(|group| group.name == name) {
            Some(group) => group.gid,
            None => {
                name.parse().map_err(|_| format!("unable to find group {name}: no matching entries in group file"))?
            }
        },
        (None, None) => account.as_ref().map_or(0, |account| account.gid),
    };
    let mut all = vec![gid];
    if !security.supplemental_groups_strict
        && let Some(account) = &account
    {
        all.extend(groups(group).filter(|group| group.members.contains(&account.name)).map(|group| group.gid));
    }
    for gid in &security.supplemental_groups {
        all.push(number(*gid)?);
    }
    all.sort_unstable();
    all.dedup();
    let home = account.map(|account| account.home).filter(|home| !home.is_empty());
    Ok(User { uid, gid, groups: all, home: home.unwrap_or_else(|| "/".to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\nbroken\n";
    const GROUP: &str = "root:x:0:\napp:x:1001:\nextra:x:44:app,other\nweb:x:80:\n";

    fn user(image: &str, change: impl FnOnce(&mut Security)) -> Result<(u32, u32, Vec<u32>, String), String> {
        let mut security = Security::default();
        change(&mut security);
        resolve_in(image, &security, PASSWD, GROUP).map(|user| (user.uid, user.gid, user.groups, user.home))
    }

    #[test]
    fn users_are_found_by_name_and_number() {
        assert_eq!(user("", |_| ()), Ok((0, 0, vec![0], "/root".to_owned())));
        assert_eq!(user("app", |_| ()), Ok((1000, 1001, vec![44, 1001], "/home/app".to_owned())));
        assert_eq!(user("app:web", |_| ()), Ok((1000, 80, vec![44, 80], "/home/app".to_owned())));
        assert_eq!(user("7:8", |_| ()), Ok((7, 8, vec![8], "/".to_owned())));
        assert_eq!(user("1000", |_| ()), Ok((1000, 1001, vec![44, 1001], "/home/app".to_owned())));
    }

    #[test]
    fn the_security_context_overrides_the_image() {
        assert_eq!(user("app", |s| s.run_as_user = Some(5)), Ok((5, 0, vec![0], "/".to_owned())));
        assert_eq!(user("app", |s| s.run_as_group = Some(6)).map(|u| u.1), Ok(6));
        let strict = user("app", |s| {
            s.supplemental_groups_strict = true;
            s.supplemental_groups = vec![2000];
        });
        assert_eq!(strict.map(|u| u.2), Ok(vec![1001, 2000]));
    }

    #[test]
    fn the_unknown_are_named() {
        let error = "unable to find user eve: no matching entries in passwd file";
        assert_eq!(user("eve", |_| ()), Err(error.to_owned()));
        let error = "unable to find group eves: no matching entries in group file";
        assert_eq!(user("0:eves", |_| ()), Err(error.to_owned()));
        assert!(user("", |s| s.run_as_user = Some(-1)).is_err());
    }
}
