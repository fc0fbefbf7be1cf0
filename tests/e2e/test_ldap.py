"""The LDAP source against OpenLDAP (the sample province; ../shared's province of 9,000 when it is there) and against
servers that misbehave. tests/lib/ldap_dump drives the source, inside the sandbox of directoryd."""
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

TOP = os.path.abspath(os.environ.get('top_srcdir', os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..')))
BUILD = os.path.abspath(os.environ.get('top_builddir') or os.path.join(TOP, 'build'))
DUMP = os.path.join(BUILD, 'tests/lib/ldap_dump')
sys.path.insert(0, os.path.join(TOP, 'tests/lib'))
import fake_ldap as fake  # noqa: E402
from slapd import PROVINCE, SUFFIX, make_province, make_sample, two_ports  # noqa: E402

if not os.path.exists('/usr/sbin/slapd'):
    pytest.skip('slapd is not installed', allow_module_level=True)
if not os.path.exists(DUMP):
    pytest.skip('tests/lib/ldap_dump is not built', allow_module_level=True)

AN = 'uid=an,ou=People,' + SUFFIX
PASSWORD = 'thu-dien-tu'


@pytest.fixture(scope='module')
def sample(tmp_path_factory):
    s = make_sample(tmp_path_factory.mktemp('sample'))
    s.start()
    yield s
    s.kill()


@pytest.fixture(scope='module')
def province(tmp_path_factory):
    if not os.path.isdir(PROVINCE):
        pytest.skip('../shared/province is not there')
    s = make_province(tmp_path_factory.mktemp('province'))
    s.start()
    yield s
    s.kill()


class Dump:
    """ldap_dump in a process of its own; c("read") gives the answer as a dict with its code under ""."""

    def __init__(self, tmp_path, conf, sandbox=True):
        tmp_path.mkdir(exist_ok=True)
        path = str(tmp_path / 'provmail.conf')
        with open(path, 'w') as f:
            f.writelines('%s = "%s"\n' % (k, v) for k, v in conf.items())
        args = [DUMP, path] + (['--sandbox', str(tmp_path)] if sandbox else [])
        self.err = open(str(tmp_path / 'stderr'), 'w+')
        # The search for leaks needs what the sandbox forbids.
        env = dict(os.environ, ASAN_OPTIONS='detect_leaks=0') if sandbox else None
        self.p = subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.err, text=True, env=env)
        self.first = self.p.stdout.readline()

    def errors(self):
        self.err.seek(0)
        return self.err.read()

    def ask(self, *fields):
        self.p.stdin.write('\t'.join(fields) + '\n')
        self.p.stdin.flush()

    def answer(self):
        line = self.p.stdout.readline().rstrip('\n')
        assert line, 'ldap_dump ended: %s %s' % (self.p.wait(5), self.errors())
        head, _, why = line.partition(' why=')
        words = head.split(' ')
        return {'': words[0], 'why': why, **{k: int(v) for k, v in (w.split('=') for w in words[1:])}}

    def __call__(self, *fields):
        self.ask(*fields)
        return self.answer()

    def __enter__(self):
        assert self.first == 'ready\n', self.errors()
        return self

    def __exit__(self, kind, *_):
        self.p.stdin.close()
        status = self.p.wait(10)
        self.err.close()
        if kind is None:
            assert status == 0
        self.p.stdout.close()


def refused(tmp_path, conf):
    """The reason why the source cannot be opened."""
    d = Dump(tmp_path, conf)
    assert d.first == '' and d.p.wait(10) == 78
    return d.errors()


def rows(path):
    return [l.rstrip('\n').split('\t') for l in open(path)]


# ---------------------------------------------------------------- reading

def test_reads_the_sample(sample, tmp_path):
    with Dump(tmp_path, sample.config()) as d:
        a = d('read', str(tmp_path / 'list'))
    assert a[''] == 'ok' and a['people'] == 14 and a['ids'] == a['entries'] >= 25
    listed = rows(tmp_path / 'list')
    assert len({r[0] for r in listed}) == len(listed)
    assert 'an@gialai.example' in [r[2] for r in listed]
    assert max(int(r[3]) for r in listed) > 2


@pytest.mark.parametrize('how', ['starttls', 'ldaps', 'clear'])
def test_reads_9000_people_in_pages(province, tmp_path, how):
    """This account is given 500 entries at a time and no more; without pages it would get an error."""
    change = {'starttls': {}, 'clear': {'ldap_starttls': 'no'},
              'ldaps': {'ldap_uri': 'ldaps://localhost:%d' % (province.port + 1)}}[how]
    (tmp_path / 'pw').write_text('mailauth-secret\n')
    change.update(ldap_bind_dn='cn=mailauth,ou=Services,' + province.suffix, ldap_bind_password_file=str(tmp_path / 'pw'))
    with Dump(tmp_path, province.config(**change)) as d:
        a = d('read', str(tmp_path / 'list'))
        assert a[''] == 'ok' and a['people'] == 9000 and a['ids'] == a['entries'] == province.entries, a
        print('\n%s: %d entries in %d ms' % (how, a['entries'], a['ms']))
        assert a['ms'] < 15000
    listed = rows(tmp_path / 'list')
    assert len({r[0] for r in listed}) == len(listed) == province.entries
    assert sum(int(r[3]) for r in listed) > 9000


def test_size_limit_is_an_error(tmp_path):
    s = make_sample(tmp_path, 'limits * size=5 size.prtotal=disabled\n')
    # the first matching line counts: that of mailsync stands before ours
    text = open(s.dir + '/slapd.conf').read()
    with open(s.dir + '/slapd.conf', 'w') as f:
        f.write('\n'.join(l for l in text.split('\n') if not l.startswith('limits dn.exact')))
    s.start()
    try:
        with Dump(tmp_path / 'a', s.config()) as d:
            a = d('read')
            assert a[''] == 'denied' and 'limit' in a['why'], a
    finally:
        s.kill()


def test_total_of_all_pages_limited_is_an_error(tmp_path):
    s = make_sample(tmp_path)
    text = open(s.dir + '/slapd.conf').read()
    with open(s.dir + '/slapd.conf', 'w') as f:
        f.write(text.replace('size=unlimited', 'size.soft=5 size.hard=5 size.prtotal=12'))
    s.start()
    try:
        with Dump(tmp_path / 'a', s.config(ldap_page_size=4)) as d:
            a = d('read')
            assert a[''] == 'denied' and 0 < a['entries'] <= 12 and 'limit' in a['why'], a
    finally:
        s.kill()


def test_wrong_base_filter_and_rights(sample, tmp_path):
    with Dump(tmp_path / 'base', sample.config(ldap_base='dc=nowhere,dc=example')) as d:
        assert d('read')[''] in ('syntax',)
    with Dump(tmp_path / 'filter', sample.config(ldap_filter='((')) as d:
        a = d('read')
        assert a[''] == 'syntax' and 'ldap_filter' in a['why']
    with Dump(tmp_path / 'nothing', sample.config(ldap_filter='(uid=nobody-has-this)')) as d:
        a = d('read')
        assert a[''] == 'syntax' and 'nothing' in a['why']
    with Dump(tmp_path / 'anonymous', sample.config(ldap_bind_dn='')) as d:
        a = d('read')
        assert a[''] in ('syntax', 'denied') and a['entries'] == 0


# ---------------------------------------------------------------- TLS

def other_certificate(tmp_path, name):
    cert, key = str(tmp_path / 'other.pem'), str(tmp_path / 'other.key')
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '10', '-subj', '/CN=' + name,
                    '-addext', 'subjectAltName=DNS:' + name, '-keyout', key, '-out', cert], check=True, capture_output=True)
    return cert, key


