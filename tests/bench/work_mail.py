"""Mail on its way in: SMTP, LMTP, circulars, APPEND, and a restart in the middle of it."""
import json
import os
import re
import signal
import socket
import subprocess
import time

from servers import DOMAIN, PASSWORD, Ours, address, cpu_seconds

WORKS = {}


def work(f):
    WORKS[f.__name__] = f
    return f


def tool(bench, name, *words, stdin=None, timeout=1200):
    r = subprocess.run([os.path.join(bench.tools, name), *map(str, words)], input=stdin, capture_output=True, text=True, timeout=timeout)
    if r.returncode != 0:
        raise RuntimeError('%s %s: %s' % (name, ' '.join(map(str, words)), r.stderr.strip()))
    return r.stdout


def settle(side, seconds=300):
    end = time.monotonic() + seconds
    while not side.settled():
        if time.monotonic() > end:
            raise RuntimeError('the queue does not empty')
        time.sleep(0.005)


def smtp_run(bench, side, name, messages, *words, port=None, rcpts=1):
    """Until the last message is in its last mailbox."""
    bench.first += messages * rcpts
    cpu, begin = cpu_seconds(side.roots()), time.monotonic()
    got = json.loads(tool(bench, 'load_smtp', '--messages', messages, '--first', bench.first, '--people', side.people, '--rcpts', rcpts, *words,
                          port or side.smtp))
    settle(side)
    seconds, cpu = time.monotonic() - begin, cpu_seconds(side.roots()) - cpu
    bench.put(side, name, 'a second', got['messages'] * rcpts / seconds, 1e3 * cpu / got['messages'] / rcpts, 'high')


@work
def smtp(bench):
    """SMTP to mailbox: 10 KB; 1, 20 and 100 sessions; one recipient, and 50"""
    with bench.sides(500) as sides:
        for side in sides:  # mailboxes are made
            tool(bench, 'load_smtp', '--people', 500, '--rcpts', 50, '--messages', 10, side.smtp)
            settle(side)
        for _ in range(bench.rounds):
            for sessions, few, many in ((1, 300, 3000), (20, 1000, 15000), (100, 1500, 20000)):
                for side in sides:
                    n = bench.scaled(many if isinstance(side, Ours) else few, 100)
                    smtp_run(bench, side, 'SMTP to mailbox, %d sessions' % sessions, n, '--sessions', sessions)
            for side in sides:
                smtp_run(bench, side, 'SMTP to mailbox, 20 sessions, each message connects', bench.scaled(5000 if isinstance(side, Ours) else 500),
                         '--sessions', 20, '--each-connects')
            for side in sides:
                smtp_run(bench, side, 'SMTP, 50 recipients, 20 sessions (per recipient)', bench.scaled(1000 if isinstance(side, Ours) else 100),
                         '--sessions', 20, rcpts=50)


@work
def lmtp(bench):
    """LMTP to mailbox: 10 KB; 1, 20 and 100 sessions"""
    with bench.sides(500) as sides:
        for side in sides:
            tool(bench, 'load_smtp', '--lmtp', '--people', 500, '--rcpts', 50, '--messages', 10, side.lmtp)
        for _ in range(bench.rounds):
            for sessions, few, many in ((1, 300, 3000), (20, 1500, 15000), (100, 1500, 15000)):
                for side in sides:
                    n = bench.scaled(many if isinstance(side, Ours) else few, 100)
                    smtp_run(bench, side, 'LMTP to mailbox, %d sessions' % sessions, n, '--lmtp', '--sessions', sessions, port=side.lmtp)


@work
def append(bench):
    """IMAP APPEND: 10 KB; 1 and 20 sessions, each into its own INBOX"""
    with bench.sides(500) as sides:
        for _ in range(bench.rounds):
            for sessions, few, many in ((1, 500, 3000), (20, 1500, 15000)):
                for side in sides:
                    n = bench.scaled(many if isinstance(side, Ours) else few, 100)
                    words = ('append', '--sessions', sessions, '--size', 10240)
                    tool(bench, 'load_imap', *words, '--messages', sessions, side.imap)  # logins, mailboxes
                    cpu = cpu_seconds(side.roots())
                    got = json.loads(tool(bench, 'load_imap', *words, '--messages', n, side.imap))
                    cpu = cpu_seconds(side.roots()) - cpu
                    bench.put(side, 'APPEND, %d sessions' % sessions, 'a second', n / got['seconds'], 1e3 * cpu / n, 'high')


