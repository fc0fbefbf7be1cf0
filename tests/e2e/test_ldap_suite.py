"""The whole suite with its people in OpenLDAP: what becomes of a mailbox when its person changes, is renamed, moves or goes;
a directory that is away or tells nonsense; and a province of 9,000."""
import base64
import collections
import contextlib
import imaplib
import json
import os
import re
import shutil
import signal
import smtplib
import socket
import struct
import subprocess
import sys
import tempfile
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import fake_ldap as fake  # noqa: E402
import province as prov  # noqa: E402
import slapd as ldap  # noqa: E402
from province import PASSWORD, address, message, until  # noqa: E402

if not os.path.exists('/usr/sbin/slapd'):
    pytest.skip('slapd is not installed', allow_module_level=True)
if prov.built():
    pytest.skip(prov.built(), allow_module_level=True)

PEOPLE = 'ou=People,' + ldap.SUFFIX
GROUPS = 'ou=Groups,' + ldap.SUFFIX
OUT = 'khach@ngoai.example'


@contextlib.contextmanager
def open_folder():
    """A folder that the daemons' users can enter."""
    d = tempfile.mkdtemp(prefix='slapd-')
    os.chmod(d, 0o755)
    yield d
    shutil.rmtree(d, ignore_errors=True)


def lines(conf):
    return ''.join('%s = %s\n' % (k, v) for k, v in conf.items())


@contextlib.contextmanager
def suite(s, options='', domain='gialai.example', **conf):
    p = prov.Province(options=options, directory=lines(s.config(**conf)), domain=domain)
    p.slapd = s
    try:
        yield p
    finally:
        p.close()


def sync(p, *words):
    """(status, text) of a reading now."""
    r = p.adm('directory', 'sync', *words, '--json', check=False)
    return r.returncode, json.loads(r.stdout)['text']


def change(p, ldif):
    p.slapd.change(ldif)
    status, text = sync(p)
    assert status == 0, text


def rcpt(p, to, user=None):
    with (p.submission(user) if user else p.smtp()) as c:
        c.ehlo_or_helo_if_needed()
        c.mail(address(user) if user else OUT)
        return c.rcpt(to)[0]


def send(p, to, word):
    p.send(OUT, to, message(OUT, to, word))


def login_fails(p, name, password=PASSWORD):
    with pytest.raises(imaplib.IMAP4.error):
        p.imap(name, password)
    return True


def greets(p):
    """Do smtpd's workers have their helpers again?"""
    try:
        p.smtp().close()
        return True
    except smtplib.SMTPConnectError:
        return False


def account(p, of):
    [a] = [a for a in p.adm_json('account', 'list', of) if a['address'] == of]
    return a


# ---------------------------------------------------------------- people change

@pytest.fixture(scope='module')
def office():
    """Two of the 14 are more than a tenth."""
    with open_folder() as d:
        s = ldap.make_sample(d, hashes=True)
        s.start()
        try:
            with suite(s, 'directory_remove_limit = 10\ndirectory_poll = 1h\n') as p:
                yield p
        finally:
            s.kill()


def test_sends_and_reads(office, word):
    send(office, address('an'), word)
    assert len(office.find('an', word)) == 1
    assert rcpt(office, 'khong-co@gialai.example') == 550
    status = office.adm_json('directory', 'status')
    assert status['source'] == 'ldap' and status['accounts'] == 15 and status['fresh'] in ('yes', True)


def test_nothing_changed(office):
    assert sync(office) == (0, '0 added, 0 changed, 0 removed, 0 doubled')


def test_a_further_address(office, word):
    assert rcpt(office, 'an.moi@gialai.example') == 550
    change(office, 'dn: uid=an,%s\nchangetype: modify\nadd: mailAlternateAddress\nmailAlternateAddress: an.moi@gialai.example\n'
           % PEOPLE)
    send(office, 'an.moi@gialai.example', word)
    assert len(office.find('an', word)) == 1
    change(office, 'dn: uid=an,%s\nchangetype: modify\ndelete: mailAlternateAddress\nmailAlternateAddress: an.moi@gialai.example\n'
           % PEOPLE)
    assert rcpt(office, 'an.moi@gialai.example') == 550


