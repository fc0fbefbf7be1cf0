"""The IMAP suites of the corpus (imaptest's scripted tests, James' protocol scripts) against any server.

    run_imaptest(folder, connect, capabilities) and run_james(folder, connect) answer {name: None | fault | Skip}.

connect() gives a fresh logged-in connection (Line) of a fresh account, connect(same=other) one more of that account,
connect(login=False) one that is not logged in."""
import itertools
import os
import re
import socket
import ssl


class Fault(Exception):
    pass


class Skip(str):
    pass


class Line:
    """A connection that reads responses: bytes with the literals in their place."""

    def __init__(self, host, port, tls=False, timeout=5):
        self.s = socket.create_connection((host, port), timeout=timeout)
        self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            c.check_hostname = False
            c.verify_mode = ssl.CERT_NONE
            self.s = c.wrap_socket(self.s)
        self.f = self.s.makefile('rb')
        self.account = None
        self.tags = 0

    def close(self):
        self.f.close()
        self.s.close()

    def send(self, data):
        self.s.sendall(data)

    def line(self):
        try:
            line = self.f.readline()
        except (socket.timeout, TimeoutError):
            raise Fault('no answer in time') from None
        if not line:
            raise Fault('the server closed')
        return line

    def response(self):
        out = self.line()
        while True:
            m = re.search(rb'\{(\d+)\}\r\n$', out)
            if not m:
                return out
            out += self.f.read(int(m.group(1)))
            out += self.line()

    def until(self, tag):
        """Untagged responses, then the tagged one."""
        got = []
        while True:
            r = self.response()
            if r.startswith(tag + b' '):
                return got, r
            got.append(r)

    def command(self, data):
        self.tags += 1
        tag = b't%d' % self.tags
        self.send(tag + b' ' + data + b'\r\n')
        return self.until(tag)

    def ok(self, data):
        got, tagged = self.command(data)
        if b' OK' not in tagged[:20]:
            raise Fault('%r: %r' % (data[:100], tagged))
        return got


# ---------------------------------------------------------------- values

def parse_values(data):
    """A response as nested lists of bytes."""
    at = 0

    def value():
        nonlocal at
        while data[at:at + 1] == b' ':
            at += 1
        if data[at:at + 1] == b'(':
            at += 1
            out = []
            while True:
                while at < len(data) and data[at:at + 1] in b' ':
                    at += 1
                if at >= len(data) or data[at:at + 1] == b')':
                    at += 1
                    return out
                out.append(value())
        if data[at:at + 1] == b'"':
            m = re.compile(rb'"((?:[^"\\]|\\.)*)"').match(data, at)
            if not m:
                raise Fault('unreadable: %r' % data[at:at + 60])
            at = m.end()
            return re.sub(rb'\\(.)', rb'\1', m.group(1))
        m = re.compile(rb'~?\{(\d+)\}\r\n').match(data, at)
        if m:
            at = m.end() + int(m.group(1))
            return data[m.end():at]
        m = re.compile(rb'(?:[^\s()\[\]]|\[[^\]]*\])+|\]').match(data, at)
        if not m:
            raise Fault('unreadable: %r' % data[at:at + 60])
        at = m.end()
        return m.group(0)

    out = []
    while at < len(data.rstrip()):
        out.append(value())
    return out


def brackets(data):
    """The code of a status response as words of its own."""
    if data[:4].upper() != b'OK [':
        return data
    return data.replace(b'[', b' ( ', 1).replace(b']', b' ) ', 1)


# ---------------------------------------------------------------- imaptest

class Variables(dict):
    def expand(self, text):
        text = text.replace('$$', '\0')
        text = re.sub(r'\$\{(\w+)\}', lambda m: self.get(m.group(1), m.group(0)), text)
        text = re.sub(r'\$([a-z]\w*)', lambda m: self.get(m.group(1), m.group(0)), text)
        return text.replace('\0', '$$')


def read_mbox(path):
    out, now = [], None
    for line in open(path, 'rb'):
        if line.startswith(b'From '):
            now = []
            out.append(now)
        else:
            now.append(line)
    return [b''.join(m).replace(b'\n', b'\r\n') for m in out]


