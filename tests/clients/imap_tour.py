"""One IMAP client from end to end: mailboxes, APPEND, FETCH, SEARCH, STORE, COPY, MOVE, EXPUNGE."""

import re

from common import *

client = imap("user1")


def listed(pattern="*"):
    data = ok(client.list('""', pattern))
    return {line.decode().rsplit(" ", 1)[1].strip('"') for line in data if line}


def mailboxes():
    ok(client.create("Projects"))
    ok(client.create("Projects/2026/Ringpost"))
    assert {"INBOX", "Projects", "Projects/2026/Ringpost"} <= listed()
    assert listed("%") >= {"INBOX", "Projects"} and "Projects/2026/Ringpost" not in listed("%")
    ok(client.rename("Projects", "Papers"))
    assert "Papers/2026/Ringpost" in listed() and "Projects" not in listed()
    assert client.create("Papers")[0] == "NO", "a mailbox was made twice"
    assert client.create("inbox")[0] == "NO", "INBOX was made"
    ok(client.subscribe("Papers"))
    assert any(b"Papers" in line for line in ok(client.lsub()))
    ok(client.unsubscribe("Papers"))
    assert not any(line and line.endswith((b" Papers", b'"Papers"')) for line in ok(client.lsub()))
    # Modified UTF-7 (RFC 3501 5.1.3) is a name like any other.
    ok(client.create("Entw&APw-rfe"))
    assert "Entw&APw-rfe" in listed()
    ok(client.delete("Entw&APw-rfe"))
    ok(client.delete("Papers/2026/Ringpost"))
    assert "Papers/2026/Ringpost" not in listed()
    assert client.select("Nowhere")[0] == "NO"


TEXT = (
    b"From: Ada <ada@example.net>\r\nTo: user1@example.org\r\nSubject: number %d\r\n"
    b"Date: Mon, 02 Feb 2026 10:00:0%d +0100\r\nMessage-ID: <%d@example.net>\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=cut\r\n\r\n"
    b"--cut\r\nContent-Type: text/plain\r\n\r\nThe plain part of %d.\r\n"
    b"--cut\r\nContent-Type: text/html\r\n\r\n<p>The other part.</p>\r\n--cut--\r\n"
)


def append_and_fetch():
    ok(client.select("INBOX"))
    for number in range(1, 6):
        flags = r"(\Seen $Label)" if number == 2 else None
        date = '"13-Feb-2026 11:00:00 +0000"'
        data = ok(client.append("INBOX", flags, date, TEXT % ((number,) * 4)))
        assert re.search(rb"\[APPENDUID \d+ \d+\]", data[0]), data
    ok(client.noop())
    text = ok(client.fetch("1", "(BODY.PEEK[])"))[0][1]
    assert text == TEXT % ((1,) * 4), "APPEND stores octets as given, with nothing in front"
    line = ok(client.fetch("2", "(FLAGS INTERNALDATE RFC822.SIZE)"))[0]
    assert rb"\Seen" in line and b"$Label" in line and b"13-Feb-2026 11:00:00 +0000" in line, line
    assert b"RFC822.SIZE %d" % len(TEXT % ((2,) * 4)) in line, line
    line = ok(client.fetch("3", "(ENVELOPE)"))[0]
    assert b'"number 3"' in line and b'"ada" "example.net"' in line and b"<3@example.net>" in line, line
    line = ok(client.fetch("3", "(BODYSTRUCTURE)"))[0]
    assert line.upper().count(b'"TEXT"') == 2 and b'"ALTERNATIVE"' in line.upper(), line
    part = ok(client.fetch("3", "(BODY.PEEK[1])"))[0][1]
    assert part == b"The plain part of 3.", part
    header = ok(client.fetch("3", "(BODY.PEEK[HEADER.FIELDS (Subject)])"))[0][1]
    assert header == b"Subject: number 3\r\n\r\n", header
    some = ok(client.fetch("3", "(BODY.PEEK[]<6.10>)"))[0][1]
    assert some == (TEXT % ((3,) * 4))[6:16], some
    flags = ok(client.fetch("3", "(FLAGS)"))[0]
    assert rb"\Seen" not in flags, "PEEK set \\Seen"
    ok(client.fetch("3", "(BODY[TEXT])"))
    assert rb"\Seen" in ok(client.fetch("3", "(FLAGS)"))[0], "BODY[] did not set \\Seen"


def search(*criteria):
    return [int(word) for word in ok(client.search(None, *criteria))[0].split()]


