"""Thunderbird's way of talking: the commands that Thunderbird 128 sends, in its order and its spelling, over TLS and
COMPRESS=DEFLATE as it does by default; one connection a folder, another one for what is kept open in the background.

Thunderbird is no program for a test without a screen, so its side is written here. What its parser needs is what is
asserted: a UID in every FETCH, literals of the announced length, a response for each change that it did not make itself.
"""

import base64
import re
import socket
import zlib

from common import *

USER = "user8"
SERVER_MAIL = "Entw\u00fcrfe 2026"
HEADERS = (
    "From To Cc Bcc Resent-Message-ID Subject Date Message-ID Priority X-Priority References Newsgroups In-Reply-To "
    "Content-Type Reply-To List-Unsubscribe Received Delivery-Date"
)
LITERAL = re.compile(rb"\{(\d+)\}\r\n$")
CHUNK = 65_536


class Connection:
    """Tags are plain numbers. With a literal8-free text, an APPEND is sent as LITERAL+ allows: without waiting."""

    def __init__(self):
        self.tag = 0
        plain = socket.create_connection((HOST, IMAPS), timeout=PATIENCE)
        self.socket = unverified_tls().wrap_socket(plain, server_hostname=HOST)
        self.received = b""
        self.inflate = self.deflate = None
        greeting = self.line()
        assert greeting.startswith(b"* OK"), greeting
        capabilities = self.capability()
        assert {b"IMAP4rev1", b"AUTH=PLAIN", b"SASL-IR", b"ID"} <= capabilities, capabilities
        self.ok(b"authenticate PLAIN " + base64.b64encode(f"\0{address(USER)}\0{PASSWORD}".encode()))
        self.capabilities = self.capability()
        if b"COMPRESS=DEFLATE" in self.capabilities:
            self.ok(b"COMPRESS DEFLATE")
            self.inflate, self.deflate = zlib.decompressobj(-15), zlib.compressobj(wbits=-15)
        assert any(line.startswith(b"* ID ") for line in self.ok(b'ID ("name" "Thunderbird" "version" "128.5.0")'))
        assert self.ok(b"enable CONDSTORE") == [b"* ENABLED CONDSTORE\r\n"]
        assert self.ok(b"enable UTF8=ACCEPT") == [b"* ENABLED UTF8=ACCEPT\r\n"]
        assert self.ok(b"namespace") == [b'* NAMESPACE (("" "/")) NIL NIL\r\n']

    def capability(self):
        (line,) = [line for line in self.ok(b"capability") if line.startswith(b"* CAPABILITY ")]
        return set(line.split()[2:])

    def send(self, data):
        if self.deflate:
            data = self.deflate.compress(data) + self.deflate.flush(zlib.Z_SYNC_FLUSH)
        self.socket.sendall(data)

    def more(self):
        data = self.socket.recv(65_536)
        assert data, "the server hung up"
        self.received += self.inflate.decompress(data) if self.inflate else data

    def line(self):
        """One response with its literals."""
        end = 0
        while True:
            while (at := self.received.find(b"\n", end)) < 0:
                self.more()
            end = at + 1
            literal = LITERAL.search(self.received[:end])
            if not literal:
                break
            end += int(literal[1])
            while len(self.received) < end:
                self.more()
        line, self.received = self.received[:end], self.received[end:]
        assert line.endswith(b"\r\n"), line
        return line

    def ok(self, command):
        """The untagged responses to a command that must succeed; what came with its OK is `said`."""
        self.tag += 1
        self.send(b"%d %s\r\n" % (self.tag, command))
        return self.rest(b"%d " % self.tag)

    def rest(self, tag):
        untagged = []
        while True:
            line = self.line()
            if line.startswith(tag):
                assert line.startswith(tag + b"OK"), line
                self.said = line
                return untagged
            assert line.startswith(b"* "), line
            untagged.append(line)

    def select(self, name):
        """What selecting tells, by its first word."""
        lines = self.ok(f'select "{name}"'.encode())
        text = b"".join(lines)
        for wanted in (rb"UIDVALIDITY \d+", rb"UIDNEXT \d+", rb"HIGHESTMODSEQ \d+", rb"PERMANENTFLAGS \([^)]*\\\*\)"):
            assert re.search(wanted, text), (wanted, text)
        assert b"READ-WRITE" in self.said
        modseq = int(re.search(rb"HIGHESTMODSEQ (\d+)", text)[1])
        return int(re.search(rb"\* (\d+) EXISTS", text)[1]), modseq

    def flags(self, sequence="1:*", modifier=""):
        """UID to flags; each response has both."""
        lines = self.ok(f"UID fetch {sequence} (FLAGS){modifier}".encode())
        found = [re.search(rb"FETCH \((?=.*UID (\d+))(?=.*FLAGS \(([^)]*)\))", line) for line in lines if b" FETCH " in line]
        return {int(each[1]): set(each[2].split()) - {b"\\Recent"} for each in found}

    def headers(self, sequence):
        fields = f"UID fetch {sequence} (UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS ({HEADERS})])"
        lines = self.ok(fields.encode())
        assert all(re.search(rb"UID \d+", line) and b"RFC822.SIZE " in line for line in lines if b" FETCH " in line), lines
        return [line for line in lines if b" FETCH " in line]

    def body(self, uid, size):
        """A message by chunks, as it reads long ones."""
        text = b""
        while len(text) < size:
            (line,) = self.ok(b"UID fetch %d (UID RFC822.SIZE BODY.PEEK[]<%d.%d>)" % (uid, len(text), CHUNK))
            assert b"BODY[]<%d>" % len(text) in line, line[:200]
            length = int(re.search(rb"\{(\d+)\}\r\n", line)[1])
            start = line.index(b"}\r\n") + 3
            text += line[start : start + length]
        return text

    def idle(self, action, wanted):
        """Until a line with each of `wanted` has come, in that order, after `action` was done by another."""
        self.tag += 1
        self.send(b"%d IDLE\r\n" % self.tag)
        assert self.line().startswith(b"+")
        action()
        for each in wanted:
            while each not in self.line():
                pass
        self.send(b"DONE\r\n")
        self.rest(b"%d " % self.tag)


