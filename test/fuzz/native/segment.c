/*
 * Fuzzes `segment`: a packet of any form, cut in several calls into slots of an arena behind it. What is cut must add up to the packet, and
 * every checksum be right. Input: size of a segment, entries a call, IDs, then the packet.
 */
#include "segment.h"

#include "node-api.h"

#include <stdlib.h>
#include <string.h>

enum { OUTER = 20, ENTRIES = 8, STRIDE = 160, CELLS = 9, PACKET_BYTES_MAX = 4000, NEXT = 8, IDS_USED = 7, HEADERS_MAX = 140 };

static uint32_t get(const uint8_t *bytes) { return (uint32_t)bytes[0] << 8 | bytes[1]; }

/* Header checksums, lengths, and the checksum of header and payload together. */
static void check_segment(const uint8_t *slot, size_t headers, const uint8_t *payload, size_t payload_bytes) {
  uint8_t whole[HEADERS_MAX + PACKET_BYTES_MAX];
  must(headers <= HEADERS_MAX, "headers fit their slot");
  memcpy(whole, slot, headers);
  memcpy(whole + headers, payload, payload_bytes);
  size_t length = headers + payload_bytes;
  const uint8_t *ip = whole + OUTER;
  must(get(whole + 2) == length, "the outer total length");
  must(slow_sum(whole, OUTER, 0) == 0xffff, "the outer checksum");
  bool is_ipv6 = ip[0] >> 4 == 6;
  size_t header = is_ipv6 ? 40 : (ip[0] & 15u) * 4;
  if (is_ipv6) {
    must(get(ip + 4) == length - OUTER - 40, "the payload length");
  } else {
    must(get(ip + 2) == length - OUTER, "the total length");
    must(slow_sum(ip, header, 0) == 0xffff, "the header checksum");
  }
  size_t transport = length - OUTER - header;
  uint32_t pseudo = slow_sum(ip + (is_ipv6 ? 8 : 12), is_ipv6 ? 32 : 8, (is_ipv6 ? ip[6] : ip[9]) + (uint32_t)transport);
  must(slow_sum(ip + header, transport, pseudo) == 0xffff, "the transport checksum");
}

static size_t check_call(const struct call *call, size_t from, size_t count, size_t next_byte) {
  const uint8_t *bytes = call->values[0].data;
  const int32_t *request = call->values[1].data;
  const int32_t *at = call->values[2].data;
  const int32_t *length = call->values[3].data;
  const int32_t *pieces = call->values[4].data;
  for (size_t i = from; i < from + count; i++) {
    const int32_t *pair = pieces + ENTRIES + 2 * i;
    must(at[i] == request[3] + (int32_t)i * STRIDE && pieces[i] == 1, "headers lie in their slot");
    must((size_t)pair[0] == next_byte && pair[1] > 0, "payload goes on where the last segment ended");
    must(pair[0] + pair[1] <= request[0] + request[1], "payload lies inside the packet");
    check_segment(bytes + at[i], (size_t)(length[i] - pair[1]), bytes + pair[0], (size_t)pair[1]);
    next_byte += (size_t)pair[1];
  }
  return next_byte;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct reader reader = {.data = data, .size = size};
  int32_t segment_size = read_u16(&reader);
  size_t per_call = 1 + read_byte(&reader) % ENTRIES;
  int32_t id_first = read_u16(&reader);
  int32_t id_count = 1 + read_byte(&reader);
  size_t packet = reader.size - reader.at < PACKET_BYTES_MAX ? reader.size - reader.at : PACKET_BYTES_MAX;
  struct call call = {.count = 7};
  call.values[0] = array_value(napi_uint8_array, OUTER + packet + ENTRIES * STRIDE);
  call.values[1] = array_value(napi_int32_array, CELLS);
  call.values[2] = array_value(napi_int32_array, ENTRIES);
  call.values[3] = array_value(napi_int32_array, ENTRIES);
  call.values[4] = array_value(napi_int32_array, ENTRIES + 2 * ENTRIES);
  uint8_t *bytes = call.values[0].data;
  bytes[0] = 0x45;
  memcpy(bytes + OUTER, reader.data + reader.at, packet);
  int32_t cells[CELLS] = {OUTER, (int32_t)packet, segment_size, OUTER + (int32_t)packet, STRIDE, id_first, id_count, 0, 0};
  memcpy(call.values[1].data, cells, sizeof cells);
  call.values[5] = number_value(0);
  call.values[6] = number_value((double)per_call);
  int32_t *request = call.values[1].data;
  size_t next_byte = 0;
  double made;
  /* No packet that is none is taken; one that is, to its end. */
  while (call_addon(segment, &call, &made) && made > 0) {
    must(made <= (double)per_call && request[IDS_USED] < id_count, "no more than asked for");
    if (next_byte == 0) next_byte = (size_t)((int32_t *)call.values[4].data)[ENTRIES];
    next_byte = check_call(&call, 0, (size_t)made, next_byte);
  }
  if (next_byte > 0) must(next_byte == OUTER + packet, "all of the packet is sent");
  for (size_t i = 0; i < 5; i++) free(call.values[i].data);
  return 0;
}
