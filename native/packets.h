/*
 * The packets of one call: columns over one slab, as src/io/batch.ts draws them. Both functions check every cell that the call will
 * use and write one iovec a packet, so that what was checked is what the kernel is given.
 */
#ifndef ISTHMUS_PACKETS_H
#define ISTHMUS_PACKETS_H

#include "arguments.h"

#include <sys/uio.h>

struct room {
  struct iovec iovecs[PACKETS_MAX];
  int32_t *length; /* where the received lengths go; `count` cells */
  size_t count;
};

struct cargo {
  struct iovec iovecs[PACKETS_MAX];
  size_t from;
  size_t count;
};

/*
 * Arguments bytes, at, length, capacity, roomBytes at values[0..5): iovec i is bytes[at[i] - before .. at[i] + roomBytes).
 * `before` is the length of a vnet header that is read in front of the packet, or 0.
 */
bool take_room(napi_env env, const napi_value values[], size_t before, struct room *room);

/* Arguments bytes, at, length at values[0..3): iovec j is bytes[at[i] - before .. at[i] + length[i]), i = from + j. */
bool take_cargo(napi_env env, const napi_value values[], napi_value from, napi_value to, size_t before,
                struct cargo *cargo);

#endif
