//! A file system on a loop device on the disk whose power can be cut.
//!
//! Owns: a temporary directory with two mount points, the FUSE session, the loop device; all are undone on drop, after
//! the power was cut, so that nothing waits for a disk that nobody serves any more.
//! Failure: what the machine must have and has not is named by [`check_machine`]. A mount that fails is an error of the caller
//! to judge: a second cut may be why.

use super::disk::Disk;
use super::fuse::{self, SharedDisk};
use crate::random;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Which file system stands on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    Ext4,
    Xfs,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Ext4 => "ext4",
            Kind::Xfs => "xfs",
        }
    }

    fn make(self) -> Command {
        let mut command = Command::new(format!("mkfs.{}", self.name()));
        command.args(match self {
            // A journal that is there at once: nothing is initialized behind the harness's back.
            Kind::Ext4 => &[
                "-q",
                "-F",
                "-b",
                "4096",
                "-E",
                "nodiscard,lazy_itable_init=0,lazy_journal_init=1",
            ][..],
            Kind::Xfs => &["-q", "-f", "-K"][..],
        });
        command
    }
}

/// How long an unmount may be refused because a killed process's I/O is not over.
const BUSY_TIMEOUT: Duration = Duration::from_secs(60);

/// Tells what is missing; an error in CI, where nobody would see that nothing was tested.
pub fn check_machine(kind: Kind) -> io::Result<bool> {
    let missing = missing(kind);
    if missing.is_empty() {
        return leave_mount_namespace().map(|()| true);
    }
    let text = format!(
        "no power cuts on {}: this needs {}",
        kind.name(),
        missing.join("; ")
    );
    if std::env::var_os("CI").is_some() {
        return Err(io::Error::other(text));
    }
    println!("SKIPPED: {text}");
    Ok(false)
}

/// What this machine lacks for real cuts, for people; empty: nothing.
fn missing(kind: Kind) -> Vec<String> {
    let mut missing = Vec::new();
    // SAFETY: takes no arguments and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        missing.push("root, to mount file systems".to_owned());
    }
    for device in ["/dev/fuse", "/dev/loop-control"] {
        if !Path::new(device).exists() {
            missing.push(format!("{device} (modprobe fuse loop)"));
        }
    }
    for program in ["losetup", "mount", "umount", &format!("mkfs.{}", kind.name())] {
        let found = Command::new(program)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if found.is_err() {
            missing.push(format!("the program {program}"));
        }
    }
    missing
}

/// Leaves the mounts of others: what this thread and all it starts mount from now on is theirs alone, and gone when they
/// are. A mount that somebody else's namespace has copied cannot be taken down here.
fn leave_mount_namespace() -> io::Result<()> {
    // SAFETY: takes no pointer; changes this thread only.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let flags = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: the path ends in a zero byte; for a change of propagation the other pointers may be null (mount(2)).
    let code = unsafe {
        libc::mount(
            std::ptr::null(),
            c"/".as_ptr(),
            std::ptr::null(),
            flags,
            std::ptr::null(),
        )
    };
    if code == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The whole stack.
pub struct Stack {
    pub disk: SharedDisk,
    kind: Kind,
    root: PathBuf,
    session: Option<fuser::BackgroundSession>,
    device: Option<String>,
}

impl Stack {
    /// A new disk with a new file system, mounted.
    pub fn new(kind: Kind, disk: Disk) -> io::Result<Stack> {
        let root = std::env::temp_dir().join(format!("loadtest-power-{:016x}", random::number()));
        std::fs::create_dir(&root)?;
        let mut stack = Stack {
            disk: SharedDisk::new(disk),
            kind,
            root,
            session: None,
            device: None,
        };
        for directory in [stack.fuse_directory(), stack.directory()] {
            std::fs::create_dir(directory)?;
        }
        stack.session = Some(fuse::mount(stack.disk.clone(), &stack.fuse_directory())?);
        let device = stack.attach()?;
        run(kind.make().arg(&device))?;
        stack.mount()?;
        Ok(stack)
    }

    fn fuse_directory(&self) -> PathBuf {
        self.root.join("fuse")
    }

    /// Where the file system is mounted.
    pub fn directory(&self) -> PathBuf {
        self.root.join("mounted")
    }

    fn attach(&mut self) -> io::Result<String> {
        let file = self.fuse_directory().join(fuse::FILE_NAME);
        let output = run(Command::new("losetup")
            .args(["--find", "--show", "--direct-io=on"])
            .arg(file))?;
        let device = output.trim().to_owned();
        self.device = Some(device.clone());
        Ok(device)
    }

    /// Attaches the loop device if need be, and mounts: the file system replays its journal.
    pub fn mount(&mut self) -> io::Result<()> {
        let device = match &self.device {
            Some(device) => device.clone(),
            None => self.attach()?,
        };
        run(Command::new("mount")
            .args(["-t", self.kind.name(), "-o", "noatime"])
            .arg(device)
            .arg(self.directory()))
        .map(drop)
    }

    /// Unmounts and detaches: a cut disk comes back as a new device, or the kernel would serve what it remembers.
    pub fn take_down(&mut self) -> io::Result<()> {
        let until = Instant::now() + BUSY_TIMEOUT;
        // A mount that failed because the power went may be there all the same.
        while is_mounted_at(&self.directory())? {
            if let Err(error) = run(Command::new("umount").arg(self.directory())) {
                if Instant::now() > until {
                    return Err(error);
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        if let Some(device) = self.device.take() {
            run(Command::new("losetup").arg("--detach").arg(&device))?;
            wait_until_free(&device)?;
        }
        Ok(())
    }

    /// Takes down and gives the disk its power back.
    pub fn take_down_and_reset(&mut self) -> io::Result<()> {
        self.take_down()?;
        self.disk.lock().reset();
        Ok(())
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.disk.lock().cut(0);
        if let Err(error) = self.take_down() {
            eprintln!("loadtest: left behind in {}: {error}", self.root.display());
            return;
        }
        if let Some(session) = self.session.take()
            && let Err(error) = session.umount_and_join()
        {
            eprintln!("loadtest: left mounted in {}: {error}", self.root.display());
            return;
        }
        // Empty directories, now that nothing is mounted on them.
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

fn is_mounted_at(directory: &Path) -> io::Result<bool> {
    let mounts = std::fs::read_to_string("/proc/thread-self/mounts")?;
    let place = directory.to_string_lossy();
    Ok(mounts.lines().any(|line| line.split(' ').nth(1) == Some(&*place)))
}

/// Waits until the kernel has let go of a loop device: a file system that is still there would make XFS refuse its like.
fn wait_until_free(device: &str) -> io::Result<()> {
    let name = device.trim_start_matches("/dev/");
    let in_use = PathBuf::from(format!("/sys/block/{name}/loop/backing_file"));
    let until = Instant::now() + BUSY_TIMEOUT;
    while in_use.exists() {
        if Instant::now() > until {
            return Err(io::Error::other(format!(
                "{device} is still in use by somebody else"
            )));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Runs a command and returns what it printed; an error names it and what it complained of.
pub fn run(command: &mut Command) -> io::Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let name = command.get_program().to_string_lossy().into_owned();
    Err(io::Error::other(format!("{name}: {complaint}")))
}
