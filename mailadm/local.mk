sbin_PROGRAMS += mailadm/mailadm
mailadm_mailadm_SOURCES = mailadm/mailadm.h mailadm/main.c mailadm/status.c mailadm/config_check.c mailadm/config_print.c \
	mailadm/supervise.h mailadm/supervise.c mailadm/supervise_open.c \
	mailadm/ask.h mailadm/ask.c mailadm/when.h mailadm/when.c mailadm/past.h mailadm/past.c \
	mailadm/restore.c mailadm/undelete.c mailadm/set.h mailadm/set.c mailadm/chunks.h mailadm/chunks.c mailadm/backup.c mailadm/backup_tidy.h mailadm/backup_tidy.c mailadm/backup_check.c \
	mailadm/backup_restore.c mailadm/program.c mailadm/queue.c mailadm/print.c mailadm/store.c mailadm/store_care.c mailadm/store_verify.c mailadm/describe.h mailadm/describe.c mailadm/account.c mailadm/quota.c mailadm/directory.c
# import and export
mailadm_mailadm_SOURCES += \
	mailadm/import.h mailadm/import.c mailadm/import_report.c mailadm/import_notes.c mailadm/session.h mailadm/session.c \
	mailadm/import_target_int.h mailadm/import_target.c mailadm/import_known.c mailadm/import_boxes.c \
	mailadm/mbox.h mailadm/mbox.c mailadm/mbox_write.c mailadm/import_mbox.c \
	mailadm/maildir.h mailadm/maildir.c mailadm/import_maildir.c \
	mailadm/imap_client.h mailadm/imap_client.c mailadm/import_imap.h mailadm/import_imap.c \
	mailadm/import_imap_boxes.c mailadm/export.h mailadm/export.c mailadm/export_files.c mailadm/export_state.h mailadm/export_state.c
mailadm_mailadm_LDADD = common/libdirectory.a common/libstore.a common/libmime.a $(LZ4_LIBS) common/libnet.a common/libbase.a \
	$(STORE_LIBS) $(NET_LIBS) $(IDN2_LIBS) $(SODIUM_LIBS)
dist_man_MANS += doc/mailadm.8
# systemd's units, with the folders of this build.
UNITS = conf/systemd/provmail-stored.service conf/systemd/provmail-directoryd.service \
	conf/systemd/provmail-imapd.service conf/systemd/provmail-smtpd.service
systemunitdir = $(prefix)/lib/systemd/system
nodist_systemunit_DATA = $(UNITS)
CLEANFILES += $(UNITS)
EXTRA_DIST += $(UNITS:=.in)
$(UNITS): Makefile
	$(AM_V_GEN)mkdir -p conf/systemd && sed -e 's|@sbindir[@]|$(sbindir)|' -e 's|@sysconfdir[@]|$(sysconfdir)|' \
		$(srcdir)/$@.in >$@.new && mv $@.new $@
conf/systemd/provmail-stored.service: $(srcdir)/conf/systemd/provmail-stored.service.in
conf/systemd/provmail-directoryd.service: $(srcdir)/conf/systemd/provmail-directoryd.service.in
conf/systemd/provmail-imapd.service: $(srcdir)/conf/systemd/provmail-imapd.service.in
conf/systemd/provmail-smtpd.service: $(srcdir)/conf/systemd/provmail-smtpd.service.in

# What the option table says, as a file to start from and as a manual page.
nodist_examples_DATA = conf/provmail.conf.sample conf/provmail.logrotate
dist_examples_DATA = conf/provmail.schema conf/lighttpd.conf.in
examplesdir = $(docdir)/examples
nodist_man5_MANS = doc/provmail.conf.5
CLEANFILES += conf/provmail.conf.sample doc/provmail.conf.5 conf/provmail.logrotate
EXTRA_DIST += conf/provmail.logrotate.in
conf/provmail.logrotate: $(srcdir)/conf/provmail.logrotate.in Makefile
	$(AM_V_GEN)mkdir -p conf && sed -e 's|@sysconfdir[@]|$(sysconfdir)|' $(srcdir)/conf/provmail.logrotate.in >$@.new && mv $@.new $@
conf/provmail.conf.sample: mailadm/mailadm$(EXEEXT)
	$(AM_V_GEN)mkdir -p conf && mailadm/mailadm config sample >$@.new && mv $@.new $@
doc/provmail.conf.5: mailadm/mailadm$(EXEEXT)
	$(AM_V_GEN)mkdir -p doc && mailadm/mailadm config man >$@.new && mv $@.new $@

if HAVE_CMOCKA
check_PROGRAMS += tests/unit/test_when
TESTS += tests/unit/test_when
tests_unit_test_when_SOURCES = tests/unit/test_when.c mailadm/when.h mailadm/when.c
tests_unit_test_when_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_when_LDADD = common/libbase.a $(CMOCKA_LIBS)
endif
EXTRA_DIST += tests/e2e/test_backup.py

check_PROGRAMS += tests/fuzz/fuzz_mbox
tests_fuzz_fuzz_mbox_SOURCES = tests/fuzz/fuzz_mbox.c mailadm/mbox.c mailadm/mbox_write.c $(FUZZ_MAIN)
tests_fuzz_fuzz_mbox_LDADD = common/libmime.a $(LZ4_LIBS) common/libbase.a $(IDN2_LIBS) $(SODIUM_LIBS) $(FUZZ_LINK)
FUZZ_TARGETS += mbox
EXTRA_DIST += tests/fuzz/seeds/mbox doc/LEAVING.md

if HAVE_CMOCKA
check_PROGRAMS += tests/unit/test_mailadm_files
TESTS += tests/unit/test_mailadm_files
tests_unit_test_mailadm_files_SOURCES = tests/unit/test_mailadm_files.c mailadm/mbox.c mailadm/mbox_write.c mailadm/maildir.c
tests_unit_test_mailadm_files_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_mailadm_files_LDADD = common/libmime.a $(LZ4_LIBS) common/libbase.a $(CMOCKA_LIBS) $(IDN2_LIBS) $(SODIUM_LIBS)
endif
