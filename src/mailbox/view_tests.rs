//! Views of several sessions against a mailbox that all of them change. Each session has a client, which knows only what
//! it was told and applies it by the rules of RFC 9051 §7; in the end every client must know what the mailbox is.

use super::*;
use crate::base::clock::UnixMillis;
use crate::model::{Flags, LogPosition, SegmentId};
use proptest::prelude::*;

/// Entries the model's change log keeps, few, so that views also fall back to comparing.
const LOG_ENTRIES: usize = 8;

#[derive(Default)]
struct Server {
    rows: Vec<MessageRow>,
    log: Vec<MailboxChange>,
    uid_next: u32,
    mod_seq: u64,
}

impl Server {
    fn append(&mut self, flags: u8) {
        self.mod_seq += 1;
        let uid = Uid::new(self.uid_next).unwrap();
        self.uid_next += 1;
        self.rows.push(MessageRow {
            uid,
            flags: Flags(flags),
            keywords: 0,
            size: 1,
            internal_date_at: UnixMillis(0),
            internal_date_zone_minutes: 0,
            save_date: UnixMillis(0),
            mod_seq: ModSeq(self.mod_seq),
            record: LogPosition {
                segment: SegmentId(0),
                offset: 0,
            },
            record_bytes: 0,
            body_segment: SegmentId(0),
            is_body_scattered: false,
            line_end_octets: 0,
        });
        self.log.push(MailboxChange::Added(uid));
    }

    /// Toggles flags of `uids` (so that what comes out depends on what was there); the MODSEQ of the change.
    fn store(&mut self, uids: &[Uid], toggled: u8) -> ModSeq {
        self.mod_seq += 1;
        for row in self.rows.iter_mut().filter(|row| uids.contains(&row.uid)) {
            if toggled != 0 {
                row.flags = Flags(row.flags.0 ^ toggled);
                row.mod_seq = ModSeq(self.mod_seq);
                self.log.push(MailboxChange::FlagsChanged(row.uid));
            }
        }
        ModSeq(self.mod_seq)
    }

    fn expunge(&mut self, uids: &[Uid]) {
        self.mod_seq += 1;
        let log = &mut self.log;
        self.rows.retain(|row| {
            let is_gone = uids.contains(&row.uid);
            if is_gone {
                log.push(MailboxChange::Expunged(row.uid));
            }
            !is_gone
        });
    }

    fn seen(&self, cursor: u64) -> Seen<'_, std::slice::Iter<'_, MailboxChange>> {
        let cursor = usize::try_from(cursor).unwrap();
        let is_kept = self.log.len() - cursor <= LOG_ENTRIES;
        Seen {
            rows: &self.rows,
            changes: is_kept.then(|| self.log[cursor..].iter()),
            end: self.log.len() as u64,
            mod_seq: ModSeq(self.mod_seq),
            uid_next: self.uid_next,
        }
    }
}

/// A session and its client. The client knows of each message, by sequence number, the UID and the flags.
struct Session {
    view: View,
    client: Vec<(Uid, u8)>,
}

impl Session {
    fn select(server: &Server) -> Self {
        let client: Vec<_> = server.rows.iter().map(|row| (row.uid, row.flags.0)).collect();
        Self {
            view: View {
                mailbox: MailboxId(1),
                uids: client.iter().map(|(uid, _)| *uid).collect(),
                waiting: None,
                uid_next: server.uid_next,
                cursor: server.log.len() as u64,
                mod_seq: ModSeq(server.mod_seq),
                complete: ModSeq::default(),
                shown: Cell::default(),
                was_corrected: false,
                keywords: Cell::default(),
                recent: SmallVec::new(),
            },
            client,
        }
    }

    fn sync(&mut self, server: &Server, may: Telling, own: OwnChanges<'_>) {
        let seen = server.seen(self.view.cursor);
        let changes = self.view.sync_with(seen, may, own);
        assert!(may.expunges || changes.expunged.is_empty());
        assert!(may.flags || changes.flags.is_empty());
        for number in &changes.expunged {
            self.client.remove(number.value() as usize - 1);
        }
        if let Some(exists) = changes.exists {
            assert!(exists > self.client.len(), "EXISTS may not shrink the mailbox");
            // The client fetches what is new to it.
            for uid in self.view.uids().range(self.client.len()..self.view.len()) {
                let row = row_of(&server.rows, uid).expect("a new message is there when it is announced");
                self.client.push((uid, row.flags.0));
            }
        }
        for uid in &changes.flags {
            let index = self.view.index_of(*uid).expect("flags of a message in the view");
            let row = row_of(&server.rows, *uid).expect("flags of a message that is there");
            assert_eq!(self.client[index].0, *uid);
            self.client[index].1 = row.flags.0;
        }
        assert_eq!(self.view.len(), self.client.len());
        // What it is told to have whole, it has whole.
        let has_all = self
            .client
            .iter()
            .copied()
            .eq(server.rows.iter().map(|row| (row.uid, row.flags.0)));
        assert!(
            has_all || self.view.complete < ModSeq(server.mod_seq),
            "a change is lost"
        );
    }

