#define _GNU_SOURCE
#include "tun.h"

#include "checksum.h"
#include "packets.h"
#include "system.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* The bits of TUN_FLAG in src/io/native.ts. */
enum { FLAG_MULTI_QUEUE = 1, FLAG_VNET_HEADER = 2, FLAGS_ALL = 3 };

static int open_queue(const char *name, int flags) {
  int fd;
  do {
    fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) return -errno;
  struct ifreq request;
  memset(&request, 0, sizeof request);
  memcpy(request.ifr_name, name, strlen(name)); /* take_text left room for the NUL */
  int wanted = IFF_TUN | IFF_NO_PI;
  if (flags & FLAG_MULTI_QUEUE) wanted |= IFF_MULTI_QUEUE;
  if (flags & FLAG_VNET_HEADER) wanted |= IFF_VNET_HDR;
  request.ifr_flags = (short)wanted;
  if (ioctl(fd, TUNSETIFF, &request) != 0) return close_and_fail(fd, errno);
  return fd;
}

napi_value tun_open(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  char name[IFNAMSIZ];
  int flags;
  if (!take_arguments(env, info, 2, values)) return NULL;
  if (!take_text(env, values[0], "name", name, sizeof name, NULL)) return NULL;
  if (!take_int(env, values[1], "flags", 0, FLAGS_ALL, &flags)) return NULL;
  return give_number(env, open_queue(name, flags));
}

napi_value tun_persist(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  int fd;
  bool persist;
  if (!take_arguments(env, info, 2, values)) return NULL;
  if (!take_descriptor(env, values[0], &fd)) return NULL;
  if (!take_boolean(env, values[1], "persist", &persist)) return NULL;
  return give_number(env, ioctl(fd, TUNSETPERSIST, persist ? 1L : 0L) == 0 ? 0 : -errno);
}

napi_value tun_offload(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  int fd;
  int features;
  if (!take_arguments(env, info, 2, values)) return NULL;
  if (!take_descriptor(env, values[0], &fd)) return NULL;
  if (!take_int(env, values[1], "features", 0, INT32_MAX, &features)) return NULL;
  return give_number(env, ioctl(fd, TUNSETOFFLOAD, (unsigned long)features) == 0 ? 0 : -errno);
}

/* struct virtio_net_hdr of linux/virtio_net.h, in the host's byte order as a TUN device writes it. */
struct vnet_header {
  uint8_t flags;
  uint8_t gso_type;
  uint16_t header_length;
  uint16_t gso_size;
  uint16_t checksum_start;
  uint16_t checksum_offset;
};

enum {
  NEEDS_CHECKSUM = 1,
  /*
   * One call's packets should still be in the second-level cache when they are worked on and sent. A stream of super-packets read and
   * sent on took the same time for 128, 256 and 512 KiB within the noise; this holds four of the largest.
   */
  RECEIVE_BYTES_MAX = 256 * 1024,
};

/*
 * Completes the checksum of a packet that the kernel left the sum of the pseudo-header in, as skb_checksum_help (net/core/dev.c). One that
 * is to be cut keeps its header: its segments get their own. A header that points outside only loses its flag: the receiver drops it.
 */
static void complete_checksum(uint8_t *packet, size_t length) {
  struct vnet_header header;
  uint8_t *before = packet - sizeof header;
  memcpy(&header, before, sizeof header);
  if ((header.flags & NEEDS_CHECKSUM) == 0 || header.gso_type != 0) return;
  memset(before, 0, sizeof header);
  size_t start = header.checksum_start;
  size_t field = start + header.checksum_offset;
  if (field + 2 > length) return;
  uint16_t check = (uint16_t)~checksum_sum(packet + start, length - start);
  if (check == 0) check = 0xffff; /* to UDP, 0 is no checksum; to TCP both are the same number */
  packet[field] = (uint8_t)(check >> 8);
  packet[field + 1] = (uint8_t)check;
}

/* Reads one packet a call: the TUN driver has no batch read, and readv(2) over several slots would split one packet over them. */
static int64_t receive_all(int fd, const struct room *room) {
  size_t received = 0;
  size_t bytes = 0;
  while (received < room->count && bytes < RECEIVE_BYTES_MAX) {
    struct iovec iovecs[2];
    size_t count = room_iovecs(room, received, iovecs);
    ssize_t got = readv(fd, iovecs, (int)count);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && received == 0 && !is_full_or_empty(errno)) return -errno;
    /* An error behind packets that came in waits for the next call, which meets it first. */
    if (got < (ssize_t)room->before) break;
    uint8_t *packet = keep_packet(room, received, (size_t)got);
    if (room->before >= sizeof(struct vnet_header)) complete_checksum(packet, (size_t)got - room->before);
    received++;
    bytes += (size_t)got;
  }
  return (int64_t)received;
}

napi_value tun_receive(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  int fd;
  int before;
  struct room room;
  if (!take_arguments(env, info, 7, values)) return NULL;
  if (!take_descriptor(env, values[0], &fd)) return NULL;
  if (!take_int(env, values[6], "headerBytes", 0, VNET_HEADER_MAX, &before)) return NULL;
  if (!take_room(env, values + 1, (size_t)before, &room)) return NULL;
  return give_number(env, receive_all(fd, &room));
}

static int64_t send_all(int fd, const struct cargo *cargo) {
  size_t sent = 0;
  while (sent < cargo->count) {
    ssize_t put = writev(fd, &cargo->iovecs[cargo->first[sent]], cargo->first[sent + 1] - cargo->first[sent]);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0 && sent == 0 && !is_full_or_empty(errno)) return -errno;
    if (put < 0) break;
    sent++;
  }
  return (int64_t)sent;
}

napi_value tun_send(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  int fd;
  int before;
  struct cargo cargo;
  if (!take_arguments(env, info, 8, values)) return NULL;
  if (!take_descriptor(env, values[0], &fd)) return NULL;
  if (!take_int(env, values[7], "headerBytes", 0, VNET_HEADER_MAX, &before)) return NULL;
  if (!take_cargo(env, values + 1, values[5], values[6], (size_t)before, &cargo)) return NULL;
  return give_number(env, send_all(fd, &cargo));
}
