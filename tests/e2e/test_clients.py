"""Mail programs of Debian against the suite: fetchmail, getmail6, offlineimap3, mbsync both ways, s-nail, alpine; and swaks with
odd wishes. What is not installed is skipped; ./check installs it."""
import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import textwrap
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import province as prov  # noqa: E402
from province import PASSWORD, address, message, until  # noqa: E402

if prov.built():
    pytest.skip(prov.built(), allow_module_level=True)
TEXT = 'Kính gửi anh chị\nFrom here on\n.dot\n' + 'z' * 900 + '\n'


def needs(program):
    return pytest.mark.skipif(not shutil.which(program), reason=program + ' is not installed')


@pytest.fixture(scope='module')
def p():
    p = prov.Province()
    yield p
    alarms, ended = p.alarms(), re.findall(r'imap.session.ended .*', p.log('imapd'))
    p.close()
    assert not alarms
    assert ended and not [l for l in ended if ' bad=0 ' not in l]  # nothing that they say is strange to us


def run(*words, home, text=None, status=0, env=None):
    r = subprocess.run(words, input=text, capture_output=True, timeout=60, cwd=home,
                       env=dict(os.environ, HOME=str(home), LC_ALL='C.UTF-8', TERM='vt100', **(env or {})))
    assert r.returncode == status, (words, r.returncode, r.stdout.decode(errors='replace')[-2000:], r.stderr.decode(errors='replace')[-2000:])
    return r.stdout.decode(errors='replace') + r.stderr.decode(errors='replace')


def write(path, text, mode=0o600):
    path.write_text(textwrap.dedent(text))
    path.chmod(mode)
    return str(path)


def fill(p, user, n):
    """n messages; answers them as they were sent."""
    out = []
    for i in range(n):
        m = prov.message('khach@ngoai.example', address(user), 'so %d' % i, TEXT, number='so.%d.%s' % (i, user))
        p.send('khach@ngoai.example', user, m)
        out.append(m)
    return out


def uids(p, user, box='INBOX', what='ALL'):
    c = p.imap(user, select=box)
    got = c.uid('SEARCH', None, what)[1][0].split()
    c.logout()
    return got


@needs('fetchmail')
def test_fetchmail(p, tmp_path):
    """All messages, once, byte by byte; then they are gone there."""
    sent = fill(p, 'cuong', 3)
    rc = write(tmp_path / 'rc', '''
        poll 127.0.0.1 protocol IMAP port %d auth password
            username "%s" password "%s" ssl sslproto tls1.2+ no sslcertck
            fetchall nokeep norewrite mda "cat > %s/$(date +%%s%%N)"
        ''' % (p.port('imaps'), address('cuong'), PASSWORD, tmp_path / 'in'))
    (tmp_path / 'in').mkdir()
    run('fetchmail', '-f', rc, '--pidfile', str(tmp_path / 'pid'), '--nosyslog', home=tmp_path)
    got = [f.read_bytes() for f in sorted((tmp_path / 'in').iterdir())]
    assert len(got) == 3
    for m, g in zip(sent, got):
        assert g.replace(b'\r\n', b'\n').rstrip().endswith(m.split(b'\r\n\r\n', 1)[1].replace(b'\r\n', b'\n').rstrip())
    assert uids(p, 'cuong') == []
    run('fetchmail', '-f', rc, '--pidfile', str(tmp_path / 'pid'), '--nosyslog', home=tmp_path, status=1)  # no mail


@needs('getmail')
def test_getmail(p, tmp_path):
    sent = fill(p, 'dung', 3)
    (tmp_path / 'in').mkdir()
    to = write(tmp_path / 'to', '#!/bin/sh\ncat > %s/in/$$\n' % tmp_path, 0o700)
    rc = write(tmp_path / 'rc', '''
        [retriever]
        type = SimpleIMAPSSLRetriever
        server = 127.0.0.1
        port = %d
        username = %s
        password = %s
        mailboxes = ("INBOX",)
        [destination]
        type = MDA_external
        path = %s
        allow_root_commands = true
        [options]
        read_all = false
        delivered_to = false
        received = false
        ''' % (p.port('imaps'), address('dung'), PASSWORD, to))
    for _ in range(2):  # the second time nothing is new
        run('getmail', '--getmaildir', str(tmp_path), '--rcfile', rc, home=tmp_path)
        got = [f.read_bytes() for f in (tmp_path / 'in').iterdir()]
        assert len(got) == 3 and {re.search(rb'Message-ID: (\S+)', g).group(1) for g in got} == \
            {re.search(rb'Message-ID: (\S+)', m).group(1) for m in sent}
    assert len(uids(p, 'dung')) == 3