class Script:
    def __init__(self, folder, name, connect):
        self.folder, self.name, self.connect = folder, name, connect
        self.head = {}
        self.steps = []
        self.vars = Variables(mailbox='imaptest')
        mbox = os.path.join(folder, name + '.mbox')
        self.mail = read_mbox(mbox if os.path.exists(mbox) else os.path.join(folder, 'default.mbox'))
        self.next_mail = 0
        self.read(open(os.path.join(folder, name), 'rb').read().decode('latin-1'))

    def read(self, text):
        lines = text.split('\n')
        at = 0
        while at < len(lines) and lines[at].strip():
            if not lines[at].startswith('#'):
                key, _, value = lines[at].partition(':')
                self.head[key.strip()] = value.strip()
            at += 1
        while at < len(lines):
            line = lines[at]
            at += 1
            while line.count('{{{') > line.count('}}}') and at < len(lines):
                line += '\n' + lines[at]
                at += 1
            if line.strip() and not line.startswith('#'):
                self.steps.append(line)

    def append(self, c, rest):
        message = self.mail[self.next_mail % len(self.mail)]
        self.next_mail += 1
        c.ok(b'APPEND %s {%d+}\r\n%s' % (rest.encode('latin-1'), len(message), message))

    def prepare(self):
        count = int(self.head.get('connections', 1))
        state = self.head.get('state', 'selected')
        first = self.connect(login=state != 'nonauth')
        self.conns = [first] + [self.connect(same=first) for _ in range(count - 1)]
        if state in ('nonauth', 'auth'):
            return
        first.ok(b'CREATE imaptest')
        wanted = self.head.get('messages', '0')
        for _ in range(len(self.mail) if wanted == 'all' else int(wanted)):
            self.append(first, 'imaptest')
        if state == 'selected':
            for c in self.conns:
                c.ok(b'SELECT imaptest')

    def literals(self, text):
        def one(m):
            body = m.group(2)
            body = body[1:] if body.startswith('\n') else body
            body = body[:-1] if body.endswith('\n') else body
            if not m.group(1):
                body = body.replace('\n', '\r\n')
            data = body.encode('latin-1')
            return '{%d}\r\n%s' % (len(data), data.decode('latin-1'))
        return re.sub(r'(~?)\{\{\{(.*?)\}\}\}', one, text, flags=re.S)

    def groups(self):
        """(connection, wanted status, command, [(mark, expectation)])"""
        out = []
        for step in self.steps:
            m = re.match(r'(?:(\d+) )?(ok|no|bad|"") (.*)', step, re.S)
            if m:
                out.append((int(m.group(1) or 1) - 1, m.group(2), m.group(3), []))
            elif step[:2] in ('* ', '! ', '? '):
                out[-1][3].append((step[0], step[2:]))
            elif re.match(r'(?:(\d+) )?tag\d+ ', step):
                raise Fault('pipelined')
            else:
                raise Fault('unknown step %r' % step[:60])
        return out

    def play(self):
        self.prepare()
        for at, status, command, wanted in self.groups():
            c = self.conns[at]
            command = self.vars.expand(command).replace('$$', '$')
            if re.match(r'append( |$)', command, re.I) and '{{{' not in command:
                self.append(c, command[7:] or 'imaptest')
                continue
            data = re.sub(r'\{(\d+)\}\r\n', r'{\1+}\r\n', self.literals(command)).encode('latin-1')
            got, tagged = c.command(data)
            self.vars['tag'] = 't%d' % c.tags
            actual = tagged.split()[1].decode().lower()
            if status != '""' and actual != status:
                raise Fault('%s: wanted %s, got %r' % (command, status, tagged))
            self.check(command, wanted, got + [tagged])

    # -- matching of untagged responses

    def check(self, command, wanted, got):
        parsed = []
        order = list(range(1, 1000))
        for r in got:
            m = re.match(rb'\* (\d+) (EXPUNGE|FETCH)', r)
            start = None
            if m:
                seq = int(m.group(1))
                start = order[seq - 1]
                if m.group(2) == b'EXPUNGE':
                    order.pop(seq - 1)
            parsed.append((parse_values(brackets(r[2:] if r.startswith(b'* ') else r)), start))
        for mark, text in wanted:
            text = re.sub(r'\$(?=\d)', '\1', text)
            expect = parse_values(brackets(self.literals(text).encode('latin-1')))
            hit = any(self.match(expect, p, start) for p, start in parsed)
            if mark == '*' and not hit:
                raise Fault('%s: wanted %s among %r' % (command, text.strip(), [g[:200] for g in got]))
            if mark == '!' and hit:
                raise Fault('%s: must not answer %s' % (command, text.strip()))

    def match(self, expect, got, start):
        bound = Variables(self.vars)
        if len(expect) == 0 or len(got) < len(expect) - (1 if expect[-1:] == [[]] else 0):
            return False
        word = expect[1].lower() if len(expect) > 1 and isinstance(expect[1], bytes) else b''
        if word in (b'fetch', b'expunge'):
            ok = self.numbered(expect, got, start, bound)
        elif expect[0].lower() == b'search':
            ok = [x.lower() for x in expect] == [x.lower() for x in got if isinstance(x, bytes)]
        elif expect[0].lower() in (b'list', b'lsub', b'status', b'esearch'):
            ok = self.general(expect, got, bound)
        else:
            ok = len(got) >= len(expect) and all(self.value(e, g, bound) for e, g in zip(expect, got))
        if ok:
            self.vars.update(bound)
        return ok

    def numbered(self, expect, got, start, bound):
        seq = expect[0]
        if len(got) < 2 or not isinstance(got[1], bytes) or got[1].lower() != expect[1].lower():
            return False
        if seq.startswith(b'\1'):
            if start != int(seq[1:]):
                return False
        elif not self.value(seq, got[0], bound):
            return False
        if expect[1].lower() == b'expunge':
            return True
        pairs = {}
        items = got[2]
        for k in range(0, len(items) - 1, 2):
            pairs[items[k].lower()] = items[k + 1]
        return self.pairs(expect[2], pairs, bound)

    def pairs(self, expect, pairs, bound):
        at = 0
        while at < len(expect):
            key = expect[at].lower()
            if key in (b'$!unordered', b'$!ordered'):
                at += 1
                continue
            if key not in pairs or not self.value(expect[at + 1], pairs[key], bound, key == b'flags'):
                return False
            at += 2
        return True

    def general(self, expect, got, bound):
        if got[0].lower() != expect[0].lower():
            return False
        if expect[0].lower() == b'status':
            pairs = {got[2][k].lower(): got[2][k + 1] for k in range(0, len(got[2]) - 1, 2)}
            return self.value(expect[1], got[1], bound) and self.pairs(expect[2], pairs, bound)
        if expect[0].lower() == b'esearch':
            return len(expect) == len(got) and all(self.value(e, g, bound) for e, g in zip(expect, got))
        attrs = [a.lower() for a in got[1]] if isinstance(got[1], list) else []
        for a in expect[1]:
            a = a.lower()
            if a.startswith(b'$!ban='):
                if a[6:] in attrs:
                    return False
            elif not a.startswith(b'$!') and a not in attrs:
                return False
        if len(expect) > 4 and len(got) <= 4:
            return False
        rest = zip(expect[2:], got[2:])
        return len(got) >= len(expect) and all(self.value(e, g, bound) for e, g in rest)

    def value(self, e, g, bound, flags=False):
        if isinstance(e, list):
            if not isinstance(g, list):
                return False
            e = [x for x in e if not (isinstance(x, bytes) and x.startswith(b'$!'))] if b'$!unordered' not in e else None
            if e is None:
                return True
            if flags:
                return {x.lower().replace(b'$$', b'$') for x in e} == {x.lower() for x in g} - {b'\\recent'}
            return len(e) == len(g) and all(self.value(x, y, bound) for x, y in zip(e, g))
        if isinstance(e, bytes) and re.match(rb'\$[a-z]\w*$', e):
            name = e[1:].decode()
            text = g.decode('latin-1') if isinstance(g, bytes) else repr(g)
            if name in bound:
                return bound[name] == text
            bound[name] = text
            return True
        if isinstance(e, bytes) and isinstance(g, bytes):
            e = bound.expand(e.decode('latin-1')).replace('$$', '$').encode('latin-1')
            return e.lower() == g.lower()
        return False


