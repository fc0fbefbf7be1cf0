noinst_LIBRARIES += common/libnet.a
common_libnet_a_SOURCES = \
	common/net/ticket.h common/net/ticket.c \
	common/net/loop.h common/net/loop.c \
	common/net/tls.h common/net/tls_int.h common/net/tls.c common/net/stream.h common/net/stream.c \
	common/net/conn.h common/net/conn_int.h common/net/conn.c common/net/conn_io.c \
	common/net/ipc.h common/net/ipc_int.h common/net/ipc.c common/net/ipc_server.c common/net/ipc_client.c \
	common/net/daemon.h common/net/daemon_int.h common/net/daemon.c common/net/daemon_rights.c \
	common/net/listen.c common/net/master.c common/net/worker.c \
	common/net/sandbox.h common/net/sandbox.c
# What a program that links libnet needs behind it; libbase comes after libnet.
NET_LIBS = $(EVENT_LIBS) $(OPENSSL_LIBS) $(SECCOMP_LIBS) -lpthread

check_PROGRAMS += tests/lib/toyd
tests_lib_toyd_SOURCES = tests/lib/toyd.c
tests_lib_toyd_LDADD = common/libnet.a common/libbase.a $(NET_LIBS) $(SODIUM_LIBS)

if HAVE_CMOCKA
check_PROGRAMS += tests/unit/test_net_ipc tests/unit/test_net_conn tests/unit/test_net_sandbox
TESTS += tests/unit/test_net_ipc tests/unit/test_net_conn tests/unit/test_net_sandbox
tests_unit_test_net_ipc_SOURCES = tests/unit/test_net_ipc.c
tests_unit_test_net_ipc_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_net_ipc_LDADD = common/libnet.a common/libbase.a $(NET_LIBS) $(SODIUM_LIBS) $(CMOCKA_LIBS)
tests_unit_test_net_conn_SOURCES = tests/unit/test_net_conn.c
tests_unit_test_net_conn_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_net_conn_LDADD = common/libnet.a common/libbase.a $(NET_LIBS) $(SODIUM_LIBS) $(CMOCKA_LIBS)
tests_unit_test_net_sandbox_SOURCES = tests/unit/test_net_sandbox.c
tests_unit_test_net_sandbox_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_net_sandbox_LDADD = common/libnet.a common/libbase.a $(NET_LIBS) $(SODIUM_LIBS) $(CMOCKA_LIBS)
endif
EXTRA_DIST += tests/data/tls/test-cert.pem tests/data/tls/test-key.pem
