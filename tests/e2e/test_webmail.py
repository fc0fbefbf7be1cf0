"""Chromium through the webmail of a running demo: login, list, message, answer, sent, the other person reads it.

Needs a demo: the environment's PROVMAIL_WEB, or the session's `demo` fixture where conftest.py has one.
"""
import gzip
import http.cookiejar
import json
import os
import re
import secrets
import ssl
import subprocess
import urllib.error
import urllib.parse
import urllib.request

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.environ.get("top_builddir", os.path.join(HERE, "..", "..", "build"))
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")


@pytest.fixture(scope="module")
def base(request):
    if os.environ.get("PROVMAIL_WEB"):
        return os.environ["PROVMAIL_WEB"]
    try:
        demo = request.getfixturevalue("demo")
    except pytest.FixtureLookupError:
        pytest.skip("no demo to look at (PROVMAIL_WEB)")
    return f"https://127.0.0.1:{demo.port_base + 443}"


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args):
        return None


class Browser:
    """Just enough of one to ask for pages and send forms."""

    def __init__(self, base):
        self.base, self.jar = base, http.cookiejar.CookieJar()
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=context), urllib.request.HTTPCookieProcessor(self.jar), NoRedirect())

    def ask(self, path, form=None, **headers):
        data = None if form is None else urllib.parse.urlencode(form).encode()
        r = urllib.request.Request(self.base + path, data, {k.replace("_", "-"): v for k, v in headers.items()})
        try:
            with self.opener.open(r, timeout=30) as a:
                return a.status, a.headers, a.read()
        except urllib.error.HTTPError as e:
            return e.code, e.headers, e.read()

    def login(self, user="an@gialai.example", password="thu-dien-tu"):
        return self.ask("/login", {"user": user, "password": password})


def csrf(page):
    return re.search(rb'name="csrf" value="([0-9a-f]{32})"', page).group(1).decode()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("mode", ["js", "nojs"])
def test_a_day_at_work(base, width, mode):
    if not os.path.exists(CHROMIUM) or not os.path.isdir(os.path.join(HERE, "node_modules", "playwright-core")):
        pytest.skip("no Chromium or playwright-core")
    out = os.path.join(BUILD, "screenshots")
    os.makedirs(out, exist_ok=True)
    ran = subprocess.run(["node", os.path.join(HERE, "webmail.mjs"), base, out, str(width), mode, secrets.token_hex(4)],
                         stdout=subprocess.PIPE, check=True, timeout=180)
    seen = json.loads(ran.stdout)
    assert "failed" not in seen, seen
    assert [e for e in seen["errors"] if "status of 403" not in e] == []  # the wrong password is a 403
    assert seen["requests"] == [] and seen["dialogs"] == [] and seen["overflow"] == []
    for what in ("wrongKeepsName", "inSent", "reads", "quoted", "answered", "answerArrived", "starred", "deleted", "draft",
                 "people"):
        assert seen[what], (what, seen)
    assert "an@gialai.example" in seen["replyTo"]
    assert seen["found"] == 1 and seen["english"] == "Inbox" and seen["afterLogout"] == 1
    if mode == "js":
        assert seen["fileName"] == "Quyết định.txt" and seen["fileText"] == "nội dung tệp"


def test_cookies_and_fields(base):
    b = Browser(base)
    status, headers, _ = b.login()
    assert status == 303
    cookie = headers["Set-Cookie"]
    for word in ("__Host-provmail=", "Secure", "HttpOnly", "SameSite=Strict", "Path=/"):
        assert word in cookie
    status, headers, page = b.ask("/list?f=INBOX")
    assert status == 200
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert b"thu-dien-tu" not in page