@pytest.mark.parametrize('scheme', ['ldap', 'ldaps'])
def test_wrong_authority_is_refused(sample, tmp_path, scheme):
    cert, _ = other_certificate(tmp_path, 'localhost')
    uri = '%s://127.0.0.1:%d' % (scheme, sample.port + (scheme == 'ldaps'))
    with Dump(tmp_path / 'a', sample.config(ldap_ca_file=cert, ldap_uri=uri)) as d:
        a = d('read')
        assert a[''] == 'retry' and a['entries'] == 0 and 'TLS' in a['why'], a
        b = d('bind', AN, PASSWORD)
        assert b[''] == 'retry', b
    with Dump(tmp_path / 'b', sample.config(ldap_ca_file=str(tmp_path / 'absent.pem'), ldap_uri=uri)) as d:
        a = d('read')
        assert a[''] == 'retry' and 'ldap_ca_file' in a['why'], a


def test_wrong_name_is_refused(tmp_path):
    s = make_sample(tmp_path)
    cert, key = other_certificate(tmp_path, 'ldap.elsewhere.example')
    shutil.copy(cert, s.dir + '/tls/cert.pem')
    shutil.copy(key, s.dir + '/tls/key.pem')
    s.start()
    try:
        for uri in ('ldap://127.0.0.1:%d' % s.port, 'ldaps://localhost:%d' % (s.port + 1)):
            with Dump(tmp_path / 'a', s.config(ldap_uri=uri)) as d:
                a = d('read')
                assert a[''] == 'retry' and 'TLS' in a['why'], a
    finally:
        s.kill()


