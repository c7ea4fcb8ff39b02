//! LIST patterns (RFC 9051 §6.3.9): `*` matches anything, `%` anything within one level.
//!
//! Owns: matching, as a bit-parallel simulation of the pattern's states: time is name octets × pattern words, whatever
//! the pattern is; there is no backtracking for a hostile one to feed on.
//! Limits: a pattern with more literal octets than a name can have matches nothing and is not built.
//! Both are compared in NFC (RFC 5198 §3), in which a wildcard is composed with nothing.
//! `INBOX`, alone or as the first level of a name, matches in any case (RFC 9051 §5.1).
//! Not here: which names there are (`list`).

use crate::model::MailboxName;
use crate::model::mailbox_name::{HIERARCHY_DELIMITER, MAILBOX_NAME_BYTES_MAX, normalized};

const DELIMITER: u8 = HIERARCHY_DELIMITER as u8;
const WORD_BITS: usize = u64::BITS as usize;
const INBOX_BYTES: usize = "INBOX".len();

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Octet(u8),
    /// `%`
    Level,
    /// `*`
    Anything,
}

/// A pattern ready to be matched against many names.
#[derive(Debug)]
pub struct Pattern(Option<Automaton>);

/// State `i` is "the first `i` tokens have matched"; the last state accepts.
#[derive(Debug)]
struct Automaton {
    words: usize,
    accept: usize,
    /// Positions of `*`, of either wildcard.
    anything: Vec<u64>,
    wildcard: Vec<u64>,
    /// Index into `masks` of each octet; 0 is the empty mask.
    mask_of: Box<[u16; 256]>,
    masks: Vec<u64>,
}

impl Pattern {
    /// Compiles `reference` followed by `pattern`.
    #[must_use]
    pub fn new(reference: &str, pattern: &str) -> Self {
        let text = format!("{reference}{pattern}");
        let mut tokens = Vec::new();
        let mut literal_bytes = 0;
        for octet in normalized(&text).bytes() {
            let token = match octet {
                b'*' => Token::Anything,
                b'%' => Token::Level,
                other => Token::Octet(other),
            };
            match (tokens.last_mut(), token) {
                (_, Token::Octet(_)) => {
                    literal_bytes += 1;
                    tokens.push(token);
                }
                // A run of wildcards is one: the wider of them.
                (Some(last @ (Token::Anything | Token::Level)), _) => {
                    if token == Token::Anything {
                        *last = Token::Anything;
                    }
                }
                _ => tokens.push(token),
            }
        }
        let is_possible = literal_bytes <= MAILBOX_NAME_BYTES_MAX;
        Self(is_possible.then(|| Automaton::new(&tokens)))
    }

    /// What [`Self::matches`] costs: its name's octets × the pattern's words.
    #[must_use]
    pub fn steps(&self, name: &MailboxName) -> u64 {
        let words = self.0.as_ref().map_or(0, |automaton| automaton.words);
        ((name.as_str().len() + 1) * (words + 1)) as u64
    }

    /// True when the whole name matches.
    #[must_use]
    pub fn matches(&self, name: &MailboxName) -> bool {
        let Some(automaton) = &self.0 else { return false };
        automaton.matches(name.normalized().as_bytes())
    }
}

impl Automaton {
    fn new(tokens: &[Token]) -> Self {
        let words = (tokens.len() + 1).div_ceil(WORD_BITS);
        let mut new = Self {
            words,
            accept: tokens.len(),
            anything: vec![0; words],
            wildcard: vec![0; words],
            mask_of: Box::new([0; 256]),
            masks: vec![0; words],
        };
        for (index, token) in tokens.iter().enumerate() {
            let (word, bit) = (index / WORD_BITS, 1 << (index % WORD_BITS));
            match token {
                Token::Octet(octet) => {
                    let mask = new.mask_for(*octet);
                    new.masks[mask + word] |= bit;
                }
                Token::Level => new.wildcard[word] |= bit,
                Token::Anything => {
                    new.wildcard[word] |= bit;
                    new.anything[word] |= bit;
                }
            }
        }
        new
    }

    /// Where the mask of `octet` begins in `masks`, made if need be.
    fn mask_for(&mut self, octet: u8) -> usize {
        let slot = &mut self.mask_of[usize::from(octet)];
        if *slot == 0 {
            *slot = u16::try_from(self.masks.len() / self.words).expect("at most 257 masks");
            self.masks.resize(self.masks.len() + self.words, 0);
        }
        usize::from(*slot) * self.words
    }

