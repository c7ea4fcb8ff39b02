"""aioimaplib appends, is pushed new mail in IDLE, flags, moves and expunges."""

import asyncio

from aioimaplib import aioimaplib

from common import *

USER = "user4"


def done(response):
    assert response.result == "OK", response
    return response.lines


async def job():
    client = aioimaplib.IMAP4(host=HOST, port=IMAP, timeout=PATIENCE)
    await client.wait_hello_from_server()
    done(await client.login(address(USER), PASSWORD))
    done(await client.select("INBOX"))
    done(await client.append(b"Subject: one\r\n\r\none\r\n", mailbox="INBOX", flags="\\Seen"))

    idle = await client.idle_start(timeout=PATIENCE)
    await asyncio.to_thread(send, USER, b"Subject: two\r\n\r\ntwo\r\n")
    # The append may be told of first.
    while not any(line.endswith(b"EXISTS") and line.startswith(b"2 ") for line in await client.wait_server_push()):
        pass
    client.idle_done()
    await asyncio.wait_for(idle, PATIENCE)

    assert done(await client.uid_search("UNSEEN"))[0].split() == [b"2"]
    text = done(await client.uid("fetch", "2", "(BODY.PEEK[TEXT])"))
    assert any(bytes(line) == b"two\r\n" for line in text if isinstance(line, (bytes, bytearray))), text
    done(await client.uid("store", "1", "+FLAGS (\\Deleted)"))
    done(await client.expunge())
    done(await client.uid("move", "2", "Archive"))
    assert done(await client.uid_search("ALL"))[0].split() == []
    done(await client.logout())


asyncio.run(asyncio.wait_for(job(), 8 * PATIENCE))
