"""mailadm supervise with stand-in daemons (order, restart, stop, a second one, a hopeless start), config and status."""
import fcntl
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

import pytest

TOP = os.environ.get('top_srcdir', os.path.join(os.path.dirname(__file__), '..', '..'))
BUILD = os.environ.get('top_builddir', os.path.join(TOP, 'build'))
MAILADM = os.path.join(BUILD, 'mailadm', 'mailadm')
NAMES = ['stored', 'directoryd', 'imapd', 'smtpd']

# Says what it does in a common file; takes the lock on its pid file as the daemons do.
FAKE = '''#!/usr/bin/python3
import fcntl, os, signal, socket, sys, time
name, dir = os.path.basename(sys.argv[0]), os.path.dirname(sys.argv[2])
def note(what):
    with open(dir + '/events', 'a') as f:
        f.write(what + ' ' + name + chr(10))
def stop(*_):
    note('stop')
    sys.exit(0)
if os.path.exists(dir + '/hopeless-' + name):
    sys.exit(78)
pid = open(dir + '/run/' + name + '.pid', 'w')
fcntl.lockf(pid, fcntl.LOCK_EX)
pid.write('%d' % os.getpid())
pid.flush()
signal.signal(signal.SIGTERM, stop)
note('start')
time.sleep(0.1)
note('ready')
address = os.environ['NOTIFY_SOCKET'].replace('@', chr(0), 1)
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.sendto(b'READY=1', address)
while True:
    signal.pause()
'''


class Super:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix='super-')
        self.conf = os.path.join(self.dir, 'provmail.conf')
        with open(self.conf, 'w') as f:
            f.write('domains = gialai.example\n')
        for name in NAMES:
            path = os.path.join(self.dir, name)
            with open(path, 'w') as f:
                f.write(FAKE)
            os.chmod(path, 0o755)

    def adm(self, *args):
        return subprocess.run([MAILADM, '--config', self.conf, *args], capture_output=True, text=True, timeout=20)

    def start(self):
        return self.adm('supervise', '--detach', '--programs', self.dir, '--also', 'web', 'exec sleep 600')

    def events(self):
        with open(os.path.join(self.dir, 'events')) as f:
            return f.read().split('\n')[:-1]

    def pid(self, name):
        with open(os.path.join(self.dir, 'run', name + '.pid')) as f:
            return int(f.read() or 0)

    def stop(self):
        try:
            with open(os.path.join(self.dir, 'run', 'supervise.pid')) as f:
                try:
                    fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return
                except BlockingIOError:
                    os.kill(int(f.read()), signal.SIGTERM)
                fcntl.flock(f, fcntl.LOCK_EX)
        except FileNotFoundError:
            pass


@pytest.fixture
def sup():
    s = Super()
    yield s
    s.stop()
    shutil.rmtree(s.dir)


def until(what, seconds=5):
    end = time.time() + seconds
    while not what():
        assert time.time() < end
        time.sleep(0.01)


def test_starts_in_order_and_stops_in_reverse(sup):
    assert sup.start().returncode == 0
    assert sup.events() == [w + n for n in NAMES for w in ('start ', 'ready ')]
    sup.stop()
    assert sup.events()[8:] == ['stop ' + n for n in reversed(NAMES)]


def test_a_killed_daemon_is_back_within_a_second(sup):
    assert sup.start().returncode == 0
    for name in NAMES:
        old, seen = sup.pid(name), sup.events().count('ready ' + name)
        os.kill(old, signal.SIGKILL)
        until(lambda: sup.events().count('ready ' + name) == seen + 1, 1)
        assert sup.pid(name) != old


def test_restarts_are_no_storm(sup):
    assert sup.start().returncode == 0
    with open(os.path.join(sup.dir, 'imapd'), 'w') as f:
        f.write('#!/bin/sh\necho start imapd >>"${2%/*}/events"\nexit 1\n')
    os.kill(sup.pid('imapd'), signal.SIGKILL)
    time.sleep(3)
    assert 5 <= sup.events().count('start imapd') <= 12


