//! THREAD and UID THREAD (RFC 5256 §3, §4).
//!
//! Limits: those of [`threading`]; the response is sent in pieces.
//! Not here: the algorithms (`mailbox::threading`).

use super::Services;
use super::link::Link;
use super::search::{number, stop_of};
use super::state::{Answered, Session};
use crate::mailbox::fuzzy::Reading;
use crate::mailbox::threading::{self, Part};
use crate::proto::imap::encode::push_number;
use crate::proto::imap::types::{Search, Tag, ThreadAlgorithm};
use crate::proto::imap::{Code, Completion};
use crate::session::pipe::Pipe;

/// Parts of the thread list written between two looks at the send buffer.
const PARTS_SLICE: usize = 4_096;

impl<S: Services> Session<S> {
    pub async fn thread<P: Pipe>(
        &mut self,
        link: &mut Link<P>,
        tag: &Tag,
        algorithm: ThreadAlgorithm,
        search: Search,
    ) -> Answered {
        let (found, _) = self.matching(link, tag, &search, Reading::Stems).await?;
        let view = &self.selected()?.view;
        let services = &*self.services;
        let threads = threading::thread(
            services.store(),
            self.owner.account.id,
            view,
            algorithm,
            &found.indexes,
            services,
        );
        let forest = threads.await.map_err(stop_of)?;
        link.out().extend_from_slice(b"* THREAD");
        let mut parts = forest.parts().peekable();
        if parts.peek().is_some() {
            link.out().push(b' ');
        }
        let mut is_behind_number = false;
        while parts.peek().is_some() {
            let out = link.out();
            for part in parts.by_ref().take(PARTS_SLICE) {
                if is_behind_number && part != Part::Close {
                    out.push(b' ');
                }
                is_behind_number = matches!(part, Part::Message(_));
                match part {
                    Part::Message(index) => {
                        push_number(u64::from(number(view.uids(), index, search.by_uid)), out);
                    }
                    Part::Open => out.push(b'('),
                    Part::Close => out.push(b')'),
                }
            }
            link.part_done(services).await?;
        }
        link.out().extend_from_slice(b"\r\n");
        let done = Completion::ok("THREAD completed");
        Ok(if found.has_gone && !search.by_uid {
            done.with_code(Code::ExpungeIssued)
        } else {
            done
        })
    }
}