def no_starttls(peer):
    while True:
        id_, op, body = peer.ask()
        if op == fake.UNBIND:
            return
        assert op == fake.EXTENDED, 'nothing but StartTLS may be said in the clear: %x' % op
        peer.say(fake.message(id_, fake.result(0x78, 2, 'unsupported')))


def test_without_starttls_nothing_is_said(tmp_path, sample):
    f = fake.FakeLdap(no_starttls)
    with Dump(tmp_path, sample.config(ldap_uri='ldap://127.0.0.1:%d' % f.port)) as d:
        a = d('read')
        assert a[''] == 'retry' and 'StartTLS' in a['why'], a
        assert d('bind', AN, PASSWORD)[''] == 'retry'
    f.close()


# ---------------------------------------------------------------- the service account

def test_wrong_password_of_the_service_account(sample, tmp_path):
    for text in ('wrong\n', 'wrong'):
        (tmp_path / 'pw').write_text(text)
        with Dump(tmp_path / 'a', sample.config(ldap_bind_password_file=str(tmp_path / 'pw'))) as d:
            a = d('read')
            assert a[''] == 'denied' and a['entries'] == 0 and 'credentials' in a['why'].lower(), a


def test_password_file(sample, tmp_path):
    good = open(sample.dir + '/mailsync.password').read().strip()
    pw = tmp_path / 'pw'
    for end in ('', '\n', '\r\n'):
        pw.write_text(good + end, newline='')
        pw.chmod(0o600)
        with Dump(tmp_path / 'a', sample.config(ldap_bind_password_file=str(pw))) as d:
            assert d('read')[''] == 'ok'
            assert 'password_file' not in d.errors()
    pw.chmod(0o644)
    with Dump(tmp_path / 'a', sample.config(ldap_bind_password_file=str(pw))) as d:
        assert 'ldap.password_file.open' in d.errors()
        pw.write_text('changed')  # it was read at the start
        assert d('read')[''] == 'ok'
    pw.write_text('\n')
    assert 'empty' in refused(tmp_path / 'b', sample.config(ldap_bind_password_file=str(pw)))
    assert 'absent' in refused(tmp_path / 'b', sample.config(ldap_bind_password_file=str(tmp_path / 'absent')))
    assert 'ldap_bind_password_file' in refused(tmp_path / 'b', sample.config(ldap_bind_password_file=''))


