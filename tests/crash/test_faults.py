"""Faults of the disk, the clock and a worker under the whole suite, each by name with its outcome: a clear error, 4xx or NO, an
alarm in the log, nothing that was acknowledged lost, no wrong answer, and service again when the fault is over. Calls of
stored fail through the shim disk.c; files are damaged while it is stopped."""
import contextlib
import errno
import glob
import mmap
import os
import re
import signal
import smtplib
import struct
import sys
import tempfile
import threading
import time

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, '..', 'lib')]
import province as prov  # noqa: E402
from harness import ERROR, STALL, FaultPage, faulty_programs, people  # noqa: E402
from imap_client import Imap, Lost, Refused, fetched  # noqa: E402

SHIM = os.path.join(prov.BUILD, 'tests', 'crash', 'disk.so')
WRITE, SYNC, READ, NAME = 1, 2, 4, 8
pytestmark = pytest.mark.skipif(bool(prov.built()) or not os.path.exists(SHIM), reason='not built')


class Disk:
    """disk_page.h from the test's side."""

    def __init__(self, path):
        with open(path, 'wb') as f:
            f.truncate(4096)
        os.chmod(path, 0o666)
        with open(path, 'r+b') as f:
            self.m = mmap.mmap(f.fileno(), 4096)
        struct.pack_into('=iIII', self.m, 0, -1, 0, 1, 4096)

    def fail(self, ops, error, path, times=1, skip=0):
        self.well()
        self.m[32:96] = path.encode().ljust(64, b'\0')
        struct.pack_into('=III', self.m, 20, error, skip, times)
        struct.pack_into('=Q', self.m, 144, 0)
        struct.pack_into('=I', self.m, 16, ops)

    def well(self):
        struct.pack_into('=I', self.m, 16, 0)

    def failed(self):
        return struct.unpack_from('=Q', self.m, 144)[0]

    def shift_clock(self, seconds):
        struct.pack_into('=q', self.m, 96, seconds * 1000000)


