sbin_PROGRAMS += mailadm/mailadm
mailadm_mailadm_SOURCES = mailadm/mailadm.h mailadm/main.c mailadm/status.c mailadm/config_check.c mailadm/config_print.c \
	mailadm/supervise.h mailadm/supervise.c mailadm/supervise_open.c
mailadm_mailadm_LDADD = common/libnet.a common/libmime.a common/libbase.a $(NET_LIBS) $(SODIUM_LIBS)