def searches():
    assert search("ALL") == [1, 2, 3, 4, 5]
    assert search("SEEN") == [2, 3]
    assert search("UNSEEN") == [1, 4, 5]
    assert search("SUBJECT", '"number 4"') == [4]
    assert search("BODY", '"part of 5"') == [5]
    assert search("FROM", "ada", "NOT", "2") == [1, 3, 4, 5]
    assert search("OR", "SUBJECT", '"number 1"', "SUBJECT", '"number 5"') == [1, 5]
    assert search("KEYWORD", "$Label") == [2]
    assert search("SINCE", "14-Feb-2026") == []
    assert search("ON", "13-Feb-2026") == [1, 2, 3, 4, 5]
    assert search("LARGER", "100000") == []
    assert search("HEADER", "Message-ID", "3@example") == [3]


def flags():
    ok(client.store("4", "+FLAGS", r"(\Flagged \Answered)"))
    line = ok(client.fetch("4", "(FLAGS)"))[0]
    assert rb"\Flagged" in line and rb"\Answered" in line, line
    ok(client.store("4", "-FLAGS", r"(\Answered)"))
    line = ok(client.fetch("4", "(FLAGS)"))[0]
    assert rb"\Flagged" in line and rb"\Answered" not in line, line
    ok(client.store("4", "FLAGS", r"($Work)"))
    line = ok(client.fetch("4", "(FLAGS)"))[0]
    assert rb"\Flagged" not in line and b"$Work" in line, line


def copy_move_expunge():
    uids = [line.split(b"UID ")[1].split(b")")[0].decode() for line in ok(client.fetch("1:*", "(UID)"))]
    ok(client.copy("4", "Papers"))
    assert counts(client, "Papers", "MESSAGES")["MESSAGES"] == 1
    assert client.copy("1", "Nowhere")[0] == "NO"
    kind, _ = client.uid("MOVE", f"{uids[0]},{uids[4]}", "Papers")
    assert kind == "OK"
    assert search("ALL") == [1, 2, 3]
    assert counts(client, "Papers", "MESSAGES")["MESSAGES"] == 3
    ok(client.store("1,3", "+FLAGS", r"(\Deleted)"))
    assert counts(client, "INBOX", "MESSAGES")["MESSAGES"] == 3, "\\Deleted alone removes nothing"
    kind, _ = client.uid("EXPUNGE", uids[3])
    assert kind == "OK"
    assert search("ALL") == [1, 2], "UID EXPUNGE removes what is named only"
    client.response("EXPUNGE")  # forget what MOVE and UID EXPUNGE told
    gone = ok(client.expunge())
    assert gone == [b"1"], gone
    assert search("ALL") == [1]
    ok(client.select("Papers"))
    texts = [ok(client.fetch(str(number), "(BODY.PEEK[] FLAGS)")) for number in (1, 2, 3)]
    subjects = [int(re.search(rb"Subject: number (\d)", text[0][1]).group(1)) for text in texts]
    assert subjects == [4, 1, 5], subjects
    assert b"$Work" in texts[0][0][0] + texts[0][1], "COPY keeps flags"
    assert texts[1][0][1] == TEXT % ((1,) * 4)


def uids_rise():
    """A UID is never given twice, also when the last message is gone."""
    before = counts(client, "INBOX", "UIDNEXT", "UIDVALIDITY")
    ok(client.select("INBOX"))
    ok(client.append("INBOX", r"(\Deleted)", None, b"Subject: short lived\r\n\r\n"))
    ok(client.expunge())
    after = counts(client, "INBOX", "UIDNEXT", "UIDVALIDITY")
    assert after["UIDNEXT"] == before["UIDNEXT"] + 1, (before, after)
    assert after["UIDVALIDITY"] == before["UIDVALIDITY"]


def read_only():
    ok(client.select("INBOX", readonly=True))
    try:
        # Some answer NO, some OK and do nothing; imaplib raises for a third kind.
        client.store("1", "+FLAGS", r"(\Deleted)")
    except imaplib.IMAP4.error:
        pass
    other = imap("user1", "INBOX")
    assert rb"\Deleted" not in ok(other.fetch("1", "(FLAGS)"))[0], "STORE changed a mailbox opened by EXAMINE"
    other.logout()
    ok(client.close())


mailboxes()
append_and_fetch()
searches()
flags()
copy_move_expunge()
uids_rise()
read_only()
client.logout()
