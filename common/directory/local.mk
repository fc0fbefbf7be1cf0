noinst_LIBRARIES += common/libdirectory.a
common_libdirectory_a_SOURCES = common/directory/directory.h common/directory/user.h \
	common/directory/ldif.h common/directory/ldif.c \
	common/directory/dn.h common/directory/dn.c \
	common/directory/people.h common/directory/people.c common/directory/units.h common/directory/units.c \
	common/directory/password.h common/directory/password.c common/directory/scram.h common/directory/scram.c \
	common/directory/source.h common/directory/source_int.h common/directory/source.c common/directory/source_ldif.c \
	common/directory/wire.h common/directory/known.h common/directory/known.c common/directory/client.c common/directory/user.c
# A program that links it also needs common/libmime.a, common/libbase.a and the libraries of DIRECTORY_TEST_LIBS.
EXTRA_DIST += conf/sample/directory.ldif conf/provmail.schema tests/fuzz/seeds/ldif

# The daemon. Its files stay out of the library: workers must not link Berkeley DB or SASL.
sbin_PROGRAMS += common/directory/directoryd
common_directory_directoryd_SOURCES = common/directory/directoryd.c common/directory/server.h common/directory/server.c \
	common/directory/copy.h common/directory/copy_int.h common/directory/copy.c common/directory/copy_sync.c \
	common/directory/view.c common/directory/book.c common/directory/refresh.c common/directory/outbox.c common/directory/limits.c \
	common/directory/serve_lookup.c common/directory/serve_auth.c common/directory/serve_admin.c \
	common/directory/serve_backup.c common/directory/copy_backup.c common/store/dbcopy.h common/store/dbcopy.c
common_directory_directoryd_LDADD = common/libdirectory.a common/libmime.a $(LZ4_LIBS) common/libnet.a common/libbase.a \
	$(DB_LIBS) $(LDAP_LIBS) $(SASL_LIBS) $(NET_LIBS) $(IDN2_LIBS) $(SODIUM_LIBS) $(OPENSSL_LIBS) -lcrypt -lpthread

check_PROGRAMS += tests/fuzz/fuzz_ldif
tests_fuzz_fuzz_ldif_SOURCES = tests/fuzz/fuzz_ldif.c $(FUZZ_MAIN)
tests_fuzz_fuzz_ldif_LDADD = common/libdirectory.a common/libmime.a $(LZ4_LIBS) common/libbase.a $(IDN2_LIBS) $(SODIUM_LIBS) $(FUZZ_LINK)
FUZZ_TARGETS += ldif

if HAVE_CMOCKA
DIRECTORY_UNIT_TESTS = tests/unit/test_directory_dn tests/unit/test_directory_ldif tests/unit/test_directory_password \
	tests/unit/test_directory_people tests/unit/test_directory_known
check_PROGRAMS += $(DIRECTORY_UNIT_TESTS)
TESTS += $(DIRECTORY_UNIT_TESTS)
DIRECTORY_TEST_LIBS = common/libdirectory.a common/libmime.a $(LZ4_LIBS) common/libbase.a $(CMOCKA_LIBS) $(IDN2_LIBS) $(SODIUM_LIBS) \
	$(OPENSSL_LIBS) -lcrypt
tests_unit_test_directory_dn_SOURCES = tests/unit/test_directory_dn.c
tests_unit_test_directory_dn_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_directory_dn_LDADD = $(DIRECTORY_TEST_LIBS)
tests_unit_test_directory_ldif_SOURCES = tests/unit/test_directory_ldif.c
tests_unit_test_directory_ldif_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_directory_ldif_LDADD = $(DIRECTORY_TEST_LIBS)
tests_unit_test_directory_password_SOURCES = tests/unit/test_directory_password.c
tests_unit_test_directory_password_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_directory_password_LDADD = $(DIRECTORY_TEST_LIBS)
tests_unit_test_directory_people_SOURCES = tests/unit/test_directory_people.c
tests_unit_test_directory_people_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_directory_people_LDADD = $(DIRECTORY_TEST_LIBS)
tests_unit_test_directory_known_SOURCES = tests/unit/test_directory_known.c
tests_unit_test_directory_known_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_directory_known_LDADD = $(DIRECTORY_TEST_LIBS)
endif

# Logins (libsasl2 and threads; a program that uses them also links $(SASL_LIBS) -lpthread).
common_libdirectory_a_SOURCES += common/directory/logins.h common/directory/logins_int.h \
	common/directory/logins.c common/directory/logins_check.c common/directory/helpers.h common/directory/helpers.c \
	common/directory/guard.h common/directory/guard.c common/directory/sasl_exchange.h common/directory/sasl_exchange.c
LOGIN_LIBS = common/libdirectory.a common/libmime.a $(LZ4_LIBS) common/libnet.a common/libbase.a $(SASL_LIBS) $(NET_LIBS) $(IDN2_LIBS) \
	$(SODIUM_LIBS) $(OPENSSL_LIBS) -lcrypt -lpthread
check_PROGRAMS += tests/fuzz/fuzz_sasl
tests_fuzz_fuzz_sasl_SOURCES = tests/fuzz/fuzz_sasl.c $(FUZZ_MAIN)
tests_fuzz_fuzz_sasl_LDADD = $(LOGIN_LIBS) $(FUZZ_LINK)
FUZZ_TARGETS += sasl
EXTRA_DIST += tests/fuzz/seeds/sasl tests/e2e/test_logins.py
if HAVE_CMOCKA
check_PROGRAMS += tests/unit/test_directory_scram tests/unit/test_directory_sasl tests/unit/test_directory_logins
TESTS += tests/unit/test_directory_scram tests/unit/test_directory_sasl tests/unit/test_directory_logins
tests_unit_test_directory_scram_SOURCES = tests/unit/test_directory_scram.c
tests_unit_test_directory_scram_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_directory_scram_LDADD = $(DIRECTORY_TEST_LIBS)
tests_unit_test_directory_sasl_SOURCES = tests/unit/test_directory_sasl.c tests/lib/scram_client.h tests/lib/scram_client.c
tests_unit_test_directory_sasl_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_directory_sasl_LDADD = $(LOGIN_LIBS) $(CMOCKA_LIBS)
tests_unit_test_directory_logins_SOURCES = tests/unit/test_directory_logins.c tests/lib/scram_client.h tests/lib/scram_client.c
tests_unit_test_directory_logins_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_directory_logins_LDADD = $(LOGIN_LIBS) $(CMOCKA_LIBS)
endif

# The LDAP source (libldap; a program that uses it also links $(LDAP_LIBS)).
common_libdirectory_a_SOURCES += common/directory/source_ldap.c \
	common/directory/ldap_conn.h common/directory/ldap_conn.c common/directory/dial.h common/directory/dial.c
check_PROGRAMS += tests/lib/ldap_dump
tests_lib_ldap_dump_SOURCES = tests/lib/ldap_dump.c
tests_lib_ldap_dump_LDADD = common/libdirectory.a common/libmime.a $(LZ4_LIBS) common/libnet.a common/libbase.a $(LDAP_LIBS) $(NET_LIBS) \
	$(IDN2_LIBS) $(SODIUM_LIBS) -lcrypt

dist_man_MANS += doc/directoryd.8