@pytest.mark.parametrize('uri', ['', 'http://127.0.0.1', 'ldap://', 'ldap://h:0', 'ldap://h:x', 'ldap://h/dc=a', 'ldap://[::1'])
def test_bad_uri(sample, tmp_path, uri):
    assert 'ldap_uri' in refused(tmp_path, sample.config(ldap_uri=uri))


def test_second_server_is_asked(sample, tmp_path):
    dead = two_ports()
    uri = 'ldap://127.0.0.1:%d  ldap://localhost:%d/' % (dead, sample.port)
    with Dump(tmp_path, sample.config(ldap_uri=uri)) as d:
        assert d('read')[''] == 'ok'
        assert d('bind', AN, PASSWORD)[''] == 'ok'


# ---------------------------------------------------------------- binds

def test_binds(sample, tmp_path):
    with Dump(tmp_path, sample.config()) as d:
        assert d('bind', AN, PASSWORD)[''] == 'ok'
        assert d('bind', AN, 'wrong')[''] == 'denied'
        assert d('bind', AN, '')[''] == 'denied'
        assert d('bind', '', PASSWORD)[''] == 'denied'
        assert d('bind', 'uid=nobody,' + SUFFIX, PASSWORD)[''] == 'denied'
        assert d('bind', 'not a dn', PASSWORD)[''] == 'denied'
        assert d('bind', AN.upper(), PASSWORD)[''] == 'ok'
        times = [d('bind', AN, PASSWORD)['ms'] for _ in range(20)]
        print('\nbind on a kept connection: %d ms at most' % max(times))


def test_empty_password_never_leaves(tmp_path, sample):
    f = fake.FakeLdap(lambda peer: peer.ask())
    with Dump(tmp_path, sample.config(ldap_uri='ldap://127.0.0.1:%d' % f.port)) as d:
        assert d('bind', AN, '')[''] == 'denied'
        assert f.connections == 0
    f.close()


def test_binds_while_reading(province, tmp_path):
    _, dn, password = province.people[0]
    with Dump(tmp_path, province.config()) as d:
        a = d('mix', '200', dn, password)
        print('\n%d binds in 4 threads beside a reading: %d ms' % (a['binds'], a['ms']))
        assert a[''] == 'ok' and a['wrong'] == 0 and a['entries'] == province.entries, a


def test_wrong_passwords_of_many_people(province, tmp_path):
    with Dump(tmp_path, province.config()) as d:
        for i in range(0, 300, 3):
            _, dn, password = province.people[i]
            assert d('bind', dn, password)[''] == 'ok'
            assert d('bind', dn, province.people[i + 1][2])[''] == 'denied'


# ---------------------------------------------------------------- a server that goes away

def test_killed_in_the_middle(tmp_path):
    s = make_sample(tmp_path)
    s.start()
    try:
        with Dump(tmp_path / 'a', s.config(ldap_page_size=2)) as d:
            whole = d('read')
            assert whole[''] == 'ok'
            assert d('bind', AN, PASSWORD)[''] == 'ok'
            d.ask('slow', '50')
            d.ask('read')
            time.sleep(0.3)
            s.kill()
            a = d.answer()
            assert a[''] == 'retry' and 0 < a['entries'] < whole['entries'], a
            b = d('bind', AN, PASSWORD)
            assert b[''] == 'retry' and b['ms'] < 1000 and 'refused' in b['why'], b
            d.ask('slow', '0')
            assert d('read')[''] == 'retry'
            s.start()
            assert d('read')[''] == 'ok'  # a reading always tries, and tells the binds
            assert d('bind', AN, PASSWORD)[''] == 'ok'
            # kept connections do not outlive a restart
            s.kill()
            s.start()
            assert d('bind', AN, PASSWORD)[''] == 'ok'
    finally:
        s.kill()


