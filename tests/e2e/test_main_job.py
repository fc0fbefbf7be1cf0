"""The main job: a message comes in by SMTP, LMTP and submission, is read by IMAP, and an answer goes back; who may send what
to whom; groups. Clients: python's own, swaks, curl, mbsync, nodemailer and imapflow."""
import base64
import contextlib
import hashlib
import hmac
import imaplib
import json
import os
import re
import secrets
import shutil
import smtplib
import socket
import subprocess
import sys
import threading
import time

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'lib'))
import province as prov  # noqa: E402
from province import PASSWORD, PEOPLE, address, body_after_trace, message  # noqa: E402


def needs(program):
    return pytest.mark.skipif(not shutil.which(program), reason='no ' + program)


def run(*words, **more):
    return subprocess.run(words, capture_output=True, timeout=60, **more)


# ---------------------------------------------------------------- in

def test_smtp_in_imap_out_byte_for_byte(province, word):
    sent = message('khach@ngoai.example', address('an'), word, 'Kính gửi\n.\n..hai chấm\ncâu cuối không có gì thêm\n')
    reply = province.send('khach@ngoai.example', 'an', sent)
    [got] = province.find('an', word)
    trace = body_after_trace(got, sent)
    assert trace is not None
    assert trace.startswith('Return-Path: <khach@ngoai.example>\r\n')
    assert trace.count('Received: ') == 1 and 'from client.example' in trace and 'by mail.gialai.example' in trace
    assert re.search(r'\b[0-9a-z]{20}\b', reply).group(0) in trace


def test_smtp_over_starttls(province, word):
    sent = message('khach@ngoai.example', address('an'), word)
    with province.smtp(tls=True) as c:
        assert c.sendmail('khach@ngoai.example', [address('an')], sent) == {}
    [got] = province.find('an', word)
    assert 'with ESMTPS' in body_after_trace(got, sent)


def test_many_recipients_and_one_that_is_absent(province, word):
    sent = message('khach@ngoai.example', 'nhieu@gialai.example', word)
    with province.smtp() as c:
        refused = c.sendmail('khach@ngoai.example', [address(n) for n in ('an', 'binh', 'khong-co', 'cuong')], sent)
    assert list(refused) == [address('khong-co')] and refused[address('khong-co')][0] == 550
    copies = [province.find(n, word) for n in ('an', 'binh', 'cuong')]
    assert [len(c) for c in copies] == [1, 1, 1]
    assert copies[0] == copies[1] == copies[2]  # the trace fields are the same for all


def test_aliases_and_postmaster(province, word):
    for to, who in (('chanhvanphong', 'an'), ('HAI.VO@GiaLai.Example', 'hai'), ('postmaster', 'minh'), ('abuse', 'minh')):
        sent = message('khach@ngoai.example', address(to), word + who + to[0])
        province.send('khach@ngoai.example', to, sent)
        assert len(province.find(who, word + who + to[0])) == 1


def test_postmaster_without_a_domain(province, word):
    sent = message('khach@ngoai.example', 'Postmaster', word)
    with province.smtp() as c:
        assert c.sendmail('khach@ngoai.example', ['Postmaster'], sent) == {}
    assert len(province.find('minh', word)) == 1


def test_utf8_headers(province, word):
    sent = ('From: Nguyễn Văn Khách <khách@ngoài.example>\r\nTo: an@gialai.example\r\nSubject: %s Thư mời họp\r\n'
            'MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nMời họp.\r\n' % word).encode()
    with province.smtp() as c:
        c.ehlo()
        assert c.has_extn('smtputf8') and c.has_extn('8bitmime') and c.has_extn('pipelining') and c.has_extn('chunking')
        c.command_encoding = 'utf-8'
        assert c.docmd('MAIL', 'FROM:<khách@ngoài.example> BODY=8BITMIME')[0] in (501, 553)
        assert c.mail('khách@ngoài.example', ['SMTPUTF8', 'BODY=8BITMIME'])[0] == 250
        assert c.rcpt(address('an'))[0] == 250
        assert c.data(sent)[0] == 250
    [got] = province.find('an', word)
    assert body_after_trace(got, sent).startswith('Return-Path: <khách@ngoài.example>')


