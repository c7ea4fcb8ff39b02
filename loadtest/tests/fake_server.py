#!/usr/bin/env python3
"""A toy mail server for testing the crash harness: just enough SMTP, IMAP and POP3, over one log file.

Started like the real demo: `demo --data DIR --port-offset auto --accounts N`. FAKE_BUG plants a bug:
  early    the reply is sent before the message is written
  torn     a message is written in two halves, and a start shows what there is of it
  uid      UIDs are given anew at every start
  twice    every message that was read at a start is there twice
  flags    changes of flags are acknowledged and not written
  expunge  so are expunges, over IMAP and POP3
  copy     a move leaves the message where it was
Without it nothing acknowledged is lost by kill -9: each message is one write(2).
"""
import asyncio, json, os, re, sys

DATA = sys.argv[sys.argv.index("--data") + 1]
BUG = os.environ.get("FAKE_BUG", "")
os.makedirs(DATA, exist_ok=True)
LOG = os.open(os.path.join(DATA, "log"), os.O_RDWR | os.O_CREAT | os.O_APPEND)


class Box:
    def __init__(self):
        self.rows, self.next = [], 1  # rows: [uid, flags, text]


BOXES = {}  # by user and name
UNWRITTEN = {"flags": ("flag",), "expunge": ("expunge",)}.get(BUG, ())


def box(user, name="INBOX"):
    return BOXES.setdefault((user, name), Box())


def record(fields, text=b""):
    return json.dumps(fields | {"n": len(text)}).encode() + b"\n" + text


def apply(f, text):
    if f["op"] == "create":
        box(f["to"], f["box"])
        return
    if f["op"] == "delete":
        BOXES.pop((f["to"], f["box"]), None)
        return
    b = box(f["to"], f["box"])
    if f["op"] == "add":
        b.rows.append([f["uid"], sorted(f["flags"]), text])
        b.next = max(b.next, f["uid"] + 1)
    elif f["op"] == "flag":
        for row in b.rows:
            if row[0] in f["uids"]:
                row[1] = sorted(set(row[1]) | set(f["flags"]) if f["adds"] else set(row[1]) - set(f["flags"]))
    elif f["op"] == "move":
        target = box(f["to"], f["into"])
        for row in b.rows:
            if row[0] in f["uids"]:
                target.rows.append([target.next, *row[1:]])
                target.next += 1
        if BUG != "copy":
            b.rows = [row for row in b.rows if row[0] not in f["uids"]]
    else:
        b.rows = [row for row in b.rows if row[0] not in f["uids"]]


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
    fields = {"box": "INBOX"} | fields
    if fields["op"] == "add":
        b = box(fields["to"], fields["box"])
        fields["uid"] = b.next
        b.next += 1
    data = record(fields, text)
    if BUG == "early":
        asyncio.get_running_loop().call_later(0.2, lambda: (os.write(LOG, data), apply(fields, text)))
        return fields.get("uid")
    if BUG == "torn" and text:
        half = len(data) - len(text) // 2
        os.write(LOG, data[:half])
        await_until = asyncio.get_running_loop().time() + 0.002
        while asyncio.get_running_loop().time() < await_until:
            pass
        os.write(LOG, data[half:])
    elif fields["op"] not in UNWRITTEN:
        os.write(LOG, data)
    apply(fields, text)
    return fields.get("uid")


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
            await commit({"op": "add", "to": to, "flags": []}, b"".join(text))
            w.write(b"250 stored\r\n")
        elif verb == b"QUIT":
            w.write(b"221 bye\r\n")
            break
        else:
            w.write(b"250 ok\r\n")
        await w.drain()
    w.close()


def numbers(text, rows):
    """The UIDs of `rows` that a sequence set of UIDs names."""
    last = rows[-1][0] if rows else 0
    ranges = [[last if n == "*" else int(n) for n in part.split(":")] for part in text.split(",")]
    return [row[0] for row in rows if any(min(r) <= row[0] <= max(r) for r in ranges)]


def fetched(b, row, header_only):
    text = re.search(rb"X-Load-Id:.*?\r\n", row[2]).group(0) + b"\r\n" if header_only else row[2]
    item = b"* %d FETCH (UID %d FLAGS (%s) BODY[] {%d}\r\n" % (b.rows.index(row) + 1, row[0], " ".join(row[1]).encode(), len(text))
    return item + text + b")\r\n"


