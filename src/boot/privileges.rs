//! From root to the user that serves.
//!
//! Invariants: groups go first, then the group, then the user, and it is verified that root cannot be had back; this
//! happens after the ports are bound and before anything of a peer or of the data directory is read.

use super::BootError;
use nix::unistd::{Gid, Uid, User, setgid, setgroups, setuid};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Whether this process is root.
#[must_use]
pub fn is_root() -> bool {
    Uid::effective().is_root()
}

/// Becomes `name`, if this process is root and `name` is not empty.
///
/// # Errors
/// [`BootError::Admin`] when there is no such user.
pub fn become_user(name: &str) -> Result<(), BootError> {
    if !is_root() || name.is_empty() {
        return Ok(());
    }
    let user = find_user(name)?;
    change(user.uid, user.gid)
}

/// The user of this name.
///
/// # Errors
/// [`BootError::Admin`] with what to do.
pub fn find_user(name: &str) -> Result<User, BootError> {
    let found = User::from_name(name).map_err(BootError::system("privileges"))?;
    found.ok_or_else(|| {
        BootError::Admin(format!(
            "server.user: there is no user {name:?} on this machine: make it (`useradd --system --no-create-home {name}`), \
             or name another one"
        ))
    })
}

/// Becomes whoever the data directory belongs to, if this process is root: what it writes there must be the server's.
///
/// # Errors
/// [`BootError::DataDirectory`] when there is none.
pub fn become_owner_of(data: &Path) -> Result<(), BootError> {
    if !is_root() {
        return Ok(());
    }
    let owner = std::fs::metadata(data).map_err(|error| BootError::DataDirectory {
        path: data.display().to_string(),
        cause: error.to_string(),
    })?;
    if owner.uid() == 0 {
        return Ok(());
    }
    change(Uid::from_raw(owner.uid()), Gid::from_raw(owner.gid()))
}

/// Makes `directory` for the owner of `data`. One that is there already stays as it is: it is somebody's.
///
/// # Errors
/// [`BootError::DataDirectory`].
pub fn make_like(directory: &Path, data: &Path) -> Result<(), BootError> {
    let make = || {
        let owner = std::fs::metadata(data)?;
        if directory.exists() {
            return Ok(());
        }
        std::fs::create_dir_all(directory)?;
        std::os::unix::fs::lchown(directory, Some(owner.uid()), Some(owner.gid()))
    };
    make().map_err(|error: std::io::Error| BootError::DataDirectory {
        path: directory.display().to_string(),
        cause: error.to_string(),
    })
}

fn change(uid: Uid, gid: Gid) -> Result<(), BootError> {
    let system = BootError::system("privileges");
    setgroups(&[gid]).map_err(&system)?;
    setgid(gid).map_err(&system)?;
    setuid(uid).map_err(&system)?;
    if !uid.is_root() && setuid(Uid::from_raw(0)).is_ok() {
        return Err(BootError::System {
            what: "privileges",
            cause: "root can be had back".to_owned(),
        });
    }
    Ok(())
}
