"""What the client scripts share: the ports they are given, accounts, and how a message is compared with what was sent."""

import imaplib
import os
import poplib
import smtplib
import ssl
import time

HOST = "127.0.0.1"
PASSWORD = "ringpost"
SMTP, IMAP, POP3, IMAPS, POP3S = (
    int(os.environ["RINGPOST_" + name]) for name in ("SMTP", "IMAP", "POP3", "IMAPS", "POP3S")
)
# Any wait longer than this fails the test.
PATIENCE = 30
TRACE_FIELDS = (b"return-path", b"delivered-to", b"received", b"authentication-results")


def address(user):
    return f"{user}@example.org"


def smtp():
    return smtplib.SMTP(HOST, SMTP, local_hostname="client.example.net", timeout=PATIENCE)


def imap(user, mailbox=None):
    client = imaplib.IMAP4(HOST, IMAP, timeout=PATIENCE)
    client.login(address(user), PASSWORD)
    if mailbox:
        ok(client.select(mailbox))
    return client


def pop3(user):
    client = poplib.POP3(HOST, POP3, timeout=PATIENCE)
    client.user(address(user))
    client.pass_(PASSWORD)
    return client


def unverified_tls():
    """The demo's certificate is its own; these tests are of the protocol, not of trust."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def ok(answer):
    """imaplib answers with a pair; returns the data of a successful one."""
    kind, data = answer
    assert kind == "OK", answer
    return data


def prefix_of(text, body):
    """The trace fields in front of `body`; fails if anything else differs."""
    assert text.endswith(body), f"the body changed:\n{text[:1500]!r}\nwas sent as\n{body[:1500]!r}"
    prefix = text[: len(text) - len(body)]
    for line in prefix.split(b"\r\n")[:-1]:
        if not line.startswith((b" ", b"\t")):
            assert line.split(b":")[0].lower() in TRACE_FIELDS, f"not a trace field: {line!r}"
    assert not prefix or prefix.endswith(b"\r\n"), prefix
    return prefix


def send(user, body, sender="sender@example.net"):
    client = smtp()
    assert client.sendmail(sender, [address(user)], body) == {}
    client.quit()


def fetch_all(user):
    """Every message of the INBOX, in order, over IMAP."""
    client = imap(user, "INBOX")
    numbers = ok(client.search(None, "ALL"))[0].split()
    texts = [ok(client.fetch(number, "(BODY.PEEK[])"))[0][1] for number in numbers]
    client.logout()
    return texts


def retrieve_all(user):
    """Every message of the maildrop, in order, over POP3."""
    client = pop3(user)
    count = client.stat()[0]
    texts = [b"\r\n".join(client.retr(number)[1]) + b"\r\n" for number in range(1, count + 1)]
    client.quit()
    return texts


def wait_for(condition, what):
    """Until it holds. A message to users of several cores is in the spool when it is acknowledged, with each a moment later."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE} s"
        time.sleep(0.01)


def counts(client, mailbox, *items):
    """STATUS of a mailbox as a dictionary."""
    text = ok(client.status(mailbox, "(" + " ".join(items) + ")"))[0].decode()
    words = text[text.rindex("(") + 1 : -1].split()
    return dict(zip(words[::2], map(int, words[1::2])))
