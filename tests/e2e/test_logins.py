"""Logins over the wire: every mechanism that is offered, what an attacker gets to see, and a directory that is away."""
import base64
import contextlib
import ctypes
import hashlib
import hmac
import imaplib
import os
import secrets
import sys
import tempfile
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import province as prov  # noqa: E402
import slapd as ldap  # noqa: E402
from province import PASSWORD, address, until  # noqa: E402

if prov.built():
    pytest.skip(prov.built(), allow_module_level=True)
DELAY = 0.4


@pytest.fixture(scope='module')
def place():
    p = prov.Province('auth_failure_delay = %dms\n' % (DELAY * 1000))
    yield p
    p.close()


def connect(p):
    return imaplib.IMAP4_SSL('127.0.0.1', p.port('imaps'), ssl_context=prov.context(), timeout=20)


def reply(c):
    """The next line that is not a notice."""
    while True:
        line = c.readline()
        assert line, 'closed'
        if not line.startswith(b'* '):
            return line


def exchange(c, mech, blobs):
    """Send them one by one; the challenges, and the last line."""
    c.send(b't AUTHENTICATE %s\r\n' % mech.encode())
    got = []
    for b in blobs:
        line = reply(c)
        if not line.startswith(b'+'):
            return got, line
        got.append(base64.b64decode(line[2:]))
        c.send(base64.b64encode(b(got[-1]) if callable(b) else b) + b'\r\n')
    return got, reply(c)


class Scram:
    def __init__(self, hash_, user, password, header='n,,', binding=b''):
        self.hash, self.password, self.header, self.binding = hash_, password.encode(), header, binding
        self.bare = 'n=%s,r=%s' % (user, secrets.token_hex(12))

    def first(self, _):
        return (self.header + self.bare).encode()

    def final(self, challenge):
        self.challenge = challenge.decode()
        f = dict(x.split('=', 1) for x in self.challenge.split(','))
        salted = hashlib.pbkdf2_hmac(self.hash, self.password, base64.b64decode(f['s']), int(f['i']))
        without = 'c=%s,r=%s' % (base64.b64encode(self.header.encode() + self.binding).decode(), f['r'])
        auth = ','.join((self.bare, self.challenge, without)).encode()

        def mac(key, text):
            return hmac.new(key, text, self.hash).digest()
        key = mac(salted, b'Client Key')
        proof = bytes(a ^ b for a, b in zip(key, mac(hashlib.new(self.hash, key).digest(), auth)))
        self.expected = b'v=' + base64.b64encode(mac(mac(salted, b'Server Key'), auth))
        return ('%s,p=%s' % (without, base64.b64encode(proof).decode())).encode()

    def run(self, c, mech):
        """(the server's salt and count, the last line)"""
        got, line = exchange(c, mech, [self.first, self.final, b''])
        if line.startswith(b't OK'):
            assert got[2] == self.expected
        return (self.challenge.split(',', 1)[1] if len(got) > 1 else None), line


def exporter(sock):
    """RFC 9266's binding of a connection, by the library that Python uses (it has no call of its own for it)."""
    lib = ctypes.CDLL('libssl.so.3')
    ssl = ctypes.c_void_p.from_address(id(sock._sslobj) + 24)  # struct PySSLSocket: head, Socket, ssl
    out, label = ctypes.create_string_buffer(32), b'EXPORTER-Channel-Binding'
    assert lib.SSL_export_keying_material(ssl, out, ctypes.c_size_t(32), label, ctypes.c_size_t(len(label)), b'', ctypes.c_size_t(0), 1) == 1
    return out.raw


@pytest.mark.parametrize('mech,hash_', [('SCRAM-SHA-256', 'sha256'), ('SCRAM-SHA-1', 'sha1')])
def test_scram(place, mech, hash_):
    c = connect(place)
    assert 'AUTH=' + mech in c.capabilities and 'AUTH=%s-PLUS' % mech in c.capabilities
    assert Scram(hash_, address('an'), PASSWORD).run(c, mech)[1].startswith(b't OK')
    c.shutdown()


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason='reaches into Python 3.11')
def test_scram_plus(place):
    for change, good in ((b'', True), (b'x', False)):
        c = connect(place)
        binding = exporter(c.sock)
        binding = change + binding[len(change):]
        s = Scram('sha256', address('an'), PASSWORD, 'p=tls-exporter,,', binding)
        assert s.run(c, 'SCRAM-SHA-256-PLUS')[1].startswith(b't OK') == good
        c.shutdown()
    c = connect(place)
    assert Scram('sha256', address('an'), PASSWORD, 'y,,').run(c, 'SCRAM-SHA-256')[1].startswith(b't NO')  # -PLUS was offered
    c.shutdown()


