"""stored and imapd as processes of their own in a temporary folder, for tests and load programs. Logins are those of
tests/lib/fake_directory.c (imapd_nodir): any address, password "thu-dien-tu"."""
import os
import shutil
import socket
import subprocess
import tempfile
import time

TOP = os.environ.get('top_srcdir', os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..'))
BUILD = os.environ.get('top_builddir', os.path.join(TOP, 'build'))


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class Imapd:
    def __init__(self, workers=2, options=''):
        self.dir = tempfile.mkdtemp(prefix='imapd-')
        os.chmod(self.dir, 0o755)
        self.port, self.tls_port = free_port(), free_port()
        for name in ('cert', 'key'):
            shutil.copy(os.path.join(TOP, 'tests', 'data', 'tls', 'test-%s.pem' % name), self.dir)
        self.conf = os.path.join(self.dir, 'provmail.conf')
        user = 'root' if os.getuid() == 0 else ''
        with open(self.conf, 'w') as f:
            f.write('imap_listen = 127.0.0.1:%d\nimaps_listen = 127.0.0.1:%d\nworkers = %d\nlog_dir = ""\n'
                    'tls_certificate = test-cert.pem\ntls_key = test-key.pem\nauth_plaintext_without_tls = yes\n'
                    % (self.port, self.tls_port, workers) + options)
            for o in ('stored_user', 'imapd_user', 'smtpd_user', 'directoryd_user', 'web_user') if user else ():
                f.write('%s = %s\n' % (o, user))
        self.log = open(os.path.join(self.dir, 'log'), 'wb')
        self.children = {}
        self.start('stored')
        self.start('imapd')

    def start(self, name):
        """Start a daemon and wait until it is ready, as systemd does."""
        program = os.path.join(BUILD, 'stored' if name == 'stored' else 'tests/lib/imapd_nodir')
        path = os.path.join(self.dir, 'notify')
        n = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        if os.path.exists(path):
            os.unlink(path)
        n.bind(path)
        n.settimeout(15)
        self.children[name] = subprocess.Popen([program, '--config', self.conf], stderr=self.log,
                                               env=dict(os.environ, NOTIFY_SOCKET=path))
        try:
            while b'READY=1' not in n.recv(200):
                pass
        finally:
            n.close()

    def kill(self, name):
        p = self.children.pop(name)
        p.kill()
        p.wait()

    def close(self):
        for name in ('imapd', 'stored'):
            p = self.children.pop(name, None)
            if p:
                p.terminate()
                try:
                    p.wait(8)
                except subprocess.TimeoutExpired:
                    p.kill()
                    p.wait()
        self.log.close()
        with open(os.path.join(self.dir, 'log')) as f:
            text = f.read()
        shutil.rmtree(self.dir, ignore_errors=True)
        return text
