"""Masters and workers of common/net, by the toy daemon: births and deaths, rollover, ports, sandbox, users."""
import os
import pwd
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

import pytest

TOP = os.environ.get('top_srcdir', os.path.join(os.path.dirname(__file__), '..', '..'))
BUILD = os.environ.get('top_builddir', os.path.join(TOP, 'build'))
TOYD = os.path.join(BUILD, 'tests', 'lib', 'toyd')
sys.path.insert(0, os.path.join(TOP, 'tests', 'wire'))
import run as wire  # noqa: E402


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class Toy:
    """A folder with a configuration; the keeper and the master as children of the test."""

    def __init__(self, workers=2):
        self.dir = tempfile.mkdtemp(prefix='toyd-')
        os.chmod(self.dir, 0o755)
        self.plain, self.tls = free_port(), free_port()
        for name in ('cert', 'key'):
            shutil.copy(os.path.join(TOP, 'tests', 'data', 'tls', 'test-%s.pem' % name), self.dir)
            os.chmod(os.path.join(self.dir, 'test-%s.pem' % name), 0o644)
        self.conf = os.path.join(self.dir, 'toy.conf')
        with open(self.conf, 'w') as f:
            f.write('lmtp_listen = 127.0.0.1:%d\nimaps_listen = 127.0.0.1:%d\nworkers = %d\n'
                    'tls_certificate = test-cert.pem\ntls_key = test-key.pem\n'
                    'smtpd_user = nobody\nstored_user = games\nweb_user = man\n' % (self.plain, self.tls, workers))
        self.children = []

    def start(self, *words, wait=True):
        """Start a process; with wait it must say READY=1 as to systemd."""
        path = os.path.join(self.dir, 'notify')
        n = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        if os.path.exists(path):
            os.unlink(path)
        n.bind(path)
        n.settimeout(10)
        p = subprocess.Popen([TOYD, *words, '--config', self.conf], stderr=subprocess.PIPE,
                             env=dict(os.environ, NOTIFY_SOCKET=path))
        self.children.append(p)
        if wait:
            assert n.recv(100) == b'READY=1'
        n.close()
        return p

    def log(self, name='toyd'):
        with open(os.path.join(self.dir, 'log', name + '.log')) as f:
            return f.read()

    def wait_log(self, pattern, seconds=5):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            m = re.search(pattern, self.log())
            if m:
                return m
            time.sleep(0.02)
        raise AssertionError('no %s in\n%s' % (pattern, self.log()))

    def connect(self, port=None, seconds=5):
        s = socket.create_connection(('127.0.0.1', port or self.plain), timeout=seconds)
        s.settimeout(seconds)
        return s

    def ask(self, text, s=None):
        own = s is None
        s = s or self.connect()
        s.sendall(text.encode() + b'\r\n')
        got = b''
        while not got.endswith(b'\r\n'):
            piece = s.recv(1000)
            if not piece:
                break
            got += piece
        if own:
            s.close()
        return got.decode().strip()

    def close(self):
        for p in self.children:
            if p.poll() is None:
                p.terminate()
        for p in self.children:
            try:
                p.wait(10)
            except subprocess.TimeoutExpired:
                p.kill()
            p.stderr.close()
        shutil.rmtree(self.dir)


@pytest.fixture
def toy():
    t = Toy()
    yield t
    t.close()


@pytest.fixture
def running(toy):
    toy.back = toy.start('back')
    toy.master = toy.start()
    return toy


def gone(pid, seconds=5):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with open('/proc/%d/stat' % pid) as f:
                if f.read().rsplit(')', 1)[1].split()[0] == 'Z':
                    return True
        except FileNotFoundError:
            return True
        time.sleep(0.01)
    return False


def test_dialogues(running):
    faults = wire.run([os.path.join(TOP, 'tests', 'wire', 'toy')], port=running.plain)
    assert not faults


