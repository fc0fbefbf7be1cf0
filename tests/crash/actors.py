"""Who uses the suite while its processes are killed: owners change mailboxes over IMAP and know what must be there, watchers
only look, senders deliver over SMTP and LMTP, the registrar changes the directory. An answer is a promise that the model
keeps; where the connection fell before the answer, all or nothing may have come about, and a look decides which."""
import contextlib
import hashlib
import random
import re
import smtplib
import subprocess
import sys
import threading
import time

from imap_client import Imap, Lost, Refused, fetched, set_text, uid_set
from model import Box, Violation, is_delivery, match
import province as prov

SETTLE_SECONDS, PATIENCE = 25, 60


def body_of(ident):
    """The bytes of a message are a function of its name; one that ends in L is large."""
    if ident.endswith('L'):
        text = random.Random(ident).randbytes(300000).hex()
        lines = [text[i:i + 76] for i in range(0, len(text), 76)]
    else:
        h = hashlib.sha256(ident.encode()).hexdigest()
        lines = [h] * (1 + int(h[:2], 16) % 30)
    return ('From: mot@gialai.example\r\nSubject: %s\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n%s\r\n'
            % (ident, '\r\n'.join(lines))).encode()


class Actor(threading.Thread):
    def __init__(self, run, name):
        super().__init__(name=name, daemon=True)
        self.h, self.r = run, random.Random('%s %s' % (run.seed, name))
        self.steps, self.log = 0, []

    def note(self, text):
        self.log = self.log[-11:] + ['%8.2f %s' % (time.monotonic() - self.h.begin, text)]

    def run(self):
        try:
            self.begin_work()
            while True:
                with self.h.gate:
                    while self.h.paused and not self.h.ending:
                        self.h.resting.add(self.name)
                        self.h.gate.notify_all()
                        self.h.gate.wait()
                    self.h.resting.discard(self.name)
                    if self.h.ending:
                        return
                self.step()
                self.steps += 1
        except Violation as e:
            self.h.violation(self, str(e))
        except Exception as e:
            self.h.violation(self, 'the harness itself: %r' % e, sys.exc_info()[2])
        finally:
            with self.h.gate:
                self.h.resting.add(self.name)
                self.h.gate.notify_all()

    def begin_work(self):
        pass


class ImapActor(Actor):
    """Has a session, and makes a new one when it falls."""

    def __init__(self, run, name, user):
        super().__init__(run, name)
        self.user, self.c, self.selected = user, None, None

    def session(self):
        end = time.monotonic() + PATIENCE
        while not self.c:
            try:
                self.c = Imap(self.h.p.port('imap'), prov.address(self.user), prov.PASSWORD)
                self.selected = None
            except (Lost, Refused) as e:
                if 'UNAVAILABLE' not in str(e) and isinstance(e, Refused):
                    raise Violation('login: %s' % e)
                if time.monotonic() > end:
                    raise Violation('no login within %d s: %s' % (PATIENCE, e))
                time.sleep(0.05)
        return self.c

    def drop(self):
        if self.c:
            self.c.close()
        self.c = self.selected = None

    def select(self, name, verb='SELECT'):
        """(validity, uidnext)."""
        known = self.h.validity_of.get((self.user, name))
        floor = self.h.seen.floor(known) if known else 0
        text, got = self.session().run('%s "%s"' % (verb, name))
        self.selected = name
        all_text = b'\n'.join(got).decode(errors='replace')
        validity, uidnext = int(re.search(r'UIDVALIDITY (\d+)', all_text)[1]), int(re.search(r'UIDNEXT (\d+)', all_text)[1])
        self.h.seen.uidnext(validity, uidnext, floor if known == validity else 0)
        self.h.validity_of[(self.user, name)] = validity
        return validity, uidnext

    def read(self, name, first=1):
        """What is in a mailbox: (validity, uidnext, rows); all of it is noted as seen."""
        validity, uidnext = self.select(name, self.r.choice(('SELECT', 'EXAMINE')))
        self.selected = None
        _, got = self.c.run('UID FETCH %d:* (FLAGS RFC822.SIZE BODY.PEEK[HEADER.FIELDS (SUBJECT)])' % first)
        rows = [r for r in fetched(got) if r[0] >= first]
        for uid, ident, _, size in rows:
            self.h.seen.message(validity, uid, ident, size)
        return validity, uidnext, rows

    def list(self, pattern):
        _, got = self.session().run('LIST "" "%s"' % pattern)
        out = []
        for r in got:
            m = re.match(r'\* LIST \(([^)]*)\) "/" "?([^"]*)"?$', r.decode())
            if m and '\\Noselect' not in m[1] and '\\NonExistent' not in m[1]:
                out.append(m[2])
        return out


