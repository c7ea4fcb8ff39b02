"""IMAPClient does a day's work: folders with UTF-8 names, flags, moves, search, sort, threads, IDLE."""

from imapclient import IMAPClient

from common import *


def connect(user):
    client = IMAPClient(HOST, port=IMAP, ssl=False, timeout=PATIENCE)
    client.login(address(user), PASSWORD)
    return client


def letter(number, subject, *fields):
    head = [f"Message-ID: <{number}@client.example.net>", f"Subject: {subject}", *fields]
    return ("\r\n".join(head) + f"\r\n\r\ntext {number}\r\n").encode()


def folders(client):
    name = "Entw\u00fcrfe & mehr/\u65e5\u672c"
    client.create_folder(name)
    client.subscribe_folder(name)
    assert name in [entry[2] for entry in client.list_folders()]
    assert name in [entry[2] for entry in client.list_sub_folders()]
    assert client.folder_status(name, ["MESSAGES", "UIDNEXT"]) == {b"MESSAGES": 0, b"UIDNEXT": 1}
    assert client.find_special_folder(b"\\Trash") == "Trash"
    return name


def messages(client, folder):
    client.append("INBOX", letter(1, "apples"), ["\\Seen"])
    client.append("INBOX", letter(2, "Re: apples", "References: <1@client.example.net>"))
    client.append("INBOX", letter(3, "pears"), ["$Fruit"])
    info = client.select_folder("INBOX")
    assert info[b"EXISTS"] == 3, info
    assert client.search(["UNSEEN"]) == [2, 3]
    assert client.search(["KEYWORD", "$Fruit"]) == [3]
    assert client.sort(["REVERSE SUBJECT"]) == [3, 1, 2]
    assert client.thread("REFERENCES") == ((1, 2), (3,)), client.thread("REFERENCES")
    fetched = client.fetch([1, 2], ["ENVELOPE", "FLAGS", "BODY.PEEK[TEXT]"])
    assert fetched[1][b"ENVELOPE"].subject == b"apples"
    assert fetched[2][b"BODY[TEXT]"] == b"text 2\r\n"
    client.add_flags([3], ["\\Flagged"])
    assert b"\\Flagged" in client.get_flags([3])[3]
    client.move([2], folder)
    assert client.search() == [1, 3]
    client.delete_messages([1])
    client.expunge()
    assert client.search() == [3]
    assert client.folder_status(folder, ["MESSAGES"])[b"MESSAGES"] == 1


def is_told_of_mail(client, seen):
    """What comes first may be something else."""
    seen += client.idle_check(timeout=PATIENCE)
    return any(response[-1] == b"EXISTS" for response in seen)


def idle(client, user):
    client.idle()
    send(user, letter(4, "by mail"))
    seen = []
    wait_for(lambda: is_told_of_mail(client, seen), "EXISTS")
    client.idle_done()


client = connect("user3")
assert client.has_capability("IMAP4rev2") and client.has_capability("THREAD=REFS")
messages(client, folders(client))
idle(client, "user3")
client.logout()
