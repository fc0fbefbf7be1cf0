"""Several clients do random things to the same two mailboxes, each with a model of what it was told: every untagged answer is
checked against the model (RFC 9051 7), and in the end all models are what a fresh session sees. The seed is printed."""
import hashlib
import os
import random
import re
import sys
import threading
import time

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, '..', 'lib')]
import imap_real  # noqa: E402
import imap_suites  # noqa: E402

FLAGS = [b'\\Seen', b'\\Answered', b'\\Flagged', b'\\Draft', b'\\Deleted', b'kw1', b'kw2', b'$Forwarded']
BOXES = [b'A', b'B']
KNOWN = (rb'\* (?:(?P<n>\d+) (?P<what>EXISTS|RECENT|EXPUNGE|FETCH)|SEARCH|ESEARCH|FLAGS|STATUS|OK) ?')


class Wrong(Exception):
    pass


class Message:
    def __init__(self):
        self.uid, self.flags, self.modseq = None, None, 0


class Client:
    def __init__(self, imapd, number, seed, bodies):
        self.r = random.Random(seed * 100 + number)
        self.condstore = number % 2 == 0
        self.bodies = bodies  # (mailbox, UID) -> hash, of all clients
        self.fault = None
        self.log = []
        self.c = imap_suites.Line('127.0.0.1', imapd.tls_port, tls=True, timeout=60)
        self.c.line()
        self.c.ok(b'LOGIN random@x thu-dien-tu')
        if self.condstore:
            self.c.ok(b'ENABLE CONDSTORE')

    def must(self, truth, *words):
        if not truth:
            raise Wrong(words, self.log[-8:])

    # -- answers

    def untagged(self, r, command, expunges):
        m = re.match(KNOWN, r)
        self.must(m, 'not expected', r[:200])
        if not m.group('n') or m.group('what') == b'RECENT':
            return
        n, what = int(m.group('n')), m.group('what')
        if what == b'EXISTS':
            self.must(n >= len(self.box), 'EXISTS shrinks', r)
            self.box += [Message() for _ in range(n - len(self.box))]
            return
        self.must(1 <= n <= len(self.box), 'no such message', r[:200], len(self.box))
        if what == b'EXPUNGE':
            self.must(expunges, 'EXPUNGE inside', command)
            self.box.pop(n - 1)
        else:
            self.fetched(n, r, command)

    def fetched(self, n, r, command):
        m, head = self.box[n - 1], r.partition(b'{')[0]
        self.must(b'] NIL' not in r, 'nothing of a message that was there', head)
        uid, modseq, flags = (re.search(p, head) for p in (rb'[( ]UID (\d+)', rb'MODSEQ \((\d+)\)', rb'FLAGS \(([^)]*)\)'))
        if uid:
            self.must(m.uid in (None, int(uid.group(1))), 'another UID', head, m.uid)
            m.uid = int(uid.group(1))
            known = [x.uid for x in self.box if x.uid]
            self.must(known == sorted(set(known)), 'UIDs do not rise', head)
        if modseq:
            self.must(int(modseq.group(1)) >= m.modseq, 'MODSEQ falls', head, m.modseq)
            m.modseq = int(modseq.group(1))
        if flags:
            now = set(flags.group(1).split()) - {b'\\Recent'}
            told = modseq or not self.condstore or m.flags in (None, now) or b'FETCH' in command
            self.must(told, 'flags without MODSEQ', head)
            m.flags = now
        body = re.search(rb'BODY\[\] \{(\d+)\}\r\n', r)
        if body and m.uid:
            data = r[body.end():body.end() + int(body.group(1))]
            h = hashlib.sha256(data).digest()
            self.must(self.bodies.setdefault((self.name, m.uid), h) == h, 'another body', m.uid)

    def do(self, command, expunges=True):
        self.do_all([(command, expunges)])

    def do_all(self, commands):
        """Pipelined when they are several."""
        tags = []
        for command, _ in commands:
            self.c.tags += 1
            tags.append(b't%d' % self.c.tags)
            self.log.append(command[:200])
        self.c.send(b''.join(t + b' ' + c + b'\r\n' for t, (c, _) in zip(tags, commands)))
        for tag, (command, expunges) in zip(tags, commands):
            while True:
                r = self.c.response()
                self.log.append(r[:200])
                if r.startswith(tag + b' '):
                    break
                self.untagged(r, command, expunges)
            # a message that is gone is the one reason to refuse
            self.must(b' OK' in r[:12] or b'[EXPUNGEISSUED]' in r, command, r)

    # -- commands

    def select(self, name):
        self.name, self.box = name, []
        self.do(b'SELECT ' + name)

    def sequence(self):
        a, b = self.r.randint(1, len(self.box)), self.r.randint(1, len(self.box))
        return self.r.choice([b'%d' % a, b'%d:%d' % (a, b), b'%d,%d' % (a, b), b'%d:*' % a, b'*'])

    def uids(self):
        known = [m.uid for m in self.box if m.uid] or [1]
        a, b = self.r.choice(known), self.r.choice(known)
        return self.r.choice([b'%d' % a, b'%d:%d' % (a, b), b'%d,%d' % (a, b), b'%d:*' % a])

    def append(self):
        n = self.r.getrandbits(40)
        text = 'Subject: s%d\r\n\r\nbody %d %s\r\n' % (n, n, 'x' * self.r.choice([0, 10, 3000, 70000]))
        self.do(b'APPEND %s (%s) {%d+}\r\n%s' % (self.name, b' '.join(self.r.sample(FLAGS, 2)), len(text), text.encode()))

    def idle(self):
        self.c.tags += 1
        tag = b't%d' % self.c.tags
        self.c.send(tag + b' IDLE\r\n')
        r = self.c.response()
        while not r.startswith(tag):
            if r.startswith(b'+ '):
                time.sleep(self.r.random() * 0.1)
                self.c.send(b'DONE\r\n')
            else:
                self.untagged(r, b'IDLE', True)
            r = self.c.response()
        self.must(b' OK' in r[:12], 'IDLE', r)

    def remove(self):
        self.do(b'STORE %s +FLAGS (\\Deleted)' % self.sequence(), False)
        self.do(b'EXPUNGE' if self.r.random() < 0.7 else b'UID EXPUNGE ' + self.uids())

    def flags(self):
        how, what = self.r.choice([b'FLAGS', b'+FLAGS', b'-FLAGS']), b' '.join(self.r.sample(FLAGS, 2))
        if self.r.random() < 0.5:
            self.do(b'STORE %s %s (%s)' % (self.sequence(), how, what), False)
        else:
            self.do(b'UID STORE %s %s (%s)' % (self.uids(), how, what))

    def conditional(self):
        newest = max(m.modseq for m in self.box) or 1
        if self.condstore:
            self.do(b'UID STORE %s (UNCHANGEDSINCE %d) +FLAGS (%s)' % (self.uids(), newest, self.r.choice(FLAGS)))
            self.do(b'UID FETCH 1:* (FLAGS) (CHANGEDSINCE %d)' % newest)

    def fetch(self):
        self.do(self.r.choice([b'FETCH %s (UID FLAGS)', b'FETCH %s (UID BODY.PEEK[])', b'FETCH %s (UID ENVELOPE)',
                               b'FETCH %s BODY[1]']) % self.sequence(), False)
        self.do(self.r.choice([b'UID FETCH %s (FLAGS)', b'UID FETCH %s (BODY.PEEK[])', b'UID FETCH %s (FLAGS BODY[])',
                               b'UID FETCH %s BODYSTRUCTURE']) % self.uids())

    def search(self):
        self.do(b'SEARCH ' + self.r.choice([b'ALL', b'UNSEEN', b'BODY body', b'KEYWORD kw1', b'SUBJECT s1']), False)
        self.do(b'UID SEARCH RETURN (ALL COUNT) UNDELETED')

    def copy(self):
        other = BOXES[self.name == BOXES[0]]
        self.do(self.r.choice([b'COPY %s ' % self.sequence() + other, b'UID MOVE %s ' % self.uids() + other,
                               b'MOVE %d ' % self.r.randint(1, len(self.box)) + other,
                               b'COPY %s ' % self.sequence() + self.name]))

    def pipeline(self):
        self.do_all([(self.r.choice([b'UID FETCH %s (FLAGS)', b'UID STORE %s +FLAGS (kw2)']) % self.uids(), True)
                     for _ in range(self.r.randint(2, 6))])

    def run(self, end):
        try:
            self.select(self.r.choice(BOXES))
            while time.monotonic() < end:
                if len(self.box) < 3:
                    self.append()
                elif len(self.box) > 60:
                    self.do(b'STORE 1:40 +FLAGS (\\Deleted)', False)
                    self.do(b'EXPUNGE')
                else:
                    self.r.choice([self.append, self.remove, self.flags, self.flags, self.conditional, self.fetch, self.fetch,
                                   self.search, self.copy, self.pipeline, self.idle,
                                   lambda: self.select(self.r.choice(BOXES)), lambda: self.do(b'NOOP')])()
        except Exception as e:  # told by the test
            self.fault = e


