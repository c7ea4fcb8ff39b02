//! SMTP, LMTP and submission sessions: no panic, and the same whatever pieces the octets come in.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost::proto::sasl::Request;
use ringpost::proto::smtp::reply::{AuthRefusal, RecipientRefusal};
use ringpost::proto::smtp::{Answer, Config, Question, Role, Smtp};
use ringpost_fuzz::{FuzzReceipt, has_bare_line_end, same_in_pieces, same_replies_in_pieces};
use std::sync::Arc;

fn answer(core: &mut Smtp<FuzzReceipt>, question: Question) -> Answer<FuzzReceipt> {
    match question {
        Question::MayBegin { .. } => Answer::Begin(Ok(())),
        Question::MayReceive => {
            let path = format!("{:?}", core.candidate().expect("a question has a candidate"));
            Answer::Recipient(if path.contains("no") {
                Err(RecipientRefusal::UnknownUser)
            } else {
                Ok(())
            })
        }
        Question::Authenticate => match core.take_request() {
            Some(Request::Password(credentials)) if credentials.secret.expose().starts_with(b"p") => {
                Answer::Authenticated
            }
            _ => Answer::AuthRefused(AuthRefusal::Credentials),
        },
        Question::Commit => {
            let envelope = core.take_envelope().expect("a commit has an envelope");
            if envelope.forward_paths.len() == 1 {
                Answer::Committed(Ok(FuzzReceipt))
            } else {
                Answer::CommittedEach(envelope.forward_paths.iter().map(|_| Ok(FuzzReceipt)).collect())
            }
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&[choice, step], octets)) = data.split_first_chunk::<2>() else {
        return;
    };
    let role = [Role::Mta, Role::Lmtp, Role::Submission][usize::from(choice % 3)];
    let config = Arc::new(Config {
        role,
        tls_available: choice & 0x80 != 0,
        ..Config::new("mx.test")
    });
    let new = || {
        let core = Smtp::new(Arc::clone(&config)).with_plaintext(true);
        if choice & 0x40 != 0 {
            core.with_xclient()
        } else {
            core
        }
    };
    let answer = |core: &mut _, question| match (role, answer(core, question)) {
        // Only LMTP answers for each recipient.
        (Role::Lmtp, said) => said,
        (_, Answer::CommittedEach(_)) => Answer::Committed(Ok(FuzzReceipt)),
        (_, said) => said,
    };
    if has_bare_line_end(octets) {
        // Such a message is refused at its end and dropped; how much of it is handed on before depends on the pieces.
        same_replies_in_pieces(new, octets, step, answer);
    } else {
        same_in_pieces(new, octets, step, answer);
    }
});
