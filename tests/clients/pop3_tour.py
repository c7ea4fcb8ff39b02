"""One POP3 client from end to end, beside IMAP: nothing goes without QUIT, and what goes is gone for both."""

from common import *

for number in range(1, 6):
    send("user1", b"Subject: n%d\r\n\r\n.dot\r\nline 2\r\nline 3 of %d\r\n" % (number, number))

client = pop3("user1")
assert {"UIDL", "TOP", "PIPELINING", "RESP-CODES"} <= set(client.capa()), client.capa()
count, octets = client.stat()
assert count == 5
sizes = [int(line.split()[1]) for line in client.list()[1]]
assert sum(sizes) == octets
names = [line.split()[1] for line in client.uidl()[1]]
assert len(set(names)) == 5 and all(1 <= len(name) <= 70 for name in names)
head = client.top(2, 0)[1]
assert b"Subject: n2" in head and b".dot" not in head and head[-1] == b"", head
two = client.top(2, 2)[1]
assert two[-2:] == [b".dot", b"line 2"], two
for wrong in ("RETR 0", "RETR 6", "RETR x", "DELE 99999999999", "TOP 1", "LIST 6"):
    try:
        client._shortcmd(wrong)
    except poplib.error_proto:
        continue
    raise AssertionError(f"{wrong} was answered +OK")
client.dele(1)
client.dele(3)
assert client.stat()[0] == 3
client.rset()
assert client.stat()[0] == 5
client.dele(1)
# Without QUIT nothing goes.
client.sock.close()
client.file.close()

client = pop3("user1")
assert client.stat()[0] == 5
assert [line.split()[1] for line in client.uidl()[1]] == names, "UIDL changed between sessions"
client.dele(2)
client.dele(5)
assert client.quit().startswith(b"+OK")

client = imap("user1", "INBOX")
subjects = [ok(client.fetch(str(n), "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])"))[0][1] for n in (1, 2, 3)]
assert subjects == [b"Subject: n%d\r\n\r\n" % n for n in (1, 3, 4)], subjects
assert counts(client, "INBOX", "MESSAGES")["MESSAGES"] == 3

# A message that IMAP expunges under an open POP3 session is refused there, never swapped for another.
drop = pop3("user1")
ok(client.store("1", "+FLAGS", r"(\Deleted)"))
ok(client.expunge())
client.logout()
assert b"Subject: n3" in drop.retr(2)[1]
try:
    assert b"Subject: n1" in drop.retr(1)[1]
except poplib.error_proto:
    pass
drop.quit()
assert [line.split()[1] for line in pop3("user1").uidl()[1]] == [names[2], names[3]]

# What LIST announces is what RETR sends, whatever line ends were stored: every one goes out as CRLF, the last one too.
client = imap("user2")
for odd in (b"Subject: lf\n\nbare\nends\n", b"Subject: none\r\n\r\nno end", b"Subject: cr\r\n\r\na\rb\r\n.\n", b"\r\n"):
    # imaplib's append() would turn every line end into CRLF.
    client.literal = odd
    ok(client._simple_command("APPEND", "INBOX"))
client.logout()
send("user2", b"Subject: mail\r\n\r\n.dot\r\n")
drop = pop3("user2")
for line in drop.list()[1]:
    number, announced = map(int, line.split())
    assert drop.retr(number)[2] == announced, (number, announced)
drop.quit()
