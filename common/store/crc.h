/* CRC-32C (Castagnoli), the checksum of everything that the store keeps outside Berkeley DB. */
#ifndef PROV_STORE_CRC_H
#define PROV_STORE_CRC_H

#include "common/base/span.h"

/* The checksum of s; crc is that of the bytes before it, 0 at the start. */
uint32_t crc32c(uint32_t crc, struct span s);

#endif
