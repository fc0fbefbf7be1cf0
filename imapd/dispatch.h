/* Reading a command and finding its row. */
#ifndef PROV_IMAPD_DISPATCH_H
#define PROV_IMAPD_DISPATCH_H

#include "imapd/imap_int.h"

/* The step of LIFE_READ: when a command is whole it is parsed and its life begins. */
enum step imap_read_command(struct imap *s);

#endif
