# The store: libstore.a is what workers link (client and frames, no libdb); libengine.a is stored's and the offline
# tools'. What they need behind them: STORE_LIBS, ENGINE_LIBS; libnet and libbase come after both.
noinst_LIBRARIES += common/libstore.a common/libengine.a
common_libstore_a_SOURCES = \
	common/store/store.h common/store/wire.h \
	common/store/frames.h common/store/frames_int.h common/store/frames.c \
	common/store/client_int.h common/store/client.c common/store/client_session.c \
	common/store/client_write.c common/store/client_admin.c common/store/client_restore.c
common_libengine_a_SOURCES = \
	common/store/engine.h common/store/engine_int.h common/store/wire.h \
	common/store/rec.h common/store/rec.c \
	common/store/crc.h common/store/crc.c common/store/pages.h common/store/pages.c common/store/page_sum.h common/store/page_sum.c common/store/trouble.h common/store/trouble.c common/store/spare.h common/store/spare.c common/store/redo.c common/store/making.c \
	common/store/tx.c common/store/env.c common/store/care.c common/store/ids.c common/store/segment.c common/store/recover.c \
	common/store/purge.c common/store/compact.c common/store/mend.c common/store/mend_records.c common/store/verify.h common/store/verify.c common/store/verify_bytes.c common/store/verify_records.c common/store/verify_holes.c common/store/scan_past.c common/store/verify_accounts.c common/store/verify_queue.c common/store/upgrade.c common/store/content.c common/store/account.c common/store/quota.c common/store/quota_units.c common/store/mailbox.c common/store/name.c \
	common/store/history.c common/store/history_check.c common/store/restore.c common/store/restored.c common/store/probe.c common/store/backup.c \
	common/store/backup_stream.h common/store/dbcopy.h common/store/dbcopy.c \
	common/store/message.c common/store/flags.c common/store/move.c common/store/change.c \
	common/store/deliver.c common/store/queue.c common/store/notice.c common/store/trace.c common/store/repeat.c common/store/done.c \
	common/store/batch.c common/store/lazy.c common/store/mark.c common/store/engine.c \
	common/store/read.c common/store/read_meta.c common/store/read_changes.c common/store/read_admin.c common/store/read_quota.c
STORE_LIBS = $(ZSTD_LIBS)
ENGINE_LIBS = $(DB_LIBS) -lpthread

sbin_PROGRAMS += stored
stored_SOURCES = common/store/stored.c common/store/server.h common/store/server.c \
	common/store/serve_read.c common/store/serve_session.c common/store/serve_backup.c common/store/offline.c
stored_LDADD = common/libengine.a common/libmime.a $(LZ4_LIBS) common/libnet.a common/libbase.a $(ENGINE_LIBS) $(NET_LIBS) $(SODIUM_LIBS)

# What tests and load programs of the store link.
STORE_TEST_LDADD = common/libstore.a common/libnet.a common/libbase.a $(STORE_LIBS) $(NET_LIBS) $(SODIUM_LIBS)
if HAVE_CMOCKA
check_PROGRAMS += tests/unit/test_store_client tests/unit/test_store_wire tests/unit/test_store_engine tests/unit/test_store_rec \
	tests/unit/test_store_frames tests/unit/test_store_past tests/unit/test_store_quota