    fn pick(&self, mask: u8) -> Vec<Uid> {
        let picked = self
            .client
            .iter()
            .enumerate()
            .filter(|(index, _)| mask & (1 << (index % 8)) != 0);
        picked.map(|(_, (uid, _))| *uid).collect()
    }

    /// What the client believes after its own change, which the server answers by FETCH or, when silent, not at all.
    fn knows(&mut self, uids: &[Uid], server: &Server, silent: Option<u8>) {
        for (uid, flags) in self.client.iter_mut().filter(|(uid, _)| uids.contains(uid)) {
            match (silent, row_of(&server.rows, *uid)) {
                (Some(toggled), _) => *flags ^= toggled,
                (None, Some(row)) => *flags = row.flags.0,
                (None, None) => {}
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Append(u8),
    Store {
        session: usize,
        mask: u8,
        flags: u8,
        silent: bool,
    },
    Expunge {
        session: usize,
        mask: u8,
    },
    Sync {
        session: usize,
        may: Telling,
    },
    Reselect(usize),
}

const SESSIONS: usize = 3;

const ALL: Telling = Telling {
    expunges: true,
    flags: true,
};

const KEEPS_NUMBERS: Telling = Telling {
    expunges: false,
    flags: true,
};

fn step() -> impl Strategy<Value = Step> {
    let store =
        (0..SESSIONS, any::<u8>(), 0..4_u8, any::<bool>()).prop_map(|(session, mask, flags, silent)| {
            Step::Store {
                session,
                mask,
                flags,
                silent,
            }
        });
    prop_oneof![
        3 => (0..4_u8).prop_map(Step::Append),
        4 => store,
        2 => (0..SESSIONS, any::<u8>()).prop_map(|(session, mask)| Step::Expunge { session, mask }),
        4 => (0..SESSIONS, any::<bool>(), any::<bool>())
            .prop_map(|(session, expunges, flags)| Step::Sync { session, may: Telling { expunges, flags } }),
        1 => (0..SESSIONS).prop_map(Step::Reselect),
    ]
}

proptest! {
    #[test]
    fn every_client_ends_up_knowing_the_mailbox(steps in prop::collection::vec(step(), 0..80)) {
        let mut server = Server { uid_next: 1, ..Server::default() };
        let mut sessions: Vec<Session> = (0..SESSIONS).map(|_| Session::select(&server)).collect();
        for step in steps {
            match step {
                Step::Append(flags) => server.append(flags),
                Step::Store { session, mask, flags, silent } => {
                    let session = &mut sessions[session];
                    let uids = session.pick(mask);
                    let mod_seq = server.store(&uids, flags);
                    session.knows(&uids, &server, silent.then_some(flags));
                    let own = OwnChanges { mod_seqs: &[mod_seq], were_told: !silent };
                    session.sync(&server, KEEPS_NUMBERS, own);
                }
                Step::Expunge { session, mask } => {
                    let uids = sessions[session].pick(mask);
                    server.expunge(&uids);
                    sessions[session].sync(&server, ALL, OwnChanges::default());
                }
                Step::Sync { session, may } => {
                    sessions[session].sync(&server, may, OwnChanges::default());
                }
                Step::Reselect(session) => sessions[session] = Session::select(&server),
            }
        }
        let expected: Vec<_> = server.rows.iter().map(|row| (row.uid, row.flags.0)).collect();
        for session in &mut sessions {
            session.sync(&server, ALL, OwnChanges::default());
            prop_assert_eq!(&session.client, &expected);
        }
    }
}

#[test]
fn an_expunged_message_keeps_its_number_until_it_may_be_told() {
    let mut server = Server {
        uid_next: 1,
        ..Server::default()
    };
    (0..3).for_each(|_| server.append(0));
    let mut session = Session::select(&server);
    let second = session.view.uids().at(1);
    server.expunge(&[second]);
    server.append(0);
    session.sync(&server, KEEPS_NUMBERS, OwnChanges::default());
    assert_eq!(session.view.len(), 4);
    assert_eq!(
        session.view.waiting.as_ref().map(|waiting| &waiting.gone[..]),
        Some(&[second][..])
    );
    session.sync(&server, ALL, OwnChanges::default());
    assert_eq!(session.view.len(), 3);
    assert!(session.view.waiting.is_none());
}

#[test]
fn a_message_that_came_and_went_between_two_syncs_is_never_shown() {
    let mut server = Server {
        uid_next: 1,
        ..Server::default()
    };
    let mut session = Session::select(&server);
    server.append(0);
    server.expunge(&[Uid::FIRST]);
    session.sync(&server, ALL, OwnChanges::default());
    assert!(session.view.is_empty());
    server.append(0);
    session.sync(&server, ALL, OwnChanges::default());
    assert!(session.view.uids().iter().eq([Uid::new(2).unwrap()]));
}
