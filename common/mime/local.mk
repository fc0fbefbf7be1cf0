noinst_LIBRARIES += common/libmime.a
common_libmime_a_SOURCES = \
	common/mime/address.h common/mime/address.c common/mime/path.c \
	common/mime/charset.h common/mime/charset.c common/mime/utf8.c \
	common/mime/tables-nfc.h common/mime/tables-fold.h common/mime/tables-single.h \
	common/mime/codec.h common/mime/codec.c \
	common/mime/date.h common/mime/date.c \
	common/mime/describe.h common/mime/describe.c \
	common/mime/fold.h common/mime/fold.c \
	common/mime/header.h common/mime/header_int.h common/mime/header.c common/mime/header_write.c \
	common/mime/meta.h common/mime/meta_int.h common/mime/meta.c common/mime/meta_pack.c \
	common/mime/mutf7.h common/mime/mutf7.c common/mime/param.c \
	common/mime/parse.h common/mime/parse.c \
	common/mime/part.h common/mime/part.c \
	common/mime/summary.h common/mime/summary.c \
	common/mime/words.h common/mime/words.c
# A program that links it also needs $(LZ4_LIBS), common/libbase.a and $(IDN2_LIBS).
EXTRA_DIST += common/mime/make-tables.py

check_PROGRAMS += tests/lib/mimedump
tests_lib_mimedump_SOURCES = tests/lib/mimedump.c
tests_lib_mimedump_LDADD = common/libmime.a $(LZ4_LIBS) common/libbase.a $(IDN2_LIBS)
TESTS += tests/unit/test_mime_corpus.sh
EXTRA_DIST += tests/unit/test_mime_corpus.sh tests/unit/mime_corpus.py

check_PROGRAMS += tests/fuzz/fuzz_mime
tests_fuzz_fuzz_mime_SOURCES = tests/fuzz/fuzz_mime.c $(FUZZ_MAIN)
tests_fuzz_fuzz_mime_LDADD = common/libmime.a $(LZ4_LIBS) common/libbase.a $(IDN2_LIBS) $(FUZZ_LINK)
FUZZ_TARGETS += mime
EXTRA_DIST += tests/fuzz/seeds/mime tests/fuzz/mime.dict

if HAVE_CMOCKA
check_PROGRAMS += tests/unit/test_mime_text tests/unit/test_mime_header tests/unit/test_mime_parse
TESTS += tests/unit/test_mime_text tests/unit/test_mime_header tests/unit/test_mime_parse
MIME_TEST_LIBS = common/libmime.a $(LZ4_LIBS) common/libbase.a $(CMOCKA_LIBS) $(IDN2_LIBS)
tests_unit_test_mime_text_SOURCES = tests/unit/test_mime_text.c
tests_unit_test_mime_text_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_mime_text_LDADD = $(MIME_TEST_LIBS)
tests_unit_test_mime_header_SOURCES = tests/unit/test_mime_header.c
tests_unit_test_mime_header_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_mime_header_LDADD = $(MIME_TEST_LIBS)
tests_unit_test_mime_parse_SOURCES = tests/unit/test_mime_parse.c
tests_unit_test_mime_parse_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_mime_parse_LDADD = $(MIME_TEST_LIBS)
endif

check_PROGRAMS += tests/bench/bench_mime
tests_bench_bench_mime_SOURCES = tests/bench/bench_mime.c
tests_bench_bench_mime_LDADD = common/libmime.a $(LZ4_LIBS) common/libbase.a $(IDN2_LIBS)