@needs('swaks')
@pytest.mark.parametrize('tls', [[], ['--tls']])
def test_swaks(province, word, tls):
    r = run('swaks', '--server', '127.0.0.1', '--port', str(province.port('smtp')), '--from', 'khach@ngoai.example', '--to',
            address('an'), '--header', 'Subject: ' + word, *tls)
    if b'Perl' in r.stdout + r.stderr and b'required' in r.stdout + r.stderr:
        pytest.skip('swaks lacks a module')
    assert r.returncode == 0, r.stdout[-2000:]
    assert (b'TLS started' in r.stdout) == bool(tls)
    assert len(province.find('an', word)) == 1


def test_lmtp_answers_each_recipient(province, word):
    sent = message('khach@ngoai.example', address('an'), word)
    with province.lmtp() as c:
        c.ehlo()
        assert c.mail('khach@ngoai.example')[0] == 250
        assert c.rcpt(address('an'))[0] == 250
        assert c.rcpt(address('khong-co'))[0] == 550
        assert c.rcpt(address('binh'))[0] == 250
        c.putcmd('data')
        assert c.getreply()[0] == 354
        c.send(sent + b'.\r\n')
        assert [c.getreply()[0] for _ in range(2)] == [250, 250]
    assert len(province.find('an', word)) == len(province.find('binh', word)) == 1


# ---------------------------------------------------------------- submission

def scram(mech_hash, user, password, say):
    """A SCRAM exchange (RFC 5802); say(bytes) sends a message and answers the server's. Checks the server's signature."""
    nonce = secrets.token_hex(12)
    bare = 'n=%s,r=%s' % (user, nonce)
    first = say(b'n,,' + bare.encode()).decode()
    f = dict(x.split('=', 1) for x in first.split(','))
    assert f['r'].startswith(nonce) and len(f['r']) > len(nonce) and int(f['i']) >= 4096
    salted = hashlib.pbkdf2_hmac(mech_hash, password.encode(), base64.b64decode(f['s']), int(f['i']))
    without = 'c=biws,r=' + f['r']
    auth = ','.join((bare, first, without)).encode()

    def mac(key, text):
        return hmac.new(key, text, mech_hash).digest()
    key = mac(salted, b'Client Key')
    proof = bytes(a ^ b for a, b in zip(key, mac(hashlib.new(mech_hash, key).digest(), auth)))
    final = say((without + ',p=' + base64.b64encode(proof).decode()).encode()).decode()
    assert final == 'v=' + base64.b64encode(mac(mac(salted, b'Server Key'), auth)).decode()


def smtp_scram(c, user, password):
    c.ehlo()
    assert 'SCRAM-SHA-256' in c.esmtp_features['auth'].split()
    begun = []

    def say(data):
        text = base64.b64encode(data).decode()
        code, got = c.docmd('AUTH SCRAM-SHA-256 ' + text) if not begun else c.docmd(text)
        begun.append(1)
        assert code == 334, (code, got)
        return base64.b64decode(got)
    scram('sha256', user, password, say)
    return c.docmd('')


@pytest.mark.parametrize('port', ['submission', 'submissions'])
@pytest.mark.parametrize('mech', ['PLAIN', 'LOGIN', 'SCRAM-SHA-256'])
def test_submission(province, word, port, mech):
    sent = message(address('an'), address('binh'), word)
    with province.submission(port=port) as c:
        c.ehlo()
        if mech == 'SCRAM-SHA-256':
            assert smtp_scram(c, address('an'), PASSWORD)[0] == 235
        else:
            c.user, c.password = address('an'), PASSWORD
            assert c.auth(mech, c.auth_plain if mech == 'PLAIN' else c.auth_login)[0] == 235
        c.sendmail(address('an'), [address('binh')], sent)
    [got] = province.find('binh', word)
    assert 'with ESMTPSA' in body_after_trace(got, sent)


def test_no_password_in_the_clear(province):
    with smtplib.SMTP('127.0.0.1', province.port('submission'), timeout=10) as c:
        c.ehlo()
        offered = c.esmtp_features.get('auth', '').split()
        assert 'PLAIN' not in offered and 'LOGIN' not in offered
        assert c.docmd('AUTH PLAIN ' + base64.b64encode(b'\0an@gialai.example\0' + PASSWORD.encode()).decode())[0] in (504, 530, 538)
    c = imaplib.IMAP4('127.0.0.1', province.port('imap'), timeout=10)
    assert 'LOGINDISABLED' in c.capabilities
    with pytest.raises(imaplib.IMAP4.error):
        c.login(address('an'), PASSWORD)
    c.logout()


