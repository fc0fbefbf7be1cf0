"""Time travel of one mailbox and of an account, undelete, backup and full restore, with the whole suite and real clients."""
import datetime
import re
import time

import pytest

from province import Province, address, built, message

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
    for s in subjects:
        p.send('giang@gialai.example', to, message('giang@gialai.example', address(to), s))


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
