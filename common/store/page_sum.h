/* What a page of a Berkeley DB btree says of itself: its size, and whether its bytes are what they were. */
#ifndef PROV_STORE_PAGE_SUM_H
#define PROV_STORE_PAGE_SUM_H

#include <stdbool.h>
#include <stddef.h>

enum { PAGE_SUM_HEAD = 72 }; /* bytes of a file that page_sum_size looks at */
/* The size of the pages of a btree whose pages have checksums, by the head of its file; 0: it is none. */
size_t page_sum_size(const unsigned char head[PAGE_SUM_HEAD]);
/* False: the page was damaged. n: its size. */
bool page_sum_ok(const unsigned char *page, size_t n);

#endif