def test_stopped_server_does_not_hold_logins_up(tmp_path):
    s = make_sample(tmp_path)
    s.start()
    try:
        with Dump(tmp_path / 'a', s.config(ldap_timeout='700ms')) as d:
            assert d('bind', AN, PASSWORD)[''] == 'ok'
            s.freeze()
            a = d('bind', AN, PASSWORD)
            assert a[''] == 'retry' and a['ms'] < 5000, a
            b = d('bind', AN, PASSWORD)
            assert b[''] == 'retry' and b['ms'] < 50, b
            os.kill(s.pid, signal.SIGCONT)
            time.sleep(5.2)
            assert d('bind', AN, PASSWORD)[''] == 'ok'
    finally:
        s.kill()


def silent(peer):
    while peer.sock.recv(4096):
        pass


def drip(peer):
    """An answer that never ends: one byte now and then."""
    peer.ask()
    try:
        for byte in fake.message(1, fake.result(0x61, 0, 'x' * 3000)):
            peer.sock.sendall(bytes([byte]))
            time.sleep(0.1)
    except OSError:
        pass


def silent_behind_starttls(peer):
    id_, _, _ = peer.ask()
    peer.say(fake.message(id_, fake.result(0x78)))
    silent(peer)


def handshake_that_drips(peer):
    peer.sock.recv(4096)
    try:
        for byte in b'\x16\x03\x03\x40\x00' + bytes(3000):
            peer.sock.sendall(bytes([byte]))
            time.sleep(0.05)
    except OSError:
        pass


@pytest.mark.parametrize('talk,uri,tls', [(silent, 'ldap', 'no'), (silent, 'ldap', 'yes'), (silent, 'ldaps', 'yes'),
                                          (drip, 'ldap', 'no'), (silent_behind_starttls, 'ldap', 'yes'),
                                          (handshake_that_drips, 'ldaps', 'yes')])
def test_silent_server(sample, tmp_path, talk, uri, tls):
    f = fake.FakeLdap(talk)
    conf = sample.config(ldap_uri='%s://127.0.0.1:%d' % (uri, f.port), ldap_starttls=tls, ldap_timeout='500ms')
    with Dump(tmp_path, conf) as d:
        a = d('read')
        assert a[''] == 'retry' and 400 <= a['ms'] < 3000, a
    f.close()


def test_unknown_name(sample, tmp_path):
    with Dump(tmp_path, sample.config(ldap_uri='ldap://ldap.invalid:389', ldap_timeout='500ms')) as d:
        a = d('read')
        assert a[''] == 'retry' and 'ldap.invalid' in a['why'], a
        assert d('bind', AN, PASSWORD)['ms'] < 50


# ---------------------------------------------------------------- servers that answer strangely

GUID = bytes(range(1, 17))
PEOPLE = [('uid=p%d,dc=x' % i, [('objectClass', ['person']), ('uid', ['p%d' % i]), ('mail', ['p%d@x.example' % i])])
          for i in range(10)]


def serve(search):
    """Binds succeed; search(peer, id, body, n) answers the n-th search of a connection."""
    def talk(peer):
        n = 0
        while True:
            id_, op, body = peer.ask()
            if op == fake.BIND:
                peer.say(fake.message(id_, fake.result(0x61)))
            elif op == fake.SEARCH:
                search(peer, id_, body, n)
                n += 1
            else:
                return
    return fake.FakeLdap(talk)


def fake_read(sample, tmp_path, search, command=('read',)):
    f = serve(search)
    conf = sample.config(ldap_uri='ldap://127.0.0.1:%d' % f.port, ldap_starttls='no', ldap_timeout='2s')
    with Dump(tmp_path, conf) as d:
        a = d(*command)
        a['log'] = d.errors()
    f.close()
    return a


def all_of(peer, id_, people):
    peer.say(*[fake.message(id_, fake.entry(*p)) for p in people])


@pytest.mark.parametrize('rc', [12, 53])
def test_server_without_pages(sample, tmp_path, rc):
    def search(peer, id_, body, n):
        if fake.PAGED in body:
            peer.say(fake.message(id_, fake.result(0x65, rc, 'no pages here')))
        else:
            all_of(peer, id_, PEOPLE)
            peer.say(fake.message(id_, fake.result(0x65)))
    a = fake_read(sample, tmp_path, search)
    assert a[''] == 'ok' and a['entries'] == 10 and 'ldap.unpaged' in a['log'], a


