"""Time travel of one mailbox and of an account, undelete, backup and full restore, with the whole suite and real clients."""
import datetime
import hashlib
import json
import os
import re
import shutil
import signal
import smtplib
import subprocess
import threading
import time

import pytest

from province import BUILD, MAILADM, Province, address, built, message, until

pytestmark = pytest.mark.skipif(built() is not None, reason=built() or '')


def utf7(name):
    """Modified UTF-7 (RFC 3501 5.1.3) of a name without '&'."""
    out = ''
    for part in re.findall(r'[\x20-\x7e]+|[^\x20-\x7e]+', name):
        if part.isascii():
            out += part
        else:
            import base64
            out += '&' + base64.b64encode(part.encode('utf-16-be')).decode().rstrip('=').replace('/', ',') + '-'
    return '"%s"' % out


def state(p, user, box):
    """What a client sees of a mailbox: for each message its UID, subject, flags and INTERNALDATE."""
    c = p.imap(user)
    if c.select(utf7(box), readonly=True)[0] != 'OK':
        return None
    got = c.uid('FETCH', '1:*', '(FLAGS INTERNALDATE BODY.PEEK[HEADER.FIELDS (SUBJECT)])')[1]
    c.logout()
    out = []
    for item in got:
        if not isinstance(item, tuple):
            continue
        head = item[0].decode()
        flags = set(re.search(r'FLAGS \(([^)]*)\)', head).group(1).split()) - {'\\Recent'}
        out.append((int(re.search(r'UID (\d+)', head).group(1)), item[1].decode().strip(), frozenset(flags),
                    re.search(r'INTERNALDATE "([^"]*)"', head).group(1)))
    return out


def content(rows):
    """The same without UIDs, in any order."""
    return sorted((s, tuple(sorted(f)), d) for _, s, f, d in rows)


def validity(p, user, box):
    c = p.imap(user)
    got = c.status(utf7(box), '(UIDVALIDITY UIDNEXT MESSAGES)')[1][0].decode()
    c.logout()
    return {k: int(v) for k, v in re.findall(r'(UIDVALIDITY|UIDNEXT|MESSAGES) (\d+)', got)}


def now():
    time.sleep(0.02)
    t = datetime.datetime.now(datetime.timezone.utc).isoformat()
    time.sleep(0.02)
    return t


@pytest.fixture(scope='module')
def province():
    p = Province()
    yield p
    p.close()


def send(p, to, *subjects):
    to = [to] if isinstance(to, str) else to

    def answered():
        """On a busy machine a worker may say 421 until its helpers are there."""
        try:
            p.smtp().quit()
            return True
        except smtplib.SMTPConnectError:
            return False
    until(answered)
    for s in subjects:
        p.send('giang@gialai.example', to, message('giang@gialai.example', address(to[0]), s))


def test_a_mailbox_as_it_was(province):
    p = province
    send(p, 'an', *['thu %d' % i for i in range(12)])
    c = p.imap('an', select='INBOX')
    c.create('Luu')
    c.uid('STORE', '1:4', '+FLAGS', '(\\Flagged)')
    c.uid('STORE', '3:6', '+FLAGS', '(\\Seen viec-gap)')
    c.uid('COPY', '1:3', 'Luu')
    before = validity(p, 'an', 'INBOX')
    was, was_luu = state(p, 'an', 'INBOX'), state(p, 'an', 'Luu')
    at = now()
    c.uid('STORE', '1:2', 'FLAGS', '(\\Answered khac)')
    c.uid('STORE', '5:8', '+FLAGS', '(\\Deleted)')
    c.expunge()
    c.uid('MOVE', '9:10', 'Luu')
    send(p, 'an', 'moi 1', 'moi 2')
    c.delete('Luu')
    c.logout()
    later, changed = now(), state(p, 'an', 'INBOX')
    assert content(changed) != content(was)

    # Into a folder: what was, and the mailbox itself untouched; again: nothing twice.
    p.adm('restore', '--account', address('an'), '--mailbox', 'INBOX', '--at', at, '--into', 'Cuu')
    assert content(state(p, 'an', 'Cuu')) == content(was)
    assert state(p, 'an', 'INBOX') == changed
    again = p.adm_json('restore', '--account', address('an'), '--mailbox', 'INBOX', '--at', at, '--into', 'Cuu')
    assert again == [{'name': 'INBOX', 'into': 'Cuu', 'added': 0, 'kept': 12, 'flagged': 0, 'expunged': 0, 'missing': 0}]

    # In place, dry first.
    words = ('restore', '--account', address('an'), '--mailbox', 'inbox', '--at', at, '--in-place')
    dry = p.adm_json(*words, '--dry-run')[0]
    assert state(p, 'an', 'INBOX') == changed
    watcher = p.imap('an', select='INBOX')
    done = p.adm_json(*words)[0]
    assert dry == done and done['added'] == 6 and done['flagged'] == 2 and done['expunged'] == 2 and done['kept'] == 4
    watcher.noop()
    assert watcher.untagged_responses.get('EXPUNGE')
    watcher.logout()
    got, after = state(p, 'an', 'INBOX'), validity(p, 'an', 'INBOX')
    assert content(got) == content(was)
    assert after['UIDVALIDITY'] == before['UIDVALIDITY'] and after['MESSAGES'] == 12
    # Who is still there keeps the UID; who was gone has a new one.
    assert {r for r in was if r[0] in (1, 2, 3, 4, 11, 12)} <= set(got)
    assert min(u for u, *_ in set(got) - set(was)) > max(u for u, *_ in changed)

    # And to the state between: the restore itself is history too.
    p.adm('restore', '--account', address('an'), '--mailbox', 'INBOX', '--at', later, '--in-place')
    assert content(state(p, 'an', 'INBOX')) == content(changed)

    # The whole account in place: the deleted folder comes back under its name, with the UIDs it had.
    p.adm('restore', '--account', address('an'), '--at', at, '--in-place')
    assert content(state(p, 'an', 'INBOX')) == content(was)
    assert state(p, 'an', 'Luu') == was_luu
    # The whole account into folders.
    p.adm('restore', '--account', address('an'), '--at', later, '--into', 'Tat ca')
    assert content(state(p, 'an', 'Tat ca/INBOX')) == content(changed)
    assert state(p, 'an', 'Tat ca/Luu') is None
    assert not p.alarms()


