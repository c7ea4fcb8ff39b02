//! The certificates of a configuration: how long they last, who vouches for them, and what ACME does about it.

use super::chain::{Fault, SOON_SECONDS};
use super::{Finding, Verdict};
use crate::tls::Described;

/// Seconds of a day.
const DAY: i64 = 86_400;

const WHAT: &str = "certificate";

const WHY: &str = "mail programs and senders that look refuse what has ended or what nobody vouches for";

/// One that is in use at `now`, Unix time.
pub fn of_described(described: &Described, now: i64) -> Finding {
    let days = (described.expires_at - now).div_euclid(DAY);
    let by = if described.is_self_signed {
        ", signed by itself"
    } else {
        ""
    };
    let finding = Finding::good(
        WHAT,
        format!("{}: {days} days{by}", described.names.join(" ")),
        WHY,
    );
    if described.expires_at <= now {
        return finding.but(Verdict::Problem, "a new one: it has ended");
    }
    if described.expires_at - now < SOON_SECONDS {
        return finding.but(Verdict::Advice, "a new one soon");
    }
    if described.is_self_signed {
        return finding.but(
            Verdict::Advice,
            "one that the world trusts: [acme], or tls.certificate.default",
        );
    }
    finding
}

/// The same of one whose chain has a fault. The worse of both is advised.
#[must_use]
pub fn with_fault(finding: Finding, fault: Option<Fault>) -> Finding {
    let Some(fault) = fault else { return finding };
    let found = format!("{}; {}", finding.found, fault.found);
    if fault.verdict <= finding.verdict {
        return Finding { found, ..finding };
    }
    Finding { found, ..finding }.but(fault.verdict, fault.advised)
}

/// None of them is for the name that everybody looks for.
#[must_use]
pub fn of_name(all: &[Described], hostname: &str) -> Option<Finding> {
    let mut names = all.iter().flat_map(|one| &one.names);
    if names.any(|name| is_for(name, hostname)) {
        return None;
    }
    let found = format!("none is for {hostname} (server.hostname)");
    let advised = format!("a certificate with {hostname} in it, or the name that it has as server.hostname");
    Some(Finding::good(WHAT, found, WHY).but(Verdict::Problem, advised))
}

/// RFC 9525 §6.3: a `*` stands for one label, the first.
pub(super) fn is_for(name: &str, hostname: &str) -> bool {
    let parent = hostname.split_once('.').map(|(_, parent)| parent);
    name.eq_ignore_ascii_case(hostname)
        || name
            .strip_prefix("*.")
            .is_some_and(|rest| parent.is_some_and(|parent| rest.eq_ignore_ascii_case(parent)))
}

/// Files that cannot be used.
pub fn of_unusable(cause: &str) -> Finding {
    Finding::good(WHAT, cause, WHY).but(Verdict::Problem, "a chain and the key that belongs to it")
}

/// A name whose certificate could not be had by ACME lately.
pub fn of_failure(name: &str, cause: &str, failures: u32, next_try_seconds: i64) -> Finding {
    let minutes = next_try_seconds.max(0) / 60;
    Finding::good("ACME", format!("{name}: {cause}"), WHY).but(
        Verdict::Problem,
        format!("{failures} in a row failed; the next try is in {minutes} minutes"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_and_who_vouches_are_told() {
        let of = |days: i64, is_self_signed| {
            let described = Described {
                names: vec!["mail.example.org".to_owned()],
                begins_at: 0,
                expires_at: days * DAY + 1_000,
                is_self_signed,
            };
            of_described(&described, 1_000)
        };
        assert_eq!(of(60, false).verdict, Verdict::Good);
        assert_eq!(of(10, false).verdict, Verdict::Advice);
        assert_eq!(of(60, true).verdict, Verdict::Advice);
        assert_eq!(of(0, false).verdict, Verdict::Problem);
        assert!(
            of(60, true)
                .found
                .contains("mail.example.org: 60 days, signed by itself")
        );
        assert!(of_failure("a", "no DNS", 3, 600).advised.contains("10 minutes"));
    }
}