def test_is_single(sup):
    assert sup.start().returncode == 0
    second = sup.start()
    assert second.returncode == 75 and 'supervised already' in second.stderr


def test_a_hopeless_start_ends_all(sup):
    open(os.path.join(sup.dir, 'hopeless-imapd'), 'w').close()
    r = sup.start()
    assert r.returncode == 78 and 'imapd cannot start' in r.stderr
    until(lambda: 'stop stored' in sup.events())


def test_status(sup):
    assert sup.adm('status').returncode == 69
    assert sup.start().returncode == 0
    r = sup.adm('status', '--json')
    assert r.returncode == 0
    assert {d['name']: d['pid'] for d in json.loads(r.stdout)} == {n: sup.pid(n) for n in NAMES}


def test_config_check_reports_all_faults(sup):
    with open(sup.conf, 'w') as f:
        f.write('no_such = 1\nworkers = many\n')
    r = sup.adm('config', 'check')
    assert r.returncode == 78
    assert sup.conf + ':1:' in r.stdout and sup.conf + ':2:' in r.stdout
    with open(sup.conf, 'w') as f:
        f.write('directory_source = paper\nsmtp_listen = 127.0.0.1:25\nlmtp_listen = 127.0.0.1:25\n')
    faults = json.loads(sup.adm('config', 'check', '--json').stdout)
    for want in ('domains', 'tls_key', sup.conf + ':3: lmtp_listen', sup.conf + ':1: directory_source'):
        assert any(want in f for f in faults), want


def test_names_of_machine_and_domains(sup):
    """They stand in greetings and trace fields: "hostname = a b" was taken, by the daemons too."""
    for value in ('a b', '-', 'a..b', '.a', 'a.', 'a-', 'x' * 254, '"a\tb"', '<a>'):
        with open(sup.conf, 'w') as f:
            f.write('hostname = %s\ndomains = good.example %s\n' % (value, value.replace(' ', '/')))
        r = sup.adm('config', 'check')
        assert r.returncode == 78, value
        assert sup.conf + ':1: hostname: not a domain name' in r.stdout, (value, r.stdout)
        assert sup.conf + ':2:' in r.stdout, (value, r.stdout)


def test_units_of_systemd(sup):
    units = [os.path.join(os.environ.get('top_builddir', os.path.join(TOP, 'build')), 'conf', 'systemd', 'provmail-%s.service' % n)
             for n in ('stored', 'directoryd', 'imapd', 'smtpd')]
    for u in units:
        with open(u) as f:
            assert '@' not in f.read(), u


def test_config_check_of_a_good_file(sup):
    data = os.path.abspath(os.path.join(TOP, 'tests', 'data', 'tls'))
    open(os.path.join(sup.dir, 'directory.ldif'), 'w').close()
    with open(sup.conf, 'a') as f:
        f.write('tls_certificate = %s/test-cert.pem\ntls_key = %s/test-key.pem\n' % (data, data))
    r = sup.adm('config', 'check')
    assert (r.returncode, r.stdout) == (0, '')


def test_sample_is_accepted(sup):
    sample = sup.adm('config', 'sample').stdout
    with open(sup.conf, 'w') as f:
        f.write('\n'.join(line[1:] if line.startswith('#') and line[1:2] != ' ' else line for line in sample.split('\n')))
    faults = sup.adm('config', 'check').stdout.split('\n')[:-1]
    assert faults and not [f for f in faults if 'no option' in f or 'unknown' in f]


def test_help_of_each_subcommand(sup):
    for words in (['supervise'], ['status'], ['config', 'check'], ['config', 'sample'], ['config', 'man'], []):
        r = sup.adm(*words, '--help')
        assert r.returncode == 0 and r.stdout.startswith('usage: mailadm')
    assert sup.adm('nonsense').returncode == 64
    r = sup.adm('acount', 'list')
    assert r.returncode == 64 and r.stderr.startswith('mailadm: no subcommand acount list\n')
    r = sup.adm('account', 'list', '--jsn')
    assert r.returncode == 64 and '--jsn' in r.stderr
