"""Thunderbird under Xvfb opens an's inbox over IMAP and shows a Vietnamese HTML mail. Not part of ./check (a minute, and eyes are
needed): it writes a picture and says what to look for.

    tests/e2e/thunderbird.py [PICTURE.png]      needs thunderbird xvfb xdotool imagemagick
"""
import base64
import ctypes
import ctypes.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import province as prov  # noqa: E402

MAIL = '''From: =?utf-8?B?VHLhuqduIFRo4buLIELDrG5o?= <binh@gialai.example>
To: an@gialai.example
Subject: =?utf-8?B?R2nhuqV5IG3hu51pIGjhu41wIGdpYW8gYmFuIHRow6FuZyAxMQ==?=
Date: Tue, 24 Nov 2026 08:00:00 +0700
Message-ID: <thunderbird.1@gialai.example>
MIME-Version: 1.0
Content-Type: multipart/alternative; boundary="ranh-gioi"

--ranh-gioi
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

Kính gửi anh An, mời anh dự họp giao ban.
--ranh-gioi
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: 8bit

<html><body><h2 style="color:#0a5">Giấy mời họp giao ban</h2><p>Kính gửi anh <b>Nguyễn Văn An</b>,</p>
<p>Văn phòng Ủy ban nhân dân tỉnh trân trọng kính mời anh dự họp giao ban tháng 11.</p>
<table border="1" cellpadding="4"><tr><th>Thời gian</th><th>Địa điểm</th></tr>
<tr><td>8 giờ 30 phút, thứ Năm</td><td>Phòng họp số 2, trụ sở Ủy ban</td></tr></table>
<p>Trân trọng cảm ơn.</p></body></html>
--ranh-gioi--
'''


class Item(ctypes.Structure):
    _fields_ = [('type', ctypes.c_int), ('data', ctypes.c_char_p), ('len', ctypes.c_uint)]


def remember_password(profile, host, user, password):
    """Put the login into the profile's password store, as Thunderbird keeps it."""
    own = '/usr/lib/thunderbird/'  # its libnss3 wants its own companions, not the system's older ones
    for companion in ('libnspr4', 'libplc4', 'libplds4', 'libnssutil3'):
        if os.path.exists(own + companion + '.so'):
            ctypes.CDLL(own + companion + '.so', ctypes.RTLD_GLOBAL)
    lib = own + 'libnss3.so'
    nss = ctypes.CDLL(lib if os.path.exists(lib) else ctypes.util.find_library('nss3'))
    nss.PK11_GetInternalKeySlot.restype = ctypes.c_void_p
    assert nss.NSS_InitReadWrite(('sql:' + profile).encode()) == 0
    slot = ctypes.c_void_p(nss.PK11_GetInternalKeySlot())
    if nss.PK11_NeedUserInit(slot):
        assert nss.PK11_InitPin(slot, None, b'') == 0

    def sealed(text):
        key, data, out = Item(0, None, 0), Item(0, text.encode(), len(text.encode())), Item(0, None, 0)
        assert nss.PK11SDR_Encrypt(ctypes.byref(key), ctypes.byref(data), ctypes.byref(out), None) == 0
        raw = ctypes.cast(ctypes.addressof(out) + Item.data.offset, ctypes.POINTER(ctypes.c_void_p))[0]
        return base64.b64encode(ctypes.string_at(raw, out.len)).decode()
    now = int(time.time() * 1000)
    login = {'id': 1, 'hostname': host, 'httpRealm': host, 'formSubmitURL': None, 'usernameField': '', 'passwordField': '',
             'encryptedUsername': sealed(user), 'encryptedPassword': sealed(password),
             'guid': '{5f3b2c1e-7b8a-4c2d-9e10-3a4b5c6d7e8f}', 'encType': 1, 'timeCreated': now, 'timeLastUsed': now,
             'timePasswordChanged': now, 'timesUsed': 1}
    with open(os.path.join(profile, 'logins.json'), 'w') as f:
        json.dump({'nextId': 2, 'logins': [login], 'potentiallyVulnerablePasswords': [], 'dismissedBreachAlertsByLoginGUID': {},
                   'version': 3}, f)
    nss.NSS_Shutdown()