class Owner(ImapActor):
    """Changes the mailboxes whose names start with its letter; the first owner of an account has INBOX, too."""

    def __init__(self, run, name, user, letter, inbox, limit):
        super().__init__(run, name, user)
        self.letter, self.inbox, self.limit = letter, inbox, limit
        self.account = run.accounts[user]
        self.boxes, self.serial = {}, 0

    def begin_work(self):
        if self.inbox:
            self.boxes['INBOX'] = Box('INBOX')
        self.look([self.boxes], 'at first')
        for _ in range(2):
            self.create()

    # -- outcomes --

    def actual(self):
        names = self.list(self.letter + '*') + (['INBOX'] if self.inbox else [])
        return {n: self.read(n) for n in names}

    def compare(self, boxes, actual):
        """Why actual is not boxes, and the boxes with what was learnt."""
        if set(boxes) != set(actual):
            return 'mailboxes %s, not %s' % (sorted(actual), sorted(boxes)), None, None
        fresh, arrivals = {}, set()
        for name, box in boxes.items():
            why, fresh[name], came = match(box, actual[name], self.account)
            if why:
                return '%s: %s' % (name, why), None, None
            arrivals |= came
        return None, fresh, arrivals

    def adopt(self, fresh, arrivals):
        self.boxes = fresh
        for box in fresh.values():
            box.used |= set(box.msgs)
        with self.account.lock:
            self.account.arrived |= arrivals

    def look(self, candidates, what):
        """Find which of the candidates came about. All or nothing is promised once nothing is under way any more."""
        end, whys, held = time.monotonic() + SETTLE_SECONDS, [], 0
        while True:
            try:
                actual = self.actual()
                whys = []
                for i, boxes in enumerate(candidates):
                    why, fresh, arrivals = self.compare(boxes, actual)
                    if not why:
                        held = held + 1 if i == 0 else 2
                        if len(candidates) == 1 or held > 1:
                            self.adopt(fresh, arrivals)
                            return i
                        break
                    whys.append(why)
                time.sleep(0.4 if len(candidates) > 1 else 0.1)
            except Refused as e:
                whys = ['refused: %s' % e]
                time.sleep(0.1)
            except Lost as e:
                whys = ['lost: %s' % e]
                self.drop()
                time.sleep(0.05)
            if time.monotonic() > end:
                raise Violation('%s: %s' % (what, '; or: '.join(whys)))

    def attempt(self, what, change, command, literal=None, box=None):
        """One step: change(boxes) makes what an OK promises; command gives the text. Answers (text, responses) or None."""
        after = {n: b.copy() for n, b in self.boxes.items()}
        change(after)
        try:
            if box and self.selected != box:
                self.select(box)
            if not box:
                self.session()
        except (Lost, Refused) as e:
            if isinstance(e, Refused) and 'UNAVAILABLE' not in str(e):
                raise Violation('SELECT %s: %s' % (box, e))
            self.drop()
            self.look([self.boxes], 'after a lost connection')
            return None
        try:
            got = self.c.run(command, literal)
        except Lost as e:
            self.note('%s -> lost' % what)
            self.drop()
            i = self.look([self.boxes, after], what + ' (not answered)')
            self.note('   it was %s' % ('done' if i else 'not done'))
            self.h.unknown[bool(i)] += 1
            return None
        except Refused as e:
            self.note('%s -> %s' % (what, e))
            if 'UNAVAILABLE' not in str(e):
                raise Violation('%s: %s' % (what, e))
            # NO is a promise, too, but where it says that nobody can know.
            self.look([self.boxes, after] if 'nevertheless' in str(e) else [self.boxes], what + ' (refused)')
            return None
        self.note('%s -> %s' % (what, got[0][:60]))
        self.boxes = after
        self.h.acknowledged += 1
        return got

    def learn(self, got, dest, uids):
        """UIDs of a copy, from its response code."""
        text = got[0] + ' ' + b' '.join(r for r in got[1] if b'COPYUID' in r).decode(errors='replace')
        m = re.search(r'\[COPYUID (\d+) (\S+) (\S+)\]', text)
        if not m or uid_set(m[2]) != uids:
            raise Violation('COPYUID of %s: %s' % (set_text(uids), text[:100]))
        b = self.boxes[dest]
        if b.validity not in (None, int(m[1])):
            raise Violation('COPYUID names UIDVALIDITY %s, not %s' % (m[1], b.validity))
        fresh, b.new, b.validity = b.new, [], int(m[1])
        for uid, (ident, flags) in zip(uid_set(m[3]), fresh):
            self.h.seen.message(b.validity, uid, ident)
            b.learn(uid, ident, flags)

    # -- steps --

    def fresh_name(self):
        self.serial += 1
        return '%s%d' % (self.letter, self.serial)

    def create(self):
        name = self.fresh_name()

        def change(boxes):
            boxes[name] = Box(name)
        self.attempt('CREATE ' + name, change, 'CREATE "%s"' % name)

    def delete(self):
        names = [n for n in self.boxes if n != 'INBOX' and not any(o.startswith(n + '/') for o in self.boxes)]
        if len(names) < 2:
            return self.create()
        name = self.r.choice(names)

        def change(boxes):
            del boxes[name]
        if self.selected == name:
            self.drop()
        self.attempt('DELETE ' + name, change, 'DELETE "%s"' % name)

    def rename(self):
        names = [n for n in self.boxes if n != 'INBOX']
        name = self.r.choice(names)
        to = self.fresh_name()

        def change(boxes):
            for n in [n for n in boxes if n == name or n.startswith(name + '/')]:
                boxes[to + n[len(name):]] = boxes.pop(n)
                boxes[to + n[len(name):]].name = to + n[len(name):]
        if self.selected and (self.selected + '/').startswith(name + '/'):
            self.drop()
        self.attempt('RENAME %s %s' % (name, to), change, 'RENAME "%s" "%s"' % (name, to))

    def child(self):
        name = self.r.choice([n for n in self.boxes if n != 'INBOX' and '/' not in n]) + '/' + self.fresh_name()

        def change(boxes):
            boxes[name] = Box(name)
        self.attempt('CREATE ' + name, change, 'CREATE "%s"' % name)

    def pick(self, full=False):
        names = [n for n in self.boxes if not full or self.boxes[n].msgs]
        return self.r.choice(names) if names else None

    def append(self):
        name = self.pick()
        self.serial += 1
        ident = 'a%s-%d-%d%s' % (self.name, self.serial, self.h.seed, 'L' if self.r.random() < 0.05 else '')
        flags = frozenset(f for f in ('\\Seen', '\\Flagged', 'k1') if self.r.random() < 0.3)

        def change(boxes):
            boxes[name].new.append((ident, flags))
        got = self.attempt('APPEND %s %s' % (name, ident), change, 'APPEND "%s" (%s)' % (name, ' '.join(flags)),
                           body_of(ident))
        if not got:
            return
        m = re.search(r'\[APPENDUID (\d+) (\d+)\]', got[0])
        b = self.boxes[name]
        b.new, uid = [], int(m[2])
        if b.validity not in (None, int(m[1])):
            raise Violation('APPENDUID names UIDVALIDITY %s, not %s' % (m[1], b.validity))
        b.validity = int(m[1])
        self.h.seen.message(b.validity, uid, ident)
        b.learn(uid, ident, flags)

    def choose(self, name):
        """Some UIDs of it: one, a few, or all."""
        uids = sorted(self.boxes[name].msgs)
        share = self.r.choice((0, 0.3, 0.6, 1))
        return [u for u in uids if self.r.random() < share] or [self.r.choice(uids)]

    def copy(self, move=None):
        name, to = self.pick(True), self.pick()
        if not name:
            return self.append()
        move = self.r.random() < 0.5 if move is None else move
        uids = self.choose(name)
        if not move and len(self.boxes[to].msgs) + len(uids) > self.limit:
            return self.expunge(to)
        if move and to == name:
            return

        def change(boxes):
            for u in uids:
                boxes[to].new.append(boxes[name].msgs[u])
                if move:
                    del boxes[name].msgs[u]
        verb = 'MOVE' if move else 'COPY'
        got = self.attempt('%s %s %s %s' % (verb, name, set_text(uids)[:40], to), change,
                           'UID %s %s "%s"' % (verb, set_text(uids), to), box=name)
        if got:
            self.learn(got, to, uids)

    def flags(self, flag=None):
        name = self.pick(True)
        if not name:
            return self.append()
        uids, flag = self.choose(name), flag or self.r.choice(('\\Seen', '\\Answered', '\\Deleted', 'k1', 'k2'))
        on = self.r.random() < 0.6

        def change(boxes):
            for u in uids:
                ident, flags = boxes[name].msgs[u]
                boxes[name].msgs[u] = (ident, flags | {flag} if on else flags - {flag})
        self.attempt('STORE %s %s %s%s' % (name, set_text(uids)[:40], '+-'[not on], flag), change,
                     'UID STORE %s %sFLAGS.SILENT (%s)' % (set_text(uids), '+-'[not on], flag), box=name)

    def expunge(self, name=None):
        name = name or self.pick(True)
        if not name:
            return self.append()
        if len(self.boxes[name].msgs) > self.limit * 0.8:  # make room
            uids = sorted(self.boxes[name].msgs)[:int(self.limit * 0.6)]

            def mark(boxes):
                for u in uids:
                    ident, flags = boxes[name].msgs[u]
                    boxes[name].msgs[u] = (ident, flags | {'\\Deleted'})
            self.attempt('STORE %s %s +\\Deleted' % (name, set_text(uids)[:40]), mark,
                         'UID STORE %s +FLAGS.SILENT (\\Deleted)' % set_text(uids), box=name)

        def change(boxes):
            b = boxes[name]
            for u in [u for u in b.msgs if '\\Deleted' in b.msgs[u][1]]:
                del b.msgs[u]
        self.attempt('EXPUNGE ' + name, change, 'EXPUNGE', box=name)

    def rename_inbox(self):
        if not self.inbox:
            return self.copy()
        self.look([self.boxes], 'before RENAME INBOX')
        to = self.fresh_name()

        def change(boxes):
            boxes[to] = Box(to)
            boxes[to].takes_arrivals = True
            boxes[to].new = [boxes['INBOX'].msgs[u] for u in sorted(boxes['INBOX'].msgs)]
            boxes['INBOX'].msgs = {}
        self.drop()
        if self.attempt('RENAME INBOX ' + to, change, 'RENAME INBOX "%s"' % to):
            self.look([self.boxes], 'after RENAME INBOX')

    def check(self):
        self.look([self.boxes], 'a look')
        self.h.looks += 1

    def step(self):
        steps = ((self.append, 25), (self.copy, 16), (self.flags, 20), (self.expunge, 8), (self.create, 2), (self.delete, 2),
                 (self.rename, 3), (self.child, 1), (self.rename_inbox, 1), (self.check, 5))
        if len(self.boxes) > 7:
            return self.delete()
        self.r.choices([s for s, _ in steps], [w for _, w in steps])[0]()

    def check_bodies(self):
        """Every byte of (at most some) messages."""
        for name, box in self.boxes.items():
            if not box.msgs:
                continue
            self.select(name, 'EXAMINE')
            self.selected = None
            for uid in self.r.sample(sorted(box.msgs), min(len(box.msgs), 25)):
                ident = box.msgs[uid][0]
                _, got = self.c.run('UID FETCH %d (BODY.PEEK[])' % uid)
                want = b'\r\n\r\n' + body_of(ident).partition(b'\r\n\r\n')[2] + b')'
                if not any(r.endswith(want) for r in got):
                    raise Violation('%s UID %d: the bytes are not those of %s' % (name, uid, ident))
                self.h.bodies += 1


