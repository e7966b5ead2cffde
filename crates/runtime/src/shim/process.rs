//! What happens in a new process between fork and exec: of a container's first process, and of later ones.
//!
//! The process tells its shim through a packet socket: a text is the reason of a failure, a descriptor is the master of
//! its terminal, the end without a text means that the program runs.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::rootfs::{self, context, plain};
use super::users::{Users, outside};
use super::{capabilities, user};
use crate::api::UserIds;
use crate::record::ContainerRecord;
use crate::sys;

/// Where programs are looked for when the image names no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const DEVPTS_MAGIC: i64 = 0x1cd1;

/// Standard streams and the way back to the shim.
pub struct Wiring {
    /// stdin, stdout, stderr; `None` is /dev/null. Unused with a terminal.
    pub streams: [Option<OwnedFd>; 3],
    /// Allocate a terminal.
    pub tty: bool,
    /// To the shim.
    pub report: OwnedFd,
    /// Readable once the shim has set limits; its end without a byte means that the shim gave up.
    pub go: OwnedFd,
}

/// The command line of a container: the pod's command and arguments over the image's.
pub fn command_line(record: &ContainerRecord) -> Vec<String> {
    let config = &record.config;
    let mut line = if config.command.is_empty() { record.image.entrypoint.clone() } else { config.command.clone() };
    if !config.args.is_empty() {
        line.extend(config.args.iter().cloned());
    } else if config.command.is_empty() {
        line.extend(record.image.command.iter().cloned());
    }
    line
}

/// The working directory, absolute.
pub fn working_dir(record: &ContainerRecord) -> PathBuf {
    let wanted = record.config.working_dir.as_deref().filter(|dir| !dir.is_empty());
    Path::new("/").join(wanted.unwrap_or(&record.image.working_dir))
}

/// The environment: the image's, then the pod's over it, with PATH, HOME and HOSTNAME always there.
fn environment(record: &ContainerRecord, hostname: &str, home: &str, tty: bool) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    let mut set = |name: &str, value: &str, replace: bool| match all.iter_mut().find(|(known, _)| known == name) {
        Some(known) if replace => known.1 = value.to_owned(),
        Some(_) => {}
        None => all.push((name.to_owned(), value.to_owned())),
    };
    set("PATH", DEFAULT_PATH, true);
    set("HOSTNAME", hostname, true);
    for line in &record.image.environment {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        set(name, value, true);
    }
    for (name, value) in &record.config.env {
        set(name, value, true);
    }
    if tty {
        set("TERM", "xterm", false);
    }
    set("HOME", home, false);
    all
}

/// Runs in the child: builds the container around itself and becomes its program.
pub fn run_init(record: &ContainerRecord, place: &rootfs::Place<'_>, wiring: Wiring) -> ! {
    let report = &wiring.report;
    let result = (|| {
        sys::new_session().map_err(|error| plain(&error))?;
        crate::app_armor::prepare(&record.config.security)?;
        let filter = security_filter(record)?;
        let null = open_null()?;
        rootfs::build(record, place)?;
        streams(&wiring, true, null)?;
        wait_for(&wiring.go)?;
        let (hostname, command) = (&place.sandbox.config.hostname, command_line(record));
        let program = Program { hostname, command: &command, tty: wiring.tty, filter, report, is_init: true };
        become_program(record, program, place.users)
    })();
    give_up(report, result)
}

/// Runs in the child: joins the container of the process `init` and becomes the program.
pub fn run_exec(
    record: &ContainerRecord,
    hostname: &str,
    users: Option<&Users>,
    init: &OwnedFd,
    command: &[String],
    wiring: Wiring,
) -> ! {
    let report = &wiring.report;
    let result = (|| {
        sys::new_session().map_err(|error| plain(&error))?;
        crate::app_armor::prepare(&record.config.security)?;
        let filter = security_filter(record)?;
        let null = open_null()?;
        wait_for(&wiring.go)?;
        let flags = libc::CLONE_NEWNS | libc::CLONE_NEWCGROUP;
        context(sys::setns(init.as_fd(), flags), || "join the container".to_owned())?;
        streams(&wiring, false, null)?;
        let program = Program { hostname, command, tty: wiring.tty, filter, report, is_init: false };
        become_program(record, program, users)
    })();
    give_up(report, result)
}