def run_imaptest(folder, connect, capabilities):
    results = {}
    have = {c.lower() for c in capabilities}
    for name in sorted(os.listdir(folder)):
        if name.endswith('.mbox'):
            continue
        s = Script(folder, name, connect)
        missing = [c for c in s.head.get('capabilities', '').split() if c.lower() not in have]
        if missing:
            results[name] = Skip('not announced: ' + ' '.join(missing))
            continue
        s.conns = []
        try:
            s.play()
            results[name] = None
        except (Fault, OSError, KeyError, ValueError, IndexError) as e:
            results[name] = Skip('pipelined') if str(e) == 'pipelined' else '%s: %s' % (type(e).__name__, e)
        finally:
            for c in s.conns:
                c.close()
    return results


# ---------------------------------------------------------------- James

TEST_MAIL = (b'Date: Mon, 7 Feb 1994 21:52:25 -0800 (PST)\r\nFrom: Fred Foobar <foobar@Blurdybloop.COM>\r\n'
             b'Subject: Test 0%d\r\nTo: mooch@owatagu.siam.edu\r\nMessage-Id: <B27397-0100000@Blurdybloop.COM>\r\n'
             b'MIME-Version: 1.0\r\nContent-Type: TEXT/PLAIN; CHARSET=US-ASCII\r\n\r\nTest 0%d\r\n')


