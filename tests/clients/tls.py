"""STARTTLS over all three protocols and implicit TLS over two: mail goes in and comes out encrypted."""

from common import *

BODY = b"Subject: over TLS\r\n\r\n" + b"z" * 70 + b"\r\n" * 3 + b"".join(b"%098d\r\n" % n for n in range(1000))

client = smtp()
client.ehlo()
assert client.has_extn("starttls")
client.starttls(context=unverified_tls())
assert client.ehlo_or_helo_if_needed() is None
assert not client.has_extn("starttls"), "STARTTLS is offered inside TLS"
for number in range(3):
    assert client.sendmail("sender@example.net", [address("user1")], BODY) == {}
client.quit()


def check_imap(client):
    client.login(address("user1"), PASSWORD)
    client.select("INBOX", readonly=True)
    for number in ("1", "2", "3"):
        prefix_of(ok(client.fetch(number, "(BODY.PEEK[])"))[0][1], BODY)
    client.logout()


def check_pop3(client):
    client.user(address("user1"))
    client.pass_(PASSWORD)
    assert client.stat()[0] == 3
    for number in (1, 2, 3):
        prefix_of(b"\r\n".join(client.retr(number)[1]) + b"\r\n", BODY)
    client.quit()


client = imaplib.IMAP4(HOST, IMAP, timeout=PATIENCE)
client.starttls(unverified_tls())
assert "STARTTLS" not in client.capabilities, "STARTTLS is offered inside TLS"
check_imap(client)
check_imap(imaplib.IMAP4_SSL(HOST, IMAPS, ssl_context=unverified_tls(), timeout=PATIENCE))

client = poplib.POP3(HOST, POP3, timeout=PATIENCE)
assert "STLS" in client.capa()
client.stls(unverified_tls())
check_pop3(client)
check_pop3(poplib.POP3_SSL(HOST, POP3S, context=unverified_tls(), timeout=PATIENCE))

# Both versions that are on by default.
for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
    context = unverified_tls()
    context.minimum_version = context.maximum_version = version
    client = imaplib.IMAP4_SSL(HOST, IMAPS, ssl_context=context, timeout=PATIENCE)
    check_imap(client)