async def imap(r, w):
    w.write(b"* OK fake\r\n")
    user, name = "", "INBOX"
    while line := await r.readline():
        tag, command = line.decode().rstrip().split(" ", 1)
        words = command.split(" ")
        b = box(user, name)
        done = "done"
        if words[0] == "LOGIN":
            user = command.split('"')[1]
            box(user, "Archive")
        elif words[0] == "LIST":
            for there in [n for u, n in BOXES if u == user]:
                w.write(f'* LIST () "/" {there}\r\n'.encode())
        elif words[0] in ("SELECT", "EXAMINE"):
            name = words[1]
            b = box(user, name)
            w.write(b"* %d EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n* OK [UIDNEXT %d] ok\r\n" % (len(b.rows), b.next))
        elif words[0] == "FETCH":
            for row in list(b.rows):
                w.write(fetched(b, row, False))
        elif words[:2] == ["UID", "FETCH"]:
            for uid in numbers(words[2], b.rows):
                w.write(fetched(b, next(row for row in b.rows if row[0] == uid), True))
        elif words[:2] == ["UID", "SEARCH"]:
            w.write(("* SEARCH " + " ".join(map(str, numbers(words[3], b.rows))) + "\r\n").encode())
        elif words[0] == "APPEND":
            w.write(b"+ go\r\n")
            text = await r.readexactly(int(words[-1].strip("{}")))
            await r.readline()
            flags = re.search(r"\((.*)\)", command).group(1).split()
            uid = await commit({"op": "add", "to": user, "box": words[1], "flags": flags}, text)
            done = f"[APPENDUID 7 {uid}] done"
        elif words[:2] == ["UID", "STORE"]:
            flags = re.search(r"\((.*)\)", command).group(1).split()
            change = {"uids": numbers(words[2], b.rows), "adds": words[3][0] == "+", "flags": flags}
            await commit({"op": "flag", "to": user, "box": name} | change)
        elif words[0] == "STORE":
            change = {"uids": [row[0] for row in b.rows], "adds": True, "flags": ["\\Deleted"]}
            await commit({"op": "flag", "to": user, "box": name} | change)
        elif words[:2] == ["UID", "MOVE"]:
            uids, first = numbers(words[2], b.rows), box(user, words[3]).next
            await commit({"op": "move", "to": user, "box": name, "into": words[3], "uids": uids})
            if uids:
                w.write(f"* OK [COPYUID 7 {','.join(map(str, uids))} {first}:{first + len(uids) - 1}] moved\r\n".encode())
        elif words[0] == "EXPUNGE" or words[:2] == ["UID", "EXPUNGE"]:
            uids = [row[0] for row in b.rows] if words[0] == "EXPUNGE" else numbers(words[2], b.rows)
            await commit({"op": "expunge", "to": user, "box": name, "uids": uids})
        elif words[0] in ("CREATE", "DELETE"):
            await commit({"op": words[0].lower(), "to": user, "box": words[1]})
        w.write(f"{tag} OK {done}\r\n".encode())
        await w.drain()
    w.close()


async def pop3(r, w):
    w.write(b"+OK fake\r\n")
    user, rows, deleted = "", [], []
    while line := await r.readline():
        words = line.decode().split()
        if words[0] == "USER":
            user = words[1]
            rows = list(box(user).rows)
        if words[0] == "STAT":
            w.write(b"+OK %d 0\r\n" % len(rows))
        elif words[0] == "UIDL":
            w.write(b"+OK\r\n" + b"".join(b"%d u%d\r\n" % (n, row[0]) for n, row in enumerate(rows, 1)) + b".\r\n")
        elif words[0] in ("RETR", "TOP"):
            text = rows[int(words[1]) - 1][2]
            # Half a message may end anywhere; the dot stands on a line of its own all the same.
            end = b".\r\n" if text.endswith(b"\r\n") else b"\r\n.\r\n"
            w.write(b"+OK\r\n" + (b"\r\n" + text).replace(b"\r\n.", b"\r\n..")[2:] + end)
        elif words[0] == "DELE":
            deleted.append(rows[int(words[1]) - 1][0])
            w.write(b"+OK\r\n")
        else:
            if words[0] == "QUIT" and deleted:
                await commit({"op": "expunge", "to": user, "uids": deleted})
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
