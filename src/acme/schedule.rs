//! When a certificate is asked for: renewals in time, failures with growing pauses. Pure.
//!
//! A certificate is renewed when its issuer suggests it (RFC 9773), as far as that leaves time to notice what does not work and
//! makes no storm of renewals; where it suggests nothing, at two thirds of its life.
//! A failure is tried again after [`PAUSE_FIRST`], then four times as long each time up to [`PAUSE_MAX`]: issuers count
//! failures, and Let's Encrypt allows five an hour for a name. Both are moved by chance, so that many servers set up in the same
//! minute do not come back in the same minute.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The first pause after a failure.
pub const PAUSE_FIRST: Duration = Duration::from_secs(60);

/// The longest.
pub const PAUSE_MAX: Duration = Duration::from_secs(12 * 3_600);

/// A renewal comes up to this part of the certificate's life early.
const JITTER_PART: i64 = 30;

/// A suggestion counts from this part of the certificate's life on: an issuer that always says "now" gets a hundred orders
/// where it would get one, and no more.
const YOUNG_PART: i64 = 100;

/// Nor does it count in the last part: what then fails could not be mended in time.
const LATE_PART: i64 = 10;

/// First and last second of a certificate, Unix time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub not_before: i64,
    pub not_after: i64,
}

/// When an issuer would have a certificate renewed, Unix time. The end is behind the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    pub start: i64,
    pub end: i64,
}

/// When to renew, Unix time. `chance` is anything, and the same each time: otherwise the time would move at each look.
#[must_use]
pub fn renewal(validity: Validity, suggested: Option<Window>, chance: u32) -> i64 {
    let life = validity.not_after.saturating_sub(validity.not_before).max(0);
    if let Some(window) = suggested {
        // RFC 9773 §4.2: any time within it, each as likely.
        let within = window.end.saturating_sub(window.start).max(0);
        let at = window.start.saturating_add(part(within, chance));
        let earliest = validity.not_before.saturating_add(life / YOUNG_PART);
        let latest = validity.not_after.saturating_sub(life / LATE_PART);
        return at.min(latest).max(earliest);
    }
    let early = part(life / JITTER_PART, chance);
    validity.not_before.saturating_add(life / 3 * 2) - early
}

/// The pause after so many failures in a row, of which there is one at least.
#[must_use]
pub fn pause(failures: u32, chance: u32) -> Duration {
    let factor = 4_u32.saturating_pow(failures.saturating_sub(1));
    let pause = PAUSE_FIRST.saturating_mul(factor).min(PAUSE_MAX);
    let more = part(i64::try_from(pause.as_secs() / 5).unwrap_or(0), chance);
    pause + Duration::from_secs(more.unsigned_abs())
}

fn part(of: i64, chance: u32) -> i64 {
    let share = i128::from(of) * i128::from(chance) / i128::from(u32::MAX);
    i64::try_from(share).unwrap_or(of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: i64 = 86_400;

    #[test]
    fn ninety_days_are_renewed_at_sixty_or_a_little_before() {
        let validity = Validity {
            not_before: 0,
            not_after: 90 * DAY,
        };
        assert_eq!(renewal(validity, None, 0), 60 * DAY);
        assert_eq!(renewal(validity, None, u32::MAX), 57 * DAY);
    }

    #[test]
    fn the_issuers_window_counts_except_at_both_ends_of_a_life() {
        let validity = Validity {
            not_before: 0,
            not_after: 100 * DAY,
        };
        let at = |start, end, chance| {
            let window = Window {
                start: start * DAY,
                end: end * DAY,
            };
            renewal(validity, Some(window), chance)
        };
        assert_eq!(at(20, 22, 0), 20 * DAY);
        assert_eq!(at(20, 22, u32::MAX), 22 * DAY);
        assert_eq!(at(20, 22, u32::MAX / 2) / DAY, 20);
        // Passed: at once, but for a certificate that has just come.
        assert_eq!(at(-9, -8, 7), DAY);
        assert_eq!(at(300, 400, 7), 90 * DAY);
        assert_eq!(at(80, 95, u32::MAX), 90 * DAY);
    }

    #[test]
    fn pauses_grow_and_end_at_half_a_day() {
        let minutes: Vec<u64> = (1..8).map(|failures| pause(failures, 0).as_secs() / 60).collect();
        assert_eq!(minutes, [1, 4, 16, 64, 256, 720, 720]);
        assert_eq!(pause(1, u32::MAX).as_secs(), 72);
    }

    proptest! {
        #[test]
        fn a_renewal_is_within_the_life_and_never_early(before in 0_i64..4_000_000_000, life in 0_i64..400 * DAY, chance: u32) {
            let validity = Validity { not_before: before, not_after: before + life };
            let at = renewal(validity, None, chance);
            prop_assert!(at >= before + life / 3 * 2 - life / 30 && at <= validity.not_after);
        }

        #[test]
        fn whatever_an_issuer_suggests_is_within_the_life_and_not_at_its_ends(
            before in 0_i64..4_000_000_000, life in 100_i64..400 * DAY, start: i64, end: i64, chance: u32
        ) {
            let validity = Validity { not_before: before, not_after: before + life };
            let at = renewal(validity, Some(Window { start, end }), chance);
            prop_assert!(at >= before + life / 100 && at <= validity.not_after - life / 10);
        }

        #[test]
        fn no_pause_is_longer_than_its_limit_and_a_fifth(failures: u32, chance: u32) {
            let pause = pause(failures, chance);
            prop_assert!(pause >= PAUSE_FIRST && pause <= PAUSE_MAX + PAUSE_MAX / 5);
        }
    }
}
