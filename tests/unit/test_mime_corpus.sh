#!/bin/sh
# Runs mime_corpus.py under make check; 77 (skipped) when the corpus is not there.
exec "${PYTHON:-python3}" "$top_srcdir/tests/unit/mime_corpus.py"