fn give_up(report: &OwnedFd, result: Result<std::convert::Infallible, String>) -> ! {
    let Err(message) = result;
    let cut = message.len().min(4096);
    let _ = sys::write(report.as_fd(), &message.as_bytes()[..cut]);
    sys::exit_now(1)
}

fn security_filter(record: &ContainerRecord) -> Result<Option<Vec<libc::sock_filter>>, String> {
    let security = &record.config.security;
    if security.privileged {
        return Ok(None);
    }
    let held = capabilities::for_container(security)?;
    crate::seccomp::filter(&security.seccomp, held).map_err(|error| plain(&error))
}

fn wait_for(go: &OwnedFd) -> Result<(), String> {
    match sys::read(go.as_fd(), &mut [0]) {
        Ok(1) => Ok(()),
        _ => Err("the runtime gave up".to_owned()),
    }
}

/// The host's /dev/null, opened while this process still sees it.
fn open_null() -> Result<OwnedFd, String> {
    let null = std::fs::File::options().read(true).write(true).open("/dev/null");
    context(null.map(OwnedFd::from), || "open /dev/null".to_owned())
}

/// The container's own /dev/null, when it is one: what it has at that path may be anything.
fn own_null() -> Option<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_NONBLOCK;
    let found = rootfs::open_plain(Path::new("/dev/null"), flags).ok()?;
    let stat = sys::fstatat(found.as_fd(), std::ffi::OsStr::new("")).ok()?;
    let genuine = stat.st_mode & libc::S_IFMT == libc::S_IFCHR && stat.st_rdev == sys::device_number(1, 3);
    sys::set_nonblocking(found.as_fd(), false).ok()?;
    genuine.then_some(found)
}

/// Connects 0, 1 and 2: to the given streams, to /dev/null, or to a new terminal whose master goes to the shim.
fn streams(wiring: &Wiring, console: bool, null: OwnedFd) -> Result<(), String> {
    if wiring.tty {
        return terminal(console, &wiring.report);
    }
    let null = own_null().unwrap_or(null);
    for (number, stream) in wiring.streams.iter().enumerate() {
        let fd = stream.as_ref().map_or(null.as_fd(), AsFd::as_fd);
        context(sys::duplicate_to(fd, number as i32), || "set up standard streams".to_owned())?;
    }
    Ok(())
}

/// A terminal of the container's own. A volume may stand at /dev, and what is in it change meanwhile: no symbolic link is
/// followed, and all goes by descriptor.
fn terminal(console: bool, report: &OwnedFd) -> Result<(), String> {
    let what = || "allocate a terminal".to_owned();
    let flags = libc::O_RDWR | libc::O_NOCTTY;
    let master = context(rootfs::open_plain(Path::new("/dev/pts/ptmx"), flags), what)?;
    if context(sys::file_system_kind(master.as_fd()), what)? != DEVPTS_MAGIC {
        return Err("allocate a terminal: /dev/pts is not a file system of terminals".to_owned());
    }
    let peer = context(sys::open_terminal_peer(master.as_fd()), what)?;
    if console {
        rootfs::attach_console(&peer)?;
    }
    context(sys::take_terminal(peer.as_fd()), what)?;
    for number in 0..3 {
        context(sys::duplicate_to(peer.as_fd(), number), what)?;
    }
    context(sys::send_with_fds(report.as_fd(), b"tty", &[master.as_fd()]).map(drop), what)
}

/// What a process becomes.
struct Program<'a> {
    hostname: &'a str,
    command: &'a [String],
    tty: bool,
    filter: Option<Vec<libc::sock_filter>>,
    /// To the shim: all that stays open until the program runs.
    report: &'a OwnedFd,
    /// It is the container's first process, whose user is told.
    is_init: bool,
}

/// Begins what tells the user of a first process; no error begins so.
pub const USER_MARK: &[u8] = b"\0user ";

/// The longest report. Thousands of groups are not told.
pub const REPORT_BYTES_MAX: usize = 16 << 10;

