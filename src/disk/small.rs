//! Files that an admin names (certificates, keys, secrets, the configuration, lists of accounts), read whole.
//!
//! Limits: [`BYTES_MAX`], or what the caller names: a name that leads to `/dev/zero` or to a disk image must not take the
//! machine's memory, and one that leads to a pipe must not keep a server waiting for its writer.
//! Failure: an error's text names the file.
//! Not here: the store's files (`file`, `plain`).

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Of a certificate chain, a key or a secret: a thousand times what they have.
pub const BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Reads a regular file of up to [`BYTES_MAX`].
///
/// # Errors
/// What is wrong, with the file's name.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    let open = || {
        // Opening a pipe would wait for somebody who writes.
        let file = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        limited(file, BYTES_MAX)
    };
    open().map_err(|error| format!("{}: {error}", path.display()))
}

/// The same as text.
///
/// # Errors
/// What is wrong, with the file's name.
pub fn read_text(path: &Path) -> Result<String, String> {
    String::from_utf8(read(path)?).map_err(|_| format!("{}: it is no UTF-8", path.display()))
}

/// Reads up to `bytes_max` from whatever `path` is, pipes too: for a command that its user waits for.
///
/// # Errors
/// Those of the operating system, and `FileTooLarge`.
pub fn read_stream(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    limited(File::open(path)?, bytes_max)
}

fn limited(file: File, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        let why = format!("more than {bytes_max} bytes: is it the right one?");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt as _;

    #[test]
    fn what_has_no_end_or_no_writer_is_refused_at_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let pipe = directory.path().join("pipe");
        let name = std::ffi::CString::new(pipe.as_os_str().as_bytes()).expect("no NUL in it");
        // SAFETY: the name is a C string that outlives the call.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        for path in [Path::new("/dev/zero"), &pipe, directory.path()] {
            let why = read(path).expect_err("it is no file");
            assert!(why.starts_with(&path.display().to_string()), "{why}");
        }
        let endless = read_stream(Path::new("/dev/zero"), 1_000).expect_err("it has no end");
        assert_eq!(endless.kind(), io::ErrorKind::FileTooLarge);
        let file = directory.path().join("file");
        std::fs::write(&file, "text").expect("room for it");
        assert_eq!(read_text(&file).as_deref(), Ok("text"));
        assert_eq!(read_stream(&file, 4).expect("it fits"), b"text");
    }
}
