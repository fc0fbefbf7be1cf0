#!/bin/sh
exec "$top_builddir/tests/fuzz/fuzz_html" "$top_srcdir/tests/fuzz/seeds/html"
