/*
 * Packets that follow one another in a flow become one entry, which the kernel takes through its stack once and cuts again where it
 * must. The rules are those of the kernel's GRO (inet_gro_receive, ipv6_gro_receive, tcp_gro_receive, udp_gro_receive_segment), so that
 * cutting gives the very packets back that came: a checksum is verified before a packet is merged, because the kernel would give
 * each segment a right one, whatever the bytes.
 *
 * Nothing waits for the next batch, so nothing is ever delayed. Entries keep the order of their first packets, and a packet that cannot
 * be merged closes the group of its flow: packets of a flow never overtake one another.
 */
#include "coalesce.h"

#include "arguments.h"
#include "inner.h"
#include "packets.h"

#include <linux/virtio_net.h>
#include <string.h>

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5 /* Linux 6.2; the headers may be older than the kernel */
#endif

enum {
  /* COALESCE of src/io/native.ts. */
  FEATURE_UDP = 1,
  FEATURES_ALL = 1,
  /* Flows of one batch that are merged at a time. With more, each has so few packets in a batch that merging would gain little. */
  GROUPS_MAX = 16,
  /* The IPv4 maximum, and the most that a TUN device takes. */
  MERGED_BYTES_MAX = 65535,
  /* UDP_GRO_CNT_MAX of net/ipv4/udp_offload.c; the sending side takes no more either (UDP_MAX_SEGMENTS). */
  DATAGRAMS_MAX = 64,
  /* The result is one number: entries kept, and from this bit on, entries dropped. */
  DROPPED_SHIFT = 16,
  MTU_MIN = 68,
  NO_PACKET = -1,
};

/* These end a group, or stand alone: what they mean belongs to one packet (or, of FIN and PSH, to the last of several). */
enum {
  TCP_ENDS = TCP_FIN | TCP_PSH,
  TCP_ALONE = TCP_SYN | TCP_RST | TCP_URG | TCP_CWR,
};

/* One entry as it was handed in, and, where it is the first of a group, the group. */
struct packet {
  struct inner inner;
  int32_t at;
  int32_t length;
  int32_t peer;
  int32_t packets;
  int32_t inner_bytes;
  int16_t next;          /* the next packet of its group, or NO_PACKET */
  int16_t tail;          /* of a group: its last packet */
  uint16_t members;      /* of a group: itself included */
  uint16_t segment;      /* of a group: payload bytes of all its packets but the last */
  uint32_t total;        /* of a group: bytes of the merged packet */
  bool is_merged;        /* it went into another's group */
  bool is_dropped;
  bool is_id_fixed;      /* of a group: all its packets have one ID, which DF allows */
};

struct batch {
  struct packet packets[PACKETS_MAX];
  size_t count;
  uint32_t mtu;
  uint32_t features;
  size_t pairs_left;
  int16_t open[GROUPS_MAX]; /* first packets of the open groups, oldest first */
  size_t open_count;
};

static void close_group(struct batch *batch, size_t slot) {
  batch->open_count--;
  memmove(&batch->open[slot], &batch->open[slot + 1], (batch->open_count - slot) * sizeof batch->open[0]);
}

static bool is_same_pair(const struct packet *a, const struct packet *b) {
  if (a->inner.version != b->inner.version) return false;
  size_t from = a->inner.version == 4 ? 12 : 8;
  return memcmp(a->inner.ip + from, b->inner.ip + from, a->inner.version == 4 ? 8 : 32) == 0;
}

static bool is_same_flow(const struct packet *a, const struct packet *b) {
  return a->inner.protocol == b->inner.protocol && is_same_pair(a, b) &&
         memcmp(a->inner.ip + a->inner.header, b->inner.ip + b->inner.header, 4) == 0;
}

/* A fragment may belong to any flow between its two hosts. */
static void close_groups_between(struct batch *batch, const struct packet *packet) {
  for (size_t slot = batch->open_count; slot > 0; slot--) {
    if (is_same_pair(&batch->packets[batch->open[slot - 1]], packet)) close_group(batch, slot - 1);
  }
}

static size_t find_group(const struct batch *batch, const struct packet *packet) {
  for (size_t slot = 0; slot < batch->open_count; slot++) {
    if (is_same_flow(&batch->packets[batch->open[slot]], packet)) return slot;
  }
  return GROUPS_MAX;
}

static uint8_t tcp_flags(const struct inner *inner) { return inner->ip[inner->header + 13]; }

