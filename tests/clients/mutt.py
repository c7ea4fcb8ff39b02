"""mutt, driven by its own key commands in a pseudo-terminal, copies a whole IMAP mailbox to an mbox file."""

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

home = tempfile.mkdtemp()
copy = os.path.join(home, "copy")
with open(os.path.join(home, "muttrc"), "w") as settings:
    settings.write(
        f"""set imap_user="{address("user1")}" imap_pass="{PASSWORD}"
set ssl_starttls=no ssl_force_tls=no confirmappend=no confirmcreate=no delete=no move=no copy=no
set mbox_type=mbox tmpdir="{home}" header_cache="" message_cachedir="" sort=mailbox-order
push "<first-entry><tag-entry><tag-entry><tag-entry><tag-prefix><copy-message><kill-line>{copy}<enter><exit>"
"""
    )
arguments = ["mutt", "-n", "-F", f"{home}/muttrc", "-f", f"imap://{HOST}:{IMAP}/INBOX"]
pid, terminal = pty.fork()
if pid == 0:
    os.environ.update(TERM="vt100", HOME=home, LINES="24", COLUMNS="80")
    os.execvp("mutt", arguments)

screen = b""
deadline = time.monotonic() + PATIENCE
while time.monotonic() < deadline:
    if not select.select([terminal], [], [], 0.2)[0]:
        continue
    try:
        data = os.read(terminal, 4096)
    except OSError:  # mutt has ended
        break
    if not data:
        break
    screen += data
else:
    os.kill(pid, signal.SIGKILL)
    sys.exit(f"mutt did not end; its screen:\n{screen!r}")
_, status = os.waitpid(pid, 0)
assert os.waitstatus_to_exitcode(status) == 0, screen
texts = [message.as_bytes() for message in mailbox.mbox(copy)]
assert len(texts) == 3, (len(texts), screen)
for text, body in zip(texts, BODIES):
    assert text.split(b"\n\n", 1)[1].rstrip() == body.split(b"\n\n", 1)[1].rstrip(), text