def test_names_come_back_and_new_mail_may_stay(province):
    p = province
    send(p, 'dung', 'cu 1', 'cu 2')
    c = p.imap('dung', select='INBOX')
    c.create('"Du an/Cau"')
    c.uid('COPY', '1', '"Du an/Cau"')
    at, was = now(), state(p, 'dung', 'Du an/Cau')
    c.rename('"Du an"', 'Khac')
    c.uid('STORE', '1', '+FLAGS', '(\\Deleted)')
    c.expunge()
    c.logout()
    send(p, 'dung', 'moi')
    p.adm('restore', '--account', address('dung'), '--at', at, '--in-place', '--keep-new')
    assert state(p, 'dung', 'Du an/Cau') == was and state(p, 'dung', 'Khac/Cau') is None
    assert sorted(s for _, s, _, _ in state(p, 'dung', 'INBOX')) == ['Subject: ' + s for s in ('cu 1', 'cu 2', 'moi')]
    p.adm('restore', '--account', address('dung'), '--at', at, '--in-place')
    assert sorted(s for _, s, _, _ in state(p, 'dung', 'INBOX')) == ['Subject: ' + s for s in ('cu 1', 'cu 2')]


def test_times_that_are_none(province):
    for bad in ('yesterday-ish', '2026-02-31', '2026-11-27T25:00Z', '5 parsecs ago', ''):
        r = province.adm('restore', '--account', address('an'), '--at', bad, check=False)
        assert r.returncode == 64 and 'not a time' in r.stderr, bad
    r = province.adm('restore', '--account', address('an'), '--mailbox', 'Khong co', '--at', '1m', check=False)
    assert r.returncode == 67 and 'no such mailbox' in r.stderr


def test_undelete(province):
    p = province
    send(p, 'binh', *['bi xoa %d' % i for i in range(5)])
    c = p.imap('binh', select='INBOX')
    c.create(utf7('Hồ sơ'))
    c.uid('STORE', '1:2', '+FLAGS', '(\\Seen quan-trong)')
    c.uid('COPY', '1', utf7('Hồ sơ'))
    was = state(p, 'binh', 'INBOX')
    # 3 goes the way that clients without MOVE go: it is not deleted.
    c.uid('COPY', '3', 'Trash')
    c.uid('STORE', '1:3', '+FLAGS', '(\\Deleted)')
    c.expunge()
    folder = state(p, 'binh', 'Hồ sơ')
    c.delete(utf7('Hồ sơ'))
    c.logout()
    listed = p.adm_json('undelete', address('binh'), '--list')
    assert [(x['kind'], x['mailbox']) for x in listed] == [('mailbox', 'Hồ sơ'), ('message', 'INBOX'), ('message', 'INBOX')]
    assert p.adm_json('undelete', address('binh'), '--mailbox', 'Hồ sơ') == {'found': 1, 'restored': 1, 'missing': 0}
    assert state(p, 'binh', 'Hồ sơ') == folder
    # 1 lives on in the folder; 2 comes back as it was, with its keyword, without \Deleted.
    assert p.adm_json('undelete', address('binh')) == {'found': 1, 'restored': 1, 'missing': 0}
    assert content(state(p, 'binh', 'INBOX')) == content([r for r in was if r[0] in (2, 4, 5)])
    assert p.adm_json('undelete', address('binh')) == {'found': 0, 'restored': 0, 'missing': 0}
    assert p.adm_json('undelete', address('binh'), '--all', '--into', 'Cuu ra')['restored'] == 3
    assert not p.alarms()


def use(p, user):
    return p.adm_json('quota', 'show', address(user))[0]


