//! A forest of messages, and how it is written.
//!
//! Invariants: nothing here recurses: a thread may be as deep as the mailbox is long.

use crate::mailbox::budget::{Budget, Pace, Spent};

/// No node.
pub(super) const NONE: u32 = u32::MAX;

/// Threads in their order. Nodes are numbered; a node without a message stands for one that is not in the mailbox.
#[derive(Debug, Default)]
pub struct Forest {
    /// Indexes of the view, by node.
    pub(super) messages: Vec<Option<usize>>,
    /// The first child and the next sibling, by node.
    pub(super) first: Vec<u32>,
    pub(super) next: Vec<u32>,
    /// The first thread.
    pub(super) top: Option<u32>,
}

/// What stands in a thread list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Open,
    Close,
    /// An index of the view.
    Message(usize),
}

impl Forest {
    /// A forest of `nodes` nodes without relations.
    pub(super) fn with_nodes(messages: Vec<Option<usize>>) -> Self {
        Self {
            first: vec![NONE; messages.len()],
            next: vec![NONE; messages.len()],
            messages,
            top: None,
        }
    }

    /// Makes `children`, in this order, the children of `parent`, or the threads.
    pub(super) fn set_children(&mut self, parent: Option<u32>, children: impl IntoIterator<Item = u32>) {
        let mut last = None;
        for child in children {
            self.next[child as usize] = NONE;
            match (last, parent) {
                (Some(last), _) => self.next[last as usize] = child,
                (None, Some(parent)) => self.first[parent as usize] = child,
                (None, None) => self.top = Some(child),
            }
            last = Some(child);
        }
    }

    /// Hands out the thread list (RFC 5256 §4, `thread-list`) part by part.
    #[must_use]
    pub fn parts(&self) -> Parts<'_> {
        Parts {
            forest: self,
            steps: self.top.map(Step::Thread).into_iter().collect(),
        }
    }

    /// Counts the messages of each thread that is kept: used where threads are only looked over.
    pub(super) async fn depth_first<P: Pace>(
        &self,
        budget: &mut Budget<'_, P>,
        mut visit: impl FnMut(u32, u32),
    ) -> Result<(), Spent> {
        let mut stack: Vec<(u32, u32)> = Vec::new();
        let mut thread = self.top.unwrap_or(NONE);
        while thread != NONE {
            stack.push((thread, thread));
            while let Some((node, top)) = stack.pop() {
                visit(node, top);
                let mut child = self.first[node as usize];
                while child != NONE {
                    stack.push((child, top));
                    child = self.next[child as usize];
                }
                budget.step().await?;
            }
            thread = self.next[thread as usize];
        }
        budget.steps_done();
        Ok(())
    }
}

#[derive(Debug)]
enum Step {
    /// A parenthesised member and its siblings.
    Thread(u32),
    /// What stands inside the parentheses from this node on.
    Inside(u32),
    Close,
}

/// See [`Forest::parts`].
#[derive(Debug)]
pub struct Parts<'f> {
    forest: &'f Forest,
    steps: Vec<Step>,
}

impl Iterator for Parts<'_> {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        loop {
            match self.steps.pop()? {
                Step::Close => return Some(Part::Close),
                Step::Thread(node) => {
                    let next = self.forest.next[node as usize];
                    if next != NONE {
                        self.steps.push(Step::Thread(next));
                    }
                    self.steps.push(Step::Close);
                    self.steps.push(Step::Inside(node));
                    return Some(Part::Open);
                }
                Step::Inside(node) => {
                    let first = self.forest.first[node as usize];
                    if first != NONE {
                        let is_only = self.forest.next[first as usize] == NONE;
                        self.steps.push(if is_only {
                            Step::Inside(first)
                        } else {
                            Step::Thread(first)
                        });
                    }
                    if let Some(index) = self.forest.messages[node as usize] {
                        return Some(Part::Message(index));
                    }
                }
            }
        }
    }
}
