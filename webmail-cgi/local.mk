dist_man_MANS += doc/webmail-cgi.8
# The HTML re-serialiser stands alone: it needs libbase only.
noinst_LIBRARIES += webmail-cgi/libhtml.a
webmail_cgi_libhtml_a_SOURCES = \
	webmail-cgi/html/html.h webmail-cgi/html/html_int.h webmail-cgi/html/entities.def \
	webmail-cgi/html/token.c webmail-cgi/html/entity.c webmail-cgi/html/css.c \
	webmail-cgi/html/serial.c webmail-cgi/html/plain.c

# The pages, without main and without the client of directoryd's user socket.
noinst_LIBRARIES += webmail-cgi/libweb.a
webmail_cgi_libweb_a_SOURCES = \
	webmail-cgi/text.h webmail-cgi/text.def webmail-cgi/text.c \
	webmail-cgi/page.h webmail-cgi/page.c \
	webmail-cgi/request.h webmail-cgi/request.c webmail-cgi/upload.c \
	webmail-cgi/imap.h webmail-cgi/imap.c webmail-cgi/imap_parse.c \
	webmail-cgi/mail.h webmail-cgi/mail.c \
	webmail-cgi/submit.h webmail-cgi/submit.c \
	webmail-cgi/write.h webmail-cgi/write.c \
	webmail-cgi/web.h webmail-cgi/web.c webmail-cgi/box.c webmail-cgi/quota.c webmail-cgi/view.c \
	webmail-cgi/shown.h webmail-cgi/shown.c \
	webmail-cgi/page_login.c webmail-cgi/page_list.c webmail-cgi/page_act.c \
	webmail-cgi/page_msg.c webmail-cgi/page_part.c \
	webmail-cgi/compose.h webmail-cgi/compose_start.c webmail-cgi/compose_send.c webmail-cgi/page_compose.c \
	webmail-cgi/page_folders.c webmail-cgi/page_people.c
EXTRA_DIST += conf/lighttpd.conf.in tests/e2e/test_webmail.py tests/e2e/html.mjs tests/e2e/webmail.mjs tests/e2e/package.json tests/e2e/package-lock.json tests/e2e/.npmrc
EXTRA_DIST += webmail-cgi/static/app.css webmail-cgi/static/app.js
WEB_LIBS = webmail-cgi/libweb.a webmail-cgi/libhtml.a common/libmime.a $(LZ4_LIBS) common/libbase.a $(SODIUM_LIBS) $(IDN2_LIBS)

pkglibexec_PROGRAMS += webmail-cgi/webmail-cgi
webmail_cgi_webmail_cgi_SOURCES = webmail-cgi/main.c common/directory/user.c
webmail_cgi_webmail_cgi_LDADD = $(WEB_LIBS)

# The same program with people of its own, for tests of the pages alone.
check_PROGRAMS += tests/lib/webmail-alone
tests_lib_webmail_alone_SOURCES = webmail-cgi/main.c tests/lib/web_people.c
tests_lib_webmail_alone_LDADD = $(WEB_LIBS)

check_PROGRAMS += tests/lib/html_filter tests/fuzz/fuzz_html
tests_lib_html_filter_SOURCES = tests/lib/html_filter.c
tests_lib_html_filter_LDADD = webmail-cgi/libhtml.a common/libbase.a
EXTRA_DIST += tests/lib/html_check.py tests/e2e/test_html_corpus.py tests/fuzz/seeds/html

tests_fuzz_fuzz_html_SOURCES = tests/fuzz/fuzz_html.c $(FUZZ_MAIN)
tests_fuzz_fuzz_html_LDADD = webmail-cgi/libhtml.a common/libbase.a $(FUZZ_LINK)
FUZZ_TARGETS += html

check_PROGRAMS += tests/fuzz/fuzz_web
tests_fuzz_fuzz_web_SOURCES = tests/fuzz/fuzz_web.c tests/lib/web_people.c $(FUZZ_MAIN)
tests_fuzz_fuzz_web_LDADD = $(WEB_LIBS) $(FUZZ_LINK)
FUZZ_TARGETS += web
EXTRA_DIST += tests/fuzz/seeds/web

if HAVE_CMOCKA
check_PROGRAMS += tests/unit/test_web_html
TESTS += tests/unit/test_web_html
tests_unit_test_web_html_SOURCES = tests/unit/test_web_html.c
tests_unit_test_web_html_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_web_html_LDADD = webmail-cgi/libhtml.a common/libbase.a $(CMOCKA_LIBS)
endif

if HAVE_CMOCKA
check_PROGRAMS += tests/unit/test_web
TESTS += tests/unit/test_web
tests_unit_test_web_SOURCES = tests/unit/test_web.c
tests_unit_test_web_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_web_LDADD = $(WEB_LIBS) $(CMOCKA_LIBS)
endif
