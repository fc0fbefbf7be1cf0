#!/usr/bin/python3
"""The crash harness: several clients use the whole suite over SMTP, LMTP and IMAP and keep a model of what they were promised,
while its processes are killed, at random instants and at the named steps of the disk (common/base/fault.h). After each phase
everything rests and is compared: acknowledged steps are there exactly once, others whole or not at all, no UID names two
messages, UIDNEXT, modseq and UIDVALIDITY never fall, counters and quota agree with the messages.

    tests/crash/harness.py [--kills N] [--seconds S] [--seed X] [--points all|NAME,...|none] [--phase N] [--wrong] [--keep]
                           [--disk]

With --disk the store and the directory's copy lie on an ext4 of their own, and half of the kills are cuts of its power (loop.py).
It ends after N kills (default 40), or S seconds; --points all first kills at every named step. Exit status 1: violations."""
import argparse
import collections
import fcntl
import json
import mmap
import os
import random
import shutil
import signal
import struct
import sys
import tempfile
import threading
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, '..', 'lib')]
import province as prov  # noqa: E402
from actors import Keeper, Owner, Registrar, Sender, Watcher  # noqa: E402
from loop import Disk  # noqa: E402
from model import Account, Seen, Violation, is_delivery  # noqa: E402

USERS = ('mot', 'hai', 'ba', 'bon')
STORED_POINTS = (
    'store.ids.committed', 'store.batch.taken', 'store.batch.written', 'store.batch.synced', 'store.request.applied',
    'store.request.committed', 'store.slice.committed', 'store.batch.committed', 'store.batch.flushed', 'store.answers.due',
    'store.answers.given', 'store.lazy.committed', 'store.segment.made', 'store.segment.headed', 'store.segment.named',
    'store.segment.recorded', 'store.segment.full', 'store.segment.sealed', 'store.segment.write', 'store.segment.sync',
    'store.large.copied', 'store.large.written', 'store.large.synced', 'store.log.flush', 'store.database.put',
    'store.checkpoint.begun', 'store.checkpoint.done', 'store.logs.removed', 'store.pages.write', 'store.pages.written',
    'store.segment.dropped', 'store.segment.unlinked', 'store.pages.sync', 'store.pages.torn', 'store.pages.placed', 'store.pages.gone', 'store.names.due', 'store.names.sync')
# Passed by a start only.
START_POINTS = ('store.recovery.tables', 'store.recovery.cut', 'store.recovery.settled', 'store.recovery.committed',
                'store.recovery.resumed', 'directory.copy.opened')
DIRECTORY_POINTS = ('directory.entries.written', 'directory.reading.written', 'directory.reading.committed',
                    'directory.checkpoint.begun', 'directory.checkpoint.done', 'directory.transaction.written',
                    'directory.commit', 'directory.transaction.committed')
DIE, ERROR, STALL = 1, 2, 3


def daemon_of(point):
    return 'stored' if point.startswith('store.') else 'directoryd'


def stopped(pid):
    """Every thread of it, also the one that was in a system call."""
    states = []
    for task in os.listdir('/proc/%d/task' % pid):
        with open('/proc/%d/task/%s/stat' % (pid, task)) as f:
            states.append(f.read().rsplit(')', 1)[1].split()[0])
    return set(states) == {'T'}


class FaultPage:
    """common/base/fault_page.h from the test's side."""
    SIZE = 16384

    def __init__(self, path):
        with open(path, 'wb') as f:
            f.truncate(self.SIZE)
        os.chmod(path, 0o666)
        with open(path, 'r+b') as f:
            self.m = mmap.mmap(f.fileno(), self.SIZE)

    def arm(self, point, action=DIE, value=0, skip=0, times=1):
        self.disarm()
        struct.pack_into('=IIIII', self.m, 4, action, value, skip, times, 0)
        self.m[24:64] = point.encode().ljust(40, b'\0')
        struct.pack_into('=I', self.m, 0, 1)

    def disarm(self):
        struct.pack_into('=I', self.m, 0, 0)

    def fired(self):
        return struct.unpack_from('=I', self.m, 20)[0]

    def passes(self):
        out = {}
        for i in range(255):
            name, n = struct.unpack_from('=56sQ', self.m, 64 + 64 * i)
            if name[0]:
                out[name.rstrip(b'\0').decode()] = n
        return out


