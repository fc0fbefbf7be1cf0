"""The power fails under stored (crash_store with the shim disk.c): what was not synced is lost or torn by chance, in blocks of
4096 and of 512 bytes, with names that need the sync of their folder or not. And the proof that the test can fail: a disk
that ignores syncs."""
import os
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import province as prov  # noqa: E402

PROGRAM = os.path.join(prov.BUILD, 'tests', 'crash', 'crash_store')
pytestmark = pytest.mark.skipif(not os.access(PROGRAM, os.X_OK) or not os.path.exists(os.path.dirname(PROGRAM) + '/disk.so'),
                                reason='not built')


def run(mode, cuts=6, seed=None):
    env = dict(os.environ, top_builddir=prov.BUILD)
    words = [PROGRAM, str(cuts), '600', str(seed or os.getpid()), mode]
    return subprocess.run(words, env=env, capture_output=True, text=True, timeout=150)


@pytest.mark.parametrize('mode', ('power', 'strict', 'torn', 'all'))
def test_power_loss(mode):
    r = run(mode)
    print(r.stdout, r.stderr)
    assert r.returncode == 0, r.stdout + r.stderr


def test_a_disk_that_ignores_syncs_is_found_out():
    r = run('forget', 20)
    assert r.returncode != 0
