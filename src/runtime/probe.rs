//! What the machine must give, checked before anything depends on it.
//!
//! glommio panics with a joke when io_uring is refused and calls `process::exit(1)` when an operation is missing, so both
//! are tried here first, on the main thread, where they become a message an admin can act on (exit code 2).
//! Invariants: [`probe`] runs before any executor exists; it raises soft limits to the hard ones and nothing else.
//! Limits: those of glommio (RLIMIT_MEMLOCK) and of a server that holds connections (RLIMIT_NOFILE).

use io_uring::{IoUring, Probe, opcode};
use std::io;

/// Locked memory an executor may need, in bytes: 1 MiB of registered I/O memory and three rings of 1,024 entries
/// (0.3 MiB), rounded up because the kernel frees rings late. Only kernels that count rings against RLIMIT_MEMLOCK care.
const MEMLOCK_PER_CORE_BYTES: u64 = 2 * 1024 * 1024;

/// Below this RLIMIT_MEMLOCK glommio refuses to start, whatever the kernel counts.
const MEMLOCK_MIN_BYTES: u64 = 512 * 1024;

/// Descriptors without connections: files of the store, rings, listeners, and some to accept with. Fewer than this cannot
/// serve anybody.
const NOFILE_MIN: u64 = 256;

/// Descriptors of one core without connections and without what its store keeps open: its log, rings and listeners.
const NOFILE_PER_CORE: u64 = 96;

/// Entries of the ring that is set up to see whether one can be.
const PROBE_RING_ENTRIES: u32 = 8;

/// What this machine lacks, said so that an admin knows what to change. Exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {hint}")]
pub struct ProbeError {
    pub what: String,
    pub hint: String,
}

/// Operations that glommio uses without asking again (kernel 5.6 has all of them).
const OPERATIONS: [(&str, u8); 23] = [
    ("NOP", opcode::Nop::CODE),
    ("READV", opcode::Readv::CODE),
    ("WRITEV", opcode::Writev::CODE),
    ("FSYNC", opcode::Fsync::CODE),
    ("READ_FIXED", opcode::ReadFixed::CODE),
    ("WRITE_FIXED", opcode::WriteFixed::CODE),
    ("POLL_ADD", opcode::PollAdd::CODE),
    ("POLL_REMOVE", opcode::PollRemove::CODE),
    ("SENDMSG", opcode::SendMsg::CODE),
    ("RECVMSG", opcode::RecvMsg::CODE),
    ("TIMEOUT", opcode::Timeout::CODE),
    ("TIMEOUT_REMOVE", opcode::TimeoutRemove::CODE),
    ("ACCEPT", opcode::Accept::CODE),
    ("LINK_TIMEOUT", opcode::LinkTimeout::CODE),
    ("CONNECT", opcode::Connect::CODE),
    ("FALLOCATE", opcode::Fallocate::CODE),
    ("OPENAT", opcode::OpenAt::CODE),
    ("CLOSE", opcode::Close::CODE),
    ("STATX", opcode::Statx::CODE),
    ("READ", opcode::Read::CODE),
    ("WRITE", opcode::Write::CODE),
    ("SEND", opcode::Send::CODE),
    ("RECV", opcode::Recv::CODE),
];

/// Checks io_uring and limits on the calling thread and raises soft limits, before any executor exists.
pub fn probe(cores: usize) -> Result<(), ProbeError> {
    debug_assert!(!super::executor::is_on_core());
    check_descriptors(raise_to_hard(libc::RLIMIT_NOFILE))?;
    check_memlock(raise_to_hard(libc::RLIMIT_MEMLOCK), cores)?;
    let ring = IoUring::new(PROBE_RING_ENTRIES).map_err(|error| ring_refused(&error, disabled_sysctl()))?;
    let mut supported = Probe::new();
    ring.submitter()
        .register_probe(&mut supported)
        .map_err(|error| ProbeError {
            what: format!("the kernel does not tell its io_uring operations ({error})"),
            hint: "a kernel of 5.10 or later is needed".to_owned(),
        })?;
    check_operations(|code| supported.is_supported(code))
}

/// As many descriptors as this process may ask for, for a tool that opens all files of a store at once.
pub fn raise_descriptors() {
    raise_to_hard(libc::RLIMIT_NOFILE);
}

/// Connections that each of `cores` may have with the descriptors this process is allowed, once [`probe`] has raised them, and
/// with `files` that it keeps open at most: the listeners turn more away with a word, instead of running into the end.
#[must_use]
pub fn connections_max(cores: usize, files: u64) -> usize {
    let mut limit = libc::rlimit {
        rlim_cur: u64::MAX,
        rlim_max: u64::MAX,
    };
    // SAFETY: the call writes exactly the structure given; if it fails, no limit is known.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    connections_within(limit.rlim_cur, cores, files)
}

fn connections_within(descriptors: u64, cores: usize, files: u64) -> usize {
    let each = descriptors / cores.max(1) as u64;
    // Half of very few is still somebody served.
    usize::try_from(each.saturating_sub(NOFILE_PER_CORE + files).max(each / 2)).unwrap_or(usize::MAX)
}

