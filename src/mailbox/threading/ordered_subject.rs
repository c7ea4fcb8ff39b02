//! THREAD=ORDEREDSUBJECT (RFC 5256 §3): messages of one base subject are a thread, the oldest its root, the others its
//! children.

use super::Entry;
use super::forest::Forest;
use crate::mailbox::budget::{Budget, Pace, Spent};

pub(super) async fn thread<P: Pace>(
    entries: Vec<Entry>,
    budget: &mut Budget<'_, P>,
) -> Result<Forest, Spent> {
    let sorted = budget
        .sort(entries, |a, b| {
            (&a.subject, a.sent, a.index).cmp(&(&b.subject, b.sent, b.index))
        })
        .await?;
    let mut forest = Forest::with_nodes(sorted.iter().map(|entry| Some(entry.index)).collect());
    let mut roots = Vec::new();
    let mut start = 0;
    for same in sorted.chunk_by(|a, b| a.subject == b.subject) {
        let root = node(start);
        start += same.len();
        forest.set_children(Some(root), root + 1..node(start));
        roots.push((same[0].sent, same[0].index, root));
        budget.step().await?;
    }
    budget.steps_done();
    let roots = budget.sort(roots, Ord::cmp).await?;
    forest.set_children(None, roots.into_iter().map(|(_, _, root)| root));
    Ok(forest)
}

fn node(at: usize) -> u32 {
    u32::try_from(at).expect("a view holds fewer than 2^32 messages")
}
