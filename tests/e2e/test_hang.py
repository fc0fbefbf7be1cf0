"""A helper that stands still while it is connected (SIGSTOP): sessions hear "try again" in time, what was answered so is not
done later, and there once when the client repeats it, and long work is not taken for a standstill. And a reload that sends sessions away one
by one."""
import contextlib
import imaplib
import os
import select
import signal
import smtplib
import sys
import threading
import time

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'lib'))
import province as prov  # noqa: E402

PATIENCE = 3
GRACE = 6
BOUND = 25  # for what must come after PATIENCE, on a machine that has much to do


@pytest.fixture(scope='module')
def still():
    """One of its own, of little patience."""
    why = prov.built()
    if why:
        pytest.skip(why)
    p = prov.Province('store_patience = %ds\ndirectory_patience = %ds\nreload_grace = %ds\n' % (PATIENCE, PATIENCE, GRACE), workers=1)
    os.chmod(p.state + '/tls/key.pem', 0o644)  # the reload reads it with the rights that are left
    yield p
    alarms = p.alarms()
    p.close()
    assert not alarms, alarms[:10]


@contextlib.contextmanager
def stopped(p, daemon):
    pid = p.kill(daemon, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def in_time(begin):
    took = time.monotonic() - begin
    assert PATIENCE * 0.8 <= took < BOUND, took


def envelope(c, sender, to):
    c.ehlo_or_helo_if_needed()
    assert c.mail(sender)[0] == 250
    assert c.rcpt(prov.address(to))[0] == 250


def submit(p, data, inside=contextlib.nullcontext):
    """One try of one message: code, text."""
    with p.smtp() as c:
        envelope(c, 'xa@ngoai.example', 'an')
        with inside():
            begin = time.monotonic()
            code, text = c.data(data)
            if code != 250:
                in_time(begin)
        return code, text.decode()


def settled(p):
    """True once all that lay in stored's queue has been looked at: what is asked now is answered behind it."""
    return submit(p, prov.message('xa@ngoai.example', prov.address('minh'), 'settled'))[0] == 250


def trace_of(text):
    return text.split()[-1].strip('<>')


def test_smtp_while_stored_stands_still(still, word):
    """451 in time; the message is not stored later, when stored goes on; the repeat is, and there is one copy."""
    data = prov.message('xa@ngoai.example', prov.address('an'), word)
    code, text = submit(still, data, lambda: stopped(still, 'stored'))
    assert code == 451, (code, text)
    assert settled(still) and not still.find('an', word)
    code, text = submit(still, data)
    assert code == 250, (code, text)
    assert len(still.find('an', word)) == 1
    # It is the trace of what was stored: the Received field names it.
    assert trace_of(text) in still.find('an', word)[0].decode()


def test_smtp_repeats_while_stored_still_stands_still(still, word):
    """Two tries, both told 451, lie in one queue when it goes on: neither is stored, the third is."""
    data = prov.message('xa@ngoai.example', prov.address('an'), word)
    with stopped(still, 'stored'):
        for _ in range(2):
            code, text = submit(still, data)
            assert code == 451, (code, text)
    assert settled(still) and not still.find('an', word)
    code, text = submit(still, data)
    assert code == 250, (code, text)
    assert len(still.find('an', word)) == 1


def lmtp(p, data, to, inside=contextlib.nullcontext):
    """One try of one message over LMTP: {who: (code, text)}."""
    with p.lmtp() as c:
        c.ehlo_or_helo_if_needed()
        assert c.mail('xa@ngoai.example')[0] == 250
        for t in to:
            assert c.rcpt(prov.address(t))[0] == 250
        assert c.docmd('DATA')[0] == 354
        with inside():
            begin = time.monotonic()
            c.sock.settimeout(60)
            c.send(data.replace(b'\r\n.', b'\r\n..') + b'.\r\n')
            got = {t: c.getreply() for t in to}
            if any(code != 250 for code, _ in got.values()):
                in_time(begin)
        return {t: (code, text.decode()) for t, (code, text) in got.items()}


def test_lmtp_while_stored_stands_still(still, word):
    """451 to each recipient; whatever the peer comes back with (some of them, others, all), each mailbox has it once, and
    each reply names the trace of the copy that is there."""
    data = prov.message('xa@ngoai.example', prov.address('an'), word)
    got = lmtp(still, data, ['an', 'binh'], lambda: stopped(still, 'stored'))
    assert [code for code, _ in got.values()] == [451, 451], got
    for to in (['binh', 'dung'], ['an']):
        got = lmtp(still, data, to)
        assert all(code == 250 for code, _ in got.values()), got
        for t, (_, text) in got.items():
            copies = still.find(t, word)
            assert len(copies) == 1, (t, len(copies))
            assert trace_of(text) in copies[0].decode()


def test_lmtp_repeats_while_stored_still_stands_still(still, word):
    """Three tries in other company, all told 451, lie in one queue when stored goes on."""
    data = prov.message('xa@ngoai.example', prov.address('an'), word)
    with stopped(still, 'stored'):
        for to in (['an', 'binh', 'dung'], ['binh'], ['dung', 'an']):
            got = lmtp(still, data, to)
            assert all(code == 451 for code, _ in got.values()), got
    got = lmtp(still, data, ['dung', 'binh', 'an'])
    assert all(code == 250 for code, _ in got.values()), got
    for t in got:
        assert len(still.find(t, word)) == 1, t


def test_imap_while_stored_stands_still(still, word):
    """NO [UNAVAILABLE] to writes and to a read, on an open session and to a login; then all goes on. What was told NO
    is not done later, and done once when it is asked again."""
    c = still.imap('binh', select='INBOX')
    assert c.create(word)[0] == 'OK'
    for n in range(2):
        assert c.append('INBOX', None, None, prov.message('a@b.example', 'c@d.example', word + '-da-co'))[0] == 'OK'
    assert c.noop()[0] == 'OK'
    uids = c.uid('SEARCH', None, 'SUBJECT', word + '-da-co')[1][0].split()
    others = [still.imap('binh', select='INBOX') for _ in range(2)]
    asked = [lambda c: c.append('INBOX', None, None, prov.message('a@b.example', 'c@d.example', word + '-moi')),
             lambda c: c.uid('COPY', uids[0].decode(), word), lambda c: c.uid('MOVE', uids[1].decode(), word)]

    def count():
        return [len(still.find('binh', word + s, box)) for s, box in (('-moi', 'INBOX'), ('-da-co', word), ('-da-co', 'INBOX'))]
    with stopped(still, 'stored'):
        begin = time.monotonic()
        answers = {}
        threads = [threading.Thread(target=lambda i=i, s=s: answers.update({i: asked[i](s)})) for i, s in enumerate([c] + others)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert all(answers[i][0] == 'NO' and b'UNAVAILABLE' in answers[i][1][0] for i in range(3)), answers
        in_time(begin)
        begin = time.monotonic()
        code, text = c.status('Drafts', '(MESSAGES)')
        assert code == 'NO' and b'UNAVAILABLE' in text[0], (code, text)
        in_time(begin)
        begin = time.monotonic()
        with pytest.raises(imaplib.IMAP4.error, match='UNAVAILABLE'):
            still.imap('cuong')
        in_time(begin)
    assert c.status('Drafts', '(MESSAGES)')[0] == 'OK'
    assert settled(still) and count() == [0, 0, 2]
    for ask in asked:
        assert ask(c)[0] == 'OK'
    assert count() == [1, 2, 1]
    for s in [c] + others:
        s.logout()
    still.imap('cuong', select='INBOX').logout()


def test_a_late_answer_harms_nobody(still, word):
    """Many questions given up at once, whose answers then come all together, to a session that asks on."""
    c = [still.imap('dung', select='INBOX') for _ in range(4)]
    with stopped(still, 'stored'):
        answers = [None] * len(c)

        def ask(i):
            answers[i] = c[i].create('%s-%d' % (word, i)) if i % 2 else c[i].uid('FETCH', '1:*', '(FLAGS ENVELOPE)')
        threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(c))]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert all(a[0] in ('OK', 'NO') for a in answers), answers
        assert [a[0] for a in answers[1::2]] == ['NO', 'NO'], answers
    for s in c:
        assert s.noop()[0] == 'OK'
        assert s.status('INBOX', '(MESSAGES)')[0] == 'OK'
    made = [b for b in c[0].list()[1] if word.encode() in b]
    assert not made
    for s in c:
        s.logout()


