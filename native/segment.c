#include "segment.h"

#include "arguments.h"
#include "checksum.h"

#include <string.h>

/* The cells of SEGMENT in src/io/native.ts. */
enum {
  PACKET_AT,
  PACKET_BYTES,
  SEGMENT_SIZE,
  ARENA_AT,
  ARENA_STRIDE,
  ID_FIRST,
  ID_COUNT,
  IDS_USED,
  NEXT,
  OUTER,
  REQUEST_CELLS
};

enum {
  IPV4_BYTES = 20,
  IPV6_BYTES = 40,
  TCP_BYTES = 20,
  UDP_BYTES = 8,
  TRANSPORT_MAX = 60,
  HEADERS_MAX = 60 + TRANSPORT_MAX,
  PROTOCOL_TCP = 6,
  PROTOCOL_UDP = 17,
  /* FIN | PSH, and CWR, of the byte of flags. */
  FLAGS_OF_LAST = 0x09,
  FLAGS_OF_FIRST = 0x80,
  /* An IPv4 packet, or an IPv6 one of the largest payload. */
  SUPER_PACKET_MAX = 65535 + IPV6_BYTES,
};

/* What all segments of one packet have in common. The sums leave out what differs: lengths, IDs, sequence number and flags. */
struct plan {
  const uint8_t *packet; /* the inner header; `outer` bytes of outer headers lie before it: IPv4, IPv4 and UDP, or IPv6 */
  uint32_t outer;
  uint32_t length;
  uint32_t transport; /* bytes of the IP header */
  uint32_t headers;   /* bytes of IP and transport header */
  uint32_t size;      /* payload bytes of every segment but the last */
  uint32_t count;
  uint32_t outer_sum;
  uint32_t inner_sum;
  uint32_t transport_sum;
  uint32_t sequence;
  uint32_t id;
  bool is_ipv6;
  bool is_tcp;
};

static uint32_t get_u16(const uint8_t *bytes) {
  return (uint32_t)bytes[0] << 8 | bytes[1];
}

static uint32_t get_u32(const uint8_t *bytes) {
  return get_u16(bytes) << 16 | get_u16(bytes + 2);
}

static void put_u16(uint8_t *bytes, uint32_t value) {
  bytes[0] = (uint8_t)(value >> 8);
  bytes[1] = (uint8_t)value;
}

static void put_u32(uint8_t *bytes, uint32_t value) {
  put_u16(bytes, value >> 16);
  put_u16(bytes + 2, value);
}

/* The sum of an IPv4 header without total length, ID and checksum. */
static uint32_t ipv4_sum(const uint8_t *header, size_t length) {
  return checksum_sum(header, 2) + checksum_sum(header + 6, 4) + checksum_sum(header + 12, length - 12);
}

/* Reads the headers once; false when this is no packet that can be cut. */
static bool read_headers(struct plan *plan) {
  const uint8_t *ip = plan->packet;
  if (plan->length < IPV4_BYTES) return false;
  plan->is_ipv6 = ip[0] >> 4 == 6;
  if (!plan->is_ipv6 && ip[0] >> 4 != 4) return false;
  /* Extension headers are left to the kernel, which does not hand over such packets uncut. */
  plan->transport = plan->is_ipv6 ? IPV6_BYTES : (ip[0] & 15u) * 4;
  if (plan->transport < IPV4_BYTES || plan->transport + UDP_BYTES > plan->length) return false;
  uint32_t protocol = plan->is_ipv6 ? ip[6] : ip[9];
  if (protocol != PROTOCOL_TCP && protocol != PROTOCOL_UDP) return false;
  plan->is_tcp = protocol == PROTOCOL_TCP;
  const uint8_t *transport = ip + plan->transport;
  uint32_t transport_bytes = UDP_BYTES;
  if (plan->is_tcp) {
    if (plan->transport + TCP_BYTES > plan->length) return false;
    transport_bytes = (uint32_t)(transport[12] >> 4) * 4;
    if (transport_bytes < TCP_BYTES) return false;
    plan->sequence = get_u32(transport + 4);
  }
  plan->headers = plan->transport + transport_bytes;
  if (plan->headers >= plan->length) return false;
  plan->count = (plan->length - plan->headers + plan->size - 1) / plan->size;

  uint8_t fixed[TRANSPORT_MAX];
  memcpy(fixed, transport, transport_bytes);
  if (plan->is_tcp) {
    memset(fixed + 4, 0, 4);
    memset(fixed + 12, 0, 2);
    memset(fixed + 16, 0, 2);
  } else {
    memset(fixed + 4, 0, 4);
  }
  const uint8_t *addresses = plan->is_ipv6 ? ip + 8 : ip + 12;
  plan->transport_sum = protocol + checksum_sum(addresses, plan->is_ipv6 ? 32 : 8) + checksum_sum(fixed, transport_bytes);
  plan->outer_sum = plan->outer == IPV6_BYTES ? 0 : ipv4_sum(ip - plan->outer, IPV4_BYTES);
  plan->inner_sum = plan->is_ipv6 ? 0 : ipv4_sum(ip, plan->transport);
  plan->id = get_u16(ip + 4);
  return true;
}

