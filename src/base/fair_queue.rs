//! A queue that many share fairly: each has a share of its own, and whoever takes goes round the shares.
//!
//! Invariants: a share's own items come in the order they were put; while a share has something waiting, no other is taken
//! from twice before it; an item that nobody awaits any more is never given, and costs its share no turn; a share is known
//! only as long as it has something here.
//! Limits: [`Bounds`], the caller's. When all places are taken, the share with the most gives up its newest item to one that
//! has at least two fewer: so whoever has nothing here is refused only when no share has more than one item.
//! Standards: the round is that of RFC 970, the newest of the longest is "buffer stealing" (McKenney, *Stochastic Fairness
//! Queueing*, 1990).
//! Not here: locks, waiting, time (`runtime::compute`).

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// What may lose its reason while it waits.
pub trait Awaited {
    /// Whether somebody still wants it.
    fn is_awaited(&self) -> bool;
}

/// How many items may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Of one share.
    pub share: usize,
    /// Of all shares together; not zero.
    pub all: usize,
}

/// Items in shares named by `K`.
#[derive(Debug)]
pub struct FairQueue<K, T> {
    bounds: Bounds,
    /// None is empty.
    shares: HashMap<K, VecDeque<T>>,
    /// The keys of `shares`, each once, in the order of their turns.
    turns: VecDeque<K>,
    len: usize,
}

