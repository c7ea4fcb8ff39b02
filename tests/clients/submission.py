"""smtplib submits over STARTTLS, over TLS and with every mechanism it has; whose mail it may be is kept."""

import os
import smtplib
from common import *

PORTS = [int(os.environ["RINGPOST_" + name]) for name in ("SUBMISSION", "SUBMISSION_2525")]
TLS_PORT = int(os.environ["RINGPOST_SUBMISSIONS"])
LETTER = b"From: User One <user1@example.org>\r\nSubject: %s\r\n\r\nx\r\n"


def starttls(port):
    client = smtplib.SMTP(HOST, port, timeout=PATIENCE)
    client.ehlo()
    client.starttls(context=unverified_tls())
    client.ehlo()
    return client


def refused(code, call, *arguments):
    try:
        call(*arguments)
    except smtplib.SMTPRecipientsRefused as error:
        found = {c for c, _ in error.recipients.values()}
        assert found == {code}, error
    except smtplib.SMTPResponseException as error:
        assert error.smtp_code == code, error
    else:
        raise AssertionError(f"{arguments} was not refused with {code}")


for client in [starttls(port) for port in PORTS] + [
    smtplib.SMTP_SSL(HOST, TLS_PORT, context=unverified_tls(), timeout=PATIENCE)
]:
    client.ehlo_or_helo_if_needed()
    assert client.has_extn("auth"), client.esmtp_features
    refused(530, client.sendmail, address("user1"), address("user2"), LETTER % b"early")
    refused(535, client.login, address("user1"), "wrong")
    client.login(address("user1"), PASSWORD)
    assert client.sendmail(address("user1"), [address("user2"), address("user1")], LETTER % b"mine") == {}
    # By another name of the account's, and from nobody, as notifications are.
    assert client.sendmail("user1+notes@example.org", address("user2"), LETTER % b"by a detail") == {}
    assert client.sendmail("", address("user2"), LETTER % b"from nobody") == {}
    refused(550, client.sendmail, address("user2"), address("user2"), LETTER % b"in another's name")
    refused(550, client.sendmail, address("user1"), address("user2"), b"From: user2@example.org\r\n\r\nforged\r\n")
    refused(550, client.sendmail, address("user1"), address("user2"), b"Subject: by nobody\r\n\r\nx\r\n")
    refused(550, client.sendmail, address("user1"), "a@elsewhere.example", LETTER % b"to the world")
    refused(550, client.sendmail, address("user1"), address("nobody"), LETTER % b"to nobody")
    client.quit()

for mechanism, method in (("PLAIN", "auth_plain"), ("LOGIN", "auth_login")):
    client = starttls(PORTS[0])
    client.user, client.password = address("user3"), PASSWORD
    for initial in (True, False):
        code, _ = client.auth(mechanism, getattr(client, method), initial_response_ok=initial)
        assert code == 235
        client.quit()
        client = starttls(PORTS[0])
        client.user, client.password = address("user3"), PASSWORD

# What the program left out is there, and nothing else was changed.
reader = imaplib.IMAP4(HOST, IMAP, timeout=PATIENCE)
reader.login(address("user2"), PASSWORD)
wait_for(lambda: counts(reader, "INBOX", "MESSAGES")["MESSAGES"] >= 9, "all nine messages")
reader.select("INBOX", readonly=True)
numbers = ok(reader.search(None, "ALL"))[0].split()
assert len(numbers) == 9, numbers
for number in numbers:
    text = ok(reader.fetch(number, "(BODY.PEEK[])"))[0][1]
    head, body = text.split(b"\r\n\r\n", 1)
    assert body == b"x\r\n", text
    assert head.count(b"\r\nDate: ") == 1 and head.count(b"\r\nMessage-ID: <") == 1, head
    assert b" with ESMTPSA id " in head, head
    assert b"\r\nSender:" not in head
reader.logout()