def test_over_quota():
    """What has no room does not come back, with a clear word, unless it is asked for over the quota."""
    p = Province('quota_default = 20K\nquota_warning = 0\n')
    try:
        text = 'x' * 60 + '\n'
        for subject in ('thu 1', 'thu 2', 'thu 3'):
            p.send('s@client.example', 'hai', message('s@client.example', address('hai'), subject, text * 70))
        c = p.imap('hai', select='INBOX')
        c.create('Cu')
        c.uid('MOVE', '3', 'Cu')
        at, inbox, folder = now(), state(p, 'hai', 'INBOX'), state(p, 'hai', 'Cu')
        c.uid('STORE', '1:2', '+FLAGS', '(\\Deleted)')
        c.expunge()
        c.delete('Cu')
        for i in range(2):
            p.send('s@client.example', 'hai', message('s@client.example', address('hai'), 'moi', text * 130))
        c.logout()
        had = use(p, 'hai')
        assert 16000 < had['bytes'] < 20480, had

        r = p.adm('undelete', address('hai'), '--mailbox', 'Cu', check=False)
        assert r.returncode == 65 and 'over its quota' in r.stderr and '--over-quota' in r.stderr, r
        r = p.adm('undelete', address('hai'), '--mailbox', 'INBOX', check=False)
        assert r.returncode == 65 and 'over its quota' in r.stderr, r
        r = p.adm('restore', '--account', address('hai'), '--mailbox', 'INBOX', '--at', at, '--into', 'Truoc', check=False)
        assert r.returncode == 65 and '0 of 2 messages were brought back' in r.stderr, r
        r = p.adm('restore', '--account', address('hai'), '--mailbox', 'Cu', '--at', at, '--in-place', check=False)
        assert r.returncode == 65 and 'over its quota' in r.stderr, r
        assert use(p, 'hai')['bytes'] == had['bytes'] and use(p, 'hai')['messages'] == 2
        assert state(p, 'hai', 'Truoc') == [] and state(p, 'hai', 'Cu') is None

        got = p.adm_json('restore', '--account', address('hai'), '--mailbox', 'INBOX', '--at', at, '--into', 'Truoc', '--over-quota')
        assert got[0]['added'] == 2 and content(state(p, 'hai', 'Truoc')) == content(inbox)
        assert p.adm_json('undelete', address('hai'), '--mailbox', 'Cu', '--over-quota')['restored'] == 1
        assert state(p, 'hai', 'Cu') == folder
        over = use(p, 'hai')
        assert over['messages'] == 5 and over['bytes'] > 20480 and over['percent'] > 100, over
        # Nothing more fits; in place, what is taken out makes room for what comes.
        c = p.imap('hai')
        typ, said = c.append('INBOX', None, None, message('a@b.example', 'c@d.example', 'khong vua'))
        assert typ == 'NO' and b'OVERQUOTA' in said[0]
        c.logout()
        assert p.adm_json('restore', '--account', address('hai'), '--mailbox', 'INBOX', '--at', at, '--in-place')[0]['added'] == 2
        assert content(state(p, 'hai', 'INBOX')) == content(inbox)
        assert p.adm('store', 'verify').returncode == 0
        assert not p.alarms()
    finally:
        p.close()


def test_too_old():
    """What is past undelete_window and was purged is refused, and the oldest instant is named; under a hold it is not purged."""
    p = Province('undelete_window = 1s\n')
    try:
        for user in ('khanh', 'lan'):
            send(p, user, 'cu 1', 'cu 2')
        p.adm('account', 'hold', address('lan'))
        at, was = now(), state(p, 'lan', 'INBOX')
        for user in ('khanh', 'lan'):
            c = p.imap(user, select='INBOX')
            c.create('Cu')
            c.uid('COPY', '2', 'Cu')
            c.uid('STORE', '1', '+FLAGS', '(\\Deleted)')
            c.expunge()
            c.delete('Cu')
            c.logout()
        time.sleep(1.1)
        for user in ('khanh', 'lan'):
            send(p, user, 'moi')
        p.adm('store', 'purge')
        for words in (['--at', at], ['--at', at, '--mailbox', 'INBOX'], ['--at', at, '--mailbox', 'Cu'], ['--at', at, '--in-place']):
            r = p.adm('restore', '--account', address('khanh'), *words, check=False)
            assert r.returncode == 65 and 'the oldest instant is 20' in r.stderr, (words, r)
        r = p.adm('undelete', address('khanh'), '--mailbox', 'Cu', check=False)
        assert r.returncode == 67 and 'no such mailbox' in r.stderr and 'undelete_window' in r.stderr, r
        assert p.adm('undelete', address('khanh')).stdout == 'nothing to bring back\n'
        assert p.adm_json('undelete', address('khanh'), '--list') == []
        assert [s for _, s, _, _ in state(p, 'khanh', 'INBOX')] == ['Subject: cu 2', 'Subject: moi']
        # under a hold
        assert p.adm_json('undelete', address('lan'), '--mailbox', 'Cu')['restored'] == 1
        p.adm('restore', '--account', address('lan'), '--mailbox', 'INBOX', '--at', at, '--in-place')
        assert content(state(p, 'lan', 'INBOX')) == content(was)
        assert not p.alarms()
    finally:
        p.close()


# -- backups of everything --