/* Whether packets may be merged into this one. */
static bool may_begin(const struct batch *batch, const struct packet *packet) {
  const struct inner *inner = &packet->inner;
  if (inner->payload == 0 || inner->length > batch->mtu) return false;
  if (inner->version == 4 && inner->header != 20) return false;
  if (inner->protocol == PROTOCOL_TCP) {
    bool is_whole = inner->headers == inner->header + (uint32_t)(inner->ip[inner->header + 12] >> 4) * 4;
    return is_whole && (tcp_flags(inner) & (TCP_ALONE | TCP_ENDS)) == 0;
  }
  bool is_whole = get_u16(inner->ip + inner->header + 4) == inner->length - inner->header;
  return (batch->features & FEATURE_UDP) != 0 && is_whole && inner->checksum != CHECKSUM_NONE;
}

/* All that each packet of a group has in common besides its flow, and, in IPv4, IDs that go on by one. */
static bool continues_ip(struct packet *head, const struct packet *packet) {
  const uint8_t *a = head->inner.ip;
  const uint8_t *b = packet->inner.ip;
  /* Traffic class and flow label; hop limit. */
  if (head->inner.version == 6) return memcmp(a, b, 4) == 0 && a[7] == b[7];
  /* Version and length of the header, TOS with ECN; the fragment word with DF; TTL. */
  if (memcmp(a, b, 2) != 0 || memcmp(a + 6, b + 6, 2) != 0 || a[8] != b[8]) return false;
  uint16_t distance = (uint16_t)(get_u16(b + 4) - get_u16(a + 4));
  /* With DF an ID means nothing (RFC 6864 s4.1), and many senders leave it at one value. The second packet tells, as in inet_gro_flush. */
  bool has_df = (b[6] & 0x40) != 0;
  bool is_fixed = head->members == 1 ? has_df && distance == 0 : head->is_id_fixed;
  if (distance != (is_fixed ? 0 : head->members)) return false;
  head->is_id_fixed = is_fixed;
  return true;
}

static bool continues_tcp(const struct packet *head, const struct packet *packet) {
  const uint8_t *a = head->inner.ip + head->inner.header;
  const uint8_t *b = packet->inner.ip + packet->inner.header;
  if (get_u32(b + 4) != get_u32(a + 4) + (head->total - head->inner.headers)) return false;
  /* Acknowledgement, data offset, then flags but those that end a group, window, urgent pointer, options. CWR never gets here. */
  if (memcmp(a + 8, b + 8, 5) != 0 || ((a[13] ^ b[13]) & ~TCP_ENDS) != 0) return false;
  return memcmp(a + 14, b + 14, 2) == 0 && memcmp(a + 18, b + 18, head->inner.headers - head->inner.header - 18) == 0;
}

static bool continues_udp(const struct packet *head, const struct packet *packet) {
  const struct inner *inner = &packet->inner;
  return head->members < DATAGRAMS_MAX && inner->checksum != CHECKSUM_NONE &&
         get_u16(inner->ip + inner->header + 4) == inner->length - inner->header;
}

/* Whether `packet`, of the flow of `head`, is the next one of its group. The order is from cheap to dear: the sums come last. */
static bool continues(struct batch *batch, struct packet *head, struct packet *packet) {
  uint32_t payload = packet->inner.payload;
  /* Each packet is counted for the peer that it came from. */
  if (packet->peer != head->peer) return false;
  if (payload == 0 || payload > head->segment || batch->pairs_left == 0) return false;
  if (packet->inner.headers != head->inner.headers || head->total + payload > MERGED_BYTES_MAX) return false;
  bool is_next = head->inner.protocol == PROTOCOL_TCP ? continues_tcp(head, packet) : continues_udp(head, packet);
  if (!is_next || !continues_ip(head, packet)) return false;
  inner_verify(&head->inner);
  inner_verify(&packet->inner);
  return head->inner.checksum != CHECKSUM_WRONG && packet->inner.checksum != CHECKSUM_WRONG;
}

static bool ends_group(const struct packet *head, const struct packet *packet) {
  if (packet->inner.payload < head->segment) return true;
  return packet->inner.protocol == PROTOCOL_TCP && (tcp_flags(&packet->inner) & TCP_ENDS) != 0;
}

static void merge(struct batch *batch, size_t slot, int16_t index) {
  struct packet *head = &batch->packets[batch->open[slot]];
  struct packet *packet = &batch->packets[index];
  batch->packets[head->tail].next = index;
  head->tail = index;
  head->members++;
  head->total += packet->inner.payload;
  head->packets += packet->packets;
  head->inner_bytes += packet->inner_bytes;
  packet->is_merged = true;
  batch->pairs_left--;
  if (ends_group(head, packet)) close_group(batch, slot);
}

static void begin_group(struct batch *batch, int16_t index) {
  struct packet *packet = &batch->packets[index];
  packet->segment = (uint16_t)packet->inner.payload;
  if (batch->open_count == GROUPS_MAX) close_group(batch, 0);
  batch->open[batch->open_count++] = index;
}

