//! POP3 sessions: no panic, and the same whatever pieces the octets come in.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost::model::{Uid, UidValidity};
use ringpost::proto::pop3::{
    Answer, Config, LoginRefusal, Maildrop, MaildropEntry, Pop3, Question, RetrieveRefusal,
};
use ringpost::proto::sasl::Request;
use ringpost_fuzz::{FuzzReceipt, same_in_pieces};
use std::sync::Arc;

fn maildrop() -> Maildrop {
    let entry = |number| MaildropEntry {
        uid: Uid::new(number).expect("above 0"),
        size: number * 1_000,
    };
    Maildrop::new(UidValidity(7), (1..=70).map(entry).collect())
}

fn answer(_: &mut Pop3<FuzzReceipt>, question: Question) -> Answer<FuzzReceipt> {
    match question {
        Question::Authenticate(Request::Password(credentials))
            if !credentials.secret.expose().starts_with(b"no") =>
        {
            Answer::Opened(maildrop())
        }
        Question::Authenticate(_) => Answer::LoginRefused(LoginRefusal::Credentials),
        Question::Retrieve { index: 3, .. } => Answer::Retrieval(Err(RetrieveRefusal::Gone)),
        Question::Retrieve { index, .. } => {
            assert!(index < 70);
            Answer::Retrieval(Ok(()))
        }
        Question::Stream { .. } => Answer::Streamed(Ok(())),
        Question::Flush => Answer::Flushed,
        Question::Commit { deleted } => {
            assert!(deleted.is_sorted() && deleted.iter().all(|index| *index < 70));
            Answer::Committed(Ok(Some(FuzzReceipt)))
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&[step], octets)) = data.split_first_chunk::<1>() else {
        return;
    };
    let config = Arc::new(Config::default());
    let new = || Pop3::new(Arc::clone(&config)).with_plaintext(true);
    same_in_pieces(new, octets, step, answer);
});
