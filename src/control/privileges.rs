//! Giving up rights once everything is open: chroot, then groups, group and user. Nothing can be taken back afterwards.

use nix::unistd::{Gid, Uid, chdir, chroot, geteuid, setgid, setgroups, setuid};
use ringmain_model::Global;

/// Enters the chroot and becomes the configured user, as far as configured. All threads change together.
///
/// # Errors
/// When a step fails, in HAProxy's words; the process must not go on with more rights than it was told.
pub fn drop_privileges(global: &Global) -> Result<(), String> {
    if let Some(path) = &global.chroot {
        let entered = chroot(path.as_path()).and_then(|()| chdir("/"));
        entered.map_err(|error| format!("[ringmain.main()] Cannot chroot({}): {}.", path.display(), error.desc()))?;
    }
    if let Some(gid) = global.gid {
        if geteuid().is_root() {
            setgroups(&[]).map_err(|error| format!("[ringmain.main()] Cannot drop supplementary groups: {}.", error.desc()))?;
        }
        setgid(Gid::from_raw(gid)).map_err(|error| format!("[ringmain.main()] Cannot set gid {gid}: {}.", error.desc()))?;
    }
    if let Some(uid) = global.uid {
        setuid(Uid::from_raw(uid)).map_err(|error| format!("[ringmain.main()] Cannot set uid {uid}: {}.", error.desc()))?;
    }
    Ok(())
}

/// Whether the configuration takes rights away that a later reload may miss.
pub fn gives_up_rights(global: &Global) -> bool {
    global.chroot.is_some() || global.uid.is_some_and(|uid| uid != 0) || global.gid.is_some_and(|gid| gid != 0)
}
