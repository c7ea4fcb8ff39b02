//! What an issuer says of the renewal of its certificates (ARI, RFC 9773), and when it is asked. Pure.
//!
//! An issuer that has to revoke a certificate, or has too much to do on a day, moves the window in which it is to be renewed.
//! Invariants: what was said of one certificate is nothing to the next; a failure moves no window; an issuer is never asked
//! sooner than it wishes.
//! Limits: [`ASK_PAUSE_MIN`], [`ASK_PAUSE_MAX`].
//! Failure: an issuer that cannot be heard is asked again with growing pauses (`schedule::pause`); until it answers its last
//! word stands, and without one the rule of `schedule`.
//! Not here: what a window means for the time of a renewal (`schedule`), the question itself (the module above).

use super::schedule::{self, Window};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// RFC 9773 §4.3.2: less is not to be taken for what an issuer means.
pub const ASK_PAUSE_MIN: Duration = Duration::from_secs(60);

/// The same section: a revocation is to be heard of within a day.
pub const ASK_PAUSE_MAX: Duration = Duration::from_secs(86_400);

/// What was heard of one certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suggestion {
    /// The certificate's name in the question (RFC 9773 §4.1).
    pub certificate: String,
    /// The last one that made sense.
    pub window: Option<Window>,
    /// Unix time.
    pub ask_at: i64,
    /// Questions in a row without an answer.
    pub failures: u32,
}

/// An answer of the issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To be renewed within the window; to be asked again after the pause.
    Suggested {
        window: Window,
        pause: Duration,
        /// Where the issuer explains it.
        reason: Option<String>,
    },
    /// It says nothing of renewals.
    Silent,
}

/// Why a window counts for nothing.
pub const BACKWARDS: &str = "the window ends before it begins";

impl Suggestion {
    /// Of a certificate about which nobody was asked.
    #[must_use]
    pub fn none(certificate: String) -> Self {
        Self {
            certificate,
            ..Self::default()
        }
    }

    /// Whether the issuer is to be asked at `now`: also when the next time is so far off that it was computed by a clock that
    /// was wrong.
    #[must_use]
    pub fn is_due(&self, now: i64) -> bool {
        let farthest = now.saturating_add(i64::try_from(ASK_PAUSE_MAX.as_secs()).unwrap_or(i64::MAX));
        !(now + 1..=farthest).contains(&self.ask_at)
    }

    /// What is known after an answer, or after none, at `now`. `chance` is anything.
    #[must_use]
    pub fn after(self, answer: &Result<Answer, String>, now: i64, chance: u32) -> Self {
        let (window, failures, pause) = match answer {
            Ok(Answer::Suggested { window, pause, .. }) => {
                (Some(*window), 0, (*pause).clamp(ASK_PAUSE_MIN, ASK_PAUSE_MAX))
            }
            Ok(Answer::Silent) => (None, 0, ASK_PAUSE_MAX),
            Err(_) => {
                let failures = self.failures.saturating_add(1);
                (self.window, failures, schedule::pause(failures, chance))
            }
        };
        Self {
            certificate: self.certificate,
            window,
            ask_at: now.saturating_add(i64::try_from(pause.as_secs()).unwrap_or(i64::MAX)),
            failures,
        }
    }
}

/// An answer as it came, if it makes sense.
///
/// # Errors
/// [`BACKWARDS`]: RFC 9773 §4.2 has the issuer's window end behind its begin.
pub fn suggested(window: Window, pause: Duration, reason: Option<String>) -> Result<Answer, String> {
    if window.end <= window.start {
        return Err(BACKWARDS.to_owned());
    }
    Ok(Answer::Suggested {
        window,
        pause,
        reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: i64 = 1_700_000_000;

    fn window() -> Window {
        Window {
            start: NOW + 10,
            end: NOW + 20,
        }
    }

    fn answer(pause: u64) -> Result<Answer, String> {
        suggested(window(), Duration::from_secs(pause), None)
    }

    #[test]
    fn the_issuer_is_asked_when_it_wishes_within_a_minute_and_a_day() {
        for (pause, asked_after) in [(21_600, 21_600), (0, 60), (59, 60), (61, 61), (1 << 40, 86_400)] {
            let known = Suggestion::none("a.b".to_owned()).after(&answer(pause), NOW, 7);
            assert_eq!((known.window, known.failures), (Some(window()), 0));
            assert_eq!(known.ask_at, NOW + asked_after, "{pause}");
        }
        let silent = Suggestion::none("a.b".to_owned()).after(&Ok(Answer::Silent), NOW, 7);
        assert_eq!((silent.window, silent.ask_at), (None, NOW + 86_400));
    }

    #[test]
    fn a_clock_that_was_wrong_keeps_nobody_from_asking() {
        let of = |ask_at| Suggestion {
            ask_at,
            ..Suggestion::default()
        };
        assert!(of(0).is_due(NOW) && of(NOW).is_due(NOW) && of(NOW + 86_401).is_due(NOW));
        assert!(!of(NOW + 1).is_due(NOW) && !of(NOW + 86_400).is_due(NOW));
    }

    #[test]
    fn a_failure_leaves_the_last_word_and_asks_less_and_less_often() {
        let known = Suggestion::none("a.b".to_owned()).after(&answer(21_600), NOW, 0);
        let failed = Err("it is away".to_owned());
        let once = known.after(&failed, NOW, 0);
        assert_eq!(
            (once.window, once.failures, once.ask_at),
            (Some(window()), 1, NOW + 60)
        );
        let twice = once.after(&failed, NOW, 0);
        assert_eq!(
            (twice.window, twice.failures, twice.ask_at),
            (Some(window()), 2, NOW + 240)
        );
        let heard = twice.after(&answer(3_600), NOW, 0);
        assert_eq!((heard.failures, heard.ask_at), (0, NOW + 3_600));
        assert_eq!(heard.certificate, "a.b");
    }

    #[test]
    fn a_window_that_ends_before_it_begins_is_a_failure() {
        for end in [NOW - 1, NOW] {
            let window = Window { start: NOW, end };
            assert_eq!(suggested(window, ASK_PAUSE_MIN, None), Err(BACKWARDS.to_owned()));
        }
    }

    proptest! {
        #[test]
        fn nobody_is_asked_within_a_minute(start: i64, end: i64, pause: u64, failures: u32, chance: u32) {
            let known = Suggestion { failures, ..Suggestion::default() };
            let heard = suggested(Window { start, end }, Duration::from_secs(pause), None);
            for answer in [heard, Ok(Answer::Silent), Err(String::new())] {
                let after = known.clone().after(&answer, NOW, chance);
                prop_assert!((NOW + 60..=NOW + 86_400).contains(&after.ask_at));
            }
        }
    }
}
