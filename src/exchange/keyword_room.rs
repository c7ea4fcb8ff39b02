//! Which keywords of a mailbox come in with its messages: the first that are named, as many as a mailbox may have.
//!
//! Not here: the bits they get (`store::state`, which would leave out the same and say nothing).

use crate::model::Keyword;
use crate::store::KEYWORDS_MAX;
use smallvec::SmallVec;

/// The keywords of one mailbox that came in so far.
#[derive(Debug, Default)]
pub struct KeywordRoom {
    known: Vec<Keyword>,
}

impl KeywordRoom {
    /// Of a message's keywords those that come in, and those that do not: for one there is no room, or it is none.
    pub fn admit<'a>(&mut self, named: &'a [String]) -> (SmallVec<[Keyword; 2]>, Vec<&'a str>) {
        let (mut kept, mut lost) = (SmallVec::new(), Vec::new());
        for text in named {
            match Keyword::of_old(text) {
                Ok(keyword) if self.has_room_for(&keyword) => kept.push(keyword),
                _ => lost.push(text.as_str()),
            }
        }
        (kept, lost)
    }

    fn has_room_for(&mut self, keyword: &Keyword) -> bool {
        if self.known.contains(keyword) {
            return true;
        }
        let has_room = self.known.len() < KEYWORDS_MAX;
        if has_room {
            self.known.push(keyword.clone());
        }
        has_room
    }
}