TESTS += tests/unit/test_store_quota tests/unit/test_store_past tests/unit/test_store_client tests/unit/test_store_wire tests/unit/test_store_engine tests/unit/test_store_rec tests/unit/test_store_frames
tests_unit_test_store_frames_SOURCES = tests/unit/test_store_frames.c
tests_unit_test_store_frames_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_store_frames_LDADD = $(STORE_TEST_LDADD) $(CMOCKA_LIBS)
tests_unit_test_store_quota_SOURCES = tests/unit/test_store_quota.c tests/lib/engine_drive.h tests/lib/engine_drive.c
tests_unit_test_store_quota_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_store_quota_LDADD = $(ENGINE_TEST_LDADD) $(CMOCKA_LIBS)
tests_unit_test_store_rec_SOURCES = tests/unit/test_store_rec.c
tests_unit_test_store_rec_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_store_rec_LDADD = $(ENGINE_TEST_LDADD) $(CMOCKA_LIBS)
tests_unit_test_store_engine_SOURCES = tests/unit/test_store_engine.c tests/lib/engine_drive.h tests/lib/engine_drive.c
tests_unit_test_store_engine_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_store_engine_LDADD = $(ENGINE_TEST_LDADD) $(CMOCKA_LIBS)
tests_unit_test_store_past_SOURCES = tests/unit/test_store_past.c tests/lib/engine_drive.h tests/lib/engine_drive.c
tests_unit_test_store_past_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_store_past_LDADD = $(ENGINE_TEST_LDADD) $(CMOCKA_LIBS)
check_PROGRAMS += tests/unit/test_store_care
TESTS += tests/unit/test_store_care
tests_unit_test_store_care_SOURCES = tests/unit/test_store_care.c tests/lib/engine_drive.h tests/lib/engine_drive.c
tests_unit_test_store_care_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_store_care_LDADD = $(ENGINE_TEST_LDADD) $(CMOCKA_LIBS)
check_PROGRAMS += tests/unit/test_store_damage
TESTS += tests/unit/test_store_damage
tests_unit_test_store_damage_SOURCES = tests/unit/test_store_damage.c tests/lib/engine_drive.h tests/lib/engine_drive.c
tests_unit_test_store_damage_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_store_damage_LDADD = $(ENGINE_TEST_LDADD) $(CMOCKA_LIBS)
check_PROGRAMS += tests/unit/test_store_records
TESTS += tests/unit/test_store_records
tests_unit_test_store_records_SOURCES = tests/unit/test_store_records.c tests/lib/engine_drive.h tests/lib/engine_drive.c
tests_unit_test_store_records_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_store_records_LDADD = $(ENGINE_TEST_LDADD) $(CMOCKA_LIBS)
EXTRA_DIST += tests/data/store-1.tar.gz tests/e2e/test_store_care.py
tests_unit_test_store_wire_SOURCES = tests/unit/test_store_wire.c tests/lib/store_env.h tests/lib/store_env.c
tests_unit_test_store_wire_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_store_wire_LDADD = $(STORE_TEST_LDADD) $(CMOCKA_LIBS)
tests_unit_test_store_client_SOURCES = tests/unit/test_store_client.c tests/lib/store_env.h tests/lib/store_env.c
tests_unit_test_store_client_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_store_client_LDADD = $(STORE_TEST_LDADD) $(CMOCKA_LIBS)
endif

# A maker of small stores for the tests of upgrades, and the engine without sockets.
ENGINE_TEST_LDADD = common/libengine.a common/libmime.a $(LZ4_LIBS) common/libbase.a $(ENGINE_LIBS) $(SODIUM_LIBS)
check_PROGRAMS += tests/data/make_store
tests_data_make_store_SOURCES = tests/data/make_store.c tests/lib/engine_drive.h tests/lib/engine_drive.c
tests_data_make_store_LDADD = $(ENGINE_TEST_LDADD)
check_PROGRAMS += tests/lib/lose_records
tests_lib_lose_records_SOURCES = tests/lib/lose_records.c tests/lib/engine_drive.h tests/lib/engine_drive.c
tests_lib_lose_records_LDADD = $(ENGINE_TEST_LDADD)

check_PROGRAMS += tests/bench/bench_store
tests_bench_bench_store_SOURCES = tests/bench/bench_store.c tests/lib/store_env.h tests/lib/store_env.c
tests_bench_bench_store_LDADD = $(STORE_TEST_LDADD)

check_PROGRAMS += tests/crash/crash_store
TESTS += tests/crash/crash_store
tests_crash_crash_store_SOURCES = tests/crash/crash_store.c tests/lib/store_env.h tests/lib/store_env.c
tests_crash_crash_store_LDADD = $(STORE_TEST_LDADD)

check_PROGRAMS += tests/crash/full_store
TESTS += tests/crash/full_store
tests_crash_full_store_SOURCES = tests/crash/full_store.c tests/lib/store_env.h tests/lib/store_env.c
tests_crash_full_store_LDADD = $(STORE_TEST_LDADD)

check_PROGRAMS += tests/fuzz/fuzz_store
tests_fuzz_fuzz_store_SOURCES = tests/fuzz/fuzz_store.c $(FUZZ_MAIN)
tests_fuzz_fuzz_store_LDADD = common/libengine.a common/libmime.a $(LZ4_LIBS) common/libbase.a $(ENGINE_LIBS) $(SODIUM_LIBS) $(FUZZ_LINK)
FUZZ_TARGETS += store
EXTRA_DIST += tests/fuzz/seeds/store common/store/STORE.md

dist_man_MANS += doc/stored.8
