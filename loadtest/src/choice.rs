//! Which account a message goes to and how long it is: drawn from the message's number alone, so that a run can be repeated and
//! needs no state.
//!
//! Accounts: uniform, or by Zipf's law (account k with weight 1/k^s), as real mail is: a few get much, most get little.
//! Sizes: one for all, or the mix of `MIX`.

/// Sizes of inbound mail and how many of a thousand have each: about 60 KiB on average, half of them below 8 KiB, as mailbox
/// studies find (many notifications, some newsletters, few attachments that make up most of the octets).
pub const MIX: [(usize, u32); 7] = [
    (2 * 1024, 200),
    (6 * 1024, 300),
    (16 * 1024, 250),
    (48 * 1024, 150),
    (150 * 1024, 70),
    (600 * 1024, 25),
    (4 * 1024 * 1024, 5),
];

/// How accounts are chosen.
#[derive(Clone, Debug)]
pub enum Accounts {
    Uniform(u64),
    /// Cumulative weights, rising to 1.
    Zipf(std::sync::Arc<[f64]>),
}

impl Accounts {
    /// `exponent` 0 is uniform.
    pub fn new(count: u64, exponent: f64) -> Accounts {
        if exponent <= 0.0 {
            return Accounts::Uniform(count);
        }
        let mut sum = 0.0;
        let mut cumulative: Vec<f64> = (1..=count)
            .map(|rank| {
                sum += (rank as f64).powf(-exponent);
                sum
            })
            .collect();
        cumulative.iter_mut().for_each(|weight| *weight /= sum);
        Accounts::Zipf(cumulative.into())
    }

    pub fn count(&self) -> u64 {
        match self {
            Accounts::Uniform(count) => *count,
            Accounts::Zipf(cumulative) => cumulative.len() as u64,
        }
    }

    /// The first account of message `number`, from 0.
    pub fn pick(&self, number: u64) -> u64 {
        let random = scatter(number);
        match self {
            Accounts::Uniform(count) => random % count,
            Accounts::Zipf(cumulative) => {
                let share = fraction(random);
                let rank = cumulative.partition_point(|weight| *weight < share);
                rank.min(cumulative.len() - 1) as u64
            }
        }
    }
}

/// Which of `MIX` message `number` is.
pub fn size_index(number: u64) -> usize {
    // Apart from the choice of the account, or some accounts would get the long ones only.
    let mut point = (scatter(number ^ 0x5151_5151_5151_5151) % 1_000) as u32;
    for (index, (_, share)) in MIX.iter().enumerate() {
        if point < *share {
            return index;
        }
        point -= share;
    }
    0
}

fn fraction(random: u64) -> f64 {
    (random >> 11) as f64 / (1u64 << 53) as f64
}

/// Spreads consecutive numbers evenly (splitmix64's finish).
fn scatter(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zipf_gives_the_first_account_its_share() {
        let accounts = Accounts::new(100, 1.0);
        let first = (0..100_000).filter(|number| accounts.pick(*number) == 0).count();
        // 1 / H(100) = 0.193.
        assert!((18_500..20_100).contains(&first), "{first}");
        assert!((0..100_000).all(|number| accounts.pick(number) < 100));
    }

    #[test]
    fn every_account_gets_mail_when_uniform() {
        let accounts = Accounts::new(50, 0.0);
        let mut seen = [false; 50];
        (0..5_000).for_each(|number| seen[accounts.pick(number) as usize] = true);
        assert!(seen.iter().all(|seen| *seen));
    }

    #[test]
    fn the_mix_is_a_whole_and_drawn_as_told() {
        assert_eq!(MIX.iter().map(|(_, share)| share).sum::<u32>(), 1_000);
        let small = (0..100_000).filter(|number| size_index(*number) == 0).count();
        assert!((19_000..21_000).contains(&small), "{small}");
    }
}
