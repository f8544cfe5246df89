#define _GNU_SOURCE
#include "tun.h"

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

/* Reads one packet a call: the TUN driver has no batch read, and readv(2) over several slots would split one packet over them. */
static int64_t receive_all(int fd, const struct room *room) {
  size_t received = 0;
  while (received < room->count) {
    struct iovec iovecs[2];
    size_t count = room_iovecs(room, received, iovecs);
    ssize_t got = readv(fd, iovecs, (int)count);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && received == 0 && !is_full_or_empty(errno)) return -errno;
    /* An error behind packets that came in waits for the next call, which meets it first. */
    if (got < (ssize_t)room->before) break;
    (void)keep_packet(room, received, (size_t)got);
    received++;
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
