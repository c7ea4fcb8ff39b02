"""Two clients of one account see each other's changes, and one in IDLE is told of new mail without asking.

No sleeps: whoever waits, waits on its socket, for `PATIENCE` at most.
"""

import socket
import time

from common import *


class Idler:
    """A raw session in IDLE (imaplib of many Pythons has none)."""

    def __init__(self, user):
        self.socket = socket.create_connection((HOST, IMAP), timeout=PATIENCE)
        self.lines = self.socket.makefile("rb")
        assert self.lines.readline().startswith(b"* OK")
        self.ask(f"LOGIN {address(user)} {PASSWORD}")
        self.ask("SELECT INBOX")

    def ask(self, command):
        self.socket.sendall(f"i {command}\r\n".encode())
        return self.until(b"i ")

    def until(self, start):
        lines = []
        while True:
            line = self.lines.readline()
            assert line, f"the server hung up after {lines}"
            lines.append(line.rstrip(b"\r\n"))
            if line.startswith(start):
                assert not line.startswith((b"i NO", b"i BAD")), lines
                return lines

    def idle(self):
        self.socket.sendall(b"i IDLE\r\n")
        self.until(b"+")

    def wait_for(self, part):
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            line = self.lines.readline()
            assert line, "the server hung up in IDLE"
            if part in line:
                return line
        raise AssertionError(f"nothing of {part} in IDLE")

    def done(self):
        self.socket.sendall(b"DONE\r\n")
        self.until(b"i OK")


def told(client, kind):
    """What `client` was told on its own account since it last looked."""
    return [data for data in client.response(kind)[1] if data is not None]


def idle_is_told_of_mail():
    idler = Idler("user1")
    idler.idle()
    send("user1", b"Subject: ring\r\n\r\nring\r\n")
    assert b"1 EXISTS" in idler.wait_for(b"EXISTS")
    send("user1", b"Subject: again\r\n\r\nring\r\n")
    assert b"2 EXISTS" in idler.wait_for(b"EXISTS")
    # Flags and expunges of another session too.
    other = imap("user1", "INBOX")
    ok(other.store("1", "+FLAGS", r"(\Flagged)"))
    assert b"Flagged" in idler.wait_for(b"1 FETCH")
    ok(other.store("2", "+FLAGS", r"(\Deleted)"))
    ok(other.expunge())
    assert b"2 EXPUNGE" in idler.wait_for(b"EXPUNGE")
    other.logout()
    idler.done()
    # What the session saw in IDLE is what it has.
    lines = idler.ask("FETCH 1:* (FLAGS)")
    assert len([line for line in lines if line.startswith(b"* ") and b"FETCH" in line]) == 1, lines


def changes_show_on_the_next_command():
    one, two = imap("user2", "INBOX"), imap("user2", "INBOX")
    send("user2", b"Subject: first\r\n\r\n1\r\n")
    for client in (one, two):
        ok(client.noop())
        assert told(client, "EXISTS")[-1] == b"1"
    ok(one.store("1", "+FLAGS", r"(\Answered $Shared)"))
    line = ok(two.fetch("1", "(FLAGS)"))[-1]
    assert rb"\Answered" in line and b"$Shared" in line, line
    ok(two.store("1", "-FLAGS", r"($Shared)"))
    line = ok(one.fetch("1", "(FLAGS)"))[-1]
    assert rb"\Answered" in line and b"$Shared" not in line, line
    ok(one.create("Elsewhere"))
    ok(two.append("INBOX", None, None, b"Subject: second\r\n\r\n2\r\n"))
    ok(one.noop())
    assert told(one, "EXISTS")[-1] == b"2"
    kind, _ = one.uid("MOVE", str(uid_of(one, 1)), "Elsewhere")
    assert kind == "OK"
    ok(two.noop())
    assert told(two, "EXPUNGE") == [b"1"]
    assert counts(two, "Elsewhere", "MESSAGES")["MESSAGES"] == 1
    assert counts(two, "INBOX", "MESSAGES")["MESSAGES"] == 1
    one.logout()
    two.logout()


def uid_of(client, number):
    return int(ok(client.fetch(str(number), "(UID)"))[0].split(b"UID ")[1].rstrip(b")"))


def numbers_hold_while_another_expunges():
    """FETCH by number must not shift under a session that was not told of an EXPUNGE yet (RFC 3501 7.4.1)."""
    for number in range(1, 5):
        send("user3", b"Subject: n%d\r\n\r\n%d\r\n" % (number, number))
    one, two = imap("user3", "INBOX"), imap("user3", "INBOX")
    ok(one.store("1", "+FLAGS.SILENT", r"(\Deleted)"))
    ok(one.expunge())
    data = ok(two.fetch("3", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])"))
    assert b"n3" in data[0][1], data
    assert told(two, "EXPUNGE") == [], "EXPUNGE was sent during FETCH"
    ok(two.noop())
    assert told(two, "EXPUNGE") == [b"1"]
    data = ok(two.fetch("3", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])"))
    assert b"n4" in data[0][1], data
    one.logout()
    two.logout()


def no_flag_is_lost():
    """Flags set at once by two sessions are all there."""
    send("user4", b"Subject: flags\r\n\r\nx\r\n")
    one, two = imap("user4", "INBOX"), imap("user4", "INBOX")
    for round_ in range(20):
        tags = [client._command("STORE", "1", "+FLAGS", f"({name}{round_})") for client, name in ((one, "a"), (two, "b"))]
        for client, tag in zip((one, two), tags):
            assert client._command_complete("STORE", tag)[0] == "OK"
    line = ok(one.fetch("1", "(FLAGS)"))[-1]
    words = set(line.replace(b"(", b" ").replace(b")", b" ").split())
    missing = [f"{name}{n}" for name in "ab" for n in range(20) if f"{name}{n}".encode() not in words]
    assert not missing, (missing, line)
    one.logout()
    two.logout()


idle_is_told_of_mail()
changes_show_on_the_next_command()
numbers_hold_while_another_expunges()
no_flag_is_lost()
