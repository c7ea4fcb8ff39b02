"""offlineimap keeps a Maildir in step with an account, both ways: mail, flags, folders with UTF-8 names, deletions."""

import pathlib
import subprocess
import tempfile

from common import *

USER = "user5"
NAME = "Entwürfe"
WIRE_NAME = "Entw&APw-rfe"


def settings(root):
    return f"""
[general]
accounts = a
metadata = {root}/metadata
maxsyncaccounts = 1
ui = quiet
[Account a]
localrepository = near
remoterepository = far
[Repository near]
type = Maildir
localfolders = {root}/mail
[Repository far]
type = IMAP
remotehost = {HOST}
remoteport = {IMAP}
remoteuser = {address(USER)}
remotepass = {PASSWORD}
ssl = no
starttls = no
auth_mechanisms = PLAIN, LOGIN
maxconnections = 2
usecompression = no
"""


class Mirror:
    def __init__(self, root):
        self.root = pathlib.Path(root)
        (self.root / "mail").mkdir()
        self.settings = self.root / "offlineimaprc"
        self.settings.write_text(settings(root))

    def sync(self):
        run = subprocess.run(
            ["offlineimap", "-o", "-c", str(self.settings)],
            capture_output=True,
            text=True,
            timeout=4 * PATIENCE,
            env={**os.environ, "HOME": str(self.root)},
        )
        assert run.returncode == 0, run.stdout + run.stderr

    def files(self, folder):
        directory = self.root / "mail" / folder
        return [file for place in ("cur", "new") for file in (directory / place).iterdir()]

    def find(self, folder, text):
        for file in self.files(folder):
            if text in file.read_bytes():
                return file
        return None


def job(mirror):
    client = imap(USER)
    ok(client.create(WIRE_NAME))
    ok(client.append(WIRE_NAME, "", None, b"Subject: draft\r\n\r\ndraft of mine\r\n"))
    for number in (1, 2, 3):
        send(USER, f"Subject: number {number}\r\n\r\ntext {number}\r\n".encode())
    mirror.sync()
    assert all(mirror.find("INBOX", f"text {number}".encode()) for number in (1, 2, 3))
    folder = next(entry.name for entry in (mirror.root / "mail").iterdir() if entry.name.startswith("Entw"))
    assert mirror.find(folder, b"draft of mine")

    # Changes on both sides at once.
    ok(client.select("INBOX"))
    ok(client.store("1", "+FLAGS", "(\\Flagged)"))
    ok(client.store("2", "+FLAGS", "(\\Deleted)"))
    ok(client.expunge())
    three = mirror.find("INBOX", b"text 3")
    three.rename(three.parent.parent / "cur" / (three.name.split(":2,")[0] + ":2,RS"))
    written = mirror.root / "mail" / "INBOX" / "cur" / "1700000000.1.here:2,S"
    written.write_bytes(b"Subject: written here\n\ntext of mine\n")
    mirror.sync()

    assert mirror.find("INBOX", b"text 1").name.endswith("F"), mirror.files("INBOX")
    assert mirror.find("INBOX", b"text 2") is None
    ok(client.noop())
    assert ok(client.search(None, "ANSWERED", "SEEN", "BODY", '"text 3"'))[0] == b"2"
    assert ok(client.search(None, "SEEN", "BODY", '"text of mine"'))[0] == b"3"
    client.logout()


with tempfile.TemporaryDirectory() as root:
    job(Mirror(root))