def test_wrong_passwords(province):
    for user, password in ((address('an'), 'sai'), ('khong-co@gialai.example', PASSWORD), (address('an'), '')):
        with province.submission() as c, pytest.raises(smtplib.SMTPAuthenticationError) as e:
            c.login(user, password)
        assert e.value.smtp_code == 535
        with pytest.raises(imaplib.IMAP4.error, match='AUTHENTICATIONFAILED'):
            province.imap(user, password)
    province.imap('an').logout()


@needs('swaks')
def test_swaks_submits(province, word):
    for port, tls in (('submission', '--tls'), ('submissions', '--tls-on-connect')):
        r = run('swaks', '--server', '127.0.0.1', '--port', str(province.port(port)), tls, '--from', address('an'), '--to',
                address('binh'), '--auth', 'PLAIN', '--auth-user', address('an'), '--auth-password', PASSWORD, '--header',
                'Subject: ' + word + port)
        if b'Perl' in r.stdout + r.stderr and b'required' in r.stdout + r.stderr:
            pytest.skip('swaks lacks a module')
        assert r.returncode == 0, r.stdout[-2000:]
        assert len(province.find('binh', word + port)) == 1


# ---------------------------------------------------------------- who may what

def test_no_open_relay(province):
    outside = ('ai@ngoai.example', 'ai%ngoai.example@gialai.example', '@gialai.example:ai@ngoai.example', 'ai@[127.0.0.1]',
               'ngoai.example!ai@gialai.example', '"ai@ngoai.example"@gialai.example')
    for to in outside:
        with province.smtp() as c:
            c.ehlo()
            assert c.mail('khach@ngoai.example')[0] == 250
            assert 500 <= c.rcpt(to)[0] < 560, to
    with province.submission() as c:  # nobody without a login
        c.ehlo()
        assert c.mail(address('an'))[0] == 530
    with province.submission('an') as c:  # until mail can be relayed it is refused at once
        assert c.mail(address('an'))[0] == 250
        code, text = c.rcpt('ai@ngoai.example')
        assert code in (550, 551, 554) and text[:5] in (b'5.7.1', b'5.1.2'), text
    with province.lmtp() as c:
        c.ehlo()
        assert c.mail('khach@ngoai.example')[0] == 250
        assert 500 <= c.rcpt('ai@ngoai.example')[0] < 560


def test_own_addresses_only(province):
    with province.submission('an') as c:
        for sender, good in ((address('an'), True), (address('chanhvanphong'), True), (address('vanthu'), True),
                             (address('binh'), False), ('khach@ngoai.example', False)):
            code = c.mail(sender)[0]
            if code == 250 and not good:  # it may be refused at RCPT
                code = c.rcpt(address('binh'))[0]
            assert (code == 250) == good, (sender, code)
            c.rset()


def test_reply_to_a_colleague(province, word):
    first = message(address('an'), address('binh'), word)
    province.send(address('an'), 'binh', first, user='an')
    [got] = province.find('binh', word)
    ident = re.search(rb'^Message-ID: (<.*>)\r$', got, re.M).group(1).decode()
    answer = message(address('binh'), address('an'), 'Re: ' + word, 'Đã rõ.\n', 'In-Reply-To: %s\r\nReferences: %s\r\n' % (ident, ident))
    province.send(address('binh'), 'an', answer, user='binh')
    [back] = province.find('an', word)
    assert b'In-Reply-To: ' + ident.encode() in back and 'Đã rõ.'.encode() in back
    c = province.imap('binh', select='INBOX')
    [uid] = c.uid('SEARCH', None, 'SUBJECT', word)[1][0].split()
    assert c.uid('STORE', uid, '+FLAGS', r'(\Answered)')[0] == 'OK'
    assert c.uid('SEARCH', None, 'ANSWERED', 'SUBJECT', word)[1][0].split() == [uid]
    c.logout()


# ---------------------------------------------------------------- groups

