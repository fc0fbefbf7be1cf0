"""Every message of the corpus through the whole suite: what SMTP may carry goes in by SMTP, the rest by APPEND (which mends bare CR
and LF, and refuses NUL); each comes back by IMAP byte for byte behind its trace fields, and its ENVELOPE and BODYSTRUCTURE are
read by a strict reader."""
import collections
import os
import re
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, '..', d) for d in ('lib', 'unit')]
import imap_suites  # noqa: E402
import mime_corpus  # noqa: E402
import province as prov  # noqa: E402

CORPUS = os.environ.get('CORPUS', os.path.join(prov.TOP, '..', 'shared', 'corpus'))
pytestmark = pytest.mark.skipif(not os.path.isdir(os.path.join(CORPUS, 'mime')), reason='no corpus beside the tree')
WHO = prov.address('yen')


def files():
    for half in ('mime', 'copyleft/mime'):
        for root, dirs, names in os.walk(os.path.join(CORPUS, half)):
            dirs.sort()
            for n in sorted(names):
                if not n.endswith(('.json', '.md', '.tsv', '.txt.expected')):
                    yield os.path.join(root, n)


def normal(data):
    return re.sub(rb'\r\n|\r|\n', b'\r\n', data)


def line_ends(data):
    """crlf, lf (a file of this machine, whose sender makes CRLF of it), mixed or nul."""
    if b'\0' in data:
        return 'nul'
    bare = re.sub(rb'\r\n', b'', data)
    if b'\r' not in bare and b'\n' not in bare:
        return 'crlf'
    return 'lf' if b'\r' not in data else 'mixed'


def grammar(response):
    reader = mime_corpus.Reader('')
    reader.s, reader.i = response, response.index(b'ENVELOPE ') + 9
    mime_corpus.check_envelope(reader.value())
    reader.i = response.index(b' BODYSTRUCTURE ', reader.i) + 15
    mime_corpus.check_body(reader.value(), True)


class Smtp:
    """Whole messages over one session, without a client library's own mending."""

    def __init__(self, province):
        self.c = province.smtp()
        self.c.ehlo()

    def send(self, data):
        """None, or why it was refused."""
        assert self.c.mail('khach@ngoai.example')[0] == 250
        assert self.c.rcpt(WHO)[0] == 250
        self.c.putcmd('data')
        assert self.c.getreply()[0] == 354
        self.c.sock.sendall(re.sub(rb'(?m)^\.', b'..', data) + b'.\r\n')
        code, text = self.c.getreply()
        return None if code == 250 else '%d %s' % (code, text.decode())


def imap(province):
    c = imap_suites.Line('127.0.0.1', province.port('imaps'), tls=True, timeout=30)
    assert c.line().startswith(b'* OK')
    c.ok(b'LOGIN %s %s' % (WHO.encode(), prov.PASSWORD.encode()))
    c.ok(b'SELECT INBOX')
    return c


def check(c, uid, path, want, trace):
    [r] = [r for r in c.ok(b'UID FETCH %s (RFC822.SIZE ENVELOPE BODYSTRUCTURE BODY.PEEK[])' % uid) if b' FETCH (' in r]
    m = re.search(rb'BODY\[\] \{(\d+)\}\r\n', r)
    got = r[m.end():m.end() + int(m.group(1))]
    assert got.endswith(want), path
    before = got[:len(got) - len(want)]
    assert not before if not trace else re.fullmatch(rb'Return-Path: .*\r\nReceived: (.*\r\n[ \t])*.*\r\n', before), (path, before)
    assert b'RFC822.SIZE %d ' % len(got) in r, path
    grammar(r)


def by_smtp(province, c, smtp, path, data):
    """None, or the refusal."""
    data = normal(data)
    if not data.endswith(b'\r\n'):
        data += b'\r\n'
    [r] = [r for r in c.ok(b'STATUS INBOX (UIDNEXT)') if b'STATUS' in r]
    uid = re.search(rb'UIDNEXT (\d+)', r).group(1)
    refused = smtp.send(data)
    if not refused:
        check(c, uid, path, data, True)
    return refused


def by_append(c, path, data):
    """False: refused."""
    got, tagged = c.command(b'APPEND INBOX {%d+}\r\n%s' % (len(data), data))
    if b' NO ' in tagged[:12]:
        return False
    assert b'APPENDUID' in tagged, (path, tagged)
    check(c, re.search(rb'APPENDUID \d+ (\d+)', tagged).group(1), path, normal(data), False)
    return True


def test_every_message_in_and_back(province):
    c, smtp = imap(province), Smtp(province)
    count, refused = collections.Counter(), collections.defaultdict(list)
    for path in files():
        with open(path, 'rb') as f:
            data = f.read()
        ends = line_ends(data)
        why = by_smtp(province, c, smtp, path, data) if ends in ('crlf', 'lf') and data else ends
        if why is None:
            count['by SMTP'] += 1
            continue
        if ends in ('crlf', 'lf') and data:
            refused[why].append(os.path.relpath(path, CORPUS))
        if by_append(c, path, data):
            count['by APPEND'] += 1
        else:
            assert ends == 'nul' or not data, path
            count['refused: %s' % ('NUL' if data else 'empty')] += 1
    print('corpus: %s' % ', '.join('%s %d' % x for x in sorted(count.items())))
    for why, paths in refused.items():
        print('refused by SMTP, %s: %d (%s)' % (why, len(paths), ', '.join(paths[:5])))
    assert count['by SMTP'] > 1000
    # The reasons for which a whole message of good line ends may be refused.
    assert all(re.search(r'5\.6\.|5\.4\.6|5\.3\.4|5\.5\.2|line', why) for why in refused), dict(refused)
    assert sum(len(p) for p in refused.values()) < 0.02 * count['by SMTP']


@pytest.mark.parametrize('ends', [b'\n', b'\r'])
def test_smtp_refuses_bare_line_ends(province, word, ends):
    s = Smtp(province)
    assert s.c.mail('khach@ngoai.example')[0] == 250
    assert s.c.rcpt(WHO)[0] == 250
    s.c.putcmd('data')
    assert s.c.getreply()[0] == 354
    s.c.sock.sendall(b'Subject: %s\r\n\r\nmot%shai%s.%s\r\n.\r\n' % (word.encode(), ends, ends, ends))
    assert s.c.getreply()[0] >= 500
    assert province.find('yen', word) == []
