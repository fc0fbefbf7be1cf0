# The HTML re-serialiser stands alone: it needs libbase only.
noinst_LIBRARIES += webmail-cgi/libhtml.a
webmail_cgi_libhtml_a_SOURCES = \
	webmail-cgi/html/html.h webmail-cgi/html/html_int.h webmail-cgi/html/entities.def \
	webmail-cgi/html/token.c webmail-cgi/html/entity.c webmail-cgi/html/css.c \
	webmail-cgi/html/serial.c webmail-cgi/html/plain.c

check_PROGRAMS += tests/lib/html_filter tests/fuzz/fuzz_html
tests_lib_html_filter_SOURCES = tests/lib/html_filter.c
tests_lib_html_filter_LDADD = webmail-cgi/libhtml.a common/libbase.a
EXTRA_DIST += tests/lib/html_check.py tests/e2e/test_html_corpus.py tests/fuzz/seeds/html

tests_fuzz_fuzz_html_SOURCES = tests/fuzz/fuzz_html.c
tests_fuzz_fuzz_html_LDADD = webmail-cgi/libhtml.a common/libbase.a
if FUZZING
tests_fuzz_fuzz_html_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LINK)
else
tests_fuzz_fuzz_html_SOURCES += tests/fuzz/standalone.c
TESTS += tests/fuzz/html_seeds.sh
endif
EXTRA_DIST += tests/fuzz/html_seeds.sh

if HAVE_CMOCKA
check_PROGRAMS += tests/unit/test_web_html
TESTS += tests/unit/test_web_html
tests_unit_test_web_html_SOURCES = tests/unit/test_web_html.c
tests_unit_test_web_html_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_web_html_LDADD = webmail-cgi/libhtml.a common/libbase.a $(CMOCKA_LIBS)
endif