class Watcher(ImapActor):
    """Looks at all mailboxes of an account, and waits in IDLE."""

    def step(self):
        try:
            names = self.list('*')
            name = self.r.choice(names) if names and self.r.random() < 0.7 else 'INBOX'
            known = self.h.validity_of.get((self.user, name))
            first = max(1, self.h.seen.floor(known) - 30) if known and self.r.random() < 0.8 else 1
            validity, _, _ = self.read(name, first)
            if self.r.random() < 0.5:
                self.c.idle(0.3)
                _, got = self.c.run('UID FETCH %d:* (FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])' % first)
                for uid, ident, _, _ in fetched(got):
                    self.h.seen.message(validity, uid, ident)
        except Lost:
            self.drop()
        except Refused as e:  # deleted or renamed meanwhile
            if 'NONEXISTENT' not in str(e) and 'UNAVAILABLE' not in str(e) and 'No mailbox' not in str(e):
                raise Violation('a look at %s: %s' % (self.user, e))
        time.sleep(0.02)


class Sender(Actor):
    """Delivers, and repeats what was not answered or was told to come again, as mail systems do: over LMTP only the
    recipients for whom that is so."""

    def __init__(self, run, name, kind):
        super().__init__(run, name)
        self.kind, self.lmtp, self.c, self.n = kind, kind == 'lmtp', None, 0

    def connect(self):
        if self.lmtp:
            c = smtplib.LMTP('127.0.0.1', self.h.p.port('lmtp'), 'c.example')
        else:
            c = smtplib.SMTP('127.0.0.1', self.h.p.port('smtp' if self.kind == 'smtp' else 'submission'), 'c.example', timeout=60)
        c.sock.settimeout(60)
        c.ehlo_or_helo_if_needed()
        if self.kind == 'submission':
            c.login(prov.address('mot'), prov.PASSWORD)
        self.c = c

    def once(self, to, data):
        """The reply for the whole message or each recipient: True, False (refused for now), None (not known)."""
        sent = False
        try:
            if not self.c:
                self.connect()
            code, text = self.c.mail('mot@gialai.example' if self.kind == 'submission' else 'a@ngoai.example')
            codes = [self.c.rcpt(prov.address(t)) for t in to] if code == 250 else [(code, text)]
            bad = [c for c in codes if c[0] != 250]
            if bad:
                if bad[0][0] >= 500 or bad[0][0] < 0:
                    raise Violation('RCPT %s: %s' % (to, bad))
                self.c.rset()
                return [False] * len(to)
            code, text = self.c.docmd('DATA')
            if code != 354:
                if code >= 500 or code < 0:
                    raise smtplib.SMTPServerDisconnected(str(code))
                return [False] * len(to)
            sent = True
            self.c.send(data.replace(b'\r\n.', b'\r\n..') + b'.\r\n')
            codes = [self.c.getreply()[0] for _ in (to if self.lmtp else to[:1])]
            if any(c >= 500 or c < 0 for c in codes):
                raise Violation('DATA: %s' % codes) if max(codes) >= 500 else smtplib.SMTPServerDisconnected('')
            return [c == 250 for c in codes] * (1 if self.lmtp else len(to))
        except (smtplib.SMTPException, OSError) as e:
            if isinstance(e, smtplib.SMTPResponseException) and e.smtp_code >= 500:
                raise Violation('%s' % e)
            if self.c:
                self.c.close()
            self.c = None
            return [None if sent else False] * len(to)

    def step(self):
        self.n += 1
        ident = 'd%s-%d-%d%s' % (self.name, self.n, self.h.seed, 'L' if self.r.random() < 0.03 else '')
        users = list(self.h.accounts)
        group = self.kind == 'submission' and self.r.random() < 0.3
        to = ['nhom'] if group else self.r.sample(users, self.r.choice((1, 1, 2, 3)))
        data = body_of(ident)
        patient, end = self.r.random() < 0.9, time.monotonic() + PATIENCE
        for u in users if group else to:
            self.h.sent[(ident, u)] = None
        while True:
            outcome = self.once(to, data)
            for u, ok in zip(to, outcome):
                for v in users if group else [u]:
                    if ok:
                        self.h.sent[(ident, v)] = True
            to = [t for t, ok in zip(to, outcome) if not ok] if self.lmtp else to
            if all(outcome):
                self.h.delivered += 1
                break
            if any(o is None for o in outcome):
                self.h.unanswered += 1
                if not patient:
                    break
            if time.monotonic() > end:
                raise Violation('%s is not taken' % ident)
            time.sleep(0.05)
        time.sleep(0.01)


