//! The algorithms against written examples and against a naive reading of the RFC.

use super::*;
use crate::mailbox::budget::tests::TestPace;
use futures::executor::block_on;
use proptest::prelude::*;
use std::collections::HashMap;
use std::time::Duration;

/// A message: subject, seconds, own id, references.
type Letter<'a> = (&'a str, i64, u32, &'a [u32]);

/// `id` 0: none.
fn links_of(id: u32, references: &[u32]) -> Links {
    Links {
        id: (id > 0).then(|| IdHash::from(id)),
        references: references.iter().map(|n| IdHash::from(*n)).collect(),
    }
}

fn entry_of(index: usize, subject: &str, sent: i64) -> Entry {
    let (base, is_reply) = subject::base_of(subject);
    Entry {
        index,
        sent,
        subject: casemap::folded(&base).into_boxed_slice(),
        is_reply,
    }
}

fn forest(algorithm: ThreadAlgorithm, letters: &[Letter<'_>]) -> Forest {
    let pace = TestPace::new(Duration::from_nanos(1));
    let mut budget = Budget::new(&pace);
    block_on(async {
        let mut linker = references::Linker::default();
        let mut entries = Vec::new();
        for (index, (subject, sent, id, references)) in letters.iter().enumerate() {
            linker.add(&links_of(*id, references), &mut budget).await?;
            entries.push(entry_of(index, subject, *sent));
        }
        match algorithm {
            ThreadAlgorithm::OrderedSubject => ordered_subject::thread(entries, &mut budget).await,
            ThreadAlgorithm::References => linker.references(entries, &mut budget).await,
            ThreadAlgorithm::Refs => linker.refs(entries, &mut budget).await,
        }
    })
    .expect("within the budget")
}

fn written(forest: &Forest) -> String {
    let mut text = String::new();
    for part in forest.parts() {
        let is_behind_number = text.ends_with(|c: char| c.is_ascii_digit());
        if is_behind_number && part != Part::Close {
            text.push(' ');
        }
        match part {
            Part::Open => text.push('('),
            Part::Close => text.push(')'),
            Part::Message(index) => text.push_str(&(index + 1).to_string()),
        }
    }
    text
}

fn threads(algorithm: ThreadAlgorithm, letters: &[Letter<'_>]) -> String {
    written(&forest(algorithm, letters))
}

fn messages(forest: &Forest) -> Vec<usize> {
    let message = |part| match part {
        Part::Message(index) => Some(index),
        Part::Open | Part::Close => None,
    };
    let mut all: Vec<usize> = forest.parts().filter_map(message).collect();
    all.sort_unstable();
    all
}

#[test]
fn a_thread_list_is_written_as_the_rfc_shows_it() {
    // RFC 5256 §4: (2)(3 6 (4 23)(44 7 96)), here with the numbers made dense.
    let letters: &[Letter<'_>] = &[
        ("a", 1, 1, &[]),
        ("b", 2, 2, &[]),
        ("b", 3, 3, &[2]),
        ("b", 4, 4, &[2, 3]),
        ("b", 5, 5, &[2, 3, 4]),
        ("b", 6, 6, &[2, 3]),
        ("b", 7, 7, &[6]),
        ("b", 8, 8, &[7]),
    ];
    let expected = "(1)(2 3 (4 5)(6 7 8))";
    assert_eq!(threads(ThreadAlgorithm::References, letters), expected);
    assert_eq!(threads(ThreadAlgorithm::Refs, letters), expected);
}

#[test]
fn siblings_of_a_missing_parent_stand_together() {
    // RFC 5256 §4: ((3)(5)).
    let letters: &[Letter<'_>] = &[("x", 1, 1, &[9]), ("y", 2, 2, &[9]), ("z", 3, 3, &[8, 1])];
    assert_eq!(threads(ThreadAlgorithm::References, letters), "((1 3)(2))");
    // One message below several missing ones stands alone.
    let alone: &[Letter<'_>] = &[("x", 1, 1, &[7, 8, 9])];
    assert_eq!(threads(ThreadAlgorithm::References, alone), "(1)");
}

#[test]
fn subjects_join_threads_by_references_only() {
    let letters: &[Letter<'_>] = &[
        ("Re: apples", 1, 1, &[]),
        ("apples", 2, 2, &[]),
        ("pears", 3, 3, &[]),
        ("pears", 4, 4, &[]),
        ("", 5, 5, &[]),
        ("re:", 6, 6, &[]),
    ];
    assert_eq!(
        threads(ThreadAlgorithm::References, letters),
        "(2 1)((3)(4))(5)(6)"
    );
    assert_eq!(threads(ThreadAlgorithm::Refs, letters), "(1)(2)(3)(4)(5)(6)");
    assert_eq!(
        threads(ThreadAlgorithm::OrderedSubject, letters),
        "(1 2)(3 4)(5 6)"
    );
}

#[test]
fn the_oldest_leads_and_the_others_are_its_children() {
    let letters: &[Letter<'_>] = &[
        ("b", 5, 1, &[]),
        ("a", 9, 2, &[]),
        ("Re: B", 2, 3, &[]),
        ("b", 7, 4, &[]),
    ];
    assert_eq!(threads(ThreadAlgorithm::OrderedSubject, letters), "(3 (1)(4))(2)");
}

#[test]
fn refs_puts_the_thread_last_that_was_written_to_last() {
    let letters: &[Letter<'_>] = &[("a", 1, 1, &[]), ("b", 2, 2, &[]), ("Re: a", 3, 3, &[1])];
    assert_eq!(threads(ThreadAlgorithm::Refs, letters), "(2)(1 3)");
    assert_eq!(threads(ThreadAlgorithm::References, letters), "(1 3)(2)");
}

#[test]
fn circles_and_twice_used_ids_lose_nobody() {
    let circle: &[Letter<'_>] = &[
        ("a", 1, 1, &[2]),
        ("b", 2, 2, &[1]),
        ("c", 3, 3, &[3]),
        ("d", 4, 1, &[]),
    ];
    for algorithm in [ThreadAlgorithm::References, ThreadAlgorithm::Refs] {
        assert_eq!(messages(&forest(algorithm, circle)), [0, 1, 2, 3]);
    }
}

#[test]
fn hostile_references_lose_nobody_and_end() {
    // One chain as long as the mailbox, each message naming 40 others in knots.
    let count = 20_000_u32;
    let references = |n: u32| -> Vec<u32> {
        let knots = (1..40).map(|back| (n * 7 + back * back) % count + 1);
        knots.chain([n % count + 1]).collect()
    };
    let references: Vec<Vec<u32>> = (1..=count).map(references).collect();
    let letters: Vec<Letter<'_>> = (1..=count)
        .map(|n| ("x", i64::from(n), n, &references[n as usize - 1][..]))
        .collect();
    for algorithm in [ThreadAlgorithm::References, ThreadAlgorithm::Refs] {
        assert_eq!(messages(&forest(algorithm, &letters)).len(), count as usize);
    }
}

/// Steps (1) to (3) as they are written, walking up for every circle: each message's nearest ancestor with a message.
fn naive_parents(letters: &[(u32, Vec<u32>)]) -> Vec<Option<usize>> {
    let mut parents: HashMap<u64, u64> = HashMap::new();
    let mut message_of: HashMap<u64, usize> = HashMap::new();
    let mut keys = Vec::new();
    for (index, (id, references)) in letters.iter().enumerate() {
        let references: Vec<u64> = references.iter().map(|id| u64::from(*id)).collect();
        for pair in references.windows(2) {
            if !parents.contains_key(&pair[1]) && !is_circle(&parents, pair[1], pair[0]) {
                parents.insert(pair[1], pair[0]);
            }
        }
        let mut own = u64::from(*id);
        if *id == 0 || message_of.contains_key(&own) {
            own = 1_000_000 + index as u64;
        }
        message_of.insert(own, index);
        parents.remove(&own);
        if let Some(last) = references.last().filter(|last| !is_circle(&parents, own, **last)) {
            parents.insert(own, *last);
        }
        keys.push(own);
    }
    let nearest = |key: &u64| {
        let mut at = parents.get(key);
        while let Some(node) = at {
            if let Some(index) = message_of.get(node) {
                return Some(*index);
            }
            at = parents.get(node);
        }
        None
    };
    keys.iter().map(nearest).collect()
}

fn is_circle(parents: &HashMap<u64, u64>, child: u64, parent: u64) -> bool {
    let mut at = Some(parent);
    while let Some(node) = at {
        if node == child {
            return true;
        }
        at = parents.get(&node).copied();
    }
    false
}

proptest! {
    #[test]
    fn ancestors_are_those_of_the_rfc_read_naively(
        letters in proptest::collection::vec((0..9_u32, proptest::collection::vec(1..9_u32, 0..5)), 0..12),
    ) {
        let all: Vec<Letter<'_>> = letters.iter().map(|(id, references)| ("", 0, *id, &references[..])).collect();
        let forest = forest(ThreadAlgorithm::References, &all);
        let mut parents = vec![None; letters.len()];
        for node in 0..forest.first.len() {
            let mut child = forest.first[node];
            while child != forest::NONE {
                let index = forest.messages[child as usize].expect("dummies stand at the top only");
                parents[index] = forest.messages[node];
                child = forest.next[child as usize];
            }
        }
        prop_assert_eq!(messages(&forest).len(), letters.len());
        prop_assert_eq!(parents, naive_parents(&letters));
    }
}
