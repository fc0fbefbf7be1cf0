"""Each daemon under its own user, and what these users may not: read each other's folders, enter each other's sockets, ask
stored without a grant. Only root can start the suite so."""
import os
import pwd
import re
import stat
import struct
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import province as prov  # noqa: E402

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason='only root can give each daemon a user of its own')
OF = {'stored': 'provmail', 'directoryd': 'provdir', 'smtpd': 'provsmtp', 'imapd': 'provimap'}


@pytest.fixture(autouse=True)
def own_users(province):
    if not province.own_users:
        pytest.skip('other users cannot reach the build tree')


def as_user(user, code, *words):
    pw = pwd.getpwnam(user)
    return subprocess.run(['/usr/bin/python3', '-c', code, *words], user=pw.pw_uid, group=pw.pw_gid,
                          extra_groups=os.getgrouplist(user, pw.pw_gid), capture_output=True, text=True, timeout=20, cwd='/')


def processes(master):
    """The master and its children."""
    out = [master]
    for p in os.listdir('/proc'):
        try:
            with open('/proc/%s/stat' % p) as f:
                if int(f.read().rpartition(')')[2].split()[1]) == master:
                    out.append(int(p))
        except (OSError, ValueError):
            continue
    return out


@pytest.mark.parametrize('daemon', prov.DAEMONS)
def test_users_of_the_processes(province, daemon):
    want = pwd.getpwnam(OF[daemon])
    pids = processes(province.pid(daemon))
    assert len(pids) > 1 or daemon in ('stored', 'directoryd')
    for pid in pids:
        with open('/proc/%d/status' % pid) as f:
            s = dict(l.split(':\t', 1) for l in f.read().splitlines() if ':\t' in l)
        assert s['Uid'].split() == [str(want.pw_uid)] * 4
        assert s['Gid'].split() == [str(want.pw_gid)] * 4
        assert '0' not in s['Groups'].split()
        assert s['CapEff'].strip('0') == '' and s['CapPrm'].strip('0') == '' and s['NoNewPrivs'] == '1'
        assert s['Seccomp'] == '2', (daemon, pid)


LISTS = 'import os,sys\ntry: os.listdir(sys.argv[1])\nexcept PermissionError: sys.exit(13)'
READS = 'import sys\ntry: open(sys.argv[1], "rb").read(1)\nexcept PermissionError: sys.exit(13)'


def test_folders(province):
    for folder, reader in (('mail', 'provmail'), ('directory', 'provdir')):
        path = os.path.join(province.state, folder)
        assert os.stat(path).st_mode & 0o007 == 0
        for user in prov.USERS.values():
            assert as_user(user, LISTS, path).returncode == (0 if user == reader else 13), (folder, user)
    keys = os.path.join(province.state, 'keys')
    for user in ('provsmtp', 'provimap', 'provweb'):
        assert as_user(user, LISTS, keys).returncode == 13, user
    for name in os.listdir(keys):
        for user in ('provsmtp', 'provimap', 'provweb'):
            assert as_user(user, READS, os.path.join(keys, name)).returncode == 13
    for user in ('provmail', 'provsmtp', 'provimap', 'provweb'):  # passwords may be in it
        assert as_user(user, READS, province.ldif).returncode == 13, user


def test_files_of_the_store_are_its_own(province):
    uid = pwd.getpwnam('provmail').pw_uid
    for root, dirs, files in os.walk(os.path.join(province.state, 'mail')):
        for name in dirs + files:
            s = os.lstat(os.path.join(root, name))
            assert s.st_uid == uid and (s.st_mode & 0o007 == 0 or root != os.path.join(province.state, 'mail')), (root, name)


CONNECTS = ('import socket,sys\ns=socket.socket(socket.AF_UNIX)\ntry: s.connect(sys.argv[1])\n'
            'except PermissionError: sys.exit(13)\ns.settimeout(5)\nsys.exit(0 if s.recv(1) else 14)')
SOCKETS = {'store/deliver/sock': 'provsmtp', 'store/relay/sock': 'provsmtp', 'store/session/sock': 'provimap',
           'store/admin/sock': 'provmail', 'store/directory/sock': 'provdir', 'directory/smtp/sock': 'provsmtp',
           'directory/imap/sock': 'provimap', 'directory/user/sock': 'provweb'}


