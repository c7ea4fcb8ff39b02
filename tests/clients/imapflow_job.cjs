// imapflow does a day's work over TLS: folders with UTF-8 names, flags, search, move, and two connections of which one
// idles and is told of mail, flags and expunges.
'use strict';
const assert = require('node:assert/strict');
const net = require('node:net');
const { once } = require('node:events');
const { ImapFlow } = require('imapflow');

const PATIENCE = 30_000;
const USER = 'user6@example.org';
const FOLDER = 'Entwürfe & mehr/日本';
// Ends the job if an answer never comes.
setTimeout(() => {
    console.error('the job took too long');
    process.exit(1);
}, 8 * PATIENCE).unref();

async function connect(options) {
    const client = new ImapFlow({
        host: '127.0.0.1',
        auth: { user: USER, pass: 'ringpost' },
        tls: { rejectUnauthorized: false },
        logger: false,
        ...options
    });
    client.on('error', error => {
        throw error;
    });
    await client.connect();
    return client;
}

/** Delivers one message over SMTP, a command at a time. */
async function deliver(subject) {
    const socket = net.connect(Number(process.env.RINGPOST_SMTP), '127.0.0.1');
    const steps = [
        'EHLO client.example.net',
        'MAIL FROM:<sender@example.net>',
        `RCPT TO:<${USER}>`,
        'DATA',
        `Subject: ${subject}\r\n\r\nby mail\r\n.`,
        'QUIT'
    ];
    for (const step of steps) {
        const [reply] = await once(socket, 'data');
        assert.match(reply.toString(), /^[23]/);
        socket.write(step + '\r\n');
    }
    await once(socket, 'end');
    socket.end();
}

async function folders(client) {
    assert.equal((await client.mailboxCreate(FOLDER)).created, true);
    await client.mailboxSubscribe(FOLDER);
    const list = await client.list({ statusQuery: { messages: true, unseen: true } });
    const made = list.find(entry => entry.path === FOLDER);
    assert.ok(made && made.subscribed && made.status.messages === 0, JSON.stringify(list));
    const uses = Object.fromEntries(list.filter(entry => entry.specialUse).map(entry => [entry.specialUse, entry.path]));
    assert.equal(uses['\\Sent'], 'Sent');
    assert.equal(uses['\\Trash'], 'Trash');
    const renamed = await client.mailboxRename(FOLDER, FOLDER + ' 2');
    assert.equal(renamed.newPath, FOLDER + ' 2');
    return renamed.newPath;
}

async function messages(client, folder) {
    for (const [number, flags] of [[1, ['\\Seen']], [2, []], [3, ['$Fruit']]]) {
        const letter = `Message-ID: <${number}@client.example.net>\r\nSubject: =?utf-8?q?=C3=84pfel_${number}?=\r\n\r\ntext ${number}\r\n`;
        const appended = await client.append('INBOX', letter, flags, new Date(2026, 0, number));
        assert.equal(appended.uid, number);
    }
    await client.mailboxOpen('INBOX');
    assert.equal(client.mailbox.exists, 3);
    assert.ok(client.mailbox.highestModseq > 0n);
    assert.deepEqual(await client.search({ seen: false }, { uid: true }), [2, 3]);
    assert.deepEqual(await client.search({ keyword: '$Fruit' }, { uid: true }), [3]);
    assert.deepEqual(await client.search({ subject: 'äpfel 2' }, { uid: true }), [2]);
    assert.deepEqual(await client.search({ or: [{ body: 'text 1' }, { uid: '3' }] }, { uid: true }), [1, 3]);

    const fetched = [];
    for await (const message of client.fetch('1:*', { uid: true, envelope: true, flags: true, bodyStructure: true, source: true, internalDate: true })) {
        fetched.push(message);
    }
    assert.deepEqual(fetched.map(message => message.envelope.subject), ['Äpfel 1', 'Äpfel 2', 'Äpfel 3']);
    assert.ok(fetched[0].source.toString().endsWith('\r\n\r\ntext 1\r\n'));
    assert.equal(fetched[1].bodyStructure.type, 'text/plain');
    assert.equal(fetched[2].internalDate.getTime(), new Date(2026, 0, 3).getTime());
    assert.ok(fetched[2].flags.has('$Fruit'));

    const { content } = await client.download('2', '1', { uid: true });
    const chunks = [];
    for await (const chunk of content) chunks.push(chunk);
    assert.equal(Buffer.concat(chunks).toString(), 'text 2\r\n');

    await client.messageFlagsAdd('2', ['\\Flagged', 'Urgent'], { uid: true });
    await client.messageFlagsRemove('2', ['Urgent'], { uid: true });
    assert.deepEqual([...(await client.fetchOne('2', { flags: true }, { uid: true })).flags], ['\\Flagged']);
    const moved = await client.messageMove('2', folder, { uid: true });
    assert.deepEqual([...moved.uidMap], [[2, 1]]);
    const copied = await client.messageCopy('3', folder, { uid: true });
    assert.deepEqual([...copied.uidMap], [[3, 2]]);
    assert.deepEqual((await client.status(folder, { messages: true, unseen: true })), { path: folder, messages: 2, unseen: 2 });
    assert.equal(await client.messageDelete('1', { uid: true }), true);
    assert.deepEqual(await client.search({ all: true }, { uid: true }), [3]);
    assert.equal((await client.getQuota('INBOX')).path, 'INBOX');
}

/** The other connection changes; the idling one must be told, without asking. */
async function idling(client) {
    const idler = await connect({ port: Number(process.env.RINGPOST_IMAP), secure: false });
    await idler.mailboxOpen('INBOX');
    const events = [];
    let wake = () => {};
    for (const kind of ['exists', 'flags', 'expunge']) {
        idler.on(kind, event => {
            events.push({ kind, ...event });
            wake();
        });
    }
    const told = async wanted => {
        while (!events.some(wanted)) {
            await new Promise(resolve => (wake = resolve));
        }
    };
    const idle = idler.idle();
    await deliver('by mail');
    await told(event => event.kind === 'exists' && event.count === 2);
    await client.noop();
    await client.messageFlagsAdd('*', ['\\Answered']);
    await told(event => event.kind === 'flags' && event.seq === 2 && event.flags.has('\\Answered'));
    await client.messageDelete('1');
    await told(event => event.kind === 'expunge' && event.seq === 1);
    // Any command ends IDLE.
    assert.deepEqual(await idler.search({ answered: true }), [1]);
    await idle;
    await idler.logout();
}

async function job() {
    const client = await connect({ port: Number(process.env.RINGPOST_IMAPS), secure: true });
    for (const name of ['IMAP4rev2', 'IDLE', 'MOVE', 'UIDPLUS', 'QUOTA']) {
        assert.ok(client.capabilities.has(name), name);
    }
    const folder = await folders(client);
    await messages(client, folder);
    await idling(client);
    assert.equal((await client.mailboxDelete(folder)).path, folder);
    await client.logout();
}

job().then(
    () => process.exit(0),
    error => {
        console.error(error);
        process.exit(1);
    }
);
