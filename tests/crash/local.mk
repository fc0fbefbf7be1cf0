# Daemons with the fault points of common/base/fault.h: built by `make check` only, never installed.
FAULTY_SOURCES = common/base/fault.h common/base/fault_page.h common/base/fault.c
FAULTY_CPPFLAGS = $(AM_CPPFLAGS) -DFAULTS
check_PROGRAMS += tests/crash/faulty/stored tests/crash/faulty/directoryd
tests_crash_faulty_stored_SOURCES = $(stored_SOURCES) $(common_libengine_a_SOURCES) $(FAULTY_SOURCES)
tests_crash_faulty_stored_CPPFLAGS = $(FAULTY_CPPFLAGS)
tests_crash_faulty_stored_LDADD = common/libmime.a $(LZ4_LIBS) common/libnet.a common/libbase.a $(ENGINE_LIBS) $(NET_LIBS) $(SODIUM_LIBS)
tests_crash_faulty_directoryd_SOURCES = $(common_directory_directoryd_SOURCES) $(FAULTY_SOURCES)
tests_crash_faulty_directoryd_CPPFLAGS = $(FAULTY_CPPFLAGS)
tests_crash_faulty_directoryd_LDADD = $(common_directory_directoryd_LDADD)
# The disk that loses power: a shim for LD_PRELOAD, so no library of the build.
check_DATA = tests/crash/disk.so tests/crash/steps.so
CLEANFILES += tests/crash/disk.so tests/crash/steps.so
tests/crash/steps.so: tests/crash/steps.c
	$(AM_V_CC)$(CC) $(DEFS) -D_GNU_SOURCE $(CPPFLAGS) -std=gnu11 $(WARN_CFLAGS) $(CFLAGS) -fPIC -shared -o $@ $(top_srcdir)/tests/crash/steps.c -ldl
tests/crash/disk.so: tests/crash/disk.c tests/crash/disk_page.h
	$(AM_V_CC)$(CC) $(DEFS) -D_GNU_SOURCE -I$(top_srcdir) $(CPPFLAGS) -std=gnu11 $(WARN_CFLAGS) $(CFLAGS) -fPIC -shared -o $@ \
		$(top_srcdir)/tests/crash/disk.c -ldl -lpthread

EXTRA_DIST += tests/crash/disk.c tests/crash/steps.c tests/crash/test_restore.py tests/crash/disk_page.h tests/crash/test_kill.py tests/crash/test_crash.py tests/crash/test_power.py tests/crash/test_faults.py tests/crash/harness.py tests/crash/loop.py tests/crash/actors.py \
	tests/crash/model.py tests/crash/imap_client.py
