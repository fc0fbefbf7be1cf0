"""mailadm import and export: mbox, Maildir, a live Dovecot; killed in the middle and run again; there and back again."""
import base64
import glob
import hashlib
import imaplib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'lib'))
import province as prov  # noqa: E402

CORPUS = os.environ.get('CORPUS', os.path.join(prov.TOP, '..', 'shared', 'corpus'))


@pytest.fixture(scope='module')
def province():
    """One of its own: stored is killed here."""
    why = prov.built()
    if why:
        pytest.skip(why)
    p = prov.Province()
    yield p
    alarms = [l for l in p.alarms() if 'supervise.ended' not in l]
    p.close()
    assert not alarms, alarms[:10]


needs_corpus = pytest.mark.skipif(not os.path.isdir(os.path.join(CORPUS, 'mime')), reason='no corpus beside the tree')


def run(p, *words, status=0):
    """mailadm import ... --json: its figures."""
    r = subprocess.run([prov.MAILADM, '--config', p.conf, *words, '--json'], capture_output=True, text=True, timeout=120)
    assert r.returncode == status, (words, r.returncode, r.stdout, r.stderr, p.tail('stored'))
    return json.loads(r.stdout)


def report(figures):
    with open(figures['report']) as f:
        return [json.loads(line) for line in f]


def refused(figures):
    return [(r.get('source', ''), r['refused']) for r in report(figures) if 'refused' in r]


def encoded(name):
    """Quoted modified UTF-7."""
    out, run_ = '', ''
    for ch in name + '\0':
        if ' ' <= ch <= '~' or ch == '\0':
            if run_:
                out += '&' + base64.b64encode(run_.encode('utf-16-be')).decode().rstrip('=').replace('/', ',') + '-'
                run_ = ''
            out += ch if ch != '\0' else ''
        else:
            run_ += ch
    return '"%s"' % out.replace('\0', '')


def messages(p, who, box):
    """What is in a mailbox: (UID, flags and keywords, INTERNALDATE, bytes)."""
    c = p.imap(who)
    assert c.select(encoded(box), readonly=True)[0] == 'OK', box
    got = []
    for part in c.uid('FETCH', '1:*', '(UID FLAGS INTERNALDATE BODY.PEEK[])')[1] or []:
        if isinstance(part, tuple):
            head = part[0].decode()
            flags = frozenset(re.search(r'FLAGS \(([^)]*)\)', head).group(1).split()) - {'\\Recent'}
            date = re.search(r'INTERNALDATE "([^"]*)"', head).group(1)
            got.append((int(re.search(r'UID (\d+)', head).group(1)), flags, date, part[1]))
    c.logout()
    return got


def normal(data):
    return re.sub(rb'\r\n|\r|\n', b'\r\n', data)


def mail(subject, body='text\n', extra=''):
    return ('From: An <an@gialai.example>\nTo: b@example.net\nSubject: %s\nDate: Tue, 24 Nov 2026 10:00:00 +0700\n%s\n%s'
            % (subject, extra, body)).encode()


MBOX = b'''From an@example.net Tue Nov 24 03:00:00 2026
From: a@example.net
Subject: one
Status: RO
X-Status: AF
X-Keywords: $Work  Gap

>From the start of a line
>>From two
From nobody, no date: text

From here too, without an empty line it would not matter

From an@example.net Tue Nov 24 10:00:01 2026 +0700
From: a@example.net
Subject: two
Content-Length: 73

From an@example.net Tue Nov 24 03:00:00 2026
is inside, by the length

x

From an@example.net Tue Nov 24 03:00:02 2026
Subject: nul

a\0b

From an@example.net Tue Nov 24 03:00:03 2026
Subject: three\r
\r
crlf\r
bare\rcr
last'''