def test_while_directoryd_stands_still(still):
    """451 to RCPT of whom the worker does not remember, 454 to AUTH, NO [UNAVAILABLE] to LOGIN."""
    with still.smtp() as c, still.submission() as s:
        c.ehlo()
        s.ehlo()
        assert c.mail('xa@ngoai.example')[0] == 250
        assert c.rcpt(prov.address('binh'))[0] == 250
        with stopped(still, 'directoryd'):
            begin = time.monotonic()
            code, text = c.rcpt(prov.address('khong-ai-hoi'))
            assert code == 451, (code, text)
            in_time(begin)
            begin = time.monotonic()
            assert c.rcpt(prov.address('binh'))[0] == 250
            assert time.monotonic() - begin < PATIENCE * 0.8
            begin = time.monotonic()
            with pytest.raises(smtplib.SMTPAuthenticationError) as e:
                s.user, s.password = prov.address('an'), prov.PASSWORD
                s.auth('PLAIN', s.auth_plain)
            assert e.value.smtp_code == 454, e.value
            in_time(begin)
            begin = time.monotonic()
            with pytest.raises(imaplib.IMAP4.error, match='UNAVAILABLE'):
                still.imap('an')
            in_time(begin)
        assert c.rcpt(prov.address('an'))[0] == 250
        s.login(prov.address('an'), prov.PASSWORD)
    still.imap('an').logout()


