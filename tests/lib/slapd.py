"""OpenLDAP for tests: with the sample people, or with ../shared's synthetic province of 9,000."""
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import time

TOP = os.path.abspath(os.environ.get('top_srcdir', os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..')))
PROVINCE = os.path.join(TOP, '../shared/province')
SUFFIX = 'dc=gialai,dc=example'
ROOT_PASSWORD = 'root-secret'


def two_ports():
    """A free port whose successor is free too; below those that the kernel gives to clients, so that it is still free when
    the server that had it is started again."""
    while True:
        port = random.randrange(30000, 32700, 2)
        try:
            with socket.create_server(('127.0.0.1', port)), socket.create_server(('127.0.0.1', port + 1)):
                return port
        except OSError:
            continue


class Slapd:
    def __init__(self, dir_, script, suffix, ca):
        self.dir, self.script, self.suffix, self.ca = str(dir_), script, suffix, ca
        self.port = two_ports()
        self.pid = None

    def start(self):
        with open(self.dir + '/start.out', 'w+') as out:
            r = subprocess.run(['bash', self.script, 'start', self.dir, str(self.port), TOP], stdout=out, stderr=out, timeout=60)
            out.seek(0)
            assert r.returncode == 0, out.read()
        self.pid = int(open(self.dir + '/slapd.pid').read())

    def kill(self, sig=signal.SIGKILL):
        if self.pid:
            os.kill(self.pid, sig)
            for _ in range(200):
                try:
                    socket.create_connection(('127.0.0.1', self.port), 1).close()
                except OSError:
                    break
                time.sleep(0.02)
        self.pid = None

    def freeze(self):
        """SIGSTOP, until all its threads have stopped."""
        os.kill(self.pid, signal.SIGSTOP)
        tasks = '/proc/%d/task' % self.pid

        def state(task):
            with open('%s/%s/stat' % (tasks, task)) as f:
                return f.read().rsplit(')', 1)[1].split()[0]
        end = time.monotonic() + 10
        while any(state(t) != 'T' for t in os.listdir(tasks)):
            assert time.monotonic() < end
            time.sleep(0.005)

    def change(self, ldif):
        """Changes as ldapmodify takes them, by the administrator."""
        r = subprocess.run(['ldapmodify', '-x', '-H', 'ldap://127.0.0.1:%d' % self.port, '-D', 'cn=admin,' + self.suffix, '-w',
                            ROOT_PASSWORD], input=ldif, capture_output=True, text=True, timeout=60)
        assert r.returncode == 0, r.stderr

    def config(self, **changes):
        conf = {'directory_source': 'ldap', 'ldap_uri': 'ldap://127.0.0.1:%d' % self.port, 'ldap_base': self.suffix,
                'ldap_bind_dn': 'cn=mailsync,ou=Services,' + self.suffix, 'ldap_ca_file': self.ca,
                'ldap_bind_password_file': self.dir + '/mailsync.password', 'ldap_timeout': '5s'}
        conf.update(changes)
        return conf


def make_sample(dir_, extra='', hashes=False):
    """Not started yet. hashes: the service account may read userPassword."""
    script = os.path.join(TOP, 'conf/sample/start-slapd.sh')
    dir_ = os.path.join(str(dir_), 'slapd')
    out = subprocess.run(['sh', script, 'make', dir_, TOP], capture_output=True, text=True, timeout=60)
    assert out.returncode == 0, out.stdout + out.stderr
    with open(dir_ + '/slapd.conf') as f:
        text = f.read()
    text = text.replace('\ndirectory ', '\nrootpw %s\ndirectory ' % ROOT_PASSWORD)
    if hashes:
        text = text.replace('  by self =xw', '  by dn.exact="cn=mailsync,ou=Services,%s" read\n  by self =xw' % SUFFIX)
    with open(dir_ + '/slapd.conf', 'w') as f:
        f.write(text + extra)
    return Slapd(dir_, script, SUFFIX, dir_ + '/tls/cert.pem')


def make_province(d):
    d = pathlib.Path(d)
    script = PROVINCE + '/start-slapd.sh'
    subprocess.run([sys.executable, PROVINCE + '/make-directory.py', '--out', str(d / 'in')], check=True,
                   stdout=subprocess.DEVNULL, timeout=120)
    slapd = str(d / 'slapd')
    for a in (['init', slapd, str(d / 'in/mailperson.schema')], ['load', slapd, str(d / 'in/province.ldif')]):
        subprocess.run(['bash', script] + a, check=True, timeout=120, capture_output=True)
    s = Slapd(slapd, script, 'dc=songlam,dc=example', slapd + '/tls/cert.pem')
    with open(slapd + '/mailsync.password', 'w') as f:
        f.write('mailsync-secret\n')
    s.people = [l.rstrip('\n').split('\t') for l in open(d / 'in/passwords.tsv')]
    s.entries = sum(l.startswith('dn:') for l in open(d / 'in/province.ldif')) - 3  # the root and two services
    return s