@pytest.mark.parametrize('name', SOCKETS)
def test_sockets_let_in_their_user_alone(province, name):
    path = province.socket_path(name)
    assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) & 0o077 == 0
    for user in list(prov.USERS.values()) + ['nobody']:
        r = as_user(user, CONNECTS, path)
        assert r.returncode == (0 if user == SOCKETS[name] else 13), (user, r.returncode, r.stderr)


@pytest.mark.parametrize('name', ['smtpd/webmail', 'imapd/webmail'])
def test_sockets_of_the_webmail(province, name):
    for user in ('provmail', 'provdir', 'nobody'):
        assert as_user(user, CONNECTS, province.socket_path(name)).returncode in (13, 14), user
    assert as_user('provweb', CONNECTS, province.socket_path(name)).returncode == 0


# A process that speaks the wire itself: hello, then one frame; prints the answer's status (4: denied).
RAW = '''
import socket, struct, sys
path, kind, body = sys.argv[1], int(sys.argv[2]), bytes.fromhex(sys.argv[3])
s = socket.socket(socket.AF_UNIX)
s.settimeout(5)
s.connect(path)
f = s.makefile("rb")
def frame(type, seq, body):
    return struct.pack("=IHBBQ", 16 + len(body), type, 0, 0, seq) + body
s.sendall(frame(0, 0, struct.pack("=I", 1)) + frame(kind, 7, body))
while True:
    head = f.read(16)
    if len(head) < 16:
        print("closed")
        break
    size, type, status, has_fd, seq = struct.unpack("=IHBBQ", head)
    f.read(size - 16)
    if seq == 7:
        print(status)
        break
'''
DENIED = '4'
ASK = struct.pack('=16sIIQ', bytes(16), 1, 0, 1)
LOGIN, LIST, STATUS, ROWS, READ, ACCOUNTS, REVOKE = 48, 50, 51, 58, 61, 80, 84


def raw(user, path, kind, body):
    r = as_user(user, RAW, path, str(kind), body.hex())
    assert r.returncode == 0, r.stderr
    return r.stdout.strip()


def test_frames_without_a_grant_are_refused(province):
    path = province.socket_path('store/session/sock')
    before = province.log('stored').count('store.frame.refused')
    for kind in (LIST, ROWS, READ, STATUS):
        assert raw('provimap', path, kind, ASK + bytes(64)) == DENIED, kind
    assert raw('provimap', path, LOGIN, ASK + bytes(200)) == DENIED
    assert province.log('stored').count('store.frame.refused') >= before + 4
    # A role cannot ask what is another's.
    for kind in (ACCOUNTS, REVOKE):
        assert raw('provimap', path, kind, ASK + bytes(64)) == DENIED
    for kind in (LIST, ROWS, READ, ACCOUNTS):
        assert raw('provsmtp', province.socket_path('store/deliver/sock'), kind, ASK + bytes(64)) == DENIED
    # What this test made stored say is no fault of the session's.
    province.expected = getattr(province, 'expected', ()) + ('store.frame.refused', 'store.login.refused', 'ipc.peer.refused')


def test_nonsense_on_the_wire_costs_only_its_connection(province, word):
    path = province.socket_path('store/session/sock')
    for kind, body in ((9999, ASK), (LIST, b''), (0x8000 | LIST, ASK), (LOGIN, ASK)):
        assert raw('provimap', path, kind, body) in ('closed', DENIED, '1')
    province.expected = getattr(province, 'expected', ()) + ('store.frame.malformed', 'ipc.dropped')
    province.send('khach@ngoai.example', 'an', prov.message('khach@ngoai.example', 'an@gialai.example', word))
    assert len(province.find('an', word)) == 1


@pytest.mark.parametrize('daemon', ['smtpd', 'imapd'])
def test_a_key_that_only_root_reads_is_told(province, daemon):
    """It serves until the next start; a renewed one could not be read by the user that the daemon has become."""
    assert re.search(r'tls.renewal.needs_restart file=\S*key.pem', province.log(daemon))