class Keeper(Actor):
    """Has the store purged and compacted all the time: what is past its (short) window goes while everything else goes on."""

    def step(self):
        time.sleep(0.3)
        words = [prov.MAILADM, '--config', self.h.p.conf, 'store', self.r.choice(('purge', 'purge', 'compact'))]
        with contextlib.suppress(subprocess.TimeoutExpired):  # it goes on by itself
            subprocess.run(words, capture_output=True, timeout=3)


class Registrar(Actor):
    """Gives a person another alias, and has the directory read: from the answer on it is known, and the one before is not."""

    def begin_work(self):
        self.alias = 0

    def step(self):
        time.sleep(0.6)
        n = self.alias + 1
        self.h.write_directory(n)
        end = time.monotonic() + PATIENCE
        while self.h.p.adm('directory', 'sync', check=False).returncode != 0:
            if time.monotonic() > end:
                raise Violation('the directory is not read within %d s' % PATIENCE)
            time.sleep(0.05)
        self.alias = n
        while time.monotonic() < end:
            try:
                with self.h.p.smtp() as c:
                    c.ehlo_or_helo_if_needed()
                    c.mail('a@ngoai.example')
                    new, old = (c.rcpt(prov.address('bidanh%d' % a))[0] for a in (n, n - 1))
            except (smtplib.SMTPException, OSError):
                new = old = 451
            if new == 250 and old == 550:
                self.h.readings += 1
                return
            if new >= 500 or old == 250:
                raise Violation('alias %d answers %d, alias %d answers %d' % (n, new, n - 1, old))
            time.sleep(0.05)