def test_another_address_and_name(office, word):
    send(office, address('khanh'), word + '1')
    before = account(office, address('khanh'))
    change(office, 'dn: uid=khanh,%s\nchangetype: modify\nreplace: mail\nmail: khanh.le@gialai.example\n-\nreplace: displayName\n'
           'displayName: Khanh Moi\n' % PEOPLE)
    after = account(office, 'khanh.le@gialai.example')
    assert after['id'] == before['id'] and after['name'] == 'Khanh Moi'
    assert rcpt(office, address('khanh')) == 550
    send(office, 'khanh.le@gialai.example', word + '2')
    assert len(office.find('khanh.le', word + '1')) == len(office.find('khanh.le', word + '2')) == 1


def test_renamed_entry_keeps_its_mailbox(office, word):
    send(office, address('binh'), word + '1')
    before = account(office, address('binh'))
    office.slapd.change('dn: uid=binh,%s\nchangetype: modrdn\nnewrdn: uid=binh.tran\ndeleteoldrdn: 1\n' % PEOPLE)
    assert sync(office) == (0, '0 added, 1 changed, 0 removed, 0 doubled')
    assert account(office, address('binh'))['id'] == before['id']
    send(office, address('binh'), word + '2')
    assert len(office.find('binh', word + '1')) == len(office.find('binh', word + '2')) == 1
    c = imaplib.IMAP4_SSL('127.0.0.1', office.port('imaps'), ssl_context=prov.context(), timeout=30)
    with pytest.raises(imaplib.IMAP4.error):
        c.login('binh', PASSWORD)
    assert c.login('binh.tran', PASSWORD)[0] == 'OK'
    c.logout()


def test_moved_to_another_branch(office, word):
    send(office, address('quy'), word)
    before = account(office, address('quy'))
    office.slapd.change('dn: ou=Quang,%s\nchangetype: add\nobjectClass: organizationalUnit\nou: Quang\n\n'
                        'dn: uid=quy,%s\nchangetype: modrdn\nnewrdn: uid=quy\ndeleteoldrdn: 0\nnewsuperior: ou=Quang,%s\n'
                        % (PEOPLE, PEOPLE, PEOPLE))
    assert sync(office)[0] == 0
    assert account(office, address('quy'))['id'] == before['id'] and len(office.find('quy', word)) == 1


def test_members_of_a_group(office, word):
    dn = 'cn=vpub,' + GROUPS
    group = 'vpub@gialai.example'
    office.send(address('an'), [group], message(address('an'), group, word + '1'), user='an')
    assert len(office.find('lan', word + '1')) == 1 and not office.find('hai', word + '1')
    change(office, 'dn: %s\nchangetype: modify\nadd: member\nmember: uid=hai,%s\n-\ndelete: member\nmember: uid=lan,%s\n'
           % (dn, PEOPLE, PEOPLE))
    office.send(address('an'), [group], message(address('an'), group, word + '2'), user='an')
    assert len(office.find('hai', word + '2')) == 1 and not office.find('lan', word + '2')
    # A group in it, and itself: everyone once, and an end.
    change(office, 'dn: %s\nchangetype: modify\nadd: member\nmember: cn=snv,%s\nmember: %s\n' % (dn, GROUPS, dn))
    office.send(address('an'), [group], message(address('an'), group, word + '3'), user='an')
    assert [len(office.find(n, word + '3')) for n in ('an', 'hai', 'cuong', 'uoc', 'lan')] == [1, 1, 1, 1, 0]