def folders(client):
    listed = b"".join(client.ok(b'list (subscribed) "" "*" return (special-use)'))
    assert re.search(rb'\* LIST \([^)]*\) "/" "?INBOX', client.ok(b'list "" "INBOX"')[0])
    everything = b"".join(client.ok(b'list "" "*"'))
    for name, use in ((b"Sent", b"\\Sent"), (b"Drafts", b"\\Drafts"), (b"Trash", b"\\Trash"), (b"Archive", b"\\Archive")):
        assert re.search(rb"\([^)]*" + re.escape(use) + rb'[^)]*\) "/" "?' + name, listed + everything), (name, listed, everything)
    quoted = f'"{SERVER_MAIL}"'.encode()
    client.ok(b"create " + quoted)
    client.ok(b"subscribe " + quoted)
    assert quoted in b"".join(client.ok(b'list (subscribed) "" "*" return (special-use)'))
    (status,) = client.ok(b"STATUS " + quoted + b" (UIDNEXT MESSAGES UNSEEN RECENT)")
    assert quoted in status and b"MESSAGES 0" in status and b"UIDNEXT 1" in status, status


def first_look(client):
    """A folder that is opened for the first time."""
    for number in (1, 2):
        send(USER, f"Subject: number {number}\r\nMessage-ID: <{number}@client.example.net>\r\n\r\ntext {number}\r\n".encode())
    long = b"Subject: long\r\nContent-Type: text/plain\r\n\r\n" + b"0123456789 a line of it\r\n" * 8_000
    send(USER, long)
    exists, modseq = client.select("INBOX")
    assert exists == 3
    assert any(line.startswith(b"* QUOTAROOT ") for line in client.ok(b'getquotaroot "INBOX"'))
    assert client.flags() == {1: set(), 2: set(), 3: set()}
    lines = client.headers("1:3")
    assert len(lines) == 3 and b"Message-ID: <2@client.example.net>" in lines[1], lines
    size = int(re.search(rb"RFC822.SIZE (\d+)", lines[2])[1])
    assert size > 2 * CHUNK
    prefix_of(client.body(3, size), long)
    preview = b"".join(client.ok(b"UID fetch 1:2 (UID BODY.PEEK[TEXT]<0.2048>)"))
    assert b"text 1\r\n" in preview and b"text 2\r\n" in preview
    client.ok(b"UID fetch 1 (UID RFC822.SIZE BODY[])")
    assert client.flags("1")[1] == {b"\\Seen"}
    return modseq


