"""The care of the store as an administrator sees it: upgrade, purge and legal hold, verify."""
import fcntl
import json
import os
import random
import re
import shutil
import subprocess

import pytest

import province as prov


@pytest.fixture(scope='module')
def suite():
    why = prov.built()
    if why:
        pytest.skip(why)
    p = prov.Province()
    yield p
    p.close()


def put_old_store(p):
    """In the place of the suite's store, which is stopped."""
    mail = os.path.join(p.state, 'mail')
    shutil.rmtree(mail)
    subprocess.run(['tar', '-C', p.state, '--no-same-owner', '-xzf', os.path.join(prov.TOP, 'tests', 'data', 'store-1.tar.gz')],
                   check=True)
    os.rename(os.path.join(p.state, 'store'), mail)
    if p.own_users:
        for at, dirs, files in os.walk(mail):
            for name in dirs + files:
                shutil.chown(os.path.join(at, name), 'provmail', 'provmail')
    p.own('mail', 'provmail')
    return os.path.join(mail, 'format')


def read(path):
    with open(path) as f:
        return f.read()


def test_upgrade_of_a_stopped_store(suite):
    suite.stop()
    path = put_old_store(suite)
    assert read(path) == 'provmail store 1\n'
    r = suite.adm('store', 'upgrade')
    assert "has this release's format" in r.stderr
    assert read(path) == 'provmail store 2\n'
    assert suite.adm_json('store', 'upgrade') == {'upgraded': True}  # nothing to do is no fault
    suite.start()
    assert suite.adm_json('store', 'stats')['contents'] in (9, 10)  # the queued one is for a group that nobody knows
    assert suite.adm_json('store', 'upgrade') == {'upgraded': False}
    suite.stop()
    with open(path, 'w') as f:
        f.write('provmail store 3\n')
    r = suite.adm('store', 'upgrade', check=False)
    assert r.returncode == 78 and 'newer' in r.stderr
    assert read(path) == 'provmail store 3\n'


def test_a_start_upgrades(suite):
    suite.stop()
    path = put_old_store(suite)
    suite.start()
    assert read(path) == 'provmail store 2\n'
    assert suite.adm_json('store', 'stats')['messages'] == 1024 + 2 + 3 + 1 + 1


def test_purge_and_hold(suite):
    suite.stop()
    with open(suite.conf, 'a') as f:
        f.write('undelete_window = 100ms\n')
    suite.start()
    suite.adm('store', 'purge')  # what the accounts of the old store leave behind
    suite.send('a@client.example', 'an', prov.message('a@client.example', 'an@gialai.example', 'bi xoa'))
    assert suite.adm_json('account', 'hold', 'an@gialai.example') == {'hold': True}
    assert suite.adm_json('account', 'show', 'an@gialai.example')['hold'] is True
    c = suite.imap('an', select='INBOX')
    c.store('1', '+FLAGS', r'(\Deleted)')
    c.expunge()
    before = suite.adm_json('store', 'stats')['contents']
    suite.adm('store', 'purge')
    assert suite.adm_json('store', 'stats')['contents'] == before
    suite.adm('account', 'hold', 'an@gialai.example', '--release')
    assert suite.adm_json('account', 'show', 'an@gialai.example')['hold'] is False
    got = suite.adm_json('store', 'purge')
    assert suite.adm_json('store', 'stats')['contents'] < before, got
    c.noop()
    c.logout()


def test_stats(suite):
    got = suite.adm_json('store', 'stats')
    assert got['format'] == 2 and got['live_bytes'] > 0 and got['log_files'] > 0 and got['history_bytes'] > 0
    assert got['flush_max_us'] >= got['flush_mean_us'] > 0 and got['deadlocks'] == 0 and got['cache_hit_percent'] > 50
    assert got['contents_unreferenced'] == 0 and got['batch_max'] >= 1 and got['purged_changes'] > 0


def test_compact(suite):
    text = prov.message('a@client.example', 'binh@gialai.example', 'gon lai', text=''.join('%x' % random.getrandbits(64) for _ in range(8000)) + '\n')
    for _ in range(6):
        suite.send('a@client.example', 'binh', text)
    before = disk_use(suite)
    c = suite.imap('binh', select='INBOX')
    n = int(c.select('INBOX')[1][0])
    c.store('%d:%d' % (n - 4, n), '+FLAGS', r'(\Deleted)')
    c.expunge()
    suite.stop()
    suite.start()  # seals the segment
    suite.adm('store', 'purge')
    suite.adm('store', 'compact')
    after = disk_use(suite)
    assert after < before / 2, (before, after)  # with this window rounds of its own have done their part
    assert verify(suite, '--deep')[0] == 0
    assert len(suite.find('binh', 'gon lai')) == 1


def disk_use(p):
    d = os.path.join(p.state, 'mail', 'segments')
    return sum(os.path.getsize(os.path.join(d, f)) for f in os.listdir(d))


def verify(p, *words):
    r = p.adm('store', 'verify', *words, '--json', check=False)
    got = json.loads(r.stdout)
    # The contents of the store of format 1 (tests/data) are no messages: their records say "meta".
    known = [f for f in got['findings'] if re.fullmatch('content ([1-9]|10): what the parser said of it cannot be read', f['finding'])]
    got['findings'] = [f for f in got['findings'] if f not in known]
    return 0 if r.returncode == 1 and known and not got['findings'] else r.returncode, got


