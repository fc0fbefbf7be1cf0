/* What stored and directoryd send of their files into a pipe of the backup tool: items one behind the other,
 * big-endian. One byte says what follows: 'L' 16 bytes             the identity of this store's life; a
 * restore begins another one 'T' u64                  bytes that will come, roughly 'F' u16 n, name a file
 * begins: a relative path without ".." 'D' u32 n, bytes         of the file 'E'                      the file
 * is whole 'K' u16 n, name, u64     a file that the tool has from an earlier run, with its size: it belongs
 * to the set 'X' u16 n, text          it failed; nothing follows 'Z'                      all of it is whole;
 * nothing follows */
#ifndef PROV_STORE_BACKUP_STREAM_H
#define PROV_STORE_BACKUP_STREAM_H

enum {
    BACKUP_LIFE = 'L',
    BACKUP_TOTAL = 'T',
    BACKUP_FILE = 'F',
    BACKUP_DATA = 'D',
    BACKUP_END = 'E',
    BACKUP_KEPT = 'K',
    BACKUP_FAILED = 'X',
    BACKUP_DONE = 'Z'
};
enum { BACKUP_NAME_LIMIT = 255, BACKUP_DATA_LIMIT = 1 << 20, BACKUP_LIFE_SIZE = 16 };

#endif