def test_disabled_and_back(office, word):
    send(office, address('minh'), word)
    c = office.imap('minh', select='INBOX')
    s = office.submission('minh')
    change(office, 'dn: uid=minh,%s\nchangetype: modify\nreplace: mailAccountStatus\nmailAccountStatus: disabled\n' % PEOPLE)
    with pytest.raises((imaplib.IMAP4.error, OSError)):
        for _ in range(50):
            c.noop()
            time.sleep(0.1)
    assert rcpt(office, address('minh')) == 550 and login_fails(office, 'minh')
    assert s.mail(address('minh'))[0] == 553 and s.mail('')[0] == 553  # who is logged in still sends nothing
    s.close()
    change(office, 'dn: uid=minh,%s\nchangetype: modify\nreplace: mailAccountStatus\nmailAccountStatus: active\n' % PEOPLE)
    assert len(office.find('minh', word)) == 1


def test_another_password(office):
    office.imap('giang').logout()
    change(office, 'dn: uid=giang,%s\nchangetype: modify\nreplace: userPassword\nuserPassword: mat-khau-moi\n' % PEOPLE)
    assert login_fails(office, 'giang')
    office.imap('giang', 'mat-khau-moi').logout()


def test_a_leaver_and_who_gets_the_address(office, word):
    send(office, address('dung'), word)
    c = office.imap('dung', select='INBOX')
    before = account(office, address('dung'))
    change(office, 'dn: uid=dung,%s\nchangetype: delete\n' % PEOPLE)
    with pytest.raises((imaplib.IMAP4.error, OSError)):
        for _ in range(50):
            c.noop()
            time.sleep(0.1)
    assert rcpt(office, address('dung')) == 550 and login_fails(office, 'dung')
    change(office, 'dn: uid=dung,%s\nchangetype: add\nobjectClass: inetOrgPerson\nobjectClass: mailPerson\nuid: dung\ncn: Dung Khac\n'
           'sn: Dung\nmail: dung@gialai.example\nuserPassword: %s\n' % (PEOPLE, PASSWORD))
    assert account(office, address('dung'))['id'] != before['id']
    send(office, address('dung'), word + 'x')
    assert len(office.find('dung', word + 'x')) == 1
    c = office.imap('dung', select='INBOX')
    assert len(c.uid('SEARCH', None, 'ALL')[1][0].split()) == 1
    c.logout()


def test_many_leavers_at_once_are_asked_about(office, word):
    c = office.imap('yen', select='INBOX')
    office.slapd.change(''.join('dn: uid=%s,%s\nchangetype: delete\n\n' % (n, PEOPLE) for n in ('uoc', 'yen')))
    status, text = sync(office)
    assert status != 0 and '2 of 15 accounts would vanish' in text, text
    send(office, address('yen'), word)
    assert len(c.uid('SEARCH', None, 'SUBJECT', word)[1][0].split()) == 1
    c.logout()
    assert any('directory_remove_limit' in l for l in office.alarms())
    assert sync(office, '--force') == (0, '0 added, 0 changed, 2 removed, 0 doubled')
    assert rcpt(office, address('yen')) == 550


# ---------------------------------------------------------------- the directory is away, or talks nonsense

MAX_AGE_S = 3


@pytest.fixture(scope='module')
def lonely():
    with open_folder() as d:
        s = ldap.make_sample(d, hashes=True)
        s.start()
        try:
            with suite(s, 'directory_max_age = %ds\ndirectory_poll = 1s\n' % MAX_AGE_S, ldap_timeout='1s', ldap_starttls='no') as p:
                p.imap('an').logout()
                p.imap('binh').logout()
                yield p
        finally:
            s.kill()


def fresh(p):
    return p.adm_json('directory', 'status')['fresh'] in ('yes', True)


