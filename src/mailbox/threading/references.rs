//! THREAD=REFERENCES (RFC 5256 §3) and THREAD=REFS (draft-ietf-morg-inthread: without subjects, threads in the order of
//! their newest message). Numbers of steps are the RFC's.
//!
//! Invariants: what is linked is a forest; a node without a message has children, and more than one at the top.

use super::forest::{Forest, NONE};
use super::link_cut::LinkCut;
use super::{Entry, IdHash, Links, THREAD_REFERENCES_MAX};
use crate::mailbox::budget::{Budget, Pace, Spent};
use std::collections::HashMap;

/// Nodes by message id, and who hangs from whom: step (1), message by message.
#[derive(Default)]
pub(super) struct Linker {
    nodes: HashMap<IdHash, u32>,
    parents: Vec<u32>,
    trees: LinkCut,
    /// The node of the n-th message added.
    messages: Vec<u32>,
    has_message: Vec<bool>,
    references: usize,
}

impl Linker {
    /// Adds the next message.
    pub async fn add<P: Pace>(&mut self, links: &Links, budget: &mut Budget<'_, P>) -> Result<(), Spent> {
        let mut references = &links.references[..];
        self.references += references.len();
        if self.references > THREAD_REFERENCES_MAX {
            references = &references[references.len().saturating_sub(1)..];
        }
        // (A)
        let mut parent = NONE;
        for id in references {
            let node = self.node_of(*id);
            if parent != NONE && self.parents[node as usize] == NONE {
                self.hang(node, parent);
            }
            parent = node;
            budget.step().await?;
        }
        // (B)
        let own = self.node_of_message(links.id);
        if self.parents[own as usize] != NONE {
            self.trees.cut(own);
            self.parents[own as usize] = NONE;
        }
        if parent != NONE {
            self.hang(own, parent);
        }
        Ok(())
    }

    fn new_node(&mut self) -> u32 {
        let node = u32::try_from(self.parents.len()).expect("bounded by messages and references");
        self.parents.push(NONE);
        self.has_message.push(false);
        self.trees.push();
        node
    }

    fn node_of(&mut self, id: IdHash) -> u32 {
        if let Some(known) = self.nodes.get(&id) {
            return *known;
        }
        let node = self.new_node();
        self.nodes.insert(id, node);
        node
    }

    /// A message without an id, or with one that a message before it has, gets a node nobody can refer to.
    fn node_of_message(&mut self, id: Option<IdHash>) -> u32 {
        let known = id.map(|id| self.node_of(id));
        let own = known
            .filter(|node| !self.has_message[*node as usize])
            .unwrap_or_else(|| self.new_node());
        self.has_message[own as usize] = true;
        self.messages.push(own);
        own
    }

    /// Hangs `child`, which has no parent, from `parent` unless that made a circle.
    fn hang(&mut self, child: u32, parent: u32) {
        if self.trees.root(parent) != child {
            self.trees.link(child, parent);
            self.parents[child as usize] = parent;
        }
    }

    pub async fn refs<P: Pace>(
        self,
        entries: Vec<Entry>,
        budget: &mut Budget<'_, P>,
    ) -> Result<Forest, Spent> {
        let mut threads = Threads::new(self, entries, budget).await?;
        threads.sort_below(budget).await?;
        let mut newest = vec![i64::MIN; threads.forest.first.len()];
        let dates = &threads.dates;
        let visit = |node: u32, top: u32| {
            newest[top as usize] = newest[top as usize].max(dates[node as usize].0);
        };
        threads.forest.depth_first(budget, visit).await?;
        let keys = threads.roots.iter().map(|root| {
            let (_, index) = threads.dates[*root as usize];
            (newest[*root as usize], index, *root)
        });
        let sorted = budget.sort(keys.collect(), Ord::cmp).await?;
        threads
            .forest
            .set_children(None, sorted.into_iter().map(|(_, _, root)| root));
        Ok(threads.forest)
    }

    pub async fn references<P: Pace>(
        self,
        entries: Vec<Entry>,
        budget: &mut Budget<'_, P>,
    ) -> Result<Forest, Spent> {
        let mut threads = Threads::new(self, entries, budget).await?;
        threads.sort_roots(budget).await?;
        threads.merge_subjects(budget).await?;
        threads.sort_below(budget).await?;
        threads.sort_roots(budget).await?;
        let roots = std::mem::take(&mut threads.roots);
        threads.forest.set_children(None, roots);
        Ok(threads.forest)
    }
}