class World:
    """A province whose stored has the shim, and what was acknowledged."""

    def __init__(self, more=''):
        self.scratch = tempfile.mkdtemp(prefix='faults-')
        os.chmod(self.scratch, 0o755)
        self.disk = Disk(self.scratch + '/disk')
        self.pages = {d: FaultPage(os.path.join(self.scratch, d)) for d in ('stored', 'directoryd')}
        with open(self.scratch + '/people.ldif', 'w') as f:
            f.write(people(('mot', 'hai', 'ba', 'bon')))
        self.n, self.acked, self.mark = 0, set(), {}
        programs = faulty_programs(self.scratch + '/programs')
        conf = ('store_cache_size = 16M\nstore_segment_size = 1M\nstore_checkpoint_interval = 300ms\n'
                'auth_plaintext_without_tls = yes\nauth_failure_delay = 0s\n' + more)
        with self.environment():
            self.p = prov.Province(conf, ldif=self.scratch + '/people.ldif', programs=programs)
        self.send(3)

    @contextlib.contextmanager
    def environment(self):
        """Only the daemons get the shim. DISK_DIR is a part of the path: the folder's name is not known before."""
        mine = {'LD_PRELOAD': SHIM, 'DISK_CONTROL': self.scratch + '/disk', 'DISK_DIR': tempfile.gettempdir() + '/province-',
                'PROVMAIL_FAULTS': self.scratch}
        os.environ.update(mine)
        try:
            yield
        finally:
            for k in mine:
                del os.environ[k]

    def start(self):
        with self.environment():
            self.p.start()

    # -- what people do --

    def text(self, ident, size=0):
        return prov.message('a@ngoai.example', 'mot@gialai.example', ident, 'nội dung\n' * 5 + os.urandom(size // 2).hex(), number=ident)

    def deliver(self, size=0):
        """One try: the code, 0 when the connection fell."""
        self.n += 1
        ident = 'thu%d' % self.n
        try:
            with self.p.smtp() as c:
                c.sendmail('a@ngoai.example', ['mot@gialai.example'], self.text(ident, size))
            self.acked.add(ident)
            return 250
        except smtplib.SMTPRecipientsRefused as e:
            return list(e.recipients.values())[0][0]
        except smtplib.SMTPResponseException as e:
            return e.smtp_code
        except (smtplib.SMTPException, OSError):
            return 0

    def send(self, count=1, size=0):
        """Until they are taken."""
        for _ in range(count):
            prov.until(lambda: self.deliver(size) == 250, 25)

    def session(self, user='mot'):
        def once():
            with contextlib.suppress(Lost, Refused):
                return Imap(self.p.port('imap'), prov.address(user), prov.PASSWORD)
        return prov.until(once, 25)

    def inbox(self):
        """The idents in INBOX, ascending by UID; every body is read."""
        c = self.session()
        c.run('SELECT INBOX')
        rows = fetched(c.run('UID FETCH 1:* (FLAGS BODY.PEEK[])')[1])
        c.close()
        return [r[1] for r in rows]

    # -- what must be --

    def alarm(self, daemon, event, seconds=10):
        """An alarm of this name since the case began."""
        def found():
            text = self.p.log(daemon)[self.mark.get(daemon, 0):]
            return [l for l in text.split('\n') if ' alarm ' in l[:60] and event in l]
        return prov.until(found, seconds)[0]

    def begin(self):
        self.disk.well()
        self.mark = {d: len(self.p.log(d)) for d in prov.DAEMONS}

    def whole(self):
        """All is well again, and all that was acknowledged is there once."""
        self.disk.well()
        for d in prov.DAEMONS:
            self.p.wait_ready(d, 0, 20)
        self.send()
        have = self.inbox()
        assert len(have) == len(set(have)), 'a message came twice'
        assert self.acked <= set(have), sorted(self.acked - set(have))

    def close(self):
        self.p.close()


@pytest.fixture(scope='module')
def world():
    w = World()
    yield w
    w.close()


@pytest.fixture
def w(world):
    world.begin()
    return world


def say(name, outcome):
    print('\n%s: %s' % (name, outcome))


# -- calls that fail --

DEADLY = (  # name, ops, errno, path, what the alarm says, size of the message
    ('fdatasync of a segment returns EIO', SYNC, errno.EIO, '.seg', 'syncing contents', 0),
    ('write to a segment returns EIO', WRITE, errno.EIO, '.seg', 'writing contents', 0),
    ('fdatasync of the log returns EIO', SYNC, errno.EIO, '/log.', 'store.failed', 0),
    ('write to the log returns EIO', WRITE, errno.EIO, '/log.', 'store.failed', 0),
    ('write to the journal of pages returns EIO', WRITE, errno.EIO, '/pages', 'store.failed', 0),
    ('fdatasync of the journal of pages returns EIO', SYNC, errno.EIO, '/pages', 'store.failed', 0),
    ('write of a database page returns EIO', WRITE, errno.EIO, '.db', 'store.failed', 0),
    ('fdatasync of a database returns EIO', SYNC, errno.EIO, '.db', 'store.failed', 0),
    ('fdatasync of a large message returns EIO', SYNC, errno.EIO, '.seg', 'store.failed', 700000),
)


@pytest.mark.parametrize('name,ops,error,path,what,size', DEADLY, ids=[d[0] for d in DEADLY])
def test_ends_at_once(w, name, ops, error, path, what, size):
    old = w.p.pid('stored')
    # the library repeats a single write of the log by another call
    w.disk.fail(ops, error, path, times=0 if (ops, path) == (WRITE, '/log.') else 1)
    codes = [w.deliver(size) if w.disk.failed() < 2 else 0 for _ in range(3)]
    line = w.alarm('stored', what)
    w.disk.well()
    w.p.wait_ready('stored', old, 20)
    assert all(c in (0, 250) or 400 <= c < 500 for c in codes), codes
    w.whole()
    say(name, 'stored ended with the alarm "%s", was back and asked again; replies %s' % (line[line.index('what='):][:60], codes))


FULL = (
    ('a segment meets ENOSPC', WRITE, '.seg', 'store.disk.full'),
    ('a new segment meets ENOSPC', NAME, '.seg', 'store.disk.full'),
    ('the journal of pages meets ENOSPC', WRITE, '/pages', 'store.checkpoint.failed'),
    ('the databases meet ENOSPC', WRITE, '.db', 'store.checkpoint.failed'),
)


@pytest.mark.parametrize('name,ops,path,event', FULL, ids=[f[0] for f in FULL])
def test_full_disk(w, name, ops, path, event):
    old = w.p.pid('stored')
    w.disk.fail(ops, errno.ENOSPC, path, times=0)
    codes = [w.deliver(1500000) for _ in range(4)]
    w.alarm('stored', event)
    before = w.disk.failed()
    assert before and all(c == 250 or 400 <= c < 500 for c in codes), codes
    assert path != '.seg' or 250 not in codes
    w.whole()
    assert w.p.pid('stored') == old, 'stored ended'
    say(name, 'alarm %s, replies %s, service goes on, and again when there is space' % (event, codes))


def test_log_meets_enospc(w):
    """The log's tail cannot be written: nothing may be answered, so stored ends, and comes back when there is space."""
    old = w.p.pid('stored')
    w.disk.fail(WRITE, errno.ENOSPC, '/log.', times=0)
    code = w.deliver()
    w.disk.well()
    w.p.wait_ready('stored', 0, 20)
    assert code in (0, 250) or 400 <= code < 500
    w.whole()
    say('the log meets ENOSPC', 'reply %d; stored %s' % (code, 'went on' if w.p.pid('stored') == old else 'ended with an alarm and is back'))


def test_reading_a_database_returns_eio(w):
    """At a start, when nothing is in memory yet."""
    old = w.p.pid('stored')
    w.disk.fail(READ, errno.EIO, 'message.db', times=0)
    w.p.kill('stored')
    w.alarm('stored', 'store.')
    w.whole()
    assert w.p.pid('stored') != old
    say('reading a database page returns EIO', 'stored does not start, with an alarm, until it can be read')


# -- damaged files --

def stopped(w):
    """Stop all, so that files can be changed; answers the store's folder."""
    w.p.stop()
    return os.path.join(w.p.state, 'mail')


def flip(path, at):
    with open(path, 'r+b') as f:
        f.seek(at)
        b = f.read(1)
        f.seek(at)
        f.write(bytes((b[0] ^ 0x40,)))


def damaged_message(w, damage, name, size):
    """damage(path of the segment, its size): the message is refused with an alarm, the others are whole. The answer to a large
    one has begun when the damage is met, and a literal cannot be taken back: the connection is closed."""
    w.send(1, size)
    victim = 'thu%d' % w.n
    uid = None
    mail = stopped(w)
    path = max(glob.glob(mail + '/segments/*.seg'), key=lambda p: (os.path.getsize(p) > 64, p))
    size = os.path.getsize(path)
    w.start()
    c = w.session()
    c.run('SELECT INBOX')
    uid = [r[0] for r in fetched(c.run('UID FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])')[1]) if r[1] == victim][0]
    c.close()
    stopped(w)
    keep = open(path, 'rb').read()
    damage(path, size)
    w.start()
    try:
        c = w.session()
        c.run('SELECT INBOX')
        try:
            got = c.run('UID FETCH %d (BODY.PEEK[])' % uid)[1]
            assert not any(b'BODY[]' in g for g in got), 'bytes of a damaged message were handed out'
            outcome = 'no bytes'
        except Refused as e:
            outcome = str(e)
        except Lost:
            assert size > 100000
            outcome = 'the connection is closed, as the answer has begun'
            c = w.session()
            c.run('SELECT INBOX')
        others = [r for r in fetched(c.run('UID FETCH 1:2 (FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])')[1])]
        assert others
        c.close()
        line = w.alarm('stored', 'store.')
        w.send()
    finally:
        stopped(w)
        with open(path, 'wb') as f:
            f.write(keep)
        w.start()
    w.whole()
    say(name, 'FETCH: %s; alarm %s; the others are read, mail comes in' % (outcome, line.split(' ')[3]))


def test_bit_flip_in_a_segment(w):
    damaged_message(w, lambda path, size: flip(path, size - 100), 'a bit flipped in a segment', 2000)


def test_bit_flip_in_a_large_message(w):
    damaged_message(w, lambda path, size: flip(path, size - 100), 'a bit flipped in a large message', 500000)


def test_truncated_segment(w):
    damaged_message(w, lambda path, size: os.truncate(path, size - 100), 'a truncated segment', 2000)


def test_missing_segment(w):
    damaged_message(w, lambda path, size: os.unlink(path), 'a missing segment', 2000)


def page_sums(path):
    """(page number, type) of all pages."""
    with open(path, 'rb') as f:
        data = f.read()
    size = struct.unpack_from('<I', data, 20)[0]
    return size, [data[at + 25] for at in range(0, len(data), size)]


def test_damaged_database_page(w):
    """One page of the contents' records: who needs it is told NO with an alarm, all others are served, stored lives on, mailadm
    says what is wrong; no wrong answer. It is put right from a copy, as from a backup."""
    w.send(30)
    mail = stopped(w)
    path = mail + '/db/content.db'
    size, types = page_sums(path)
    leaves = [n for n, kind in enumerate(types) if kind == 5]
    assert len(leaves) > 2
    victim = leaves[len(leaves) // 2]
    flip(path, victim * size + size // 2)
    w.start()
    pid = w.p.pid('stored')
    c = w.session()
    c.run('SELECT INBOX')
    uids = [int(x) for x in b' '.join(c.run('UID SEARCH ALL')[1]).split()[2:]]
    whole, refused = [], 0
    for uid in uids:
        try:
            whole += [r[1] for r in fetched(c.run('UID FETCH %d (FLAGS BODY.PEEK[])' % uid)[1])]
        except Refused as e:
            assert 'SERVERBUG' in str(e), e
            refused += 1
        except Lost:  # a literal that had begun
            refused += 1
            c = w.session()
            c.run('SELECT INBOX')
    assert refused and len(whole) == len(uids) - refused and len(set(whole)) == len(whole)
    assert set(whole) <= w.acked
    line = w.alarm('stored', 'store.page.damaged')
    assert 'content.db' in line and 'page=%d' % victim in line, line
    w.send(3)
    assert w.p.pid('stored') == pid
    assert 'page %d of db/content.db is damaged' % victim in w.p.adm('status').stdout
    assert w.p.adm_json('store', 'stats')['damaged_pages'] == 1
    found = w.p.adm('store', 'verify', check=False).stdout
    assert 'db/content.db has a damaged page' in found, found
    assert w.p.pid('stored') == pid
    c.close()
    stopped(w)
    flip(path, victim * size + size // 2)
    w.start()
    assert 'damaged' not in w.p.adm('status').stdout
    w.p.adm('store', 'verify')  # the look at half of it has changed nothing
    w.whole()
    say('a damaged page of content.db', '%d of %d messages were told NO, the others served, stored lived on' % (refused, len(uids)))


def test_damaged_page_that_a_delivery_needs(w):
    """It is told 451 and leaves nothing behind, whatever of its transaction had been done; the repeat is taken once all is well."""
    mail = stopped(w)
    path = mail + '/db/message.db'
    size, types = page_sums(path)
    leaves = [n for n, kind in enumerate(types) if kind == 5]
    for n in leaves:
        flip(path, n * size + 40)
    w.start()
    pid = w.p.pid('stored')
    assert [w.deliver() for _ in range(3)] == [451] * 3
    refused = {'thu%d' % n for n in range(w.n - 2, w.n + 1)}
    with pytest.raises(Refused, match='SERVERBUG'):
        w.inbox()
    w.alarm('stored', 'store.page.damaged')
    assert w.p.pid('stored') == pid
    stopped(w)
    for n in leaves:
        flip(path, n * size + 40)
    w.start()
    w.whole()
    assert not set(w.inbox()) & refused
    w.p.adm('store', 'verify')  # 0: nothing was found
    say('a damaged page that a delivery needs', '451, nothing left behind')


def test_damaged_pages_that_a_start_needs(w):
    """All pages of the table that a start reads: it fails with an alarm that names the file and what to do, again and again with
    a back-off, and mailadm status says it."""
    mail = stopped(w)
    path = mail + '/db/store.db'
    size, types = page_sums(path)
    for n, kind in enumerate(types):
        if kind == 5:
            flip(path, n * size + size - 3)
    starting = threading.Thread(target=w.start)
    starting.start()
    line = w.alarm('stored', 'store.start.failed', 20)
    assert 'db/store.db has a damaged page' in line and 'mailadm restore' in line, line
    text = w.p.adm('status', check=False).stdout
    assert 'stored does not start' in text and 'mailadm restore' in text, text
    for n, kind in enumerate(types):
        if kind == 5:
            flip(path, n * size + size - 3)
    starting.join()  # it is up at the next try
    assert 'trouble' not in w.p.adm('status', '--json').stdout
    w.whole()
    say('a damaged page that the start needs', 'alarm, no start, "mailadm status" says what to do')


# -- the clock, workers, the directory --

def test_clock_set_backwards(w):
    c = w.session()

    def validity(name):
        c.run('CREATE %s' % name)
        return int(re.search(rb'UIDVALIDITY (\d+)', b' '.join(c.run('SELECT %s' % name)[1]))[1])
    first = validity('truoc')
    for n, shift in enumerate((-3600, -86400 * 400, 0)):
        w.disk.shift_clock(shift)
        w.send(2)
        c.close()
        c = w.session()
        now = validity('sau%d' % n)
        assert now > first, 'UIDVALIDITY fell'
        first = now
        c.run('SELECT INBOX')
        c.run('UID STORE 1:* +FLAGS (\\Seen)')
        old = w.p.kill('stored')
        w.p.wait_ready('stored', old, 20)
    c.close()
    w.disk.shift_clock(0)
    w.whole()
    say('the clock set backwards by an hour and by 400 days, with restarts', 'mail, logins, flags go on; UIDVALIDITY rises')


def test_worker_that_stops_reading(w):
    """A stopped imapd worker with watches and answers under way: others are served, and it goes on or is dropped."""
    c = w.session()
    c.run('SELECT INBOX')
    c.send(b'x IDLE\r\n')
    pid = w.p.pid('imapd')
    with open('/proc/%d/task/%d/children' % (pid, pid)) as f:
        workers = [int(x) for x in f.read().split()]
    for x in workers:
        os.kill(x, signal.SIGSTOP)
    try:
        begin = time.monotonic()
        w.send(100)
        took = time.monotonic() - begin
    finally:
        for x in workers:
            os.kill(x, signal.SIGCONT)
    c.close()
    w.whole()
    say('imapd workers that stop reading', '100 messages were taken meanwhile in %.1f s' % took)


def test_copy_of_the_directory_fails(w):
    old = w.p.pid('directoryd')
    w.pages['directoryd'].arm('directory.commit', ERROR, errno.EIO)
    with open(w.p.ldif, 'r+') as f:
        text = f.read().replace('cn: bon\n', 'cn: bon bon\n')
        f.seek(0)
        f.write(text)
    w.p.adm('directory', 'sync', check=False)
    w.alarm('directoryd', 'directory.database.failed')
    w.p.wait_ready('directoryd', old, 20)
    w.whole()
    say("a commit of the directory's copy returns EIO", 'directoryd ended with an alarm and is back')


def test_flush_that_hangs():
    """The disk hangs in the flush of the log while stored lives. What the writer has taken is waited for beyond the patience;
    when that is over, too, the answer says that it may be done, and a repeated message is there once. What waits behind it is
    refused for certain."""
    patience = 3
    w = World('store_patience = %ds\n' % patience)
    try:
        for hang, taken in ((patience + 2, True), (3 * patience + 3, False)):
            answers = {}
            c = w.session()
            c.run('SELECT INBOX')
            smtp, lmtp, late = w.text('smtp%d' % hang), w.text('lmtp%d' % hang), w.text('late%d' % hang)

            def send(kind, data):
                """One try: the code."""
                with (w.p.lmtp() if kind == 'lmtp' else w.p.smtp()) as s:
                    s.sock.settimeout(60)
                    try:
                        s.sendmail('a@ngoai.example', ['mot@gialai.example'], data)
                        return 250
                    except smtplib.SMTPDataError as e:
                        return e.smtp_code
                    except smtplib.SMTPRecipientsRefused as e:
                        return list(e.recipients.values())[0][0]

            def ask(name, f, *args):
                t = threading.Thread(target=lambda: answers.update({name: f(*args)}))
                t.start()
                return t

            def append():
                try:
                    c.run('APPEND INBOX', literal=w.text('imap%d' % hang))
                    return 'OK'
                except Refused as e:
                    return str(e)
            # They come in one batch: the stall begins with the next one, in front of its flush.
            w.pages['stored'].arm('store.batch.taken', STALL, 1200)
            first = ask('first', send, 'smtp', w.text('first%d' % hang))
            prov.until(lambda: w.pages['stored'].fired(), 10)
            threads = [first, ask('smtp', send, 'smtp', smtp), ask('lmtp', send, 'lmtp', lmtp), ask('imap', append)]
            time.sleep(0.8)
            w.pages['stored'].arm('store.batch.committed', STALL, hang * 1000, skip=1)
            prov.until(lambda: w.pages['stored'].fired(), 10)
            threads.append(ask('late', send, 'smtp', late))
            for t in threads:
                t.join()
            c.close()
            if taken:
                assert answers == {'first': 250, 'smtp': 250, 'lmtp': 250, 'imap': 'OK', 'late': 451}, answers
            else:
                assert [answers[k] for k in ('first', 'smtp', 'lmtp', 'late')] == [250, 451, 451, 451], answers
                assert 'may be done nevertheless' in answers['imap'], answers
            prov.until(lambda: 'imap%d' % hang in w.inbox(), 20)
            inbox = w.inbox()
            assert [inbox.count(k % hang) for k in ('first%d', 'smtp%d', 'lmtp%d', 'imap%d', 'late%d')] == [1, 1, 1, 1, 0], inbox
            for kind, data in (('smtp', smtp), ('lmtp', lmtp), ('smtp', late)) if not taken else (('smtp', late),):
                assert send(kind, data) == 250
            inbox = w.inbox()
            assert [inbox.count(k % hang) for k in ('smtp%d', 'lmtp%d', 'imap%d', 'late%d')] == [1, 1, 1, 1], inbox
        say('the disk hangs in a flush', 'what was taken is waited for; told "may be done" after three patiences, and once after repeats')
    finally:
        w.close()


def test_long_queue_is_no_standstill():
    """A large message that takes long keeps another large one waiting beyond the patience, while the writer serves the small ones
    at once: nothing is given up."""
    patience = 3
    w = World('store_patience = %ds\n' % patience)
    try:
        codes, took = {}, {}

        def send(ident):
            begin = time.monotonic()
            with w.p.smtp() as s:
                s.sock.settimeout(60)
                try:
                    s.sendmail('a@ngoai.example', ['mot@gialai.example'], w.text(ident, 1500000))
                    codes[ident] = 250
                except smtplib.SMTPDataError as e:
                    codes[ident] = e.smtp_code
            took[ident] = time.monotonic() - begin
        w.pages['stored'].arm('store.large.copied', STALL, (2 * patience + 1) * 1000)
        threads = [threading.Thread(target=send, args=('lon%d' % i,)) for i in range(2)]
        threads[0].start()
        prov.until(lambda: w.pages['stored'].fired(), 20)
        threads[1].start()
        small = 0
        while any(t.is_alive() for t in threads):
            assert w.deliver() == 250
            small += 1
            time.sleep(0.1)
        assert codes == {'lon0': 250, 'lon1': 250}, codes
        assert min(took.values()) > patience and small > 5, (took, small)
        inbox = w.inbox()
        assert inbox.count('lon0') == inbox.count('lon1') == 1
        say('a large message that takes long', 'the one behind it waited %.1f s, %d small ones did not' % (took['lon1'], small))
    finally:
        w.close()


def test_death_while_a_store_is_made():
    scratch = tempfile.mkdtemp(prefix='faults-')
    os.chmod(scratch, 0o755)
    page = FaultPage(scratch + '/stored')
    FaultPage(scratch + '/directoryd')
    page.arm('store.making.done')
    os.environ['PROVMAIL_FAULTS'] = scratch
    try:
        p = prov.Province(programs=faulty_programs(scratch + '/programs'))
    finally:
        del os.environ['PROVMAIL_FAULTS']
    try:
        assert page.fired() == 1
        assert 'store.making.begun_again' in p.log('stored')
        p.wait_ready('smtpd')
        p.send('a@ngoai.example', 'an', prov.message('a@ngoai.example', 'an', 'moi'))
    finally:
        p.close()
    say('death before a new store is whole', 'it was made anew')
