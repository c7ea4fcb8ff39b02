//! What else of the machine matters: processors, their clock, the time of day, interrupts of network cards.

use super::{Finding, Verdict, read};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

pub fn examine() -> Vec<Finding> {
    let mut findings = vec![processors(), governor(), time_of_day()];
    findings.extend(interrupts());
    findings
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn processors() -> Finding {
    let why = "one executor runs on each; hashing of passwords and the log have threads beside them";
    Finding::good("processors", format!("{} for this process", cores()), why)
}

fn governor() -> Finding {
    let what = "CPU frequency";
    let why = "a processor that is woken at a low clock takes its time for the first mails of every burst";
    match read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") {
        None => Finding::unknown(what, "not shown to this machine (a virtual one?)", why),
        Some(governor) if matches!(governor.as_str(), "powersave" | "conservative") => {
            let intel = read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_driver");
            let finding = Finding::good(what, format!("governor {governor}"), why);
            // With intel_pstate in active mode "powersave" is the ordinary governor.
            if intel.as_deref() == Some("intel_pstate") {
                return finding;
            }
            finding.but(
                Verdict::Advice,
                "governor performance or schedutil (cpupower frequency-set -g)",
            )
        }
        Some(governor) => Finding::good(what, format!("governor {governor}"), why),
    }
}

fn time_of_day() -> Finding {
    let what = "clock";
    let why = "Received and Date fields, certificates, DKIM and greylisting depend on it";
    // SAFETY: all-zero bytes are a valid `timex`, which has only integers.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: with modes 0 nothing is set; the call fills the structure given.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    if state < 0 {
        return Finding::unknown(what, std::io::Error::last_os_error().to_string(), why);
    }
    let is_synchronised = state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0;
    if is_synchronised {
        Finding::good(what, "synchronised", why)
    } else {
        Finding::good(what, "not synchronised by this kernel", why).but(
            Verdict::Advice,
            "chrony or systemd-timesyncd, unless the host keeps the clock",
        )
    }
}

/// One finding for each network card with interrupts of its own.
fn interrupts() -> Vec<Finding> {
    let cards = std::fs::read_dir("/sys/class/net")
        .into_iter()
        .flatten()
        .flatten();
    let mut served: BTreeMap<String, (usize, BTreeSet<String>)> = BTreeMap::new();
    for card in cards {
        let Ok(lines) = std::fs::read_dir(card.path().join("device/msi_irqs")) else {
            continue;
        };
        let name = card.file_name().to_string_lossy().into_owned();
        let (count, cpus) = served.entry(name).or_default();
        for line in lines.flatten() {
            *count += 1;
            let affinity = Path::new("/proc/irq")
                .join(line.file_name())
                .join("smp_affinity_list");
            cpus.extend(read(affinity));
        }
    }
    served
        .into_iter()
        .map(|(name, (count, cpus))| interrupts_of(&name, count, &cpus))
        .collect()
}

fn interrupts_of(card: &str, count: usize, cpus: &BTreeSet<String>) -> Finding {
    let what = "network interrupts";
    let why = "packets are handled on the processor that takes the card's interrupt: all on one make it the limit of all";
    let list: Vec<&str> = cpus.iter().map(String::as_str).collect();
    let finding = Finding::good(
        what,
        format!("{card}: {count}, on CPUs {}", list.join(" / ")),
        why,
    );
    let is_one_cpu = cpus.len() == 1 && cpus.iter().all(|cpus| cpus.parse::<usize>().is_ok());
    if cores() > 1 && count > 1 && is_one_cpu {
        return finding.but(
            Verdict::Advice,
            "spread them: irqbalance, or /proc/irq/*/smp_affinity_list (tuning/README.md)",
        );
    }
    finding
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupts_all_on_one_processor_are_told_where_there_are_more() {
        let one = BTreeSet::from(["0".to_owned()]);
        let spread = BTreeSet::from(["0".to_owned(), "1".to_owned()]);
        let expected = if cores() > 1 {
            Verdict::Advice
        } else {
            Verdict::Good
        };
        assert_eq!(interrupts_of("eth0", 4, &one).verdict, expected);
        assert_eq!(interrupts_of("eth0", 4, &spread).verdict, Verdict::Good);
        assert_eq!(interrupts_of("eth0", 1, &one).verdict, Verdict::Good);
    }
}