def test_forms_from_elsewhere_are_refused(base):
    b = Browser(base)
    b.login()
    token = csrf(b.ask("/list?f=INBOX")[2])
    form = {"f": "INBOX", "op": "allread", "csrf": token}
    assert b.ask("/act", form, Sec_Fetch_Site="cross-site")[0] == 403
    assert b.ask("/act", form, Origin="https://elsewhere.example")[0] == 403
    assert b.ask("/act", dict(form, csrf="0" * 32))[0] == 403
    assert b.ask("/act", {"f": "INBOX", "op": "allread"})[0] == 403
    assert b.ask("/act", form, Sec_Fetch_Site="same-origin")[0] == 303
    assert b.ask("/login", {"user": "an@gialai.example", "password": "thu-dien-tu"}, Sec_Fetch_Site="cross-site")[0] == 403


def test_session_end_keeps_what_was_typed(base):
    b = Browser(base)
    status, _, page = b.ask("/compose", {"op": "send", "to": "binh@gialai.example", "subject": "Chưa \"gửi\"", "body": "dòng <1>\nhai"})
    assert status == 403
    kept = dict(re.findall(r'name="(k(?:_\w+|ept))" value="([^"]*)"', page.decode()))
    assert kept["k_body"] == "dòng &lt;1&gt;\nhai"
    import html
    form = {k: html.unescape(v) for k, v in kept.items()}
    status, _, page = b.ask("/login", dict(form, user="an@gialai.example", password="thu-dien-tu"))
    assert status == 200
    assert "dòng &lt;1&gt;\nhai</textarea>" in page.decode() and "binh@gialai.example" in page.decode()


def test_strange_requests(base):
    b = Browser(base)
    b.login()
    for path, want in [("/nowhere", 404), ("/msg?f=INBOX&u=4294967295", 404), ("/msg?f=Nicht&u=1", 404), ("/msg?f=INBOX&v=4294967295&u=1", 404),
                       ("/part?f=INBOX&u=1&s=9.9.9", 404), ("/act", 400), ("/list?f=INBOX&p=99999", 200),
                       ("/list?f=INBOX&q=%22%5C+A1+LOGOUT+%7B5%7D", 200), ("/html?f=INBOX&u=1&s=", 404)]:
        status, _, page = b.ask(path)
        assert status == want, (path, status)
        assert b"<script>" not in page


def test_list_page_is_light(base):
    b = Browser(base)
    b.login()
    page = b.ask("/list?f=INBOX")[2]
    total = len(gzip.compress(page))
    for path in re.findall(rb'(?:href|src)="(/static/[^"]+)"', page):
        status, headers, body = b.ask(path.decode())
        assert status == 200 and "max-age" in headers["Cache-Control"]
        total += len(gzip.compress(body))
    assert total <= 60 * 1024, total


def multipart(fields, name, data):
    mark = secrets.token_hex(12)
    parts = [f'--{mark}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode() for k, v in fields.items()]
    parts.append(f'--{mark}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode() + data + b"\r\n")
    return b"".join(parts) + f"--{mark}--\r\n".encode(), f"multipart/form-data; boundary={mark}"


def test_too_big_a_file_costs_no_text(base):
    b = Browser(base)
    b.login()
    token = csrf(b.ask("/compose")[2])
    body, kind = multipart({"csrf": token, "op": "send", "to": "binh@gialai.example", "body": "giữ chữ này"}, "to.bin",
                           bytes(36 << 20))
    r = urllib.request.Request(b.base + "/compose", body, {"Content-Type": kind})
    with pytest.raises(urllib.error.HTTPError) as refused:
        b.opener.open(r, timeout=60)
    assert refused.value.code == 413
    page = refused.value.read().decode()
    assert "giữ chữ này</textarea>" in page and "35 MB" in page and 'role="alert"' in page


def test_refused_recipient_is_named_and_nothing_is_lost(base):
    b = Browser(base)
    b.login()
    token = csrf(b.ask("/compose")[2])
    form = {"csrf": token, "op": "send", "to": "khong-co-ai@gialai.example", "subject": "x", "body": "giữ chữ này"}
    status, _, page = b.ask("/compose", form)
    assert status == 422
    assert "khong-co-ai@gialai.example" in page.decode().split('role="alert"')[1].split("</p>")[0]
    assert "giữ chữ này</textarea>" in page.decode()
    status, _, page = b.ask("/compose", dict(form, to=""))
    assert status == 422 and 'role="alert"' in page.decode()
