// imapflow through a session: list, append, fetch, flags, search, move, IDLE. usage: imapflow.mjs PORT USER
import { ImapFlow } from 'imapflow';
import assert from 'node:assert';

const [port, user] = process.argv.slice(2);
const options = {
    host: '127.0.0.1', port: Number(port), secure: true, tls: { rejectUnauthorized: false }, logger: false,
    auth: { user, pass: 'thu-dien-tu' }
};
const c = new ImapFlow(options);
await c.connect();
const names = (await c.list()).map(b => [b.path, b.specialUse]);
assert(names.some(([p, u]) => p === 'INBOX'));
assert(names.some(([p, u]) => u === '\\Sent'));
await c.mailboxCreate('Công văn đến');
assert((await c.list()).some(b => b.path === 'Công văn đến'));
const lock = await c.getMailboxLock('INBOX');
const mail = 'From: =?utf-8?Q?An?= <an@x>\r\nSubject: =?utf-8?B?UXV54bq/dCDEkeG7i25o?=\r\n' +
    'Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ntext\r\n--b\r\n' +
    'Content-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nYWJj\r\n--b--\r\n';
for (let i = 0; i < 5; i++) {
    const r = await c.append('INBOX', mail, i ? [] : ['\\Seen']);
    assert.strictEqual(r.uid, i + 1);
}
let seen = 0;
for await (const m of c.fetch('1:*', { envelope: true, bodyStructure: true, flags: true, source: true, internalDate: true })) {
    assert.strictEqual(m.envelope.subject, 'Quyết định');
    assert.strictEqual(m.bodyStructure.childNodes.length, 2);
    assert.strictEqual(m.source.toString(), mail);
    seen++;
}
assert.strictEqual(seen, 5);
const part = await c.download('1', '2');
let text = '';
for await (const chunk of part.content) text += chunk;
assert.strictEqual(text, 'abc');
assert.deepStrictEqual(await c.search({ subject: 'quyet dinh', seen: false }), [2, 3, 4, 5]);
await c.messageFlagsAdd('2:3', ['\\Flagged', 'quan-trong']);
assert.deepStrictEqual(await c.search({ keyword: 'quan-trong' }, { uid: true }), [2, 3]);
const moved = await c.messageMove('2', 'Công văn đến');
assert.strictEqual(moved.uidMap.get(2), 1);
await c.messageDelete('3', { uid: true });
const status = await c.status('INBOX', { messages: true, unseen: true, uidNext: true, highestModseq: true });
assert.strictEqual(status.messages, 3);
// IDLE: a second client appends, the first hears of it.
const heard = new Promise((resolve, reject) => {
    c.once('exists', resolve);
    setTimeout(() => reject(new Error('IDLE heard nothing')), 5000).unref();
});
const idling = c.idle();
const d = new ImapFlow(options);
await d.connect();
await d.append('INBOX', mail);
assert.strictEqual((await heard).count, 4);
await d.logout();
lock.release();
await c.noop();
await idling;
await c.logout();
console.log('imapflow: all as wanted');
