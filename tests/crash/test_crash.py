"""Two minutes of the crash harness (harness.py says what it does; it can be run for longer by hand), a proof that it can fail,
and that the fault points are in no program that is installed."""
import os
import subprocess
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, '..', 'lib')]
import province as prov  # noqa: E402
import harness  # noqa: E402

FAULTY = os.path.join(prov.BUILD, 'tests', 'crash', 'faulty')
INSTALLED = ('stored', 'common/directory/directoryd', 'imapd/imapd', 'smtpd/smtpd', 'mailadm/mailadm', 'webmail-cgi/webmail-cgi')

pytestmark = pytest.mark.skipif(prov.built() or not os.access(FAULTY + '/stored', os.X_OK), reason='the daemons are not built')


def run(*words):
    r = harness.Run(harness.arguments(words))
    try:
        r.run()
        r.report()
    finally:
        r.close()
    return r


def test_kills():
    r = run('--kills', '1000', '--seconds', '90', '--points', 'all', '--phase', '25')
    assert not r.violations
    assert sum(r.kills.values()) >= 10 and r.acknowledged >= 100 and r.phases >= 2


def test_a_wrong_store_is_found_out():
    r = run('--kills', '30', '--points', 'none', '--phase', '2', '--wrong')
    assert r.violations


def test_no_points_in_what_is_installed():
    def points(path):
        with open(path, 'rb') as f:
            data = f.read()
        return data.count(b'store.batch.synced') + data.count(b'PROVMAIL_FAULTS')
    assert points(FAULTY + '/stored') > 0
    for name in INSTALLED:
        assert points(os.path.join(prov.BUILD, name)) == 0
        symbols = subprocess.run(['nm', os.path.join(prov.BUILD, name)], capture_output=True, text=True).stdout
        assert ' fault_pass\n' not in symbols
