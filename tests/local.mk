# Fuzz targets: in a normal build their seeds are played by `make check` (tests/fuzz/standalone.c is their main); with
# --enable-fuzzing they are libFuzzer programs. A target NAME of another area is written in its own local.mk as
#   check_PROGRAMS += tests/fuzz/fuzz_NAME
#   tests_fuzz_fuzz_NAME_SOURCES = tests/fuzz/fuzz_NAME.c $(FUZZ_MAIN)
#   tests_fuzz_fuzz_NAME_LDADD = common/libX.a ... $(FUZZ_LINK)
#   FUZZ_TARGETS += NAME
# and its seeds lie in tests/fuzz/seeds/NAME/.
EXTRA_DIST += tests/fuzz/standalone.c tests/fuzz/run-seeds tests/wire/run.py tests/wire/toy tests/fuzz/seeds/ipc tests/e2e/test_daemon.py tests/e2e/test_mailadm.py tests/e2e/test_hang.py tests/e2e/test_import.py tests/lib/dovecot.py
AM_TESTS_ENVIRONMENT += FUZZ_TARGETS='$(FUZZ_TARGETS)'; export FUZZ_TARGETS;
TESTS += tests/fuzz/run-seeds

check_PROGRAMS += tests/fuzz/fuzz_ipc
tests_fuzz_fuzz_ipc_SOURCES = tests/fuzz/fuzz_ipc.c $(FUZZ_MAIN)
tests_fuzz_fuzz_ipc_LDADD = common/libnet.a common/libbase.a $(NET_LIBS) $(SODIUM_LIBS) $(FUZZ_LINK)
FUZZ_TARGETS += ipc

check_PROGRAMS += tests/fuzz/fuzz_conf
tests_fuzz_fuzz_conf_SOURCES = tests/fuzz/fuzz_conf.c $(FUZZ_MAIN)
tests_fuzz_fuzz_conf_LDADD = common/libbase.a $(SODIUM_LIBS) $(FUZZ_LINK)
FUZZ_TARGETS += conf
EXTRA_DIST += tests/fuzz/seeds/conf

check_PROGRAMS += tests/bench/bench_net
tests_bench_bench_net_SOURCES = tests/bench/bench_net.c
tests_bench_bench_net_LDADD = common/libnet.a common/libbase.a $(NET_LIBS) $(SODIUM_LIBS)

# The whole suite: tests/lib/province.py starts it.
EXTRA_DIST += tests/lib/province.py tests/e2e/conftest.py tests/e2e/test_main_job.py tests/e2e/test_separation.py \
	tests/e2e/mail.mjs conf/sample/start-slapd.sh tests/e2e/test_ldap.py \
	tests/e2e/test_ldap_suite.py tests/e2e/test_quota.py tests/e2e/test_many.py tests/e2e/test_clients.py tests/e2e/test_imap_random.py tests/lib/fake_ldap.py tests/lib/slapd.py

# The suite beside Postfix and Dovecot: make bench [BENCH="smtp append"] [BENCHFLAGS=--quick]
EXTRA_DIST += tests/bench/run tests/bench/servers.py tests/bench/work_mail.py tests/bench/work_box.py tests/bench/work_scale.py
BENCH_TOOLS = tests/bench/load_smtp tests/bench/load_imap
check_PROGRAMS += $(BENCH_TOOLS)
tests_bench_load_smtp_SOURCES = tests/bench/load_smtp.c tests/bench/load.c tests/bench/load.h
tests_bench_load_imap_SOURCES = tests/bench/load_imap.c tests/bench/load.c tests/bench/load.h
BENCH =
BENCHFLAGS =
bench: all $(BENCH_TOOLS)
	top_srcdir='$(abs_top_srcdir)' top_builddir='$(abs_top_builddir)' $(top_srcdir)/tests/bench/run $(BENCHFLAGS) $(BENCH)
.PHONY: bench