/* As tcp_gso_segment (net/ipv4/tcp_offload.c): FIN and PSH on the last segment only, CWR on the first only. */
static void finish_tcp(const struct plan *plan, uint8_t *tcp, uint32_t index, uint32_t sum) {
  uint32_t sequence = plan->sequence + index * plan->size;
  put_u32(tcp + 4, sequence);
  if (index + 1 < plan->count) tcp[13] &= (uint8_t)~FLAGS_OF_LAST;
  if (index > 0) tcp[13] &= (uint8_t)~FLAGS_OF_FIRST;
  sum += (sequence >> 16) + (sequence & 0xffff) + get_u16(tcp + 12);
  put_u16(tcp + 16, ~(uint32_t)checksum_fold(sum));
}

static void finish_udp(uint8_t *udp, uint32_t length, uint32_t sum) {
  put_u16(udp + 4, length);
  uint32_t check = ~(uint32_t)checksum_fold(sum + length) & 0xffff;
  /* 0 would say that there is none (RFC 768). */
  put_u16(udp + 6, check == 0 ? 0xffff : check);
}

/* All headers of segment `index`, whose payload is `payload_bytes` at `payload`. */
static void write_headers(const struct plan *plan, uint8_t *outer, uint32_t index, uint32_t outer_id, const uint8_t *payload,
                          uint32_t payload_bytes) {
  uint8_t *ip = outer + plan->outer;
  uint32_t inner_bytes = plan->headers + payload_bytes;
  uint32_t total = plan->outer + inner_bytes;
  /* memmove: nobody keeps a caller from laying his arena over the packet, and then only his segments suffer. */
  memmove(outer, plan->packet - plan->outer, plan->outer + plan->headers);
  if (plan->outer == IPV6_BYTES) {
    put_u16(outer + 4, inner_bytes);
  } else {
    put_u16(outer + 2, total);
    put_u16(outer + 4, outer_id);
    put_u16(outer + 10, ~(uint32_t)checksum_fold(plan->outer_sum + total + outer_id));
    /* Its checksum stays what the template has: none. */
    if (plan->outer > IPV4_BYTES) put_u16(outer + IPV4_BYTES + 4, total - IPV4_BYTES);
  }
  if (plan->is_ipv6) {
    put_u16(ip + 4, inner_bytes - IPV6_BYTES);
  } else {
    /* One more each, as inet_gso_segment (net/ipv4/af_inet.c). */
    uint32_t id = (plan->id + index) & 0xffff;
    put_u16(ip + 2, inner_bytes);
    put_u16(ip + 4, id);
    put_u16(ip + 10, ~(uint32_t)checksum_fold(plan->inner_sum + inner_bytes + id));
  }
  uint8_t *transport = ip + plan->transport;
  uint32_t transport_bytes = inner_bytes - plan->transport;
  uint32_t sum = plan->transport_sum + transport_bytes + checksum_sum(payload, payload_bytes);
  if (plan->is_tcp) {
    finish_tcp(plan, transport, index, sum);
  } else {
    finish_udp(transport, transport_bytes, sum);
  }
}

struct target {
  struct bytes bytes;
  struct column request;
  int64_t cells[REQUEST_CELLS];
  int32_t *at;
  int32_t *length;
  int32_t *pieces;
  size_t capacity; /* where the pairs begin */
  size_t pair;     /* cell of the first pair to write */
  size_t from;
  size_t to;
};

static bool take_columns(napi_env env, const napi_value values[], struct target *target) {
  struct column at;
  struct column length;
  struct column pieces;
  int from;
  int to;
  if (!take_int32_column(env, values[2], "at", &at)) return false;
  if (!take_int32_column(env, values[3], "length", &length)) return false;
  if (!take_int32_column(env, values[4], "pieces", &pieces)) return false;
  if (!take_int(env, values[5], "from", 0, INT32_MAX, &from)) return false;
  if (!take_int(env, values[6], "to", 0, INT32_MAX, &to)) return false;
  if (to < from) return refuse_range(env, "to", "at least \"from\"");
  if (to - from > PACKETS_MAX) return refuse_range(env, "to", "at most 256 beyond \"from\"");
  target->from = (size_t)from;
  target->to = (size_t)to;
  target->capacity = at.count;
  if (target->to > at.count) return refuse_range(env, "at", "at least \"to\" long");
  if (target->to > length.count) return refuse_range(env, "length", "at least \"to\" long");
  if (at.count > pieces.count) return refuse_range(env, "pieces", "at least as long as \"at\"");
  size_t pair = at.count;
  for (size_t i = 0; i < target->from; i++) {
    int64_t count = cell(&pieces, i);
    if (count < 0 || count > PACKETS_MAX) return refuse_range(env, "pieces", "0 to 256 pieces a packet");
    pair += 2 * (size_t)count;
  }
  if (pair + 2 * (target->to - target->from) > pieces.count) return refuse_range(env, "pieces", "long enough for all pairs");
  target->pair = pair;
  target->at = (int32_t *)at.data;
  target->length = (int32_t *)length.data;
  target->pieces = (int32_t *)pieces.data;
  return true;
}

