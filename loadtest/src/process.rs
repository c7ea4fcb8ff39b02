//! What processes use, read from /proc: CPU, resident memory, bytes written.
//!
//! A server may be many processes (Postfix, Dovecot): figures are of the given process and all its descendants, and
//! include children that have ended and were waited for.

use std::collections::HashMap;
use std::fs;
use std::io;

/// What a server's processes had used at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub cpu_seconds: f64,
    pub resident_kib: u64,
    /// Resident memory, each page divided by the number of processes that share it; resident where the kernel does not tell.
    pub proportional_kib: u64,
    pub written_bytes: u64,
}

impl Usage {
    /// Reads `root` and its descendants. Fails if `root` itself cannot be read.
    pub fn of_tree(root: u32) -> io::Result<Usage> {
        let mut total = of_process(root)?;
        for pid in descendants(root) {
            // One that ended meanwhile is in its parent's figures next time.
            let Ok(usage) = of_process(pid) else { continue };
            total.cpu_seconds += usage.cpu_seconds;
            total.resident_kib += usage.resident_kib;
            total.proportional_kib += usage.proportional_kib;
            total.written_bytes += usage.written_bytes;
        }
        Ok(total)
    }
}

/// CPU seconds this process has used, all its threads.
pub fn own_cpu_seconds() -> f64 {
    // SAFETY: rusage is plain integers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is a whole rusage that the kernel fills; RUSAGE_SELF is always valid.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 * 1e-6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

fn of_process(pid: u32) -> io::Result<Usage> {
    let fields = stat_fields(pid)?;
    // Fields 14 to 17 of proc(5): utime, stime, cutime, cstime; the list starts with field 3.
    let ticks: u64 = fields
        .iter()
        .skip(11)
        .take(4)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    // SAFETY: takes no pointer.
    let ticks_per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    // Unreadable for another user's process: then it counts as nothing.
    let io_text = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let resident_kib = number_after(&status, "VmRSS:");
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let proportional_kib = match number_after(&smaps, "\nPss:") {
        0 => resident_kib,
        kib => kib,
    };
    Ok(Usage {
        proportional_kib,
        cpu_seconds: ticks as f64 / ticks_per_second,
        resident_kib,
        written_bytes: number_after(&io_text, "\nwrite_bytes:"),
    })
}

fn stat_fields(pid: u32) -> io::Result<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in parentheses, may hold spaces and parentheses; the fields stand behind the last one.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    Ok(rest.split_whitespace().map(str::to_owned).collect())
}

fn number_after(text: &str, key: &str) -> u64 {
    let Some((_, rest)) = text.split_once(key) else {
        return 0;
    };
    rest.split_whitespace()
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

/// `root` and its descendants.
pub fn tree(root: u32) -> Vec<u32> {
    let mut tree = vec![root];
    tree.extend(descendants(root));
    tree
}

fn descendants(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        let parent = stat_fields(pid)
            .ok()
            .and_then(|fields| fields.get(1)?.parse::<u32>().ok());
        if let Some(parent) = parent {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() {
        found.extend(children.remove(&found[next]).unwrap_or_default());
        next += 1;
    }
    found.split_off(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_process_uses_memory() {
        let usage = Usage::of_tree(std::process::id());
        assert!(usage.is_ok_and(|usage| usage.resident_kib > 0));
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        assert!(Usage::of_tree(u32::MAX).is_err());
    }
}
