#!/usr/bin/python3
"""imapd's sessions over fakes (tests/lib/imapalone): the dialogues of tests/wire/imap, and the IMAP suites of the
corpus. CORPUS (default ../shared/corpus beside the source) names the corpus; without it only the dialogues run."""
import os
import subprocess
import sys

TOP = os.environ.get('top_srcdir', os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..'))
BUILD = os.environ.get('top_builddir', os.path.join(TOP, 'build'))
CORPUS = os.path.join(os.environ.get('CORPUS', os.path.join(TOP, '../shared/corpus')), 'imap')
sys.path[:0] = [os.path.join(TOP, 'tests', d) for d in ('wire', 'lib')]
import imap_suites as suites  # noqa: E402
import run as wire  # noqa: E402

# What James does otherwise, or has and we have not (yet); each with its reason.
JAMES = {
    'ACLCommandsOnOwner': 'ACL', 'Rights': 'ACL', 'SharedMailbox': 'ACL', 'RenameSharedMailbox': 'ACL',
    'SharingAccessLR': 'ACL', 'SharingAccessLRA': 'ACL', 'SharingAccessLRS': 'ACL', 'SharingAccessLRW': 'ACL',
    'MetadataWithBinaryData': 'METADATA', 'MetadataWithLimitation': 'METADATA', 'Replace': 'REPLACE',
    'Namespace': 'has other users', 'AuthenticatePlain': 'people of James, delegation',
    'AppendExamineInbox': 'PERMANENTFLAGS is empty after EXAMINE here (RFC 9051 6.3.3)',
    'ExamineReadOnly': 'PERMANENTFLAGS is empty after EXAMINE here (RFC 9051 6.3.3)',
    'BadTag': 'BYE to a bad tag; BAD here', 'NoTag': 'BYE to a bad tag; BAD here', 'NoCommand': 'BYE; BAD here',
    'Capability': 'capabilities of James', 'ComplexMail': 'text of BYE', 'Id': 'ID answers NIL',
    'DeleteInbox': 'text of NO', 'InboxAddMessages': 'a script without its last dot', 'Login': 'greeting',
    'LoginThreeStrikes': 'directoryd counts tries', 'FetchRFC822Header': 'TEXT of a part that is no message is NIL',
    'ListPercentWildcard': 'delimiter "."', 'ListPlus': 'delimiter "."', 'ListSpecialChar': 'no state fits',
    'ListSubscribed': 'no state fits', 'MoveNoMSG': 'UID MOVE of no message is OK (RFC 3501 6.4.8)',
    'ObjectId': 'THREADID is NIL (RFC 8474 5.3)', 'PeekMultipartMixed': 'order of flags',
    'SearchOptionSave': 'SEARCH answer to SAVE (RFC 5182 2.1 has none)', 'UidSearchAtoms': 'headers of messages inside are searched'}


class Server:
    def __init__(self, local=True):
        tls = [os.path.join(TOP, 'tests/data/tls/test-%s.pem' % n) for n in ('cert', 'key')]
        env = dict(os.environ, **({'IMAPALONE_LOCAL': '1'} if local else {}))
        self.p = subprocess.Popen([os.path.join(BUILD, 'tests/lib/imapalone')] + tls, stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env)
        self.port, self.tls_port = (int(n) for n in self.p.stdout.readline().split()[1:])
        self.people = 0

    def connect(self, login=True, same=None):
        c = suites.Line('127.0.0.1', self.port, timeout=1)
        c.line()
        if same is None:
            self.people += 1
        c.account = same.account if same is not None and same.account else 'p%d@x' % self.people
        if login:
            c.ok(b'LOGIN %s thu-dien-tu' % c.account.encode())
        return c

    def close(self):
        self.p.stdin.close()
        return self.p.wait(10)


def report(name, results):
    failed = {k: v for k, v in results.items() if v is not None and not isinstance(v, suites.Skip)}
    skipped = {k: v for k, v in results.items() if isinstance(v, suites.Skip)}
    for k, v in sorted(skipped.items()):
        print('skip %s/%s: %s' % (name, k, v))
    for k, v in sorted(failed.items()):
        print('FAIL %s/%s: %s' % (name, k, v))
    print('%s: %d passed, %d failed, %d skipped' % (name, len(results) - len(failed) - len(skipped), len(failed),
                                                   len(skipped)))
    return len(failed)


def dialogues():
    bad = 0
    folder = os.path.join(TOP, 'tests', 'wire', 'imap')
    for i, name in enumerate(sorted(os.listdir(folder))):
        local = not name.startswith('tls-')
        s = Server(local)
        bad += len(wire.run([os.path.join(folder, name)], port=s.port, ports={'imaps': s.tls_port},
                            variables={'user': 'w%d@x' % i}))
        if s.close() != 0:
            print('FAIL %s: the server ended with an error' % name)
            bad += 1
    return bad


def main():
    bad = dialogues()
    if os.path.isdir(CORPUS):
        s = Server()
        c = s.connect()
        capabilities = c.ok(b'CAPABILITY')[0].decode().split()[2:]
        bad += report('imaptest', suites.run_imaptest(os.path.join(CORPUS, 'imaptest'), s.connect, capabilities))
        bad += report('james', suites.run_james(os.path.join(CORPUS, 'james-mpt'), s.connect, JAMES))
        c.s.close()
        bad += s.close() != 0
    else:
        print('no corpus at %s' % CORPUS)
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
