# Daemons with the fault points of common/base/fault.h: built by `make check` only, never installed.
FAULTY_SOURCES = common/base/fault.h common/base/fault_page.h common/base/fault.c
FAULTY_CPPFLAGS = $(AM_CPPFLAGS) -DFAULTS
check_PROGRAMS += tests/crash/faulty/stored tests/crash/faulty/directoryd
tests_crash_faulty_stored_SOURCES = $(stored_SOURCES) $(common_libengine_a_SOURCES) $(FAULTY_SOURCES)
tests_crash_faulty_stored_CPPFLAGS = $(FAULTY_CPPFLAGS)
tests_crash_faulty_stored_LDADD = common/libnet.a common/libbase.a $(ENGINE_LIBS) $(NET_LIBS) $(SODIUM_LIBS)
tests_crash_faulty_directoryd_SOURCES = $(common_directory_directoryd_SOURCES) $(FAULTY_SOURCES)
tests_crash_faulty_directoryd_CPPFLAGS = $(FAULTY_CPPFLAGS)
tests_crash_faulty_directoryd_LDADD = $(common_directory_directoryd_LDADD)
EXTRA_DIST += tests/crash/test_kill.py tests/crash/test_crash.py tests/crash/harness.py tests/crash/actors.py \
	tests/crash/model.py tests/crash/imap_client.py
