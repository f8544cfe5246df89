#include "inner.h"

#include "checksum.h"

#include <linux/virtio_net.h>
#include <string.h>

_Static_assert(sizeof(struct virtio_net_hdr) == VNET_BYTES, "a TUN device without IFF_VNET_HDR sizes takes the 10-byte header");

enum {
  IPV4_HEADER_BYTES = 20,
  IPV4_FRAGMENT_MASK = 0x3fff, /* MF and the offset */
  IPV6_HEADER_BYTES = 40,
  TCP_HEADER_BYTES = 20,
  TCP_CHECKSUM_OFFSET = 16,
  UDP_HEADER_BYTES = 8,
  UDP_CHECKSUM_OFFSET = 6,
  NEXT_ICMPV6 = 58,
  NEXT_NONE = 59,
};

uint32_t inner_checksum_offset(const struct inner *packet) {
  return packet->header + (packet->protocol == PROTOCOL_TCP ? TCP_CHECKSUM_OFFSET : UDP_CHECKSUM_OFFSET);
}

/* RFC 9293 s3.1, RFC 768, RFC 8200 s8.1: addresses, protocol, length of header and payload. */
static uint16_t pseudo_sum(const struct inner *packet) {
  const uint8_t *addresses = packet->ip + (packet->version == 4 ? 12 : 8);
  uint32_t sum = checksum_sum(addresses, packet->version == 4 ? 8 : 32);
  return checksum_fold(sum + packet->protocol + packet->length - packet->header);
}

static bool is_sum_right(const struct inner *packet) {
  uint32_t sum = checksum_sum(packet->ip + packet->header, packet->length - packet->header);
  return checksum_fold(sum + pseudo_sum(packet)) == 0xffff;
}

static void parse_ipv4(struct inner *packet) {
  const uint8_t *ip = packet->ip;
  if (packet->length < IPV4_HEADER_BYTES) return;
  packet->header = (uint32_t)(ip[0] & 0x0f) * 4;
  if (packet->header < IPV4_HEADER_BYTES || packet->header > packet->length) return;
  if (get_u16(ip + 2) != packet->length) return;
  packet->protocol = ip[9];
  if (packet->protocol != PROTOCOL_TCP && packet->protocol != PROTOCOL_UDP) return;
  packet->kind = (get_u16(ip + 6) & IPV4_FRAGMENT_MASK) != 0 ? INNER_PORTLESS : INNER_FLOW;
}

static void parse_ipv6(struct inner *packet) {
  const uint8_t *ip = packet->ip;
  if (packet->length < IPV6_HEADER_BYTES || get_u16(ip + 4) + (uint32_t)IPV6_HEADER_BYTES != packet->length) return;
  packet->header = IPV6_HEADER_BYTES;
  packet->protocol = ip[6];
  if (packet->protocol == NEXT_ICMPV6 || packet->protocol == NEXT_NONE) return;
  /* Anything else may be an extension header with TCP or UDP behind it: taken for a part of every flow between the two hosts. */
  packet->kind = packet->protocol == PROTOCOL_TCP || packet->protocol == PROTOCOL_UDP ? INNER_FLOW : INNER_PORTLESS;
}

static void parse_transport(struct inner *packet) {
  const uint8_t *transport = packet->ip + packet->header;
  uint32_t available = packet->length - packet->header;
  uint32_t size = UDP_HEADER_BYTES;
  if (packet->protocol == PROTOCOL_TCP) {
    size = available < TCP_HEADER_BYTES ? TCP_HEADER_BYTES : (uint32_t)(transport[12] >> 4) * 4;
    /* A broken data offset: what the checksum covers is known all the same, and so are the ports. */
    if (size < TCP_HEADER_BYTES || size > available) size = TCP_HEADER_BYTES;
  }
  if (size > available) {
    packet->kind = INNER_PORTLESS;
    return;
  }
  packet->headers = packet->header + size;
  packet->payload = available - size;
}

void inner_parse(struct inner *packet, uint8_t *ip, uint32_t length) {
  memset(packet, 0, sizeof *packet);
  packet->ip = ip;
  packet->length = length;
  packet->version = length == 0 ? 0 : ip[0] >> 4;
  if (packet->version == 4) parse_ipv4(packet);
  if (packet->version == 6) parse_ipv6(packet);
  if (packet->kind == INNER_FLOW) parse_transport(packet);
  if (packet->kind != INNER_FLOW) return;
  uint16_t check = get_u16(ip + inner_checksum_offset(packet));
  if (packet->protocol == PROTOCOL_UDP && check == 0) {
    packet->checksum = CHECKSUM_NONE;
  } else if (check == pseudo_sum(packet)) {
    /* Of 65,536 whole packets one has that very value by chance: its sum tells. */
    packet->checksum = is_sum_right(packet) ? CHECKSUM_RIGHT : CHECKSUM_PARTIAL;
  }
}

void inner_verify(struct inner *packet) {
  if (packet->checksum == CHECKSUM_UNKNOWN) packet->checksum = is_sum_right(packet) ? CHECKSUM_RIGHT : CHECKSUM_WRONG;
}

void inner_set_length(struct inner *packet, uint32_t length) {
  packet->length = length;
  packet->payload = length - packet->headers;
  if (packet->version == 4) {
    put_u16(packet->ip + 2, length);
    put_u16(packet->ip + 10, 0);
    put_u16(packet->ip + 10, 0xffffU ^ checksum_fold(checksum_sum(packet->ip, packet->header)));
  } else {
    put_u16(packet->ip + 4, length - packet->header);
  }
  if (packet->protocol == PROTOCOL_UDP) put_u16(packet->ip + packet->header + 4, length - packet->header);
}

void inner_put_pseudo_sum(struct inner *packet) {
  put_u16(packet->ip + inner_checksum_offset(packet), pseudo_sum(packet));
}

void vnet_write(uint8_t *ip, const struct vnet *fields) {
  /* Two-byte fields in host order: what a TUN device has without TUNSETVNETLE and TUNSETVNETBE. */
  struct virtio_net_hdr header;
  memset(&header, 0, sizeof header);
  if (fields != NULL) {
    header.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
    header.gso_type = fields->gso_type;
    header.hdr_len = fields->header_length;
    header.gso_size = fields->gso_size;
    header.csum_start = fields->checksum_start;
    header.csum_offset = fields->checksum_offset;
  }
  memcpy(ip - VNET_BYTES, &header, sizeof header);
}
