# The session's core, without main: it asks store and directory through their headers.
noinst_LIBRARIES += imapd/libimap.a
imapd_libimap_a_SOURCES = \
	imapd/imap.h imapd/imap_int.h imapd/session.c imapd/dispatch.h imapd/dispatch.c \
	imapd/cursor.h imapd/cursor.c imapd/mutf7.h imapd/mutf7.c imapd/seqset.h imapd/seqset.c \
	imapd/reader.h imapd/reader.c imapd/put.c imapd/set.c \
	imapd/view.h imapd/view.c imapd/sync.c imapd/announce.c \
	imapd/cmd_any.c imapd/cmd_auth.c imapd/cmd_select.c imapd/cmd_list.c imapd/cmd_mailbox.c \
	imapd/status.h imapd/cmd_status.c imapd/cmd_append.c imapd/cmd_store.c imapd/cmd_copy.c \
	imapd/cmd_expunge.c imapd/cmd_quota.c imapd/cmd_idle.c \
	imapd/fetch.h imapd/fetch_parse.c imapd/fetch_section.c imapd/cmd_fetch.c imapd/reparse.c \
	imapd/search.h imapd/search_parse.c imapd/search_eval.c imapd/search_text.c imapd/cmd_search.c
noinst_LIBRARIES += imapd/libimapd.a
imapd_libimapd_a_SOURCES = imapd/main.c

sbin_PROGRAMS += imapd/imapd
imapd_imapd_SOURCES = imapd/main.c
imapd_imapd_LDADD = imapd/libimap.a common/libdirectory.a common/libstore.a common/libmime.a $(LZ4_LIBS) common/libnet.a common/libbase.a \
	$(STORE_LIBS) $(NET_LIBS) $(IDN2_LIBS) $(SODIUM_LIBS)

dist_man_MANS += doc/imapd.8

# The core on ports of its own, over a store and a directory in memory.
IMAP_FAKES = tests/lib/fake_store.h tests/lib/fake_store_int.h tests/lib/fake_store.c tests/lib/fake_messages.c tests/lib/fake_directory.h tests/lib/fake_directory.c \
	tests/lib/fake_content.h tests/lib/fake_content.c
IMAP_ALONE_LIBS = imapd/libimap.a common/libmime.a $(LZ4_LIBS) common/libnet.a common/libbase.a $(NET_LIBS) $(IDN2_LIBS) $(SODIUM_LIBS)
check_PROGRAMS += tests/lib/imapalone
tests_lib_imapalone_SOURCES = tests/lib/imapalone.c $(IMAP_FAKES)
tests_lib_imapalone_LDADD = $(IMAP_ALONE_LIBS)

# The daemon over the real store, with the logins of the fake directory.
check_PROGRAMS += tests/lib/imapd_nodir
tests_lib_imapd_nodir_SOURCES = imapd/main.c tests/lib/fake_directory.h tests/lib/fake_directory.c
tests_lib_imapd_nodir_LDADD = imapd/libimap.a common/libstore.a common/libmime.a $(LZ4_LIBS) common/libnet.a common/libbase.a \
	$(STORE_LIBS) $(NET_LIBS) $(IDN2_LIBS) $(SODIUM_LIBS)

check_PROGRAMS += tests/fuzz/fuzz_imap
tests_fuzz_fuzz_imap_SOURCES = tests/fuzz/fuzz_imap.c $(IMAP_FAKES) $(FUZZ_MAIN)
tests_fuzz_fuzz_imap_LDADD = $(IMAP_ALONE_LIBS) $(FUZZ_LINK)
FUZZ_TARGETS += imap
EXTRA_DIST += tests/fuzz/seeds/imap tests/fuzz/imap.dict tests/lib/imap_suites.py
TESTS += tests/wire/imap-alone.py
EXTRA_DIST += tests/wire/imap tests/wire/imap-alone.py tests/lib/imap_real.py tests/e2e/test_imap.py tests/e2e/imapflow.mjs tests/bench/imap_load.py

if HAVE_CMOCKA
check_PROGRAMS += tests/unit/test_imap_parse tests/unit/test_imap_view
TESTS += tests/unit/test_imap_parse tests/unit/test_imap_view
tests_unit_test_imap_parse_SOURCES = tests/unit/test_imap_parse.c $(IMAP_FAKES)
tests_unit_test_imap_parse_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_imap_parse_LDADD = $(IMAP_ALONE_LIBS) $(CMOCKA_LIBS)
tests_unit_test_imap_view_SOURCES = tests/unit/test_imap_view.c
tests_unit_test_imap_view_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_imap_view_LDADD = $(IMAP_ALONE_LIBS) $(CMOCKA_LIBS)
endif