/// The threads after step (3).
struct Threads {
    forest: Forest,
    roots: Vec<u32>,
    entries: Vec<Entry>,
    /// Which of `entries` a node is.
    entry_of: Vec<u32>,
    /// What a node is sorted by: of one without a message, its first child's.
    dates: Vec<(i64, usize)>,
}

impl Threads {
    /// (2), (3), and the dates for (4).
    async fn new<P: Pace>(
        linker: Linker,
        entries: Vec<Entry>,
        budget: &mut Budget<'_, P>,
    ) -> Result<Self, Spent> {
        let count = linker.parents.len();
        let mut entry_of = vec![NONE; count];
        let mut messages = vec![None; count];
        let mut dates = vec![(i64::MAX, usize::MAX); count];
        for (at, (node, entry)) in linker.messages.iter().zip(&entries).enumerate() {
            let node = *node as usize;
            entry_of[node] = u32::try_from(at).expect("a view holds fewer than 2^32 messages");
            messages[node] = Some(entry.index);
            dates[node] = (entry.sent, entry.index);
        }
        let mut threads = Self {
            forest: Forest::with_nodes(messages),
            roots: Vec::new(),
            entries,
            entry_of,
            dates,
        };
        threads.attach(&linker.parents, budget).await?;
        Ok(threads)
    }

    fn is_dummy(&self, node: u32) -> bool {
        self.entry_of[node as usize] == NONE
    }

    /// Gives each message its nearest ancestor that has one; under the topmost dummy go those that have none.
    async fn attach<P: Pace>(&mut self, parents: &[u32], budget: &mut Budget<'_, P>) -> Result<(), Spent> {
        // Where a node's children go: itself if it has a message, else where it goes itself; a dummy at the top is its own.
        let mut goes_to = vec![NONE; parents.len()];
        let mut way = Vec::new();
        for node in 0..number(parents.len()) {
            let mut at = node;
            while goes_to[at as usize] == NONE {
                let up = parents[at as usize];
                if !self.is_dummy(at) || up == NONE {
                    goes_to[at as usize] = at;
                    break;
                }
                way.push(at);
                at = up;
                budget.step().await?;
            }
            let to = goes_to[at as usize];
            for passed in way.drain(..) {
                goes_to[passed as usize] = to;
            }
            budget.step().await?;
        }
        for node in (0..number(parents.len())).rev() {
            budget.step().await?;
            if self.is_dummy(node) {
                continue;
            }
            let up = parents[node as usize];
            if up == NONE {
                self.roots.push(node);
                continue;
            }
            let parent = goes_to[up as usize] as usize;
            self.forest.next[node as usize] = self.forest.first[parent];
            self.forest.first[parent] = node;
        }
        for node in 0..number(parents.len()) {
            budget.step().await?;
            let first = self.forest.first[node as usize];
            if !self.is_dummy(node) || first == NONE {
                continue;
            }
            if self.forest.next[first as usize] == NONE {
                self.forest.first[node as usize] = NONE;
                self.roots.push(first);
            } else {
                self.roots.push(node);
                self.date_dummy(node);
            }
        }
        budget.steps_done();
        Ok(())
    }

    /// A dummy counts as its earliest child.
    fn date_dummy(&mut self, dummy: u32) {
        let mut child = self.forest.first[dummy as usize];
        let mut earliest = (i64::MAX, usize::MAX);
        while child != NONE {
            earliest = earliest.min(self.dates[child as usize]);
            child = self.forest.next[child as usize];
        }
        self.dates[dummy as usize] = earliest;
    }

    /// (4), and the top of (6).
    async fn sort_roots<P: Pace>(&mut self, budget: &mut Budget<'_, P>) -> Result<(), Spent> {
        let roots = std::mem::take(&mut self.roots);
        let dates = &self.dates;
        self.roots = budget
            .sort(roots, |a, b| {
                (dates[*a as usize], a).cmp(&(dates[*b as usize], b))
            })
            .await?;
        Ok(())
    }

