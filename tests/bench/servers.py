"""The two sides of the benchmark, each in a folder and on ports of its own, on 127.0.0.1: `Ours` is the suite as
tests/lib/province.py starts it; `Theirs` is Debian's Postfix with Dovecot's LMTP, sdbox and IMAP, with private
configuration. Both have the same people: u00000 .. in units of 35, which are groups, all of them in the group `all`.

What is asked of Dovecot: mail_fsync=optimized, its default (a message is synced before its 250; `always` would sync
indexes too). Postfix syncs its queue file before its 250 as it always does. No TLS on either side, both write logs."""
import base64
import datetime
import hashlib
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

TOP = os.path.abspath(os.environ.get('top_srcdir', os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..')))
sys.path.insert(0, os.path.join(TOP, 'tests', 'lib'))
import province  # noqa: E402

DOMAIN = 'bench.example'
PASSWORD = 'thu-dien-tu'
UNIT = 35
TICK = os.sysconf('SC_CLK_TCK')
PACKAGES = ('postfix', 'dovecot-core', 'dovecot-imapd', 'dovecot-lmtpd')


def person(i):
    return 'u%05d' % i


def address(i):
    return '%s@%s' % (person(i), DOMAIN)


# -- what processes cost --

def processes():
    """{pid: (parent, ticks of it and of its reaped children, resident pages)}"""
    all_of = {}
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open('/proc/%s/stat' % pid) as f:
                v = f.read().rsplit(')', 1)[1].split()
            all_of[int(pid)] = (int(v[1]), sum(map(int, v[11:15])), int(v[21]))
        except (OSError, IndexError):
            continue
    return all_of


def family(roots):
    """The processes of these pids and of all their descendants."""
    every = processes()
    mine = {p for p in roots if p in every}
    grown = True
    while grown:
        more = {p for p, v in every.items() if v[0] in mine} - mine
        grown = bool(more)
        mine |= more
    return {p: every[p] for p in mine}


def cpu_seconds(roots):
    return sum(v[1] for v in family(roots).values()) / TICK


def kill_family(roots):
    """All of them with SIGKILL; the masters stand still first, so that none is made meanwhile."""
    for sig in (signal.SIGSTOP, signal.SIGKILL):
        for pid in roots if sig == signal.SIGSTOP else family(roots):
            try:
                os.kill(pid, sig)
            except ProcessLookupError:
                pass


def disk_bytes(folder, skip=lambda name: False):
    """Bytes that a folder takes, each hard link once."""
    seen, total = set(), 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                st = os.lstat(os.path.join(where, name))
            except OSError:
                continue
            if (st.st_dev, st.st_ino) not in seen and not skip(name):
                seen.add((st.st_dev, st.st_ino))
                total += st.st_blocks * 512
    return total


def wait_port(port, seconds=30):
    end = time.monotonic() + seconds
    while True:
        try:
            with socket.create_connection(('127.0.0.1', port), timeout=5) as s:
                s.settimeout(5)
                if s.recv(100):
                    return
        except OSError:
            pass
        if time.monotonic() > end:
            raise RuntimeError('nothing answers on port %d' % port)
        time.sleep(0.005)


# -- ours --

def ldif(people):
    """A directory: everyone with the same password, in units of 35; a group for each unit, and one of all groups."""
    suffix = 'dc=bench,dc=example'
    salt = b'bench'
    secret = '{SSHA}' + base64.b64encode(hashlib.sha1(PASSWORD.encode() + salt).digest() + salt).decode()
    out = ['dn: %s\nobjectClass: top\nobjectClass: dcObject\nobjectClass: organization\ndc: bench\no: Bench\n' % suffix]
    for ou in ('People', 'Groups'):
        out.append('dn: ou=%s,%s\nobjectClass: organizationalUnit\nou: %s\n' % (ou, suffix, ou))
    for i in range(people):
        out.append('dn: uid=%s,ou=People,%s\nobjectClass: inetOrgPerson\nobjectClass: mailPerson\nuid: %s\ncn: Nguoi %d\nsn: %d\n'
                   'mail: %s\nmailAccountStatus: active\nuserPassword: %s\n' % (person(i), suffix, person(i), i, i, address(i), secret))

    def group(name, members):
        out.append('dn: cn=%s,ou=Groups,%s\nobjectClass: groupOfNames\nobjectClass: mailGroup\ncn: %s\nmail: %s@%s\n%s' %
                   (name, suffix, name, name, DOMAIN, ''.join('member: %s\n' % m for m in members)))

    units = range(0, people, UNIT)
    for u in units:
        group('unit%d' % (u // UNIT), ['uid=%s,ou=People,%s' % (person(i), suffix) for i in range(u, min(u + UNIT, people))])
    group('all', ['cn=unit%d,ou=Groups,%s' % (u // UNIT, suffix) for u in units])
    return 'version: 1\n\n' + '\n'.join(out)


class Ours:
    name = 'provmail'

    def __init__(self, people, options='', workers=2):
        self.people = people
        with tempfile.NamedTemporaryFile('w', suffix='.ldif') as f:
            f.write(ldif(people))
            f.flush()
            self.p = province.Province('auth_plaintext_without_tls = yes\nrecipients_limit = 20000\nconnection_limit_per_peer = 1000\n' + options,
                                       ldif=f.name, workers=workers, domain=DOMAIN)
        self.smtp, self.lmtp, self.imap = (self.p.port(x) for x in ('smtp', 'lmtp', 'imap'))
        self.submission = self.p.port('submission')
        self.mail = os.path.join(self.p.state, 'mail')

    def roots(self):
        return [self.p.pid(d) for d in province.DAEMONS]

    def pid(self, daemon):
        return self.p.pid(daemon)

    def settled(self):
        """A 250 of a direct recipient is a message in its mailbox."""
        return True

    def last_filed(self, got, grouped):
        """When the last mailbox had it (CLOCK_MONOTONIC): a group, and more than 300 recipients, are filed after the 250, by a
        delivery worker."""
        if not grouped:
            return got['answered_at']
        wall = time.time() - time.monotonic()
        end = time.monotonic() + 120
        while time.monotonic() < end:
            for at in re.findall(r'^(\S+)Z info \S+ delivery.finished ', self.p.log('smtpd'), re.M)[-1:]:
                mono = datetime.datetime.fromisoformat(at + '+00:00').timestamp() - wall
                if mono > got['dot_at'] - 0.002:
                    return mono
            time.sleep(0.02)
        raise RuntimeError('the group is not filed')

    def store_bytes(self):
        """(databases and segments, logs of the database and the journal of its pages, which is written over by each
        checkpoint); after the care thread has written what was in memory."""
        time.sleep(3)
        logs = disk_bytes(os.path.join(self.mail, 'db'), lambda n: not n.startswith('log.'))
        logs += disk_bytes(self.mail, lambda n: n != 'pages')
        return disk_bytes(self.mail, lambda n: n == 'ballast') - logs, logs

    def kill(self):
        kill_family([self.p.pid('supervise')] + self.roots())

    def start(self):
        self.p.start()

    def stop(self):
        self.p.stop()

    def close(self):
        self.p.close()


# -- theirs --

POSTFIX = '''compatibility_level = 3.6
queue_directory = {d}/queue
data_directory = {d}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = {d}/log/mail.log
maillog_file_prefixes = {d}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
myhostname = mail.{domain}
mydestination =
alias_maps =
alias_database =
local_recipient_maps =
virtual_mailbox_domains = {domain}
virtual_mailbox_maps = static:ok
virtual_alias_maps = texthash:{d}/aliases
virtual_alias_expansion_limit = 20000
virtual_transport = lmtp:unix:{d}/dovecot/lmtp
smtpd_recipient_limit = 20000
smtpd_recipient_overshoot_limit = 20000
message_size_limit = 104857600
mailbox_size_limit = 0
default_process_limit = 120
'''

MASTER = '''127.0.0.1:{smtp} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
'''

DOVECOT = '''base_dir = {d}/dovecot
state_dir = {d}/dovecot-state
log_path = {d}/log/dovecot.log
listen = 127.0.0.1
protocols = imap lmtp
ssl = no
disable_plaintext_auth = no
mail_location = sdbox:~/mail
mail_fsync = {fsync}
mail_uid = {user}
mail_gid = {user}
first_valid_uid = 1
default_vsz_limit = 1G
default_client_limit = 4000
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={user} gid={user} home={d}/mail/%n allow_all_users=yes
}}
service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
  service_count = 0
  process_min_avail = 2
}}
service imap {{
  process_limit = 1000
}}
service lmtp {{
  inet_listener lmtp {{
    port = {lmtp}
  }}
  unix_listener lmtp {{
    mode = 0666
  }}
  process_min_avail = 2
  process_limit = 200
}}
protocol lmtp {{
  auth_username_format = %n
}}
mailbox_list_index = yes
'''


def installed():
    return all(os.path.exists(p) for p in ('/usr/sbin/postfix', '/usr/sbin/dovecot', '/usr/lib/dovecot/lmtp', '/usr/lib/dovecot/imap'))


def install():
    """Postfix and Dovecot from Debian; their services are not started, nor left to start by themselves."""
    if installed():
        return
    sudo = [] if os.geteuid() == 0 else ['sudo']
    print('bench: installing %s (apt-get%s); their own services stay off' % (' '.join(PACKAGES), ' with sudo' if sudo else ''), flush=True)
    policy = '/usr/sbin/policy-rc.d'
    ours = not os.path.exists(policy)
    try:
        if ours:
            subprocess.run(sudo + ['sh', '-c', 'printf "#!/bin/sh\\nexit 101\\n" >%s; chmod 755 %s' % (policy, policy)], check=True)
        subprocess.run(sudo + ['apt-get', 'update', '-q'], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(sudo + ['env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', 'install', '-y', '-q', '--no-install-recommends', *PACKAGES],
                       check=True, stdout=subprocess.DEVNULL)
    finally:
        if ours:
            subprocess.run(sudo + ['rm', '-f', policy])
    if os.path.isdir('/run/systemd/system'):
        subprocess.run(sudo + ['systemctl', 'disable', '--now', 'postfix', 'dovecot'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Theirs:
    name = 'Postfix+Dovecot'

    def __init__(self, people, fsync='optimized'):
        self.people = people
        self.d = tempfile.mkdtemp(prefix='peers-')
        os.chmod(self.d, 0o755)
        user = 'mail'
        base = province.free_base()
        self.smtp, self.lmtp, self.imap = base + 25, base + 24, base + 143
        self.submission = self.smtp
        self.mail = os.path.join(self.d, 'mail')
        for name in ('queue', 'data', 'log', 'dovecot', 'dovecot-state', 'mail', 'etc'):
            os.mkdir(os.path.join(self.d, name))
        owner = pwd.getpwnam('postfix')
        os.chown(self.d + '/data', owner.pw_uid, owner.pw_gid)
        owner = pwd.getpwnam(user)
        os.chown(self.mail, owner.pw_uid, owner.pw_gid)
        self.words = {'d': self.d, 'domain': DOMAIN, 'smtp': self.smtp, 'lmtp': self.lmtp, 'imap': self.imap, 'user': user,
                      'password': PASSWORD, 'fsync': fsync}
        self.write('etc/main.cf', POSTFIX)
        self.write('etc/master.cf', MASTER)
        self.write('dovecot.conf', DOVECOT)
        with open(self.d + '/aliases', 'w') as f:
            f.write('all@%s %s\n' % (DOMAIN, ' '.join(address(i) for i in range(people))))
        self.dovecot = self.postfix = None
        try:
            self.start()
        except Exception:
            self.close()
            raise

    def write(self, name, text):
        with open(os.path.join(self.d, name), 'w') as f:
            f.write(text.format(**self.words))

    def start(self):
        with open(self.d + '/log/start.log', 'a') as log:
            self.dovecot = subprocess.Popen(['dovecot', '-F', '-c', self.d + '/dovecot.conf'], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            self.postfix = subprocess.Popen(['postfix', '-c', self.d + '/etc', 'start-fg'], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            start_new_session=True)
        wait_port(self.imap)
        wait_port(self.smtp)

    def set_fsync(self, value):
        """Other processes after this; used to fill a mailbox quickly."""
        self.words['fsync'] = value
        self.write('dovecot.conf', DOVECOT)
        self.stop()
        self.start()

    def roots(self):
        return [p.pid for p in (self.dovecot, self.postfix) if p]

    def settled(self):
        """Nothing is on its way in Postfix' queue."""
        for name in ('maildrop', 'incoming', 'active', 'deferred'):
            for _, _, files in os.walk(os.path.join(self.d, 'queue', name)):
                if files:
                    return False
        return True

    def last_filed(self, _got, grouped):
        while not self.settled():
            time.sleep(0.005)
        return time.monotonic()

    def store_bytes(self):
        return disk_bytes(self.mail), 0

    def kill(self):
        kill_family(self.roots())
        for p in (self.dovecot, self.postfix):
            p.wait()

    def stop(self):
        for p in (self.postfix, self.dovecot):
            if not p:
                continue
            for pid in [p.pid] if p is self.dovecot else family([p.pid]):
                try:
                    os.kill(pid, signal.SIGTERM)
                except ProcessLookupError:
                    pass
            try:
                p.wait(20)
            except subprocess.TimeoutExpired:
                for pid in family([p.pid]):
                    os.kill(pid, signal.SIGKILL)
                p.wait()
        self.dovecot = self.postfix = None

    def close(self):
        self.stop()
        if os.environ.get('PROVINCE_KEEP'):
            print('kept:', self.d)
        else:
            shutil.rmtree(self.d, ignore_errors=True)
