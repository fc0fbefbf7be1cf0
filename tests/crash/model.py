"""What the store must hold: mailboxes of one owner as the acknowledged steps left them, and what has been seen by anybody."""
import threading


class Violation(Exception):
    pass


class Box:
    def __init__(self, name, validity=None):
        self.name, self.validity, self.high = name, validity, 0
        self.msgs = {}      # uid: (ident, flags)
        self.new = []       # (ident, flags) of messages whose UIDs are not known yet
        self.used = set()   # every UID that was ever known in it; shared between copies: facts
        self.takes_arrivals = name == 'INBOX'  # others bring messages, too

    def copy(self):
        other = Box(self.name, self.validity)
        other.high, other.msgs, other.new, other.used = self.high, dict(self.msgs), list(self.new), self.used
        other.takes_arrivals = self.takes_arrivals
        return other

    def refuses(self, uid):
        """Why this UID cannot be a new message's."""
        if uid in self.used:
            return 'UID %d was given before' % uid
        if not self.takes_arrivals and uid <= self.high:
            return 'UID %d is new and not above %d' % (uid, self.high)
        return None

    def learn(self, uid, ident, flags):
        why = self.refuses(uid)
        if why:
            raise Violation('%s: %s' % (self.name, why))
        self.msgs[uid] = (ident, flags)
        self.used.add(uid)
        self.high = max(self.high, uid)


class Seen:
    """What clients were told, for ever: one for the whole run."""

    def __init__(self):
        self.lock = threading.Lock()
        self.idents = {}     # (validity, uid): ident
        self.next = {}       # validity: least UIDNEXT that may be told from now on
        self.sizes = {}      # ident: size
        self.modseqs = {}    # (account, mailbox id): (validity, uidnext, modseq)

    def floor(self, validity):
        with self.lock:
            return self.next.get(validity, 0)

    def message(self, validity, uid, ident, size=0):
        with self.lock:
            old = self.idents.setdefault((validity, uid), ident)
            if old != ident:
                raise Violation('UID %d (UIDVALIDITY %d) named %s and now names %s' % (uid, validity, old, ident))
            if size and self.sizes.setdefault(ident, size) != size:
                raise Violation('%s had %d bytes and now has %d' % (ident, self.sizes[ident], size))
            self.next[validity] = max(self.next.get(validity, 0), uid + 1)

    def uidnext(self, validity, value, floor):
        """floor: what was known before the question was asked."""
        if value < floor:
            raise Violation('UIDNEXT %d after %d (UIDVALIDITY %d)' % (value, floor, validity))
        with self.lock:
            self.next[validity] = max(self.next.get(validity, 0), value)

    def mailbox(self, account, i):
        """A row of mailadm mailbox list."""
        with self.lock:
            key, now = (account, i['id']), (i['uidvalidity'], i['uidnext'], i['modseq'])
            old = self.modseqs.setdefault(key, now)
            if now[0] != old[0] or now[1] < old[1] or now[2] < old[2]:
                raise Violation('%s %s: UIDVALIDITY, UIDNEXT, modseq were %s and are %s' % (account, i['name'], old, now))
            if now[2] == old[2] and now[1] != old[1]:
                raise Violation('%s %s: UIDNEXT %d became %d under modseq %d' % (account, i['name'], old[1], now[1], now[2]))
            self.modseqs[key] = now


class Account:
    """Arrivals of an account: each delivered message comes into INBOX once."""

    def __init__(self, user):
        self.user, self.lock = user, threading.Lock()
        self.arrived = set()


def is_delivery(ident):
    return ident.startswith('d')


def match(box, actual, account):
    """Compare a mailbox of the model with (validity, uidnext, [(uid, ident, flags, size)]). Answers None and a box that knows
    all UIDs, with the set of new arrivals; or why they differ."""
    validity, _, rows = actual
    if box.validity not in (None, validity):
        return 'UIDVALIDITY %s, not %s' % (validity, box.validity), None, None
    fresh, arrivals = box.copy(), set()
    fresh.validity, fresh.new, fresh.msgs, fresh.takes_arrivals = validity, [], {}, box.name == 'INBOX'
    wanted, left = list(box.new), dict(box.msgs)
    for uid, ident, flags, _ in rows:
        if uid in left:
            if left.pop(uid) != (ident, flags):
                return 'UID %d is %s %s, not %s %s' % (uid, ident, sorted(flags), box.msgs[uid][0], sorted(box.msgs[uid][1])), None, None
        elif box.refuses(uid):
            return '%s (%s)' % (box.refuses(uid), ident), None, None
        elif wanted and wanted[0] == (ident, flags):
            wanted.pop(0)
        elif box.takes_arrivals and is_delivery(ident) and not flags and ident not in account.arrived and ident not in arrivals:
            arrivals.add(ident)
        else:
            return 'UID %d (%s %s) should not be there' % (uid, ident, sorted(flags)), None, None
        fresh.msgs[uid] = (ident, flags)
        fresh.high = max(fresh.high, uid)
    if left:
        uid = min(left)
        return '%d messages are missing, the first UID %d (%s)' % (len(left), uid, left[uid][0]), None, None
    if wanted:
        return '%d new messages are missing, the first %s' % (len(wanted), wanted[0][0]), None, None
    return None, fresh, arrivals