def test_mbox(province, tmp_path):
    path = tmp_path / 'Việc cũ.mbox'
    path.write_bytes(MBOX)
    who = prov.address('cuong')
    dry = run(province, 'import', 'mbox', str(path), '--account', who, '--dry-run', status=65)
    assert (dry['imported'], dry['refused']) == (3, 1)
    got = run(province, 'import', 'mbox', str(path), '--account', who, status=65)
    assert (got['imported'], got['known'], got['refused'], got['failed']) == (3, 0, 1, 0)
    assert 'NUL' in refused(got)[0][1]
    box = messages(province, 'cuong', 'Việc cũ')
    assert [m[3] for m in box] == [normal(t) for t in (
        b'From: a@example.net\nSubject: one\n\nFrom the start of a line\n>From two\nFrom nobody, no date: text\n\n'
        b'From here too, without an empty line it would not matter\n',
        b'From: a@example.net\nSubject: two\n\nFrom an@example.net Tue Nov 24 03:00:00 2026\nis inside, by the length\n\nx\n',
        b'Subject: three\n\ncrlf\nbare\ncr\nlast')]
    assert box[0][1] == {'\\Seen', '\\Answered', '\\Flagged', '$Work', 'Gap'}
    assert [m[2] for m in box] == ['24-Nov-2026 03:00:00 +0000', '24-Nov-2026 10:00:01 +0700', '24-Nov-2026 03:00:03 +0000']
    again = run(province, 'import', 'mbox', str(path), '--account', who, status=65)
    assert (again['imported'], again['known'], again['refused']) == (0, 3, 1)
    shutil.rmtree(os.path.dirname(again['report']))  # the notes are lost: the store still knows
    again = run(province, 'import', 'mbox', str(path), '--account', who, status=65)
    assert (again['imported'], again['known'], again['refused']) == (0, 3, 1)
    assert len(messages(province, 'cuong', 'Việc cũ')) == 3


# -- Maildir --

def put(folder, name, data, when):
    for sub in ('cur', 'new', 'tmp'):
        os.makedirs(os.path.join(folder, sub), exist_ok=True)
    path = os.path.join(folder, 'cur' if ':2,' in name else 'new', name)
    with open(path, 'wb') as f:
        f.write(data)
    os.utime(path, (when, when))
    return path


def boxes(p, who, lsub=False):
    c = p.imap(who)
    lines = (c.lsub if lsub else c.list)()[1]
    c.logout()
    return {re.search(rb'"/" (?:"(.*)"|(\S+))$', l).expand(rb'\1\2').decode() for l in lines}


