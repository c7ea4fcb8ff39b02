//! Differences of a kind: what one server always does and the other never, and both may. Each rule says why; each takes
//! away only what the other side lacks, so that what both say is still compared.

use super::normal::Exchange;

/// Attributes of LIST that a server may tell unasked, or leave away where they were not asked for (RFC 9051 §6.3.9,
/// RFC 6154 §2), and `\Marked`, which Ringpost never says (RFC 9051 §7.3.1: where it cannot be determined, neither).
const TOLD_UNASKED: &[&str] = &[
    "\\haschildren",
    "\\hasnochildren",
    "\\marked",
    "\\unmarked",
    "\\archive",
    "\\drafts",
    "\\junk",
    "\\sent",
    "\\trash",
];

/// Untagged responses that Ringpost sends and Dovecot 2.3 does not:
/// - MAILBOXID (RFC 8474), which Dovecot 2.3 has not.
/// - HIGHESTMODSEQ at every SELECT, as RFC 7162 §3.1.2.1 wants; Dovecot waits for CONDSTORE to be enabled.
/// - CLOSED at every SELECT that closes a mailbox, as RFC 9051 §7.1 has it; Dovecot where QRESYNC is enabled.
/// - ENABLED without a capability (RFC 5161 §3.2 does not except it).
const TOLD_MORE: &[&str] = &[
    "OK [MAILBOXID I]",
    "OK [HIGHESTMODSEQ M]",
    "OK [CLOSED]",
    "ENABLED",
];

pub fn reconcile(mut theirs: Exchange, mut ours: Exchange) -> (Exchange, Exchange) {
    more_exact_code(&theirs.answer, &mut ours.answer);
    ours.answer
        .retain(|line| !TOLD_MORE.contains(&line.as_str()) || theirs.answer.contains(line));
    for line in &mut ours.answer {
        more_in_a_fetch(line, &theirs.answer);
    }
    attributes(&mut theirs.answer, &ours.answer);
    attributes(&mut ours.answer, &theirs.answer);
    theirs.answer.iter_mut().chain(&mut ours.answer).for_each(|line| {
        // An empty list of attributes is what is left when all of them were optional.
        *line = line.replace("( ", "(");
    });
    sort_untagged(&mut theirs.answer);
    sort_untagged(&mut ours.answer);
    (theirs, ours)
}

/// Ringpost names the UID with every change and every part of a message (RFC 9051 §7 has clients take more than
/// they asked for; one with a cache needs it), and says NIL for a part that is not there (RFC 9051 §9: `nstring`), where
/// Dovecot says that it is empty.
fn more_in_a_fetch(line: &mut String, theirs: &[String]) {
    if !line.contains(" FETCH (") || theirs.contains(line) {
        return;
    }
    let mut fewer = line.clone();
    if let Some(at) = fewer.rfind(" UID ")
        && fewer[at + 5..]
            .trim_end_matches(')')
            .bytes()
            .all(|octet| octet.is_ascii_digit())
    {
        let number = fewer.split(' ').next().unwrap_or_default().to_owned();
        let has_uid = |line: &&String| line.starts_with(&format!("{number} FETCH")) && line.contains("UID ");
        if theirs.iter().find(has_uid).is_none() {
            fewer.truncate(at);
            fewer.push(')');
        }
    }
    let emptied = fewer.replace("] NIL", "] \"\"");
    *line = if theirs.contains(&emptied) { emptied } else { fewer };
}

/// A refusal's code, where Dovecot gives none (RFC 5530 lets a server give it wherever it fits), and the code of a success
/// that names the mailbox's identifier.
fn more_exact_code(theirs: &[String], ours: &mut [String]) {
    let (Some(theirs), Some(ours)) = (theirs.last(), ours.last_mut()) else {
        return;
    };
    let is_refusal = theirs == "NO" && ours.starts_with("NO [");
    if is_refusal || theirs == "OK" && ours == "OK [MAILBOXID I]" {
        ours.clone_from(theirs);
    }
}

/// Takes away the optional attributes that the other side does not tell of the same mailbox.
fn attributes(lines: &mut [String], others: &[String]) {
    for line in lines {
        let Some((head, attributes, rest)) = listed(line) else {
            continue;
        };
        let told: Vec<&str> = others
            .iter()
            .filter_map(|other| listed(other))
            .filter(|(other, _, place)| *other == head && *place == rest)
            .flat_map(|(_, attributes, _)| attributes.split(' '))
            .collect();
        let kept: Vec<&str> = attributes
            .split(' ')
            .filter(|attribute| !TOLD_UNASKED.contains(attribute) || told.contains(attribute))
            .collect();
        *line = format!("{head} ({}) {rest}", kept.join(" "));
    }
}

/// `LIST (…) rest` in its three parts.
fn listed(line: &str) -> Option<(&str, &str, &str)> {
    let (head, rest) = line.split_once(" (")?;
    let (attributes, rest) = rest.split_once(") ")?;
    ["LIST", "LSUB"]
        .contains(&head)
        .then_some((head, attributes, rest))
}

/// Everything but EXPUNGE and the tagged line, as [`super::normal::answer`] orders them.
fn sort_untagged(lines: &mut [String]) {
    let count = lines
        .iter()
        .take_while(|line| !line.ends_with(" EXPUNGE"))
        .count();
    let count = count.min(lines.len().saturating_sub(1));
    lines[..count].sort();
}
