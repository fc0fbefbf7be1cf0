/* Friend header of frames: what the client sends of a content, and how it unpacks what comes back. */
#ifndef PROV_STORE_FRAMES_INT_H
#define PROV_STORE_FRAMES_INT_H

#include "common/store/frames.h"

/* One frame of the table: bytes of message, bytes packed. */
struct frame_size {
    uint32_t raw, packed;
};

/* No frame is larger packed than this (zstd's bound for FRAME_RAW, rounded up). */
enum { FRAME_PACKED_LIMIT = FRAME_RAW + 1024 };

/* A finished content in pieces: the table in the order of the message, packed bytes that lie in memory (they
 * come first), and a descriptor (borrowed, -1: none) that holds the rest. */
struct content_view {
    const struct frame_size *frames;
    size_t frame_count;
    struct span memory[2];
    int fd;
    uint64_t fd_size;
    struct span meta;
};
void content_view(const struct content *c, struct content_view *out);

/* Unpack one frame into out, which has room for raw bytes. False: the bytes are no frame of that size. */
bool frame_unpack(struct span packed, char *out, size_t raw) __attribute__((warn_unused_result));

#endif
