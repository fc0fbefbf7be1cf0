"""One large mailbox: opening it, its flags, envelopes and structures, lists, changes to thousands of messages, and how
each grows with the mailbox."""
import json
import os
import random
import statistics
import subprocess

import servers
from servers import Ours, address, cpu_seconds
from work_mail import tool

WORKS = {}
SIZE = 4096


def work(f):
    WORKS[f.__name__] = f
    return f


def fill(bench, side, count, user=0):
    """count messages into INBOX of one person; not measured."""
    if isinstance(side, servers.Theirs):
        side.set_fsync('never')
    got = json.loads(tool(bench, 'load_imap', 'append', '--sessions', 64 if isinstance(side, Ours) else 2, '--size', SIZE, '--messages', count, '--user', address(user),
                          side.imap, timeout=3600))
    if isinstance(side, servers.Theirs):
        side.set_fsync('optimized')
    print('   %d messages of %d bytes into a mailbox of %s: %.0f s' % (count, SIZE, side.name, got['seconds']), flush=True)


class Talk:
    """A session of load_imap that is told its commands one by one."""

    def __init__(self, bench, side, user=0):
        self.p = subprocess.Popen([os.path.join(bench.tools, 'load_imap'), 'script', '--user', address(user), str(side.imap)], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.p.stdin.close()
        self.p.wait()

    def __call__(self, command, ok=True):
        self.p.stdin.write(command + '\n')
        self.p.stdin.flush()
        line = self.p.stdout.readline()
        got = json.loads(line) if line else {'status': 'closed'}
        if ok and not got['status'].startswith('OK'):
            raise RuntimeError('%s: %s' % (command[:60], got['status']))
        return got


def cool(side):
    """Servers that have just started, and nothing of their files in memory (as root; else only the former)."""
    side.stop()
    subprocess.run(['sync'])
    if os.geteuid() == 0:
        try:
            with open('/proc/sys/vm/drop_caches', 'w') as f:
                f.write('3')
        except OSError:
            pass
    side.start()


def steps(bench, side, label, rows, user=0, rounds=1):
    """rows: (name or None, times, command). Each in one session, in order; of several times the median counts."""
    for _ in range(rounds):
        with Talk(bench, side, user) as talk:
            for name, times, command in rows:
                cpu = cpu_seconds(side.roots())
                took = statistics.median(talk(command)['ms'] for _ in range(times))
                cpu = 1e3 * (cpu_seconds(side.roots()) - cpu) / times
                if name:  # the kernel counts in hundredths of a second
                    bench.put(side, '%s: %s' % (label, name), 'ms', took, cpu if cpu >= 20 else None)


def read_rows(count):
    page = random.Random(count).randrange(1, count - 50)
    one = random.Random(count + 1).randrange(1, count)
    return [('SELECT, cold', 1, 'SELECT INBOX'),
            ('FETCH FLAGS of all, cold', 1, 'FETCH 1:* FLAGS'),
            ('one body, cold', 1, 'FETCH %d BODY.PEEK[]' % one),
            ('list of 50, cold', 1, 'FETCH %d:%d (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)' % (page, page + 49)),
            ('ENVELOPE of all, first', 1, 'FETCH 1:* ENVELOPE'),
            ('BODYSTRUCTURE of all, first', 1, 'FETCH 1:* BODYSTRUCTURE'),
            ('ENVELOPE of all, again', 3, 'FETCH 1:* ENVELOPE'),
            ('BODYSTRUCTURE of all, again', 3, 'FETCH 1:* BODYSTRUCTURE')]


def warm_rows(count):
    page = count // 2
    return [('SELECT, warm', 15, 'SELECT INBOX'),
            (None, 1, 'FETCH 1:* FLAGS'),
            ('FETCH FLAGS of all, warm', 5, 'FETCH 1:* FLAGS'),
            ('list of 50, warm', 31, 'FETCH %d:%d (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)' % (page, page + 49)),
            ('one body, warm', 31, 'FETCH %d BODY.PEEK[]' % (page + 7)),
            ('SEARCH UNSEEN', 5, 'SEARCH UNSEEN')]


def change_rows(count):
    n = min(10000, count // 8)
    rows = [(None, 1, 'SELECT INBOX'), (None, 1, 'FETCH 1:* FLAGS')]
    for i in range(3):  # other messages each time
        rows += [('STORE +FLAGS on %d' % n, 1, 'STORE %d:%d +FLAGS (\\Seen)' % (2 * i * n + 1, (2 * i + 1) * n)),
                 ('STORE +FLAGS.SILENT on %d' % n, 1, 'STORE %d:%d +FLAGS.SILENT (\\Flagged)' % ((2 * i + 1) * n + 1, (2 * i + 2) * n))]
    rows.append(('COPY of %d' % n, 1, 'COPY 1:%d Archive' % n))
    for i in range(3):
        rows += [(None, 1, 'STORE 1:%d +FLAGS.SILENT (\\Deleted)' % n), ('EXPUNGE of %d' % n, 1, 'EXPUNGE')]
    return rows


def whole(bench, side, count, user, cold=True):
    label = '%s messages' % format(count, ',')
    if cold:
        with Talk(bench, side, user) as talk:
            talk('SELECT INBOX')  # its messages are new to this session, and not to the next
        cool(side)
        steps(bench, side, label, read_rows(count), user)
    steps(bench, side, label, warm_rows(count), user, rounds=bench.rounds)
    with Talk(bench, side, user) as talk:
        talk('CREATE Archive', ok=False)
    steps(bench, side, label, change_rows(count), user)


@work
def mailbox(bench):
    """A mailbox of 100,000: SELECT, FLAGS, ENVELOPE, BODYSTRUCTURE, lists, STORE, COPY, EXPUNGE"""
    count = bench.scaled(100000)
    with bench.sides(10) as sides:
        for side in sides:
            fill(bench, side, count)
        for side in sides:
            whole(bench, side, count, 0)


@work
def growth(bench):
    """The same of us alone at 10,000, 100,000 and 1,000,000 messages"""
    ours = Ours(10, 'store_cache_size = 1G\n')
    try:
        for user, count in enumerate((10000, 100000) if bench.quick else (10000, 100000, 1000000)):
            fill(bench, ours, count, user)
            whole(bench, ours, count, user)
    finally:
        ours.close()
