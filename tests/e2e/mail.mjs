// nodemailer sends, imapflow reads: Vietnamese names, HTML with an attachment, an answer back.
// usage: mail.mjs SUBMISSIONS SUBMISSION IMAPS WORD
import assert from 'node:assert';
import { ImapFlow } from 'imapflow';
import nodemailer from 'nodemailer';

const [submissions, submission, imaps, word] = process.argv.slice(2);
const pass = 'thu-dien-tu';
const tls = { rejectUnauthorized: false };

function sender(user, port, secure, method) {
    return nodemailer.createTransport({
        host: '127.0.0.1', port: Number(port), secure, requireTLS: !secure, tls, authMethod: method, auth: { user, pass }
    });
}

async function inbox(user, work) {
    const c = new ImapFlow({ host: '127.0.0.1', port: Number(imaps), secure: true, tls, logger: false, auth: { user, pass } });
    await c.connect();
    const lock = await c.getMailboxLock('INBOX');
    try {
        return await work(c);
    } finally {
        lock.release();
        await c.logout();
    }
}

const sent = await sender('an@gialai.example', submissions, true, 'PLAIN').sendMail({
    from: '"Nguyễn Văn An" <an@gialai.example>',
    to: '"Trần Thị Bình" <binh@gialai.example>',
    subject: `Báo cáo ${word}`,
    text: 'Kính gửi chị Bình.',
    html: '<p>Kính gửi <b>chị Bình</b>.</p>',
    attachments: [{ filename: 'Quyết định.txt', content: 'nội dung tệp' }]
});
assert.deepStrictEqual(sent.accepted, ['binh@gialai.example']);

await inbox('binh@gialai.example', async (c) => {
    const [uid] = await c.search({ subject: word }, { uid: true });
    const m = await c.fetchOne(uid, { envelope: true, bodyStructure: true }, { uid: true });
    assert.strictEqual(m.envelope.subject, `Báo cáo ${word}`);
    assert.strictEqual(m.envelope.from[0].name, 'Nguyễn Văn An');
    assert.strictEqual(m.envelope.messageId, sent.messageId);
    const file = m.bodyStructure.childNodes.find((n) => n.disposition === 'attachment');
    assert.strictEqual(file.dispositionParameters.filename, 'Quyết định.txt');
    const { content } = await c.download(uid, file.part, { uid: true });
    let text = '';
    for await (const piece of content) text += piece;
    assert.strictEqual(text, 'nội dung tệp');
});

const answer = await sender('binh@gialai.example', submission, false, 'LOGIN').sendMail({
    from: 'binh@gialai.example', to: 'an@gialai.example', subject: `Re: Báo cáo ${word}`, inReplyTo: sent.messageId,
    references: sent.messageId, text: 'Em đã nhận được.'
});
assert.match(answer.response, /^250 /);
await inbox('an@gialai.example', async (c) => {
    const [uid] = await c.search({ header: { 'in-reply-to': sent.messageId } }, { uid: true });
    const m = await c.fetchOne(uid, { envelope: true }, { uid: true });
    assert.strictEqual(m.envelope.inReplyTo, sent.messageId);
    assert.strictEqual(m.envelope.messageId, answer.messageId);
});
