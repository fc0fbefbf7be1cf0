noinst_LIBRARIES += common/libbase.a
common_libbase_a_SOURCES = \
	common/base/span.h common/base/span.c \
	common/base/buf.h common/base/buf.c \
	common/base/arena.h common/base/arena.c \
	common/base/err.h common/base/err.c \
	common/base/log.h common/base/log.c \
	common/base/clock.h common/base/clock.c \
	common/base/conf.h common/base/conf.c \
	common/base/crypto.h common/base/crypto.c \
	common/base/seal.h common/base/seal.c \
	common/base/ids.h common/base/ids.c \
	common/base/grant.h common/base/grant.c \
	conf/options.def

if HAVE_CMOCKA
check_PROGRAMS += tests/unit/test_base tests/unit/test_seal
TESTS += tests/unit/test_base tests/unit/test_seal
tests_unit_test_seal_SOURCES = tests/unit/test_seal.c
tests_unit_test_seal_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_seal_LDADD = common/libbase.a $(SODIUM_LIBS) $(CMOCKA_LIBS)
tests_unit_test_base_SOURCES = tests/unit/test_base.c
tests_unit_test_base_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_base_LDADD = common/libbase.a $(SODIUM_LIBS) $(CMOCKA_LIBS)
endif
