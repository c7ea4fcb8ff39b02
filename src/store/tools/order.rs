//! Which groups of a segment lie where they were written, when not all of them do.
//!
//! A write that went to another place, or two swapped blocks, leave a group where it does not belong, and its number says
//! only that it and the others cannot all be right. In their places are the most of them that ascend: a stray group
//! contradicts all that lie between its place and where it belongs, those contradict only it.
//! Invariants: a group whose first record is right where it lies (since format 2 records know their place) comes before all
//! whose is not; those count where they fit between.
//! Limits: `n log n` steps for `n` groups.
//! Not here: reading them (`walk`).

use std::collections::HashSet;

/// A group's header that was found.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Where, in the segment.
    pub offset: u64,
    /// Where the next group would begin.
    pub end: u64,
    /// Its number.
    pub sequence: u64,
    /// Its first record is right there.
    pub is_sure: bool,
}

/// The offsets of those of `found`, which ascend by offset, that are in place.
pub fn in_place(found: &[Candidate]) -> HashSet<u64> {
    let sure: Vec<Candidate> = found.iter().copied().filter(|group| group.is_sure).collect();
    let sure = longest_ascending(&sure);
    let mut next = sure.iter().peekable();
    let mut last = 0;
    let mut placed = HashSet::new();
    for group in found {
        let is_next = next.next_if(|next| next.offset == group.offset).is_some();
        let fits = |next: &&Candidate| group.sequence < next.sequence && group.end <= next.offset;
        let is_between = !group.is_sure && group.sequence > last && next.peek().is_none_or(fits);
        if is_next || is_between {
            placed.insert(group.offset);
            last = group.sequence;
        }
    }
    placed
}

/// The most of them whose numbers rise.
fn longest_ascending(groups: &[Candidate]) -> Vec<Candidate> {
    // Of the best chains of each length, the last of the one that ends lowest; and for each group the one before it.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(groups.len());
    for (index, group) in groups.iter().enumerate() {
        let length = ends.partition_point(|end| groups[*end].sequence < group.sequence);
        before.push(length.checked_sub(1).map(|shorter| ends[shorter]));
        if length == ends.len() {
            ends.push(index);
        } else {
            ends[length] = index;
        }
    }
    let mut chain = Vec::with_capacity(ends.len());
    let mut at = ends.last().copied();
    while let Some(index) = at {
        chain.push(groups[index]);
        at = before[index];
    }
    chain.reverse();
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers in the order of their places, a block each; those in `doubtful` do not begin right.
    fn placed(sequences: &[u64], doubtful: &[u64]) -> Vec<u64> {
        let group = |(index, sequence): (usize, &u64)| Candidate {
            offset: index as u64,
            end: index as u64 + 1,
            sequence: *sequence,
            is_sure: !doubtful.contains(sequence),
        };
        let found: Vec<Candidate> = sequences.iter().enumerate().map(group).collect();
        let placed = in_place(&found);
        let is_placed = |group: &&Candidate| placed.contains(&group.offset);
        found
            .iter()
            .filter(is_placed)
            .map(|group| group.sequence)
            .collect()
    }

    #[test]
    fn a_stray_group_is_out_of_place_and_not_all_others() {
        assert_eq!(placed(&[1, 2, 4, 5, 6, 3], &[]), [1, 2, 4, 5, 6]);
        assert_eq!(placed(&[9, 1, 2, 3, 4], &[]), [1, 2, 3, 4]);
        assert_eq!(placed(&[1, 7, 3, 4, 5, 6, 2, 8], &[]), [1, 3, 4, 5, 6, 8]);
        assert_eq!(placed(&[1, 2, 3], &[]), [1, 2, 3]);
        assert_eq!(placed(&[], &[]), [0; 0]);
    }

    #[test]
    fn a_group_that_knows_its_place_decides_where_numbers_do_not() {
        assert_eq!(placed(&[1, 3, 2], &[2]), [1, 3]);
        assert_eq!(placed(&[1, 3, 2], &[3]), [1, 2]);
        // Damaged where it belongs.
        assert_eq!(placed(&[1, 2, 3, 4], &[2, 3]), [1, 2, 3, 4]);
        assert_eq!(placed(&[1, 2, 9, 4], &[9]), [1, 2, 4]);
    }

    #[test]
    fn a_doubtful_group_does_not_cover_one_that_is_sure() {
        let group = |offset, end, sequence, is_sure| Candidate {
            offset,
            end,
            sequence,
            is_sure,
        };
        let found = [group(1, 2, 1, true), group(2, 9, 2, false), group(3, 4, 3, true)];
        assert_eq!(in_place(&found), HashSet::from([1, 3]));
    }
}
