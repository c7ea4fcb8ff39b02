#!/usr/bin/env python3
"""A toy mail server for testing the crash harness: just enough SMTP, IMAP and POP3, over one log file.

Started like the real demo: `demo --data DIR --port-offset auto --accounts N`. FAKE_BUG plants a bug:
  early    the reply is sent before the message is written
  torn     a message is written in two halves, and a start shows what there is of it
  uid      UIDs are given anew at every start
  twice    every message that was read at a start is there twice
Without it nothing acknowledged is lost by kill -9: each message is one write(2).
"""
import asyncio, json, os, re, sys

DATA = sys.argv[sys.argv.index("--data") + 1]
BUG = os.environ.get("FAKE_BUG", "")
os.makedirs(DATA, exist_ok=True)
LOG = os.open(os.path.join(DATA, "log"), os.O_RDWR | os.O_CREAT | os.O_APPEND)


class Box:
    def __init__(self):
        self.rows, self.next = [], 1  # rows: [uid, flagged, text]


BOXES = {}


def box(name):
    return BOXES.setdefault(name, Box())


def record(fields, text=b""):
    return json.dumps(fields | {"n": len(text)}).encode() + b"\n" + text


def apply(fields, text):
    b = box(fields["to"])
    if fields["op"] == "add":
        b.rows.append([fields["uid"], False, text])
        b.next = max(b.next, fields["uid"] + 1)
    elif fields["op"] == "flag":
        for row in b.rows:
            row[1] |= row[0] == fields["uid"]
    else:
        b.rows = []


def replay():
    whole = 0
    with open(os.path.join(DATA, "log"), "rb") as log:
        while line := log.readline():
            try:
                fields = json.loads(line)
            except ValueError:
                break
            text = log.read(fields["n"])
            if len(text) < fields["n"] and BUG != "torn":
                break
            whole = log.tell()
            apply(fields, text)
            if BUG == "twice" and fields["op"] == "add":
                apply(fields | {"uid": fields["uid"] + 1_000_000}, text)
    if BUG != "torn":
        # A kill in the middle of a write leaves half a record: what is written next must not stand behind it.
        os.ftruncate(LOG, whole)
    if BUG == "uid":
        for b in BOXES.values():
            for row in b.rows:
                row[0] += 1
            b.next += 1
    for b in BOXES.values():
        b.rows.sort(key=lambda row: row[0])


async def commit(fields, text=b""):
    fields["uid"] = fields.get("uid") or box(fields["to"]).next
    box(fields["to"]).next = max(box(fields["to"]).next, fields["uid"] + 1)
    data = record(fields, text)
    if BUG == "early":
        asyncio.get_running_loop().call_later(0.2, lambda: (os.write(LOG, data), apply(fields, text)))
        return fields["uid"]
    if BUG == "torn" and text:
        half = len(data) - len(text) // 2
        os.write(LOG, data[:half])
        await_until = asyncio.get_running_loop().time() + 0.002
        while asyncio.get_running_loop().time() < await_until:
            pass
        os.write(LOG, data[half:])
    else:
        os.write(LOG, data)
    apply(fields, text)
    return fields["uid"]


async def smtp(r, w):
    w.write(b"220 fake\r\n")
    to = ""
    while line := await r.readline():
        verb = line[:4].upper()
        if verb == b"EHLO":
            w.write(b"250-fake\r\n250 PIPELINING\r\n")
        elif verb == b"RCPT":
            to = re.search(rb"<(.*)>", line).group(1).decode()
            w.write(b"250 ok\r\n")
        elif verb == b"DATA":
            w.write(b"354 go\r\n")
            text = [b"Received: from load by fake\r\n"]
            while (line := await r.readline()) not in (b".\r\n", b""):
                text.append(line[1:] if line[:1] == b"." else line)
            if not line:
                break
            await commit({"op": "add", "to": to}, b"".join(text))
            w.write(b"250 stored\r\n")
        elif verb == b"QUIT":
            w.write(b"221 bye\r\n")
            break
        else:
            w.write(b"250 ok\r\n")
        await w.drain()
    w.close()


async def imap(r, w):
    w.write(b"* OK fake\r\n")
    user = ""
    while line := await r.readline():
        tag, command = line.decode().rstrip().split(" ", 1)
        words = command.upper().split(" ")
        b = box(user)
        done = "done"
        if words[0] == "LOGIN":
            user = command.split('"')[1]
        elif words[0] in ("SELECT", "EXAMINE"):
            w.write(b"* %d EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n* OK [UIDNEXT %d] ok\r\n" % (len(b.rows), b.next))
        elif words[0] == "FETCH":
            for seq, (uid, flagged, text) in enumerate(list(b.rows), 1):
                flags = b"\\Flagged" if flagged else b""
                w.write(b"* %d FETCH (UID %d FLAGS (%s) BODY[] {%d}\r\n" % (seq, uid, flags, len(text)) + text + b")\r\n")
        elif words[0] == "APPEND":
            w.write(b"+ go\r\n")
            text = await r.readexactly(int(words[-1].strip("{}")))
            await r.readline()
            uid = await commit({"op": "add", "to": user}, text)
            done = f"[APPENDUID 7 {uid}] done"
        elif words[:2] == ["UID", "STORE"]:
            await commit({"op": "flag", "to": user, "uid": int(words[2])})
        elif words[0] == "EXPUNGE":
            await commit({"op": "expunge", "to": user})
        w.write(f"{tag} OK {done}\r\n".encode())
        await w.drain()
    w.close()


async def pop3(r, w):
    w.write(b"+OK fake\r\n")
    user = ""
    while line := await r.readline():
        words = line.decode().split()
        b = box(user)
        if words[0] == "USER":
            user = words[1]
        if words[0] == "STAT":
            w.write(b"+OK %d 0\r\n" % len(b.rows))
        elif words[0] == "RETR":
            text = b.rows[int(words[1]) - 1][2]
            w.write(b"+OK\r\n" + (b"\r\n" + text).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n")
        else:
            w.write(b"+OK\r\n")
        await w.drain()
    w.close()


async def main():
    replay()
    ports = {}
    for name, serve in (("smtp", smtp), ("imap", imap), ("pop3", pop3)):
        server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 20)
        ports[name] = server.sockets[0].getsockname()[1]
    print("ready", json.dumps({"pid": os.getpid(), "data": DATA, "ports": ports}), flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