    /// (6): siblings at every level below the top, which is put in the order of `roots`.
    async fn sort_below<P: Pace>(&mut self, budget: &mut Budget<'_, P>) -> Result<(), Spent> {
        for node in 0..number(self.forest.first.len()) {
            budget.step().await?;
            let mut children = Vec::new();
            let mut child = self.forest.first[node as usize];
            while child != NONE {
                children.push(child);
                child = self.forest.next[child as usize];
                budget.step().await?;
            }
            if children.len() < 2 {
                continue;
            }
            budget.steps_done();
            let dates = &self.dates;
            let sorted = budget
                .sort(children, |a, b| {
                    (dates[*a as usize], a).cmp(&(dates[*b as usize], b))
                })
                .await?;
            self.forest.set_children(Some(node), sorted);
        }
        budget.steps_done();
        let roots = self.roots.clone();
        self.forest.set_children(None, roots);
        Ok(())
    }

    /// The entry that gives a thread its subject: of a dummy, its first child's.
    fn subject_of(&self, root: u32) -> &Entry {
        let mut node = root;
        if self.is_dummy(root) {
            let mut child = self.forest.first[root as usize];
            node = child;
            while child != NONE {
                if self.dates[child as usize] < self.dates[node as usize] {
                    node = child;
                }
                child = self.forest.next[child as usize];
            }
        }
        &self.entries[self.entry_of[node as usize] as usize]
    }

    /// (5)
    async fn merge_subjects<P: Pace>(&mut self, budget: &mut Budget<'_, P>) -> Result<(), Spent> {
        // (A) to (B): which thread each subject is gathered in, and that thread's own subject's kind.
        let mut table: HashMap<Box<[u8]>, u32> = HashMap::new();
        let mut of_root = Vec::with_capacity(self.roots.len());
        for root in &self.roots {
            let entry = self.subject_of(*root);
            of_root.push((entry.subject.clone(), entry.is_reply));
            budget.step().await?;
        }
        for (root, (subject, is_reply)) in self.roots.iter().zip(&of_root) {
            budget.step().await?;
            if subject.is_empty() {
                continue;
            }
            let Some(known) = table.get_mut(subject) else {
                table.insert(subject.clone(), *root);
                continue;
            };
            let is_better = self.entry_of[*root as usize] == NONE || (self.is_reply(*known) && !is_reply);
            if self.entry_of[*known as usize] != NONE && is_better {
                *known = *root;
            }
        }
        // (C)
        let roots = std::mem::take(&mut self.roots);
        let mut left = Vec::with_capacity(roots.len());
        let mut gathered: HashMap<u32, u32> = HashMap::new();
        for (root, (subject, is_reply)) in roots.into_iter().zip(of_root) {
            budget.step().await?;
            let known = table.get(&subject).copied().filter(|_| !subject.is_empty());
            let Some(known) = known.filter(|known| *known != root) else {
                left.push(root);
                continue;
            };
            let into = gathered.get(&known).copied().unwrap_or(known);
            if self.is_dummy(into) && self.is_dummy(root) {
                self.take_children(root, into);
            } else if self.is_dummy(into) || (is_reply && !self.is_reply(into)) {
                self.adopt(into, root);
            } else {
                let dummy = self.new_dummy();
                self.adopt(dummy, into);
                self.adopt(dummy, root);
                gathered.insert(known, dummy);
            }
        }
        budget.steps_done();
        for root in left {
            self.roots.push(gathered.get(&root).copied().unwrap_or(root));
        }
        for root in self.roots.clone() {
            if self.is_dummy(root) {
                self.date_dummy(root);
            }
            budget.step().await?;
        }
        budget.steps_done();
        Ok(())
    }

    /// By its own subject; a dummy has none.
    fn is_reply(&self, node: u32) -> bool {
        let entry = self.entries.get(self.entry_of[node as usize] as usize);
        entry.is_some_and(|entry| entry.is_reply)
    }

    fn adopt(&mut self, parent: u32, child: u32) {
        self.forest.next[child as usize] = self.forest.first[parent as usize];
        self.forest.first[parent as usize] = child;
    }

    fn take_children(&mut self, from: u32, into: u32) {
        let mut child = std::mem::replace(&mut self.forest.first[from as usize], NONE);
        while child != NONE {
            let next = self.forest.next[child as usize];
            self.adopt(into, child);
            child = next;
        }
    }

    fn new_dummy(&mut self) -> u32 {
        let node = number(self.forest.first.len());
        self.forest.first.push(NONE);
        self.forest.next.push(NONE);
        self.forest.messages.push(None);
        self.entry_of.push(NONE);
        self.dates.push((i64::MAX, usize::MAX));
        node
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).expect("bounded by messages and references")
}