def everything(p, users):
    """All that the users' clients see: mailboxes with their messages, flags, dates."""
    out = {}
    for user in users:
        for b in p.adm_json('mailbox', 'list', address(user)):
            if b['selectable']:
                out[user, b['name']] = state(p, user, b['name'])
    return out


def validities(p, users):
    return {(u, b['name']): (b['uidvalidity'], b['uidnext']) for u in users for b in p.adm_json('mailbox', 'list', address(u))}


def fill(p):
    send(p, ['an', 'binh'], *['chung %d' % i for i in range(6)])
    c = p.imap('an', select='INBOX')
    c.create(utf7('Công việc/2026'))
    c.uid('STORE', '1:3', '+FLAGS', '(\\Seen \\Flagged viec-gap)')
    c.uid('COPY', '2:4', utf7('Công việc/2026'))
    c.uid('STORE', '5', '+FLAGS', '(\\Deleted)')
    c.expunge()
    c.logout()
    for i in range(2):  # each nearly a segment: the first is sealed when the second comes
        p.send('giang@gialai.example', ['binh'],
               message('giang@gialai.example', address('binh'), 'lon %d' % i, os.urandom(800000).hex().replace('f', 'f\n')))


class Load:
    """Deliveries and flags without pause, while something else happens."""
    def __init__(self, p):
        self.p, self.sent, self.stop = p, [], False
        self.thread = threading.Thread(target=self.run)

    def run(self):
        n = 0
        with self.p.smtp() as c:
            c.ehlo()
            while not self.stop:
                subject = 'luc sao luu %05d' % n
                c.sendmail('giang@gialai.example', [address('cuong')], message('giang@gialai.example', address('cuong'), subject))
                self.sent.append(subject)
                n += 1

    def __enter__(self):
        self.thread.start()
        time.sleep(0.3)
        return self

    def __exit__(self, *_):
        time.sleep(0.1)
        self.stop = True
        self.thread.join()


@pytest.fixture
def full():
    p = Province(options='store_segment_size = 1M\n')
    yield p
    p.close()


def test_backup_and_restore_of_everything(full, tmp_path):
    p, users = full, ('an', 'binh')
    d = str(tmp_path / 'backup')
    fill(p)
    with Load(p) as load:
        before = len(load.sent)
        first = p.adm_json('backup', d)
    assert len(load.sent) > before
    was, numbers = everything(p, users), validities(p, users)
    assert first['segments_kept'] == 0 and first['moved'] > 500000
    assert p.adm_json('backup', 'verify', d) == {'set': first['set'], 'files': first_files(d, first['set']), 'bytes': first['bytes'],
                                                 'faults': 0, 'set_aside': 0, 'opened': True}

    # The next one brings only what is new: sealed segments stay where they are.
    send(p, 'an', 'sau lan dau')
    second = p.adm_json('backup', d)
    assert second['segments_kept'] >= 1
    sealed = sum(os.path.getsize(os.path.join(top, f)) for top, _, files in os.walk(d + '/segments') for f in files)
    assert second['moved'] <= second['bytes'] - sealed + 1100000
    was = everything(p, users)
    numbers = validities(p, users)
    queued_before = p.adm_json('status')
    assert all(x['running'] for x in queued_before)

    # What comes after the backup is lost with the machine; a mailbox that it made, too.
    send(p, 'an', 'mat 1', 'mat 2')
    c = p.imap('binh')
    c.create('Moi')
    c.logout()
    r = p.adm('restore', d, check=False)
    assert r.returncode == 75 and 'in use' in r.stderr
    p.stop()
    r = p.adm('restore', d, check=False)
    assert r.returncode == 73 and 'not empty' in r.stderr
    shutil.rmtree(p.state + '/mail')
    shutil.rmtree(p.state + '/directory/db')
    shutil.rmtree(p.state + '/keys')
    p.adm('restore', d)
    p.start()
    assert everything(p, users) == was
    now_numbers = validities(p, users)
    assert set(now_numbers) == set(numbers)
    most = max(v for v, _ in numbers.values())
    assert all(now_numbers[k][0] > most and now_numbers[k][1] == numbers[k][1] for k in numbers)
    assert len({v for v, _ in now_numbers.values()}) == len(now_numbers)
    # Every message that was acknowledged before the second backup began is there.
    got = [s for _, s, _, _ in state(p, 'cuong', 'INBOX')]
    assert sorted(got) == sorted('Subject: ' + s for s in load.sent)
    # Life goes on: new mail, a restart, another backup of a new life.
    send(p, 'an', 'sau khi phuc hoi')
    p.wait_ready('stored', p.kill('stored'))
    assert len(p.find('an', 'sau khi phuc hoi')) == 1
    third = p.adm_json('backup', d, '--keep', '1')
    assert third['segments_kept'] == 0 and third['sets_removed'] == 2
    assert os.listdir(d + '/sets') == [third['set']]
    assert p.adm_json('backup', 'verify', d)['faults'] == 0
    assert [l for l in p.log('stored').split('\n') if 'store.restored' in l]
    assert not [a for a in p.alarms() if 'backup' in a or 'restore' in a or 'directory.' in a]


