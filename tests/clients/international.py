"""An international domain by both of its spellings: mail to it, logins on every protocol, and whose address one may use."""

import base64
import imaplib
import os
import poplib
import smtplib
import ssl
import sys

HOST = "127.0.0.1"
PATIENCE = 30
SPELLINGS = ["Anna@Bücher.example", "anna@xn--bcher-kva.example", "ANNA@XN--BCHER-KVA.EXAMPLE"]
PASSWORD = sys.argv[1]
TLS = ssl.create_default_context()
TLS.check_hostname = False
TLS.verify_mode = ssl.CERT_NONE


def port(name):
    return int(os.environ["RINGPOST_" + name])


def options(address):
    return [] if address.isascii() else ["SMTPUTF8"]


def deliver(client, to, subject):
    client.ehlo_or_helo_if_needed()
    code, text = client.mail("me@example.net", options(to))
    assert code == 250, (to, code, text)
    # smtplib's own commands are ASCII only until it is told.
    client.command_encoding = "utf-8"
    code, text = client.rcpt(to)
    assert code == 250, (to, code, text)
    code, text = client.data(f"Subject: {subject}\r\n\r\n{subject}\r\n".encode())
    assert code == 250, (to, code, text)


def plain(login):
    return b"\0" + login.encode() + b"\0" + PASSWORD.encode()


def messages(login):
    imap = imaplib.IMAP4_SSL(HOST, port("IMAPS"), ssl_context=TLS, timeout=PATIENCE)
    imap.authenticate("PLAIN", lambda _: plain(login))
    state, (count,) = imap.select("INBOX", readonly=True)
    assert state == "OK", state
    imap.logout()
    return int(count)


def maildrop(login):
    pop3 = poplib.POP3_SSL(HOST, port("POP3S"), context=TLS, timeout=PATIENCE)
    pop3.encoding = "utf-8"
    if not login.isascii():
        pop3.utf8()
    pop3.user(login)
    pop3.pass_(PASSWORD)
    count, _ = pop3.stat()
    pop3.quit()
    return count


def submit(login, sender, author):
    client = smtplib.SMTP_SSL(HOST, port("SUBMISSIONS"), context=TLS, timeout=PATIENCE)
    client.ehlo()
    code, text = client.docmd("AUTH", "PLAIN " + base64.b64encode(plain(login)).decode())
    assert code == 235, (login, code, text)
    client.command_encoding = "utf-8"
    code, text = client.mail(sender, ["SMTPUTF8"])
    if code == 250:
        code, text = client.rcpt("anna@bücher.example")
    if code == 250:
        code, text = client.data(f"From: {author}\r\nSubject: submitted\r\n\r\nx\r\n".encode())
    client.close()
    return code


for number, to in enumerate(SPELLINGS + ["team@bücher.example", "team@xn--bcher-kva.example"]):
    with smtplib.SMTP(HOST, port("SMTP"), local_hostname="client.example.net", timeout=PATIENCE) as client:
        deliver(client, to, f"by SMTP {number}")
    with smtplib.LMTP(HOST, port("LMTP"), local_hostname="client.example.net") as client:
        deliver(client, to, f"by LMTP {number}")
sent = 10
for login in SPELLINGS:
    assert messages(login) == sent, (login, messages(login))
    assert maildrop(login) == sent, login
for login in SPELLINGS:
    for sender, author in zip(SPELLINGS, SPELLINGS[1:] + SPELLINGS[:1]):
        assert submit(login, sender, author) == 250, (login, sender, author)
        sent += 1
assert messages(SPELLINGS[0]) == sent
# Another's address is another's in both spellings.
for other in ["bob@bücher.example", "bob@xn--bcher-kva.example"]:
    assert submit(SPELLINGS[0], other, SPELLINGS[0]) in (550, 553), other
    assert submit(SPELLINGS[0], SPELLINGS[1], other) in (550, 553), other

# What no domain is.
with smtplib.SMTP(HOST, port("SMTP"), local_hostname="client.example.net", timeout=PATIENCE) as client:
    client.ehlo()
    client.command_encoding = "utf-8"
    assert client.mail("me@example.net", ["SMTPUTF8"])[0] == 250
    for hostile in ["a@\u05d0a.example", "a@\u0308u.example", "a@bücher.example.", "a@" + "üö" * 31 + ".example"]:
        code, text = client.rcpt(hostile)
        assert code in (501, 553), (hostile, code, text)
    assert client.rcpt("nobody@bücher.example")[0] == 550
    assert client.rcpt("anna@bücher.example")[0] == 250