def faulty_programs(folder):
    """A folder with the four daemons, stored and directoryd with fault points."""
    os.makedirs(folder)
    os.chmod(folder, 0o755)
    for name, path in (('stored', 'tests/crash/faulty/stored'), ('directoryd', 'tests/crash/faulty/directoryd'),
                       ('imapd', 'imapd/imapd'), ('smtpd', 'smtpd/smtpd')):
        os.symlink(os.path.join(prov.BUILD, path), os.path.join(folder, name))
    return folder


def people(users, alias=0):
    """A small directory; the second person has a numbered alias. 'nhom' is a group of all."""
    base = 'dc=gialai,dc=example'
    out = ['version: 1\n', 'dn: %s\nobjectClass: top\nobjectClass: dcObject\nobjectClass: organization\ndc: gialai\no: G\n' % base]
    for ou in ('People', 'Groups'):
        out.append('dn: ou=%s,%s\nobjectClass: organizationalUnit\nou: %s\n' % (ou, base, ou))
    for u in users:
        out.append('dn: uid=%s,ou=People,%s\nobjectClass: inetOrgPerson\nobjectClass: mailPerson\nuid: %s\ncn: %s\nsn: %s\n'
                   'mail: %s@gialai.example\n%smailAccountStatus: active\nuserPassword: %s\n'
                   % (u, base, u, u, u, u, 'mailAlternateAddress: bidanh%d@gialai.example\n' % alias if u == users[1] else '',
                      prov.PASSWORD))
    out.append('dn: cn=nhom,ou=Groups,%s\nobjectClass: groupOfNames\nobjectClass: mailGroup\ncn: nhom\nmail: nhom@gialai.example\n%s'
               % (base, ''.join('member: uid=%s,ou=People,%s\n' % (u, base) for u in users)))
    return '\n'.join(out)


