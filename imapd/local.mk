# The session's core, without main: it asks store and directory through their headers.
noinst_LIBRARIES += imapd/libimap.a
imapd_libimap_a_SOURCES = \
	imapd/imap.h imapd/imap_int.h imapd/session.c imapd/dispatch.h imapd/dispatch.c \
	imapd/cursor.h imapd/cursor.c imapd/mutf7.h imapd/mutf7.c imapd/seqset.h imapd/seqset.c \
	imapd/reader.h imapd/reader.c imapd/put.c imapd/set.c \
	imapd/view.h imapd/view.c imapd/sync.c imapd/announce.c \
	imapd/cmd_any.c imapd/cmd_auth.c imapd/cmd_select.c imapd/cmd_list.c imapd/cmd_mailbox.c \
	imapd/status.h imapd/cmd_status.c imapd/cmd_append.c
