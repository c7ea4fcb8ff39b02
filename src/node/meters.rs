//! What the sessions of one core did, for metrics.
//!
//! Refusals are counted by what the peer was told, reply code and enhanced status code: the reason a sender sees is the one
//! an admin is asked about.
//! Limits: `REFUSALS_MAX` different refusals are told apart.

use crate::base::meter::{Counter, Gauge, Micros};
use std::sync::atomic::{AtomicU32, Ordering};

/// Different refusals told apart; there are about 40, the rest would be counted together.
const REFUSALS_MAX: usize = 128;

/// Services told apart. More than there are, so that a service more needs no change here.
pub const SERVICES_MAX: usize = 16;

/// One core's; see `base::meter`.
#[derive(Debug, Default)]
pub struct SessionMeters {
    /// By service, in the order of `session::Service`.
    pub services: [ServiceMeters; SERVICES_MAX],
    /// Connections closed because the core has as many as it serves.
    pub refused_full: Counter,
    /// Connections closed because their peer has as many as it may have.
    pub refused_peer: Counter,
    /// Connections of proxies closed for want of a PROXY header.
    pub refused_proxy: Counter,
    /// Mail by SMTP.
    pub smtp: MailMeters,
    /// Mail by LMTP.
    pub lmtp: MailMeters,
    /// What SMTP and LMTP peers were refused.
    pub refusals: Refusals,
}

/// One service's sessions.
#[derive(Debug, Default)]
pub struct ServiceMeters {
    /// Begun since the start.
    pub begun: Counter,
    /// Now reading a PROXY header or shaking hands for TLS.
    pub opening: Gauge,
    /// Now in their dialogue, on the core that accepted them.
    pub serving: Gauge,
    /// Now on the core of their account, where they moved after the login.
    pub moved: Gauge,
}

/// One way in for mail.
#[derive(Debug, Default)]
pub struct MailMeters {
    /// Messages acknowledged.
    pub accepted: Counter,
    /// Their recipients.
    pub recipients: Counter,
    /// From MAIL to the end of data.
    pub receive_time: Micros,
    /// From the end of data to the receipt: body finished, the wait for the owning core, the group, its sync.
    pub commit_time: Micros,
}

/// Refusals by reply code and enhanced status code.
#[derive(Debug)]
pub struct Refusals {
    known: [Refusal; REFUSALS_MAX],
    others: Counter,
}

#[derive(Debug, Default)]
struct Refusal {
    /// See [`key`]; 0: free.
    key: AtomicU32,
    count: Counter,
}

impl Default for Refusals {
    fn default() -> Self {
        Self {
            known: std::array::from_fn(|_| Refusal::default()),
            others: Counter::default(),
        }
    }
}

impl Refusals {
    /// Looks through whole replies that are about to be sent and counts those in which a peer is refused something.
    #[inline]
    pub fn count_replies(&self, wire: &[u8]) {
        let mut at = 0;
        while let Some(line) = wire.get(at..).filter(|line| !line.is_empty()) {
            let end = memchr::memchr(b'\n', line).map_or(line.len(), |end| end + 1);
            if matches!(line[0], b'4' | b'5') {
                self.count_line(&line[..end]);
            }
            at += end;
        }
    }

    #[cold]
    fn count_line(&self, line: &[u8]) {
        // All lines of a reply but the last have a hyphen behind the code.
        let Some(key) = key(line) else { return };
        for refusal in &self.known {
            match refusal.key.load(Ordering::Relaxed) {
                0 => refusal.key.store(key, Ordering::Relaxed),
                known if known == key => {}
                _ => continue,
            }
            return refusal.count.add(1);
        }
        self.others.add(1);
    }

    /// Each with its reply code, its enhanced status code (empty: it had none) and how often it was said.
    pub fn each(&self) -> impl Iterator<Item = (u32, String, u64)> + '_ {
        let known = self.known.iter().map_while(|refusal| {
            let key = refusal.key.load(Ordering::Relaxed);
            (key != 0).then(|| (key >> 20, status(key), refusal.count.value()))
        });
        let others = self.others.value();
        known.chain((others > 0).then(|| (0, "other".to_owned(), others)))
    }
}

/// A subject or detail that is not there.
const NONE: u32 = 0x3ff;

/// Reply code, subject and detail (RFC 3463 §2) in ten bits each. The class is the code's first digit.
fn key(line: &[u8]) -> Option<u32> {
    let code: u32 = std::str::from_utf8(line.get(..3)?).ok()?.parse().ok()?;
    if line.get(3) != Some(&b' ') {
        return None;
    }
    let word = line[4..].split(|byte| byte.is_ascii_whitespace()).next()?;
    let mut parts = word.split(|byte| *byte == b'.').map(|part| {
        let part = std::str::from_utf8(part).ok()?;
        part.parse::<u32>().ok().filter(|number| *number < NONE)
    });
    let (subject, detail) = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(Some(_)), Some(Some(subject)), Some(Some(detail)), None) => (subject, detail),
        _ => (NONE, NONE),
    };
    Some(code << 20 | subject << 10 | detail)
}

fn status(key: u32) -> String {
    let (subject, detail) = (key >> 10 & NONE, key & NONE);
    if subject == NONE {
        return String::new();
    }
    format!("{}.{subject}.{detail}", (key >> 20) / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_by_what_was_said_and_successes_are_not() {
        let refusals = Refusals::default();
        refusals.count_replies(b"250 2.1.0 Ok\r\n550 5.1.1 No such user\r\n250-mx\r\n250 SIZE\r\n");
        refusals.count_replies(b"550 5.1.1 No such user\r\n421-4.7.0 Too\r\n421 4.7.0 many\r\n");
        refusals.count_replies(b"554 no service\r\n354 go on\r\n");
        let counted: Vec<_> = refusals.each().collect();
        let expected = [
            (550, "5.1.1".to_owned(), 2),
            (421, "4.7.0".to_owned(), 1),
            (554, String::new(), 1),
        ];
        assert_eq!(counted, expected);
    }

    #[test]
    fn beyond_the_limit_they_are_counted_together() {
        let refusals = Refusals::default();
        for number in 0..REFUSALS_MAX + 5 {
            refusals.count_replies(format!("451 4.{number}.0 later\r\n").as_bytes());
        }
        assert_eq!(refusals.each().last(), Some((0, "other".to_owned(), 5)));
    }
}