def test_server_without_pages_and_with_a_limit(sample, tmp_path):
    def search(peer, id_, body, n):
        if fake.PAGED in body:
            peer.say(fake.message(id_, fake.result(0x65, 12)))
        else:
            all_of(peer, id_, PEOPLE)
            peer.say(fake.message(id_, fake.result(0x65, 4)))
    a = fake_read(sample, tmp_path, search)
    assert a[''] == 'denied' and a['entries'] == 10, a


def test_two_pages_and_a_lost_place(sample, tmp_path):
    def two(peer, id_, body, n):
        all_of(peer, id_, PEOPLE[5 * n:5 * n + 5])
        peer.say(fake.message(id_, fake.result(0x65), fake.page_control(b'' if n else b'here')))
    a = fake_read(sample, tmp_path / 'a', two)
    assert a[''] == 'ok' and a['entries'] == 10, a

    def lost(peer, id_, body, n):
        all_of(peer, id_, PEOPLE[5 * n:5 * n + 5])
        peer.say(fake.message(id_, fake.result(0x65), b'' if n else fake.page_control(b'here')))
    a = fake_read(sample, tmp_path / 'b', lost)
    assert a[''] == 'retry', a


@pytest.mark.parametrize('rc,code', [(1, 'retry'), (3, 'retry'), (4, 'denied'), (11, 'denied'), (32, 'syntax'), (10, 'syntax'),
                                     (50, 'denied'), (51, 'retry'), (52, 'retry'), (80, 'retry'), (9999, 'retry')])
def test_results_that_are_not_success(sample, tmp_path, rc, code):
    def search(peer, id_, body, n):
        all_of(peer, id_, PEOPLE)
        peer.say(fake.message(id_, fake.result(0x65, rc, 'because')))
    a = fake_read(sample, tmp_path, search)
    assert a[''] == code and 'because' in a['why'], a


@pytest.mark.parametrize('rc,code', [(0, 'ok'), (49, 'denied'), (48, 'denied'), (32, 'denied'), (19, 'denied'), (53, 'denied'),
                                     (1, 'retry'), (7, 'retry'), (8, 'retry'), (10, 'retry'), (13, 'retry'), (51, 'retry'), (52, 'retry'), (80, 'retry')])
def test_results_of_a_bind(sample, tmp_path, rc, code):
    def talk(peer):
        while True:
            id_, op, _ = peer.ask()
            if op != fake.BIND:
                return
            peer.say(fake.message(id_, fake.result(0x61, rc, 'because')))
    f = fake.FakeLdap(talk)
    conf = sample.config(ldap_uri='ldap://127.0.0.1:%d' % f.port, ldap_starttls='no', ldap_timeout='2s')
    with Dump(tmp_path, conf) as d:
        a = d('bind', AN, 'x')
        assert a[''] == code, a
    f.close()


def test_password_policy_reason(sample, tmp_path):
    def talk(peer):
        id_, _, _ = peer.ask()
        control = fake.tlv(0x30, fake.tlv(4, b'1.3.6.1.4.1.42.2.27.8.5.1'), fake.tlv(4, fake.tlv(0x30, fake.tlv(0x81, b'\x01'))))
        peer.say(fake.message(id_, fake.result(0x61, 49), control))
        peer.ask()
    f = fake.FakeLdap(talk)
    conf = sample.config(ldap_uri='ldap://127.0.0.1:%d' % f.port, ldap_starttls='no', ldap_timeout='2s')
    with Dump(tmp_path, conf) as d:
        a = d('bind', AN, 'x')
        assert a[''] == 'denied' and 'locked' in a['why'].lower(), a
    f.close()