@needs('offlineimap')
def test_offlineimap(p, tmp_path):
    """Both ways: what is here comes down; what is put, flagged and deleted in the Maildir comes up."""
    fill(p, 'giang', 4)
    c = p.imap('giang')
    c.create('"H&APM- s&ARoBoQ-"')
    c.logout()
    rc = write(tmp_path / 'rc', '''
        [general]
        accounts = a
        ui = quiet
        metadata = %(d)s/meta
        [Account a]
        localrepository = near
        remoterepository = far
        [Repository near]
        type = Maildir
        localfolders = %(d)s/mail
        [Repository far]
        type = IMAP
        remotehost = localhost
        remoteport = %(port)d
        remoteuser = %(user)s
        remotepass = %(password)s
        ssl = yes
        sslcacertfile = %(cert)s
        ''' % dict(d=tmp_path, port=p.port('imaps'), user=address('giang'), password=PASSWORD, cert=p.state + '/tls/cert.pem'))
    words = ['offlineimap', '-o', '-c', rc]
    run(*words, home=tmp_path)
    inbox = tmp_path / 'mail' / 'INBOX'
    files = sorted(f for d in ('cur', 'new') for f in (inbox / d).iterdir())
    assert len(files) == 4 and (tmp_path / 'mail' / 'H&APM- s&ARoBoQ-').is_dir() or (tmp_path / 'mail' / 'Hồ sơ').is_dir()
    gone, flagged = files[0], files[1]
    gone.unlink()
    base = flagged.name.split(':')[0]
    flagged.rename(inbox / 'cur' / (base + ':2,FS'))
    (inbox / 'cur' / '1700000000.1_1.x:2,S').write_bytes(
        message('giang@gialai.example', 'giang@gialai.example', 'tu may ca nhan').replace(b'\r\n', b'\n'))
    run(*words, home=tmp_path)
    run(*words, home=tmp_path)  # nothing more to do
    assert len(uids(p, 'giang')) == 4
    assert len(uids(p, 'giang', what='FLAGGED SEEN')) == 1
    assert len(p.find('giang', 'tu may ca nhan')) == 1


@needs('mbsync')
def test_mbsync_both_ways(p, tmp_path):
    fill(p, 'hai', 4)
    (tmp_path / 'mail').mkdir()
    rc = write(tmp_path / 'rc', 'IMAPAccount p\nHost localhost\nPort %d\nUser %s\nPass %s\nSSLType IMAPS\nAuthMechs PLAIN\n'
               'CertificateFile %s\n\nIMAPStore far\nAccount p\n\nMaildirStore near\nPath %s/mail/\nInbox %s/mail/INBOX\n'
               'SubFolders Verbatim\n\nChannel all\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nExpunge Both\nSyncState *\n'
               % (p.port('imaps'), address('hai'), PASSWORD, p.state + '/tls/cert.pem', tmp_path, tmp_path))
    words = ['mbsync', '-q', '-c', rc, '-a']
    run(*words, home=tmp_path)
    inbox = tmp_path / 'mail' / 'INBOX'
    files = sorted(f for d in ('cur', 'new') for f in (inbox / d).iterdir())
    assert len(files) == 4
    files[0].rename(inbox / 'cur' / (files[0].name.split(':')[0] + ':2,ST'))  # trashed
    files[1].rename(inbox / 'cur' / (files[1].name.split(':')[0] + ':2,FRS'))
    for d in ('cur', 'new', 'tmp'):
        (tmp_path / 'mail' / 'Moi' / d).mkdir(parents=True)
    (tmp_path / 'mail' / 'Moi' / 'cur' / '1700000000.1_1.x:2,S').write_bytes(
        message('hai@gialai.example', 'hai@gialai.example', 'tu may ca nhan').replace(b'\r\n', b'\n'))
    for _ in range(2):
        run(*words, home=tmp_path)
        assert len(uids(p, 'hai')) == 3
        assert len(uids(p, 'hai', what='FLAGGED ANSWERED SEEN')) == 1
        assert len(uids(p, 'hai', box='Moi', what='SEEN')) == 1