def make_profile(profile, port):
    user = 'an@gialai.example'
    prefs = {
        'mail.accountmanager.accounts': 'account1', 'mail.accountmanager.defaultaccount': 'account1',
        'mail.account.account1.identities': 'id1', 'mail.account.account1.server': 'server1',
        'mail.identity.id1.fullName': 'Nguyễn Văn An', 'mail.identity.id1.useremail': user, 'mail.identity.id1.valid': True,
        'mail.server.server1.type': 'imap', 'mail.server.server1.hostname': '127.0.0.1', 'mail.server.server1.port': port,
        'mail.server.server1.userName': user, 'mail.server.server1.name': user, 'mail.server.server1.socketType': 0,
        'mail.server.server1.authMethod': 3, 'mail.server.server1.login_at_startup': True,
        'mail.server.server1.check_new_mail': True, 'mail.provider.suppress_dialog_on_startup': True, 'mail.spotlight.firstRunDone': True,
        'mail.winsearch.firstRunDone': True, 'mail.rights.version': 1, 'mailnews.start_page.enabled': False,
        'mail.shell.checkDefaultClient': False, 'datareporting.policy.dataSubmissionEnabled': False, 'app.update.enabled': False,
        'datareporting.policy.dataSubmissionPolicyBypassNotification': True, 'toolkit.telemetry.enabled': False,
        'app.donation.eoy.version.viewed': 999, 'mail.inappnotifications.enabled': False, 'mailnews.message_display.disable_remote_image': True,
        'network.proxy.type': 0, 'extensions.update.enabled': False, 'mail.pane_config.dynamic': 0,
        'mailnews.headers.showSender': True, 'app.normandy.enabled': False,
    }
    with open(os.path.join(profile, 'user.js'), 'w') as f:
        f.writelines('user_pref(%s, %s);\n' % (json.dumps(k), json.dumps(v, ensure_ascii=False)) for k, v in prefs.items())
    inbox = 'imap://an%40gialai.example@127.0.0.1/INBOX'
    tab = {'mode': 'mail3PaneTab', 'state': {'firstTab': True, 'folderPaneVisible': True, 'messagePaneVisible': True, 'folderURI': inbox}}
    with open(os.path.join(profile, 'session.json'), 'w') as f:
        json.dump({'rev': 0, 'windows': [{'type': '3pane', 'tabs': {'rev': 0, 'selectedIndex': 0, 'tabs': [tab]}}]}, f)
    remember_password(profile, 'imap://127.0.0.1', user, prov.PASSWORD)


def main(picture):
    for program in ('thunderbird', 'Xvfb', 'xdotool', 'import'):
        assert shutil.which(program), 'no ' + program
    home = tempfile.mkdtemp(prefix='thunderbird-')
    profile = os.path.join(home, 'profile')
    os.mkdir(profile)
    p = prov.Province('auth_plaintext_without_tls = yes\n')  # on the loopback: its own certificate would be asked about
    display = ':%d' % (90 + os.getpid() % 400)
    children = []
    try:
        p.send('binh@gialai.example', 'an', MAIL.replace('\n', '\r\n').encode(), user='binh')
        make_profile(profile, p.port('imap'))
        children.append(subprocess.Popen(['Xvfb', display, '-screen', '0', '1280x900x24', '-nolisten', 'tcp'], stderr=subprocess.DEVNULL))
        env = dict(os.environ, DISPLAY=display, HOME=home, LANG='C.UTF-8', MOZ_HEADLESS='', NO_AT_BRIDGE='1')
        env.pop('MOZ_HEADLESS')
        time.sleep(1)
        children.append(subprocess.Popen(['thunderbird', '--no-remote', '--profile', profile], env=env, stdout=subprocess.DEVNULL,
                                         stderr=subprocess.DEVNULL, start_new_session=True))
        prov.until(lambda: 'an@gialai.example' in p.log('imapd'), 60)
        time.sleep(8)

        def x(*words):
            return subprocess.run(['xdotool', *words], env=env, capture_output=True, text=True)
        window = x('search', '--onlyvisible', '--class', 'thunderbird').stdout.split()
        assert window, 'no window'
        x('windowsize', window[-1], '1280', '900')
        time.sleep(1)
        x('windowfocus', window[-1])
        x('key', 'f')  # the next message
        time.sleep(5)
        subprocess.run(['import', '-window', 'root', picture], env=env, check=True)
        seen = p.imap('an', select='INBOX').search(None, 'SEEN')[1]
        print('%s: the inbox with one mail of Trần Thị Bình, its heading in green, a table with borders; seen: %s' % (picture, seen))
        return 0 if seen == [b'1'] else 1
    finally:
        for c in reversed(children):
            c.send_signal(signal.SIGTERM)
            try:
                c.wait(10)
            except subprocess.TimeoutExpired:
                c.kill()
        p.close()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else os.path.join(prov.BUILD, 'thunderbird.png')))
