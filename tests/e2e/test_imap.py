"""Real clients against imapd over the real store (logins of the fake directory): python imaplib, curl, mbsync, neomutt,
npm imapflow; every message of the corpus by APPEND and back; large messages; deaths of the daemons."""
import imaplib
import os
import pty
import re
import select
import shutil
import ssl
import subprocess
import sys
import threading
import time

import pytest

TOP = os.environ.get('top_srcdir', os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..'))
CORPUS = os.environ.get('CORPUS', os.path.join(TOP, '../shared/corpus'))
sys.path[:0] = [os.path.join(TOP, 'tests', d) for d in ('lib', 'unit')]
import imap_real  # noqa: E402
import imap_suites  # noqa: E402
import mime_corpus  # noqa: E402

PASSWORD = 'thu-dien-tu'


@pytest.fixture(scope='module')
def imapd():
    d = imap_real.Imapd(workers=2)
    yield d
    text = d.close()
    bad = [l for l in text.split('\n') if (' alarm ' in l or ' error ' in l) and 'worker.killed' not in l]
    assert not bad, bad[:5]


def context():
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.check_hostname = False
    c.verify_mode = ssl.CERT_NONE
    return c


def login(imapd, user):
    m = imaplib.IMAP4_SSL('127.0.0.1', imapd.tls_port, ssl_context=context())
    m.login(user, PASSWORD)
    return m


def line(imapd, user, timeout=30):
    c = imap_suites.Line('127.0.0.1', imapd.tls_port, tls=True, timeout=timeout)
    assert c.line().startswith(b'* OK')
    c.ok(b'LOGIN %s %s' % (user.encode(), PASSWORD.encode()))
    return c


def mail(i, extra=''):
    return ('From: "Người %d" <p%d@gialai.example>\r\nSubject: Thư số %d\r\nMessage-ID: <%d@gialai.example>\r\n'
            'Date: Tue, 24 Nov 2026 10:00:00 +0700\r\n\r\nnội dung %d %s\r\n' % (i, i, i, i, i, extra)).encode()


# ---------------------------------------------------------------- the corpus

def corpus_files():
    for half in ('mime', 'copyleft/mime'):
        for root, dirs, names in os.walk(os.path.join(CORPUS, half)):
            dirs.sort()
            for n in sorted(names):
                if not n.endswith(('.json', '.md', '.tsv', '.txt.expected')):
                    yield os.path.join(root, n)


def normal(data):
    return re.sub(rb'\r\n|\r|\n', b'\r\n', data)


def grammar(response):
    """ENVELOPE and BODYSTRUCTURE of a FETCH, by a strict reader."""
    reader = mime_corpus.Reader('')
    reader.s, reader.i = response, response.index(b'ENVELOPE ') + 9
    mime_corpus.check_envelope(reader.value())
    reader.i = response.index(b' BODYSTRUCTURE ', reader.i) + 15
    mime_corpus.check_body(reader.value(), True)


@pytest.mark.skipif(not os.path.isdir(os.path.join(CORPUS, 'mime')), reason='no corpus')
def test_corpus_by_append_and_back(imapd):
    c = line(imapd, 'corpus@x')
    c.ok(b'SELECT INBOX')
    took, refused, changed = 0, [], 0
    for path in corpus_files():
        data = open(path, 'rb').read()
        got, tagged = c.command(b'APPEND INBOX {%d+}\r\n%s' % (len(data), data))
        if b' NO ' in tagged[:12]:
            assert b'\0' in data or not data, (path, tagged)
            refused.append(path)
            continue
        assert b'APPENDUID' in tagged, (path, tagged)
        took += 1
        want = normal(data)
        changed += want != data
        uid = re.search(rb'APPENDUID \d+ (\d+)', tagged).group(1)
        [r] = [r for r in c.ok(b'UID FETCH %s (RFC822.SIZE ENVELOPE BODYSTRUCTURE BODY.PEEK[])' % uid)
               if b' FETCH (' in r]
        assert r.endswith(b'BODY[] {%d}\r\n%s)\r\n' % (len(want), want)), path
        assert b'RFC822.SIZE %d ' % len(want) in r, path
        grammar(r)
    print('corpus: %d taken, %d of them with line ends mended, %d refused (NUL or empty)' % (took, changed, len(refused)))
    assert took > 1000


def wanted_sections(path):
    """{section: bytes} of a file of the suite of body structures."""
    data, out, at = open(path, 'rb').read(), {}, 0
    for m in re.finditer(rb'^BODY(\[[^\]]+\]) \{(\d+)\}\r?\n', data, re.M):
        if m.start() >= at:
            at = m.end() + int(m.group(2))
            out[m.group(1)] = data[m.end():at]
    return out


STRUCTURES = os.path.join(CORPUS, 'copyleft', 'imap', 'stalwart-bodystructure')


@pytest.mark.skipif(not os.path.isdir(STRUCTURES), reason='no corpus')
def test_sections(imapd):
    """Parts that RFC 3501 knows (HEADER and TEXT of a part that is no message are NIL here) have the bytes wanted."""
    c = line(imapd, 'sections@x')
    c.ok(b'SELECT INBOX')
    same = 0
    for name in sorted(os.listdir(STRUCTURES)):
        if not name.endswith('.imap'):
            continue
        message = normal(open(os.path.join(STRUCTURES, name[:-5] + '.txt'), 'rb').read())
        uid = re.search(rb'APPENDUID \d+ (\d+)', c.command(b'APPEND INBOX {%d+}\r\n%s' % (len(message), message))[1]).group(1)
        for section, want in wanted_sections(os.path.join(STRUCTURES, name)).items():
            got, tagged = c.command(b'UID FETCH %s BODY.PEEK%s' % (uid, section))
            [r] = [r for r in got if b' FETCH (' in r] or [b'NIL']
            m = re.search(rb'\] \{(\d+)\}\r\n', r)
            if m and b'MIME' not in section:  # there: the Content- fields only
                have = r[m.end():m.end() + int(m.group(1))]
                have, want = (normal(x).strip().lower() for x in (have, want))
                # The text of a message inside has its epilogue here.
                assert want == have or (b'TEXT' in section and have.startswith(want)), (name, section)
                same += 1
    assert same > 50


# ---------------------------------------------------------------- clients

def test_imaplib(imapd):
    m = login(imapd, 'lib@x')
    assert m.select()[1] == [b'0']
    for i in range(10):
        assert m.append('INBOX', r'(\Flagged)' if i % 2 else None, imaplib.Time2Internaldate(1e9 + i), mail(i))[0] == 'OK'
    assert m.noop()[0] == 'OK'
    assert m.search('UTF-8', 'SUBJECT', '"thu so 3"')[1] == [b'4']
    assert m.search(None, 'FLAGGED')[1] == [b'2 4 6 8 10']
    typ, data = m.fetch('1:3', '(INTERNALDATE RFC822.SIZE FLAGS)')
    assert len(data) == 3 and b'09-Sep-2001' in data[0]
    assert m.fetch('1', '(RFC822)')[1][0][1] == mail(0)
    assert m.store('1:2', '+FLAGS', r'(\Deleted)')[0] == 'OK'
    assert m.expunge()[1] == [b'1', b'1']
    assert m.uid('COPY', '3:4', 'Sent')[0] == 'OK'
    assert m.status('Sent', '(MESSAGES)')[1] == [b'"Sent" (MESSAGES 2)']
    assert m.create('"V&Ahs-n b&Ahs-n"')[0] == 'OK'
    assert m.rename('"V&Ahs-n b&Ahs-n"', 'x/y')[0] == 'OK'
    assert m.delete('x/y')[0] == 'OK'
    assert m.close()[0] == 'OK'
    assert m.logout()[0] == 'BYE'


@pytest.mark.skipif(not shutil.which('curl'), reason='no curl')
def test_curl(imapd, tmp_path):
    m = login(imapd, 'curl@x')
    m.append('INBOX', None, None, mail(1))
    base = ['curl', '-sS', '-k', '--user', 'curl@x:' + PASSWORD]
    url = 'imaps://127.0.0.1:%d' % imapd.tls_port
    assert b'INBOX' in subprocess.run(base + [url], check=True, capture_output=True, timeout=20).stdout
    got = subprocess.run(base + [url + '/INBOX;UID=1'], check=True, capture_output=True, timeout=20).stdout
    assert got == mail(1)
    (tmp_path / 'm').write_bytes(mail(2))
    up = subprocess.run(base + ['-T', str(tmp_path / 'm'), url + '/INBOX'], capture_output=True, timeout=20)
    assert up.returncode == 0, up.stderr
    got = subprocess.run(base + ['--ssl-reqd', 'imap://127.0.0.1:%d/INBOX;UID=1' % imapd.port], capture_output=True,
                         timeout=20)
    assert got.stdout == mail(1), got.stderr


@pytest.mark.skipif(not shutil.which('mbsync'), reason='no mbsync')
def test_mbsync_two_ways(imapd, tmp_path):
    c = line(imapd, 'sync@x')
    for first in range(0, 3000, 200):
        c.send(b''.join(b'a APPEND INBOX {%d+}\r\n%s\r\n' % (len(mail(i)), mail(i)) for i in range(first, first + 200)))
        for _ in range(200):
            assert b' OK ' in c.line()
    (tmp_path / 'mail').mkdir()
    (tmp_path / 'rc').write_text(
        'IMAPAccount p\nHost localhost\nPort %d\nUser sync@x\nPass %s\nSSLType IMAPS\nCertificateFile %s\n\n'
        'IMAPStore far\nAccount p\n\nMaildirStore near\nPath %s/mail/\nInbox %s/mail/INBOX\nSubFolders Verbatim\n\n'
        'Channel all\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nExpunge Both\nSyncState *\n'
        % (imapd.tls_port, PASSWORD, os.path.join(imapd.dir, 'test-cert.pem'), tmp_path, tmp_path))

    def sync():
        r = subprocess.run(['mbsync', '-q', '-c', str(tmp_path / 'rc'), '-a'], capture_output=True, timeout=120)
        assert r.returncode == 0, r.stderr[-2000:]

    def near():
        inbox = tmp_path / 'mail' / 'INBOX'
        return sorted(list((inbox / 'cur').iterdir()) + list((inbox / 'new').iterdir()))
    sync()
    assert len(near()) == 3000
    # Both sides change: one deletes and flags, the other adds and deletes.
    for f in near()[:100]:
        f.unlink()
    (tmp_path / 'mail' / 'INBOX' / 'new' / '1.new').write_bytes(mail(9999).replace(b'\r\n', b'\n'))
    c.ok(b'SELECT INBOX')
    c.ok(b'UID STORE 2901:3000 +FLAGS.SILENT (\\Deleted)')
    c.ok(b'EXPUNGE')
    c.ok(b'UID STORE 2800 +FLAGS (\\Flagged)')
    sync()
    sync()
    left = len(near())
    [r] = [r for r in c.ok(b'STATUS INBOX (MESSAGES)') if b'STATUS' in r]
    assert int(re.search(rb'MESSAGES (\d+)', r).group(1)) == left
    assert 2801 <= left <= 2901
    assert sum(b'F' in os.fsencode(f.name).rpartition(b',')[2] for f in near()) == 1


@pytest.mark.skipif(not shutil.which('neomutt'), reason='no neomutt')
def test_neomutt(imapd, tmp_path):
    m = login(imapd, 'mutt@x')
    for i in range(3):
        m.append('INBOX', None, None, mail(i))
    rc = tmp_path / 'rc'
    rc.write_text('set folder=imaps://127.0.0.1:%d/\nset imap_user=mutt@x\nset imap_pass=%s\nset spoolfile=+INBOX\n'
                  'set ssl_verify_host=no\nset ssl_verify_dates=no\nset ssl_force_tls=yes\nset certificate_file=%s\n'
                  'set delete=yes\nset mark_old=no\nset header_cache=\nset confirmappend=no\nset imap_idle=no\n'
                  'set sort=mailbox-order\nset quit=yes\nset wait_key=no\n'
                  'push "<first-entry><flag-message><last-entry><delete-message><sync-mailbox><quit>"\n'
                  % (imapd.tls_port, PASSWORD, os.path.join(imapd.dir, 'test-cert.pem')))
    pid, fd = pty.fork()
    if pid == 0:
        os.environ['TERM'] = 'xterm'
        os.environ['HOME'] = str(tmp_path)
        os.execvp('neomutt', ['neomutt', '-n', '-F', str(rc)])
    seen, end = b'', time.time() + 25
    while time.time() < end:
        if select.select([fd], [], [], 0.5)[0]:
            try:
                piece = os.read(fd, 65536)
            except OSError:
                break
            if not piece:
                break
            seen += piece
            if b'(r)eject' in piece or b'reject, accept' in piece:
                os.write(fd, b'o')
    else:
        os.kill(pid, 9)
    os.waitpid(pid, 0)
    m.select()
    assert m.search(None, 'ALL')[1] == [b'1 2'], seen[-3000:]
    assert m.search(None, 'FLAGGED')[1] == [b'1']


@pytest.mark.skipif(not shutil.which('node'), reason='no node')
def test_imapflow(imapd):
    here = os.path.join(TOP, 'tests', 'e2e')
    if not os.path.isdir(os.path.join(here, 'node_modules', 'imapflow')):
        r = subprocess.run(['npm', 'ci', '--ignore-scripts', '--no-audit', '--no-fund'], cwd=here, capture_output=True,
                           timeout=300)
        if r.returncode:
            pytest.skip('npm ci: %s' % r.stderr[-300:])
    r = subprocess.run(['node', 'imapflow.mjs', str(imapd.tls_port), 'flow@x'], cwd=here, capture_output=True, timeout=60)
    assert r.returncode == 0, r.stderr.decode()[-3000:]


# ---------------------------------------------------------------- size and deaths

def worker_memory(imapd):
    """Most KiB that a worker of imapd holds now."""
    most = 0
    for pid in os.listdir('/proc'):
        try:
            stat = open('/proc/%s/stat' % pid).read().rpartition(')')[2].split()
            if int(stat[1]) == imapd.children['imapd'].pid:
                text = open('/proc/%s/status' % pid).read()
                most = max(most, int(re.search(r'VmHWM:\s+(\d+)', text).group(1)))
        except (OSError, ValueError, IndexError):
            continue
    return most


def sanitized():
    with open(os.path.join(imap_real.BUILD, 'config.h')) as f:
        return '#define SANITIZERS 1' in f.read()


@pytest.mark.skipif(sanitized(), reason='a sanitizer needs memory of its own')
def test_large_message_is_streamed(imapd):
    c = line(imapd, 'large@x', timeout=60)
    piece = os.urandom(3 << 18).hex().encode()
    lines = b'\r\n'.join(piece[i:i + 998] for i in range(0, len(piece), 998)) + b'\r\n'
    message = b'Subject: large\r\n\r\n' + lines * 40
    before = worker_memory(imapd)
    got, tagged = c.command(b'APPEND INBOX {%d+}\r\n%s' % (len(message), message))
    assert b'APPENDUID' in tagged, tagged
    c.ok(b'SELECT INBOX')
    [r] = [r for r in c.ok(b'FETCH 1 BODY[]') if b'FETCH' in r]
    assert message in r
    [r] = [r for r in c.ok(b'FETCH 1 BODY.PEEK[TEXT]<50000000.100>') if b'FETCH' in r]
    assert message.partition(b'\r\n\r\n')[2][50000000:50000100] in r
    c.ok(b'SEARCH BODY "no such text"')
    grew = worker_memory(imapd) - before
    assert grew < 40 * 1024, 'a worker grew by %d KiB' % grew


@pytest.mark.skipif(sanitized(), reason='a sanitizer needs memory of its own')
def test_slow_reader_does_not_hold_memory(imapd):
    c = line(imapd, 'large@x', timeout=60)
    c.ok(b'SELECT INBOX')
    c.send(b'a FETCH 1 BODY.PEEK[]\r\n')
    time.sleep(1)
    assert worker_memory(imapd) < 120 * 1024
    got = 0
    while True:
        data = c.f.read1(1 << 20)
        got += len(data)
        if b'a OK' in data[-200:]:
            break
    assert got > 60 << 20


@pytest.mark.parametrize('how', [b'UID EXPUNGE %d', b'UID MOVE %d Trash'])
def test_another_session_expunges_what_is_being_read(imapd, how):
    """The answer has begun and cannot be taken back: it goes on to its end, and the session lives."""
    c, other = line(imapd, 'torn@x', timeout=60), line(imapd, 'torn@x')
    message = b'Subject: torn\r\n\r\n' + os.urandom(12 << 20).hex().encode().replace(b'7', b'7\r\n')
    got, tagged = c.command(b'APPEND INBOX (\\Deleted) {%d+}\r\n%s' % (len(message), message))
    uid = int(re.search(rb'APPENDUID \d+ (\d+)', tagged).group(1))
    for l in (c, other):
        l.ok(b'SELECT INBOX')
    c.send(b'a UID FETCH %d (BODY.PEEK[] BODY.PEEK[1])\r\n' % uid)
    head = c.line()  # and now what is on its way fills every buffer
    assert head.endswith(b'BODY[] {%d}\r\n' % len(message)), head
    time.sleep(0.5)
    other.ok(how % uid)
    assert c.f.read(len(message)) == message
    rest = c.line()
    body = message.partition(b'\r\n\r\n')[2]
    assert rest == b' BODY[1] {%d}\r\n' % len(body), rest
    assert c.f.read(len(body)) == body
    assert c.line() == b')\r\n'
    got, tagged = c.until(b'a')
    assert b' OK' in tagged, tagged
    c.ok(b'NOOP')
    c.close()
    other.close()


def test_store_dies_and_sessions_see_a_pause(imapd):
    c = line(imapd, 'pause@x')
    c.ok(b'SELECT INBOX')
    c.ok(b'APPEND INBOX {%d+}\r\n%s' % (len(mail(1)), mail(1)))
    imapd.kill('stored')
    starter = threading.Timer(0.5, imapd.start, ['stored'])
    starter.start()
    start = time.time()
    c.ok(b'APPEND INBOX {%d+}\r\n%s' % (len(mail(2)), mail(2)))
    assert time.time() - start < 5
    starter.join()
    c.ok(b'STORE 1:2 +FLAGS (\\Seen)')
    [r] = [r for r in c.ok(b'STATUS INBOX (MESSAGES UNSEEN)') if b'STATUS' in r]
    assert b'(MESSAGES 2 UNSEEN 0)' in r
    d = line(imapd, 'pause@x')
    d.ok(b'SELECT INBOX')
    c.send(b'i IDLE\r\n')
    assert c.line().startswith(b'+')
    d.ok(b'APPEND INBOX {%d+}\r\n%s' % (len(mail(3)), mail(3)))
    assert c.line() == b'* 3 EXISTS\r\n'


def test_greeting_waits_for_the_store(imapd):
    imapd.kill('stored')
    starter = threading.Timer(0.7, imapd.start, ['stored'])
    starter.start()
    start = time.time()
    line(imapd, 'greet@x').ok(b'SELECT INBOX')
    assert time.time() - start < 4
    starter.join()
    imapd.kill('stored')
    c = imap_suites.Line('127.0.0.1', imapd.port)
    assert c.line().startswith(b'* BYE [UNAVAILABLE]')
    imapd.start('stored')


def test_worker_dies_and_others_serve(imapd):
    c = line(imapd, 'death@x')
    master = imapd.children['imapd'].pid
    workers = [int(p) for p in os.listdir('/proc') if p.isdigit() and parent(p) == master]
    assert len(workers) == 2
    os.kill(workers[0], 9)
    os.kill(workers[1], 9)
    with pytest.raises(imap_suites.Fault):
        c.command(b'NOOP')
    end = time.time() + 5
    while True:
        try:
            d = line(imapd, 'death@x')
            break
        except (OSError, imap_suites.Fault, AssertionError):
            assert time.time() < end
            time.sleep(0.05)
    d.ok(b'SELECT INBOX')


def parent(pid):
    try:
        return int(open('/proc/%s/stat' % pid).read().rpartition(')')[2].split()[1])
    except (OSError, ValueError):
        return 0


# ---------------------------------------------------------------- limits

@pytest.fixture(scope='module')
def strict():
    d = imap_real.Imapd(workers=1, options='imap_login_timeout = 1s\nimap_error_limit = 3\nconnection_limit = 5\n'
                        'imap_append_limit = 64K\nimap_idle_timeout = 60s\n')
    yield d
    d.close()


def plain(d, timeout=5):
    return imap_suites.Line('127.0.0.1', d.port, timeout=timeout)


def test_nobody_waits_for_ever_for_a_login(strict):
    c = plain(strict)
    assert c.line().startswith(b'* OK')
    start = time.time()
    assert c.line().startswith(b'* BYE')
    assert 0.5 < time.time() - start < 3
    with pytest.raises(imap_suites.Fault):
        c.line()


def test_bad_commands_end_a_session(strict):
    c = plain(strict)
    c.line()
    for _ in range(3):
        assert b' BAD ' in c.command(b'XYZZY')[1]
    assert c.line().startswith(b'* BYE')


def test_too_many_sessions(strict):
    open_ones = [line(strict, 'many@x') for _ in range(5)]
    c = plain(strict)
    assert c.line().startswith(b'* BYE [UNAVAILABLE]')
    open_ones[0].close()
    end = time.time() + 3
    while not plain(strict).line().startswith(b'* OK'):
        assert time.time() < end
        time.sleep(0.05)
    for o in open_ones[1:]:
        o.command(b'LOGOUT')
        o.close()
    time.sleep(0.2)


def test_stop_says_bye(strict):
    c = line(strict, 'bye@x')
    c.ok(b'SELECT INBOX')
    c.send(b'a IDLE\r\n')
    assert c.line().startswith(b'+')
    strict.children['imapd'].terminate()
    assert c.line().startswith(b'* BYE')
    assert strict.children['imapd'].wait(8) == 0
