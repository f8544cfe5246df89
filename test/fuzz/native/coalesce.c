/*
 * Fuzzes `coalesce` with batches of packets that follow one another as those of a flow may. Between any two packets lie bytes that nobody
 * may touch. Input: MTU, features, then for each packet what is done to it, its length and bytes.
 */
#include "coalesce.h"

#include "node-api.h"

#include <stdlib.h>
#include <string.h>

enum {
  PACKETS = 24,
  PIECES = 256,
  PACKET_BYTES_MAX = 700,
  VNET = 10,
  GUARD = 16,
  SLOT = GUARD + VNET + PACKET_BYTES_MAX,
  GUARD_BYTE = 0xa5,
  /* What is done to a packet, by bits. */
  FOLLOWS = 1, /* it is the one before, one further in its flow */
  SEALED = 2,  /* its lengths and IPv4 checksum are right */
  SUMMED = 4,  /* its transport checksum is right … */
  LEFT = 8,    /* … or only the sum of the pseudo-header */
};

static void put(uint8_t *bytes, uint32_t value) {
  bytes[0] = (uint8_t)(value >> 8);
  bytes[1] = (uint8_t)value;
}

static size_t transport_of(const uint8_t *ip, size_t length) {
  if (length < 20) return 0;
  size_t header = ip[0] >> 4 == 6 ? 40 : (ip[0] & 15u) * 4;
  return header < 20 || header + 8 > length ? 0 : header;
}

static uint8_t protocol_of(const uint8_t *ip) { return ip[0] >> 4 == 6 ? ip[6] : ip[9]; }

/* One further: sequence number and ID of the one before go on. */
static size_t follow(uint8_t *ip, const uint8_t *before, size_t length) {
  memcpy(ip, before, length);
  size_t transport = transport_of(ip, length);
  if (transport == 0) return length;
  if (ip[0] >> 4 == 4) put(ip + 4, (uint32_t)(ip[4] << 8 | ip[5]) + 1);
  if (protocol_of(ip) != 6 || transport + 20 > length) return length;
  uint8_t *tcp = ip + transport;
  size_t payload = length - transport - (size_t)(tcp[12] >> 4) * 4;
  uint32_t sequence = (uint32_t)tcp[4] << 24 | (uint32_t)tcp[5] << 16 | (uint32_t)tcp[6] << 8 | tcp[7];
  sequence += (uint32_t)payload;
  put(tcp + 4, sequence >> 16);
  put(tcp + 6, sequence & 0xffff);
  return length;
}

static void seal(uint8_t *ip, size_t length, uint8_t how) {
  if ((how & SEALED) == 0 || length < 20) return;
  size_t transport = transport_of(ip, length);
  if (ip[0] >> 4 == 6) {
    if (length >= 40) put(ip + 4, (uint32_t)length - 40);
  } else {
    put(ip + 2, (uint32_t)length);
    put(ip + 10, 0);
    size_t header = (ip[0] & 15u) * 4;
    if (header <= length) put(ip + 10, 0xffffU ^ slow_sum(ip, header, 0));
  }
  if (transport == 0 || (protocol_of(ip) != 6 && protocol_of(ip) != 17)) return;
  size_t check = transport + (protocol_of(ip) == 6 ? 16 : 6);
  if (check + 2 > length) return;
  if (protocol_of(ip) == 17) put(ip + transport + 4, (uint32_t)(length - transport));
  size_t addresses = ip[0] >> 4 == 6 ? 8 : 12;
  uint32_t start = protocol_of(ip) + (uint32_t)(length - transport);
  uint16_t pseudo = slow_sum(ip + addresses, ip[0] >> 4 == 6 ? 32 : 8, start);
  if ((how & SUMMED) != 0) {
    put(ip + check, 0);
    put(ip + check, 0xffffU ^ slow_sum(ip + transport, length - transport, pseudo));
  } else if ((how & LEFT) != 0) {
    put(ip + check, pseudo);
  }
}

struct columns {
  struct value bytes, at, length, peer, packets, inner, pieces;
};

