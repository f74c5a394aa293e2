//! The unix socket: the same API, read only, for root and for the group `corelane`, without a token.
//!
//! Who connects is known by the kernel (unix(7), SO_PEERCRED), which cannot be deceived. The socket is 0660 and of the
//! group where that exists, so that most are kept out already; the check behind it holds even where somebody has
//! changed the mode. Members by another than their first group are known by SO_PEERGROUPS.

use std::{
    fs, io,
    os::{
        fd::AsFd,
        unix::{fs::FileTypeExt, fs::PermissionsExt, net as unix},
    },
    path::{Path, PathBuf},
};

use tokio::net::UnixListener;

use crate::{
    config::NodeConfig,
    control::keys,
    fault::{Fault, Kind},
    os::peer::{self, Credentials},
};

/// Members may read by the socket what the API shows.
pub const GROUP: &str = "corelane";

/// A socket that listens; its file goes with it.
pub struct Socket {
    path: PathBuf,
    listener: unix::UnixListener,
    members: Members,
}

/// Who may read.
#[derive(Clone, Copy, Debug)]
struct Members {
    /// The number of the group `corelane`, if there is one.
    group: Option<u32>,
    /// The user this process runs as.
    own: u32,
}

impl Socket {
    /// Binds where the command line looks for it.
    ///
    /// # Errors
    /// The path is longer than a socket's may be, another process listens there, or it cannot be written.
    pub fn bind(config: &NodeConfig) -> Result<Self, Fault> {
        let path = keys::socket_path(config);
        let place = || path.display().to_string();
        match fs::symlink_metadata(&path) {
            Ok(meta) if !meta.file_type().is_socket() => {
                return Err(Fault::new(Kind::Conflict, place(), "exists and is no socket").way_out("move it away"));
            }
            Ok(_) if unix::UnixStream::connect(&path).is_ok() => {
                return Err(Fault::new(Kind::Conflict, place(), "another corelane listens there"));
            }
            // Left behind by one that was killed.
            Ok(_) => fs::remove_file(&path).map_err(|error| Fault::io(place(), &error))?,
            Err(_) => {}
        }
        let listener = unix::UnixListener::bind(&path).map_err(|error| Fault::io(place(), &error))?;
        let members = Members { group: group_id(GROUP), own: rustix::process::geteuid().as_raw() };
        let socket = Self { path: path.clone(), listener, members };
        // Until now nobody else could connect, for that takes the right to write.
        socket.open_to_group().map_err(|error| Fault::io(place(), &error))?;
        Ok(socket)
    }

    fn open_to_group(&self) -> io::Result<()> {
        self.listener.set_nonblocking(true)?;
        let given =
            self.members.group.is_some_and(|group| std::os::unix::fs::chown(&self.path, None, Some(group)).is_ok());
        // Where it cannot be given to the group, that of the file is some other one, which has no business here.
        fs::set_permissions(&self.path, fs::Permissions::from_mode(if given { 0o660 } else { 0o600 }))
    }

    /// For the runtime it is called in.
    ///
    /// # Errors
    /// It cannot be given to the runtime.
    pub fn listener(&self) -> io::Result<UnixListener> {
        UnixListener::from_std(self.listener.try_clone()?)
    }

    /// Who is at the other end of a connection, if they may read.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn admits(&self, stream: impl AsFd) -> io::Result<Option<Credentials>> {
        self.members.admit(stream)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Members {
    fn admit(self, stream: impl AsFd) -> io::Result<Option<Credentials>> {
        let peer = peer::credentials(&stream)?;
        let member = || -> io::Result<bool> {
            let Some(group) = self.group else { return Ok(false) };
            Ok(peer.gid == group || peer::groups(&stream)?.contains(&group))
        };
        let may = peer.uid == 0 || peer.uid == self.own || member()?;
        Ok(may.then_some(peer))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = fs::remove_file(&self.path);
    }
}

/// The number of a group of this machine (group(5)). Only the file is read: sysusers.d put the group there.
fn group_id(name: &str) -> Option<u32> {
    group_in(&fs::read_to_string("/etc/group").ok()?, name)
}

fn group_in(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(state: &Path) -> NodeConfig {
        NodeConfig { state_dir: state.to_owned(), dev: true, ..NodeConfig::defaults() }
    }

    #[test]
    fn a_group_is_found_by_name() {
        let text = "root:x:0:\ncorelane2:x:7:\nbroken\ncorelane:x:990:a,b\n";
        assert_eq!(group_in(text, "corelane"), Some(990));
        assert_eq!(group_in(text, "broken"), None);
    }

    #[test]
    fn a_socket_left_behind_is_taken_and_one_in_use_is_not() {
        let state = tempfile::tempdir().unwrap();
        let config = config(state.path());
        let path = keys::socket_path(&config);
        drop(unix::UnixListener::bind(&path).unwrap());
        let first = Socket::bind(&config).unwrap();
        let refused = Socket::bind(&config).err().unwrap().to_string();
        assert!(refused.contains("another corelane listens there"), "{refused}");
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert!([0o600, 0o660].contains(&mode), "{mode:o}");
        drop(first);
        assert!(!path.exists());
        fs::write(&path, "precious").unwrap();
        assert!(Socket::bind(&config).err().unwrap().to_string().contains("is no socket"));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn root_and_members_may_read_and_nobody_else() {
        let (near, _far) = unix::UnixStream::pair().unwrap();
        let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let admits = |members: Members| members.admit(&near).unwrap().is_some();
        assert!(admits(Members { own: user, group: None }));
        assert!(admits(Members { own: u32::MAX, group: Some(group) }));
        for further in rustix::process::getgroups().unwrap() {
            assert!(admits(Members { own: u32::MAX, group: Some(further.as_raw()) }));
        }
        assert_eq!(admits(Members { own: u32::MAX, group: None }), user == 0);
        assert_eq!(admits(Members { own: u32::MAX, group: Some(u32::MAX - 1) }), user == 0);
    }
}
