"""What smtplib sends is what imaplib and poplib give back, byte for byte behind the trace fields."""

from common import *

BODIES = {
    "plain": b"Subject: plain\r\n\r\nOne line.\r\n",
    "header only": b"Subject: header only\r\n\r\n",
    "no header": b"\r\nA body without a header.\r\n",
    "8 bit": "Subject: eight\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGrüße, 你好 ✓\r\n".encode(),
    "latin 1": "Subject: latin\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\r\nGrüße\r\n".encode("latin-1"),
    "dots": b"Subject: dots\r\n\r\n.\r\n..\r\n.begins\r\n...\r\nends.\r\n.\r\n\r\n.\r\n",
    "long lines": b"Subject: long\r\n\r\n" + b"".join(b"x" * n + b"\r\n" for n in (76, 512, 900, 998)),
    "blank lines": b"Subject: blank\r\n\r\n\r\n\r\n\r\n",
    "spaces at line ends": b"Subject: spaces\r\n\r\ntrailing  \r\n\t\r\n \r\n",
    "edge of a buffer": b"Subject: edge\r\n\r\n" + b"".join(b"%063d\r\n" % n for n in range(2048)),
    "longer than is kept in memory": b"Subject: large\r\n\r\n" + b"".join(b"%070d\r\n" % n for n in range(30000)),
}


def plain_send():
    client = smtp()
    client.ehlo()
    for extension in ("pipelining", "size", "8bitmime", "smtputf8", "chunking", "enhancedstatuscodes", "starttls"):
        assert client.has_extn(extension), f"EHLO does not offer {extension}"
    for body in BODIES.values():
        options = ["BODY=8BITMIME"] if any(byte > 127 for byte in body) else []
        refused = client.sendmail("sender@example.net", [address("user1")], body, mail_options=options)
        assert refused == {}, refused
    client.quit()
    for texts in (fetch_all("user1"), retrieve_all("user1")):
        assert len(texts) == len(BODIES), f"{len(texts)} messages"
        for text, (name, body) in zip(texts, BODIES.items()):
            prefix = prefix_of(text, body)
            assert b"Return-Path: <sender@example.net>\r\n" in prefix, (name, prefix)
            assert b"Received: " in prefix and b"client.example.net" in prefix, (name, prefix)


def sizes_agree():
    client = imap("user1", "INBOX")
    drop = pop3("user1")
    for number, listed in enumerate(drop.list()[1], 1):
        size = int(listed.split()[1])
        data = ok(client.fetch(str(number), "(RFC822.SIZE BODY.PEEK[])"))
        assert b"RFC822.SIZE %d " % size in data[0][0], (size, data[0][0])
        assert len(data[0][1]) == size
    drop.quit()
    client.logout()


def international_addresses():
    client = smtp()
    client.ehlo()
    body = "From: Jürgen <jürgen@exämple.net>\r\nSubject: Grüße\r\n\r\nhallo\r\n".encode()
    options = ["SMTPUTF8", "BODY=8BITMIME"]
    assert client.sendmail("jürgen@exämple.net", [address("user2")], body, mail_options=options) == {}
    client.quit()
    for texts in (fetch_all("user2"), retrieve_all("user2")):
        prefix = prefix_of(texts[0], body)
        assert "Return-Path: <jürgen@exämple.net>".encode() in prefix, prefix


def several_recipients():
    names = ["user3", "user4", "user5", "alice", "bob"]
    body = b"Subject: to many\r\n\r\nThe same for everybody.\r\n"
    client = smtp()
    refused = client.sendmail("", [address(name) for name in names] + ["nobody@example.org"], body)
    assert list(refused) == ["nobody@example.org"] and refused["nobody@example.org"][0] == 550, refused
    client.quit()
    for name in names:
        wait_for(lambda: fetch_all(name), f"mail for {name}")
        texts = fetch_all(name)
        assert len(texts) == 1, (name, len(texts))
        prefix = prefix_of(texts[0], body)
        assert b"Return-Path: <>\r\n" in prefix, prefix
        # Who else got it is nobody's business.
        others = [other for other in names if other != name]
        assert not any(address(other).encode() in prefix for other in others), prefix


def chunks():
    """BDAT (RFC 3030): octets are counted, dots mean nothing, and a lone dot ends nothing."""
    body = b"Subject: chunks\r\n\r\n.\r\n..two\r\n" + b"y" * 5000 + b"\r\n.\r\nend\r\n"
    client = smtp()
    client.ehlo()
    for cut in ([len(body)], [10, len(body)], [0, 1, 2, 19, 20, 21, 22, 4000, len(body), len(body)]):
        client.mail("sender@example.net")
        client.rcpt(address("user6"))
        start = 0
        for place, end in enumerate(cut):
            last = " LAST" if place == len(cut) - 1 else ""
            client.send(b"BDAT %d%s\r\n" % (end - start, last.encode()) + body[start:end])
            code, text = client.getreply()
            assert code == 250, (cut, end, code, text)
            start = end
    client.quit()
    texts = fetch_all("user6")
    assert len(texts) == 3
    for text in texts:
        prefix_of(text, body)


def refusals():
    client = smtp()
    client.ehlo()
    assert client.mail("a@example.net")[0] == 250
    assert client.rcpt("somebody@elsewhere.example")[0] // 100 == 5
    assert client.rcpt("nobody@example.org")[0] == 550
    assert client.rcpt("postmaster")[0] == 250
    assert client.rcpt("ALICE@Example.ORG")[0] == 250
    assert client.rset()[0] == 250
    assert client.docmd("VRFY", "alice")[0] == 252
    assert client.docmd("EXPN", "list")[0] // 100 == 5
    assert client.mail("a@example.net", ["SIZE=99999999999999"])[0] == 552
    assert client.noop()[0] == 250
    assert client.docmd("QUIT")[0] == 221


plain_send()
sizes_agree()
international_addresses()
several_recipients()
chunks()
refusals()
