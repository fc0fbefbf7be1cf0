#!/usr/bin/python3
"""Play wire dialogues against a server: run.py [options] FILE-or-folder...

A dialogue is a text file; each line is one act. X stands for nothing or for a connection's name (C1:, S1:).
  # text         a comment
  OX: PORT       open connection X to a named port (-p NAME=PORT) or a number; "tls" behind it: TLS at once.
                 Without O a connection opens at its first mention, to --port (with TLS when --tls).
  CX: text       send text and CRLF
  LX: text       send exactly these bytes; \\r \\n \\t \\0 \\\\ \\xNN are escapes. Used for literals and for hostile bytes
  SX: text       the next line must be text; "..." in it matches anything
  S/X: regex     the next line must match the whole regex; named groups become variables
  S~X: text      skip lines until one matches text (with "...")
  S~/X: regex    the same with a regex
  TX:            start TLS on X now (after STARTTLS was answered)
  EX:            the server must close X now (waiting input is an error)
  E~X:           the server must close X; what it says before is skipped
  NX: seconds    nothing may come for so long
  W: seconds     wait
  H X:           half-close: we send no more on X
  DX:            drop X: close it from our side
Variables in C, L, S and O: {tag} (a new one in each C line that uses it, the last one elsewhere; IMAP),
{literal} and {literal+} in a C line: "{N}" and "{N+}" with the size of the next run of L lines of that connection,
{b64:text} (escapes as in L), {NAME} from -v NAME=VALUE and from named groups. Other braces stay as they are.
Exit status: 0 when all dialogues went as written, 1 otherwise."""
import argparse
import base64
import os
import re
import socket
import ssl
import sys
import time

ACT = re.compile(r'^(O|C|L|S~/|S/|S~|S|T|E~|E|N|W|H|D)\s?(\w*):(?: (.*)|)$')
ESCAPE = re.compile(r'\\(x[0-9a-fA-F]{2}|[rnt0\\])')


class Mismatch(Exception):
    pass


def unescape(text):
    plain = {'r': b'\r', 'n': b'\n', 't': b'\t', '0': b'\0', '\\': b'\\'}
    out, at = b'', 0
    for m in ESCAPE.finditer(text):
        out += text[at:m.start()].encode('utf-8', 'surrogateescape')
        code = m.group(1)
        out += bytes([int(code[1:], 16)]) if code[0] == 'x' else plain[code]
        at = m.end()
    return out + text[at:].encode('utf-8', 'surrogateescape')