def work(client, modseq):
    """Tags, junk, search, a message sent and filed, archive and trash."""
    client.ok(b"uid store 2 +FLAGS ($label1 NonJunk)")
    client.ok(b"uid store 1 +Flags (\\Answered)")
    client.ok(b"uid store 1 -Flags (\\Seen)")
    assert client.flags("1:*", f" (CHANGEDSINCE {modseq})") == {1: {b"\\Answered"}, 2: {b"$label1", b"NonJunk"}}
    (found,) = client.ok('UID SEARCH UNDELETED OR SUBJECT "number 2" FROM "nobody"'.encode())
    assert found.split()[:3] == [b"*", b"SEARCH", b"2"], found

    letter = "From: me@example.org\r\nSubject: für dich\r\nMessage-ID: <mine@example.org>\r\n\r\nGrüße\r\n".encode()
    client.ok(b'append "Sent" (\\Seen) {%d+}\r\n%s' % (len(letter), letter))
    appended = re.search(rb"\[APPENDUID \d+ (\d+)\]", client.said)
    assert appended, client.said
    sent = Connection()
    assert sent.select("Sent")[0] == 1
    (found,) = sent.ok(b"UID SEARCH UNDELETED HEADER Message-ID <mine@example.org>")
    assert found.split()[2] == appended[1], found
    assert sent.body(int(appended[1]), len(letter)) == letter
    sent.ok(b"logout")

    told = client.ok(f'uid move 1 "{SERVER_MAIL}"'.encode())
    assert any(b"COPYUID" in line for line in told) and b"* 1 EXPUNGE\r\n" in told, told
    client.ok(f'uid copy 2 "{SERVER_MAIL}"'.encode())
    assert b"COPYUID" in client.said
    client.ok(b"uid store 2 +Flags (\\Deleted)")
    assert b"* 1 EXPUNGE\r\n" in client.ok(b"uid expunge 2")
    assert client.flags() == {3: set()}
    other = Connection()
    assert other.select(SERVER_MAIL)[0] == 2
    assert other.flags() == {1: {b"\\Answered"}, 2: {b"$label1", b"NonJunk"}}
    other.ok(b"close")
    return other


def background(client, other):
    """IDLE in the open folder; what another does to it shows, and is fetched as it does then."""
    other.select("INBOX")
    letter = b"Subject: pushed\r\n\r\npushed\r\n"
    client.idle(lambda: send(USER, letter), [b"* 2 EXISTS"])
    assert client.flags("4:*") == {4: set()}
    assert len(client.headers("4")) == 1
    assert b"* 2 EXISTS\r\n" in other.ok(b"noop")
    client.idle(lambda: other.ok(b"uid store 4 +Flags (\\Flagged)"), [b"* 2 FETCH"])
    client.idle(lambda: other.ok(b'uid move 3 "Trash"'), [b"* 1 EXPUNGE"])
    assert client.flags() == {4: {b"\\Flagged"}}
    client.ok(b"noop")
    other.ok(b"logout")
    client.ok(f'rename "{SERVER_MAIL}" "Archive/{SERVER_MAIL}"'.encode())
    assert f"Archive/{SERVER_MAIL}".encode() in b"".join(client.ok(b'list "" "*"'))
    client.ok(b"logout")


client = Connection()
folders(client)
background(client, work(client, first_look(client)))
