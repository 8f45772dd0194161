//! The unix socket: its default place, and how to create it so that nobody else can open it at any
//! moment.

use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};

use crate::bind_error::BindError;

/// The name of the socket in its folder.
const NAME: &str = "admin.sock";
/// The time that a listening process gets to accept a connection. The kernel does it without the
/// process.
const PROBE: Duration = Duration::from_secs(1);
/// The longest path of a socket that every system accepts.
const LONGEST: usize = 103;

/// Returns the path of the socket when no endpoint is configured.
pub(crate) fn default_path() -> PathBuf {
    let mut places = candidates();
    places.swap_remove(0)
}

/// Returns the possible default sockets of a collector of this user. The collector need not have
/// been started with the environment of this process. The first path is the one for this
/// environment.
pub(crate) fn candidates() -> Vec<PathBuf> {
    candidates_in(std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from))
}

fn candidates_in(runtime: Option<PathBuf>) -> Vec<PathBuf> {
    let user = rustix::process::geteuid().as_raw();
    let runtime = runtime.filter(|folder| folder.is_absolute());
    let folders = runtime.map(|folder| folder.join("spandrel"));
    let fallback = PathBuf::from(format!("/tmp/spandrel-{user}"));
    let folders = folders.into_iter().chain([fallback]);
    folders.map(|folder| folder.join(NAME)).collect()
}

/// The file of a socket that is listened on. Dropping this removes the file if it is still the
/// same.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|now| (now.dev(), now.ino()) == (self.device, self.inode));
        if is_ours {
            // A file that is left behind is replaced by the next start.
            fs::remove_file(&self.path).unwrap_or_default();
        }
    }
}

/// Listens at `path`, with mode 0600 from the first moment on.
pub(crate) async fn bind(path: &Path) -> Result<(UnixListener, SocketFile), BindError> {
    let failed = |source| BindError::Listen {
        endpoint: format!("unix:{}", path.display()),
        source,
    };
    let (Some(folder), Some(_)) = (path.parent(), path.file_name()) else {
        return Err(unsafe_at(path, "this is no path of a file"));
    };
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    // The socket is made in this folder and moved: until it has its mode, nobody else can reach it.
    let nursery = folder.join(format!(".{}", std::process::id()));
    let longest = path.as_os_str().len().max(nursery.as_os_str().len() + 2);
    if longest > LONGEST {
        let why = format!("its path is longer than {LONGEST} bytes; choose a shorter one");
        return Err(unsafe_at(path, &why));
    }
    check_folder(folder)?;
    // Processes that start at once take turns here.
    let turn = File::open(folder).map_err(failed)?;
    turn.lock().map_err(failed)?;
    check_place(path).await?;
    let made = listen_in(&nursery, path);
    // The folder is empty by now, or the error below says why it is not.
    fs::remove_dir(&nursery).unwrap_or_default();
    let (listener, meta) = made.map_err(failed)?;
    let file = SocketFile {
        path: path.to_owned(),
        device: meta.dev(),
        inode: meta.ino(),
    };
    Ok((listener, file))
}

fn listen_in(nursery: &Path, path: &Path) -> io::Result<(UnixListener, Metadata)> {
    let cradle = nursery.join("s");
    match DirBuilder::new().mode(0o700).create(nursery) {
        // A process with the same id left it behind when it died here.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(&cradle).unwrap_or_default();
            fs::remove_dir(nursery)?;
            DirBuilder::new().mode(0o700).create(nursery)?;
        }
        created => created?,
    }
    let listener = UnixListener::bind(&cradle)?;
    let moved = fs::set_permissions(&cradle, Permissions::from_mode(0o600))
        .and_then(|()| fs::rename(&cradle, path))
        .and_then(|()| fs::symlink_metadata(path));
    match moved {
        Ok(meta) => Ok((listener, meta)),
        Err(error) => {
            fs::remove_file(&cradle).unwrap_or_default();
            Err(error)
        }
    }
}

/// Makes the folder if need be, and checks that nobody else can put files in it.
fn check_folder(folder: &Path) -> Result<(), BindError> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(BindError::Listen {
                endpoint: format!("unix:{}", folder.display()),
                source: error,
            });
        }
        _ => {}
    }
    let meta = fs::symlink_metadata(folder).map_err(|source| BindError::Listen {
        endpoint: format!("unix:{}", folder.display()),
        source,
    })?;
    let own = rustix::process::geteuid().as_raw();
    let is_folder = meta.is_dir();
    match fault_of(is_folder, meta.uid(), meta.mode() & 0o7777, own) {
        Some(why) => Err(unsafe_at(folder, &why)),
        None => Ok(()),
    }
}

/// Returns the fault of a folder, for a process of user `own`.
fn fault_of(is_folder: bool, owner: u32, mode: u32, own: u32) -> Option<String> {
    const ROOT: u32 = 0;
    if !is_folder {
        return Some("this is no folder; remove it, or choose another `endpoint`".to_owned());
    }
    if owner != own && owner != ROOT {
        return Some(format!(
            "the folder belongs to user {owner}; choose an `endpoint` in a folder of your own"
        ));
    }
    (mode & 0o022 != 0).then(|| {
        format!(
            "others can write in the folder (mode {mode:04o}); run `chmod go-w` on it, or name a folder in it that is not there yet: it is made"
        )
    })
}

/// Checks that nothing is at `path`, or only a socket that nobody listens on any more.
async fn check_place(path: &Path) -> Result<(), BindError> {
    let failed = |source| BindError::Listen {
        endpoint: format!("unix:{}", path.display()),
        source,
    };
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if !meta.file_type().is_socket() {
        return Err(unsafe_at(
            path,
            "something that is no socket stands there; remove it, or choose another `endpoint`",
        ));
    }
    let in_use = || BindError::InUse(format!("unix:{}", path.display()));
    match tokio::time::timeout(PROBE, UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Ok(Err(error)) if error.kind() != io::ErrorKind::WouldBlock => Err(failed(error)),
        // The process that listens may be too busy to accept.
        Ok(_) | Err(_) => Err(in_use()),
    }
}

fn unsafe_at(path: &Path, why: &str) -> BindError {
    BindError::Unsafe {
        path: path.to_owned(),
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests;
