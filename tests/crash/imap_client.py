"""An IMAP client that does one thing at a time and knows when it does not know: Lost says that the connection went before
the answer. Plain TCP."""
import re
import socket


class Lost(Exception):
    """The connection ended before the tagged answer."""


class Refused(Exception):
    """NO or BAD."""


def uid_set(text):
    """'1:3,5' as a list, in that order."""
    out = []
    for part in text.split(','):
        a, _, b = part.partition(':')
        out += range(int(a), int(b or a) + 1)
    return out


def set_text(uids):
    """A list of ascending UIDs as a set."""
    out, start, last = [], None, None
    for u in list(uids) + [None]:
        if start is not None and (u is None or u != last + 1):
            out.append('%d' % start if start == last else '%d:%d' % (start, last))
            start = None
        if start is None:
            start = u
        last = u
    return ','.join(out)


class Imap:
    def __init__(self, port, user, password, timeout=40):
        self.n, self.buf = 0, b''
        try:
            self.s = socket.create_connection(('127.0.0.1', port), timeout=timeout)
            self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if not self.response().startswith(b'* OK'):
                raise Lost('greeting')
            self.run('LOGIN %s %s' % (user, password))
        except OSError as e:
            raise Lost(str(e))

    def close(self):
        self.s.close()

    def fill(self):
        try:
            got = self.s.recv(1 << 16)
        except OSError as e:
            raise Lost(str(e))
        if not got:
            raise Lost('closed')
        self.buf += got

    def line(self):
        while b'\r\n' not in self.buf:
            self.fill()
        line, _, self.buf = self.buf.partition(b'\r\n')
        return line

    def response(self):
        """One response with its literals in place."""
        out = self.line()
        while True:
            m = re.search(rb'\{(\d+)\}$', out)
            if not m:
                return out
            while len(self.buf) < int(m[1]):
                self.fill()
            out += b'\r\n' + self.buf[:int(m[1])]
            self.buf = self.buf[int(m[1]):]
            out += self.line()

    def send(self, data):
        try:
            self.s.sendall(data)
        except OSError as e:
            raise Lost(str(e))

    def run(self, command, literal=None):
        """(text of the tagged OK, untagged responses)."""
        self.n += 1
        tag = b'c%d' % self.n
        line = tag + b' ' + command.encode()
        if literal is not None:
            line += b' {%d+}\r\n' % len(literal) + literal
        self.send(line + b'\r\n')
        got = []
        while True:
            r = self.response()
            if r.startswith(tag + b' '):
                break
            if r.startswith(b'* BYE'):
                raise Lost(r.decode(errors='replace'))
            got.append(r)
        text = r[len(tag) + 1:].decode(errors='replace')
        if not text.startswith('OK'):
            raise Refused(text)
        return text, got

    def idle(self, seconds):
        """Wait for something to be told; what was."""
        self.n += 1
        tag = b'c%d' % self.n
        got = []
        self.send(tag + b' IDLE\r\n')
        while not self.response().startswith(b'+'):
            pass
        self.s.settimeout(seconds)
        try:
            while b'\r\n' not in self.buf:
                part = self.s.recv(1 << 16)
                if not part:
                    raise Lost('closed')
                self.buf += part
        except socket.timeout:
            pass
        except OSError as e:
            raise Lost(str(e))
        finally:
            self.s.settimeout(40)
        self.send(b'DONE\r\n')
        while True:
            r = self.response()
            if r.startswith(tag + b' '):
                return got
            if r.startswith(b'* BYE'):
                raise Lost('bye')
            got.append(r)


def fetched(responses):
    """[(uid, subject, flags, size)] of FETCH responses that hold them, ascending by UID."""
    out = []
    for r in responses:
        if not re.match(rb'\* \d+ FETCH ', r):
            continue
        uid, subject = re.search(rb'UID (\d+)', r), re.search(rb'[Ss]ubject: (\S+)', r)
        flags, size = re.search(rb'FLAGS \(([^)]*)\)', r), re.search(rb'RFC822\.SIZE (\d+)', r)
        if uid and subject:
            names = frozenset(f for f in (flags[1].decode().split() if flags else ()) if f != '\\Recent')
            out.append((int(uid[1]), subject[1].decode(), names, int(size[1]) if size else 0))
    return sorted(out)