def test_implicit_tls(running):
    c = ssl.create_default_context(cafile=os.path.join(running.dir, 'test-cert.pem'))
    s = c.wrap_socket(running.connect(running.tls), server_hostname='localhost')
    assert s.version() == 'TLSv1.3'
    assert running.ask('hello', s) == 'hello'
    assert running.ask('ASK through', s) == 'through'
    s.close()
    old = ssl.create_default_context()
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers('ALL:@SECLEVEL=0')
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        old.wrap_socket(running.connect(running.tls))


def test_load_spreads(running):
    held, pids = [], []
    for _ in range(40):  # each is taken before the next comes: no worker lies behind, and they take turns
        held.append(running.connect())
        pids.append(running.ask('PID', held[-1]))
    counts = {p: pids.count(p) for p in pids}
    assert len(counts) == 2 and min(counts.values()) >= 15, counts


def test_a_killed_worker_is_replaced(running):
    s = running.connect()
    pid = int(running.ask('PID', s))
    os.kill(pid, signal.SIGKILL)
    assert s.recv(10) == b''
    running.wait_log(r'worker.killed kind=session worker=%d signal=9' % pid)
    time.sleep(0.2)
    pids = {running.ask('PID') for _ in range(10)}
    assert len(pids) == 2 and str(pid) not in pids


def test_restart_after_kill_of_the_master(running):
    held = [running.connect() for _ in range(6)]
    workers = {int(running.ask('PID', s)) for s in held}
    running.master.kill()
    running.master.wait()
    begin = time.monotonic()
    running.start()
    assert running.ask('hello') == 'hello'
    assert time.monotonic() - begin < 1
    assert all(gone(w, 1) for w in workers)


def test_no_second_instance(running):
    p = running.start(wait=False)
    assert p.wait(5) == os.EX_TEMPFAIL
    assert 'another instance is running' in p.stderr.read().decode()


def test_rollover(running):
    s = running.connect()
    old = running.ask('PID', s)
    stop = threading.Event()
    faults = []

    def load():
        while not stop.is_set():
            try:
                assert running.ask('x') == 'x'
            except Exception as e:  # noqa: B902
                faults.append(e)
    t = threading.Thread(target=load)
    t.start()
    for _ in range(3):
        running.master.send_signal(signal.SIGHUP)
        time.sleep(0.3)
    stop.set()
    t.join()
    assert not faults
    assert running.ask('PID', s) == old  # its session goes on
    assert old not in {running.ask('PID') for _ in range(10)}
    s.close()
    running.wait_log(r'worker.finished kind=session worker=%s' % old)


def test_rollover_takes_a_new_certificate_and_keeps_a_good_one(running):
    def serial():
        c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
        s = c.wrap_socket(running.connect(running.tls))
        with s:
            return s.getpeercert(True)
    first = serial()
    cert, key = (os.path.join(running.dir, 'test-%s.pem' % n) for n in ('cert', 'key'))
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
                    '-keyout', key, '-out', cert, '-days', '2', '-subj', '/CN=localhost'], check=True,
                   stderr=subprocess.DEVNULL)
    os.chmod(key, 0o644)
    running.master.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    second = serial()
    assert second != first
    with open(key, 'w') as f:
        f.write('no key at all\n')
    running.master.send_signal(signal.SIGHUP)
    running.wait_log('tls.certificate.kept')
    time.sleep(0.3)
    assert serial() == second


def test_a_bad_configuration_is_not_taken(running):
    with open(running.conf, 'a') as f:
        f.write('no_such_option = 1\n')
    running.master.send_signal(signal.SIGHUP)
    running.wait_log('daemon.configuration.refused.*no_such_option')
    assert running.ask('hello') == 'hello'
    p = subprocess.run([TOYD, '--config', running.conf, '--check'], stderr=subprocess.PIPE)
    assert p.returncode == os.EX_CONFIG and b'toy.conf:' in p.stderr


def test_stop_finishes(running):
    s = running.connect()
    assert running.ask('x', s) == 'x'
    begin = time.monotonic()
    running.master.terminate()
    time.sleep(0.2)
    with pytest.raises(ConnectionRefusedError):
        running.connect()
    assert running.ask('last', s) == 'last'
    s.close()
    assert running.master.wait(5) == 0
    assert time.monotonic() - begin < 4
    assert open(os.path.join(running.dir, 'run', 'toyd.pid')).read() == ''


