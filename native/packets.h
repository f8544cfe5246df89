/*
 * The packets of one call: columns over one slab, as src/io/batch.ts draws them. What is checked here is what the kernel is given: each
 * cell is read once, and the iovecs are made of the checked values.
 */
#ifndef ISTHMUS_PACKETS_H
#define ISTHMUS_PACKETS_H

#include "arguments.h"

#include <sys/uio.h>

enum {
  /* Pieces behind the first ones, of all packets of one call: PIECES_MAX of src/io/batch.ts. */
  PIECES_MAX = 256,
};

/* Slot i: small_at + i * small_stride has small_bytes of room, large_at + i * large_stride has large_bytes; no large ones when that is 0. */
struct room {
  uint8_t *bytes;
  int32_t *at;     /* where the packets lie; `count` cells */
  int32_t *length; /* how long they are; `count` cells */
  size_t count;
  size_t before;
  size_t small_at;
  size_t small_stride;
  size_t small_bytes;
  size_t large_at;
  size_t large_stride;
  size_t large_bytes;
};

/*
 * Arguments bytes, at, length, layout, capacity at values[0..5). `before` is the length of a vnet header that is read in front of the
 * packet, or 0. Every slot lies inside `bytes`: only the first and the last one need to be looked at.
 */
bool take_room(napi_env env, const napi_value values[], size_t before, struct room *room);

/* The one or two iovecs of slot `index`; returns how many. */
size_t room_iovecs(const struct room *room, size_t index, struct iovec iovecs[2]);

/* `got` bytes came into slot `index`, at least `before`: writes its cells, and makes the packet contiguous. Returns where it begins. */
uint8_t *keep_packet(const struct room *room, size_t index, size_t got);

struct cargo {
  struct iovec iovecs[PACKETS_MAX + PIECES_MAX];
  uint16_t first[PACKETS_MAX + 1]; /* packet j is iovecs[first[j] .. first[j + 1]) */
  size_t from;
  size_t count;
};

/*
 * Arguments bytes, at, length, pieces at values[0..4). The first iovec of packet j begins at bytes[at[i] - before], i = from + j; those
 * of its pieces follow.
 */
bool take_cargo(napi_env env, const napi_value values[], napi_value from, napi_value to, size_t before,
                struct cargo *cargo);

#endif