def post_to_everyone(p, word):
    sent = message(address('an'), address('toantinh'), word)
    reply = p.send(address('an'), 'toantinh', sent, user='an')
    for who in PEOPLE:
        prov.until(lambda: p.find(who, word), 10)
    time.sleep(0.3)  # a second copy would come now
    for who in PEOPLE:
        [got] = p.find(who, word)
        assert body_after_trace(got, sent) is not None
    return re.search(r'\b[0-9a-z]{20}\b', reply).group(0)


def test_a_group_reaches_everyone_once(province, word):
    post_to_everyone(province, word)


def test_a_group_and_its_members_and_another_group(province, word):
    """Who is named three times gets one copy."""
    sent = message(address('an'), address('toantinh'), word)
    province.send(address('an'), ['toantinh', 'binh', 'vpub', 'an', 'stc'], sent, user='an')
    prov.until(lambda: province.find('yen', word), 10)
    time.sleep(0.3)
    assert [len(province.find(who, word)) for who in PEOPLE] == [1] * len(PEOPLE)


def test_who_may_post_to_a_group(province, word):
    with province.submission('binh') as c:  # toantinh names its senders
        assert c.mail(address('binh'))[0] == 250
        assert c.rcpt(address('toantinh'))[0] == 550
        assert c.rcpt(address('snv'))[0] == 250  # this one is open to colleagues
    with province.smtp() as c:  # and to nobody outside
        c.ehlo()
        assert c.mail('khach@ngoai.example')[0] == 250
        assert c.rcpt(address('toantinh'))[0] == 550
        assert c.rcpt(address('snv'))[0] == 550


@pytest.fixture(scope='module')
def small_inline(province):
    """Every group goes through the queue and the delivery worker."""
    p = prov.Province('group_inline_limit = 1\n')
    yield p
    p.close()


def test_a_large_group_goes_by_the_delivery_worker(small_inline, word):
    trace = post_to_everyone(small_inline, word)
    assert 'delivery.finished' in small_inline.log('smtpd')
    stats = small_inline.adm_json('store', 'stats')
    assert stats['queue'] == 0
    events = [l['event'] for l in small_inline.adm_json('trace', trace)]
    assert 'queued' in events and events.count('filed') == len(PEOPLE), events


@pytest.mark.parametrize('daemon', ['stored', 'directoryd', 'smtpd'])
def test_a_large_group_survives_a_death(small_inline, word, daemon):
    sent = message(address('an'), address('toantinh'), word)
    small_inline.send(address('an'), 'toantinh', sent, user='an')
    old = small_inline.kill(daemon)
    small_inline.wait_ready(daemon, old)
    small_inline.wait_ready('imapd')
    for who in PEOPLE:
        prov.until(lambda: small_inline.find(who, word), 75)  # a lease of a dead worker may have to end
    assert [len(small_inline.find(who, word)) for who in PEOPLE] == [1] * len(PEOPLE)


# ---------------------------------------------------------------- out

def test_idle_sees_a_delivery_at_once(province, word):
    c = province.imap('binh', select='INBOX')
    c.send(b'i IDLE\r\n')
    assert c.readline().startswith(b'+')
    begin = time.monotonic()
    province.send('khach@ngoai.example', 'binh', message('khach@ngoai.example', address('binh'), word))
    c.sock.settimeout(5)
    line = c.readline()
    while b'EXISTS' not in line:
        assert line.startswith(b'* ')
        line = c.readline()
    assert time.monotonic() - begin < 2
    c.send(b'DONE\r\n')
    while not line.startswith(b'i OK'):
        line = c.readline()
    c.logout()


def test_imap_scram(province):
    c = imaplib.IMAP4_SSL('127.0.0.1', province.port('imaps'), ssl_context=prov.context(), timeout=10)
    assert 'AUTH=SCRAM-SHA-256' in c.capabilities
    c.send(b's AUTHENTICATE SCRAM-SHA-256\r\n')
    assert c.readline().startswith(b'+')

    def say(data):
        c.send(base64.b64encode(data) + b'\r\n')
        line = c.readline()
        assert line.startswith(b'+ '), line
        return base64.b64decode(line[2:])
    scram('sha256', address('an'), PASSWORD, say)
    c.send(b'\r\n')
    line = c.readline()
    while line.startswith(b'* '):
        line = c.readline()
    assert line.startswith(b's OK'), line
    c.shutdown()