    fn mask(&self, octet: u8) -> &[u64] {
        let at = usize::from(self.mask_of[usize::from(octet)]) * self.words;
        &self.masks[at..at + self.words]
    }

    fn matches(&self, name: &[u8]) -> bool {
        let mut states = vec![0_u64; self.words];
        states[0] = 1;
        self.pass_wildcards(&mut states);
        let is_inbox = name.starts_with(b"INBOX")
            && (name.len() == INBOX_BYTES || name.get(INBOX_BYTES) == Some(&DELIMITER));
        for (at, octet) in name.iter().copied().enumerate() {
            let folded = is_inbox && at < INBOX_BYTES;
            let other = if folded { octet.to_ascii_lowercase() } else { octet };
            self.step(&mut states, octet, other);
            if states.iter().all(|word| *word == 0) {
                return false;
            }
        }
        states[self.accept / WORD_BITS] & (1 << (self.accept % WORD_BITS)) != 0
    }

    /// Consumes one octet, which may also match as `other`.
    fn step(&self, states: &mut [u64], octet: u8, other: u8) {
        let (mask, mask_other) = (self.mask(octet), self.mask(other));
        let stays = if octet == DELIMITER {
            &self.anything
        } else {
            &self.wildcard
        };
        let mut carry = 0;
        for word in 0..self.words {
            let advancing = states[word] & (mask[word] | mask_other[word]);
            let staying = states[word] & stays[word];
            states[word] = (advancing << 1) | carry | staying;
            carry = advancing >> (WORD_BITS - 1);
        }
        self.pass_wildcards(states);
    }

    /// A wildcard also matches nothing. Runs were collapsed, so one step is the whole closure.
    fn pass_wildcards(&self, states: &mut [u64]) {
        let mut carry = 0;
        for (state, wildcard) in states.iter_mut().zip(&self.wildcard) {
            let passing = *state & wildcard;
            *state |= (passing << 1) | carry;
            carry = passing >> (WORD_BITS - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive(pattern: &[u8], name: &[u8]) -> bool {
        let Some((first, rest)) = pattern.split_first() else {
            return name.is_empty();
        };
        match first {
            b'*' => (0..=name.len()).any(|n| naive(rest, &name[n..])),
            b'%' => (0..=name.len())
                .take_while(|n| !name[..*n].contains(&b'/'))
                .any(|n| naive(rest, &name[n..])),
            octet => name
                .split_first()
                .is_some_and(|(head, tail)| head == octet && naive(rest, tail)),
        }
    }

    fn matches(pattern: &str, name: &str) -> bool {
        Pattern::new("", pattern).matches(&MailboxName::new(name).unwrap())
    }

    proptest! {
        #[test]
        fn agrees_with_the_naive_matcher(pattern in "[ab/%*]{0,9}", name in "[ab]{1,3}(/[ab]{1,3}){0,3}") {
            prop_assert_eq!(matches(&pattern, &name), naive(pattern.as_bytes(), name.as_bytes()));
        }

        #[test]
        fn agrees_across_word_boundaries(
            head in "[ab]{55,70}", tail in "[ab]{55,70}", wild in prop::sample::select(vec!["*", "%", "a*", "%b"]),
            middle in "(/[ab]{1,2}){0,2}",
        ) {
            let pattern = format!("{head}{wild}{tail}");
            for name in [format!("{head}{middle}b{tail}"), format!("{head}{tail}"), format!("{head}a{tail}")] {
                prop_assert_eq!(matches(&pattern, &name), naive(pattern.as_bytes(), name.as_bytes()));
            }
        }
    }

    #[test]
    fn inbox_matches_in_any_case_and_only_as_a_whole_level() {
        assert!(matches("inbox", "INBOX"));
        assert!(matches("iNb%", "INBOX"));
        assert!(matches("inbox/%", "INBOX/a"));
        assert!(!matches("inbox/A", "INBOX/a"));
        assert!(!matches("inboxes", "INBOXES"));
    }

    #[test]
    fn a_pattern_made_to_backtrack_is_answered_at_once() {
        let hostile = "%a*".repeat(330) + "b";
        let name = "a".repeat(MAILBOX_NAME_BYTES_MAX);
        assert!(!matches(&hostile, &name));
        assert!(!matches(&"a".repeat(70_000), &name));
    }
}