class James:
    """One script from one state. S: lines are regular expressions; untagged ones in a row may come in any order."""

    def __init__(self, text, connect, state):
        self.connect, self.state = connect, state
        self.lines = [l.rstrip('\r') for l in text.split('\n')]
        self.conns = {}
        self.first = None

    def fresh(self):
        c = self.connect(login=self.state != 'nonauth', same=self.first)
        if self.first is None and self.state != 'nonauth':
            if self.state == 'selected':
                c.ok(b'CREATE selected')
                for i in range(1, 5):
                    m = TEST_MAIL % (i, i)
                    c.ok(b'APPEND selected {%d+}\r\n%s' % (len(m), m))
            self.first = c
        if self.state == 'selected':
            c.ok(b'SELECT selected')
        if self.state == 'inbox':
            c.ok(b'SELECT INBOX')
        return c

    def on(self, name):
        if name not in self.conns:
            self.conns[name] = self.fresh()
        return self.conns[name]

    def play(self):
        now, expect, data = '1', [], b''
        for line in self.lines + ['']:
            kind = line[:2]
            if kind == 'S:':
                if data:
                    self.on(now).send(data)
                    data = b''
                expect.append(line[3:])
                continue
            if line.strip() in ('SUB {', '}'):
                continue
            if expect and (kind == 'C:' or line.startswith('SESSION') or line.startswith('REINIT')):
                self.answers(self.on(now), expect)
                expect = []
            if line.startswith('SESSION:'):
                now = line[8:].strip()
            elif line.startswith('REINIT'):
                self.conns.pop(now).close()
            elif kind == 'C:':
                data += line[3:].encode() + b'\r\n'
        if data:
            self.on(now).send(data)
        if expect:
            self.answers(self.on(now), expect)

    def answers(self, c, expect):
        at = 0
        while at < len(expect):
            end = at + 1
            while end < len(expect) and expect[at].startswith('\\* ') and expect[end].startswith('\\* ') and \
                    not any(e.endswith('\\}') for e in expect[at:end]):
                end += 1
            wanted = list(expect[at:end])
            while wanted:
                line = c.line().rstrip(b'\r\n').decode('latin-1')
                hit = next((w for w in wanted if matches(w, line)), None)
                if hit is None and EXTRA.match(line):
                    continue
                if hit is None:
                    raise Fault('wanted %s, got %r' % (' or '.join(wanted), line))
                wanted.remove(hit)
            at = end


# Said by us and not by James: codes of RFC 6851, mailboxes of RFC 6154.
EXTRA = re.compile(r'\* OK \[|\* \d+ RECENT$|\* (LIST|LSUB) .*"(Drafts|Sent|Trash|Junk|Archive)"$')


def matches(regex, line):
    """The line, or one with the pairs of its FETCH in another order."""
    pattern = re.compile(regex.replace('\\\\\\S', '\\\\S').replace('Create completed', 'CREATE completed').replace(
        'Delete completed', 'DELETE completed'))
    if pattern.fullmatch(line) or pattern.fullmatch(re.sub(r'^(\S+ (?:NO|BAD)) \[[^]]*\]', r'\1', line)):
        return True
    m = re.match(r'(\* \d+ FETCH \()(.*)\)$', line)
    if not m:
        return False
    pairs = re.findall(r'[A-Z0-9.\[\]]+ (?:\([^()]*\)|"[^"]*"|\S+)', m.group(2))
    return len(pairs) < 6 and ' '.join(pairs) == m.group(2) and any(
        pattern.fullmatch(m.group(1) + ' '.join(p) + ')') for p in itertools.permutations(pairs))


def run_james(folder, connect, skip=()):
    results = {}
    for name in sorted(os.listdir(folder)):
        if not name.endswith('.test'):
            continue
        if name[:-5] in skip:
            results[name] = Skip(skip[name[:-5]])
            continue
        text = open(os.path.join(folder, name), encoding='latin-1').read()
        if name.startswith('List') or name.startswith('ConcurrentRename'):
            text = re.sub(r'((?:list|sub|folder|test|parent|renamed)\w*)\\?\.(?=\w)', r'\1/', text)
            text = text.replace('"\\."', '"/"').replace('\\"\\.\\"', '\\"/\\"')
        faults = []
        for state in ('selected', 'auth', 'nonauth', 'inbox'):
            j = James(text, connect, state)
            try:
                j.play()
                faults = []
                break
            except (Fault, OSError, re.error) as e:
                faults.append('from %s: %s' % (state, e))
            finally:
                for c in j.conns.values():
                    c.close()
        results[name] = faults[0] if faults else None
    return results
