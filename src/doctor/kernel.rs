//! The kernel: its version, io_uring and what of it is there, limits of the process, sysctls.

use super::{Finding, Verdict, read};
use crate::runtime;
use io_uring::IoUring;

/// What is looked at in /proc/sys: name, least value that is well, why.
const SYSCTLS: [(&str, u64, &str); 3] = [
    (
        "net.core.somaxconn",
        4_096,
        "connections that wait to be accepted beyond this are dropped, and their peers try again after a second",
    ),
    (
        "net.ipv4.tcp_max_syn_backlog",
        4_096,
        "half-open connections beyond this are dropped or answered with SYN cookies when many peers connect at once",
    ),
    (
        "fs.file-max",
        200_000,
        "descriptors of the whole machine: one for each connection",
    ),
];

/// Descriptors below which a provider's server would refuse connections it could serve.
const DESCRIPTORS_ADVISED: u64 = 100_000;

pub fn examine() -> Vec<Finding> {
    let mut findings = vec![version(), io_uring(), ring_features()];
    findings.extend(limits());
    findings.extend(SYSCTLS.iter().map(|(name, least, why)| sysctl(name, *least, why)));
    findings
}

fn version() -> Finding {
    let why = "io_uring operations that glommio uses came with 5.8 to 5.10; the network's own ring needs 5.19, and is cheaper from 6.1";
    let Some(release) = read("/proc/sys/kernel/osrelease") else {
        return Finding::unknown("kernel", "/proc/sys/kernel/osrelease cannot be read", why);
    };
    let numbers: Vec<u32> = release
        .split(|c: char| !c.is_ascii_digit())
        .take(2)
        .filter_map(|part| part.parse().ok())
        .collect();
    let finding = Finding::good("kernel", release.clone(), why);
    match numbers[..] {
        [major, minor] if (major, minor) < (5, 10) => finding.but(Verdict::Problem, "5.10 or later"),
        [major, minor] if (major, minor) < (6, 1) => finding.but(Verdict::Advice, "6.1 or later"),
        [_, _] => finding,
        _ => Finding::unknown("kernel", release, why),
    }
}

fn io_uring() -> Finding {
    let why = "every socket and file operation goes through it";
    match runtime::probe(cores()) {
        Ok(()) => Finding::good("io_uring", "on, with every operation needed", why),
        Err(error) => Finding::good("io_uring", error.what, why).but(Verdict::Problem, error.hint),
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Deferred task work (6.1) and cooperative task work (5.19) show which kind of network ring will run.
fn ring_features() -> Finding {
    let what = "network ring";
    let why =
        "without it connections cost a system call for each receive: about a third more CPU for each command";
    let deferred = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .build(8);
    let deferred: std::io::Result<IoUring> = deferred;
    if deferred.is_ok() {
        return Finding::good(what, "with deferred task work (6.1 or later)", why);
    }
    let cooperative: std::io::Result<IoUring> = IoUring::builder().setup_coop_taskrun().build(8);
    match cooperative {
        Ok(_) => Finding::good(what, "without deferred task work", why)
            .but(Verdict::Advice, "a kernel of 6.1 or later"),
        Err(error) => Finding::good(what, format!("refused ({error})"), why).but(
            Verdict::Advice,
            "a kernel of 5.19 or later; until then plain sockets serve",
        ),
    }
}

fn limits() -> [Finding; 2] {
    let descriptors = hard_limit(libc::RLIMIT_NOFILE);
    let why = "one descriptor for each connection; the server raises its soft limit to the hard one";
    let mut nofile = Finding::good("LimitNOFILE (hard)", shown(descriptors), why);
    if descriptors < DESCRIPTORS_ADVISED {
        nofile = nofile.but(
            Verdict::Advice,
            format!("{DESCRIPTORS_ADVISED} or more: tuning/ringpost.service, or tuning/limits.d"),
        );
    }
    let locked = hard_limit(libc::RLIMIT_MEMLOCK);
    let wanted = 8 * 1024 * 1024 + 4 * 1024 * 1024 * cores() as u64;
    let why = "registered I/O memory counts against it, and on kernels before 5.12 the rings as well";
    let mut memlock = Finding::good("LimitMEMLOCK (hard)", shown(locked), why);
    if locked < wanted {
        memlock = memlock.but(
            Verdict::Advice,
            format!("{wanted} bytes or more for {} cores", cores()),
        );
    }
    [nofile, memlock]
}

fn shown(limit: u64) -> String {
    if limit == libc::RLIM_INFINITY {
        "unlimited".to_owned()
    } else {
        limit.to_string()
    }
}

fn hard_limit(resource: libc::__rlimit_resource_t) -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the call writes exactly the structure given.
    if unsafe { libc::getrlimit(resource, &raw mut limit) } != 0 {
        return 0;
    }
    limit.rlim_max
}

fn sysctl(name: &'static str, least: u64, why: &'static str) -> Finding {
    let value = read(format!("/proc/sys/{}", name.replace('.', "/")));
    let Some(value) = value else {
        return Finding::unknown(name, "not readable here (in a container?)", why);
    };
    let number: Option<u64> = value.parse().ok();
    let finding = Finding::good(name, value, why);
    match number {
        Some(number) if number < least => finding.but(
            Verdict::Advice,
            format!("{least}: tuning/sysctl.d/90-ringpost.conf"),
        ),
        _ => finding,
    }
}
