# smtpd: the protocol core is a library, so that tests and fuzzers can drive it.
noinst_LIBRARIES += smtpd/libsmtp.a
smtpd_libsmtp_a_SOURCES = \
	smtpd/accept.c smtpd/backend.h smtpd/core.c smtpd/core.h smtpd/core_int.h smtpd/dot.c smtpd/dot.h \
	smtpd/head.c smtpd/head.h smtpd/intake.c smtpd/intake.h smtpd/notice.c smtpd/notice.h smtpd/path.c smtpd/policy.c smtpd/policy.h \
	smtpd/reply.c smtpd/trace.c smtpd/verb_auth.c smtpd/verb_data.c smtpd/verb_helo.c smtpd/verb_mail.c \
	smtpd/verb_misc.c smtpd/verb_rcpt.c

# The workers around it.
noinst_LIBRARIES += smtpd/libsmtpd.a
smtpd_libsmtpd_a_SOURCES = smtpd/session.c smtpd/session.h smtpd/delivery.c smtpd/delivery.h smtpd/main.c

sbin_PROGRAMS += smtpd/smtpd
smtpd_smtpd_SOURCES = smtpd/main.c smtpd/session.c smtpd/session.h smtpd/delivery.c smtpd/delivery.h
smtpd_smtpd_LDADD = smtpd/libsmtp.a common/libdirectory.a common/libstore.a common/libmime.a $(LZ4_LIBS) common/libnet.a common/libbase.a \
	$(STORE_LIBS) $(NET_LIBS) $(IDN2_LIBS) $(SODIUM_LIBS)

# Drives the core over fakes: for its unit tests and its fuzzer.
SMTP_DRIVE = tests/lib/smtp_drive.h tests/lib/smtp_drive.c tests/lib/fake_backend.h tests/lib/fake_backend.c \
	tests/lib/fake_content.h tests/lib/fake_content.c
SMTP_DRIVE_LIBS = smtpd/libsmtp.a common/libmime.a $(LZ4_LIBS) common/libnet.a common/libbase.a $(NET_LIBS) $(IDN2_LIBS) $(SODIUM_LIBS)

if HAVE_CMOCKA
check_PROGRAMS += tests/unit/test_smtp_core
TESTS += tests/unit/test_smtp_core
tests_unit_test_smtp_core_SOURCES = tests/unit/test_smtp_core.c tests/unit/smtp_rows.h $(SMTP_DRIVE)
tests_unit_test_smtp_core_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_smtp_core_LDADD = $(SMTP_DRIVE_LIBS) $(CMOCKA_LIBS)
endif

check_PROGRAMS += tests/fuzz/fuzz_smtp
tests_fuzz_fuzz_smtp_SOURCES = tests/fuzz/fuzz_smtp.c $(SMTP_DRIVE) $(FUZZ_MAIN)
tests_fuzz_fuzz_smtp_LDADD = $(SMTP_DRIVE_LIBS) $(FUZZ_LINK)
FUZZ_TARGETS += smtp
EXTRA_DIST += tests/fuzz/seeds/smtp tests/fuzz/smtp.dict
dist_man_MANS += doc/smtpd.8

# The core on a port, for dialogues that need neither directory nor store.
check_PROGRAMS += tests/lib/smtpalone
tests_lib_smtpalone_SOURCES = tests/lib/smtpalone.c tests/lib/fake_backend.h tests/lib/fake_backend.c tests/lib/fake_content.h tests/lib/fake_content.c
tests_lib_smtpalone_LDADD = $(SMTP_DRIVE_LIBS)
TESTS += tests/wire/smtp-alone.py
EXTRA_DIST += tests/wire/smtp tests/wire/smtp-alone.py

if HAVE_CMOCKA
check_PROGRAMS += tests/unit/test_smtp_delivery
TESTS += tests/unit/test_smtp_delivery
tests_unit_test_smtp_delivery_SOURCES = tests/unit/test_smtp_delivery.c
tests_unit_test_smtp_delivery_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_smtp_delivery_LDADD = smtpd/libsmtpd.a common/libnet.a common/libbase.a $(NET_LIBS) $(SODIUM_LIBS) $(CMOCKA_LIBS)
endif
