#!/usr/bin/env python3
"""Writes common/mime/tables-*.h from the Unicode data that Python carries: run it again only when the
tables are to follow a newer Unicode. Usage: make-tables.py nfc|fold|single > tables-NAME.h"""
import sys
import unicodedata as u

SINGLE = """cp1258 cp1250 cp1251 cp1252 cp1253 cp1254 cp1255 cp1256 cp1257 iso8859_2 iso8859_3 iso8859_4 iso8859_5
iso8859_6 iso8859_7 iso8859_8 iso8859_10 iso8859_13 iso8859_14 iso8859_15 iso8859_16 cp874 koi8_r koi8_u
cp437 cp850 cp852 cp855 cp857 cp858 cp860 cp861 cp862 cp863 cp865 cp866 mac_roman mac_cyrillic mac_latin2
mac_greek mac_turkish mac_iceland kz1048 ptcp154""".split()


def all_cps(lo=0x80):
    for c in range(lo, 0x110000):
        if not 0xD800 <= c <= 0xDFFF and not 0xAC00 <= c <= 0xD7A3:
            yield c


def rows(items, per, fmt):
    items = list(items)
    for i in range(0, len(items), per):
        print("    " + ", ".join(fmt(x) for x in items[i:i + per]) + ",")


def canonical():
    dec, pairs, ccc = [], [], []
    for c in all_cps():
        d = u.decomposition(chr(c))
        if d and not d.startswith("<"):
            seq = [int(x, 16) for x in d.split()]
            dec.append((c, seq[0], seq[1] if len(seq) > 1 else 0))
            if len(seq) == 2 and u.normalize("NFC", chr(c)) == chr(c):
                pairs.append((seq[0], seq[1], c))
        cc = u.combining(chr(c))
        if cc:
            if ccc and ccc[-1][1] == c - 1 and ccc[-1][2] == cc:
                ccc[-1][1] = c
            else:
                ccc.append([c, c, cc])
    print("/* Canonical decompositions: code point, first, second (0: a single one). */")
    print("static const struct uni_dec { uint32_t cp, a, b; } uni_decs[] = {")
    rows(dec, 5, lambda x: "{0x%x, 0x%x, 0x%x}" % x)
    print("};\n\n/* Primary composites by their pair. */")
    print("static const struct uni_pair { uint32_t a, b, cp; } uni_pairs[] = {")
    rows(sorted(pairs), 5, lambda x: "{0x%x, 0x%x, 0x%x}" % x)
    print("};\n\n/* Canonical combining classes, by range. */")
    print("static const struct uni_class { uint32_t lo, hi; unsigned char ccc; } uni_classes[] = {")
    rows(ccc, 6, lambda x: "{0x%x, 0x%x, %d}" % tuple(x))
    print("};\n")


DROP = [(0x300, 0x36F), (0x483, 0x489), (0x591, 0x5BD), (0x5BF, 0x5BF), (0x5C1, 0x5C2), (0x5C4, 0x5C5),
        (0x5C7, 0x5C7), (0x610, 0x61A), (0x640, 0x640), (0x64B, 0x65F), (0x670, 0x670), (0x1AB0, 0x1AFF),
        (0x1DC0, 0x1DFF), (0x20D0, 0x20FF), (0xFE20, 0xFE2F), (0xAD, 0xAD), (0x200B, 0x200F),
        (0x202A, 0x202E), (0x2060, 0x2064), (0x2066, 0x206F), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF)]
STROKES = {"đ": "d", "ð": "d", "ł": "l", "ø": "o", "ı": "i", "ħ": "h", "ŧ": "t", "æ": "ae", "œ": "oe",
           "þ": "th"}


def dropped(c):
    return any(a <= c <= b for a, b in DROP)


def fold(c):
    s = u.normalize("NFKD", chr(c))
    s = u.normalize("NFKD", s.casefold())
    s = "".join(x for x in s if not dropped(ord(x)))
    s = "".join(STROKES.get(x, x) for x in s)
    s = "".join(" " if x.isspace() else x for x in u.normalize("NFC", s))
    return s


def folding():
    low, high, text = [0] * 0x2000, [], []
    for c in all_cps():
        f = fold(c)
        if f == chr(c):
            continue
        if c < 0x2000 and len(f) <= 1 and (not f or ord(f) < 0x10000):
            low[c] = ord(f) if f else 1
            continue
        if c < 0x2000:
            low[c] = 2
        at = len(text)
        text += [ord(x) for x in f]
        high.append((c, at, len(f)))
    print("/* Folding below U+2000: 0 unchanged, 1 dropped, 2 look in fold_rows, else the one code point. */")
    print("static const uint16_t fold_low[0x2000] = {")
    rows(low, 16, lambda x: "%d" % x)
    print("};\n\n/* The others: code point, place and length in fold_text_cps. */")
    print("static const struct fold_row { uint32_t cp; uint16_t at, n; } fold_rows[] = {")
    rows(high, 7, lambda x: "{0x%x, %d, %d}" % x)
    print("};\n\nstatic const uint32_t fold_cps[] = {")
    rows(text, 12, lambda x: "0x%x" % x)
    print("};\n")


def single():
    print("/* The upper halves of one-byte charsets; 0xfffd: not assigned. */")
    print("enum single_name {")
    rows(["SB_" + n.upper() for n in SINGLE], 6, str)
    print("    SB_COUNT\n};\nstatic const uint16_t single_tables[SB_COUNT][128] = {")
    for n in SINGLE:
        print("    [SB_%s] = {" % n.upper())
        cps = [ord(bytes([b]).decode(n, "replace")) for b in range(128, 256)]
        for i in range(0, 128, 16):
            print("        " + ", ".join("0x%x" % x for x in cps[i:i + 16]) + ",")
        print("    },")
    print("};\n")


which = sys.argv[1]
print("/* Made by make-tables.py from Unicode %s; not edited by hand. */" % u.unidata_version)
print("/* clang-format off */")
print("#ifndef PROV_MIME_TABLES_%s_H\n#define PROV_MIME_TABLES_%s_H\n\n#include <stdint.h>\n"
      % (which.upper(), which.upper()))
{"nfc": canonical, "fold": folding, "single": single}[which]()
print("#endif\n/* clang-format on */")
