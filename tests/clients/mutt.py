"""mutt, driven by its keys in a pseudo-terminal, copies a whole IMAP mailbox to an mbox file."""

import mailbox
import os
import tempfile

import terminal
from common import *

BODIES = [b"From: a@example.net\nSubject: to mutt %d\n\nFirst line.\nLast line of %d.\n" % (n, n) for n in range(1, 4)]
for body in BODIES:
    send("user1", body.replace(b"\n", b"\r\n"))

place = tempfile.TemporaryDirectory(prefix="ringpost-mutt-")
home = place.name
copy = os.path.join(home, "copy")
with open(os.path.join(home, "muttrc"), "w") as settings:
    settings.write(
        f"""set imap_user="{address("user1")}"
set imap_pass="{PASSWORD}"
set ssl_starttls=no
set ssl_force_tls=no
set confirmappend=no
set confirmcreate=no
set folder="{home}"
set tmpdir="{home}"
set wait_key=no
"""
    )
STEPS = [
    (b"Msgs:3", b"T"),
    (b"Tag messages matching", b"~A\r"),
    (b"*", b";C"),
    (b"Copy tagged", b"\x15" + copy.encode() + b"\r"),
    (b"Fetching message", b"x"),
]
screen = terminal.drive(["mutt", "-n", "-F", f"{home}/muttrc", "-f", f"imap://{HOST}:{IMAP}/INBOX"], home, STEPS)
texts = [message.as_bytes() for message in mailbox.mbox(copy)]
assert len(texts) == 3, (len(texts), screen)
for text, body in zip(texts, BODIES):
    assert text.split(b"\n\n", 1)[1].rstrip() == body.split(b"\n\n", 1)[1].rstrip(), text
