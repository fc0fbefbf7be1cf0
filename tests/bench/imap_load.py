#!/usr/bin/python3
"""Figures of imapd over the real store, over a plain local connection: imap_load.py [MESSAGES] [SIZE].
APPEND, SELECT, FETCH of all (FLAGS, ENVELOPE, BODY.PEEK[]), SEARCH by subject and text, STORE, COPY, EXPUNGE."""
import os
import sys
import time

TOP = os.environ.get('top_srcdir', os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..'))
sys.path.insert(0, os.path.join(TOP, 'tests', 'lib'))
import imap_real  # noqa: E402
import imap_suites  # noqa: E402


def message(i, size):
    head = ('From: "Nguyễn Văn A" <a%d@gialai.example>\r\nTo: <b@gialai.example>\r\nSubject: Công văn số %d\r\n'
            'Date: Tue, 24 Nov 2026 10:00:00 +0700\r\nMessage-ID: <%d@gialai.example>\r\n'
            'Content-Type: text/plain; charset=utf-8\r\n\r\n' % (i % 500, i, i)).encode()
    words = os.urandom(max(0, (size - len(head)) // 3)).hex().encode() + b' thu dien tu cong vu ' * 10
    body = b'\r\n'.join(words[k:k + 70] for k in range(0, len(words), 70)) + b'\r\n'
    return head + body


def timed(name, c, command, note=''):
    start = time.perf_counter()
    c.tags += 1
    tag = b't%d ' % c.tags
    c.send(tag + command + b'\r\n')
    got, end, tail = 0, 0, b''
    while True:
        data = c.s.recv(1 << 20)
        if not data:
            raise SystemExit('the server closed')
        got += len(data)
        tail = (tail + data)[-200:]
        at = tail.rfind(tag)
        if at >= 0 and tail.endswith(b'\r\n') and (at == 0 or tail[at - 1:at] == b'\n'):
            break
    seconds = time.perf_counter() - start
    text = tail[at:].split(b'\r\n')[0][:50].decode()
    print('%-42s %8.1f ms %10d bytes  %s%s' % (name, seconds * 1000, got, text, ' ' + tail[:at].decode()[-60:].strip() if b'COUNT' in command else ''))
    return end


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10000
    size = int(sys.argv[2]) if len(sys.argv) > 2 else 2000
    d = imap_real.Imapd(workers=1)
    try:
        c = imap_suites.Line('127.0.0.1', d.tls_port, tls=True, timeout=120)
        c.line()
        c.ok(b'LOGIN load@x thu-dien-tu')
        start = time.perf_counter()
        for first in range(0, count, 100):
            batch = b''
            n = min(100, count - first)
            for i in range(first, first + n):
                m = message(i, size)
                batch += b'a%d APPEND INBOX {%d+}\r\n%s\r\n' % (i, len(m), m)
            c.send(batch)
            for i in range(n):
                if b' OK ' not in c.line():
                    raise SystemExit('APPEND failed')
        seconds = time.perf_counter() - start
        print('APPEND pipelined: %d in %.2f s, %.0f a second' % (count, seconds, count / seconds))
        few = min(10000, count)
        timed('SELECT', c, b'SELECT INBOX')
        timed('first FETCH 1 FLAGS (rows are loaded)', c, b'FETCH 1 FLAGS')
        timed('FETCH 1:* FLAGS', c, b'FETCH 1:* FLAGS')
        timed('UID FETCH 1:* (FLAGS)', c, b'UID FETCH 1:* (FLAGS)')
        timed('FETCH 1:* ENVELOPE', c, b'FETCH 1:* ENVELOPE')
        timed('FETCH 50 ENVELOPE FLAGS', c, b'FETCH %d:%d (FLAGS UID ENVELOPE)' % (count // 2, count // 2 + 49))
        timed('FETCH 1:%d BODY.PEEK[]' % few, c, b'FETCH 1:%d BODY.PEEK[]' % few)
        timed('FETCH 1:%d BODY.PEEK[HEADER.FIELDS]' % few, c, b'FETCH 1:%d BODY.PEEK[HEADER.FIELDS (SUBJECT FROM)]' % few)
        timed('SEARCH UNSEEN', c, b'SEARCH RETURN (COUNT) UNSEEN')
        timed('SEARCH SUBJECT', c, b'SEARCH RETURN (COUNT) SUBJECT "cong van so 77"')
        timed('SEARCH 1:%d BODY' % few, c, b'SEARCH RETURN (COUNT) 1:%d BODY "cong vu thu"' % few)
        timed('STORE 1:%d +FLAGS.SILENT' % few, c, b'STORE 1:%d +FLAGS.SILENT (\\Seen)' % few)
        timed('STORE 1:%d +FLAGS' % few, c, b'STORE 1:%d +FLAGS (\\Deleted)' % few)
        timed('COPY 1:%d' % few, c, b'COPY 1:%d Trash' % few)
        timed('EXPUNGE %d' % few, c, b'EXPUNGE')
        timed('SELECT Trash', c, b'SELECT Trash')
        timed('MOVE 1:%d' % few, c, b'MOVE 1:%d INBOX' % few)
    finally:
        d.close()


if __name__ == '__main__':
    main()