/// Tells whom the process runs as.
fn tell_user(report: &OwnedFd, user: &user::User) -> Result<(), String> {
    let groups = user.groups.iter().map(|group| i64::from(*group)).collect();
    let ids = UserIds { uid: user.uid.into(), gid: user.gid.into(), groups };
    let mut text = USER_MARK.to_vec();
    text.extend(serde_json::to_vec(&ids).map_err(|error| error.to_string())?);
    if text.len() > REPORT_BYTES_MAX {
        return Ok(());
    }
    context(sys::write(report.as_fd(), &text).map(drop), || "tell the user".to_owned())
}

/// Goes from the host's root to that of the pod's user namespace. The mounts of a container's first process become the
/// namespace's own, and can no longer be taken apart there.
fn leave_host(users: Option<&Users>, is_init: bool) -> Result<(), String> {
    let Some(users) = users else { return Ok(()) };
    users.join()?;
    if is_init {
        context(sys::unshare(libc::CLONE_NEWNS), || "own the mounts".to_owned())?;
    }
    Ok(())
}

/// User, capabilities, filter, working directory, environment; then exec. Returns only on failure.
fn become_program(
    record: &ContainerRecord,
    program: Program<'_>,
    users: Option<&Users>,
) -> Result<std::convert::Infallible, String> {
    let Program { hostname, command, tty, filter, report, is_init } = program;
    let security = &record.config.security;
    let user = user::resolve(&record.image.user, security)?;
    if is_init {
        tell_user(report, &user)?;
    }
    let directory = working_dir(record);
    let entered = enter(&directory);
    for number in 0..3 {
        own_stream(number, outside(users, user.uid));
    }
    leave_host(users, is_init)?;
    let (_, have) = sys::capabilities().map_err(|error| plain(&error))?;
    let keep = capabilities::for_container(security)? & have;
    for index in (0..capabilities::COUNT as u64).filter(|index| keep & (1 << index) == 0) {
        // A kernel that lacks this capability says EINVAL.
        let _ = sys::prctl(libc::PR_CAPBSET_DROP, index, 0);
    }
    let late = security.no_new_privileges;
    if let Some(filter) = filter.as_ref().filter(|_| !late) {
        context(sys::install_seccomp(filter), || "install seccomp filter".to_owned())?;
    }
    context(sys::prctl(libc::PR_SET_KEEPCAPS, 1, 0).map(drop), || "keep capabilities".to_owned())?;
    context(sys::become_user(user.uid, user.gid, &user.groups), || format!("become user {}", user.uid))?;
    context(sys::set_capabilities(keep), || "set capabilities".to_owned())?;
    context(sys::prctl(libc::PR_SET_KEEPCAPS, 0, 0).map(drop), || "keep capabilities".to_owned())?;
    // skiff does without huge pages to stay small; its containers need not.
    let _ = sys::prctl(libc::PR_SET_THP_DISABLE, 0, 0);
    // Changing the user clears this, so it is set after: containers never outlive their shim.
    let _ = sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64, 0);
    if entered.is_err() {
        context(enter(&directory), || format!("chdir to cwd ({:?})", directory))?;
    }
    let environment = environment(record, hostname, &user.home, tty);
    sys::set_umask(0o022);
    sys::reset_signals();
    // Before the program is looked for: its path must not lead through a descriptor of the shim's (CVE-2024-21626).
    context(sys::close_all_but(report.as_fd()), || "close descriptors".to_owned())?;
    if security.no_new_privileges {
        context(sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).map(drop), || "no_new_privs".to_owned())?;
    }
    if let Some(filter) = filter.as_ref().filter(|_| late) {
        context(sys::install_seccomp(filter), || "install seccomp filter".to_owned())?;
    }
    exec(command, &environment)
}

/// Enters the working directory, which the container may have changed into a link to one of this process's descriptors.
fn enter(directory: &Path) -> io::Result<()> {
    let place = rootfs::open_inside(directory, libc::O_PATH | libc::O_DIRECTORY)?;
    sys::change_directory(place.as_fd())
}

/// A process must be able to open its own /dev/stdout again, which asks for the owner of the pipe or terminal.
fn own_stream(number: i32, uid: u32) {
    let fd = sys::standard(number);
    let Ok(stat) = sys::fstatat(fd, std::ffi::OsStr::new("")) else { return };
    let is_null = stat.st_rdev == sys::device_number(1, 3);
    if !is_null {
        let _ = sys::fchown(fd, uid, u32::MAX);
    }
}