def test_maildir(province, tmp_path):
    top = str(tmp_path / 'Maildir')
    put(top, '1000000002.b.host,S=40:2,RSa', mail('second'), 1000000002)
    put(top, '1000000001.a.host', mail('first'), 1000000001)
    put(top, '1000000003.c.host:2,FPb', mail('third, before the others', 'a\0b'), 1000000003)
    put(top, '1000000004.d.host:2,DT', mail('fourth'), 1000000004)
    with open(top + '/dovecot-keywords', 'w') as f:
        f.write('0 $Work\n1 Gap\n')
    with open(top + '/dovecot-uidlist', 'w') as f:
        f.write('3 V1 N9 Gabc\n1 :1000000004.d.host\n7 S40 :1000000002.b.host,S=40\n')
    put(top + '/.' + encoded('Công văn')[1:-1] + '.' + 'v1\\2e0', '1000000005.e.host:2,S', mail('deep'), 1000000005)
    put(top + '/.Not listed', '1000000006.f.host:2,', mail('other'), 1000000006)
    with open(top + '/subscriptions', 'w') as f:
        f.write('V\t2\n\n%s\tv1\\2e0\n' % encoded('Công văn')[1:-1])
    who = prov.address('dung')
    got = run(province, 'import', 'maildir', top, '--account', who, status=65)
    assert (got['imported'], got['refused']) == (5, 1)
    assert refused(got) == [('1000000003.c.host:2,FPb', 'holds a NUL byte')]
    inbox = messages(province, 'dung', 'INBOX')
    assert [(m[1], m[2], m[3]) for m in inbox] == [
        ({'\\Draft', '\\Deleted'}, '09-Sep-2001 01:46:44 +0000', normal(mail('fourth'))),
        ({'\\Answered', '\\Seen', '$Work'}, '09-Sep-2001 01:46:42 +0000', normal(mail('second'))),
        (set(), '09-Sep-2001 01:46:41 +0000', normal(mail('first')))]
    deep = encoded('Công văn/v1.0')[1:-1]
    assert deep in boxes(province, 'dung') and 'Not listed' in boxes(province, 'dung')
    assert deep in boxes(province, 'dung', lsub=True) and 'Not listed' not in boxes(province, 'dung', lsub=True)

    # meanwhile there: read, filed anew, one deleted, one new, and one of ours flagged here
    os.rename(top + '/new/1000000001.a.host', top + '/cur/1000000001.a.host:2,Sb')
    os.unlink(top + '/cur/1000000004.d.host:2,DT')
    put(top, '1000000009.n.host', mail('new'), 1000000009)
    c = province.imap('dung', select='INBOX')
    c.uid('STORE', '2', '+FLAGS', '(\\Flagged)')
    c.logout()
    again = run(province, 'import', 'maildir', top, '--account', who, '--sync', status=65)
    assert (again['imported'], again['known'], again['flags_changed'], again['removed']) == (1, 4, 1, 1)
    inbox = messages(province, 'dung', 'INBOX')
    assert [(m[0], m[1]) for m in inbox] == [(2, {'\\Answered', '\\Seen', '\\Flagged', '$Work'}), (3, {'\\Seen', 'Gap'}), (4, set())]


def many(number, word):
    for i in range(number):
        body = '%s %d %s\n' % (word, i, hashlib.sha256(b'%d' % i).hexdigest()) * (1 + i % 20)
        yield mail('%s %d' % (word, i), body)


def mbox_of(mails):
    quoted = (re.sub(rb'(?m)^(>*From )', rb'>\1', m) for m in mails)
    return b''.join(b'From x Tue Nov 24 03:00:00 2026\n' + m + (b'\n' if m.endswith(b'\n') else b'\n\n') for m in quoted)


def test_killed_and_run_again(province, tmp_path):
    """Killed at several moments, and stored as well: at the end everyone has each message once."""
    who, number = ['giang', 'hai', 'khanh'], 700
    for name in who:
        os.makedirs(tmp_path / name)
        (tmp_path / name / 'archive.mbox').write_bytes(mbox_of(many(number, name)))
    accounts = tmp_path / 'accounts'
    accounts.write_text('# all of them\n' + ''.join(prov.address(n) + '\n' for n in who))
    words = [prov.MAILADM, '--config', province.conf, 'import', 'mbox', str(tmp_path / '%u'), '--accounts', str(accounts), '--json']

    def count():
        return sum(b['messages'] for n in who for b in province.adm_json('mailbox', 'list', prov.address(n)))

    killed = 0
    for part in (0.15, 0.4, 0.7):
        r = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        end = time.monotonic() + 60
        while count() < part * number * len(who) and r.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
        killed += r.poll() is None
        if part == 0.4:
            old = province.kill('stored')
            province.wait_ready('stored', old)
        os.killpg(r.pid, signal.SIGKILL)
        r.wait()
    assert killed
    got = run(province, 'import', 'mbox', str(tmp_path / '%u'), '--accounts', str(accounts))
    assert got['imported'] + got['known'] == number * len(who) and got['refused'] == got['failed'] == 0
    for name in who:
        box = messages(province, name, 'archive')
        assert sorted(m[3] for m in box) == sorted(normal(m) for m in many(number, name))
    assert run(province, 'import', 'mbox', str(tmp_path / '%u'), '--accounts', str(accounts))['imported'] == 0