def test_strange_entries(sample, tmp_path):
    people = PEOPLE[:2] + [
        ('cn=ad,dc=x', [('objectClass', ['person']), ('objectGUID', [GUID])]),
        ('cn=uuid,dc=x', [('entryUUID', ['3bd30f70-7c95-1041-87fd-5bcdea3b5a3b'])]),
        ('cn=not,dc=x', [('entryUUID', ['what is this'])]),
        ('cn=nul,dc=x', [('mail', [b'a\0b@x.example', 'c@x.example'])]),
        ('cn=huge,dc=x', [('description', ['x' * (1 << 20) + 'y']), ('mail', ['d@x.example'])]),
        ('cn=none,dc=x', [('mail', [])]),
        ('', [('cn;lang-vi', ['Không'])]),
        ('cn=ranged,dc=x', [('member;range=0-*', ['cn=a', 'cn=b'])]),
    ]

    def search(peer, id_, body, n):
        all_of(peer, id_, people)
        peer.say(fake.message(id_, fake.tlv(0x73, fake.tlv(4, b'ldap://elsewhere.example/dc=x'))))
        peer.say(fake.message(id_, fake.result(0x65), fake.page_control(b'')))
    a = fake_read(sample, tmp_path, search, ('read', str(tmp_path / 'list')))
    assert a[''] == 'ok' and a['entries'] == len(people), a
    assert 'ldap.values.passed_over count=2' in a['log'] and 'ldap.references.passed_over count=1' in a['log']
    got = {r[1]: r for r in rows(tmp_path / 'list')}
    assert got['cn=ad,dc=x'][0] == '04030201-0605-0807-090a-0b0c0d0e0f10'
    assert got['cn=uuid,dc=x'][0] == '3bd30f70-7c95-1041-87fd-5bcdea3b5a3b'
    assert got['cn=not,dc=x'][0] == '-'
    assert got['cn=nul,dc=x'][2] == 'c@x.example' and got['cn=huge,dc=x'][2] == 'd@x.example'
    assert got['cn=ranged,dc=x'][3] == '2'


def test_a_list_in_pieces_is_not_the_list(sample, tmp_path):
    def search(peer, id_, body, n):
        all_of(peer, id_, [('cn=g,dc=x', [('member;range=0-1', ['cn=a', 'cn=b'])])])
        peer.say(fake.message(id_, fake.result(0x65), fake.page_control(b'')))
    a = fake_read(sample, tmp_path, search)
    assert a[''] == 'limit' and 'pieces' in a['why'], a


@pytest.mark.parametrize('bytes_', [b'\x30\x84\x7f\xff\xff\xff', b'\x30\x05\x02\x01\x02\x64\x7f', b'\xff' * 64,
                                    b'HTTP/1.1 400 Bad Request\r\n\r\n', b'\x30\x0c\x02\x01\x02\x64\x07\x04\x84\xff\xff\xff\xff\x00'])
def test_bytes_that_are_no_answer(sample, tmp_path, bytes_):
    def search(peer, id_, body, n):
        peer.say(bytes_)
    a = fake_read(sample, tmp_path, search)
    assert a[''] == 'retry', a
    assert a['ms'] < 6000


def test_pages_without_end(sample, tmp_path):
    def search(peer, id_, body, n):
        peer.say(fake.message(id_, fake.result(0x65), fake.page_control(b'again')))
    a = fake_read(sample, tmp_path, search)
    assert a[''] == 'retry' and 'place' in a['why'], a


def test_a_reading_that_trickles_has_an_end(sample, tmp_path):
    def search(peer, id_, body, n):
        while True:
            all_of(peer, id_, PEOPLE[:1])
            time.sleep(0.02)
    f = serve(search)
    conf = sample.config(ldap_uri='ldap://127.0.0.1:%d' % f.port, ldap_starttls='no', ldap_timeout='100ms')
    with Dump(tmp_path, conf) as d:
        a = d('read')
        assert a[''] == 'retry' and a['entries'] > 0 and a['ms'] < 4500, a
    f.close()