def test_an_outage(lonely, word):
    p = lonely
    assert fresh(p) and rcpt(p, 'khong-co@gialai.example') == 550
    p.slapd.kill()
    send(p, address('an'), word + '1')
    assert len(p.find('an', word + '1')) == 1
    # A copy that was told nothing for too long knows whom it knows, and of no one that he is absent.
    until(lambda: not fresh(p), MAX_AGE_S + 3)
    assert rcpt(p, 'khong-co@gialai.example') == 451
    assert rcpt(p, 'khong-co@gialai.example', user='an') == 451
    send(p, address('binh'), word + '2')
    assert len(p.find('binh', word + '2')) == 1
    p.send(address('an'), ['vpub@gialai.example'], message(address('an'), 'vpub@gialai.example', word + '3'), user='an')
    assert len(p.find('binh', word + '3')) == 1
    assert login_fails(p, 'an', 'sai-mat-khau')
    # The copy lasts.
    seconds = p.wait_ready('directoryd', p.kill('directoryd'))
    print('\ndirectoryd is back from its copy in %.2f s' % seconds)
    until(lambda: greets(p))
    send(p, address('binh'), word + '4')
    assert len(p.find('binh', word + '4')) == 1
    assert rcpt(p, 'khong-co@gialai.example') == 451
    p.slapd.start()
    until(lambda: fresh(p), 6)
    assert rcpt(p, 'khong-co@gialai.example') == 550
    p.slapd.change('dn: uid=an,%s\nchangetype: modify\nadd: mailAlternateAddress\nmailAlternateAddress: %s@gialai.example\n'
                   % (PEOPLE, word))
    until(lambda: rcpt(p, word + '@gialai.example') == 250, 6)


def half_of_them(end):
    """A server that has only a few of the people, and then does as it is told."""
    def talk(peer):
        while True:
            id_, op, _ = peer.ask()
            if op == fake.BIND:
                peer.say(fake.message(id_, fake.result(0x61)))
            elif op == fake.SEARCH:
                for n in ('an', 'binh'):
                    peer.say(fake.message(id_, fake.entry('uid=%s,%s' % (n, PEOPLE), [
                        ('objectClass', ['inetOrgPerson', 'mailPerson']), ('uid', [n]), ('cn', [n]), ('mail', [address(n)])])))
                if not end(peer, id_):
                    return
            else:
                return
    return talk


def cut(peer, id_):
    return False


def whole(peer, id_):
    peer.say(fake.message(id_, fake.result(0x65), fake.page_control(b'')))
    return True


def refused(peer, id_):
    peer.say(fake.message(id_, fake.result(0x65, 50, 'no')))
    return True


def garbage(peer, id_):
    peer.say(b'\x30\x84\x7f\xff\xff\xff' + b'\xff' * 5000)
    return True


def never(peer, id_):
    time.sleep(1.5)
    return False


@pytest.mark.parametrize('end', [cut, whole, refused, garbage, never])
def test_a_directory_that_is_not_itself(lonely, word, end):
    """Whatever it says, nobody is lost."""
    p = lonely
    p.slapd.kill()
    f = fake.FakeLdap(half_of_them(end), p.slapd.port)
    try:
        status, text = sync(p)
        assert status != 0, text
        assert f.connections >= 1
        if end == whole:
            assert 'would vanish' in text
    finally:
        f.close()
        p.slapd.start()
    send(p, address('cuong'), word)
    assert len(p.find('cuong', word)) == 1
    assert sync(p)[0] == 0


def test_first_start_without_the_directory(word):
    with open_folder() as d:
        s = ldap.make_sample(d, hashes=True)
        try:
            with suite(s, 'directory_poll = 1s\n') as p:
                assert rcpt(p, address('an')) == 451
                s.start()
                until(lambda: rcpt(p, address('an')) == 250, 10)
                send(p, address('an'), word)
                assert len(p.find('an', word)) == 1
        finally:
            s.kill()


# ---------------------------------------------------------------- 9,000 people

@pytest.fixture(scope='module')
def large():
    if not os.path.isdir(ldap.PROVINCE):
        pytest.skip('../shared/province is not there')
    with open_folder() as d:
        s = ldap.make_province(d)
        s.start()
        begin = time.monotonic()
        try:
            with suite(s, 'directory_poll = 1h\n', domain='songlam.example') as p:
                p.ready_s = time.monotonic() - begin
                yield p
        finally:
            s.kill()