def test_a_stranger_learns_nothing(place):
    """A wrong password and a name that is not there: the same words, the same time, and salts that last."""
    salts = {}
    for name in ('an', 'khong-co'):
        for _ in range(2):
            c = connect(place)
            begin = time.monotonic()
            salt, line = Scram('sha256', address(name), 'sai-mat-khau').run(c, 'SCRAM-SHA-256')
            assert line == b't NO [AUTHENTICATIONFAILED] AUTHENTICATE failed. Invalid credentials.\r\n', line
            assert time.monotonic() - begin > DELAY - 0.01
            assert salts.setdefault(name, salt) == salt
            begin = time.monotonic()
            line = exchange(c, 'PLAIN', [b'\0%s\0sai-mat-khau' % address(name).encode()])[1]
            assert line == b't NO [AUTHENTICATIONFAILED] AUTHENTICATE failed. Invalid credentials.\r\n', line
            assert time.monotonic() - begin > DELAY - 0.01
            c.shutdown()
    assert salts['an'] != salts['khong-co'] and len(salts['an']) == len(salts['khong-co'])
    place.wait_ready('directoryd', place.kill('directoryd'))
    c = connect(place)
    until(lambda: c.noop()[0] == 'OK')
    salt, _ = Scram('sha256', address('khong-co'), 'sai').run(connect(place), 'SCRAM-SHA-256')
    assert salt == salts['khong-co']
    c.shutdown()


@pytest.mark.parametrize('mech,blobs,good', [
    ('PLAIN', [b'an@gialai.example\0an\0' + PASSWORD.encode()], True),
    ('PLAIN', [b'binh\0an\0' + PASSWORD.encode()], False),
    ('PLAIN', [b'\0an\0' + PASSWORD.encode() + b'\0'], False),
    ('PLAIN', [b'\0an\0x\0' + PASSWORD.encode()], False),
    ('PLAIN', [b''], False),
    ('PLAIN', [b'a' * 8000], False),
    ('PLAIN', [b'\0' + b'a' * 8000 + b'\0x'], False),
    ('LOGIN', [b'an', PASSWORD.encode()], True),
    ('LOGIN', [b'an\0', PASSWORD.encode()], False),
    ('LOGIN', [b'', PASSWORD.encode()], False),
    ('SCRAM-SHA-256', [b'p=tls-unique,,n=an,r=abc'], False),
    ('SCRAM-SHA-256', [b'n,a=binh,n=an,r=abc', b'c=,r=abc,p=abc'], False),
    ('SCRAM-SHA-256', [b'n,,n=an,r=' + b'a' * 3000], False),
    ('SCRAM-SHA-256', [b'n,,n=an,r=abc', b''], False),
])
def test_blobs(place, mech, blobs, good):
    c = connect(place)
    line = exchange(c, mech, blobs)[1]
    assert line.startswith(b't OK' if good else b't NO'), line
    if not good:
        assert c.login('an', PASSWORD)[0] == 'OK'
    c.shutdown()


# ---------------------------------------------------------------- an LDAP server that is away

@pytest.fixture
def bound():
    if not os.path.exists('/usr/sbin/slapd'):
        pytest.skip('slapd is not installed')
    with contextlib.ExitStack() as todo:
        d = todo.enter_context(tempfile.TemporaryDirectory(prefix='slapd-'))
        os.chmod(d, 0o755)
        s = ldap.make_sample(d)
        s.start()
        todo.callback(s.kill)
        conf = ''.join('%s = %s\n' % kv for kv in s.config(ldap_timeout='1s').items())
        p = prov.Province('auth_failure_delay = 100ms\nauth_cache_lifetime = 0s\n', directory=conf)
        todo.callback(p.close)
        p.slapd = s
        yield p


def login(p, name, password=PASSWORD):
    """'OK', or the response code."""
    c = connect(p)
    try:
        c.login(address(name), password)
        return 'OK'
    except imaplib.IMAP4.error as e:
        return str(e).split('[')[1].split(']')[0]
    finally:
        c.shutdown()


def test_an_outage(bound):
    p = bound
    assert not any('SCRAM' in x for x in connect(p).capabilities)
    assert login(p, 'an') == 'OK' and login(p, 'binh', 'sai') == 'AUTHENTICATIONFAILED'
    p.slapd.kill()
    assert login(p, 'an') == 'OK'  # as it was the last time
    assert login(p, 'an', 'sai') == 'UNAVAILABLE' and login(p, 'binh') == 'UNAVAILABLE'
    with p.submission() as c:
        c.ehlo()
        code, text = c.docmd('AUTH PLAIN ' + base64.b64encode(b'\0binh\0' + PASSWORD.encode()).decode())
        assert code == 454, text
    p.wait_ready('directoryd', p.kill('directoryd'))
    until(lambda: login(p, 'an') == 'OK')  # what is remembered lasts
    p.slapd.start()
    p.slapd.change('dn: uid=an,ou=People,%s\nchangetype: modify\nreplace: userPassword\nuserPassword: mat-khau-moi\n' % ldap.SUFFIX)
    until(lambda: login(p, 'binh') == 'OK', 15)
    assert login(p, 'an') == 'AUTHENTICATIONFAILED' and login(p, 'an', 'mat-khau-moi') == 'OK'
    p.slapd.kill()
    assert login(p, 'an') == 'UNAVAILABLE' and login(p, 'an', 'mat-khau-moi') == 'OK'
