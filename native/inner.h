/*
 * An inner packet on its way to the TUN device: where its headers lie, what its checksum is worth, and the vnet header before it.
 * Nothing here trusts the packet: what does not fit together is INNER_OPAQUE and keeps all its bytes.
 */
#ifndef ISTHMUS_INNER_H
#define ISTHMUS_INNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* struct virtio_net_hdr of linux/virtio_net.h, as src/packet/vnet.ts draws it. */
enum { VNET_BYTES = 10 };

enum { PROTOCOL_TCP = 6, PROTOCOL_UDP = 17 };

enum {
  TCP_FIN = 0x01,
  TCP_SYN = 0x02,
  TCP_RST = 0x04,
  TCP_PSH = 0x08,
  TCP_URG = 0x20,
  TCP_CWR = 0x80,
};

enum inner_kind {
  /* Neither TCP nor UDP, or no packet that we understand: its order among others matters to nobody. */
  INNER_OPAQUE,
  /* TCP or UDP whose ports are not to be had (a fragment, a cut header) or lie behind IPv6 extension headers. */
  INNER_PORTLESS,
  /* TCP or UDP with both ports; all offsets below are valid. */
  INNER_FLOW,
};

enum inner_checksum {
  CHECKSUM_UNKNOWN, /* nobody has summed the packet yet */
  CHECKSUM_RIGHT,
  /* The folded sum of the pseudo-header: the kernel meant to complete it later (CHECKSUM_PARTIAL). As good as right. */
  CHECKSUM_PARTIAL,
  CHECKSUM_WRONG,
  CHECKSUM_NONE, /* UDP over IPv4 may go without: 0 */
};

struct inner {
  uint8_t *ip;
  uint32_t length;   /* of the whole packet */
  uint32_t header;   /* bytes of the IP header: where the transport header starts */
  uint32_t headers;  /* bytes of IP and transport header: where the payload starts */
  uint32_t payload;  /* bytes behind them */
  uint8_t version;
  uint8_t protocol;
  uint8_t kind;      /* enum inner_kind */
  uint8_t checksum;  /* enum inner_checksum */
};

/* What a vnet header says besides "nothing is left to do". */
struct vnet {
  uint8_t gso_type;
  uint16_t header_length;
  uint16_t gso_size;
  uint16_t checksum_start;
  uint16_t checksum_offset;
};

static inline uint16_t get_u16(const uint8_t *bytes) { return (uint16_t)(bytes[0] << 8 | bytes[1]); }
static inline uint32_t get_u32(const uint8_t *bytes) { return (uint32_t)get_u16(bytes) << 16 | get_u16(bytes + 2); }
static inline void put_u16(uint8_t *bytes, uint32_t value) {
  bytes[0] = (uint8_t)(value >> 8);
  bytes[1] = (uint8_t)value;
}

/* Reads the `length` bytes at `ip`; tells CHECKSUM_PARTIAL and CHECKSUM_NONE from the rest, which costs a sum only where they look alike. */
void inner_parse(struct inner *packet, uint8_t *ip, uint32_t length);

/* Sums a packet of kind INNER_FLOW if nobody has: leaves no CHECKSUM_UNKNOWN. */
void inner_verify(struct inner *packet);

/* TCP and UDP headers that segments can be made from: unfragmented, no option in the IPv4 header that the kernel would not repeat. */
uint32_t inner_checksum_offset(const struct inner *packet);

/* Sets total length and header checksum (IPv4) or payload length (IPv6), and the UDP length. */
void inner_set_length(struct inner *packet, uint32_t length);

/* Writes the pseudo-header's sum into the checksum field, which is what CHECKSUM_PARTIAL and GSO start from. */
void inner_put_pseudo_sum(struct inner *packet);

/* Writes the vnet header before the packet; all zero when `fields` is NULL, else with NEEDS_CSUM. */
void vnet_write(uint8_t *ip, const struct vnet *fields);

#endif