class Connection:
    def __init__(self, host, port, tls, timeout):
        self.sock = socket.create_connection((host, port), timeout=timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.timeout = timeout
        self.waiting = b''
        if tls:
            self.start_tls()

    def start_tls(self):
        if self.waiting:
            raise Mismatch('input waits before TLS: %r' % self.waiting)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.sock = context.wrap_socket(self.sock)

    def receive(self, timeout):
        """More bytes into waiting. False: the server closed."""
        self.sock.settimeout(timeout)
        try:
            piece = self.sock.recv(65536)
        except (ConnectionResetError, ssl.SSLEOFError, BrokenPipeError):
            piece = b''
        self.waiting += piece
        return bool(piece)

    def line(self):
        end_time = time.monotonic() + self.timeout
        while b'\n' not in self.waiting:
            left = end_time - time.monotonic()
            try:
                alive = left > 0 and self.receive(left)
            except (socket.timeout, TimeoutError):
                left = 0
            if left <= 0:
                raise Mismatch('nothing came in time' + (', only %r' % self.waiting if self.waiting else ''))
            if not alive:
                raise Mismatch('the server closed' + (' after %r' % self.waiting if self.waiting else ''))
        line, self.waiting = self.waiting.split(b'\n', 1)
        if not line.endswith(b'\r'):
            raise Mismatch('line without CR: %r' % line)
        return line[:-1].decode('utf-8', 'surrogateescape')


class Dialogue:
    def __init__(self, path, options):
        self.path = path
        self.o = options
        self.vars = dict(options.variables)
        self.tags = 0
        self.connections = {}
        self.acts = []
        with open(path, encoding='utf-8', errors='surrogateescape', newline='\n') as f:
            for number, line in enumerate(f, 1):
                line = line.rstrip('\n')
                if not line.strip() or line.startswith('#'):
                    continue
                m = ACT.match(line)
                if not m:
                    raise Mismatch('line %d is no act: %s' % (number, line))
                self.acts.append((number, m.group(1), m.group(2), m.group(3) or ''))

    def literal_size(self, at, name):
        size = 0
        started = False
        for _, kind, who, text in self.acts[at + 1:]:
            if kind == 'L' and who == name:
                size += len(unescape(self.fill(text)))
                started = True
            elif started:
                break
        return size

    def fill(self, text, at=None, name=None):
        if '{tag}' in text and at is not None:
            self.tags += 1
            self.vars['tag'] = 'a%d' % self.tags

        def one(m):
            word = m.group(1)
            if word in ('literal', 'literal+') and at is not None:
                return '{%d%s}' % (self.literal_size(at, name), '+' if word.endswith('+') else '')
            return self.vars.get(word, m.group(0))
        text = re.sub(r'\{(\w+\+?)\}', one, text)
        return re.sub(r'\{b64:([^}]*)\}', lambda m: base64.b64encode(unescape(m.group(1))).decode(), text)

    def connect(self, name, target=None, tls=False):
        port = self.o.ports.get(target, target) if target else self.o.port
        if port is None:
            raise Mismatch('no port is known')
        self.connections[name] = Connection(self.o.host, int(port), tls, self.o.timeout)

    def on(self, name):
        if name not in self.connections:
            self.connect(name, None, self.o.tls)
        return self.connections[name]

    def expect(self, c, kind, text):
        if '/' in kind:
            safe = re.sub(r'\{(\w+)\}', lambda m: re.escape(self.vars[m.group(1)]) if m.group(1) in self.vars
                          else m.group(0), text)
            pattern = re.compile(safe, re.S)
        else:
            text = self.fill(text)
            pattern = re.compile('.*'.join(re.escape(p) for p in text.split('...')), re.S)
        seen = []
        while True:
            try:
                line = c.line()
            except Mismatch as e:
                raise Mismatch('%s; wanted %s%s' % (e, text, '; skipped %r' % seen if seen else '')) from None
            m = pattern.fullmatch(line)
            if m:
                self.vars.update({k: v for k, v in m.groupdict().items() if v is not None})
                return
            if '~' not in kind:
                raise Mismatch('wanted: %s\n      got:    %s' % (text, line))
            seen.append(line)

    def closed(self, c, skip):
        end_time = time.monotonic() + c.timeout
        while True:
            if c.waiting and not skip:
                raise Mismatch('wanted the end, got %r' % c.waiting)
            c.waiting = b''
            try:
                if not c.receive(max(0.01, end_time - time.monotonic())):
                    return
            except (socket.timeout, TimeoutError):
                raise Mismatch('the server did not close') from None

    def silence(self, c, seconds):
        if not c.waiting:
            try:
                if not c.receive(seconds):
                    raise Mismatch('wanted silence, the server closed')
            except (socket.timeout, TimeoutError):
                return
        raise Mismatch('wanted silence, got %r' % c.waiting)

    def act(self, at, kind, name, text):
        if kind == 'W':
            time.sleep(float(text))
        elif kind == 'O':
            words = self.fill(text).split()
            self.connect(name, words[0] if words and words[0] != 'tls' else None, 'tls' in words)
        elif kind in ('C', 'L'):
            c = self.on(name)
            data = unescape(self.fill(text)) if kind == 'L' else \
                self.fill(text, at, name).encode('utf-8', 'surrogateescape') + b'\r\n'
            c.sock.settimeout(c.timeout)
            c.sock.sendall(data)
        elif kind[0] == 'S':
            self.expect(self.on(name), kind, text)
        elif kind == 'T':
            self.on(name).start_tls()
        elif kind in ('E', 'E~'):
            self.closed(self.on(name), kind == 'E~')
        elif kind == 'N':
            self.silence(self.on(name), float(text))
        elif kind == 'H':
            self.on(name).sock.shutdown(socket.SHUT_WR)
        elif kind == 'D':
            self.connections.pop(name).sock.close()

    def play(self):
        try:
            for at, (number, kind, name, text) in enumerate(self.acts):
                try:
                    self.act(at, kind, name, text)
                except (Mismatch, OSError, ValueError, KeyError, re.error) as e:
                    raise Mismatch('line %d: %s' % (number, e)) from None
        finally:
            for c in self.connections.values():
                c.sock.close()


def pairs(items):
    return dict(i.split('=', 1) for i in items)


def files(paths):
    for p in paths:
        if os.path.isdir(p):
            for root, dirs, names in os.walk(p):
                dirs.sort()
                yield from (os.path.join(root, n) for n in sorted(names) if n.endswith('.wire'))
        else:
            yield p


def run(paths, host='127.0.0.1', port=None, ports=None, variables=None, tls=False, timeout=5.0, out=sys.stdout):
    """Play all; the list of (path, fault)."""
    o = argparse.Namespace(host=host, port=port, ports=ports or {}, variables=variables or {}, tls=tls,
                           timeout=timeout)
    faults = []
    count = 0
    for path in files(paths):
        count += 1
        try:
            Dialogue(path, o).play()
            print('ok   %s' % path, file=out)
        except Mismatch as e:
            print('FAIL %s\n     %s' % (path, e), file=out)
            faults.append((path, str(e)))
    if not count:
        faults.append(('', 'no dialogue was found'))
    print('%d dialogues, %d failed' % (count, len(faults)), file=out)
    return faults


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--host', default='127.0.0.1')
    p.add_argument('--port', type=int)
    p.add_argument('--tls', action='store_true', help='TLS from the first byte')
    p.add_argument('--timeout', type=float, default=5.0, help='seconds for each expected line')
    p.add_argument('-p', dest='ports', action='append', default=[], metavar='NAME=PORT')
    p.add_argument('-v', dest='variables', action='append', default=[], metavar='NAME=VALUE')
    p.add_argument('paths', nargs='+', help='dialogues, or folders of *.wire files')
    a = p.parse_args()
    faults = run(a.paths, a.host, a.port, pairs(a.ports), pairs(a.variables), a.tls, a.timeout)
    return 1 if faults else 0


if __name__ == '__main__':
    sys.exit(main())