static void sort_in(struct batch *batch, int16_t index) {
  struct packet *packet = &batch->packets[index];
  if (packet->inner.kind == INNER_OPAQUE || packet->is_dropped) return;
  if (packet->inner.kind == INNER_PORTLESS) {
    close_groups_between(batch, packet);
    return;
  }
  size_t slot = find_group(batch, packet);
  if (slot < GROUPS_MAX) {
    if (continues(batch, &batch->packets[batch->open[slot]], packet)) {
      merge(batch, slot, index);
      return;
    }
    close_group(batch, slot);
  }
  if (may_begin(batch, packet)) begin_group(batch, index);
}

/* Whether the kernel can cut this TCP packet: it has a payload behind whole headers, and no flag that would be repeated in each segment. */
static bool may_be_cut(const struct inner *inner, uint32_t mtu) {
  if (inner->protocol != PROTOCOL_TCP || inner->payload == 0 || inner->headers >= mtu) return false;
  uint32_t data_offset = (uint32_t)(inner->ip[inner->header + 12] >> 4) * 4;
  return inner->headers == inner->header + data_offset && (tcp_flags(inner) & (TCP_SYN | TCP_RST | TCP_URG)) == 0;
}

static uint8_t tcp_gso_type(const struct inner *inner) {
  uint8_t type = inner->version == 4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6;
  /* With the ECN bit the kernel leaves CWR in the first segment only (RFC 3168 s6.1.2: once for each reduction). */
  return (tcp_flags(inner) & TCP_CWR) != 0 ? type | VIRTIO_NET_HDR_GSO_ECN : type;
}

/* The vnet header of a packet by itself. One above the MTU is several that GRO has merged: cut again, and dropped if its sum is wrong. */
static void finish_alone(struct packet *packet, uint32_t mtu) {
  struct inner *inner = &packet->inner;
  vnet_write(inner->ip, NULL);
  if (inner->kind != INNER_FLOW) return;
  bool is_cut = inner->length > mtu && may_be_cut(inner, mtu);
  if (is_cut) inner_verify(inner);
  packet->is_dropped = is_cut && inner->checksum == CHECKSUM_WRONG;
  if (packet->is_dropped || (!is_cut && inner->checksum != CHECKSUM_PARTIAL)) return;
  inner_put_pseudo_sum(inner);
  struct vnet vnet = {
      .checksum_start = (uint16_t)inner->header,
      .checksum_offset = (uint16_t)(inner_checksum_offset(inner) - inner->header),
  };
  if (is_cut) {
    vnet.gso_type = tcp_gso_type(inner);
    vnet.header_length = (uint16_t)inner->headers;
    vnet.gso_size = (uint16_t)(mtu - inner->headers);
  }
  vnet_write(inner->ip, &vnet);
}

/* Makes the first packet of a group the head of the merged one. */
static void finish_group(struct batch *batch, struct packet *head) {
  struct inner *inner = &head->inner;
  bool is_tcp = inner->protocol == PROTOCOL_TCP;
  if (is_tcp) inner->ip[inner->header + 13] |= tcp_flags(&batch->packets[head->tail].inner) & TCP_ENDS;
  inner_set_length(inner, head->total);
  inner_put_pseudo_sum(inner);
  struct vnet vnet = {
      .gso_type = is_tcp ? tcp_gso_type(inner) : VIRTIO_NET_HDR_GSO_UDP_L4,
      .header_length = (uint16_t)inner->headers,
      .gso_size = head->segment,
      .checksum_start = (uint16_t)inner->header,
      .checksum_offset = (uint16_t)(inner_checksum_offset(inner) - inner->header),
  };
  vnet_write(inner->ip, &vnet);
}

/* The columns that the caller sees, each checked to hold what is written. */
struct columns {
  struct bytes bytes;
  struct column at;
  struct column length;
  struct column peer;
  struct column packets;
  struct column inner_bytes;
  struct column pieces;
};

static void put(const struct column *column, size_t index, int64_t value) {
  ((int32_t *)column->data)[index] = (int32_t)value;
}

static void put_entry(const struct columns *columns, size_t index, const struct packet *packet, int64_t length, int64_t pieces) {
  put(&columns->at, index, packet->at);
  put(&columns->length, index, length);
  put(&columns->peer, index, packet->peer);
  put(&columns->packets, index, packet->packets);
  put(&columns->inner_bytes, index, packet->inner_bytes);
  put(&columns->pieces, index, pieces);
}

