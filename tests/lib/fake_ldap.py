"""An LDAP server that says what a test wants: each connection is given to one function. BER by hand (RFC 4511)."""
import socket
import threading

BIND, SEARCH, EXTENDED, UNBIND = 0x60, 0x63, 0x77, 0x42
PAGED = b'1.2.840.113556.1.4.319'


def tlv(tag, *parts):
    body = b''.join(parts)
    n = len(body)
    size = bytes([n]) if n < 128 else bytes([0x84]) + n.to_bytes(4, 'big')
    return bytes([tag]) + size + body


def number(tag, n):
    return tlv(tag, n.to_bytes(max(1, n.bit_length() // 8 + 1), 'big'))


def message(id_, op, controls=b''):
    return tlv(0x30, number(2, id_), op, tlv(0xA0, controls) if controls else b'')


def result(tag, rc=0, text=''):
    return tlv(tag, number(0x0A, rc), tlv(4), tlv(4, text.encode()))


def entry(dn, attributes):
    def values(v):
        return tlv(0x31, *[tlv(4, x if isinstance(x, bytes) else x.encode()) for x in v])
    return tlv(0x64, tlv(4, dn.encode()), tlv(0x30, *[tlv(0x30, tlv(4, k.encode()), values(v)) for k, v in attributes]))


def page_control(cookie):
    return tlv(0x30, tlv(4, PAGED), tlv(4, tlv(0x30, number(2, 0), tlv(4, cookie))))


class Gone(Exception):
    pass


class Peer:
    """One connection: ask() gives (id, tag of the operation, whole message)."""

    def __init__(self, sock):
        self.sock = sock

    def exactly(self, n):
        got = b''
        while len(got) < n:
            more = self.sock.recv(n - len(got))
            if not more:
                raise Gone
            got += more
        return got

    def ask(self):
        head = self.exactly(2)
        n = head[1]
        if n >= 128:
            n = int.from_bytes(self.exactly(n & 127), 'big')
        body = self.exactly(n)
        return int.from_bytes(body[2:2 + body[1]], 'big'), body[2 + body[1]], body

    def say(self, *messages):
        self.sock.sendall(b''.join(messages))


class FakeLdap:
    """talk(peer) runs in a thread for each connection; faults in it are kept in .faults."""

    def __init__(self, talk, port=0):
        self.talk, self.faults, self.connections, self.stopped = talk, [], 0, False
        self.open = []
        self.sock = socket.create_server(('127.0.0.1', port))
        self.port = self.sock.getsockname()[1]
        self.thread = threading.Thread(target=self.loop, daemon=True)
        self.thread.start()

    def loop(self):
        while True:
            try:
                s, _ = self.sock.accept()
            except OSError:
                return
            self.connections += 1
            self.open.append(s)
            threading.Thread(target=self.one, args=(s,), daemon=True).start()

    def one(self, s):
        try:
            self.talk(Peer(s))
        except (Gone, OSError):
            pass
        except Exception as e:  # shown by the test
            self.faults.append(repr(e))
        finally:
            s.close()

    def close(self):
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        for s in self.open:
            s.close()
        assert not self.faults, self.faults