def test_long_work_is_no_standstill(still, word):
    """stored gets a little of the time only: a copy of many messages takes longer than the patience, and is done."""
    c = still.imap('hai', select='INBOX')
    for i in range(10):
        assert c.append('INBOX', None, None, prov.message('a@b.example', 'c@d.example', word))[0] == 'OK'
    assert c.create(word)[0] == 'OK'
    for _ in range(12):  # 10 * 2^12
        assert c.select('INBOX')[0] == 'OK'
        assert c.copy('1:*', 'INBOX')[0] == 'OK'
    assert c.select('INBOX')[0] == 'OK'
    pid, over = still.pid('stored'), threading.Event()

    def brake():
        while not over.is_set():
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.15)
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.005)
    c.sock.settimeout(100)
    took, count, copied = 0, 10 * 2 ** 12, 0
    while took < PATIENCE * 1.2 and count < 10 * 2 ** 15:
        over.clear()
        t = threading.Thread(target=brake)
        t.start()
        try:
            begin = time.monotonic()
            answer = c.copy('1:*', word)
            took = time.monotonic() - begin
        finally:
            over.set()
            t.join()
        assert answer[0] == 'OK', (took, answer)
        copied += count
        if took < PATIENCE * 1.2:  # a quick machine: more of it
            assert c.copy('1:*', 'INBOX')[0] == 'OK' and c.noop()[0] == 'OK'
            count *= 2
    assert took > PATIENCE, took
    assert b'MESSAGES %d)' % copied in c.status(word, '(MESSAGES)')[1][0]
    c.logout()


def test_reload_lets_sessions_go_one_by_one(still):
    """New connections meet the new workers at once; those that were there work on, and leave spread over reload_grace."""
    old = [still.imap('minh', select='INBOX') for _ in range(6)]
    begin = time.monotonic()
    os.kill(still.pid('imapd'), signal.SIGHUP)
    prov.until(lambda: 'daemon.reloading' in still.log('imapd'), 10)
    assert old[-1].noop()[0] == 'OK'  # the youngest, which is the last to go
    still.imap('an').logout()
    left = {c.sock: c for c in old}
    ends = []
    while left:
        ready = select.select(list(left), [], [], BOUND)[0]
        assert ready, 'sessions stay'
        for s in ready:
            c = left.pop(s)
            assert b'BYE' in c.readline()
            ends.append(time.monotonic() - begin)
    assert max(ends) < GRACE + BOUND
    assert max(ends) - min(ends) > GRACE / 2, ends
    for c in old:
        with contextlib.suppress(OSError, imaplib.IMAP4.error):
            c.shutdown()
    prov.until(lambda: 'worker.finished' in still.log('imapd'), 10)
