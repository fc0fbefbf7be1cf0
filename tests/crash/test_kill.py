"""kill -9 of one daemon while 2,000 messages are delivered over several SMTP sessions: each one that got its 250 is there exactly
once, and the daemon answers again within a second. A client that lost its connection before the answer sends the same
message again, as mail systems do."""
import os
import re
import secrets
import smtplib
import sys
import threading
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import province as prov  # noqa: E402

MESSAGES, SESSIONS, PATIENCE = 2000, 8, 40
TO = ('an', 'binh', 'cuong', 'dung')
BACK_SECONDS = 1.0


@pytest.fixture(scope='module')
def province():
    why = prov.built()
    if why:
        pytest.skip(why)
    p = prov.Province('store_cache_size = 64M\n', workers=4)
    yield p
    p.close()


class Client(threading.Thread):
    """Delivers every SESSIONS-th message, each until it has its 250."""

    def __init__(self, province, word, first, done):
        super().__init__()
        self.p, self.word, self.first, self.done = province, word, first, done
        self.c, self.lost, self.deferred, self.fault = None, 0, 0, None

    def close(self):
        if self.c:
            self.c.close()
        self.c = None

    def once(self, i):
        """True: it was taken. False: it is to be sent again."""
        data = prov.message('khach@ngoai.example', 'x@gialai.example', self.word, 'dòng chữ\n' * 20, number='%s.%d' % (self.word, i))
        try:
            self.c = self.c or self.p.smtp()
            self.c.sendmail('khach@ngoai.example', [prov.address(TO[i % len(TO)])], data)
            return True
        except smtplib.SMTPRecipientsRefused as e:
            [(code, text)] = e.recipients.values()
        except (smtplib.SMTPServerDisconnected, OSError) as e:
            code, text = getattr(e, 'smtp_code', 0), getattr(e, 'smtp_error', b'')
            self.lost += 1
            self.close()
        if code >= 500:
            raise AssertionError((code, text))
        if code:
            self.deferred += 1
        time.sleep(0.05)
        return False

    def run(self):
        try:
            for i in range(self.first, MESSAGES, SESSIONS):
                end = time.monotonic() + PATIENCE
                while not self.once(i):
                    assert time.monotonic() < end, 'message %d is not taken' % i
                self.done.append(i)
        except Exception as e:
            self.fault = e
        finally:
            self.close()


def numbers(province, user, word):
    """The numbers of this run's messages in the inbox, each as often as it is there."""
    c = province.imap(user, select='INBOX')
    typ, data = c.fetch('1:*', '(BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])')
    c.logout()
    assert typ == 'OK'
    text = b''.join(d[1] for d in data if isinstance(d, tuple))
    return sorted(int(n) for n in re.findall(rb'<%s\.(\d+)@' % word.encode(), text))


@pytest.mark.parametrize('daemon', prov.DAEMONS)
def test_kill(province, daemon):
    word = 'kill' + secrets.token_hex(5)
    done, back = [], []
    clients = [Client(province, word, i, done) for i in range(SESSIONS)]
    begin = time.monotonic()
    for c in clients:
        c.start()
    for share in (0.25, 0.6):
        while len(done) < share * MESSAGES and any(c.is_alive() for c in clients):
            time.sleep(0.005)
        assert len(done) < MESSAGES
        old = province.kill(daemon)
        back.append(province.wait_ready(daemon, old))
    for c in clients:
        c.join()
    took = time.monotonic() - begin
    assert not [c.fault for c in clients if c.fault]
    province.wait_ready('imapd')
    for t, user in enumerate(TO):
        have = numbers(province, user, word)
        want = list(range(t, MESSAGES, len(TO)))
        assert have == want, {'missing': sorted(set(want) - set(have))[:20], 'twice': [n for n in set(have) if have.count(n) > 1][:20]}
    print('%s: %d messages in %.1f s, back after %s s, %d connections lost, %d deferred'
          % (daemon, MESSAGES, took, ' and '.join('%.2f' % b for b in back), sum(c.lost for c in clients),
             sum(c.deferred for c in clients)))
    assert max(back) < BACK_SECONDS
