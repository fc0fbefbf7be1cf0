"""./quickstart from a copy of the tree: it makes a demo, sends and reads its first message; again it changes nothing; two of them
run side by side; a killed daemon is back; --stop."""
import os
import re
import shutil
import subprocess
import sys
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import province as prov  # noqa: E402

QUICKSTART = os.path.join(prov.TOP, 'quickstart')


def quickstart(*words, tree=prov.TOP):
    return subprocess.run([os.path.join(tree, 'quickstart'), *words], capture_output=True, text=True, timeout=900,
                          stdin=subprocess.DEVNULL)


@pytest.fixture(scope='module')
def tree(tmp_path_factory):
    """A tree whose build folder is the one under test, so that quickstart does not build everything once more."""
    if os.path.realpath(prov.BUILD).startswith(os.path.realpath(prov.TOP) + '/') and os.access(prov.BUILD + '/config.status', os.X_OK):
        top = tmp_path_factory.mktemp('tree')
        for p in top.parents:
            if p.owner() == top.owner() and p != p.parent and str(p) != '/tmp':
                p.chmod(0o755)
        top.chmod(0o755)
        for name in os.listdir(prov.TOP):
            if name not in ('build', 'run', '.git') and not name.startswith('build-'):
                os.symlink(os.path.join(prov.TOP, name), top / name)
        for name in ('quickstart',):
            os.unlink(top / name)
            shutil.copy(os.path.join(prov.TOP, name), top / name)
        os.symlink(prov.BUILD, top / 'build')
        return str(top)
    pytest.skip('the build lies elsewhere')


def stamps(folder):
    """What must not change by a second run."""
    out = {}
    for root, dirs, files in os.walk(folder):
        for name in files:
            path = os.path.join(root, name)
            rel = os.path.relpath(path, folder)
            if rel.split('/')[0] not in ('mail', 'directory', 'log'):
                s = os.lstat(path)
                out[rel] = (s.st_mtime_ns, s.st_size, s.st_mode, s.st_uid)
    return out


def pids(folder):
    return {n: open(os.path.join(folder, 'run', n + '.pid')).read() for n in prov.DAEMONS + ('supervise',)}


@pytest.fixture
def demos(tree, tmp_path):
    made = []
    for p in [tmp_path] + list(tmp_path.parents):
        if p != p.parent and str(p) != '/tmp' and p.owner() == tmp_path.owner():
            p.chmod(0o755)

    def make(name):
        state = str(tmp_path / name)
        made.append(state)
        return state, prov.free_base()
    yield make
    for state in made:
        quickstart('--state', state, '--stop', tree=tree)


def test_help_and_wrong_words():
    r = quickstart('--help')
    assert r.returncode == 0 and '--port-base' in r.stdout and '--directory' in r.stdout
    for words in (['--nonsense'], ['--port-base', 'x'], ['--port-base', '80'], ['--port-base', '70000'], ['--directory', 'paper'],
                  ['--state']):
        assert quickstart(*words).returncode == 64, words


def test_two_demos(demos, tree):
    (one, base), (two, other) = demos('one'), demos('two thứ hai')
    r = quickstart('--state', one, '--port-base', str(base), tree=tree)
    assert r.returncode == 0, r.stderr + r.stdout
    assert 'first message: sent by SMTP, read by IMAP' in r.stdout
    for port in (25, 24, 587, 465, 143, 993, 443, 80):
        assert prov.reachable(base + port), port
        assert ':%d' % (base + port) in r.stdout
    before, ran = stamps(one), pids(one)
    begin = time.monotonic()
    again = quickstart('--state', one, '--port-base', str(base), tree=tree)
    assert again.returncode == 0 and 'runs already' in again.stdout and 'first message' not in again.stdout
    assert time.monotonic() - begin < 20
    assert pids(one) == ran
    after = stamps(one)
    assert {k for k in set(before) | set(after) if before.get(k) != after.get(k)} == set()
    r = quickstart('--state', two, '--port-base', str(other), tree=tree)
    assert r.returncode == 0, r.stderr + r.stdout
    assert pids(one) == ran
    page = subprocess.run(['curl', '-sS', '--cacert', one + '/tls/cert.pem', '-L', 'http://127.0.0.1:%d/' % (base + 80)],
                          capture_output=True, text=True)
    assert 'id="password"' in page.stdout or 'name="password"' in page.stdout, page.stderr
    # A killed daemon is back.
    os.kill(int(ran['smtpd']), 9)
    prov.until(lambda: pids(one)['smtpd'] not in ('', ran['smtpd']) and prov.reachable(base + 25), 3)
    r = quickstart('--state', one, '--stop', tree=tree)
    assert r.returncode == 0 and 'stopped' in r.stdout
    assert not prov.reachable(base + 25) and not prov.reachable(base + 443) and prov.reachable(other + 25)
    r = quickstart('--state', one, '--stop', tree=tree)
    assert r.returncode == 0 and 'nothing runs' in r.stdout
    # It starts again with the mail that it had.
    r = quickstart('--state', one, '--port-base', str(base), tree=tree)
    assert r.returncode == 0 and 'first message' not in r.stdout
    got = subprocess.run(['curl', '-sS', '--cacert', one + '/tls/cert.pem', '--user', 'an@gialai.example:' + prov.PASSWORD,
                          'imaps://127.0.0.1:%d/INBOX;UID=1' % (base + 993)], capture_output=True, text=True)
    assert re.search(r'^Message-ID: <first-', got.stdout, re.M), got.stderr


@pytest.mark.skipif(not os.path.exists('/usr/sbin/slapd'), reason='no slapd')
def test_ldap_demo(demos, tree):
    state, base = demos('ldap')
    r = quickstart('--state', state, '--port-base', str(base), '--directory', 'ldap', tree=tree)
    assert r.returncode == 0, r.stderr + r.stdout
    assert 'first message: sent by SMTP, read by IMAP' in r.stdout
    assert prov.reachable(base + 389)
    r = quickstart('--state', state, '--stop', tree=tree)
    assert r.returncode == 0 and not prov.reachable(base + 389)