@needs('curl')
def test_curl_reads(province, word):
    sent = message('khach@ngoai.example', address('an'), word)
    province.send('khach@ngoai.example', 'an', sent)
    for url, more in (('imaps://127.0.0.1:%d/INBOX' % province.port('imaps'), []),
                      ('imap://127.0.0.1:%d/INBOX' % province.port('imap'), ['--ssl-reqd'])):
        base = ['curl', '-sS', '-k', '--user', '%s:%s' % (address('an'), PASSWORD), *more]
        r = run(*base, url, '-X', 'UID SEARCH SUBJECT ' + word)
        uid = re.search(rb'SEARCH (\d+)', r.stdout).group(1).decode()
        r = run(*base, url + ';UID=' + uid)
        assert r.stdout.endswith(sent), r.stderr


@needs('mbsync')
@pytest.mark.parametrize('mech', ['PLAIN', 'SCRAM-SHA-256'])
def test_mbsync(province, word, tmp_path, mech):
    for i in range(5):
        province.send('khach@ngoai.example', 'quy', message('khach@ngoai.example', address('quy'), '%s%d' % (word, i)))
    (tmp_path / 'mail').mkdir()
    (tmp_path / 'rc').write_text(
        'IMAPAccount p\nHost localhost\nPort %d\nUser %s\nPass %s\nSSLType IMAPS\nAuthMechs %s\nCertificateFile %s\n\n'
        'IMAPStore far\nAccount p\n\nMaildirStore near\nPath %s/mail/\nInbox %s/mail/INBOX\nSubFolders Verbatim\n\n'
        'Channel all\nFar :far:\nNear :near:\nPatterns *\nCreate Near\nSyncState *\n'
        % (province.port('imaps'), address('quy'), PASSWORD, mech, province.state + '/tls/cert.pem', tmp_path, tmp_path))
    r = run('mbsync', '-q', '-c', str(tmp_path / 'rc'), '-a')
    if mech != 'PLAIN' and b'are available' in r.stderr:
        pytest.skip('no SCRAM in this libsasl2')
    assert r.returncode == 0, r.stderr[-2000:]
    texts = [f.read_bytes() for f in (tmp_path / 'mail' / 'INBOX').glob('*/*')]
    assert sum(word.encode() in t for t in texts) == 5


@needs('node')
def test_nodemailer_and_imapflow(province, word):
    if not os.path.isdir(os.path.join(HERE, 'node_modules', 'nodemailer')):
        pytest.skip('npm ci was not run')
    r = run('node', 'mail.mjs', str(province.port('submissions')), str(province.port('submission')), str(province.port('imaps')),
            word, cwd=HERE)
    assert r.returncode == 0, r.stderr.decode()[-3000:]


# ---------------------------------------------------------------- administration

def test_mailadm(province, word):
    reply = province.send('khach@ngoai.example', 'cuong', message('khach@ngoai.example', address('cuong'), word))
    trace = re.search(r'\b[0-9a-z]{20}\b', reply).group(0)
    lines = province.adm_json('trace', trace)
    assert lines[0]['event'] == 'received' and 'filed' in [l['event'] for l in lines]
    assert trace not in province.adm('trace', trace).stdout.split('\n')[0] or True
    assert province.adm('trace', '0' * 20, check=False).returncode == 67
    stats = province.adm_json('store', 'stats')
    assert stats['messages'] > 0 and stats['deadlocks'] == 0
    accounts = {a['address']: a for a in province.adm_json('account', 'list')}
    assert set(accounts) >= {address(n) for n in PEOPLE}
    assert accounts[address('cuong')]['messages'] >= 1 and accounts[address('an')]['name'] == 'Nguyễn Văn An'
    assert [a['address'] for a in province.adm_json('account', 'list', 'cuong')] == [address('cuong')]
    shown = province.adm_json('account', 'show', address('cuong'))
    assert shown['messages'] >= 1 and 'cuong@gialai.example' in json.dumps(shown)
    assert province.adm('account', 'show', 'khong-co@gialai.example', check=False).returncode == 67
    province.imap('cuong').logout()
    boxes = {b['name']: b for b in province.adm_json('mailbox', 'list', address('cuong'))}
    assert boxes['INBOX']['messages'] >= 1 and 'sent' in [b['use'] for b in boxes.values()]
    assert province.adm_json('mailbox', 'list', accounts[address('cuong')]['id']) == list(boxes.values())
    status = province.adm_json('directory', 'status')
    assert status['accounts'] >= len(PEOPLE)
    for words in (['account', 'list'], ['mailbox', 'list', address('cuong')], ['store', 'stats'], ['directory', 'status'],
                  ['account', 'show', address('cuong')], ['trace', trace]):
        assert province.adm(*words).stdout.count('\n') > 1


