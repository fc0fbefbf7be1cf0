"""Messages to many: the step from filing at once (300 accounts) to the delivery worker, with names said twice and with full
mailboxes, over SMTP and LMTP; and a circular to everybody of a province. PROVMAIL_MANY=9000 makes it a whole one (else
1,300 people, the fewest that its directory can have); -s shows the figures."""
import collections
import os
import re
import subprocess
import sys
import tempfile
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '..', 'lib'))
import province
from province import until

MAKER = os.path.join(province.TOP, '..', 'shared', 'province', 'make-directory.py')
MANY = int(os.environ.get('PROVMAIL_MANY', '1300'))
DOMAIN = 'songlam.example'
OPTIONS = 'recipients_limit = 20000\nqueue_retry = 200ms\nqueue_lifetime = %s\nquota_full_policy = %s\n'
ENTRY = re.compile(r'(?m)^(?=dn:)')


class People:
    """The people of a generated province: who can get mail, by address; and their LDIF."""

    def __init__(self, folder):
        subprocess.run([sys.executable, MAKER, '--out', folder, '--people', str(MANY + MANY // 15), '--changes', '0'], check=True,
                       stdout=subprocess.DEVNULL, timeout=120)
        with open(os.path.join(folder, 'province.ldif')) as f:
            self.entries = ENTRY.split(f.read())
        with open(os.path.join(folder, 'passwords.tsv')) as f:
            self.passwords = {l.split('\t')[0]: l.rstrip('\n').split('\t')[2] for l in f}
        self.at = {}
        self.alias = {}
        for i, e in enumerate(self.entries):
            mail = re.findall(r'(?m)^mail: (\S+)$', e)
            if '\nuid: ' in e and len(mail) == 1 and 'mailAccountStatus: active' in e and 'mailForwardingAddress' not in e:
                self.at[mail[0]] = i
                for alias in re.findall(r'(?m)^mailAlternateAddress: (\S+@%s)$' % DOMAIN, e):
                    self.alias[mail[0]] = alias
        self.list = sorted(self.at)[:MANY]  # some are disabled, or have their mail elsewhere
        assert len(self.list) == MANY

    def ldif(self, full, one):
        """For some a limit that no message of these tests fits into; others take one message."""
        entries = list(self.entries)
        for addresses, limit in (full, 'mailQuotaBytes: 600'), (one, 'mailQuotaMessages: 1'):
            for i in (self.at[a] for a in addresses):
                entries[i] = re.sub(r'(?m)^mailQuotaBytes: .*$', limit, entries[i])
        return ''.join(entries)

    def login(self, address):
        return self.passwords[re.search(r'(?m)^uid: (\S+)$', self.entries[self.at[address]]).group(1)]


class Suite(province.Province):
    def __init__(self, people, full, lifetime, policy, one=()):
        self.full = full
        with tempfile.NamedTemporaryFile('w', suffix='.ldif') as f:
            f.write(people.ldif(full, one))
            f.flush()
            super().__init__(OPTIONS % (lifetime, policy), ldif=f.name, domain=DOMAIN)

    def counts(self):
        """Messages of each account that has any."""
        return collections.Counter({r['address']: r['messages'] for r in self.adm_json('account', 'list') if r['messages']})

    def filed(self, trace):
        """The accounts that have the message."""
        return [re.search(r'account=(\S+)', l['detail']).group(1) for l in self.adm_json('trace', trace) if l['event'] == 'filed']

    def empty(self):
        return str(self.adm_json('store', 'stats')['queue']) == '0'


@pytest.fixture(scope='module')
def people():
    if province.built():
        pytest.skip(province.built())
    if not os.path.exists(MAKER):
        pytest.skip('%s is not there' % os.path.relpath(MAKER, province.TOP))
    with tempfile.TemporaryDirectory() as d:
        yield People(d)


@pytest.fixture(scope='module')
def suite(people):
    """Five who are full for whatever comes, spread over the order of addresses; mail waits for them."""
    p = Suite(people, people.list[10::len(people.list) // 5][:5], '1h', 'defer')
    yield p
    p.close()


def message(subject):
    return province.message('s@client.example', 'x@' + DOMAIN, subject, 'Kính gửi\n' + ('y' * 70 + '\n') * 20)


def begin(c, to, sender='s@client.example'):
    """MAIL and RCPTs; the codes of these."""
    assert c.mail(sender)[0] == 250
    return [c.rcpt(t)[0] for t in to]


def gained(before, after):
    return dict(after - before)


def gives(suite, people, count, full):
    """So many accounts, the full ones among them; and names for them, of which three are a second name of one."""
    free = [a for a in people.list if a not in suite.full][:count - full]
    to = free + suite.full[:full]
    alias = next(people.alias[a] for a in free if a in people.alias)
    return free, to + [to[0], to[7].upper(), alias]


@pytest.mark.parametrize('count', [299, 300, 301])
@pytest.mark.parametrize('full', [0, 1])
def test_threshold(suite, people, count, full):
    """To 300 accounts a message is filed before the answer; beyond that it waits for a worker. The full wait in the queue."""
    p = suite
    free, named = gives(p, people, count, full)
    before = p.counts()
    with p.smtp() as c:
        c.ehlo()
        assert begin(c, named) == [250] * len(named)
        code, text = c.data(message('threshold %d %d' % (count, full)))
    assert code == 250, text
    trace = text.decode().split()[-1]
    at_once = gained(before, p.counts())
    line = re.search(r'smtp.message.accepted .*trace=%s .*' % trace, p.log('smtpd')).group()
    assert ('outcome=queued' in line) == (count > 300) and 'accounts=%d ' % count in line, line
    if count <= 300:
        assert at_once == dict.fromkeys(free, 1)
    else:
        until(lambda: len(gained(before, p.counts())) >= len(free), 15)
    if full:
        until(lambda: 'over quota: 1 to be tried again' in p.adm('trace', trace).stdout, 15)
    else:
        until(p.empty, 15)
    assert gained(before, p.counts()) == dict.fromkeys(free, 1)
    filed = p.filed(trace)
    assert len(filed) == len(set(filed)) == len(free)


def test_lmtp(suite, people):
    """LMTP says of each name what came of it, so all is filed before the answers, however many they are."""
    p = suite
    free, named = gives(p, people, 303, 2)
    before = p.counts()
    with p.lmtp() as c:
        c.ehlo('x')
        assert begin(c, named) == [250] * len(named)
        answers = [c.data(message('lmtp'))] + [c.getreply() for _ in named[1:]]
    after = p.counts()
    for name, (code, text) in zip(named, answers):
        expect = 452 if name in p.full else 250
        assert (code, text[:5]) == (expect, b'4.2.2' if expect == 452 else b'2.0.0'), (name, code, text)
    assert gained(before, after) == dict.fromkeys(free, 1)
    trace = answers[0][1].decode().split()[-1]
    filed = p.filed(trace)
    assert len(filed) == len(set(filed)) == len(free)
    assert 'queued' not in p.adm('trace', trace).stdout  # whom LMTP refused is its client's care


@pytest.mark.parametrize('policy', ['defer', 'reject'])
def test_circular(people, policy):
    """A circular to everybody, by their names. Two are full when they are named, three are found to be when it is filed;
    these are tried again until the queue gives them up, and the sender is told. All others have it exactly once."""
    fulls = people.list[10::len(people.list) // 5][:5]
    sender = next(a for a in people.list if a not in fulls)
    known, found = fulls[:2], fulls[2:]
    p = Suite(people, found, '3s', policy, known)
    try:
        with p.smtp() as c:
            c.ehlo()
            for a in known:
                assert begin(c, [a]) == [250] and c.data(message('the only one'))[0] == 250
                until(lambda: begin(c, [a]) != [250] or c.rset()[0] == 0)  # stored tells the worker a moment later
                c.rset()
        until(p.empty)  # they were warned, too
        before = p.counts()
        began = time.monotonic()
        with p.submission() as c:
            c.login(sender, people.login(sender))
            codes = dict(zip(people.list, begin(c, people.list, sender)))
            named = time.monotonic()
            code, text = c.data(province.message(sender, 'toantinh@' + DOMAIN, 'circular', 'y' * 3000 + '\n'))
        answered = time.monotonic()
        assert code == 250, text
        assert {a for a, code in codes.items() if code != 250} == set(known)
        assert {codes[a] for a in known} == {452 if policy == 'defer' else 552}
        everyone = set(people.list) - set(fulls)
        until(lambda: len(gained(before, p.counts())) >= len(everyone), 60)
        filed = time.monotonic()
        until(lambda: '3 given up' in p.adm('trace', text.decode().split()[-1]).stdout, 30)
        until(p.empty, 30)
        got = gained(before, p.counts())
        assert got.pop(sender) == 2  # the circular, and the report
        assert got == dict.fromkeys(everyone - {sender}, 1)
        assert len(p.filed(text.decode().split()[-1])) == len(everyone)
        c = province.imaplib.IMAP4_SSL('127.0.0.1', p.port('imaps'), ssl_context=province.context(), timeout=30)
        c.login(sender, people.login(sender))
        c.select('INBOX')
        report = c.fetch(c.search(None, 'SUBJECT', 'Undelivered')[1][0], '(BODY.PEEK[TEXT])')[1][0][1].decode()
        c.logout()
        assert set(re.findall(r'\S+@%s' % DOMAIN, report)) == set(found), report
        assert not p.alarms()
        print('%d names: RCPTs %.2f s, DATA to 250 %.3f s, all filed after %.2f s' % (len(people.list), named - began, answered - named, filed - answered))
    finally:
        p.close()