def test_large_province_is_soon_ready(large):
    status = large.adm_json('directory', 'status')
    print('\nfrom nothing to ready: %.2f s; %s' % (large.ready_s, {k: status[k] for k in ('accounts', 'groups', 'units')}))
    assert large.ready_s < 120 and status['accounts'] >= 9000
    begin = time.monotonic()
    seconds = large.wait_ready('directoryd', large.kill('directoryd'))
    print('directoryd back: %.2f s' % seconds)
    status, text = sync(large)
    print('a reading without changes: %.2f s with its wait; %s' % (time.monotonic() - begin - seconds, text))
    assert status == 0 and text.startswith('0 added, 0 changed, 0 removed')


def test_mail_to_people_of_the_large_province(large, word):
    until(lambda: greets(large))
    a = large.adm_json('account', 'list')
    assert len(a) >= 9000 and len({x['id'] for x in a}) == len(a)
    begin = time.monotonic()
    with large.smtp() as c:
        c.ehlo()
        c.mail(OUT)
        codes = [c.rcpt(x['address'])[0] for x in a[::100]]
        assert c.rcpt('khong-co-ai@songlam.example')[0] == 550
    print('\n%d recipients in %.3f s' % (len(codes) + 1, time.monotonic() - begin))
    assert set(codes) <= {250, 550} and codes.count(250) > 0.9 * len(codes)  # some have left


def entries(s):
    """What the server holds, by DN in lower case, each spelling of an escaped comma as one."""
    text = subprocess.run(['/usr/sbin/slapcat', '-f', s.dir + '/slapd.conf', '-o', 'ldif-wrap=no'], capture_output=True, check=True,
                          timeout=60).stdout.decode()
    out = {}
    for record in text.split('\n\n'):
        e = collections.defaultdict(list)
        for line in record.split('\n'):
            name, _, value = line.partition(':')
            e[name].append(base64.b64decode(value[1:]).decode() if value.startswith(':') else value.strip())
        if e['dn']:
            out[key(e['dn'][0])] = e
    return out


def key(dn):
    return dn.lower().replace('\\2c', '\\,')


def members(all_, dn, seen):
    """The accounts behind a group that take mail."""
    if dn in seen or dn not in all_:
        return 0
    seen.add(dn)
    e = all_[dn]
    if e['member']:
        return sum(members(all_, key(m), seen) for m in e['member'])
    return bool(e['mail']) and (e['mailAccountStatus'] or ['active'])[0] not in ('disabled', 'deleted')


class Admin:
    """directoryd's socket for administrators (frames of common/net/ipc.h)."""
    SHOW = 65

    def __init__(self, p):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(20)
        self.s.connect(p.socket_path('directory/admin/sock'))
        self.s.sendall(struct.pack('=IHBBQI', 20, 0, 0, 0, 0, 1))

    def exactly(self, n):
        got = b''
        while len(got) < n:
            more = self.s.recv(n - len(got))
            assert more
            got += more
        return got

    def show(self, name):
        """None: there is no such entry."""
        name = name.encode()
        self.s.sendall(struct.pack('=IHBBQ', 20 + len(name), self.SHOW, 0, 0, 7) + struct.pack('>I', len(name)) + name)
        while True:
            size, type_, status, _, _ = struct.unpack('=IHBBQ', self.exactly(16))
            body = self.exactly(size - 16).decode()
            if type_ == self.SHOW | 0x8000:
                return dict(l.split('=', 1) for l in body.split('\n') if l) if status == 0 else None


def compare(p):
    """directoryd and the server say the same of everyone, of every address and of the members of every group."""
    all_, admin, wrong = entries(p.slapd), Admin(p), []
    people = [e for e in all_.values() if e['mail'] and (e['uid'] or e['cn'])]
    claims = collections.Counter(a.lower() for e in people for a in {*e['mail'], *e['mailAlternateAddress']})
    for e in people:
        shown = admin.show(e['entryUUID'][0])
        if not shown or shown['address'] != e['mail'][0].lower() or shown['dn'] != e['dn'][0]:
            wrong.append((e['dn'], shown))
        elif e['member'] and int(shown['members']) != members(all_, key(e['dn'][0]), set()):
            wrong.append((e['dn'], shown['members'], members(all_, key(e['dn'][0]), set())))
        for a in e['mail'] + e['mailAlternateAddress']:
            found = admin.show(a)
            if claims[a.lower()] == 1 and (not found or found['id'] != e['entryUUID'][0]):
                wrong.append((a, found))
    assert not wrong, (len(wrong), wrong[:5])
    return len(people)