def test_stop_is_bounded(running):
    s = running.connect()
    assert running.ask('x', s) == 'x'
    running.master.terminate()
    assert running.master.wait(8) == 0
    assert s.recv(10) == b''


def test_the_keeper_comes_back(running):
    s = running.connect()
    assert running.ask('ASK one', s) == 'one'
    running.back.kill()
    running.back.wait()
    time.sleep(0.5)
    assert running.ask('ASK two', s) == 'no keeper'
    running.start('back')
    end = time.monotonic() + 10
    while (said := running.ask('ASK three', s)) == 'no keeper':  # until the worker has met it
        assert time.monotonic() < end
        time.sleep(0.05)
    assert said == 'three'


@pytest.mark.parametrize('call', ['OPEN', 'CONNECT', 'EXEC'])
def test_a_forbidden_call_ends_the_worker(running, call):
    s = running.connect()
    pid = running.ask('PID', s)
    assert running.ask(call, s) == ''
    running.wait_log(r'alarm toyd\[%d\] worker.sandbox.violated kind=session worker=%s signal=SIGSYS'
                     % (running.master.pid, pid))
    time.sleep(0.2)
    assert running.ask('hello') == 'hello'


def status(pid):
    with open('/proc/%d/status' % pid) as f:
        return dict(line.split(':\t', 1) for line in f.read().splitlines() if ':\t' in line)


@pytest.mark.skipif(os.geteuid() != 0, reason='users are changed by root only')
def test_users(running):
    nobody, games = pwd.getpwnam('nobody'), pwd.getpwnam('games')
    worker = int(running.ask('PID'))
    for pid, user in ((running.master.pid, nobody), (worker, nobody), (running.back.pid, games)):
        s = status(pid)
        assert s['Uid'].split() == [str(user.pw_uid)] * 4
        assert s['Gid'].split() == [str(user.pw_gid)] * 4
        assert '0' not in s['Groups'].split()
        assert s['CapEff'].strip('0') == '' and s['NoNewPrivs'] == '1'
    # The keeper's socket lets in its clients' user and nobody else's.
    path = os.path.join(running.dir, 'run', 'back', 'sock')
    code = 'import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])'
    for user, good in ((nobody, True), (pwd.getpwnam('daemon'), False)):
        p = subprocess.run(['/usr/bin/python3', '-c', code, path], user=user.pw_uid, group=user.pw_gid,
                           extra_groups=[], stderr=subprocess.PIPE)
        assert (p.returncode == 0) == good, p.stderr


def test_local_socket(running):
    path = os.path.join(running.dir, 'run', 'toyd', 'local')
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(5)
    s.connect(path)
    assert running.ask('hello', s) == 'hello'
    s.close()
    if os.geteuid() != 0:
        return
    code = ('import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\ns.sendall(b"hello\\r\\n")\n'
            'sys.exit(s.recv(10) != b"hello\\r\\n")')
    for user, good in (('man', True), ('nobody', True), ('daemon', False)):
        pw = pwd.getpwnam(user)
        p = subprocess.run(['/usr/bin/python3', '-c', code, path], user=pw.pw_uid, group=pw.pw_gid, extra_groups=[],
                           stderr=subprocess.PIPE)
        assert (p.returncode == 0) == good, (user, p.stderr)
    # The web server's user may use its socket and not put another in its place.
    assert os.stat(os.path.dirname(path)).st_uid == pwd.getpwnam('nobody').pw_uid


def test_filters_are_on(running):
    for pid in (running.master.pid, running.back.pid, int(running.ask('PID'))):
        assert status(pid)['Seccomp'] == '2'


def test_readers_that_do_not_read_cost_no_one(running):
    deaf = running.connect()
    deaf.settimeout(1)
    try:
        for _ in range(200):
            deaf.sendall(b'y' * 60000 + b'\r\n')
    except (socket.timeout, TimeoutError):
        pass
    assert running.ask('hello') == 'hello'
    deaf.close()
