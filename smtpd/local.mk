# smtpd: the protocol core is a library, so that tests and fuzzers can drive it.
noinst_LIBRARIES += smtpd/libsmtp.a
smtpd_libsmtp_a_SOURCES = \
	smtpd/accept.c smtpd/backend.h smtpd/core.c smtpd/core.h smtpd/core_int.h smtpd/dot.c smtpd/dot.h \
	smtpd/head.c smtpd/head.h smtpd/intake.c smtpd/intake.h smtpd/path.c smtpd/policy.c smtpd/policy.h \
	smtpd/reply.c smtpd/trace.c smtpd/verb_auth.c smtpd/verb_data.c smtpd/verb_helo.c smtpd/verb_mail.c \
	smtpd/verb_misc.c smtpd/verb_rcpt.c
