#include "packets.h"

struct slab {
  struct bytes bytes;
  struct column at;
  struct column length;
};

static bool take_slab(napi_env env, const napi_value values[], struct slab *slab) {
  return take_bytes(env, values[0], "bytes", &slab->bytes) && take_int32_column(env, values[1], "at", &slab->at) &&
         take_int32_column(env, values[2], "length", &slab->length);
}

/* False unless bytes[at - before .. at + length) lies inside the slab. 64-bit sums of 32-bit cells cannot overflow. */
static bool lies_inside(const struct slab *slab, int64_t at, int64_t before, int64_t length) {
  return length >= 0 && at - before >= 0 && at + length <= (int64_t)slab->bytes.count;
}

bool take_room(napi_env env, const napi_value values[], size_t before, struct room *room) {
  struct slab slab;
  int capacity;
  int room_bytes;
  if (!take_slab(env, values, &slab)) return false;
  if (!take_int(env, values[3], "capacity", 0, PACKETS_MAX, &capacity)) return false;
  if (!take_int(env, values[4], "roomBytes", 1, ROOM_MAX, &room_bytes)) return false;
  room->count = (size_t)capacity;
  if (room->count > slab.at.count) return refuse_range(env, "at", "at least \"capacity\" long");
  if (room->count > slab.length.count) return refuse_range(env, "length", "at least \"capacity\" long");
  for (size_t i = 0; i < room->count; i++) {
    int64_t at = cell(&slab.at, i);
    if (!lies_inside(&slab, at, (int64_t)before, room_bytes)) {
      return refuse_range(env, "at", "offsets whose room lies inside \"bytes\"");
    }
    room->iovecs[i].iov_base = slab.bytes.data + ((size_t)at - before);
    room->iovecs[i].iov_len = before + (size_t)room_bytes;
  }
  room->length = (int32_t *)slab.length.data;
  return true;
}

bool take_cargo(napi_env env, const napi_value values[], napi_value from, napi_value to, size_t before,
                struct cargo *cargo) {
  struct slab slab;
  int first;
  int end;
  if (!take_slab(env, values, &slab)) return false;
  if (!take_int(env, from, "from", 0, INT32_MAX, &first)) return false;
  if (!take_int(env, to, "to", 0, INT32_MAX, &end)) return false;
  if (end < first) return refuse_range(env, "to", "at least \"from\"");
  if (end - first > PACKETS_MAX) return refuse_range(env, "to", "at most 256 beyond \"from\"");
  if ((size_t)end > slab.at.count) return refuse_range(env, "at", "at least \"to\" long");
  if ((size_t)end > slab.length.count) return refuse_range(env, "length", "at least \"to\" long");
  cargo->from = (size_t)first;
  cargo->count = (size_t)(end - first);
  for (size_t j = 0; j < cargo->count; j++) {
    int64_t at = cell(&slab.at, cargo->from + j);
    int64_t length = cell(&slab.length, cargo->from + j);
    if (!lies_inside(&slab, at, (int64_t)before, length)) {
      return refuse_range(env, "at", "offsets whose packet lies inside \"bytes\"");
    }
    cargo->iovecs[j].iov_base = slab.bytes.data + ((size_t)at - before);
    cargo->iovecs[j].iov_len = before + (size_t)length;
  }
  return true;
}