/* Writes the kept entries in the order of their first packets, the dropped ones behind them. Returns both numbers in one. */
static int64_t write_entries(struct batch *batch, const struct columns *columns) {
  size_t kept = 0;
  size_t dropped = 0;
  size_t pair = columns->at.count;
  for (size_t i = 0; i < batch->count; i++) {
    struct packet *packet = &batch->packets[i];
    if (packet->is_dropped) dropped++;
    if (packet->is_dropped || packet->is_merged) continue;
    if (packet->members > 1) finish_group(batch, packet);
    put_entry(columns, kept++, packet, packet->total, packet->members - 1);
    for (int16_t next = packet->next; next != NO_PACKET; next = batch->packets[next].next) {
      const struct packet *member = &batch->packets[next];
      put(&columns->pieces, pair, member->at + (int64_t)member->inner.headers);
      put(&columns->pieces, pair + 1, (int64_t)member->inner.payload);
      pair += 2;
    }
  }
  size_t index = kept;
  for (size_t i = 0; i < batch->count && dropped > 0; i++) {
    const struct packet *packet = &batch->packets[i];
    if (packet->is_dropped) put_entry(columns, index++, packet, packet->length, 0);
  }
  return (int64_t)(dropped << DROPPED_SHIFT | kept);
}

static bool take_columns(napi_env env, const napi_value values[], struct columns *columns) {
  return take_bytes(env, values[0], "bytes", &columns->bytes) && take_int32_column(env, values[1], "at", &columns->at) &&
         take_int32_column(env, values[2], "length", &columns->length) &&
         take_int32_column(env, values[3], "peer", &columns->peer) &&
         take_int32_column(env, values[4], "packets", &columns->packets) &&
         take_int32_column(env, values[5], "innerBytes", &columns->inner_bytes) &&
         take_int32_column(env, values[6], "pieces", &columns->pieces);
}

static bool are_long_enough(napi_env env, const struct columns *columns, size_t count) {
  if (columns->at.count < count) return refuse_range(env, "at", "at least \"count\" long");
  if (columns->length.count < count) return refuse_range(env, "length", "at least \"count\" long");
  if (columns->peer.count < count) return refuse_range(env, "peer", "at least \"count\" long");
  if (columns->packets.count < count) return refuse_range(env, "packets", "at least \"count\" long");
  if (columns->inner_bytes.count < count) return refuse_range(env, "innerBytes", "at least \"count\" long");
  if (columns->pieces.count < columns->at.count) return refuse_range(env, "pieces", "at least as long as \"at\"");
  return true;
}

/* Reads each cell once; what is checked here is what is used. */
static bool take_batch(napi_env env, const struct columns *columns, struct batch *batch) {
  for (size_t i = 0; i < batch->count; i++) {
    struct packet *packet = &batch->packets[i];
    int64_t at = cell(&columns->at, i);
    int64_t length = cell(&columns->length, i);
    if (at < VNET_BYTES || at > (int64_t)columns->bytes.count) {
      return refuse_range(env, "at", "offsets inside \"bytes\" with room for a vnet header before them");
    }
    if (length < 0 || length > ROOM_MAX || at + length > (int64_t)columns->bytes.count) {
      return refuse_range(env, "length", "of packets that lie inside \"bytes\"");
    }
    inner_parse(&packet->inner, columns->bytes.data + at, (uint32_t)length);
    packet->at = (int32_t)at;
    packet->length = (int32_t)length;
    packet->peer = (int32_t)cell(&columns->peer, i);
    packet->packets = (int32_t)cell(&columns->packets, i);
    packet->inner_bytes = (int32_t)cell(&columns->inner_bytes, i);
    packet->next = NO_PACKET;
    packet->tail = (int16_t)i;
    packet->members = 1;
    packet->segment = 0;
    packet->total = (uint32_t)length;
    packet->is_merged = false;
    packet->is_dropped = false;
    packet->is_id_fixed = false;
  }
  return true;
}

napi_value coalesce(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  struct columns columns;
  struct batch batch;
  int count;
  int mtu;
  int features;
  if (!take_arguments(env, info, 10, values)) return NULL;
  if (!take_columns(env, values, &columns)) return NULL;
  if (!take_int(env, values[7], "count", 0, PACKETS_MAX, &count)) return NULL;
  if (!take_int(env, values[8], "mtu", MTU_MIN, INT32_MAX, &mtu)) return NULL;
  if (!take_int(env, values[9], "features", 0, FEATURES_ALL, &features)) return NULL;
  if (!are_long_enough(env, &columns, (size_t)count)) return NULL;
  batch.count = (size_t)count;
  batch.mtu = (uint32_t)mtu;
  batch.features = (uint32_t)features;
  batch.pairs_left = (columns.pieces.count - columns.at.count) / 2;
  batch.open_count = 0;
  if (!take_batch(env, &columns, &batch)) return NULL;
  for (size_t i = 0; i < batch.count; i++) {
    finish_alone(&batch.packets[i], batch.mtu);
    sort_in(&batch, (int16_t)i);
  }
  return give_number(env, write_entries(&batch, &columns));
}