static size_t fill(struct reader *reader, struct columns *columns, int64_t *total) {
  uint8_t *bytes = columns->bytes.data;
  int32_t *at = columns->at.data;
  int32_t *length = columns->length.data;
  memset(bytes, GUARD_BYTE, columns->bytes.count);
  size_t count = 0;
  for (; count < PACKETS && reader->at < reader->size; count++) {
    uint8_t how = read_byte(reader);
    uint8_t *ip = bytes + count * SLOT + GUARD + VNET;
    size_t size = read_u16(reader) % (PACKET_BYTES_MAX + 1);
    if ((how & FOLLOWS) != 0 && count > 0) {
      size = follow(ip, ip - SLOT, (size_t)length[count - 1]);
    } else {
      for (size_t i = 0; i < size; i++) ip[i] = read_byte(reader);
    }
    seal(ip, size, how);
    at[count] = (int32_t)(ip - bytes);
    length[count] = (int32_t)size;
    ((int32_t *)columns->peer.data)[count] = (int32_t)(how >> 6);
    ((int32_t *)columns->packets.data)[count] = 1;
    ((int32_t *)columns->inner.data)[count] = (int32_t)size;
    *total += (int64_t)size;
  }
  return count;
}

static bool is_inside(const int32_t *before_at, const int32_t *before_length, size_t count, int32_t at, int32_t length) {
  for (size_t i = 0; i < count; i++) {
    if (at >= before_at[i] && at + length <= before_at[i] + before_length[i]) return true;
  }
  return false;
}

static void check(const struct columns *columns, const int32_t *at_before, const int32_t *length_before, size_t count, int64_t total,
                  int64_t result) {
  const int32_t *at = columns->at.data;
  const int32_t *length = columns->length.data;
  const int32_t *pieces = columns->pieces.data;
  size_t kept = (size_t)(result & 0xffff);
  size_t left = kept + (size_t)(result >> 16);
  must(left <= count, "no more entries than before");
  int64_t packets = 0, inner = 0;
  size_t pair = PACKETS;
  for (size_t i = 0; i < left; i++) {
    packets += ((const int32_t *)columns->packets.data)[i];
    inner += ((const int32_t *)columns->inner.data)[i];
    if (i >= kept) continue;
    int64_t first = length[i];
    must(pieces[i] >= 0 && pair + 2 * (size_t)pieces[i] <= PACKETS + 2 * PIECES, "pairs inside the column");
    for (int32_t k = 0; k < pieces[i]; k++, pair += 2) {
      must(is_inside(at_before, length_before, count, pieces[pair], pieces[pair + 1]), "a piece lies inside a packet");
      first -= pieces[pair + 1];
    }
    must(first >= 0 && is_inside(at_before, length_before, count, at[i], (int32_t)first), "an entry lies inside its packet");
    must(length[i] <= 65535, "no entry is larger than an IPv4 packet");
  }
  must(packets == (int64_t)count && inner == total, "packets and bytes are the sums of what was given");
  const uint8_t *bytes = columns->bytes.data;
  for (size_t i = 0; i < PACKETS; i++) {
    for (size_t k = 0; k < GUARD; k++) must(bytes[i * SLOT + k] == GUARD_BYTE, "what lies between packets is untouched");
    size_t end = i < count ? (size_t)at_before[i] + (size_t)length_before[i] : (i + 1) * SLOT;
    for (; end < (i + 1) * SLOT; end++) must(bytes[end] == GUARD_BYTE, "what lies behind a packet is untouched");
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct reader reader = {.data = data, .size = size};
  struct columns columns = {
      .bytes = array_value(napi_uint8_array, PACKETS * SLOT),
      .at = array_value(napi_int32_array, PACKETS),
      .length = array_value(napi_int32_array, PACKETS),
      .peer = array_value(napi_int32_array, PACKETS),
      .packets = array_value(napi_int32_array, PACKETS),
      .inner = array_value(napi_int32_array, PACKETS),
      .pieces = array_value(napi_int32_array, PACKETS + 2 * PIECES),
  };
  int32_t mtu = 68 + read_u16(&reader) % 1500;
  int32_t features = read_byte(&reader) & 1;
  int64_t total = 0;
  size_t count = fill(&reader, &columns, &total);
  int32_t at[PACKETS], length[PACKETS];
  memcpy(at, columns.at.data, sizeof at);
  memcpy(length, columns.length.data, sizeof length);
  struct call call = {.count = 10,
                      .values = {columns.bytes, columns.at, columns.length, columns.peer, columns.packets, columns.inner, columns.pieces,
                                 number_value((double)count), number_value(mtu), number_value(features)}};
  double result;
  must(call_addon(coalesce, &call, &result), "a good batch is taken");
  check(&columns, at, length, count, total, (int64_t)result);
  for (size_t i = 0; i < 7; i++) free(call.values[i].data);
  return 0;
}
