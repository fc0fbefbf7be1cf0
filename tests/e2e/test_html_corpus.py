"""Every HTML case of the corpus through the re-serialiser, judged by a reader that shares nothing with it."""
import glob
import json
import os
import struct
import subprocess
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.environ.get("top_srcdir", os.path.join(HERE, "..", ".."))
BUILD = os.environ.get("top_builddir", os.path.join(TOP, "build"))
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))
from html_check import check  # noqa: E402

CORPUS = os.environ.get("CORPUS", os.path.join(TOP, "..", "shared", "corpus")) + "/html"
FILTER = os.path.join(BUILD, "tests", "lib", "html_filter")


def cases():
    for path in sorted(glob.glob(CORPUS + "/*/*.json")):
        with open(path, encoding="utf-8") as f:
            for i, row in enumerate(json.load(f)):
                if not isinstance(row, str):
                    row = next(row[k] for k in ("input", "payload", "html", "data") if k in row)
                yield f"{os.path.basename(os.path.dirname(path))}#{i}", row.encode()
    for path in sorted(glob.glob(CORPUS + "/**/*", recursive=True)):
        if path.endswith((".html", ".dat", ".test")):
            with open(path, "rb") as f:
                yield os.path.relpath(path, CORPUS), f.read()


def run(inputs):
    feed = b"".join(struct.pack(">I", len(s)) + s for s in inputs)
    out = subprocess.run([FILTER], input=feed, stdout=subprocess.PIPE, check=True, timeout=300).stdout
    at, frames = 0, []
    while at < len(out):
        n, = struct.unpack_from(">I", out, at)
        frames.append(out[at + 4:at + 4 + n])
        at += 4 + n
    return list(zip(frames[0::3], frames[1::3], map(int, frames[2::3])))


@pytest.fixture(scope="module")
def results():
    if not os.path.isdir(CORPUS):
        pytest.skip("no corpus beside the tree")
    if not os.path.exists(FILTER):
        pytest.skip("html_filter is not built")
    named = list(cases())
    return named, run([s for _, s in named])


def test_nothing_runs_or_loads(results):
    named, out = results
    assert len(named) > 700
    faults = {}
    for (name, _), (html, _, _) in zip(named, out):
        found, _ = check(html.decode())
        if found:
            faults[name] = found
    assert not faults


def test_stable(results):
    named, out = results
    again = run([html for html, _, _ in out])
    assert [n for (n, _), (a, _, _), (b, _, _) in zip(named, out, again) if a != b] == []


def test_quick(results):
    named, out = results
    slow = [(n, us) for (n, s), (_, _, us) in zip(named, out) if us > 20000 + len(s)]
    assert slow == []


def test_real_pages_stay_readable(results):
    named, out = results
    for (name, source), (html, _, _) in zip(named, out):
        if not name.startswith(("caniemail-pages/", "leemunroe-template/")):
            continue
        before = words(drop_raw(source.decode("utf-8", "replace")))
        _, after = check(html.decode())
        kept = set(words(after))
        lost = [w for w in before if w not in kept]
        assert len(lost) <= len(before) // 100, (name, lost[:10])


def drop_raw(html):
    """The text of a page as the standard library sees it, without scripts, styles and titles."""
    from html.parser import HTMLParser

    class Text(HTMLParser):
        def __init__(self):
            super().__init__(convert_charrefs=True)
            self.hidden, self.parts = 0, []

        def handle_starttag(self, tag, attrs):
            self.hidden += tag in ("script", "style", "title", "noframes", "iframe")

        def handle_endtag(self, tag):
            self.hidden -= tag in ("script", "style", "title", "noframes", "iframe")

        def handle_data(self, data):
            if self.hidden <= 0:
                self.parts.append(data)

    t = Text()
    t.feed(html)
    t.close()
    return "".join(t.parts)


def words(text):
    return text.split()


def test_chromium_runs_and_loads_nothing(results, tmp_path):
    chromium = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    if not os.path.exists(chromium) or not os.path.isdir(os.path.join(HERE, "node_modules", "playwright-core")):
        pytest.skip("no Chromium or playwright-core")
    named, out = results
    path = tmp_path / "cases.json"
    # one that does load, so that a browser which sees nothing cannot pass
    cases = [[name, html.decode()] for (name, _), (html, _, _) in zip(named, out)]
    path.write_text(json.dumps([["canary", '<img src="https://canary.example/1">']] + cases))
    ran = subprocess.run(["node", os.path.join(HERE, "html.mjs"), str(path)], stdout=subprocess.PIPE, check=True, timeout=300)
    said = json.loads(ran.stdout)
    assert said["cases"] == len(cases) + 1
    assert said["bad"].pop("canary")
    assert said["bad"] == {}
