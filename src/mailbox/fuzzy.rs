//! SEARCH=FUZZY (RFC 6203): what "nearly" means here, and how well a message matches.
//!
//! Owns: three readings of the keys inside FUZZY. *Exact*: as without it. *Words*: each word of the text occurs, in any
//! order. *Stems*: each word occurs without its ending (the last two letters of a word of five or more). Each reading
//! finds all that the one before it finds; a message is found by FUZZY if it matches by stems, and its score says which
//! reading was the first to find it ([`SCORES`]). Misspellings are not found.
//! Invariants: keys that are not texts mean what they say; below NOT nothing is loosened, or it would exclude more.
//! Limits: `WORDS_MAX` words of a text; the others need not occur.
//! Not here: running the readings (`session::imap::search`).

use crate::proto::imap::types::SearchKey;

/// Scores by reading, best first: exact, words, stems (RFC 6203 §4: 1 to 100).
pub const SCORES: [u8; 3] = [100, 70, 40];

/// Words of one text that must occur.
const WORDS_MAX: usize = 16;

/// Letters from which on a word has an ending.
const STEM_LETTERS_MIN: usize = 5;

/// Letters of an ending.
const ENDING_LETTERS: usize = 2;

/// How texts inside FUZZY are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    Exact,
    Words,
    Stems,
}

/// The scores of what was found.
#[derive(Debug, Default)]
pub struct Scores {
    /// Ascending.
    indexes: Vec<usize>,
    scores: Vec<u8>,
}

impl Scores {
    /// Of `indexes`, ascending, found by stems.
    #[must_use]
    pub fn new(indexes: &[usize]) -> Self {
        Self {
            indexes: indexes.to_vec(),
            scores: vec![SCORES[2]; indexes.len()],
        }
    }

    /// Notes what a better reading found.
    pub fn raise(&mut self, indexes: &[usize], reading: Reading) {
        let score = match reading {
            Reading::Exact => SCORES[0],
            Reading::Words => SCORES[1],
            Reading::Stems => SCORES[2],
        };
        for index in indexes {
            if let Ok(at) = self.indexes.binary_search(index) {
                self.scores[at] = score;
            }
        }
    }

    /// Of one message; the lowest for one that has none.
    #[must_use]
    pub fn of(&self, index: usize) -> u8 {
        let at = self.indexes.binary_search(&index).ok();
        at.map_or(1, |at| self.scores[at])
    }
}

/// True when FUZZY is among the keys.
#[must_use]
pub fn is_fuzzy(keys: &[SearchKey]) -> bool {
    keys.iter().any(|key| match key {
        SearchKey::Fuzzy(_) => true,
        SearchKey::Not(key) => is_fuzzy(std::slice::from_ref(key)),
        SearchKey::Or(a, b) => is_fuzzy(std::slice::from_ref(a)) || is_fuzzy(std::slice::from_ref(b)),
        SearchKey::And(keys) => is_fuzzy(keys),
        _ => false,
    })
}

/// The keys with what FUZZY says spelt out in this reading.
#[must_use]
pub fn read(keys: &[SearchKey], reading: Reading) -> Vec<SearchKey> {
    keys.iter().map(|key| outside(key, reading)).collect()
}

fn outside(key: &SearchKey, reading: Reading) -> SearchKey {
    let boxed = |key: &SearchKey| Box::new(outside(key, reading));
    match key {
        SearchKey::Fuzzy(key) => inside(key, reading),
        SearchKey::Or(a, b) => SearchKey::Or(boxed(a), boxed(b)),
        SearchKey::And(keys) => SearchKey::And(read(keys, reading)),
        other => other.clone(),
    }
}

fn inside(key: &SearchKey, reading: Reading) -> SearchKey {
    let boxed = |key: &SearchKey| Box::new(inside(key, reading));
    match key {
        SearchKey::Fuzzy(key) => inside(key, reading),
        SearchKey::Or(a, b) => SearchKey::Or(boxed(a), boxed(b)),
        SearchKey::And(keys) => SearchKey::And(keys.iter().map(|key| inside(key, reading)).collect()),
        SearchKey::From(text) => loosened(text, reading, SearchKey::From),
        SearchKey::To(text) => loosened(text, reading, SearchKey::To),
        SearchKey::Cc(text) => loosened(text, reading, SearchKey::Cc),
        SearchKey::Bcc(text) => loosened(text, reading, SearchKey::Bcc),
        SearchKey::Subject(text) => loosened(text, reading, SearchKey::Subject),
        SearchKey::Body(text) => loosened(text, reading, SearchKey::Body),
        SearchKey::Text(text) => loosened(text, reading, SearchKey::Text),
        SearchKey::Header { field, text } => loosened(text, reading, |text| SearchKey::Header {
            field: field.clone(),
            text,
        }),
        other => other.clone(),
    }
}

/// Words are cut at white space and ASCII punctuation, which every charset of SEARCH but the UTF-16s has in ASCII's place.
fn loosened(text: &[u8], reading: Reading, key: impl Fn(Vec<u8>) -> SearchKey) -> SearchKey {
    if reading == Reading::Exact {
        return key(text.to_vec());
    }
    let words = text.split(|b| b.is_ascii_whitespace() || b.is_ascii_punctuation());
    let words = words.filter(|word| !word.is_empty()).take(WORDS_MAX);
    let keys: Vec<SearchKey> = words
        .map(|word| match reading {
            Reading::Stems => key(stem(word).to_vec()),
            Reading::Exact | Reading::Words => key(word.to_vec()),
        })
        .collect();
    if keys.is_empty() {
        return key(text.to_vec());
    }
    SearchKey::And(keys)
}

/// A word of letters without its ending; a word with anything but ASCII letters in it stays as it is, because a cut could
/// fall inside a character.
fn stem(word: &[u8]) -> &[u8] {
    let has_ending = word.len() >= STEM_LETTERS_MIN && word.iter().all(u8::is_ascii_alphabetic);
    &word[..word.len() - if has_ending { ENDING_LETTERS } else { 0 }]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(text: &str) -> SearchKey {
        SearchKey::Subject(text.as_bytes().to_vec())
    }

    #[test]
    fn readings_loosen_texts_and_nothing_else() {
        let keys = [
            SearchKey::Fuzzy(Box::new(subject("Cooking, apples"))),
            subject("two words"),
            SearchKey::Fuzzy(Box::new(SearchKey::Not(Box::new(subject("not this"))))),
            SearchKey::Fuzzy(Box::new(SearchKey::Larger(5))),
        ];
        assert!(is_fuzzy(&keys) && !is_fuzzy(&keys[1..2]));
        let rest = [
            subject("two words"),
            SearchKey::Not(Box::new(subject("not this"))),
            SearchKey::Larger(5),
        ];
        for (reading, first) in [
            (Reading::Exact, subject("Cooking, apples")),
            (
                Reading::Words,
                SearchKey::And(vec![subject("Cooking"), subject("apples")]),
            ),
            (
                Reading::Stems,
                SearchKey::And(vec![subject("Cooki"), subject("appl")]),
            ),
        ] {
            let read = read(&keys, reading);
            assert_eq!(read[0], first);
            assert_eq!(read[1..], rest);
        }
    }

    #[test]
    fn a_text_without_words_stays() {
        assert_eq!(inside(&subject("--"), Reading::Stems), subject("--"));
    }
}
