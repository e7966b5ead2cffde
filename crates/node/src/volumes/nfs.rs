//! nfs: a directory of an NFS server. The kernel mounts it alone, without the helper that `mount` starts: what that would find
//! out (addresses, the newest version that both sides speak) is found out here.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use futures_util::future::BoxFuture;
use k8s_openapi::api::core::v1::NFSVolumeSource;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::{Context, Kind, Mounted, kernel};

/// Where servers of version 4 listen.
const PORT: u16 = 2049;
/// Tried in this order, as mount.nfs does.
const VERSIONS: [&str; 4] = ["4.2", "4.1", "4.0", "3"];

pub struct Nfs(pub NFSVolumeSource);

impl Kind for Nfs {
    fn mount<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Result<Mounted, String>> {
        Box::pin(async move {
            let directory = context.directory("nfs");
            let read_only = self.0.read_only == Some(true);
            let done = Mounted { host_path: directory.clone(), read_only, refresh_at: None };
            if kernel::is_mount(&directory) {
                return Ok(done);
            }
            std::fs::create_dir_all(&directory).map_err(|e| format!("{}: {e}", directory.display()))?;
            let server = address(&self.0.server).await?;
            let client = own_address(server).await?;
            let share = share(&self.0.server, &self.0.path);
            let (tell, told) = tokio::sync::oneshot::channel();
            // A thread of its own: a server that does not answer holds it for minutes.
            let work = move || {
                let result = mount_share(&share, &directory, (server, client), read_only);
                let mounted = result.is_ok();
                if tell.send(result).is_err() && mounted {
                    // The pod ended meanwhile.
                    let _ = umount2(&directory, MntFlags::MNT_DETACH);
                }
            };
            std::thread::Builder::new().name("mount-nfs".to_owned()).spawn(work).map_err(|e| e.to_string())?;
            told.await.map_err(|e| e.to_string())?.map(|()| done)
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
) -> Result<(), String> {
    let flags = if read_only { MsFlags::MS_RDONLY } else { MsFlags::empty() };
    let mut last = Errno::EPROTONOSUPPORT;
    for version in VERSIONS {
        let options = options(version, server, client);
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
        let error = mount_share("127.0.0.1:/none", place.path(), (local, local), true).unwrap_err();
        assert!(error.starts_with("mount of 127.0.0.1:/none failed: "), "{error}");
        let known = std::fs::read_to_string("/proc/filesystems").unwrap().lines().any(|l| l.ends_with("\tnfs"));
        let root = nix::unistd::geteuid().is_root();
        assert!(known || !root || error.ends_with("does not know NFS"), "{error}");
    }
}
