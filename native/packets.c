#include "packets.h"

#include <string.h>

/* The cells of LAYOUT in src/io/batch.ts. */
enum { SMALL_AT, SMALL_STRIDE, SMALL_BYTES, LARGE_AT, LARGE_STRIDE, LARGE_BYTES, LAYOUT_CELLS };

/* Offsets are cells of 32 bits, so nothing beyond them is reachable, however large the slab is. */
static int64_t reachable(const struct bytes *bytes) {
  return bytes->count < INT32_MAX ? (int64_t)bytes->count : INT32_MAX;
}

/* Slots go upwards, so all lie inside when the first and the last do. 64-bit sums and products of 32-bit numbers cannot overflow. */
static bool slots_lie_inside(const struct bytes *bytes, int64_t at, int64_t stride, int64_t room, int64_t count, int64_t before) {
  return stride >= 0 && at - before >= 0 && at + (count - 1) * stride + room <= reachable(bytes);
}

static bool take_layout(napi_env env, napi_value value, const struct bytes *bytes, struct room *room) {
  struct column column;
  int64_t cells[LAYOUT_CELLS];
  if (!take_int32_column(env, value, "layout", &column)) return false;
  if (column.count < LAYOUT_CELLS) return refuse_range(env, "layout", "6 cells long");
  for (size_t i = 0; i < LAYOUT_CELLS; i++) cells[i] = cell(&column, i);
  int64_t count = (int64_t)room->count;
  int64_t before = (int64_t)room->before;
  int64_t large_bytes = cells[LARGE_BYTES];
  if (cells[SMALL_BYTES] < 1 || cells[SMALL_BYTES] > ROOM_MAX ||
      !slots_lie_inside(bytes, cells[SMALL_AT], cells[SMALL_STRIDE], cells[SMALL_BYTES], count, before)) {
    return refuse_range(env, "layout", "slots that lie inside \"bytes\"");
  }
  if (large_bytes != 0 && (large_bytes <= cells[SMALL_BYTES] || large_bytes > ROOM_MAX ||
                           !slots_lie_inside(bytes, cells[LARGE_AT], cells[LARGE_STRIDE], large_bytes, count, before))) {
    return refuse_range(env, "layout", "large slots that lie inside \"bytes\" and hold more than small ones");
  }
  room->small_at = (size_t)cells[SMALL_AT];
  room->small_stride = (size_t)cells[SMALL_STRIDE];
  room->small_bytes = (size_t)cells[SMALL_BYTES];
  room->large_at = (size_t)cells[LARGE_AT];
  room->large_stride = (size_t)cells[LARGE_STRIDE];
  room->large_bytes = (size_t)large_bytes;
  return true;
}

bool take_room(napi_env env, const napi_value values[], size_t before, struct room *room) {
  struct bytes bytes;
  struct column at;
  struct column length;
  int capacity;
  if (!take_bytes(env, values[0], "bytes", &bytes)) return false;
  if (!take_int32_column(env, values[1], "at", &at)) return false;
  if (!take_int32_column(env, values[2], "length", &length)) return false;
  if (!take_int(env, values[4], "capacity", 0, PACKETS_MAX, &capacity)) return false;
  room->count = (size_t)capacity;
  room->before = before;
  if (room->count > at.count) return refuse_range(env, "at", "at least \"capacity\" long");
  if (room->count > length.count) return refuse_range(env, "length", "at least \"capacity\" long");
  room->bytes = bytes.data;
  room->at = (int32_t *)at.data;
  room->length = (int32_t *)length.data;
  return take_layout(env, values[3], &bytes, room);
}

size_t room_iovecs(const struct room *room, size_t index, struct iovec iovecs[2]) {
  iovecs[0].iov_base = room->bytes + (room->small_at + index * room->small_stride - room->before);
  iovecs[0].iov_len = room->before + room->small_bytes;
  if (room->large_bytes == 0) return 1;
  iovecs[1].iov_base = room->bytes + (room->large_at + index * room->large_stride + room->small_bytes);
  iovecs[1].iov_len = room->large_bytes - room->small_bytes;
  return 2;
}

uint8_t *keep_packet(const struct room *room, size_t index, size_t got) {
  size_t at = room->small_at + index * room->small_stride;
  if (got - room->before > room->small_bytes) {
    size_t large = room->large_at + index * room->large_stride;
    /* memmove: nobody keeps a caller from laying his slots over one another, and then only his packets suffer. */
    (void)memmove(room->bytes + (large - room->before), room->bytes + (at - room->before), room->before + room->small_bytes);
    at = large;
  }
  room->at[index] = (int32_t)at;
  room->length[index] = (int32_t)(got - room->before);
  return room->bytes + at;
}

