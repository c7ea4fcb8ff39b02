//! IMAP sessions (states, literals, APPEND, IDLE, login): no panic, and the same whatever pieces the octets come in.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost::model::{Uid, UidValidity};
use ringpost::proto::imap::types::CommandBody;
use ringpost::proto::imap::{
    Answer, Appended, Channel, Completion, Config, Imap, LoginRefusal, Question, Transition,
};
use ringpost::proto::sasl::Request;
use ringpost_fuzz::{FuzzReceipt, same_in_pieces};
use std::sync::Arc;

fn answer(_: &mut Imap<FuzzReceipt>, question: Question) -> Answer<FuzzReceipt> {
    match question {
        Question::Authenticate(Request::Password(credentials))
            if !credentials.secret.expose().starts_with(b"no") =>
        {
            Answer::Authenticated
        }
        Question::Authenticate(_) => Answer::Refused(LoginRefusal::AuthenticationFailed),
        Question::Command(command) => Answer::Done(match command.body {
            CommandBody::Select { .. } | CommandBody::Examine { .. } => {
                Completion::ok("selected").with_transition(Transition::Selected)
            }
            CommandBody::Close | CommandBody::Unselect => {
                Completion::ok("closed").with_transition(Transition::Unselected)
            }
            _ => Completion::ok("done"),
        }),
        Question::Idle => Answer::Idling,
        Question::IdleDone => Answer::Done(Completion::ok("done")),
        Question::AppendBegin(_) | Question::AppendNext(_) | Question::AppendPart { .. } => {
            Answer::AppendReady
        }
        Question::AppendCommit => Answer::Appended(Appended {
            receipt: FuzzReceipt,
            uid_validity: UidValidity(7),
            uids: vec![Uid::new(1).expect("above 0")],
            were_told: false,
            highest_mod_seq: None,
        }),
        Question::AppendAbandon => Answer::AppendDropped,
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&[choice, step], octets)) = data.split_first_chunk::<2>() else {
        return;
    };
    let config = Arc::new(Config {
        is_literal_plus: choice & 1 == 0,
        is_starttls_offered: choice & 2 == 0,
        ..Config::default()
    });
    let channel = Channel {
        is_tls: choice & 4 != 0,
        is_plaintext_login_allowed: choice & 8 == 0,
    };
    same_in_pieces(|| Imap::new(Arc::clone(&config), channel), octets, step, answer);
});
