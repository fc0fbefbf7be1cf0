noinst_LIBRARIES += common/libdirectory.a
common_libdirectory_a_SOURCES = common/directory/directory.h common/directory/user.h \
	common/directory/ldif.h common/directory/ldif.c
EXTRA_DIST += conf/sample/directory.ldif conf/provmail.schema tests/fuzz/seeds/ldif

check_PROGRAMS += tests/fuzz/fuzz_ldif
tests_fuzz_fuzz_ldif_SOURCES = tests/fuzz/fuzz_ldif.c $(FUZZ_MAIN)
tests_fuzz_fuzz_ldif_LDADD = common/libdirectory.a common/libmime.a common/libbase.a $(IDN2_LIBS) $(SODIUM_LIBS) $(FUZZ_LINK)
FUZZ_TARGETS += ldif

if HAVE_CMOCKA
check_PROGRAMS += tests/unit/test_directory_ldif
TESTS += tests/unit/test_directory_ldif
tests_unit_test_directory_ldif_SOURCES = tests/unit/test_directory_ldif.c
tests_unit_test_directory_ldif_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_directory_ldif_LDADD = common/libdirectory.a common/libmime.a common/libbase.a $(CMOCKA_LIBS) $(IDN2_LIBS) $(SODIUM_LIBS)
endif