fn exec(command: &[String], environment: &[(String, String)]) -> Result<std::convert::Infallible, String> {
    let Some(name) = command.first().filter(|name| !name.is_empty()) else {
        return Err("no command specified".to_owned());
    };
    let search = environment.iter().find(|(key, _)| key == "PATH").map_or(DEFAULT_PATH, |(_, value)| value);
    let path = find_program(name, search)?;
    let c = |text: &str| CString::new(text).map_err(|_| "a NUL byte in the command line or environment".to_owned());
    let arguments = command.iter().map(|word| c(word)).collect::<Result<Vec<_>, _>>()?;
    let variables =
        environment.iter().map(|(key, value)| c(&format!("{key}={value}"))).collect::<Result<Vec<_>, _>>()?;
    let error = sys::exec(&c(&path.display().to_string())?, &arguments, &variables);
    Err(format!("exec {}: {}", path.display(), plain(&error)))
}

/// Finds the program as Go's LookPath does, whose wording users know from other runtimes.
fn find_program(name: &str, search: &str) -> Result<PathBuf, String> {
    let check = |path: &Path| -> io::Result<()> {
        let data = std::fs::metadata(path)?;
        if data.is_dir() {
            return Err(io::Error::from_raw_os_error(libc::EISDIR));
        }
        sys::may_execute(&sys::c_string(path)?)
    };
    if name.contains('/') {
        return match check(Path::new(name)) {
            Ok(()) => Ok(PathBuf::from(name)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(format!("exec: {name:?}: stat {name}: no such file or directory"))
            }
            Err(error) => Err(format!("exec: {name:?}: {}", plain(&error))),
        };
    }
    let mut denied = false;
    for directory in search.split(':') {
        let path = Path::new(if directory.is_empty() { "." } else { directory }).join(name);
        match check(&path) {
            Ok(()) => return Ok(path),
            Err(error) => denied |= error.kind() == io::ErrorKind::PermissionDenied,
        }
    }
    let reason = if denied { "permission denied" } else { "executable file not found in $PATH" };
    Err(format!("exec: {name:?}: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ContainerConfig;
    use crate::record::ImageDefaults;

    fn record(command: &[&str], args: &[&str]) -> ContainerRecord {
        let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
        ContainerRecord {
            config: ContainerConfig { command: words(command), args: words(args), ..ContainerConfig::default() },
            image: ImageDefaults {
                entrypoint: words(&["/entry"]),
                command: words(&["default"]),
                environment: words(&["PATH=/image", "A=1"]),
                ..ImageDefaults::default()
            },
            ..ContainerRecord::default()
        }
    }

    #[test]
    fn command_lines_follow_the_kubernetes_table() {
        let line = |command: &[&str], args: &[&str]| command_line(&record(command, args)).join(" ");
        assert_eq!(line(&[], &[]), "/entry default");
        assert_eq!(line(&["/own"], &[]), "/own");
        assert_eq!(line(&[], &["x"]), "/entry x");
        assert_eq!(line(&["/own"], &["x"]), "/own x");
    }

    #[test]
    fn the_environment_has_an_order_of_precedence() {
        let mut record = record(&[], &[]);
        record.config.env = vec![("A".to_owned(), "2".to_owned())];
        let text = format!("{:?}", environment(&record, "pod", "/root", true));
        let expected = r#"[("PATH", "/image"), ("HOSTNAME", "pod"), ("A", "2"), ("TERM", "xterm"), ("HOME", "/root")]"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn missing_programs_are_worded_as_users_know_it() {
        let missing = "exec: \"foo\": executable file not found in $PATH";
        assert_eq!(find_program("foo", "/bin"), Err(missing.to_owned()));
        let missing = "exec: \"/foo\": stat /foo: no such file or directory";
        assert_eq!(find_program("/foo", ""), Err(missing.to_owned()));
        assert_eq!(find_program("/etc/passwd", ""), Err("exec: \"/etc/passwd\": permission denied".to_owned()));
        assert_eq!(find_program("sh", "/nowhere:/bin"), Ok(PathBuf::from("/bin/sh")));
    }
}
