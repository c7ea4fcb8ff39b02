//! ESEARCH (RFC 7377): a search in several mailboxes, one response for each that has matches.
//!
//! Invariants: mailboxes come in the order of their names, each once, however many sources name it; one that does not
//! exist, or goes away meanwhile, is passed over; the selected one is searched as the session sees it. Nothing is told of
//! other mailboxes, and no message of theirs becomes anything but searched.
//! UPDATE keeps the result of the selected mailbox up to date and no other (§2.1); it is answered `NO [NOUPDATE …]` (RFC
//! 5267 §4.3.1) where the selected mailbox is not searched.
//! Limits: the budget of a search, for each mailbox.
//! Not here: the search in one mailbox (`search`).

use super::Services;
use super::context::push_no_update;
use super::link::Link;
use super::state::{Answered, Selected, Session, Stop, mailbox_gone};
use crate::mailbox::view::View;
use crate::model::{MailboxId, MailboxName};
use crate::proto::imap::types::{MailboxFilter, ReturnOptions, Search, SearchKey, Tag};
use crate::proto::imap::{Completion, Status};
use crate::session::pipe::Pipe;

impl<S: Services> Session<S> {
    pub async fn multi_search<P: Pipe>(
        &mut self,
        link: &mut Link<P>,
        tag: &Tag,
        sources: &[MailboxFilter],
        search: &Search,
    ) -> Answered {
        let wants_selected = sources.is_empty() || sources.iter().any(MailboxFilter::is_of_selected);
        if wants_selected && self.selected.is_none() {
            return Ok(Completion::bad("No mailbox is selected"));
        }
        // RFC 7377 §2.1: it is of the selected mailbox.
        if search.return_options.is_some_and(|options| options.update) && self.selected.is_none() {
            return Ok(Completion::bad("No mailbox is selected"));
        }
        let mailboxes = self.searched_mailboxes(sources, wants_selected)?;
        let updates = self.updates_selected(tag, search, &mailboxes, link.out())?;
        if search.keys.iter().any(SearchKey::names_mod_seq) {
            // Here, while the selected mailbox is what it tells of.
            self.enable_condstore(link.out());
        }
        let mut worst = None;
        for (name, id) in mailboxes {
            let is_updated = updates == Some(id);
            let ended = self
                .search_mailbox(link, tag, (search, is_updated), (&name, id))
                .await?;
            // A part of one mailbox (RFC 9738), or what could not be searched, is part of the whole answer.
            let is_whole = ended.status == Status::Ok && ended.code.is_none();
            if !is_whole {
                worst.get_or_insert(ended);
            }
        }
        Ok(worst.unwrap_or_else(|| Completion::ok("ESEARCH completed")))
    }

    /// The selected mailbox, if its result is to be kept up to date and can be.
    fn updates_selected(
        &self,
        tag: &Tag,
        search: &Search,
        mailboxes: &[(MailboxName, MailboxId)],
        out: &mut Vec<u8>,
    ) -> Result<Option<MailboxId>, Stop> {
        let Some(selected) = &self.selected else {
            return Ok(None);
        };
        let selected = selected.view.mailbox();
        if !self.may_update(tag, search, out)? {
            return Ok(None);
        }
        if !mailboxes.iter().any(|(_, id)| *id == selected) {
            push_no_update(tag, "Only the selected mailbox's result is updated", out);
            return Ok(None);
        }
        Ok(Some(selected))
    }

    fn searched_mailboxes(
        &self,
        sources: &[MailboxFilter],
        wants_selected: bool,
    ) -> Result<Vec<(MailboxName, MailboxId)>, Stop> {
        let selected = self.selected.as_ref().map(|selected| selected.view.mailbox());
        let selected = selected.filter(|_| wants_selected);
        let mut sources = sources.to_vec();
        sources.iter_mut().for_each(MailboxFilter::normalize);
        self.with_account(|account| {
            let is_meant = |(name, id): &(&MailboxName, &MailboxId)| {
                let is_subscribed = account.is_subscribed(name);
                selected == Some(**id) || sources.iter().any(|source| source.takes(name, is_subscribed))
            };
            let named = account.names.iter().filter(is_meant);
            named.map(|(name, id)| (name.clone(), *id)).collect()
        })
    }

    async fn search_mailbox<P: Pipe>(
        &mut self,
        link: &mut Link<P>,
        tag: &Tag,
        (search, is_updated): (&Search, bool),
        (name, id): (&MailboxName, MailboxId),
    ) -> Result<Completion, Stop> {
        let validity = self.with_account(|account| Some(account.mailboxes.get(&id)?.uid_validity))?;
        let Some(validity) = validity else {
            return Ok(Completion::ok("Passed over"));
        };
        let is_selected = |selected: &Selected| selected.view.mailbox() == id;
        let before = if self.selected.as_ref().is_some_and(is_selected) {
            None
        } else {
            // For the time of its search it is looked at as if it were selected by EXAMINE.
            let view = self.with_account(|account| account.mailboxes.get(&id).map(View::new))?;
            let view = view.ok_or_else(mailbox_gone)?;
            Some(self.selected.replace(Selected::new(view, true)))
        };
        let mut search = search.clone();
        search.return_options = search.return_options.map(|options| ReturnOptions {
            update: is_updated,
            ..options
        });
        let mailbox = Some((name, validity));
        let searched = self.search_selected(link, tag, &search, mailbox).await;
        if let (true, Ok(searched)) = (is_updated, &searched) {
            self.keep_context((tag, mailbox), search, searched, link.out())?;
        }
        if let Some(before) = before {
            self.selected = before;
        }
        match searched {
            Ok(searched) => Ok(searched.done),
            Err(Stop::Ended(ended)) => Ok(ended),
            Err(lost) => Err(lost),
        }
    }
}
