"""A restore of everything, and the first start after it, with a death at each step: what a start finds then is the store as it
was, or the one that was restored, or it is refused; never an empty or half one. The restore run again makes it whole."""
import os
import re
import shutil
import subprocess
import sys
import tempfile

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, '..', 'lib')]
import province as prov  # noqa: E402
from harness import FaultPage, faulty_programs  # noqa: E402

SHIM = os.path.join(prov.BUILD, 'tests', 'crash', 'steps.so')
FAULTY = os.path.join(prov.BUILD, 'tests', 'crash', 'faulty', 'stored')
pytestmark = pytest.mark.skipif(bool(prov.built()) or not os.path.exists(SHIM) or not os.path.exists(FAULTY), reason='not built')
POINTS = ('begun', 'jumped', 'reborn', 'renewed', 'held', 'settled', 'segments', 'checkpointed', 'done')
IN_SET, AFTER = 3, 2


class Case:
    def __init__(self):
        self.scratch = tempfile.mkdtemp(prefix='restore-')
        os.chmod(self.scratch, 0o755)
        self.p = prov.Province('store_segment_size = 1M\nauth_plaintext_without_tls = yes\n')
        self.set = self.scratch + '/set'
        self.send(IN_SET)
        self.p.adm('backup', self.set)
        self.send(AFTER)
        self.validity = self.look()
        self.p.stop()
        self.dirs = [self.p.state + '/mail', self.p.state + '/directory']
        for d in self.dirs:
            subprocess.run(['cp', '-a', d, self.scratch + '/' + os.path.basename(d)], check=True)

    def send(self, count):
        for _ in range(count):
            with self.p.smtp() as c:
                c.sendmail('a@ngoai.example', [prov.address('an')], prov.message('a@ngoai.example', prov.address('an'), 'thu'))

    def look(self):
        c = self.p.imap('an')
        text = c.status('INBOX', '(UIDVALIDITY)')[1][0].decode()
        c.logout()
        return int(re.search(r'UIDVALIDITY (\d+)', text)[1])

    def reset(self):
        for d in self.dirs:
            shutil.rmtree(d)
            subprocess.run(['cp', '-a', self.scratch + '/' + os.path.basename(d), d], check=True)

    def restore(self, die=0, count=None, force=True):
        env = dict(os.environ, LD_PRELOAD=SHIM, STEPS_DIE=str(die))
        if count:
            env['STEPS_COUNT'] = count
        return subprocess.run([prov.MAILADM, '--config', self.p.conf, 'restore', self.set] + ['--force'] * force, env=env,
                              capture_output=True, text=True, timeout=60)

    def start(self, program=None, env=None):
        """What a start makes of the store: (status, messages or None, what it said)."""
        r = subprocess.run([program or os.path.join(prov.BUILD, 'stored'), '--probe', self.dirs[0]], capture_output=True, text=True,
                           timeout=60, env=env)
        n = re.search(r'(\d+) messages, (\d+) contents, 0 of them not whole', r.stdout)
        return r.returncode, int(n[1]) if n else None, r.stderr

    def close(self):
        self.p.close()
        shutil.rmtree(self.scratch)


@pytest.fixture(scope='module')
def case():
    c = Case()
    yield c
    c.close()


def test_death_at_each_step_of_a_restore(case):
    case.reset()
    r = case.restore(count=case.scratch + '/count')
    assert r.returncode == 0, r.stderr
    assert case.start()[:2] == (0, IN_SET)
    steps = int(open(case.scratch + '/count').read())
    assert steps > 30
    seen = {}
    # Copying is one step like the other; of the last ones, which put things in place, none is left out.
    for n in sorted(set(range(1, steps + 1, max(1, steps // 8))) | set(range(steps - 20, steps + 1))):
        case.reset()
        r = case.restore(die=n)
        assert r.returncode == -9, (n, r.returncode, r.stderr)
        status, messages, text = case.start()
        if status == 0:
            assert messages in (IN_SET, IN_SET + AFTER), (n, messages)
        else:
            assert status == 70 and 'restore' in text and 'run mailadm restore again' in text, (n, status, text)
        seen[messages] = seen.get(messages, 0) + 1
        r = case.restore()
        assert r.returncode == 0, (n, r.stderr)
        assert case.start()[:2] == (0, IN_SET), n
    assert set(seen) == {None, IN_SET, IN_SET + AFTER}, seen
    print('\n%d steps; a start after a death found: %s' % (steps, seen))


def test_death_while_a_first_restore_is_under_way(case):
    """On a machine that had no store: no empty one is made, neither by stored nor by directoryd."""
    for d in case.dirs:
        shutil.rmtree(d)
    r = case.restore(die=25, force=False)
    assert r.returncode == -9
    status, messages, text = case.start()
    assert status == 70 and 'run mailadm restore again' in text, (status, messages, text)
    r = case.restore(force=False)
    assert r.returncode == 0, r.stderr
    assert case.start()[:2] == (0, IN_SET)


def test_death_in_the_first_start(case):
    """At each named step of it; then the whole suite comes up: larger UIDVALIDITY, nothing found by verify."""
    folder = case.scratch + '/faults'
    os.makedirs(folder, exist_ok=True)
    os.chmod(folder, 0o755)
    page = FaultPage(folder + '/stored')
    env = dict(os.environ, PROVMAIL_FAULTS=folder)
    for point in POINTS:
        case.reset()
        assert case.restore().returncode == 0
        page.arm('store.restored.' + point)
        assert case.start(FAULTY, env)[0] == -9, point
        if point in ('renewed', 'settled'):  # and the restore once more, on top of it
            assert case.restore().returncode == 0
        assert case.start(FAULTY, env)[:2] == (0, IN_SET), point
        assert case.start()[:2] == (0, IN_SET), point
    if case.p.own_users:  # what was opened here was opened as root
        subprocess.run(['chown', '-R', 'provmail:provmail', case.dirs[0]], check=True)
    case.p.start()
    assert case.look() > case.validity
    case.p.adm('store', 'verify', '--deep')
    assert not case.p.alarms(), case.p.alarms()[:5]