static bool take_request(napi_env env, const napi_value values[], struct target *target, struct plan *plan) {
  int64_t *cells = target->cells;
  if (!take_bytes(env, values[0], "bytes", &target->bytes)) return false;
  if (!take_int32_column(env, values[1], "request", &target->request)) return false;
  if (target->request.count < REQUEST_CELLS) return refuse_range(env, "request", "10 cells long");
  for (size_t i = 0; i < REQUEST_CELLS; i++) cells[i] = cell(&target->request, i);
  int64_t end = target->bytes.count < INT32_MAX ? (int64_t)target->bytes.count : INT32_MAX;
  if (cells[OUTER] != IPV4_BYTES && cells[OUTER] != IPV4_BYTES + UDP_BYTES && cells[OUTER] != IPV6_BYTES) {
    return refuse_range(env, "request", "20, 28 or 40 bytes of outer headers");
  }
  if (cells[PACKET_AT] < cells[OUTER] || cells[PACKET_BYTES] < 0 || cells[PACKET_BYTES] > SUPER_PACKET_MAX ||
      cells[PACKET_AT] + cells[PACKET_BYTES] > end) {
    return refuse_range(env, "request", "a packet that lies inside \"bytes\" behind its outer headers");
  }
  if (cells[SEGMENT_SIZE] < 1 || cells[SEGMENT_SIZE] > UINT16_MAX) return refuse_range(env, "request", "a segment size from 1 to 65535");
  if (cells[ID_FIRST] < 0 || cells[ID_COUNT] < 1 || cells[ID_FIRST] + cells[ID_COUNT] > 65536 || cells[IDS_USED] < 0) {
    return refuse_range(env, "request", "a block of IDs");
  }
  plan->packet = target->bytes.data + cells[PACKET_AT];
  plan->outer = (uint32_t)cells[OUTER];
  plan->length = (uint32_t)cells[PACKET_BYTES];
  plan->size = (uint32_t)cells[SEGMENT_SIZE];
  if (!read_headers(plan)) return refuse_range(env, "request", "a TCP or UDP packet with headers and payload");
  if (cells[NEXT] < 0 || cells[NEXT] > plan->count) return refuse_range(env, "request", "a segment of the packet");
  /* Slots go upwards, so all lie inside when the first and the last do. */
  int64_t least = cells[OUTER] + (int64_t)plan->headers;
  if (cells[ARENA_AT] < 0 || cells[ARENA_STRIDE] < least ||
      (target->to > 0 && cells[ARENA_AT] + ((int64_t)target->to - 1) * cells[ARENA_STRIDE] + least > end)) {
    return refuse_range(env, "request", "slots for headers that lie inside \"bytes\"");
  }
  return true;
}

static size_t write_segments(const struct target *target, const struct plan *plan) {
  const int64_t *cells = target->cells;
  uint32_t index = (uint32_t)cells[NEXT];
  int64_t used = cells[IDS_USED];
  size_t entry = target->from;
  size_t pair = target->pair;
  for (; entry < target->to && index < plan->count; entry++, index++, pair += 2) {
    size_t arena = (size_t)(cells[ARENA_AT] + (int64_t)entry * cells[ARENA_STRIDE]);
    uint32_t begin = plan->headers + index * plan->size;
    uint32_t left = plan->length - begin;
    uint32_t payload = left < plan->size ? left : plan->size;
    used = (used + 1) % cells[ID_COUNT];
    write_headers(plan, target->bytes.data + arena, index, (uint32_t)(cells[ID_FIRST] + used), plan->packet + begin, payload);
    target->at[entry] = (int32_t)arena;
    target->length[entry] = (int32_t)(plan->outer + plan->headers + payload);
    target->pieces[entry] = 1;
    target->pieces[pair] = (int32_t)cells[PACKET_AT] + (int32_t)begin;
    target->pieces[pair + 1] = (int32_t)payload;
  }
  int32_t *request = (int32_t *)target->request.data;
  request[IDS_USED] = (int32_t)used;
  request[NEXT] = (int32_t)index;
  return entry - target->from;
}

napi_value segment(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  struct target target = {0};
  struct plan plan = {0};
  if (!take_arguments(env, info, 7, values)) return NULL;
  if (!take_columns(env, values, &target)) return NULL;
  if (!take_request(env, values, &target, &plan)) return NULL;
  return give_number(env, (int64_t)write_segments(&target, &plan));
}
