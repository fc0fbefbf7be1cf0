"""Large everything, of us alone: what others wait while a circular is filed or thousands are expunged; memory; ten
thousand mailboxes; a message of a hundred megabytes."""
import json
import os
import signal
import subprocess
import time

from servers import DOMAIN, PASSWORD, Ours, address, family
from work_box import Talk, fill
from work_mail import settle, tool

WORKS = {}
PROBES = 'NOOP\nFETCH 1:* FLAGS\nSTATUS Drafts (MESSAGES)\n'


def work(f):
    WORKS[f.__name__] = f
    return f


class Probe:
    """Another person's session and small deliveries to it, measured until stopped."""

    def __init__(self, bench, side, user):
        self.p = subprocess.Popen([os.path.join(bench.tools, 'load_imap'), 'probe', '--user', address(user), '--pause', '2', '--lmtp', str(side.lmtp),
                                   str(side.imap)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.p.stdin.write('SELECT INBOX\n\n' + PROBES)
        self.p.stdin.close()
        assert self.p.stdout.readline() == 'ready\n'

    def stop(self):
        self.p.send_signal(signal.SIGTERM)
        return json.loads(self.p.stdout.read())


def probed(bench, side, what, work_done):
    probe = Probe(bench, side, 7)
    time.sleep(0.2)
    work_done()
    for command, f in probe.stop().items():
        for share in ('p50', 'p99'):
            bench.put(side, '%s; another waits for %s, %s' % (what, command.split()[0], share), 'ms', f[share + '_ms'])


@work
def waits(bench):
    """What another session and small deliveries wait: alone, while circulars are filed, while 100,000 are expunged"""
    count = bench.scaled(100000)
    ours = Ours(9000)
    try:
        tool(bench, 'load_smtp', '--lmtp', '--people', 20, '--messages', 200, ours.lmtp)
        fill(bench, ours, count)
        probed(bench, ours, 'nothing else', lambda: time.sleep(2))

        def circulars():
            for i in range(5):
                got = json.loads(tool(bench, 'load_smtp', '--size', 1 << 20, '--messages', 1, '--first', bench.first + i, '--to', 'all@' + DOMAIN,
                                      '--sender', address(0), '--login', address(0), PASSWORD, ours.submission))
                ours.last_filed(got, True)
        probed(bench, ours, 'circulars to 9,000', circulars)
        bench.first += 10

        def by_rcpts():
            tool(bench, 'load_smtp', '--size', 1 << 20, '--messages', bench.scaled(20, 2), '--first', bench.first, '--rcpts', 9000, '--people', 9000, ours.smtp)
            settle(ours)
        probed(bench, ours, 'circulars by 9,000 RCPTs without a pause', by_rcpts)
        bench.first += 20 * 9000
        with Talk(bench, ours) as talk:
            talk('SELECT INBOX')
            talk('STORE 1:* +FLAGS.SILENT (\\Deleted)')

            def expunge():
                bench.put(ours, 'EXPUNGE of %d' % count, 'ms', talk('EXPUNGE')['ms'])
            probed(bench, ours, 'EXPUNGE of %d' % count, expunge)
    finally:
        ours.close()


def resident_mb(side, daemon):
    return sum(v[2] for v in family([side.pid(daemon)]).values()) * os.sysconf('SC_PAGE_SIZE') / 1e6


@work
def memory(bench):
    """stored with 9,000 accounts and 1,000,000 messages, after all of them were listed: resident memory beside its cache"""
    count, cache = bench.scaled(1000000), 256
    ours = Ours(9000, 'store_cache_size = %dM\n' % cache)
    try:
        tool(bench, 'load_smtp', '--lmtp', '--sessions', 20, '--rcpts', 300, '--people', 9000, '--size', 2048, '--messages', count // 300, ours.lmtp,
             timeout=3600)
        for user in range(0, 9000, 300):
            with Talk(bench, ours, user) as talk:
                talk('SELECT INBOX')
                talk('FETCH 1:* (FLAGS ENVELOPE)')
        bench.put(ours, 'stored: 9,000 accounts, %s messages, beside a cache of %d MB' % (format(count, ','), cache), 'MB',
                  max(0, resident_mb(ours, 'stored') - cache * 1.048576))
    finally:
        ours.close()


@work
def mailboxes(bench):
    """10,000 mailboxes in an account: CREATE of each, LIST, LIST with STATUS"""
    count = bench.scaled(10000)
    ours = Ours(10)
    try:
        with Talk(bench, ours) as talk:
            begin = time.monotonic()
            for i in range(count):
                talk('CREATE H%d/M%d' % (i % 100, i))
            bench.put(ours, 'CREATE, each of %d' % count, 'ms', 1e3 * (time.monotonic() - begin) / count)
            bench.put(ours, 'LIST of %d' % count, 'ms', talk('LIST "" *')['ms'])
            bench.put(ours, 'LIST of %d with STATUS' % count, 'ms', talk('LIST "" * RETURN (STATUS (MESSAGES UNSEEN UIDNEXT))')['ms'])
            bench.put(ours, 'STATUS, one of %d' % count, 'ms', talk('STATUS H50/M50 (MESSAGES UNSEEN)')['ms'])
    finally:
        ours.close()


@work
def large(bench):
    """A message of 99 MB in by SMTP and out by IMAP: time, and the memory of the servers"""
    size = bench.scaled(99000000)
    ours = Ours(10)
    try:
        got = json.loads(tool(bench, 'load_smtp', '--size', size, '--messages', 1, '--first', bench.first, '--people', 1, ours.smtp))
        bench.put(ours, '%d MB by SMTP' % (size // 1000000), 's', got['seconds'])
        for d in ('smtpd', 'stored'):
            bench.put(ours, 'memory of %s after it' % d, 'MB', resident_mb(ours, d))
        with Talk(bench, ours) as talk:
            talk('SELECT INBOX')
            bench.put(ours, '%d MB by FETCH' % (size // 1000000), 's', talk('FETCH 1 BODY.PEEK[]')['ms'] / 1e3)
        for d in ('imapd', 'stored'):
            bench.put(ours, 'memory of %s after FETCH' % d, 'MB', resident_mb(ours, d))
    finally:
        ours.close()