class Run:
    OPTIONS = ('store_cache_size = 64M\nstore_segment_size = 1M\nstore_log_size = 1M\nstore_checkpoint_interval = 300ms\ngroup_inline_limit = 1\n'
               'auth_plaintext_without_tls = yes\nconnection_limit_per_peer = 1000\nauth_failure_delay = 0s\n'
               'directory_poll = 1h\nundelete_window = 2s\ntrace_window = 1h\n')

    def __init__(self, a):
        self.a, self.seed, self.r = a, a.seed, random.Random(a.seed)
        self.scratch = tempfile.mkdtemp(prefix='crash-')
        os.chmod(self.scratch, 0o755)
        self.pages = {d: FaultPage(os.path.join(self.scratch, d)) for d in ('stored', 'directoryd')}
        os.environ['PROVMAIL_FAULTS'] = self.scratch
        ldif = os.path.join(self.scratch, 'people.ldif')
        with open(ldif, 'w') as f:
            f.write(people(USERS))
        self.disk = Disk(self.scratch) if a.disk else None
        options = self.OPTIONS
        if self.disk:
            options += 'mail_dir = %s/mail\ndirectory_dir = %s/directory\n' % (self.disk.at, self.disk.at)
        self.p = prov.Province(options, ldif=ldif, workers=2, programs=faulty_programs(self.scratch + '/programs'))
        self.begin = time.monotonic()
        self.seen, self.accounts = Seen(), {u: Account(u) for u in USERS}
        self.validity_of, self.sent = {}, {}
        self.gate, self.paused, self.ending, self.resting = threading.Condition(), False, False, set()
        self.violations, self.lock = [], threading.Lock()
        self.acknowledged = self.delivered = self.unanswered = self.looks = self.bodies = self.readings = 0
        self.phases, self.rest_s, self.compare_s = 0, 0.0, 0.0
        self.unknown = collections.Counter()
        self.kills, self.by_point, self.missed, self.last_kills = collections.Counter(), collections.Counter(), collections.Counter(), []
        self.back = []
        self.actors = []
        for i, u in enumerate(USERS):
            self.actors.append(Owner(self, 'x-' + u, u, 'x', True, 80))
            if i < 2:
                self.actors.append(Owner(self, 'y-' + u, u, 'y', False, 500))
            if i % 2 == 0:
                self.actors.append(Watcher(self, 'w-' + u, u))
        self.actors += [Sender(self, 's%d' % i, k) for i, k in enumerate(('smtp', 'smtp', 'submission', 'lmtp'))] + [Registrar(self, 'registrar'), Keeper(self, 'keeper')]

    def close(self):
        with self.gate:
            self.ending = True
            self.gate.notify_all()
        for a in self.actors:
            a.join(1)
        self.p.close()
        if self.disk:
            self.disk.close()
        if not self.a.keep:
            shutil.rmtree(self.scratch, ignore_errors=True)

    def violation(self, actor, text, trace=None):
        with self.lock:
            if self.ending:
                return
            self.violations.append(text)
            print('VIOLATION after %d kills, seed %d\n  who: %s\n  what: %s\n  last kills: %s' %
                  (sum(self.kills.values()), self.seed, actor.name if actor else 'the comparison', text, '; '.join(self.last_kills[-4:])))
            for line in actor.log if actor else ():
                print('    ' + line)
            if trace:
                traceback.print_tb(trace)
            sys.stdout.flush()

    def write_directory(self, alias):
        tmp = self.p.ldif + '.new'
        with open(tmp, 'w') as f:
            f.write(people(USERS, alias))
        os.chmod(tmp, 0o600)
        if self.p.own_users:
            shutil.chown(tmp, 'provdir', 'provdir')
        os.rename(tmp, self.p.ldif)

    # -- killing --

    def killed(self, what, point=None):
        self.kills[what] += 1
        if point:
            self.by_point[point] += 1
        self.last_kills.append('%.2f %s%s' % (time.monotonic() - self.begin, what, ' at ' + point if point else ''))

    def workers(self, daemon):
        pid = self.p.pid(daemon)
        try:
            with open('/proc/%d/task/%d/children' % (pid, pid)) as f:
                return [int(x) for x in f.read().split()]
        except OSError:
            return []

    def ready(self, daemon, old):
        self.back.append(self.p.wait_ready(daemon, old, 20))

    def kill_random(self):
        daemon = self.r.choice(('stored', 'stored', 'stored', 'directoryd', 'smtpd', 'imapd'))
        if daemon in ('smtpd', 'imapd') and self.r.random() < 0.7:
            pids = self.workers(daemon)
            if pids:
                try:
                    os.kill(self.r.choice(pids), signal.SIGKILL)
                except ProcessLookupError:
                    return
                self.killed(daemon + ' worker')
                return
        old = self.p.kill(daemon)
        self.killed(daemon)
        self.ready(daemon, old)

    def cut_power(self):
        """stored and directoryd find what their disk held at this instant."""
        olds = {d: self.p.pid(d) for d in ('stored', 'directoryd')}
        with open(self.p.socket_path('supervise.pid')) as f:
            supervisor = int(f.read())
        if self.r.random() < 0.5:
            self.disk.sync_some(self.r)
        os.kill(supervisor, signal.SIGSTOP)  # nothing starts in between
        try:
            for pid in olds.values():
                os.kill(pid, signal.SIGSTOP)
            for pid in olds.values():
                prov.until(lambda: stopped(pid), 20)
            self.disk.snapshot()
            for pid in olds.values():
                os.kill(pid, signal.SIGKILL)
            self.disk.go_back()
        finally:
            os.kill(supervisor, signal.SIGCONT)
        self.killed('power')
        for d, old in olds.items():
            self.ready(d, old)

    def kill_at(self, point, skip=None):
        """Die at the point's n-th passing."""
        daemon, page = daemon_of(point), self.pages[daemon_of(point)]
        usual = point not in START_POINTS
        rare = any(w in point for w in ('pages', 'names', 'segment', 'ids', 'large', 'checkpoint', 'logs', 'directory', 'slice', 'lazy'))
        skip = (self.r.randrange(2) if rare else self.r.randrange(40)) if skip is None and usual else skip or 0
        old, before = self.p.pid(daemon), 0
        page.arm(point, skip=skip)
        if not usual:
            os.kill(old, signal.SIGKILL)
            self.killed(daemon)
        end = time.monotonic() + (6 if rare else 3)
        while page.fired() == before and time.monotonic() < end:
            time.sleep(0.005)
        page.disarm()
        if page.fired() == before:
            self.missed[point] += 1
            if usual:
                return False
        else:
            self.killed(daemon, point)
        self.ready(daemon, old)
        return page.fired() != before

    # -- comparing --

    def pause(self):
        with self.gate:
            self.paused = True
            end = time.monotonic() + 120
            while len(self.resting) < len(self.actors):
                if not self.gate.wait(end - time.monotonic()):
                    self.violation(None, 'not at rest within 120 s: %s' %
                                   sorted(set(a.name for a in self.actors) - self.resting))
                    return False
        return not self.violations

    def resume(self):
        with self.gate:
            self.paused = False
            self.resting.clear()
            self.gate.notify_all()

    def owners(self, user=None):
        return [a for a in self.actors if isinstance(a, Owner) and user in (None, a.user)]

    def wanted(self, user):
        return {i for (i, u), ok in list(self.sent.items()) if u == user and ok}

    def compare(self):
        """Everything, while nobody changes anything."""
        for d in prov.DAEMONS:
            self.p.wait_ready(d, 0, 20)
        for o in self.owners():
            o.drop()
            o.look([o.boxes], 'comparison')
        end = time.monotonic() + 90
        for u in USERS:  # what lay in the queue comes with a little patience
            owner = self.owners(u)[0]
            while self.wanted(u) - self.accounts[u].arrived and time.monotonic() < end:
                time.sleep(0.2)
                owner.look([owner.boxes], 'comparison')
            lost = self.wanted(u) - self.accounts[u].arrived
            if lost:
                raise Violation('%d messages acknowledged to %s never came, as %s' % (len(lost), u, sorted(lost)[0]))
            extra = {i for i in self.accounts[u].arrived if (i, u) not in self.sent}
            if extra:
                raise Violation('%s has messages that nobody sent: %s' % (u, sorted(extra)[0]))
        for o in self.owners():
            o.check_bodies()
        figures = {i['address']: i for i in self.ask('account', 'list')}
        for u in USERS:
            self.compare_figures(u, figures[prov.address(u)])
        with self.seen.lock:
            ours = {o.boxes['INBOX'].validity: o for o in self.owners() if o.inbox}
            for (validity, uid), ident in self.seen.idents.items():
                if validity in ours and is_delivery(ident) and ident not in ours[validity].account.arrived:
                    raise Violation('%s was shown in INBOX of %s as UID %d and is gone' % (ident, ours[validity].user, uid))
        self.verify()

    def patient(self, *words):
        """mailadm; no answer for now (EX_TEMPFAIL: a disk may stand still) is no violation, as long as it ends."""
        end = time.monotonic() + 60
        while True:
            r = self.p.adm(*words, check=False)
            if r.returncode != os.EX_TEMPFAIL or time.monotonic() > end:
                return r
            time.sleep(0.2)

    def ask(self, *words):
        r = self.patient(*words, '--json')
        if r.returncode:
            raise Violation('mailadm %s: %d %s' % (' '.join(words), r.returncode, r.stderr))
        return json.loads(r.stdout)

    def compare_figures(self, user, quota):
        boxes = {}
        for o in self.owners(user):
            boxes.update(o.boxes)
        rows = self.ask('mailbox', 'list', prov.address(user))
        messages = size = 0
        for i in rows:
            self.seen.mailbox(user, i)
            msgs = boxes[i['name']].msgs if i['name'] in boxes else {}
            have = (i['messages'], i['unseen'], i['deleted'], i['bytes'])
            want = (len(msgs), sum('\\Seen' not in f for _, f in msgs.values()), sum('\\Deleted' in f for _, f in msgs.values()),
                    sum(self.seen.sizes[ident] for ident, _ in msgs.values()))
            if have != want:
                raise Violation('%s %s: counters (messages, unseen, deleted, bytes) %s, not %s' % (user, i['name'], have, want))
            messages, size = messages + want[0], size + want[3]
        if (quota['messages'], quota['bytes']) != (messages, size):
            raise Violation('%s: quota %s, not %s' % (user, (quota['messages'], quota['bytes']), (messages, size)))

    def verify(self):
        """mailadm store verify finds nothing."""
        r = self.patient('store', 'verify')
        if r.returncode:
            raise Violation('mailadm store verify: %d\n%s%s' % (r.returncode, r.stdout[-2000:], r.stderr[-500:]))

    def phase_end(self):
        begin = time.monotonic()
        if not self.pause():
            return
        self.rest_s += time.monotonic() - begin
        try:
            self.compare()
        except Violation as e:
            self.violation(None, str(e))
        except Exception as e:
            self.violation(None, 'the harness itself: %r' % e, sys.exc_info()[2])
        self.phases += 1
        self.compare_s += time.monotonic() - begin
        self.resume()

    # -- the run --

    def points(self):
        if self.a.points == 'none':
            return []
        every = STORED_POINTS + START_POINTS + DIRECTORY_POINTS
        chosen = list(every) if self.a.points == 'all' else self.a.points.split(',')
        self.r.shuffle(chosen)
        return chosen

    def run(self):
        if self.a.wrong:
            self.pages['stored'].arm('store.log.forgotten', ERROR, 0, times=0)
        for a in self.actors:
            a.start()
        time.sleep(1.5)
        end = self.begin + self.a.seconds if self.a.seconds else None
        first, points, last_phase = self.points(), [], 0
        while not self.violations and sum(self.kills.values()) < self.a.kills and not (end and time.monotonic() > end):
            time.sleep(self.r.random() * 0.6)
            if self.disk and self.r.random() < 0.5:
                self.cut_power()
            elif first:
                self.kill_at(first.pop())
            elif self.a.points != 'none' and self.r.random() < 0.4:
                points = points or self.points()
                self.kill_at(points.pop())
            else:
                self.kill_random()
            if sum(self.kills.values()) - last_phase >= self.a.phase:
                last_phase = sum(self.kills.values())
                self.phase_end()
        if not self.violations:
            self.phase_end()
        if not self.violations:  # and once more with nothing under way
            self.pause()
            old = self.p.kill('stored')
            self.killed('stored')
            self.ready('stored', old)
            self.phase_end()

    def alarms(self):
        """Lines that no kill explains."""
        expected = ('supervise.ended', 'worker.killed')
        return [l for l in self.p.alarms() if not any(e in l for e in expected)]

    def report(self):
        passes = {}
        for page in self.pages.values():
            passes.update(page.passes())
        out = {'seed': self.seed, 'kills': sum(self.kills.values()), 'by daemon': dict(self.kills), 'by point': dict(self.by_point),
               'points not reached in time': dict(self.missed), 'seconds': round(time.monotonic() - self.begin, 1),
               'steps acknowledged': self.acknowledged, 'steps unanswered: not done, done': [self.unknown[False], self.unknown[True]],
               'messages delivered': self.delivered, 'deliveries unanswered': self.unanswered, 'directory readings': self.readings,
               'comparisons': self.phases, 'seconds to rest, to compare': [round(self.rest_s, 1), round(self.compare_s, 1)], 'looks': self.looks, 'bodies compared': self.bodies,
               'slowest restart': round(max(self.back or [0]), 2), 'violations': len(self.violations)}
        for k, v in out.items():
            print('%s: %s' % (k, json.dumps(v)))
        if self.a.points == 'all':
            never = [p for p in STORED_POINTS + START_POINTS + DIRECTORY_POINTS if not passes.get(p)]
            print('points never passed: %s' % json.dumps(never))
        return out


def arguments(words=None):
    ap = argparse.ArgumentParser(description='The crash harness over the real protocols.')
    ap.add_argument('--kills', type=int, default=40)
    ap.add_argument('--seconds', type=float, default=0)
    ap.add_argument('--seed', type=int, default=int(time.time()) % 100000)
    ap.add_argument('--points', default='all')
    ap.add_argument('--phase', type=int, default=20, help='kills between two comparisons')
    ap.add_argument('--wrong', action='store_true', help='with a store that answers before its log is flushed: must fail')
    ap.add_argument('--disk', action='store_true', help='with cuts of the power of a real file system (needs root, loop devices)')
    ap.add_argument('--keep', action='store_true', help='keep the folders')
    return ap.parse_args(words)


def main():
    a = arguments()
    if a.keep:
        os.environ['PROVINCE_KEEP'] = '1'
    run = Run(a)
    try:
        run.run()
        run.report()
        for line in run.alarms()[:10]:
            print('alarm: ' + line)
    finally:
        run.close()
    return 1 if run.violations else 0


if __name__ == '__main__':
    sys.exit(main())