@pytest.fixture()
def imapd():
    d = imap_real.Imapd(workers=2)
    yield d
    text = d.close()
    bad = [line for line in text.split('\n') if ' alarm ' in line or ' error ' in line]
    assert not bad, bad[:5]


def test_random_clients(imapd):
    seed = int(os.environ.get('SEED') or random.randrange(10000))
    print('SEED=%d' % seed)
    bodies = {}
    clients = [Client(imapd, i, seed, bodies) for i in range(6)]
    for name in BOXES:
        clients[0].c.ok(b'CREATE ' + name)
    end = time.monotonic() + float(os.environ.get('SECONDS') or 8)
    threads = [threading.Thread(target=c.run, args=(end,)) for c in clients]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for c in clients:
        assert c.fault is None, (seed, repr(c.fault))
    fresh = Client(imapd, 99, seed, bodies)
    truth = {}
    for name in BOXES:
        fresh.select(name)
        if fresh.box:
            fresh.do(b'FETCH 1:* (UID FLAGS)', False)
        truth[name] = [(m.uid, m.flags) for m in fresh.box]
    for c in clients:
        c.do(b'NOOP')
        assert len(c.box) == len(truth[c.name]), seed
        for m, (uid, flags) in zip(c.box, truth[c.name]):
            assert m.uid in (None, uid) and m.flags in (None, flags), (seed, m.uid, uid, m.flags, flags)
    assert sum(c.c.tags for c in clients) > 100
