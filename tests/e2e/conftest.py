"""The province that the tests of a session share, and words that occur once."""
import os
import secrets
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import province as prov  # noqa: E402


@pytest.fixture(scope='session')
def province():
    why = prov.built()
    if why:
        pytest.skip(why)
    p = prov.Province(web=True)
    yield p
    expected = getattr(p, "expected", ())
    alarms = [l for l in p.alarms() if not any(e in l for e in expected)]
    p.close()
    assert not alarms, alarms[:10]


@pytest.fixture(scope='session')
def demo(province):
    return province


@pytest.fixture
def word():
    """A word for a subject."""
    return 'tu' + secrets.token_hex(6)
