"""neomutt, driven by its keys in a pseudo-terminal, flags, moves and deletes, is told of mail while it waits, and comes
back by QRESYNC with what it kept in its header cache."""

import os
import tempfile

import terminal
from common import *

USER = "user7"
NAME = "Entwürfe"
WIRE_NAME = "Entw&APw-rfe"
# Curses paints what changed only; this key has it paint everything.
REDRAW = b"\x0c"


def letter(number):
    return f"From: a@example.net\r\nSubject: number {number}\r\n\r\ntext {number}\r\n".encode()


def settings(home):
    return f"""set imap_user="{address(USER)}"
set imap_pass="{PASSWORD}"
set ssl_starttls=no
set ssl_force_tls=no
set confirmappend=no
set confirmcreate=no
set delete=yes
set quit=yes
set mark_old=no
set sort=mailbox-order
set folder="imap://{HOST}:{IMAP}"
set header_cache="{home}/headers"
set message_cachedir="{home}/messages"
set tmpdir="{home}"
set imap_idle=yes
set imap_condstore=yes
set imap_qresync=yes
set mail_check=1
set timeout=1
set status_format="[Msgs:%m New:%n Flag:%F Del:%d]"
set sleep_time=0
"""


def run(home, steps):
    url = f"imap://{HOST}:{IMAP}/INBOX"
    return terminal.drive(["neomutt", "-n", "-F", f"{home}/neomuttrc", "-f", url], home, steps)


def new_mail():
    send(USER, letter(4))
    return b""


def job(home):
    client = imap(USER)
    ok(client.create(WIRE_NAME))
    for number in (1, 2, 3):
        send(USER, letter(number))
    # Message 1 is flagged, 2 is moved to a folder whose name is not ASCII, 3 is deleted; then mail comes.
    run(
        home,
        [
            (b"Msgs:3", b"1\r\r"),
            (b"text 1", b"iF" + REDRAW),
            (b"Flag:1", b"2\r\r"),
            (b"text 2", b"is"),
            (b"Save to mailbox", b"\x15=" + NAME.encode() + b"\r" + REDRAW),
            (b"Del:1", b"3\r\r"),
            (b"text 3", b"id" + REDRAW),
            (b"Del:2", b"$" + REDRAW),
            (b"Msgs:1 ", new_mail),
            (b"New mail", REDRAW),
            (b"Msgs:2 ", b"q"),
        ],
    )
    ok(client.select("INBOX"))
    assert ok(client.search(None, "ALL"))[0] == b"1 2"
    assert ok(client.search(None, "FLAGGED", "SEEN"))[0] == b"1"
    assert ok(client.search(None, "BODY", '"text 4"'))[0] == b"2"
    ok(client.select(WIRE_NAME))
    assert ok(client.search(None, "BODY", '"text 2"'))[0] == b"1"

    # While it is away: a flag, a deletion, new mail.
    ok(client.select("INBOX"))
    ok(client.store("1", "+FLAGS", "(\\Deleted)"))
    ok(client.expunge())
    ok(client.store("1", "+FLAGS", "(\\Flagged \\Seen)"))
    send(USER, letter(5))
    run(home, [(b"Msgs:2 New:1 Flag:1 ", b"2\r\r"), (b"text 5", b"i" + REDRAW), (b"Msgs:2 ", b"q")])
    ok(client.noop())
    assert ok(client.search(None, "SEEN"))[0] == b"1 2"
    client.logout()


with tempfile.TemporaryDirectory(prefix="ringpost-neomutt-") as directory:
    os.makedirs(os.path.join(directory, "messages"))
    with open(os.path.join(directory, "neomuttrc"), "w") as file:
        file.write(settings(directory))
    job(directory)
