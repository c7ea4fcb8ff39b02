//! What summaries say of certain messages, as files of them have it: whoever changes it must say so by the version of the files.

use super::summarize::texts_of;
use super::summary::fields_of;
use crate::proto::message::{bodystructure, header, structure};
use crate::store::SUMMARIES_VERSION;
use std::fmt::Write;

/// What each version has said of [`MESSAGES`], the newest last. Files of the one before would be served beside new ones if the
/// version did not rise with what it says.
const SAID: [(u32, &str); 2] = [
    (1, include_str!("summarize_golden_v1.txt")),
    (2, include_str!("summarize_golden_v2.txt")),
];

/// A plain letter, what mail programs send, and what attackers do; LF is CRLF.
const MESSAGES: [&str; 15] = [
    "From: Ann <ann@example.org>\nTo: Ben <ben@example.net>, \"C, D\" <cd@example.net>\nSubject: Lunch\nDate: Wed, 25 Nov 2026 12:00:00 +0100\n\
     Message-ID: <1@example.org>\nX-Mailer: hand\n\nAt noon?\n> quoted\nYours, Ann\n",
    "Received: from a by b; Wed, 25 Nov 2026 12:00:00 +0100\nReceived: from c\n by a\nFROM: =?utf-8?q?J=C3=BCrgen?= <j@xn--bcher-kva.example>\n\
     sender : s@example.org\nReply-To: <r@example.org>\nCc: group: a@b, c@d;, e@f\nBcc: (hidden) <g@h>\nIn-Reply-To: <1@example.org>\n\
     References: <0@example.org>\n <1@example.org>\nSubject: =?utf-8?b?w6TDtsO8?=\n folded\n\ttwice\nList-Id: <list.example.org>\n\
     Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\nGr=FC=DFe=20aus =\nK=F6ln\n",
    "Content-Type: multipart/alternative; boundary=\"=_x\"\nMIME-Version: 1.0\nSubject: two\n\npreamble\n--=_x\nContent-Type: text/html; charset=utf-8\n\n\
     <style>p { x }</style><p>Hello &amp; goodbye</p>\n--=_x\nContent-Type: text/plain; charset=utf-8; format=flowed\nContent-Transfer-Encoding: base64\n\n\
     SGVsbG8gYW5kIGdvb2RieWUgw6Q=\n--=_x--\nepilogue\n",
    "Content-Type: multipart/mixed; boundary=a\nSubject: files\nFrom: a@b\n\n--a\n\nSee the file.\n--a\nContent-Type: application/pdf; name=\"a \\\"b\\\".pdf\"\n\
     Content-Disposition: attachment; filename*0*=utf-8''%C3%A4; filename*1*=b.pdf; size=5\nContent-ID: <p@q>\nContent-Description: a file\n\
     Content-MD5: Q2hlY2s=\nContent-Language: de, en\nContent-Location: http://x/y\nContent-Transfer-Encoding: base64\n\nAAECAwQ=\n--a\n\
     Content-Type: message/rfc822\n\nSubject: inner\nFrom: i@n\n\nInner text\n--a--\n",
    "Content-Type: multipart/digest; boundary=d\n\n--d\n\nSubject: one\n\n1\n--d\nContent-Type: text/plain\n\n2\n--d--\n",
    "Subject: no body and no end",
    "\nbody only\n",
    " starts with white space: x\nno colon here\n: no name\nTo: ,,, <>; \"unclosed\nFrom: \"\" <@route,@b:x@y>, broken@, @broken, a b c <d@e> f\n\
     Date: some time ago\nSubject: \nMessage-ID: not an id\n\nx\n",
    "Content-Type: multipart/mixed\nSubject: no boundary\n\n--\nx\n",
    "Content-Type: text/plain; charset=no-such-charset; charset=again; =; a*1=b; a*0=c\nContent-Transfer-Encoding: x-unknown\n\
     Content-Disposition: ; =\nSubject: \u{e4}\u{f6} not encoded\nFrom: \u{fc}@b\u{fc}cher.example\n\n\u{e4}\n",
    "Subject: double\nSubject: second\nTo: a@b\nTo: c@d\nFrom: e@f\nFrom: g@h\nDate: Thu, 1 Jan 1970 00:00:00 GMT\nDate: Fri, 2 Jan 1970 00:00:00 GMT\n\n\
     \u{0}\u{1} controls \u{7f} and \u{2028} separators\n",
    "Content-Type: multipart/signed; boundary=s; micalg=pgp-sha256; protocol=\"application/pgp-signature\"\nAuto-Submitted: auto-replied\n\
     Chat-Version: 1.0\nX-Priority: 1\nImportance: high\nPriority: urgent\nList-Unsubscribe: <mailto:u@x>\nList-Post: <mailto:p@x>\n\
     Disposition-Notification-To: a@b\nNewsgroups: a.b\nX-Label: l\nX-Spam-Flag: NO\n\n--s\n\nsigned\n--s\nContent-Type: application/pgp-signature\n\n-----\n--s--\n",
    "Content-Type: multipart/report; report-type=delivery-status; boundary=r\n\n--r\nContent-Type: message/global\n\n\
     Subject: \u{fc}ber\nFrom: \u{fc}@b\u{fc}cher.example\nContent-Type: text/html; charset=utf-8\n\n<p>Gr&uuml;&szlig;e, un<b>believ</b>able<br>&#8364;5</p>\n\
     --r\nContent-Type: message/global\nContent-Transfer-Encoding: base64\n\nU3ViamVjdDogeAoKeA==\n--r--\n",
    "Content-Type: application/octet-stream; name*0=\"a b\"; name*1=.bin; x*=iso-8859-1'de'%E4; y*0*=x-none''%E4\n\
     Content-Disposition: attachment; filename*1=b.pdf; filename*0*=utf-8''%C3%A4; filename*3=z; filename=old\n\nx\n",
    "Content-Type: text/html; charset=utf-8\n\n<head><title>t</title><body><p>Gr&uuml;&szlig;e, un<b>believ</b>able<br>&#8364;5 &hellip;<td>a<td>b\n",
];

fn crlf(message: &str) -> Vec<u8> {
    message.replace('\n', "\r\n").into_bytes()
}

/// All that summaries say, for people to read.
fn said() -> String {
    let mut out = String::new();
    for (number, message) in MESSAGES.iter().enumerate() {
        let message = crlf(message);
        let texts = texts_of(&structure::parse(&message), &message);
        let fields = fields_of(&message[..header::length(&message)]).expect("they are short");
        let mut body = Vec::new();
        bodystructure::write(&structure::parse(&message), &message, false, &mut body);
        let parts = [
            ("ENVELOPE", &texts.envelope),
            ("fields", &fields),
            ("BODYSTRUCTURE", &texts.structure),
            ("BODY", &body),
            ("PREVIEW", &texts.preview),
        ];
        for (name, octets) in parts {
            writeln!(out, "{number} {name} {}", octets.escape_ascii()).expect("memory takes it");
        }
    }
    out
}

#[test]
fn what_summaries_say_changes_only_with_the_version_of_their_files() {
    let (version, expected) = SAID[SAID.len() - 1];
    assert_eq!(
        version, SUMMARIES_VERSION,
        "a new version of the files has its own golden text"
    );
    let said = said();
    let pairs = said.lines().zip(expected.lines());
    for (said, expected) in pairs {
        assert_eq!(
            said, expected,
            "files of version {version} say otherwise: raise SUMMARIES_VERSION, add what is said now to SAID, tell FORMAT.md"
        );
    }
    assert_eq!(
        said.lines().count(),
        expected.lines().count(),
        "all of it:\n{said}"
    );
}
