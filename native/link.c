#define _GNU_SOURCE
#include "link.h"

#include "packets.h"
#include "system.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <string.h>
#include <sys/socket.h>

enum {
  BUFFER_BYTES_MAX = 1 << 30,
  /* A record of the next-hop table, as src/io/next-hop-table.ts draws it. */
  HOP_WORDS = 8,
  HOP_SEQUENCE = 0,
  HOP_ADDRESS = 1,
  HOP_DEVICE = 2,
  HOP_MAC_HIGH = 3,
  HOP_MAC_LOW = 4,
};

/*
 * SOCK_DGRAM: the kernel writes the link header, so the source is whatever address the device has now, and VLAN and bond devices add
 * what they need (17 ns a packet more than a header of our own). Protocol 0 receives nothing. The queueing discipline is kept: passing it
 * by (PACKET_QDISC_BYPASS) gains nothing on a device without one, less than 80 ns on one with pfifo_fast, and loses shaping and tc egress.
 */
static int open_link(int send_buffer) {
  int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  int result = set_send_buffer(fd, send_buffer);
  return result == 0 ? fd : close_and_fail(fd, -result);
}

napi_value link_open(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  int send_buffer;
  if (!take_arguments(env, info, 1, values)) return NULL;
  if (!take_int(env, values[0], "sendBufferBytes", 0, BUFFER_BYTES_MAX, &send_buffer)) return NULL;
  return give_number(env, open_link(send_buffer));
}

/*
 * To all devices and not to one: the kernel hands a packet to such sockets before it hands it to IPv4, and takes it back unshared where the
 * filter says no. A socket bound to a device comes after IPv4, which then has to copy the head of each packet.
 */
napi_value link_listen(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  int fd;
  int protocol;
  if (!take_arguments(env, info, 2, values)) return NULL;
  if (!take_descriptor(env, values[0], &fd)) return NULL;
  if (!take_int(env, values[1], "etherType", 1, UINT16_MAX, &protocol)) return NULL;
  struct sockaddr_ll name = {.sll_family = AF_PACKET, .sll_protocol = htons((uint16_t)protocol)};
  return give_number(env, bind(fd, (const struct sockaddr *)&name, sizeof name) == 0 ? 0 : -errno);
}

struct route_columns {
  struct column address;
  struct column peer;
  struct column hops;
};

static uint32_t hop_word(const struct column *hops, size_t index) {
  /* Sequentially consistent, as Atomics.store on the other side. */
  return __atomic_load_n((const uint32_t *)hops->data + index, __ATOMIC_SEQ_CST);
}

/*
 * Fills `name` with the way to `address`, and returns whether the table knew one. The writer makes the sequence odd, writes, and makes it
 * even: what was read between two looks at the same even number is whole. A record that is being written counts as unknown, since
 * waiting for the writer would stop the packet loop.
 */
static bool find_hop(const struct column *hops, int64_t peer, uint32_t address, struct sockaddr_ll *name) {
  if (peer < 0 || (size_t)peer >= hops->count / HOP_WORDS) return false;
  size_t at = (size_t)peer * HOP_WORDS;
  uint32_t sequence = hop_word(hops, at + HOP_SEQUENCE);
  uint32_t whose = hop_word(hops, at + HOP_ADDRESS);
  uint32_t device = hop_word(hops, at + HOP_DEVICE);
  uint32_t high = hop_word(hops, at + HOP_MAC_HIGH);
  uint32_t low = hop_word(hops, at + HOP_MAC_LOW);
  if ((sequence & 1) != 0 || hop_word(hops, at + HOP_SEQUENCE) != sequence) return false;
  if (device == 0 || device > INT32_MAX || whose != address) return false;
  name->sll_family = AF_PACKET;
  name->sll_protocol = htons(ETH_P_IP);
  name->sll_ifindex = (int)device;
  name->sll_halen = ETH_ALEN;
  for (int i = 0; i < 4; i++) name->sll_addr[i] = (uint8_t)(high >> (24 - 8 * i));
  for (int i = 0; i < 2; i++) name->sll_addr[4 + i] = (uint8_t)(low >> (24 - 8 * i));
  return true;
}

/*
 * Sends the packets up to the first whose next hop is unknown. ENOBUFS: the device's queue was full and the packet is lost, which a raw
 * socket does not even tell; so the packet counts as taken and the next ones follow, for otherwise one dead device would hold up all peers.
 */
static int64_t send_batch(int fd, struct cargo *cargo, const struct route_columns *route) {
  struct mmsghdr messages[PACKETS_MAX];
  struct sockaddr_ll names[PACKETS_MAX];
  memset(messages, 0, cargo->count * sizeof messages[0]);
  memset(names, 0, cargo->count * sizeof names[0]);
  size_t count = 0;
  while (count < cargo->count) {
    size_t i = cargo->from + count;
    if (!find_hop(&route->hops, cell(&route->peer, i), cell_u32(&route->address, i), &names[count])) break;
    messages[count].msg_hdr.msg_name = &names[count];
    messages[count].msg_hdr.msg_namelen = sizeof names[count];
    messages[count].msg_hdr.msg_iov = &cargo->iovecs[cargo->first[count]];
    messages[count].msg_hdr.msg_iovlen = (size_t)(cargo->first[count + 1] - cargo->first[count]);
    count++;
  }
  if (count == 0) return -EDESTADDRREQ;
  size_t done = 0;
  while (done < count) {
    int sent = sendmmsg(fd, messages + done, (unsigned)(count - done), MSG_DONTWAIT);
    if (sent > 0) done += (size_t)sent;
    else if (errno == ENOBUFS) done++;
    else if (errno == EAGAIN || errno == EWOULDBLOCK) break;
    else if (errno != EINTR) return done > 0 ? (int64_t)done : -errno;
  }
  return (int64_t)done;
}

napi_value link_send(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  int fd;
  struct route_columns route;
  struct cargo cargo;
  if (!take_arguments(env, info, 10, values)) return NULL;
  if (!take_descriptor(env, values[0], &fd)) return NULL;
  if (!take_uint32_column(env, values[5], "address", &route.address)) return NULL;
  if (!take_int32_column(env, values[6], "peer", &route.peer)) return NULL;
  if (!take_uint32_column(env, values[7], "hops", &route.hops)) return NULL;
  if (!take_cargo(env, values + 1, values[8], values[9], 0, &cargo)) return NULL;
  if (route.hops.count < HOP_WORDS) {
    (void)refuse_range(env, "hops", "one record at least");
    return NULL;
  }
  size_t end = cargo.from + cargo.count;
  if (end > route.address.count) {
    (void)refuse_range(env, "address", "at least \"to\" long");
    return NULL;
  }
  if (end > route.peer.count) {
    (void)refuse_range(env, "peer", "at least \"to\" long");
    return NULL;
  }
  return give_number(env, cargo.count == 0 ? 0 : send_batch(fd, &cargo, &route));
}
