"""The whole suite in a temporary folder: the four daemons under `mailadm supervise` (and lighttpd with the webmail), the
sample people or others, on ports from a free base. As root each daemon runs as its own user, made when it is missing."""
import contextlib
import fcntl
import imaplib
import json
import os
import pwd
import random
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import tempfile
import time

TOP = os.path.abspath(os.environ.get('top_srcdir', os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..')))
BUILD = os.path.abspath(os.environ.get('top_builddir', os.path.join(TOP, 'build')))
MAILADM = os.path.join(BUILD, 'mailadm', 'mailadm')
CGI = os.path.join(BUILD, 'webmail-cgi', 'webmail-cgi')
DAEMONS = ('stored', 'directoryd', 'imapd', 'smtpd')
PORTS = {'smtp': 25, 'lmtp': 24, 'submission': 587, 'submissions': 465, 'imap': 143, 'imaps': 993}
USERS = {'stored_user': 'provmail', 'directoryd_user': 'provdir', 'smtpd_user': 'provsmtp', 'imapd_user': 'provimap',
         'web_user': 'provweb'}
PASSWORD = 'thu-dien-tu'
# Everyone of conf/sample/directory.ldif.
PEOPLE = ('an', 'binh', 'cuong', 'dung', 'giang', 'hai', 'hbia', 'khanh', 'lan', 'minh', 'phuong', 'quy', 'uoc', 'yen')


def address(name):
    return name if '@' in name else name + '@gialai.example'


def context():
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.check_hostname = False
    c.verify_mode = ssl.CERT_NONE
    return c


def free_base():
    """A port base whose ports (and those of the web server and of slapd) nobody uses."""
    for _ in range(200):
        base = random.randrange(10000, 29000)
        try:
            with contextlib.ExitStack() as stack:
                for port in list(PORTS.values()) + [443, 80, 389, 390]:
                    s = stack.enter_context(socket.socket())
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    s.bind(('127.0.0.1', base + port))
            return base
        except OSError:
            continue
    raise RuntimeError('no free ports')


def make_users():
    """Whether the daemons can run as users of their own: only root can, and the users must reach the programs."""
    if os.geteuid() != 0:
        return False
    for user in USERS.values():
        try:
            pwd.getpwnam(user)
        except KeyError:
            subprocess.run(['useradd', '--system', '--user-group', '--no-create-home', '--home-dir', '/nonexistent',
                            '--shell', '/usr/sbin/nologin', user], check=True)
    web = pwd.getpwnam('provweb')
    return subprocess.run(['test', '-x', CGI], user=web.pw_uid, group=web.pw_gid, extra_groups=[]).returncode == 0


class Province:
    def __init__(self, options='', web=False, ldif=None, directory='directory_source = ldif\ndirectory_ldif = directory/people.ldif\n', workers=2,
                 domain='gialai.example', programs=None):
        self.programs = programs  # a folder with the daemons; None: those of the build
        self.state = tempfile.mkdtemp(prefix='province-')
        os.chmod(self.state, 0o755)
        self.own_users = make_users()
        self.port_base = free_base()
        self.web = web
        self.conf = os.path.join(self.state, 'provmail.conf')
        for d, user in (('run', None), ('log', None), ('tls', None), ('directory', 'provdir'), ('web', 'provweb')):
            os.mkdir(os.path.join(self.state, d))
            os.chmod(os.path.join(self.state, d), 0o755 if user is None else 0o750)
            self.own(d, user)
        for name in ('cert', 'key'):
            to = os.path.join(self.state, 'tls', name + '.pem')
            shutil.copy(os.path.join(TOP, 'tests', 'data', 'tls', 'test-%s.pem' % name), to)
            os.chmod(to, 0o644 if name == 'cert' else 0o600)
        self.ldif = os.path.join(self.state, 'directory', 'people.ldif')
        shutil.copy(ldif or os.path.join(TOP, 'conf', 'sample', 'directory.ldif'), self.ldif)
        os.chmod(self.ldif, 0o600)
        self.own('directory/people.ldif', 'provdir')
        with open(self.conf, 'w') as f:
            f.write('hostname = mail.%s\ndomains = %s\nworkers = %d\n' % (domain, domain, workers))
            f.writelines('%s_listen = 127.0.0.1:%d\n' % (name, self.port(name)) for name in PORTS)
            f.write(directory + options)
            if os.geteuid() == 0 and not self.own_users:
                f.writelines('%s = root\n' % o for o in USERS)
        try:
            self.start()
        except Exception:
            self.close()
            raise

    def own(self, name, user):
        if self.own_users and user:
            shutil.chown(os.path.join(self.state, name), user, user)

    def port(self, name):
        return self.port_base + PORTS[name]

    # -- processes --

    def web_conf(self):
        with open(os.path.join(TOP, 'conf', 'lighttpd.conf.in')) as f:
            text = f.read()
        users = 'server.username = "provweb"\nserver.groupname = "provweb"' if self.own_users else ''
        for word, value in {'ADDRESS': '127.0.0.1', 'HTTPS_PORT': self.port_base + 443, 'HTTP_PORT': self.port_base + 80,
                            'CERT': self.state + '/tls/cert.pem', 'KEY': self.state + '/tls/key.pem', 'CGI': CGI,
                            'STATIC': TOP + '/webmail-cgi/static', 'CONF': self.conf, 'LOG_DIR': self.state + '/log',
                            'RUN_DIR': self.state + '/run', 'TMP_DIR': self.state + '/web', 'USER_LINES': users}.items():
            text = text.replace('@%s@' % word, str(value))
        for name in ('lighttpd.log', 'lighttpd-access.log', 'webmail.log'):  # it opens them as its own user
            open(os.path.join(self.state, 'log', name), 'a').close()
            self.own('log/' + name, 'provweb')
        path = os.path.join(self.state, 'lighttpd.conf')
        with open(path, 'w') as f:
            f.write(text)
        return path

    def start(self):
        words = ['supervise', '--detach'] + (['--programs', self.programs] if self.programs else [])
        if self.web:
            words += ['--also', 'web', "exec lighttpd -D -f '%s'" % self.web_conf()]
        env = dict(os.environ, PATH=os.environ.get('PATH', '') + ':/usr/sbin')
        r = subprocess.run([MAILADM, '--config', self.conf, *words], env=env, capture_output=True, text=True, timeout=60)
        assert r.returncode == 0, (r.returncode, r.stderr, self.tail())
        if self.web:
            until(lambda: reachable(self.port_base + 443), 10)

    def stop(self):
        try:
            with open(os.path.join(self.state, 'run', 'supervise.pid')) as f:
                try:
                    fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    os.kill(int(f.read()), signal.SIGTERM)
                    fcntl.flock(f, fcntl.LOCK_EX)
        except FileNotFoundError:
            pass

    def close(self):
        self.stop()
        if os.environ.get('PROVINCE_KEEP'):
            print('kept:', self.state)
        else:
            shutil.rmtree(self.state, ignore_errors=True)

    def pid(self, daemon):
        try:
            with open(os.path.join(self.state, 'run', daemon + '.pid')) as f:
                return int(f.read() or 0)
        except (FileNotFoundError, ValueError):
            return 0

    def kill(self, daemon, sig=signal.SIGKILL):
        """Kill it; answers the old process id."""
        pid = self.pid(daemon)
        assert pid > 0
        os.kill(pid, sig)
        return pid

    def socket_path(self, name):
        return os.path.join(self.state, 'run', name)

    def answers(self, daemon):
        """Does it say its first word to who connects?"""
        try:
            if daemon in ('stored', 'directoryd'):
                s = socket.socket(socket.AF_UNIX)
                s.settimeout(1)
                s.connect(self.socket_path('store/deliver/sock' if daemon == 'stored' else 'directory/smtp/sock'))
                good = 1
            else:
                s = socket.create_connection(('127.0.0.1', self.port('smtp' if daemon == 'smtpd' else 'imap')), timeout=1)
                good = 4
            with s:
                return s.recv(100)[:good] in (b'220 ', b'* OK') or good == 1
        except OSError:
            return False

    def wait_ready(self, daemon, old=0, seconds=10):
        """Until another process than old answers; answers the seconds that it took."""
        begin = time.monotonic()
        while not (self.pid(daemon) not in (0, old) and self.answers(daemon)):
            assert time.monotonic() - begin < seconds, (daemon, self.tail(daemon))
            time.sleep(0.005)
        return time.monotonic() - begin

    def log(self, name):
        try:
            with open(os.path.join(self.state, 'log', name + '.log'), errors='replace') as f:
                return f.read()
        except FileNotFoundError:
            return ''

    def logs(self):
        return {n[:-4]: self.log(n[:-4]) for n in sorted(os.listdir(os.path.join(self.state, 'log')))}

    def tail(self, name=None, lines=15):
        return {n: '\n'.join(t.split('\n')[-lines:]) for n, t in self.logs().items() if name in (None, n)}

    def alarms(self):
        return [l for t in self.logs().values() for l in t.split('\n') if ' alarm ' in l[:60] or ' error ' in l[:60]]

    def adm(self, *words, check=True):
        r = subprocess.run([MAILADM, '--config', self.conf, *words], capture_output=True, text=True, timeout=60)
        assert not check or r.returncode == 0, (words, r.returncode, r.stdout, r.stderr)
        return r

    def adm_json(self, *words):
        return json.loads(self.adm(*words, '--json').stdout)

    # -- clients --

    def smtp(self, tls=False):
        c = smtplib.SMTP('127.0.0.1', self.port('smtp'), 'client.example', timeout=30)
        if tls:
            c.starttls(context=context())
        return c

    def lmtp(self):
        return smtplib.LMTP('127.0.0.1', self.port('lmtp'), 'client.example')

    def submission(self, user=None, port='submissions', password=PASSWORD):
        if port == 'submissions':
            c = smtplib.SMTP_SSL('127.0.0.1', self.port(port), 'client.example', timeout=30, context=context())
        else:
            c = smtplib.SMTP('127.0.0.1', self.port(port), 'client.example', timeout=30)
            c.starttls(context=context())
        if user:
            c.login(address(user), password)
        return c

    def imap(self, user, password=PASSWORD, select=None):
        c = imaplib.IMAP4_SSL('127.0.0.1', self.port('imaps'), ssl_context=context(), timeout=30)
        c.login(address(user), password)
        if select:
            assert c.select(select)[0] == 'OK'
        return c

    def send(self, sender, to, message, user=None):
        """One message, by submission when user is given; answers the text of the 250."""
        to = [address(t) for t in ([to] if isinstance(to, str) else to)]
        with (self.submission(user) if user else self.smtp()) as c:
            c.ehlo_or_helo_if_needed()
            code, text = c.mail(sender, ['SIZE=%d' % len(message)])
            assert code == 250, (code, text)
            for t in to:
                code, text = c.rcpt(t)
                assert code == 250, (t, code, text)
            code, text = c.data(message)
            assert code == 250, (code, text)
            return text.decode()

    def find(self, user, subject, box='INBOX'):
        """The messages with that word in the subject, as bytes."""
        c = self.imap(user, select=box)
        found = c.uid('SEARCH', None, 'SUBJECT', '"%s"' % subject)[1][0].split()
        got = [c.uid('FETCH', uid, '(BODY.PEEK[])')[1][0][1] for uid in found]
        c.logout()
        return got


def message(sender, to, subject, text='nội dung thư\n', extra='', number=None):
    """A small message with CRLF; subject is ASCII."""
    return ('From: %s\r\nTo: %s\r\nSubject: %s\r\nDate: Tue, 24 Nov 2026 10:00:00 +0700\r\nMessage-ID: <%s@client.example>\r\n'
            '%sMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n%s'
            % (sender, to, subject, number or '%s.%d' % (subject.replace(' ', '.'), random.getrandbits(48)), extra,
               text.replace('\n', '\r\n'))).encode()


def body_after_trace(got, sent):
    """The fields that stand before what was sent; None: it does not end with what was sent."""
    return got[:-len(sent)].decode() if got.endswith(sent) else None


def reachable(port):
    try:
        socket.create_connection(('127.0.0.1', port), timeout=1).close()
        return True
    except OSError:
        return False


def until(what, seconds=5):
    end = time.monotonic() + seconds
    while True:
        got = what()
        if got:
            return got
        assert time.monotonic() < end, 'not in time'
        time.sleep(0.02)


def built():
    """Why the suite cannot be started, or None."""
    for p in (MAILADM, CGI, BUILD + '/stored', BUILD + '/imapd/imapd', BUILD + '/smtpd/smtpd'):
        if not os.access(p, os.X_OK):
            return '%s is not built' % os.path.relpath(p, BUILD)
    return None
