"""Quotas over the whole suite: limits of accounts and units from the directory, mail to the full over SMTP and LMTP, what
waits in the queue until there is room, notices, IMAP's QUOTA, mailadm."""
import html
import os
import re
import smtplib
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '..', 'lib'))
import province
from province import message, until
from test_webmail import Browser

LIMITS = {'an': {'bytes': 200000}, 'binh': {'bytes': 60000}, 'cuong': {'messages': 12}, 'dung': {'bytes': 50000},
          'giang': {'bytes': 1000000, 'messages': 1000}}
OPTIONS = 'group_inline_limit = 4\nqueue_retry = 300ms\nquota_grace = 5\nquota_warning = 80\n'


def put_limits(p, limits, units=()):
    """Give people limits in the LDIF file, and units by their code."""
    with open(p.ldif) as f:
        entries = f.read().split('\n\n')
    for i, entry in enumerate(entries):
        lines = [l for l in entry.split('\n') if not l.startswith('mailQuota')]
        for l in list(lines):
            key, _, value = l.partition(': ')
            got = (limits.get(value) if key == 'uid' else
                   dict(units).get(value) if key == 'unitCode' and 'objectClass: mailUnit' in lines else None)
            for what in ('bytes', 'messages'):
                if got and what in got:
                    lines.append('mailQuota%s: %d' % (what.capitalize(), got[what]))
        entries[i] = '\n'.join(l for l in lines if l)
    with open(p.ldif, 'w') as f:
        f.write('\n\n'.join(entries) + '\n')
    told = p.log('directoryd').count('directory.limits.told')
    p.adm('directory', 'sync')
    until(lambda: p.log('directoryd').count('directory.limits.told') > told)


@pytest.fixture(scope='module')
def suite():
    reason = province.built()
    if reason:
        pytest.skip(reason)
    p = province.Province(OPTIONS)
    try:
        put_limits(p, LIMITS)
        yield p
        assert not [l for l in p.alarms() if 'supervise.ended' not in l]  # test_unit kills stored
    finally:
        p.close()


