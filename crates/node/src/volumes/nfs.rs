//! nfs: a directory of an NFS server. The kernel mounts it alone, without the helper that `mount` starts: what that would find
//! out (addresses, the newest version that both sides speak) is found out here.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use futures_util::future::BoxFuture;
use k8s_openapi::api::core::v1::NFSVolumeSource;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

use super::mount_options::MountOptions;
use super::{Context, Kind, Mounted, kernel};

/// Where servers of version 4 listen.
const PORT: u16 = 2049;
/// Tried in this order, as mount.nfs does.
const VERSIONS: [&str; 4] = ["4.2", "4.1", "4.0", "3"];

/// A share, mounted with more options than those that are found out.
pub struct Nfs {
    pub source: NFSVolumeSource,
    pub options: MountOptions,
}

impl Kind for Nfs {
    fn mount<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Result<Mounted, String>> {
        Box::pin(async move {
            let directory = context.directory("nfs");
            let read_only = self.source.read_only == Some(true);
            let done = Mounted::new(directory.clone(), read_only);
            if kernel::is_mount(&directory) {
                return Ok(done);
            }
            std::fs::create_dir_all(&directory).map_err(|e| format!("{}: {e}", directory.display()))?;
            let server = address(&self.source.server).await?;
            let client = own_address(server).await?;
            let share = share(&self.source.server, &self.source.path);
            let (target, given) = (directory.clone(), self.options.clone());
            // A server that does not answer holds it for minutes.
            let work = move || mount_share(&share, &target, (server, client), read_only, &given);
            kernel::apart("mount-nfs", &directory, work).await.map(|()| done)
        })
    }
}

async fn address(server: &str) -> Result<IpAddr, String> {
    let failed = |why: String| format!("failed to resolve NFS server {server:?}: {why}");
    let mut found =
        tokio::net::lookup_host((server.trim_matches(['[', ']']), PORT)).await.map_err(|e| failed(e.to_string()))?;
    found.next().map(|address| address.ip()).ok_or_else(|| failed("no address".to_owned()))
}

/// The address from which this machine reaches the server: version 4.0 is called back there.
async fn own_address(server: IpAddr) -> Result<IpAddr, String> {
    let any: SocketAddr = if server.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
    let failed = |e: std::io::Error| format!("no way to NFS server {server}: {e}");
    let socket = tokio::net::UdpSocket::bind(any).await.map_err(failed)?;
    socket.connect((server, PORT)).await.map_err(failed)?;
    socket.local_addr().map(|address| address.ip()).map_err(failed)
}

/// What is mounted, as mount tables name it: `server:/path`.
fn share(server: &str, path: &str) -> String {
    let literal = server.contains(':') && !server.starts_with('[');
    if literal { format!("[{server}]:{path}") } else { format!("{server}:{path}") }
}

/// What the kernel wants to be told (nfs(5)). Version 3 mounts without a lock daemon, which no node needs to run.
fn options(version: &str, server: IpAddr, client: IpAddr) -> String {
    match version {
        "3" => format!("vers=3,proto=tcp,addr={server},mountaddr={server},mountproto=tcp,nolock"),
        _ => format!("vers={version},proto=tcp,addr={server},clientaddr={client}"),
    }
}

fn mount_share(
    share: &str,
    directory: &Path,
    (server, client): (IpAddr, IpAddr),
    read_only: bool,
    given: &MountOptions,
) -> Result<(), String> {
    let mut flags = given.flags;
    flags.set(MsFlags::MS_RDONLY, read_only || flags.contains(MsFlags::MS_RDONLY));
    let mut last = Errno::EPROTONOSUPPORT;
    let asked = given.value("nfsvers").or(given.value("vers"));
    let versions = asked.map_or_else(|| VERSIONS.to_vec(), |version| vec![version]);
    for version in versions {
        let own = options(version, server, client);
        // What was given comes last and wins.
        let words = given.words.iter().filter(|w| !w.starts_with("nfsvers=") && !w.starts_with("vers="));
        let options = words.fold(own, |all, word| format!("{all},{word}"));
        match mount(Some(share), directory, Some("nfs"), flags, Some(options.as_str())) {
            Ok(()) => return Ok(()),
            // The server, or this kernel, does not speak it.
            Err(e @ (Errno::EPROTONOSUPPORT | Errno::EINVAL)) => last = e,
            Err(Errno::ENODEV) => {
                return Err(format!("mount of {share} failed: the kernel of this node does not know NFS"));
            }
            Err(e) => return Err(format!("mount of {share} failed: {}", e.desc())),
        }
    }
    Err(format!("mount of {share} failed: no version of NFS that the server speaks: {}", last.desc()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_kernel_is_told_what_it_cannot_find_out() {
        let server = address("127.0.0.1").await.unwrap();
        let client = own_address(server).await.unwrap();
        assert_eq!(options("4.2", server, client), "vers=4.2,proto=tcp,addr=127.0.0.1,clientaddr=127.0.0.1");
        let third = options("3", server, client);
        assert!(third.starts_with("vers=3,") && third.contains("mountaddr=127.0.0.1") && third.contains("nolock"));
        assert_eq!(address("[::1]").await.unwrap(), address("::1").await.unwrap());
        for (server, wanted) in [("files", "files:/a"), ("::1", "[::1]:/a"), ("[::1]", "[::1]:/a")] {
            assert_eq!(share(server, "/a"), wanted);
        }
        assert!(address("no-such-name.invalid").await.unwrap_err().starts_with("failed to resolve NFS server"));
    }

    #[tokio::test]
    async fn a_share_that_cannot_be_mounted_is_named() {
        let place = tempfile::tempdir().unwrap();
        let local = IpAddr::from([127, 0, 0, 1]);
        let error =
            mount_share("127.0.0.1:/none", place.path(), (local, local), true, &MountOptions::default()).unwrap_err();
        assert!(error.starts_with("mount of 127.0.0.1:/none failed: "), "{error}");
        let known = std::fs::read_to_string("/proc/filesystems").unwrap().lines().any(|l| l.ends_with("\tnfs"));
        let root = nix::unistd::geteuid().is_root();
        assert!(known || !root || error.ends_with("does not know NFS"), "{error}");
    }
}