def test_everyone_is_as_the_server_says(large):
    assert compare(large) > 9000


def test_a_reorganisation(large):
    """Some hundred changes (people come, go, are renamed and moved; communes are merged): the same again."""
    before = {e['entryUUID'][0] for e in entries(large.slapd).values()}
    with open(large.slapd.dir + '/../in/changes.ldif') as f:
        large.slapd.change(f.read())
    after = {e['entryUUID'][0] for e in entries(large.slapd).values()}
    begin = time.monotonic()
    status, text = sync(large, '--force')
    print('\n%s, in %.2f s' % (text, time.monotonic() - begin))
    assert status == 0
    added, _, removed = [int(w.split()[0]) for w in text.split(',')[:3]]
    assert (added, removed) == (len(after - before), len(before - after))
    compare(large)


def test_passwords_by_bind(large):
    """The service account may not read passwords here: only the server can tell."""
    good, begin = 0, time.monotonic()
    for uid, _, password in large.slapd.people[:20]:
        c = imaplib.IMAP4_SSL('127.0.0.1', large.port('imaps'), ssl_context=prov.context(), timeout=30)
        try:
            good += c.login(uid, password)[0] == 'OK'
        except imaplib.IMAP4.error:
            pass  # a few may not log in
        finally:
            c.shutdown()
    print('\n%d of 20 people log in by bind in %.2f s' % (good, time.monotonic() - begin))
    assert good >= 15
    c = imaplib.IMAP4_SSL('127.0.0.1', large.port('imaps'), ssl_context=prov.context(), timeout=30)
    with pytest.raises(imaplib.IMAP4.error):
        c.login(large.slapd.people[0][0], large.slapd.people[1][2])
    c.shutdown()


def test_mass_removal_is_held(large):
    gone = [e['dn'][0] for e in entries(large.slapd).values() if e['uid'] and e['mail']][100:400]
    large.slapd.change(''.join('dn:: %s\nchangetype: delete\n\n' % base64.b64encode(dn.encode()).decode() for dn in gone))
    status, text = sync(large)
    assert status != 0 and re.match(r'300 of \d+ accounts would vanish', text), text
    assert large.adm_json('directory', 'status')['accounts'] >= 9000
    begin = time.monotonic()
    assert sync(large, '--force')[0] == 0
    print('\n300 people taken out in %.2f s' % (time.monotonic() - begin))
    assert len(large.adm_json('account', 'list')) < 9000


def test_ends_while_the_directory_is_silent():
    """A reading that waits for its server holds up neither answers nor the end."""
    with open_folder() as d:
        s = ldap.make_sample(d, hashes=True)
        s.start()
        try:
            with suite(s, 'directory_poll = 1s\n', ldap_timeout='30s') as p:
                s.freeze()
                until(lambda: p.adm_json('directory', 'status')['reading_now'] in ('yes', True))
                begin = time.monotonic()
                assert rcpt(p, address('an')) == 250
                assert time.monotonic() - begin < 2
                pid = p.kill('directoryd', signal.SIGTERM)
                until(lambda: not os.path.exists('/proc/%d' % pid) or p.pid('directoryd') not in (0, pid), 5)
                assert time.monotonic() - begin < 5
                p.wait_ready('directoryd', pid)
                until(lambda: greets(p))
                assert rcpt(p, address('an')) == 250
                begin = time.monotonic()
                p.stop()
                print('\nstopped in %.2f s' % (time.monotonic() - begin))
                assert time.monotonic() - begin < 10
                ends = [l for l in p.log('supervise').split('\n') if 'supervise.ended name=directoryd' in l]
                assert len(ends) == 2 and all('status=0 signal=0' in l for l in ends), ends
        finally:
            os.kill(s.pid, signal.SIGCONT)
            s.kill()