def sized(subject, n):
    m = message('s@client.example', 'x@gialai.example', subject, '')
    return m + (b'y' * 70 + b'\r\n') * max(0, (n - len(m)) // 72)


def rcpt(p, name):
    with p.smtp() as c:
        c.ehlo()
        c.mail('s@client.example')
        return c.rcpt(province.address(name))


def try_send(p, to, m):
    """The code of DATA, after 250 for each recipient."""
    with p.smtp() as c:
        c.ehlo()
        c.mail('s@client.example')
        for t in to:
            assert c.rcpt(province.address(t))[0] == 250
        code, text = c.data(m)
        return code, text.decode()


def fill(p, name, n, step=1500):
    for i in range(n):
        assert try_send(p, [name], sized('fill %d' % i, step))[0] == 250


def test_smtp(suite):
    p = suite
    code, text = try_send(p, ['binh'], sized('too large', 80000))
    assert (code, text[:5]) == (452, '4.2.2')
    fill(p, 'binh', 5, 11000)
    until(lambda: p.find('binh', 'nearly full'))
    assert rcpt(p, 'binh')[0] == 250
    assert try_send(p, ['binh'], sized('too large now', 9000))[0] == 452
    fill(p, 'binh', 1, 4500)  # over the limit, within the grace: a telling of the directory may show it full a moment later
    until(lambda: rcpt(p, 'binh') == (452, b'4.2.2 Mailbox is full'))


def test_messages_lmtp(suite):
    p = suite
    fill(p, 'cuong', 10, 300)
    until(lambda: p.find('cuong', 'nearly full'))
    fill(p, 'cuong', 1, 300)
    until(lambda: rcpt(p, 'cuong')[0] == 452)
    with p.lmtp() as c:
        c.ehlo('x')
        c.mail('s@client.example')
        for name in ('khanh', 'cuong', 'lan'):
            code, text = c.rcpt(province.address(name))
            assert code == (452 if name == 'cuong' else 250), (name, code, text)
        assert c.data(sized('lmtp', 300))[0] == 250 and c.getreply()[0] == 250  # one for each
    assert len(p.find('khanh', 'lmtp')) == len(p.find('lan', 'lmtp')) == 1


def test_waits_for_room(suite):
    """A recipient that is found full at commit: the message waits for it in the queue."""
    p = suite
    fill(p, 'dung', 3, 14000)
    big = sized('waits', 20000)
    assert rcpt(p, 'dung')[0] == 250
    code, text = try_send(p, ['dung', 'khanh'], big)
    assert code == 250
    trace = text.split()[-1]
    assert len(p.find('khanh', 'waits')) == 1
    assert p.find('dung', 'waits') == []
    until(lambda: 'deferred' in p.adm('trace', trace).stdout)
    c = p.imap('dung', select='INBOX')
    c.store('1:2', '+FLAGS', r'(\Deleted)')
    c.expunge()
    until(lambda: p.find('dung', 'waits'), 15)
    until(lambda: 'finished' in p.adm('trace', trace).stdout)
    assert len(p.find('dung', 'waits')) == 1 and len(p.find('khanh', 'waits')) == 1


@pytest.mark.parametrize('group, others', [('stc', ['giang', 'khanh']), ('toantinh', ['giang', 'lan', 'yen'])])
def test_group(suite, group, others):
    """A small group is filed at once, a large one by a delivery worker: the others have it, the full one has it later."""
    p = suite
    fill(p, 'hai', 1, 2000)
    put_limits(p, dict(LIMITS, hai={'bytes': 1000}))
    until(lambda: rcpt(p, 'hai')[0] == 452)
    subject = 'circular to ' + group
    p.send('an@gialai.example', group, message('an@gialai.example', group + '@gialai.example', subject), 'an')
    for name in others:
        until(lambda: p.find(name, subject))
    assert p.find('hai', subject) == []
    put_limits(p, LIMITS)
    until(lambda: p.find('hai', subject), 15)
    for name in others + ['hai']:
        assert len(p.find(name, subject)) == 1


def test_warning(suite):
    p = suite
    fill(p, 'an', 9, 19000)
    subject = 'nearly full'
    until(lambda: p.find('an', subject), 10)
    fill(p, 'an', 1, 2000)
    notices = p.find('an', subject)
    assert len(notices) == 1
    text = notices[0].decode()
    assert 'Hộp thư của anh/chị sắp đầy' in text and 'Your mailbox is nearly full' in text
    assert 'Auto-Submitted: auto-generated' in text and 'Return-Path: <>' in text


def test_given_up():
    """What stays full is given up after queue_lifetime, and its sender is told."""
    p = province.Province('queue_retry = 200ms\nqueue_lifetime = 1s\nquota_full_policy = reject\n')
    try:
        put_limits(p, {'binh': {'bytes': 3000}})
        assert try_send(p, ['binh'], sized('too large', 8000))[1][:5] == '5.2.2'
        with p.submission('an') as c:
            refused = c.sendmail('an@gialai.example', ['binh@gialai.example', 'lan@gialai.example'],
                                 message('an@gialai.example', 'binh@gialai.example', 'Never arrives', 'z' * 60 + '\n' + ('w' * 70 + '\n') * 80))
            assert not refused
        got = until(lambda: p.find('an', 'Undelivered'), 15)
        assert len(got) == 1 and b'binh@gialai.example' in got[0] and b'Never arrives' in got[0]
        assert b'lan@gialai.example' not in got[0].split(b'\r\n\r\n', 1)[1]
        assert p.find('binh', 'Never') == [] and len(p.find('lan', 'Never')) == 1
        until(lambda: p.adm_json('store', 'stats')['queue'] in (0, '0'))
        # LMTP says so of each; once it is known to be full, RCPT does
        with p.lmtp() as c:
            c.ehlo('x')
            c.mail('s@client.example')
            assert [c.rcpt(province.address(n))[0] for n in ('binh', 'lan')] == [250, 250]
            assert [c.data(sized('by LMTP', 8000)), c.getreply()[0]] == [(552, b'5.2.2 Mailbox is full'), 250]
        assert len(p.find('lan', 'by LMTP')) == 1 and p.find('binh', 'by LMTP') == []
        fill(p, 'binh', 1, 2950)  # more than 3,000 with the trace fields, within the grace
        until(lambda: rcpt(p, 'binh') == (552, b'5.2.2 Mailbox is full'))
        with p.lmtp() as c:
            c.ehlo('x')
            c.mail('s@client.example')
            assert c.rcpt(province.address('binh')) == (552, b'5.2.2 Mailbox is full')
        with p.submission('an') as c:  # refused while a colleague's client can still say so
            with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
                c.sendmail('an@gialai.example', ['binh@gialai.example'], sized('by submission', 300))
            assert refused.value.recipients['binh@gialai.example'][0] == 552
        assert not p.alarms()
    finally:
        p.close()


def test_a_group_hears_of_a_unit():
    """quota_unit_notice may be a group: each of its members gets the notice, once."""
    p = province.Province('quota_warning = 80\nquota_unit_notice = snv@gialai.example\n')
    try:
        put_limits(p, {}, {'vpub': {'bytes': 20000}})
        fill(p, 'quy', 1, 15000)
        fill(p, 'quy', 1, 2000)
        for name in ('cuong', 'dung', 'hbia', 'uoc'):
            notice = until(lambda: p.find(name, "unit's mail quota"), 10)
            assert len(notice) == 1 and b'(vpub)' in notice[0] and b'Return-Path: <>' in notice[0], notice
            assert b'snv@gialai.example' in notice[0]
        until(lambda: p.adm_json('store', 'stats')['queue'] in (0, '0'))
        assert p.find('minh', "unit's mail quota") == [] and 'delivery.notice.dropped' not in p.log('smtpd')
        assert not p.alarms()
    finally:
        p.close()


def test_imap(suite):
    p = suite
    c = p.imap('giang', select='INBOX')
    quota = c.getquotaroot('INBOX')[1]
    assert b'"account"' in quota[0][0] and b'STORAGE' in quota[1][0] and b' 976' in quota[1][0] and b'1000)' in quota[1][0], quota
    assert c.getquota('nothing')[0] == 'NO' and c.setquota('account', '(STORAGE 1)')[0] == 'NO'
    put_limits(p, dict(LIMITS, giang={'bytes': 30000}))
    typ, text = c.append('INBOX', None, None, sized('own', 25000))
    assert typ == 'OK', text
    typ, text = c.append('INBOX', None, None, sized('own too large', 8000))
    assert typ == 'NO' and b'[OVERQUOTA]' in text[0], text
    typ, text = c.copy('1:*', 'Archive')
    assert typ == 'NO' and b'[OVERQUOTA]' in text[0], text
    put_limits(p, LIMITS)
    c.store('1:*', '+FLAGS', r'(\Deleted)')
    deleted = c.status('INBOX', '(DELETED DELETED-STORAGE SIZE)')[1][0]
    words = deleted.decode().replace('(', '').replace(')', '').split()
    assert words[words.index('DELETED-STORAGE') + 1] == words[words.index('SIZE') + 1] != '0', words
    c.logout()


def test_unit(suite):
    """A unit's limit holds for the sum of its people and of the units below it; transfers take their use along."""
    p = suite
    for name in ('minh', 'yen', 'quy'):  # yen and quy: in pqt, below vpub
        fill(p, name, 1, 20000)
    sums = {r['name']: r for r in p.adm_json('quota', 'list') if r['kind'] == 'unit'}
    assert sums['vpub']['bytes'] > sums['pqt']['bytes'] > 0
    limit = sums['vpub']['bytes'] + 15000
    put_limits(p, LIMITS, {'vpub': {'bytes': limit}})
    assert try_send(p, ['quy'], sized('unit', 12000))[0] == 250
    assert try_send(p, ['minh'], sized('unit full', 30000))[0] == 452
    notice = until(lambda: p.find('minh', "unit's mail quota"), 10)[0].decode()  # the postmaster, and in this unit himself
    assert '(vpub)' in notice and 'sắp dùng hết dung lượng' in notice and 'Return-Path: <>' in notice
    code, text = try_send(p, ['minh', 'khanh'], sized('unit waits', 30000))
    assert code == 250 and p.find('minh', 'unit waits') == []
    c = p.imap('yen')
    roots = c.getquotaroot('INBOX')[1]
    assert b'unit/vpub' in roots[0][0], roots
    c.logout()
    shown = p.adm_json('quota', 'show', 'vpub')
    assert shown[0]['limit_bytes'] == limit and shown[0]['percent'] >= 80
    assert [r['kind'] for r in p.adm_json('quota', 'show', 'quy@gialai.example')] == ['account', 'unit', 'unit']
    # restarted, the sums are the same
    old = p.kill('stored')
    p.wait_ready('stored', old)
    again = {r['name']: r for r in p.adm_json('quota', 'list', 'vpub')}
    assert again['vpub']['bytes'] >= shown[0]['bytes']
    assert again['vpub']['bytes'] == sum(r['bytes'] for r in again.values() if r['kind'] == 'account')
    assert len(p.find('minh', "unit's mail quota")) == 1  # once
    put_limits(p, LIMITS)
    until(lambda: p.find('minh', 'unit waits'), 15)
    assert 'vpub' in p.adm('quota', 'list').stdout
    assert p.adm('quota', 'show', 'nobody@gialai.example', check=False).returncode != 0
    account = [r for r in p.adm_json('account', 'list') if r['address'] == 'dung@gialai.example'][0]
    assert account['limit_bytes'] == LIMITS['dung']['bytes']
    assert 'limit_bytes' in p.adm('account', 'show', 'dung@gialai.example').stdout


def test_webmail():
    """The list page shows use and limit, and says so when it is nearly full: by itself, or by its unit. No script is needed."""
    p = province.Province('quota_warning = 80\n', web=True)
    try:
        def shown(name, lang):
            b = Browser('https://127.0.0.1:%d' % (p.port_base + 443))
            assert b.login(province.address(name))[0] == 303
            status, _, page = b.ask('/list?f=INBOX&lang=' + lang)
            assert status == 200
            page = page.decode()
            lines = set(re.findall(r'<div class="quota (?:wide|narrow)"><span>([^<]*)</span><meter [^>]*value="(\d+)"', page))
            notice = re.search(r'<p class="notice bad" role="alert">([^<]*)</p>', page)
            return lines, html.unescape(notice.group(1)) if notice else None

        put_limits(p, {'an': {'bytes': 5 << 30}, 'cuong': {'messages': 3}, 'dung': {'bytes': 100000}})
        assert shown('binh', 'vi') == (set(), None)  # without a limit
        assert shown('an', 'vi') == ({('Đã dùng 0 B trong 5 GB', '0')}, None)
        assert shown('an', 'en') == ({('0 B of 5 GB used', '0')}, None)
        fill(p, 'cuong', 2, 300)
        assert shown('cuong', 'vi') == ({('Đã dùng 2 trong 3 thư', '66')}, None)
        fill(p, 'dung', 2, 40000)
        lines, notice = shown('dung', 'vi')
        (line, percent), = lines
        assert re.fullmatch(r'Đã dùng (78|79|8\d) KB trong 97 KB', line) and 80 <= int(percent) < 90, lines
        assert notice.startswith('Hộp thư sắp đầy: đã dùng ') and 'trong 97 KB' in notice
        assert shown('dung', 'en')[1].startswith('Your mailbox is nearly full: ')
        fill(p, 'dung', 1, 19500)
        until(lambda: rcpt(p, 'dung')[0] == 452)
        assert shown('dung', 'vi')[1].startswith('Hộp thư đã đầy (') and shown('dung', 'vi')[0].pop()[1] == '100'
        fill(p, 'quy', 1, 40000)
        put_limits(p, {'quy': {'bytes': 3 << 29}}, {'vpub': {'bytes': 45000}})
        lines, notice = shown('quy', 'vi')
        assert re.fullmatch(r'Đã dùng (39|40) KB trong 1,5 GB', lines.pop()[0])
        assert notice.startswith('Dung lượng thư chung của đơn vị sắp hết: đã dùng'), notice
        assert shown('quy', 'en')[0].pop()[0].endswith('of 1.5 GB used')
        assert not p.alarms()
    finally:
        p.close()
