"""A Dovecot of one's own on loopback, in a temporary folder: never the system's. Runs as whoever starts it."""
import imaplib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import province as prov

PROGRAM = shutil.which('dovecot', path=os.environ.get('PATH', '') + ':/usr/sbin')
CONF = '''
protocols = imap
base_dir = {dir}/run
state_dir = {dir}/state
log_path = {dir}/log
listen = 127.0.0.1
default_internal_user = {internal}
default_login_user = {login}
default_internal_group = {group}
first_valid_uid = 1
ssl = yes
ssl_cert = <{cert}
ssl_key = <{key}
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_master_user_separator = *
mail_plugins = acl
mail_uid = {uid}
mail_gid = {gid}
{chroot}
passdb {{
  driver = passwd-file
  master = yes
  args = {dir}/masters
  result_success = continue
}}
passdb {{
  driver = static
  args = password=geheim
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={dir}/home/%u
}}
mail_fsync = never
mail_location = maildir:~/Maildir
namespace inbox {{
  inbox = yes
  separator = .
  prefix = INBOX.
  mailbox Gesendet {{
    special_use = \\Sent
    auto = create
  }}
}}
namespace shared {{
  type = shared
  separator = .
  prefix = shared.%%u.
  location = maildir:%%h/Maildir:INDEX=~/shared/%%u:INDEXPVT=~/shared/%%u
  list = yes
  subscriptions = no
}}
# As Cyrus has it: what is neither below INBOX nor another's is public, by its bare name.
namespace public {{
  type = public
  separator = .
  prefix =
  location = maildir:{dir}/home/public
  list = yes
  subscriptions = no
}}
protocol imap {{
  mail_plugins = acl imap_acl
  mail_max_userip_connections = 100
}}
plugin {{
  acl = vfile
  acl_user = %u
  acl_shared_dict = file:{dir}/shared.db
}}
service imap-login {{
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = {tls_port}
    ssl = yes
  }}
}}
'''


class Dovecot:
    admin, password = 'quantri', 'geheim'

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix='dovecot-')
        os.chmod(self.dir, 0o755)
        base = prov.free_base()
        self.port, self.tls_port = base + 143, base + 443
        root = os.geteuid() == 0
        me = pwd.getpwnam('mail') if root else pwd.getpwuid(os.geteuid())
        for d in ('run', 'state', 'home'):
            os.mkdir(os.path.join(self.dir, d))
        os.chown(os.path.join(self.dir, 'home'), me.pw_uid, me.pw_gid)
        os.chown(self.dir, me.pw_uid, me.pw_gid)
        for name in ('cert', 'key'):
            shutil.copy(os.path.join(prov.TOP, 'tests', 'data', 'tls', 'test-%s.pem' % name), self.path(name))
        with open(self.path('masters'), 'w') as f:
            f.write('%s:{PLAIN}chu-nha\n' % self.admin)
        # As an ordinary user nothing can be locked into another root.
        chroot = '' if root else '\n'.join('service %s {\n  chroot =\n}' % s for s in ('imap-login', 'anvil', 'stats', 'auth'))
        with open(self.path('dovecot.conf'), 'w') as f:
            f.write(CONF.format(dir=self.dir, internal='dovecot' if root else me.pw_name, login='dovenull' if root else me.pw_name,
                                group='dovecot' if root else str(me.pw_gid), uid=me.pw_uid, gid=me.pw_gid, chroot=chroot,
                                port=self.port, tls_port=self.tls_port, cert=self.path('cert'), key=self.path('key')))
        self.process = subprocess.Popen([PROGRAM, '-F', '-c', self.path('dovecot.conf')], stderr=subprocess.PIPE)
        end = time.monotonic() + 20
        while not prov.reachable(self.port):
            assert self.process.poll() is None and time.monotonic() < end, (self.log(), self.process.poll())
            time.sleep(0.05)

    def path(self, name):
        return os.path.join(self.dir, name)

    def log(self):
        with open(self.path('log'), errors='replace') as f:
            return f.read()

    def imap(self, user):
        c = imaplib.IMAP4('127.0.0.1', self.port, timeout=30)
        c.login(user, self.password)
        return c

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)
        shutil.rmtree(self.dir, ignore_errors=True)