/// `setup_error` of `io_uring_setup`, and `kernel.io_uring_disabled` if this kernel has it, as advice.
fn ring_refused(setup_error: &io::Error, disabled: Option<u8>) -> ProbeError {
    let hint = match (setup_error.raw_os_error(), disabled) {
        (Some(libc::ENOSYS), _) => {
            "this kernel was built without io_uring, or a seccomp filter hides it; 5.10 or later with \
             CONFIG_IO_URING is needed"
        }
        (Some(libc::EPERM | libc::EACCES), Some(2)) => {
            "kernel.io_uring_disabled is 2, io_uring is off for everybody; set it to 0 (sysctl -w \
             kernel.io_uring_disabled=0)"
        }
        (Some(libc::EPERM | libc::EACCES), Some(1)) => {
            "kernel.io_uring_disabled is 1; set it to 0, or put this user into the group named by \
             kernel.io_uring_group"
        }
        (Some(libc::EPERM | libc::EACCES), _) => {
            "a seccomp filter refuses io_uring, as the default profiles of container runtimes do; run the \
             container with a profile that allows io_uring_setup, io_uring_enter and io_uring_register"
        }
        (Some(libc::ENOMEM), _) => {
            "RLIMIT_MEMLOCK or the memory limit of the control group is used up; raise LimitMEMLOCK= in the unit \
             (or ulimit -l), or start fewer cores"
        }
        (Some(libc::EMFILE | libc::ENFILE), _) => {
            "no file descriptor is left; raise LimitNOFILE= (or ulimit -n)"
        }
        _ => "see io_uring_setup(2) for this error",
    };
    ProbeError {
        what: format!("the kernel refuses io_uring ({setup_error})"),
        hint: hint.to_owned(),
    }
}

fn check_operations(is_supported: impl Fn(u8) -> bool) -> Result<(), ProbeError> {
    let missing: Vec<_> = OPERATIONS
        .iter()
        .filter(|(_, code)| !is_supported(*code))
        .map(|(name, _)| *name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(ProbeError {
        what: format!("the kernel lacks the io_uring operations {}", missing.join(", ")),
        hint: "a kernel of 5.10 or later is needed".to_owned(),
    })
}

fn check_descriptors(limit: u64) -> Result<(), ProbeError> {
    if limit >= NOFILE_MIN {
        return Ok(());
    }
    Err(ProbeError {
        what: format!("only {limit} file descriptors are allowed, {NOFILE_MIN} are the least"),
        hint: "raise LimitNOFILE= in the unit, or the hard limit of ulimit -n".to_owned(),
    })
}

fn check_memlock(limit: u64, cores: usize) -> Result<(), ProbeError> {
    if limit < MEMLOCK_MIN_BYTES {
        return Err(ProbeError {
            what: format!(
                "only {limit} bytes may be locked (RLIMIT_MEMLOCK), {MEMLOCK_MIN_BYTES} are the least"
            ),
            hint: "raise LimitMEMLOCK= in the unit, or the hard limit of ulimit -l".to_owned(),
        });
    }
    let wanted = MEMLOCK_PER_CORE_BYTES * cores as u64;
    if limit < wanted {
        // Not an error: since 5.12 rings count against the control group instead, and glommio goes on without
        // registered memory. A core that is refused still ends the start with its reason.
        tracing::warn!(
            limit,
            wanted,
            cores,
            "RLIMIT_MEMLOCK may be too low for this many cores"
        );
    }
    Ok(())
}

/// Raises the soft limit to the hard one; returns what is in force then.
fn raise_to_hard(resource: libc::__rlimit_resource_t) -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both calls read or write exactly the structure given.
    unsafe {
        if libc::getrlimit(resource, &raw mut limit) != 0 {
            return u64::MAX;
        }
        let raised = libc::rlimit {
            rlim_cur: limit.rlim_max,
            ..limit
        };
        if limit.rlim_cur != limit.rlim_max && libc::setrlimit(resource, &raw const raised) == 0 {
            return raised.rlim_cur;
        }
    }
    limit.rlim_cur
}

/// `kernel.io_uring_disabled`; kernels before 6.6 do not have it.
fn disabled_sysctl() -> Option<u8> {
    std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
        .ok()?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_passes() {
        probe(2).unwrap();
    }

    #[test]
    fn connections_leave_descriptors_for_the_rest() {
        assert_eq!(connections_within(20_000, 2, 1_000), 10_000 - 96 - 1_000);
        assert_eq!(connections_within(256, 2, 1_000), 64);
        assert!(connections_within(u64::MAX, 1, 1_000) > 1 << 40);
    }

    #[test]
    fn every_refusal_says_what_to_change() {
        let cases = [
            (libc::ENOSYS, None, "CONFIG_IO_URING"),
            (libc::EPERM, Some(2), "kernel.io_uring_disabled=0"),
            (libc::EPERM, Some(1), "kernel.io_uring_group"),
            (libc::EPERM, Some(0), "seccomp"),
            (libc::EPERM, None, "seccomp"),
            (libc::ENOMEM, Some(0), "LimitMEMLOCK"),
            (libc::EMFILE, Some(0), "LimitNOFILE"),
        ];
        for (code, disabled, hint) in cases {
            let error = ring_refused(&io::Error::from_raw_os_error(code), disabled).to_string();
            assert!(error.contains(hint), "{error}");
        }
        assert!(
            check_descriptors(64)
                .unwrap_err()
                .to_string()
                .contains("LimitNOFILE")
        );
        assert!(
            check_memlock(64 * 1024, 2)
                .unwrap_err()
                .to_string()
                .contains("LimitMEMLOCK")
        );
        assert!(check_memlock(8 << 20, 64).is_ok());
        let error = check_operations(|code| code != opcode::Statx::CODE)
            .unwrap_err()
            .to_string();
        assert!(error.contains("lacks the io_uring operations STATX"), "{error}");
    }
}