impl<K: Copy + Eq + Hash, T: Awaited> FairQueue<K, T> {
    /// An empty one.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            shares: HashMap::new(),
            turns: VecDeque::new(),
            len: 0,
        }
    }

    /// Items that wait, with those that nobody awaits and nobody has noticed yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts an item behind the others of its share. Comes back: the item that has no place for it, this one or another.
    ///
    /// Takes time for every item of the share or of all only where that is at its bound.
    #[must_use]
    pub fn put(&mut self, share: K, item: T) -> Option<T> {
        if self.len_of(share) >= self.bounds.share {
            self.forget_unawaited_of(share);
        }
        if self.len >= self.bounds.all {
            self.forget_unawaited();
        }
        let own = self.len_of(share);
        if own >= self.bounds.share {
            return Some(item);
        }
        let mut displaced = None;
        if self.len >= self.bounds.all {
            let longest = self.longest().filter(|&longest| self.len_of(longest) > own + 1);
            let Some(longest) = longest else { return Some(item) };
            displaced = self.shares.get_mut(&longest).and_then(VecDeque::pop_back);
            self.len -= 1;
        }
        let items = self.shares.entry(share).or_default();
        if items.is_empty() {
            self.turns.push_back(share);
        }
        items.push_back(item);
        self.len += 1;
        displaced
    }

    /// Takes the oldest item that somebody awaits, of the share whose turn it is.
    pub fn take(&mut self) -> Option<T> {
        while let Some(share) = self.turns.pop_front() {
            let items = self.shares.get_mut(&share)?;
            let before = items.len();
            let unawaited = items.iter().take_while(|item| !item.is_awaited()).count();
            items.drain(..unawaited);
            let taken = items.pop_front();
            self.len -= before - items.len();
            if items.is_empty() {
                self.shares.remove(&share);
            } else {
                self.turns.push_back(share);
            }
            if taken.is_some() {
                return taken;
            }
        }
        None
    }

    fn len_of(&self, share: K) -> usize {
        self.shares.get(&share).map_or(0, VecDeque::len)
    }

    /// Of those with equally many, the one whose turn is last.
    fn longest(&self) -> Option<K> {
        self.turns.iter().copied().max_by_key(|&share| self.len_of(share))
    }

    fn forget_unawaited(&mut self) {
        self.shares.retain(|_, items| {
            items.retain(Awaited::is_awaited);
            !items.is_empty()
        });
        self.turns.retain(|turn| self.shares.contains_key(turn));
        self.len = self.shares.values().map(VecDeque::len).sum();
    }

    fn forget_unawaited_of(&mut self, share: K) {
        let Some(items) = self.shares.get_mut(&share) else {
            return;
        };
        let before = items.len();
        items.retain(Awaited::is_awaited);
        self.len -= before - items.len();
        if items.is_empty() {
            self.shares.remove(&share);
            self.turns.retain(|&turn| turn != share);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;
    use std::rc::Rc;

    const SHARES: u8 = 5;
    const BOUNDS: Bounds = Bounds { share: 4, all: 9 };

    #[derive(Clone, Debug)]
    struct Item {
        share: u8,
        number: usize,
        is_awaited: Rc<Cell<bool>>,
    }

    impl Awaited for Item {
        fn is_awaited(&self) -> bool {
            self.is_awaited.get()
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Put(u8),
        Take,
        /// Whoever awaited the item of this number (of those put so far) goes.
        Leave(prop::sample::Index),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            5 => (0..SHARES).prop_map(Step::Put),
            3 => Just(Step::Take),
            1 => any::<prop::sample::Index>().prop_map(Step::Leave),
        ];
        prop::collection::vec(step, 0..200)
    }

    /// What waits, as a plain list, and what every queue owes it.
    #[derive(Default)]
    struct Model {
        put: Vec<Item>,
        waiting: Vec<Item>,
        /// The shares that were taken from, the latest last.
        served: Vec<u8>,
    }

    impl Model {
        fn awaited_of(&self, share: u8) -> usize {
            let of_share = self.waiting.iter().filter(|item| item.share == share);
            of_share.filter(|item| item.is_awaited()).count()
        }

        fn remove(&mut self, item: &Item) {
            self.waiting.retain(|waiting| waiting.number != item.number);
        }

        fn put(&mut self, queue: &mut FairQueue<u8, Item>, share: u8) {
            let item = Item {
                share,
                number: self.put.len(),
                is_awaited: Rc::new(Cell::new(true)),
            };
            self.put.push(item.clone());
            let own = self.awaited_of(share);
            let most = (0..SHARES).map(|of| self.awaited_of(of)).max().unwrap_or(0);
            let all: usize = (0..SHARES).map(|of| self.awaited_of(of)).sum();
            let refused = queue.put(share, item.clone());
            self.waiting.push(item.clone());
            let Some(refused) = refused else { return };
            assert!(refused.is_awaited(), "nobody is told of what nobody awaits");
            self.remove(&refused);
            if refused.number == item.number {
                assert!(own >= BOUNDS.share || (all >= BOUNDS.all && most <= own + 1));
            } else {
                assert!(all >= BOUNDS.all, "nothing is displaced while there is room");
                let newer = self.waiting.iter().any(|other| {
                    other.share == refused.share && other.number > refused.number && other.is_awaited()
                });
                assert!(!newer, "the newest goes");
                assert!(self.awaited_of(refused.share) > own, "of whoever has more");
            }
        }

        fn take(&mut self, queue: &mut FairQueue<u8, Item>) {
            let Some(taken) = queue.take() else {
                assert!(
                    self.waiting.iter().all(|item| !item.is_awaited()),
                    "nothing is lost"
                );
                self.waiting.clear();
                return;
            };
            assert!(taken.is_awaited());
            let older = self
                .waiting
                .iter()
                .any(|item| item.share == taken.share && item.number < taken.number && item.is_awaited());
            assert!(!older, "one share's items come in order");
            self.served.push(taken.share);
            self.remove(&taken);
        }
    }

    proptest! {
        #[test]
        fn items_come_in_order_within_bounds_and_only_to_those_who_wait(steps in steps()) {
            let mut queue = FairQueue::new(BOUNDS);
            let mut model = Model::default();
            for step in steps {
                match step {
                    Step::Put(share) => model.put(&mut queue, share),
                    Step::Take => model.take(&mut queue),
                    Step::Leave(index) if !model.put.is_empty() => index.get(&model.put).is_awaited.set(false),
                    Step::Leave(_) => {}
                }
                prop_assert!(queue.len() <= BOUNDS.all);
                prop_assert!((0..SHARES).all(|share| queue.len_of(share) <= BOUNDS.share));
                let sum: usize = queue.shares.values().map(VecDeque::len).sum();
                prop_assert_eq!(queue.len(), sum);
                prop_assert!(queue.shares.values().all(|items| !items.is_empty()));
                prop_assert_eq!(queue.turns.len(), queue.shares.len());
                prop_assert!(queue.turns.iter().all(|share| queue.shares.contains_key(share)));
            }
            while !queue.is_empty() {
                model.take(&mut queue);
            }
            prop_assert!(model.waiting.iter().all(|item| !item.is_awaited()));
        }

        /// Nobody starves: while a share waits, each other one is served once at the most.
        #[test]
        fn a_share_that_waits_is_served_before_another_is_served_twice(steps in steps()) {
            let mut queue = FairQueue::new(BOUNDS);
            let mut model = Model::default();
            // For each share that waits, how many were served since it began to, or since its last turn.
            let mut passed: HashMap<u8, Vec<u8>> = HashMap::new();
            for step in steps {
                match step {
                    Step::Put(share) => model.put(&mut queue, share),
                    Step::Take => model.take(&mut queue),
                    // Shares that come and go are the other test's.
                    Step::Leave(_) => continue,
                }
                if let Some(served) = model.served.pop() {
                    passed.remove(&served);
                    for others in passed.values_mut() {
                        prop_assert!(!others.contains(&served), "{} twice", served);
                        others.push(served);
                    }
                }
                for share in 0..SHARES {
                    match model.awaited_of(share) {
                        0 => drop(passed.remove(&share)),
                        _ => drop(passed.entry(share).or_default()),
                    }
                }
            }
        }
    }

    #[test]
    fn one_who_comes_late_is_taken_next_but_one_and_never_refused_for_others() {
        let item = |share, number| Item {
            share,
            number,
            is_awaited: Rc::new(Cell::new(true)),
        };
        let mut queue = FairQueue::new(Bounds { share: 300, all: 300 });
        for number in 0..300 {
            assert!(queue.put(1, item(1, number)).is_none());
        }
        let displaced = queue.put(2, item(2, 300)).expect("there is one too many");
        assert_eq!(
            (displaced.share, displaced.number),
            (1, 299),
            "the newest of the longest"
        );
        let taken: Vec<u8> = (0..3)
            .filter_map(|_| queue.take())
            .map(|item| item.share)
            .collect();
        assert_eq!(taken, [1, 2, 1]);
    }
}
