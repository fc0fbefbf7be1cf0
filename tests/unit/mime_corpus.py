#!/usr/bin/env python3
"""The MIME parser over every message of the shared corpus: records are the same however the input is cut,
offsets lie inside the message, ENVELOPE and BODYSTRUCTURE follow the grammar of RFC 9051 to the letter,
the Vietnamese set decodes as its .json files say, and plain structures agree with Python's email package.
CORPUS (default ../shared/corpus beside the source) names the corpus; without it the test is skipped."""
import email
import email.policy
import json
import os
import re
import subprocess
import sys
import unicodedata

TOP = os.environ.get("top_srcdir", os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
BUILD = os.environ.get("top_builddir", os.path.join(TOP, "build"))
CORPUS = os.environ.get("CORPUS", os.path.join(TOP, "../shared/corpus"))


class Grammar(Exception):
    pass


class Reader:
    """A strict reader of IMAP strings, numbers, NIL and lists (RFC 9051 9)."""

    def __init__(self, text):
        self.s = text.encode("latin-1")
        self.i = 0

    def value(self):
        s, i = self.s, self.i
        if s[i:i + 1] == b"(":
            return self.list()
        if s[i:i + 3] == b"NIL":
            self.i += 3
            return None
        m = re.compile(rb'"((?:[^"\\\r\n\x00\x80-\xff]|\\["\\])*)"').match(s, i)
        if m:
            self.i = m.end()
            return re.sub(rb"\\(.)", rb"\1", m.group(1))
        m = re.compile(rb"\{(\d+)\}\r\n").match(s, i)
        if m:
            n = int(m.group(1))
            text = s[m.end():m.end() + n]
            if len(text) != n or b"\0" in text:
                raise Grammar("literal")
            self.i = m.end() + n
            return text
        m = re.compile(rb"\d+").match(s, i)
        if m:
            self.i = m.end()
            return int(m.group(0))
        raise Grammar("byte %d: %r" % (i, s[i:i + 20]))

    def list(self):
        """( x y ) with single blanks; lists of lists (addresses, parts) have none between."""
        self.i += 1
        out = []
        while self.s[self.i:self.i + 1] != b")":
            if out and self.s[self.i:self.i + 1] == b" ":
                self.i += 1
            elif out and not (isinstance(out[-1], list) and self.s[self.i:self.i + 1] == b"("):
                raise Grammar("blank at %d" % self.i)
            out.append(self.value())
        self.i += 1
        return out


def whole(text):
    r = Reader(text)
    v = r.value()
    if r.i != len(r.s):
        raise Grammar("rest")
    return v


def need(ok, what):
    if not ok:
        raise Grammar(what)


def nstring(v):
    return v is None or isinstance(v, bytes)


def check_envelope(v):
    need(isinstance(v, list) and len(v) == 10, "envelope length")
    need(all(nstring(v[i]) for i in (0, 1, 8, 9)), "envelope strings")
    for i in range(2, 8):
        if v[i] is None:
            continue
        need(isinstance(v[i], list) and v[i], "address list")
        group = False
        for a in v[i]:
            need(isinstance(a, list) and len(a) == 4 and all(nstring(x) for x in a), "address")
            if a[3] is None:
                need((a[2] is None) == group, "group")
                group = not group
        need(not group, "group left open")


def check_params(v):
    need(v is None or (isinstance(v, list) and v and len(v) % 2 == 0 and all(isinstance(x, bytes) for x in v)), "params")


def check_extension(v):
    """dsp, lang, loc"""
    if v[0] is not None:
        need(isinstance(v[0], list) and len(v[0]) == 2 and isinstance(v[0][0], bytes), "disposition")
        check_params(v[0][1])
    need(nstring(v[1]) or (isinstance(v[1], list) and all(isinstance(x, bytes) for x in v[1])), "language")
    need(nstring(v[2]), "location")


def check_body(v, ext):
    need(isinstance(v, list), "body")
    if isinstance(v[0], list):
        n = 0
        while isinstance(v[n], list):
            check_body(v[n], ext)
            n += 1
        need(isinstance(v[n], bytes), "multipart subtype")
        rest = v[n + 1:]
        need(len(rest) == (4 if ext else 0), "multipart extension")
        if ext:
            check_params(rest[0])
            check_extension(rest[1:])
        return
    need(isinstance(v[0], bytes) and isinstance(v[1], bytes), "type")
    need(v[0].lower() != b"multipart", "multipart as a leaf")
    check_params(v[2])
    need(nstring(v[3]) and nstring(v[4]) and isinstance(v[5], bytes) and isinstance(v[6], int), "fields")
    n = 7
    if v[0].lower() == b"text":
        need(isinstance(v[n], int), "lines")
        n += 1
    elif v[0].lower() == b"message" and v[1].lower() in (b"rfc822", b"global"):
        check_envelope(v[n])
        check_body(v[n + 1], ext)
        need(isinstance(v[n + 2], int), "lines")
        n += 3
    need(len(v) == n + (4 if ext else 0), "leaf extension")
    if ext:
        need(nstring(v[n]), "md5")
        check_extension(v[n + 1:])


def depth(v):
    return 1 + max([depth(x) for x in v] or [0]) if isinstance(v, list) else 1


def folded(text):
    return " ".join(unicodedata.normalize("NFC", text).split())


def strip_html(text):
    return re.sub(r"<[^>]*>", " ", text)


def check_vietnamese(d, want):
    bad = []
    if want.get("subject_exact") and folded(d["subject"]) != folded(want["subject"]):
        bad.append("subject %r" % d["subject"])
    if want.get("from_name") and folded(d["from"]) != folded(want["from_name"]):
        bad.append("from %r" % d["from"])
    if want.get("body_exact") and folded(strip_html(d["body"])) != folded(strip_html(want["body"])):
        bad.append("body %r" % d["body"][:200])
    names = [p["filename"] for p in d["parts"] if p["filename"]]
    if want.get("filename") and folded(want["filename"]) not in [folded(n) for n in names]:
        bad.append("filename %r" % names)
    return bad


def shape(parts, i):
    kids = [k for k, p in enumerate(parts) if p["parent"] == i]
    p = parts[i]
    return (p["type"] + "/" + p["subtype"], [shape(parts, k) for k in kids])


def python_shape(m):
    kids = m.get_payload() if m.is_multipart() else []
    return (m.get_content_type(), [python_shape(k) for k in kids])


def check_one(d, data):
    bad = []
    if not d["split"]:
        bad.append("the record depends on how the input was cut")
    need(d["size"] == len(data), "size")
    for i, p in enumerate(d["parts"]):
        need(p["header_at"] + p["header_n"] <= len(data) and p["body_at"] + p["body_n"] <= len(data), "offsets")
        need(p["header_at"] + p["header_n"] <= p["body_at"], "header before body")
        if p["parent"] >= 0:
            up = d["parts"][p["parent"]]
            need(up["body_at"] <= p["header_at"] and p["body_at"] + p["body_n"] <= up["body_at"] + up["body_n"],
                 "part %d inside its parent" % i)
    check_envelope(whole(d["envelope"]))
    check_body(whole(d["bodyshort"]), False)
    structure = whole(d["bodystructure"])
    check_body(structure, True)
    need(depth(structure) + 2 <= 26, "more nesting than clients follow")
    return bad


def main():
    mime = os.path.join(CORPUS, "mime")
    if not os.path.isdir(mime):
        print("no corpus at %s: skipped" % mime)
        return 77
    files = sorted(os.path.join(r, f) for r, _, fs in os.walk(mime) for f in fs if not f.endswith(".json"))
    out = []
    for i in range(0, len(files), 200):
        run = subprocess.run([os.path.join(BUILD, "tests/lib/mimedump")] + files[i:i + 200], stdout=subprocess.PIPE)
        if run.returncode:
            print("mimedump failed")
            return 1
        out += [x for x in run.stdout.decode("utf-8").split("\n") if x]
    failed = exact = same = compared = 0
    for line in out:
        d = json.loads(line)
        with open(d["file"], "rb") as f:
            data = f.read()
        try:
            bad = check_one(d, data)
        except Grammar as e:
            bad = ["%s" % e]
        beside = os.path.splitext(d["file"])[0] + ".json"
        if os.path.exists(beside) and "own-" in d["file"]:
            with open(beside, encoding="utf-8") as f:
                want = json.load(f)
            if "own-vietnamese" in d["file"]:
                bad += check_vietnamese(d, want)
            if "cc_count" in want and d["cc_addr"].count("@") != want["cc_count"]:
                bad.append("cc_count %d" % d["cc_addr"].count("@"))
            exact += not bad
        m = email.message_from_bytes(data, policy=email.policy.compat32)
        parts = list(m.walk())
        if not any(p.defects for p in parts) and len(parts) < 50 and b"message/" not in data.lower():
            compared += 1
            if python_shape(m) == shape(d["parts"], 0):
                same += 1
            elif os.environ.get("VERBOSE"):
                print("differs:", d["file"], python_shape(m), shape(d["parts"], 0))
        if bad:
            failed += 1
            print("FAIL %s: %s" % (d["file"], "; ".join(bad)))
    print("%d messages, %d failed; own sets as expected: %d; structure as Python's email: %d of %d"
          % (len(out), failed, exact, same, compared))
    need(len(out) == len(files), "every message answered")
    return 1 if failed or same < compared * 0.97 else 0


if __name__ == "__main__":
    sys.exit(main())