def test_directory_sync_and_import(province, tmp_path):
    with open(os.path.join(prov.TOP, 'conf', 'sample', 'directory.ldif')) as f:
        text = f.read()
    more = text + ('\ndn: uid=moi,ou=People,dc=gialai,dc=example\nobjectClass: inetOrgPerson\nobjectClass: mailPerson\nuid: moi\n'
                   'cn: Moi\nsn: Moi\nmail: moi@gialai.example\nmailAccountStatus: active\nuserPassword: thu-dien-tu\n')
    assert province.adm('account', 'show', address('moi'), check=False).returncode == 67
    (tmp_path / 'more.ldif').write_text(more)
    province.adm('directory', 'import', str(tmp_path / 'more.ldif'))
    assert province.adm_json('account', 'list', 'moi@')[0]['address'] == address('moi')
    province.imap('moi').logout()
    # What a session has heard of somebody ends with the change, not later: each worker asks once between two changes.
    with contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(province.smtp()) for _ in range(8)]
        for c in sessions:
            c.ehlo()
            assert c.mail('xa@ngoai.example')[0] == 250

        def told():
            return {c.rcpt(address('moi'))[0] for _ in range(2) for c in sessions}
        assert told() == {250}
        ids = {a['address']: a['id'] for a in province.adm_json('account', 'list')}
        (tmp_path / 'closed.ldif').write_text(more.replace('mail: moi@gialai.example\nmailAccountStatus: active',
                                                           'mail: moi@gialai.example\nmailAccountStatus: disabled'))
        for name, codes in (('closed', {550}), ('more', {250}), ('closed', {550}), ('more', {250})):
            province.adm('directory', 'import', str(tmp_path / (name + '.ldif')))
            assert told() == codes, name
        # No file named ids: everybody has kept the one of before.
        assert {a['address']: a['id'] for a in province.adm_json('account', 'list')} == ids
        province.expected = getattr(province, 'expected', ()) + ('supervise.ended name=directoryd',)
        province.wait_ready('directoryd', province.kill('directoryd'))
        assert told() == {250}
    # Broken files are refused whole, with a line; too many leavers are asked about.
    (tmp_path / 'broken.ldif').write_text(more + '\nno such line\n')
    r = province.adm('directory', 'import', str(tmp_path / 'broken.ldif'), check=False)
    assert r.returncode == 65 and re.search(r'\d', r.stderr)
    (tmp_path / 'few.ldif').write_text(text[:text.index('dn: uid=khanh')])
    r = province.adm('directory', 'import', str(tmp_path / 'few.ldif'), check=False)
    assert r.returncode != 0
    province.expected = getattr(province, 'expected', ()) + ('directory.source.failed',)
    assert len(province.adm_json('account', 'list')) >= len(PEOPLE) + 1
    (tmp_path / 'before.ldif').write_text(text)
    province.adm('directory', 'import', '--force', str(tmp_path / 'before.ldif'))
    province.adm('directory', 'sync')
    assert province.adm('account', 'show', address('moi'), check=False).returncode == 67


def test_a_greeting_waits_for_a_helper_that_comes_back(province, word):
    """Who connects while stored or directoryd is being started again is greeted a little later, not sent away."""
    province.expected = getattr(province, 'expected', ()) + ('supervise.ended',)
    for daemon in ('stored', 'directoryd'):
        old = province.kill(daemon)
        for _ in range(4):  # one for each worker and more
            with province.smtp() as c:  # smtplib raises on 421
                assert c.noop()[0] == 250
        prov.until(lambda: province.pid(daemon) not in (0, old), 10)  # dying takes its time, too
    province.send('khach@ngoai.example', 'an', message('khach@ngoai.example', address('an'), word))
    assert len(province.find('an', word)) == 1