def first_files(d, name):
    with open('%s/sets/%s/manifest' % (d, name)) as f:
        return sum(l.startswith(('file ', 'segment ', 'chunked ')) for l in f)


def chunks_of(d, name, file=''):
    """The chunk files of a set (of one of its files), below d, in order."""
    out, inside = [], False
    with open('%s/sets/%s/manifest' % (d, name)) as f:
        for l in f.read().split('\n'):
            if l.startswith('chunked '):
                inside = l.endswith(file)
            elif l.startswith('chunk ') and inside:
                out.append('chunks/%s/%s' % (l[6:8], l.split()[1]))
    return out


def pool(d):
    return {os.path.relpath(os.path.join(top, f), d) for top, _, files in os.walk(d + '/chunks') for f in files}


def flip(path):
    """Change a byte in the middle of a file."""
    with open(path, 'r+b') as f:
        f.seek(os.path.getsize(path) // 2)
        old = f.read(1)
        f.seek(-1, 1)
        f.write(bytes([old[0] ^ 1]))


def as_version_1(d, name):
    """The set as backups were before chunks: its files whole, a manifest of version 1. Made by other code than the suite's."""
    top = '%s/sets/%s/' % (d, name)
    lines, file = [], None

    def end():
        if file:
            os.makedirs(os.path.dirname(top + file[0]), exist_ok=True)
            with open(top + file[0], 'wb') as f:
                f.write(file[1])
            lines.append('file %s %d %s' % (hashlib.blake2b(file[1], digest_size=32).hexdigest(), len(file[1]), file[0]))
    with open(top + 'manifest') as f:
        for l in f.read().split('\n')[1:]:
            words = l.split()
            if words[:1] == ['chunk']:
                with open('%s/chunks/%s/%s' % (d, words[1][:2], words[1]), 'rb') as x:
                    file[1] += x.read()
                continue
            end()
            file = [words[2], b''] if words[:1] == ['chunked'] else None
            if words and words[0] in ('stamp', 'life', 'sealed', 'file', 'segment'):
                lines.append(l)
    text = ('provmail-backup 1\n' + '\n'.join(lines) + '\n').encode()
    with open(top + 'manifest', 'wb') as f:
        f.write(text + b'end %s\n' % hashlib.sha256(text).hexdigest().encode())


def many(p, user, n):
    """Mail enough that databases have many chunks."""
    with p.smtp() as c:
        for i in range(n):
            c.sendmail('a@ngoai.example', [address(user)], message('a@ngoai.example', address(user), 'day %d ' % i + 'x' * 900))


def checkpointed(p):
    begin = time.time()
    until(lambda: os.stat(p.state + '/mail/db/message.db').st_mtime > begin)


def test_a_later_backup_brings_what_changed(full, tmp_path):
    p, d = full, str(tmp_path / 'backup')
    many(p, 'an', 400)
    fill(p)
    checkpointed(p)
    first = p.adm_json('backup', d)
    assert first['chunks_kept'] == 0 and first['chunks'] == len(pool(d)), first
    send(p, 'an', 'mot thu moi')
    said = p.adm('backup', d).stdout
    second = sorted(os.listdir(d + '/sets'))[-1]
    had, has = set(chunks_of(d, first['set'])), set(chunks_of(d, second))
    new = sum(os.path.getsize(d + '/' + c) for c in has - had)
    got = re.match(r'(\S+): ([0-9.]+) MiB in all, of which ([0-9.]+) MiB are new, .*; (\d+) of (\d+) segments and (\d+) of (\d+) chunks', said)
    assert got and got[1] == second and got[4] == got[5], said
    # The files of the set's own (keys and the like, the manifest is not counted) are small.
    assert new <= float(got[3]) * 1048576 + 60000 and float(got[3]) * 1048576 <= new + 200000, (new, said)
    assert int(got[7]) - int(got[6]) == len(has - had)
    # Much less than the first one, and most chunks are shared.
    assert new < 0.4 * first['moved'] and len(has & had) > 0.6 * len(has), (new, first)
    send(p, 'an', 'them mot thu')
    checkpointed(p)  # the pages that it changed are written
    third = p.adm_json('backup', d)
    assert third['moved'] < 0.2 * first['moved'] and third['chunks'] - third['chunks_kept'] < 0.3 * third['chunks'], third

    # An old form of set beside new ones: whole, and base of nothing that it does not have.
    as_version_1(d, first['set'])
    for name in sorted(os.listdir(d + '/sets')):
        assert p.adm_json('backup', 'verify', d, '--set', name)['faults'] == 0
    # Sets that go free what the others do not name; what they name stays.
    newest = p.adm_json('backup', d, '--keep', '2')
    assert newest['sets_removed'] == 2
    assert pool(d) == set(chunks_of(d, third['set'])) | set(chunks_of(d, newest['set']))
    assert p.adm_json('backup', 'verify', d, '--set', third['set'])['opened'] is True
    was = everything(p, ('an', 'binh'))
    p.stop()
    p.adm('restore', d, '--set', newest['set'], '--force')
    p.start()
    assert everything(p, ('an', 'binh')) == was


def test_a_restore_of_an_old_set_and_a_backup_on_top(full, tmp_path):
    p, d = full, str(tmp_path / 'backup')
    fill(p)
    first = p.adm_json('backup', d)
    was = everything(p, ('an', 'binh'))
    as_version_1(d, first['set'])
    shutil.rmtree(d + '/chunks')
    second = p.adm_json('backup', d)
    assert second['segments_kept'] == second['segments'] > 0
    assert second['chunks'] - second['chunks_kept'] == len(pool(d)) > 20  # it had none to begin with
    send(p, 'an', 'sau')
    p.stop()
    p.adm('restore', d, '--set', first['set'], '--force')
    p.start()
    assert everything(p, ('an', 'binh')) == was
    # While one manifest cannot be read nothing that sets share is removed.
    os.rename(d + '/sets/%s/manifest' % first['set'], d + '/away')
    before = pool(d)
    r = p.adm('backup', d, '--keep', '3')
    assert 'nothing that sets share is removed' in r.stderr and before <= pool(d)


def comm_pids(p, name):
    """Workers of smtpd of that kind."""
    out = []
    for pid in os.listdir('/proc'):
        try:
            with open('/proc/%s/stat' % pid) as f:
                head, tail = f.read().rsplit(')', 1)
            if int(tail.split()[1]) == p.pid('smtpd') and name in head:
                out.append(int(pid))
        except (OSError, ValueError, IndexError):
            continue
    return out


def test_queue_is_held_after_a_restore(tmp_path):
    p, d = Province(options='group_inline_limit = 1\n'), str(tmp_path / 'backup')
    try:
        workers = comm_pids(p, 'delivery')
        assert workers
        for w in workers:  # so that what is queued is still so in the backup
            os.kill(w, signal.SIGSTOP)
        p.send('an@gialai.example', 'toantinh@gialai.example', message('an@gialai.example', 'toantinh@gialai.example', 'gui ca tinh'), user='an')
        p.adm('backup', d)
        assert p.find('binh', 'gui ca tinh') == []
        for w in workers:
            os.kill(w, signal.SIGCONT)
        until(lambda: p.find('binh', 'gui ca tinh'))
        p.stop()
        p.adm('restore', d, '--force')
        p.start()
        assert 'store.queue.held' in p.log('stored')
        assert {x['name']: x.get('held') for x in p.adm_json('status')}['stored'] == 1
        assert 'held' in p.adm('status').stdout
        # What is new goes out, what was queued before does not.
        p.send('an@gialai.example', 'toantinh@gialai.example', message('an@gialai.example', 'toantinh@gialai.example', 'moi gui'), user='an')
        until(lambda: p.find('binh', 'moi gui'))
        time.sleep(0.5)
        assert p.find('binh', 'gui ca tinh') == []
        p.wait_ready('stored', p.kill('stored'))  # it is on record
        time.sleep(0.5)
        assert p.find('binh', 'gui ca tinh') == []
        assert p.adm_json('queue', 'release') == {'released': 1}
        until(lambda: p.find('binh', 'gui ca tinh'))
        assert p.adm_json('queue', 'release') == {'released': 0}
        assert {x['name']: x.get('held') for x in p.adm_json('status')}['stored'] == 0
    finally:
        p.close()


def test_a_directory_that_was_put_back_half(full, tmp_path):
    """No start makes an empty copy where a restore was begun; the restore run again makes it whole."""
    p, d = full, str(tmp_path / 'backup')
    send(p, 'an', 'truoc khi hong')
    p.adm('backup', d)
    p.stop()
    top = p.state + '/directory'
    os.mkdir(top + '/restoring')
    os.rename(top + '/db', top + '/restoring/db')
    r = subprocess.run([os.path.join(BUILD, 'common', 'directory', 'directoryd'), '--config', p.conf], capture_output=True, text=True, timeout=30)
    said = r.stderr + p.log('directoryd')
    assert r.returncode != 0 and 'a restore of everything was not finished' in said, (r, said)
    assert not os.path.exists(top + '/db') and os.path.exists(top + '/restoring/db')
    p.adm('restore', d, '--force')
    assert os.path.exists(top + '/db') and not os.path.exists(top + '/restoring')
    p.start()
    assert len(p.find('an', 'truoc khi hong')) == 1


def test_moved_to_another_place(full, tmp_path):
    """What is copied while nothing runs is the same store, not one that was put back: clients keep what they know of it."""
    p, users = full, ('an', 'binh')
    fill(p)
    everything(p, users)  # a first login makes folders
    was, numbers = everything(p, users), validities(p, users)
    p.stop()
    for name in ('mail', 'directory', 'keys'):
        subprocess.run(['cp', '-a', p.state + '/' + name, p.state + '/copy'], check=True)
        shutil.rmtree(p.state + '/' + name)
        os.rename(p.state + '/copy', p.state + '/' + name)
    p.adm('store', 'verify', '--deep')  # while nothing runs: 0, it is whole
    p.start()
    assert everything(p, users) == was and validities(p, users) == numbers
    send(p, 'an', 'sau khi chuyen')
    assert len(p.find('an', 'sau khi chuyen')) == 1 and not p.alarms()


def test_encrypted_backup(full, tmp_path):
    p, d, key = full, str(tmp_path / 'sealed'), str(tmp_path / 'key')
    fill(p)
    p.adm('backup', 'key', key)
    assert oct(os.stat(key).st_mode & 0o777) == '0o600'
    assert p.adm('backup', 'key', key, check=False).returncode == 73
    made = p.adm_json('backup', d, '--encrypt-to', key + '.pub')
    assert made['encrypted']
    # Nothing of what it holds can be read in it.
    words = [b'gialai', b'Subject', b'dn: ', b'provmail store', open(p.state + '/keys/grant.key', 'rb').read()]
    for top, _, files in os.walk(d):
        for f in files:
            if f != 'manifest' and f != 'provmail-backup':
                with open(os.path.join(top, f), 'rb') as x:
                    text = x.read()
                assert text.startswith(b'PMSEAL') and not any(w in text for w in words), f
    again = p.adm_json('backup', d, '--encrypt-to', key + '.pub')
    assert again['segments_kept'] == again['segments']
    other = str(tmp_path / 'other')
    p.adm('backup', 'key', other)
    r = p.adm('backup', 'verify', d, '--key', other, check=False)
    assert r.returncode == 65 and 'another key' in r.stderr
    assert p.adm_json('backup', 'verify', d)['opened'] is False
    assert p.adm_json('backup', 'verify', d, '--key', key)['opened'] is True
    was = everything(p, ('an', 'binh'))
    p.stop()
    r = p.adm('restore', d, '--force', check=False)
    assert r.returncode == 77 and 'encrypted' in r.stderr
    p.adm('restore', d, '--key', key, '--force')
    assert sorted(os.listdir(p.state + '/mail/replaced-1')) == ['db', 'format', 'pages', 'segments']
    p.start()
    assert everything(p, ('an', 'binh')) == was


def test_a_damaged_backup_is_noticed(full, tmp_path):
    p, d = full, str(tmp_path / 'backup')
    fill(p)
    made = p.adm_json('backup', d)
    top = '%s/sets/%s/' % (d, made['set'])
    segment = [os.path.join(t, f) for t, _, files in os.walk(d + '/segments') for f in files][0]
    chunk = d + '/' + chunks_of(d, made['set'], 'store/format')[0]  # what never changes
    for path in (segment, chunk, d + '/' + chunks_of(d, made['set'], 'store/db/message.db')[0], d + '/' + chunks_of(d, made['set'], 'directory/db/entry.db')[0], top + 'files/keys/grant.key',
                 top + 'manifest'):
        flip(path)
        r = p.adm('backup', 'verify', d, check=False)
        assert r.returncode == 65 and os.path.basename(path) in r.stderr, path
        flip(path)
    assert p.adm_json('backup', 'verify', d)['faults'] == 0
    for path in (segment, chunk):
        os.rename(path, path + '.away')
        assert p.adm('backup', 'verify', d, '--set', made['set'], check=False).returncode == 65
        # A backup after that brings it again, and the older set is whole again too.
        again = p.adm_json('backup', d)
        assert p.adm_json('backup', 'verify', d)['faults'] == 0
        assert p.adm_json('backup', 'verify', d, '--set', made['set'])['faults'] == 0
        if path == segment:
            assert again['segments_kept'] < again['segments']
    # What is damaged in place is taken for good by a backup (it does not read it), until it is set aside.
    for path in (segment, chunk):
        flip(path)
        p.adm_json('backup', d)
        assert p.adm('backup', 'verify', d, '--set', made['set'], check=False).returncode == 65
        r = p.adm('backup', 'verify', d, '--set', made['set'], '--set-aside', check=False)
        assert r.returncode == 65 and 'set aside' in r.stdout and not os.path.exists(path)
    # A restore of the damaged set leaves the store as it was.
    was = everything(p, ('an',))
    p.stop()
    r = p.adm('restore', d, '--set', made['set'], '--force', check=False)
    assert r.returncode == 65 and os.path.exists(p.state + '/mail/format')
    flip(chunk + '.damaged')
    os.rename(chunk + '.damaged', chunk)
    flip(segment)
    r = p.adm('restore', d, '--set', made['set'], '--force', check=False)
    assert r.returncode == 65 and os.path.basename(segment) in r.stderr
    flip(segment)
    os.unlink(chunk)
    p.start()
    assert everything(p, ('an',)) == was
    p.adm_json('backup', d)
    assert p.adm_json('backup', 'verify', d)['opened'] is True and p.adm_json('backup', 'verify', d, '--set', made['set'])['opened'] is True


def test_a_damaged_chunk_of_an_encrypted_backup(full, tmp_path):
    p, d, key = full, str(tmp_path / 'sealed'), str(tmp_path / 'key')
    fill(p)
    p.adm('backup', 'key', key)
    first = p.adm_json('backup', d, '--encrypt-to', key + '.pub')
    chunk = d + '/' + chunks_of(d, first['set'], 'store/db/content.db')[0]
    flip(chunk)
    for words in ([], ['--key', key]):
        r = p.adm('backup', 'verify', d, *words, check=False)
        assert r.returncode == 65 and os.path.basename(chunk) in r.stderr
    p.adm('backup', 'verify', d, '--set-aside', check=False)
    second = p.adm_json('backup', d, '--encrypt-to', key + '.pub')
    # Sealed anew its bytes are others, under another name.
    assert second['chunks_kept'] > 0.5 * second['chunks']
    assert p.adm_json('backup', 'verify', d, '--key', key)['opened'] is True
    p.stop()
    r = p.adm('restore', d, '--key', key, '--set', first['set'], '--force', check=False)
    assert r.returncode == 65 and os.path.exists(p.state + '/mail/format')
    p.adm('restore', d, '--key', key, '--force')
    p.start()
    assert len(p.find('an', 'chung 0')) == 1
    # Another key: nothing is shared with what that one opens.
    p.adm('backup', 'key', str(tmp_path / 'other'))
    other = p.adm_json('backup', d, '--encrypt-to', str(tmp_path / 'other.pub'))
    assert not set(chunks_of(d, other['set'])) & set(chunks_of(d, second['set'])) and other['segments_kept'] == 0
    assert p.adm_json('backup', 'verify', d, '--key', str(tmp_path / 'other'))['opened'] is True


@pytest.mark.parametrize('sealed', (False, True))
def test_a_cut_backup_was_not_in_vain(full, tmp_path, sealed):
    """Segments that a killed run had brought whole do not come again, also when it is killed twice."""
    p, key = full, str(tmp_path / 'key')
    for _ in range(6):
        fill(p)
    p.adm('backup', 'key', key)
    words = ['--encrypt-to', key + '.pub'] if sealed else []

    def segments(d):
        return [os.path.join(t, f) for t, _, files in os.walk(d + '/segments') for f in files if f.endswith('.seg')]

    def cut(d, had):
        """A run that is killed once it has brought a segment more; False: it was quicker."""
        x = subprocess.Popen([MAILADM, '--config', p.conf, 'backup', d] + words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while x.poll() is None and len(segments(d)) <= had:
            time.sleep(0.0005)
        x.kill()
        x.wait()
        return not os.listdir(d + '/sets') and len(segments(d)) > had
    for n in range(30):
        d = str(tmp_path / ('backup%d' % n))
        if cut(d, 0) and cut(d, len(segments(d))):
            break
    else:
        pytest.skip('this machine is too quick to cut a backup')
    notes = [os.path.join(d, f, 'segments') for f in os.listdir(d) if f.startswith('new-')]
    assert len(notes) == 1
    with open(notes[0]) as f:
        noted = f.read().split('\n')[:-1]
    assert len(noted) >= max(1, len(segments(d)) - 1)  # the last one may be there and not noted yet
    with open(notes[0], 'a') as f:
        f.write(noted[-1][:50])  # torn
    made = p.adm_json('backup', d, *words)
    assert made['segments_kept'] == len(noted) and made['segments_kept'] <= made['segments']
    opened = ['--key', key] if sealed else []
    assert p.adm_json('backup', 'verify', d, *opened)['opened'] is True
    assert os.listdir(d + '/sets') == [made['set']] and not [f for f in os.listdir(d) if f.startswith('new-')]
    assert not os.path.exists(d + '/sets/' + made['set'] + '/segments')


def test_a_backup_that_is_cut(full, tmp_path):
    """Killed at any moment, it leaves no set, holds nothing back, and the next one is whole; so is the one before."""
    p, d = full, str(tmp_path / 'backup')
    fill(p)
    first = p.adm_json('backup', d)
    for delay in (0.0, 0.01, 0.03, 0.06, 0.1):
        send(p, 'an', 'giua hai lan')
        x = subprocess.Popen([MAILADM, '--config', p.conf, 'backup', d], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay)
        x.kill()
        x.wait()
    assert p.adm_json('backup', 'verify', d, '--set', first['set'])['faults'] == 0
    # What a power cut may have left of such a run: half a chunk under its name, which no set names.
    os.makedirs(d + '/new-20200101T000000Z-000000')
    os.makedirs(d + '/chunks/00', exist_ok=True)
    with open(d + '/chunks/00/' + '0' * 64, 'wb') as f:
        f.write(b'half')
    made = p.adm_json('backup', d)
    sets = os.listdir(d + '/sets')
    assert made['set'] in sets and first['set'] in sets
    assert pool(d) == {c for s in sets for c in chunks_of(d, s)}
    for s in sets:
        assert p.adm_json('backup', 'verify', d, '--set', s)['faults'] == 0
    assert not [f for f in os.listdir(d) if f.startswith('new-')]
    # A backup that fails takes away what it brought.
    send(p, 'an', 'truoc lan hong')
    before = pool(d)
    os.mkdir(p.state + '/keys/khong-doc-duoc')  # read after all that the daemons send
    r = p.adm('backup', d, check=False)
    assert r.returncode == 74 and 'khong-doc-duoc' in r.stderr
    assert pool(d) == before and sorted(os.listdir(d + '/sets')) == sorted(sets)