@needs('s-nail')
def test_s_nail(p, tmp_path):
    """Sends by submission, lists, reads, moves."""
    host, user = '127.0.0.1', address('khanh').replace('@', '%40')
    setup = ['-Sv15-compat', '-Stls-verify=ignore', '-Sfrom=' + address('khanh'), '-Ssendwait',
             '-Smta=smtps://%s:%s@%s:%d' % (user, PASSWORD, host, p.port('submissions')), '-Simap-auth=login']
    r = run('s-nail', '-n', *setup, '-s', 'tu s-nail', address('khanh'), home=tmp_path, text='xin chào\n'.encode())
    until(lambda: p.find('khanh', 'tu s-nail'))
    fill(p, 'khanh', 2)
    box = 'imaps://%s:%s@%s:%d' % (user, PASSWORD, host, p.port('imaps'))
    r = run('s-nail', '-n', *setup, '-Sinbox=' + box + '/INBOX', '-Sfolder=' + box, '-R', '-f', box + '/INBOX', home=tmp_path,
            text=b'headers\ntype 1\nexit\n')
    assert 'so 0' in r and 'so 1' in r and 'xin chào' in r, r
    run('s-nail', '-n', *setup, '-f', box + '/INBOX', home=tmp_path, text=b'copy 2 "%s/Archive"\ndelete 3\nquit\n' % box.encode())
    assert len(uids(p, 'khanh')) == 2 and len(uids(p, 'khanh', box='Archive')) == 1


class Terminal:
    """A program on a terminal of its own: wait for what it shows, type."""

    def __init__(self, words, home):
        self.seen = b''
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(home)
            os.execvpe(words[0], words, dict(os.environ, HOME=str(home), TERM='xterm', LC_ALL='C.UTF-8'))
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack('HHHH', 30, 100, 0, 0))

    def read(self):
        """False: the program has ended."""
        if select.select([self.fd], [], [], 0.05)[0]:
            try:
                got = os.read(self.fd, 65536)
            except OSError:
                got = b''
            self.seen += got
            return bool(got)
        return True

    def until(self, what, keys):
        """Type keys when it has shown what."""
        end = time.monotonic() + 20
        while not re.search(what, self.seen):
            if not self.read() or time.monotonic() > end:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise AssertionError((what, re.sub(rb'\x1b\[[0-9;?]*[a-zA-Z]', b' ', self.seen)[-1500:]))
        self.seen = b''
        os.write(self.fd, keys)

    def end(self):
        end = time.monotonic() + 20
        while self.read():
            assert time.monotonic() < end
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@needs('alpine')
def test_alpine(p, tmp_path):
    """Opens the INBOX, reads, marks one deleted, copies another to a folder, expunges at the end."""
    fill(p, 'lan', 3)
    spec = '{localhost:%d/imap/ssl/novalidate-cert/user=%s}' % (p.port('imaps'), address('lan'))
    rc = write(tmp_path / 'pinerc', '''
        personal-name=Lan
        user-domain=gialai.example
        inbox-path=%sINBOX
        folder-collections=Mail %s[]
        feature-list=quell-user-lookup-in-passwd-file,expunge-without-confirm,save-will-not-delete,quit-without-confirm
        last-version-used=9.99
        ''' % (spec, spec))
    t = Terminal(['alpine', '-p', rc, '-i'], tmp_path)
    t.until(rb'PASSWORD', PASSWORD.encode() + b'\r')
    t.until(rb'Preserve password', b'n')
    t.until(rb'MESSAGE INDEX[\s\S]*so 2', b'\r')  # the first is chosen
    t.until(rb'MESSAGE TEXT', b'd')
    t.until(rb'Message 1 marked for deletion', b's')
    t.until(rb'SAVE Msg #2 to folder', b'Archive\r')
    t.until(rb'Saving|copied to folder', b'q')  # it takes what is typed ahead
    t.until(rb'Kept 2 messages and removed 1', b'')
    assert t.end() == 0
    assert len(uids(p, 'lan')) == 2 and [b'so 1' in m for m in p.find('lan', 'so', 'Archive')] == [True]


