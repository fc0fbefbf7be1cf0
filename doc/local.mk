# doc
EXTRA_DIST += doc/BENCH.md
