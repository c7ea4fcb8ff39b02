"""mutt, driven by its keys in a pseudo-terminal, copies a whole IMAP mailbox to an mbox file."""

import mailbox
import os
import pty
import select
import signal
import sys
import tempfile
import time

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
# What the screen must show before each group of keys is pressed.
STEPS = [
    (b"Msgs:3", b"T"),
    (b"Tag messages matching", b"~A\r"),
    (b"*", b";C"),
    (b"Copy tagged", b"\x15" + copy.encode() + b"\r"),
    (b"Fetching message", b"x"),
]
pid, terminal = pty.fork()
if pid == 0:
    os.environ.update(TERM="vt100", HOME=home, LINES="24", COLUMNS="80", LC_ALL="C")
    os.execvp("mutt", ["mutt", "-n", "-F", f"{home}/muttrc", "-f", f"imap://{HOST}:{IMAP}/INBOX"])

screen, shown = b"", b""
deadline = time.monotonic() + PATIENCE
while True:
    if time.monotonic() > deadline:
        os.kill(pid, signal.SIGKILL)
        sys.exit(f"mutt did not end; left to do: {STEPS}; its screen:\n{screen!r}")
    if not select.select([terminal], [], [], 0.2)[0]:
        continue
    try:
        data = os.read(terminal, 4096)
    except OSError:  # mutt has ended
        break
    if not data:
        break
    screen += data
    shown += data
    if STEPS and STEPS[0][0] in shown:
        os.write(terminal, STEPS.pop(0)[1])
        shown = b""
_, status = os.waitpid(pid, 0)
assert os.waitstatus_to_exitcode(status) == 0, screen
texts = [message.as_bytes() for message in mailbox.mbox(copy)]
assert len(texts) == 3, (len(texts), screen)
for text, body in zip(texts, BODIES):
    assert text.split(b"\n\n", 1)[1].rstrip() == body.split(b"\n\n", 1)[1].rstrip(), text