# -- a circular --

def circular(bench, side, name, *words, repeat=1):
    """From the end of DATA until the last of all mailboxes has it, and what it took of the disk."""
    for _ in range(repeat):
        before, logs_before = side.store_bytes()
        cpu = cpu_seconds(side.roots())
        bench.first += 1
        got = json.loads(tool(bench, 'load_smtp', '--size', 1 << 20, '--messages', 1, '--first', bench.first, *words, timeout=600))
        end = side.last_filed(got, grouped=True)
        cpu = cpu_seconds(side.roots()) - cpu
        after, logs_after = side.store_bytes()
        bench.put(side, name + ': DATA to last mailbox', 'ms', 1e3 * (end - got['dot_at']), 1e3 * cpu)
        bench.put(side, name + ': disk', 'MB', (after - before) / 1e6)
        if logs_after or logs_before:
            bench.put(side, name + ': log', 'MB', max(0, logs_after - logs_before) / 1e6)


@work
def circulars(bench):
    """1 MB to 9,000: as a group, and as RCPTs; the first time mailboxes are made"""
    people = bench.scaled(9000)
    with bench.sides(people, 'store_checkpoint_interval = 1s\n') as sides:
        for side in sides:
            login = ('--login', address(0), PASSWORD) if isinstance(side, Ours) else ()
            group = ('--to', 'all@' + DOMAIN, '--sender', address(0), *login, side.submission)
            circular(bench, side, 'circular by a group, first', *group)
            circular(bench, side, 'circular by a group', *group, repeat=bench.rounds)
            circular(bench, side, 'circular by RCPTs', '--rcpts', people, '--people', people, side.smtp, repeat=bench.rounds)


# -- restart --

def until_answer(port, command, good, begin, seconds=120):
    """Seconds from begin until a fresh connection gets a good answer to the command."""
    while True:
        try:
            with socket.create_connection(('127.0.0.1', port), timeout=5) as s:
                s.settimeout(10)
                f = s.makefile('rwb', buffering=0)
                f.readline()
                for line in command:
                    f.write(line.encode() + b'\r\n')
                    while True:
                        got = f.readline()
                        if not got:
                            raise OSError('closed')
                        if re.match(good.encode(), got):
                            break
                return time.monotonic() - begin
        except OSError:
            pass
        if time.monotonic() - begin > seconds:
            raise RuntimeError('not back')
        time.sleep(0.005)


def take_letter(port, to, begin):
    hello = ['EHLO x.example', 'MAIL FROM:<k@ngoai.example>', 'RCPT TO:<%s>' % to, 'DATA', 'Subject: back\r\n\r\nx\r\n.']
    return until_answer(port, hello, '[23]5[04] ', begin)


@work
def restart(bench):
    """kill -9 of every process under full load: until SMTP takes a message and IMAP opens a mailbox again"""
    with bench.sides(500) as sides:
        for side in sides:
            for _ in range(bench.rounds):
                load = subprocess.Popen([os.path.join(bench.tools, 'load_smtp'), '--until-broken', '--sessions', '50', '--messages', '10000000', '--people',
                                         '500', '--first', str(bench.first), str(side.smtp)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
                time.sleep(3 if bench.quick else 10)
                bench.first += 1000000
                begin = time.monotonic()
                side.kill()
                load.communicate()
                side.start()
                login = ['a LOGIN %s %s' % (address(3), PASSWORD), 'b SELECT INBOX']
                bench.put(side, 'kill -9 of all under load: SMTP takes a message', 's', take_letter(side.smtp, address(3), begin))
                bench.put(side, 'kill -9 of all under load: SELECT', 's', until_answer(side.imap, login, '[ab] OK', begin))
            if isinstance(side, Ours):
                for _ in range(bench.rounds):
                    load = subprocess.Popen([os.path.join(bench.tools, 'load_smtp'), '--until-broken', '--sessions', '50', '--messages', '10000000',
                                             '--people', '500', '--first', str(bench.first), str(side.smtp)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
                    time.sleep(3 if bench.quick else 10)
                    bench.first += 1000000
                    begin, old = time.monotonic(), side.pid('stored')
                    os.kill(old, signal.SIGKILL)
                    side.p.wait_ready('stored', old, 60)
                    bench.put(side, 'kill -9 of stored under load: it listens again', 's', time.monotonic() - begin)
                    load.kill()
                    load.communicate()
                    side.p.wait_ready('smtpd')