struct gather {
  struct bytes bytes;
  struct column at;
  struct column length;
  struct column pieces;
};

/* False unless bytes[at - before .. at + length) lies inside the slab. 64-bit sums of 32-bit cells cannot overflow. */
static bool lies_inside(const struct bytes *bytes, int64_t at, int64_t before, int64_t length) {
  return length >= 0 && at - before >= 0 && at + length <= (int64_t)bytes->count;
}

static bool take_gather(napi_env env, const napi_value values[], size_t end, struct gather *gather) {
  if (!take_bytes(env, values[0], "bytes", &gather->bytes)) return false;
  if (!take_int32_column(env, values[1], "at", &gather->at)) return false;
  if (!take_int32_column(env, values[2], "length", &gather->length)) return false;
  if (!take_int32_column(env, values[3], "pieces", &gather->pieces)) return false;
  if (end > gather->at.count) return refuse_range(env, "at", "at least \"to\" long");
  if (end > gather->length.count) return refuse_range(env, "length", "at least \"to\" long");
  if (gather->at.count > gather->pieces.count) return refuse_range(env, "pieces", "at least as long as \"at\"");
  return true;
}

/* The cell of the first pair of packet `from`. The pairs lie behind as many cells as the batch has entries. */
static bool find_pair(napi_env env, const struct gather *gather, size_t from, size_t *pair) {
  size_t cells = gather->at.count;
  for (size_t i = 0; i < from; i++) {
    int64_t count = cell(&gather->pieces, i);
    if (count < 0 || count > PIECES_MAX) return refuse_range(env, "pieces", "0 to 256 pieces a packet");
    cells += 2 * (size_t)count;
  }
  *pair = cells;
  return true;
}

/* Appends the pieces of one packet to the iovecs; `left` is what they leave to its first one. */
static bool take_pieces(napi_env env, const struct gather *gather, int64_t count, size_t pair, struct iovec *iovecs, int64_t *left) {
  if (pair + 2 * (size_t)count > gather->pieces.count) return refuse_range(env, "pieces", "long enough for all pairs");
  for (size_t k = 0; k < (size_t)count; k++) {
    int64_t at = cell(&gather->pieces, pair + 2 * k);
    int64_t length = cell(&gather->pieces, pair + 2 * k + 1);
    if (!lies_inside(&gather->bytes, at, 0, length)) return refuse_range(env, "pieces", "pairs that lie inside \"bytes\"");
    iovecs[k].iov_base = gather->bytes.data + (size_t)at;
    iovecs[k].iov_len = (size_t)length;
    *left -= length;
  }
  return true;
}

bool take_cargo(napi_env env, const napi_value values[], napi_value from, napi_value to, size_t before,
                struct cargo *cargo) {
  struct gather gather;
  int first;
  int end;
  size_t pair = 0;
  if (!take_int(env, from, "from", 0, INT32_MAX, &first)) return false;
  if (!take_int(env, to, "to", 0, INT32_MAX, &end)) return false;
  if (end < first) return refuse_range(env, "to", "at least \"from\"");
  if (end - first > PACKETS_MAX) return refuse_range(env, "to", "at most 256 beyond \"from\"");
  if (!take_gather(env, values, (size_t)end, &gather)) return false;
  if (!find_pair(env, &gather, (size_t)first, &pair)) return false;
  cargo->from = (size_t)first;
  cargo->count = (size_t)(end - first);
  size_t used = 0;
  for (size_t j = 0; j < cargo->count; j++) {
    int64_t at = cell(&gather.at, cargo->from + j);
    int64_t left = cell(&gather.length, cargo->from + j);
    int64_t count = cell(&gather.pieces, cargo->from + j);
    /* Of the iovecs used, j are first ones. */
    if (count < 0 || count > PIECES_MAX - (int64_t)(used - j)) {
      return refuse_range(env, "pieces", "at most 256 pieces a call");
    }
    cargo->first[j] = (uint16_t)used;
    if (count > 0 && !take_pieces(env, &gather, count, pair, &cargo->iovecs[used + 1], &left)) return false;
    if (!lies_inside(&gather.bytes, at, (int64_t)before, left)) {
      return refuse_range(env, "at", "offsets whose packet lies inside \"bytes\"");
    }
    cargo->iovecs[used].iov_base = gather.bytes.data + ((size_t)at - before);
    cargo->iovecs[used].iov_len = before + (size_t)left;
    used += 1 + (size_t)count;
    pair += 2 * (size_t)count;
  }
  cargo->first[cargo->count] = (uint16_t)used;
  return true;
}