def test_verify(suite):
    for i in range(3):
        suite.send('a@client.example', ['an', 'binh'], prov.message('a@client.example', 'an@gialai.example', 'kiem tra %d' % i))
    status, got = verify(suite, '--deep')
    assert (status, got['findings'], got['complete']) == (0, [], True)
    assert got['bytes'] > 1000 and got['records'] > 10
    suite.stop()
    segments = os.path.join(suite.state, 'mail', 'segments')
    newest = os.path.join(segments, sorted(os.listdir(segments))[-1])
    with open(newest, 'r+b') as f:
        f.seek(-10, os.SEEK_END)
        byte = f.read(1)
        f.seek(-10, os.SEEK_END)
        f.write(bytes([byte[0] ^ 1]))
    suite.start()
    status, got = verify(suite)
    assert status == 0  # the bytes were not looked at
    status, got = verify(suite, '--deep', '--repair', '--rate', '10M')
    text = [f['finding'] for f in got['findings']]
    assert status == 1 and 'not what they were' in text[0]
    assert sum('hits account' in t for t in text) == 2  # an and binh
    r = suite.adm('store', 'verify', '--rate', 'much', check=False)
    assert r.returncode == 64


def test_verify_without_stored(suite):
    """The same findings; the store is as it was, and a second process that has it open is told of."""
    status, running = verify(suite)
    suite.stop()
    status_off, alone = verify(suite)
    assert status_off == status and sorted(f['finding'] for f in alone['findings']) == sorted(f['finding'] for f in running['findings'])
    assert alone['complete'] and alone['records'] > 10
    path = os.path.join(suite.state, 'mail', 'segments', 'fremd')
    open(path, 'w').close()
    status, got = verify(suite, '--deep')
    assert status == 1 and any('segments/fremd: a file that is no segment' in f['finding'] for f in got['findings'])
    os.unlink(path)
    text = suite.adm('store', 'verify', check=False).stdout
    assert re.search(r'\d+ records, \d+ bytes of contents: \d+ findings', text), text
    with open(os.path.join(suite.state, 'mail', 'lock')) as f:
        fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        r = suite.adm('store', 'verify', check=False)
        assert r.returncode == 75 and 'another process has the store open' in r.stderr, r
    suite.start()
    assert verify(suite)[0] == status_off


@pytest.fixture
def fresh():
    p = prov.Province()
    yield p
    p.close()


PARTS = ('From: a@client.example\nTo: "Nguyễn Văn Cường" <cuong@gialai.example>\nSubject: nhieu phan\nMIME-Version: 1.0\n'
         'Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain; charset=utf-8\n\nphần một\n--b\n'
         'Content-Type: application/pdf; name=a.pdf\nContent-Disposition: attachment; filename=a.pdf\n'
         'Content-Transfer-Encoding: base64\n\nQUJD\n--b--\n').replace('\n', '\r\n').encode()


def listing(p, user):
    c = p.imap(user, select='INBOX')
    status, got = c.fetch('1:*', '(UID RFC822.SIZE ENVELOPE BODYSTRUCTURE PREVIEW)')
    assert status == 'OK', got
    parts = c.fetch('1:*', '(BODY.PEEK[1.MIME] BODY.PEEK[HEADER.FIELDS (SUBJECT)] BODY.PEEK[TEXT]<0.100>)')
    hits = c.search(None, 'SUBJECT', 'phan'), c.search(None, 'BODY', 'dong')
    c.logout()
    return sorted(map(repr, got)), parts, hits


def test_repair_describes(fresh):
    """Records of contents are lost; IMAP tells the same of the messages afterwards, and from a record again."""
    fresh.send('a@client.example', ['cuong', 'dung'], PARTS)
    fresh.send('a@client.example', 'cuong', prov.message('a@client.example', 'cuong@gialai.example', 'to', text='dong dai\n' * 200000))
    before = {u: listing(fresh, u) for u in ('cuong', 'dung')}
    assert 'APPLICATION' in str(before['dung']) and before['cuong'][2][0][1] == [b'1'] and before['cuong'][2][1][1] == [b'2']
    lose_records(fresh, 2)
    status, got = verify(fresh, '--repair')
    text = [f['finding'] for f in got['findings']]
    assert status == 0, got
    assert sum('its bytes lie in segment' in t for t in text) == sum('what the parser says' in t for t in text) == 2
    assert {u: listing(fresh, u) for u in ('cuong', 'dung')} == before
    assert verify(fresh, '--deep')[1]['findings'] == []
    assert 'imap.meta.broken' not in fresh.log('imapd')


def lose_records(p, n):
    p.stop()
    mail = os.path.join(p.state, 'mail')
    r = subprocess.run([os.path.join(prov.BUILD, 'tests', 'lib', 'lose_records'), mail], capture_output=True, text=True, timeout=60)
    assert (r.returncode, r.stdout) == (0, '%d\n' % n), r
    if p.own_users:
        for at, dirs, files in os.walk(mail):
            for name in dirs + files:
                shutil.chown(os.path.join(at, name), 'provmail', 'provmail')
    p.start()
