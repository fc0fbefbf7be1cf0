#!/usr/bin/python3
"""Wire dialogues of tests/wire/smtp and the SMTP corpus against the core over fakes (tests/lib/smtpalone). CORPUS
(default ../shared/corpus beside the source) names the corpus; without it only the dialogues run."""
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time

TOP = os.environ.get('top_srcdir', os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..'))
BUILD = os.environ.get('top_builddir', os.path.join(TOP, 'build'))
CORPUS = os.path.join(os.environ.get('CORPUS', os.path.join(TOP, '../shared/corpus')), 'smtp')
sys.path.insert(0, os.path.join(TOP, 'tests', 'wire'))
import run as wire  # noqa: E402


class Server:
    """smtpalone as a child; the messages that it took are in self.taken."""

    def __init__(self, kind):
        tls = [os.path.join(TOP, 'tests/data/tls/test-%s.pem' % n) for n in ('cert', 'key')]
        self.p = subprocess.Popen([os.path.join(BUILD, 'tests/lib/smtpalone'), kind] + tls, stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.port = int(self.p.stdout.readline().split()[1])
        self.taken = []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.p.stdout:
            self.taken.append(self.p.stdout.read(int(line.split()[1])))

    def close(self):
        self.p.stdin.close()
        status = self.p.wait(10)
        self.reader.join(10)
        return status


class Client:
    def __init__(self, port):
        self.s = socket.create_connection(('127.0.0.1', port), timeout=5)
        self.f = self.s.makefile('rb')

    def reply(self):
        """Code of the next reply; 0 when the server has closed."""
        try:
            while True:
                line = self.f.readline()
                if not line:
                    return 0
                if line[3:4] != b'-':
                    return int(line[:3])
        except ConnectionResetError:
            return 0

    def send(self, data):
        try:
            self.s.sendall(data)
        except (ConnectionResetError, BrokenPipeError):
            pass

    def ask(self, data):
        self.send(data)
        return self.reply()


def wanted_codes(text):
    return {int(n) for n in re.findall(r'\b[2-5]\d\d\b', text)}


def dialogue(port, case):
    """None, or what was wrong."""
    c = Client(port)
    c.reply()
    codes = []
    for piece in case['send']:
        if isinstance(piece, dict):
            codes.append(c.ask(piece['repeat'].encode() * piece['times']))
            continue
        data = piece.replace('{RCPT}', 'an@gialai.example').replace('{DOMAIN}', 'gialai.example').encode()
        codes.append(c.ask(data))
    want, last = case['want'], codes[-1]
    if case['name'] == 'rcpt-postmaster':
        good = last == 250
    elif case['name'] == 'rcpt-1000':
        good = codes[2:102] == [250] * 100 and set(codes[102:]) <= {250, 452}
    elif case['name'] == 'mail-null':
        good = codes[-2:] == [250, 250]
    elif case['name'] == 'bdat':
        good = codes[-2:] == [250, 250]
    elif case['name'] == 'data-without-valid-rcpt':
        good = codes[2] // 100 == 5 and last in (503, 554)
    elif case['name'].startswith('rcpt-x') or case['name'].startswith('rcpt-|') or case['name'].startswith('rcpt-@'):
        good = last // 100 == 5
    else:
        good = last in wanted_codes(want) or ('5xx' in want and last // 100 == 5) or ('close' in want and last == 0)
    return None if good else '%s: %s, wanted %s' % (case['name'], codes[-4:], want)


def end_of_data(port, case):
    """The bytes stand in a message; what follows them must be a command only where they end the data."""
    c = Client(port)
    c.reply()
    for line in ('EHLO c.example', 'MAIL FROM:<a@c.example>', 'RCPT TO:<an@gialai.example>', 'DATA'):
        c.ask(line.encode() + b'\r\n')
    c.send(b'Subject: x\r\n\r\ntext' + case['bytes_latin1'].encode('latin-1') + b'NOOP\r\n')
    ends = case['want'].startswith('ends')
    c.s.settimeout(5 if ends else 0.2)
    try:
        early = c.reply()
    except (socket.timeout, TimeoutError):
        early = None
    if ends != (early is not None):
        return '%s: %s' % (case['name'], early)
    if ends:
        return None if early in (250, 550) and c.reply() == 250 else '%s: %s' % (case['name'], early)
    return None


# Where RFC 5321 4.1.2 and the collections differ, and why.
ADDRESSES_APART = {
    # a general address literal by the grammar ("tag:content"), meant as IPv6 without its tag; it is no recipient here
    'test@[1111:2222:3333:4444:5555:6666:7777:8888]',
    # RFC 5321 4.1.3: "::" stands for two groups at least; RFC 4291 knows one as well
    'first.last@[IPv6:1111:2222:3333::4444:5555:12.34.56.78]',
    'first.last@[IPv6:1111:2222:3333::4444:5555:6666:7777]',
    'first.last@[IPv6:::a2:a3:a4:b1:ffff:11.22.33.44]',
    # more than 254 bytes, in parts within their limits: RFC 5321 4.5.3.1 lets a server take more than it must
    '123456789012345678901234567890123456789012345678901234567890@12345678901234567890123456789012345678901234567890'
    '123456789.12345678901234567890123456789012345678901234567890123456789.123456789012345678901234567890123456789012'
    '34567890123456789.12345.iana.org',
    # RFC 5322 mailboxes with comments or a display name; commands carry neither
    '(this is a comment)test@example.com',
    '(this is a comment) test@example.com',
    'Matt "The Matt" Mickiewicz <matt.Mickiewicz@99designs.com>',
}


def sender_code(c, address):
    data = b'MAIL FROM:<' + address + b'> SMTPUTF8\r\n'
    code = c.ask(data)
    if code == 250:
        c.ask(b'RSET\r\n')
    return code


def addresses(server):
    """The address collections as senders: taken exactly when RFC 5321 knows them."""
    cases = []
    for name in ('isemail-addresses', 'isemail-addresses-original'):
        with open(os.path.join(CORPUS, name, 'addresses.json'), encoding='utf-8') as f:
            for a in json.load(f):
                text = re.sub('[\u2400-\u241f]', lambda m: chr(ord(m.group(0)) - 0x2400), a['address'] or '')
                good = a['category'] in ('ISEMAIL_VALID_CATEGORY', 'ISEMAIL_DNSWARN', 'ISEMAIL_RFC5321')
                cases.append((text, good, a['diagnosis']))
    for name, good in (('flanker-mailbox-valid', True), ('flanker-mailbox-invalid', False)):
        with open(os.path.join(CORPUS, name, 'mailboxes.json'), encoding='utf-8') as f:
            cases += [(t, good, name) for t in json.load(f)]
    faults = []
    for text, good, why in cases:
        if '\n' in text or '\r' in text or text == '':
            continue  # no line of SMTP can carry them; the empty one is the null sender
        c = Client(server.port)
        c.reply()
        c.ask(b'EHLO c.example\r\n')
        code = sender_code(c, text.encode())
        c.send(b'QUIT\r\n')
        if ((code == 250) != good) != (text in ADDRESSES_APART):
            faults.append('%r: %d, %s' % (text, code, why))
    print('addresses: %d, of which %d differ as listed' % (len(cases), len(ADDRESSES_APART)))
    return len(cases), faults


def messages(folder):
    """Every message of the corpus as SMTP would carry it: a file with LF line ends only gets CRLF."""
    for root, dirs, names in os.walk(folder):
        dirs.sort()
        for name in sorted(names):
            if name.endswith(('.json', '.md', '.tsv', '.txt.license')) or name.startswith('LICENSE'):
                continue
            with open(os.path.join(root, name), 'rb') as f:
                data = f.read()
            if b'\r' not in data:
                data = data.replace(b'\n', b'\r\n')
            if not data.endswith(b'\r\n'):
                data += b'\r\n'
            yield os.path.relpath(os.path.join(root, name), folder), data


def over_smtp(server, folder):
    """Faults: a message that was not stored as it came, or was taken or refused against the rules."""
    faults = []
    taken = refused = 0
    c = None
    for name, data in messages(folder):
        if not c:  # a new session after each refusal: they are counted
            c = Client(server.port)
            c.s.settimeout(60)
            c.reply()
            c.ask(b'EHLO c.example\r\n')
        c.ask(b'MAIL FROM:<a@c.example>\r\n')
        c.ask(b'RCPT TO:<an@gialai.example>\r\n')
        c.ask(b'DATA\r\n')
        before = len(server.taken)
        stuffed = (b'\r\n' + data).replace(b'\r\n.', b'\r\n..')[2:]
        code = c.ask(stuffed + b'.\r\n')
        bare = data.replace(b'\r\n', b'')
        carried = not (b'\r' in bare or b'\n' in bare or b'\0' in data)
        hops = len(re.findall(rb'(?mi)^received[ \t]*:', data.split(b'\r\n\r\n')[0]))
        if code == 250:
            taken += 1
            end = time.monotonic() + 10
            while len(server.taken) == before and time.monotonic() < end:
                time.sleep(0.001)
            got = server.taken[-1].split(b'\n', 1)[1]
            fields = got[:len(got) - len(data)]
            if not got.endswith(data) or not re.fullmatch(
                    rb'Return-Path: <a@c\.example>\r\nReceived: .*\r\n(\t.*\r\n)+', fields):
                faults.append('%s: not as it came' % name)
        else:
            refused += 1
            c = None
        if (code == 250) != (carried and hops <= 50):
            faults.append('%s: %d' % (name, code))
    print('corpus over SMTP: %d taken and byte-exact, %d refused for bare CR, bare LF, NUL or a loop' %
          (taken - len(faults), refused))
    return taken + refused, faults


def main():
    failed = 0
    ran = 0
    for kind in ('smtp', 'submission', 'lmtp'):
        server = Server(kind)
        folder = os.path.join(TOP, 'tests/wire/smtp', 'mx' if kind == 'smtp' else kind)
        paths = [os.path.join(folder, n) for n in sorted(os.listdir(folder)) if n.endswith('.wire')]
        ran += len(paths)
        failed += len(wire.run(paths, port=server.port))
        if kind == 'smtp' and os.path.isdir(CORPUS):
            for name, play in (('own-dialogues/dialogues.json', dialogue), ('own-eod/eod.json', end_of_data)):
                with open(os.path.join(CORPUS, name), encoding='utf-8') as f:
                    cases = json.load(f)
                faults = [x for x in (play(server.port, c) for c in cases) if x]
                ran += len(cases)
                failed += len(faults)
                print('%s: %d of %d went as wanted' % (name, len(cases) - len(faults), len(cases)))
                for x in faults:
                    print('  ' + x)
        if kind == 'smtp' and os.path.isdir(CORPUS):
            for count, faults in (addresses(server), over_smtp(server, os.path.join(CORPUS, '../mime'))):
                ran += count
                failed += len(faults)
                for x in faults:
                    print('  ' + x)
        if server.close() != 0:
            print('smtpalone %s ended badly' % kind)
            failed += 1
        if kind != 'submission' and not server.taken:
            print('%s: no message was taken' % kind)
            failed += 1
    print('%d played, %d failed' % (ran, failed))
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