@needs('swaks')
def test_swaks_with_odd_wishes(p):
    """name: what swaks is told, its exit status, and what the server has said last of all that was no success."""
    here = {k: str(p.port(k)) for k in ('smtp', 'lmtp', 'submissions')}
    smtp, lmtp = ['--port', here['smtp']], ['--port', here['lmtp'], '--protocol', 'LMTP']
    login = ['--port', here['submissions'], '--tls-on-connect', '--auth-user', address('an')]
    three = ['--to', 'an@gialai.example,khong-co@gialai.example,binh@gialai.example']
    rows = {
        'HELO': (smtp + ['--protocol', 'SMTP'], 0, None),
        'null sender': (smtp + ['--from', '<>'], 0, None),
        'one of three is absent, pipelined': (smtp + three + ['--pipeline'], 0, '550 5.1.1'),
        'one of three is absent, LMTP': (lmtp + three, 0, '550 5.1.1'),
        'PROXY is not ours': (smtp + ['--proxy-version', '1', '--proxy-family', 'TCP4', '--proxy-source', '192.0.2.1', '--proxy-source-port', '1',
                                      '--proxy-dest', '192.0.2.2', '--proxy-dest-port', '25'], 25, '500 5.5.1'),
        'gone after RCPT': (smtp + ['--drop-after-send', 'RCPT'], 0, None),
        'a line of 5,000': (smtp + ['--body', 'x' * 5000], 0, None),
        'a header line of 3,000': (smtp + ['--header', 'X-Long: ' + 'y' * 3000], 0, None),
        'UTF-8 without SMTPUTF8': (smtp + ['--from', 'khách@ngoai.example'], 23, '553 5.6.7'),
        'quoted': (smtp + ['--to', '"an"@gialai.example'], 0, None),
        'source route': (smtp + ['--to', '@ngoai.example:an@gialai.example'], 0, None),
        'address literal': (smtp + ['--to', 'an@[127.0.0.1]'], 24, '550 5.1.2'),
        'a name that is none': (smtp + ['--ehlo', '_x y;z'], 22, '501 5.5.4'),
        'IPv6 literal': (smtp + ['--ehlo', '[IPv6:::1]'], 0, None),
        'NUL': (smtp + ['--body', '@' + shutil.which('true')], 26, '550 5.6.0'),
        'no AUTH in the clear': (smtp + ['--auth', 'PLAIN', '--auth-user', 'an', '--auth-password', PASSWORD], 28, None),
        'LOGIN': (login + ['--from', address('an'), '--auth', 'LOGIN', '--auth-password', PASSWORD], 0, None),
        'CRAM-MD5 is not offered': (login + ['--auth', 'CRAM-MD5', '--auth-password', PASSWORD], 28, None),
        'wrong password': (login + ['--auth', 'PLAIN', '--auth-password', 'x'], 28, '535 5.7.8'),
        "another's address": (login + ['--auth', 'PLAIN', '--auth-password', PASSWORD], 23, '553 5.7.1'),
        'TLS 1.2': (smtp + ['--tls', '--tls-protocol', 'tlsv1_2'], 0, None),
    }
    for name, (words, status, last) in rows.items():
        r = subprocess.run(['swaks', '--server', '127.0.0.1', '--from', 'khach@ngoai.example', '--to', address('an'), *words],
                           capture_output=True, timeout=60)
        if b'required' in r.stderr and b'Perl' in r.stderr:
            pytest.skip('swaks lacks a module')
        answers = re.findall(r'^<[*~]\* ([45]\d\d \S+)', r.stdout.decode(errors='replace'), re.M)
        assert (r.returncode, answers[-1] if answers else None) == (status, last), (name, r.returncode, answers, r.stderr[-500:])
