#define _GNU_SOURCE
#include "raw.h"

#include "packets.h"
#include "system.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <stdalign.h>
#include <string.h>
#include <sys/socket.h>

enum {
  /* The kernel takes 4,096 instructions; ours have about 40. The limit keeps the converted program on the stack. */
  FILTER_INSTRUCTIONS_MAX = 512,
  BUFFER_BYTES_MAX = 1 << 30,
  IPV6_HEADER_BYTES = 40,
};

static int open_raw(int protocol, int receive_buffer, int send_buffer) {
  int fd = socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
  if (fd < 0) return -errno;
  int on = 1;
  if (setsockopt(fd, IPPROTO_IP, IP_HDRINCL, &on, sizeof on) != 0) return close_and_fail(fd, errno);
  int discover = IP_PMTUDISC_PROBE;
  if (setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &discover, sizeof discover) != 0) return close_and_fail(fd, errno);
  int result = set_receive_buffer(fd, receive_buffer);
  if (result == 0) result = set_send_buffer(fd, send_buffer);
  return result == 0 ? fd : close_and_fail(fd, -result);
}

static int set_ipv6(int fd, int option, int value) {
  return setsockopt(fd, IPPROTO_IPV6, option, &value, sizeof value) == 0 ? 0 : -errno;
}

/*
 * Only one that sends writes its headers itself: of one that receives the kernel would then verify a checksum of the payload, which has none
 * (rawv6_rcv, net/ipv6/raw.c).
 */
static int set_options6(int fd, int protocol) {
  if (protocol == IPPROTO_RAW) {
    int result = set_ipv6(fd, IPV6_HDRINCL, 1);
    return result == 0 ? set_ipv6(fd, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE) : result;
  }
  int result = set_ipv6(fd, IPV6_RECVPKTINFO, 1);
  if (result == 0) result = set_ipv6(fd, IPV6_RECVTCLASS, 1);
  return result == 0 ? set_ipv6(fd, IPV6_RECVHOPLIMIT, 1) : result;
}

static int open_raw6(int protocol, int receive_buffer, int send_buffer) {
  int fd = socket(AF_INET6, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
  if (fd < 0) return -errno;
  int result = set_options6(fd, protocol);
  if (result == 0) result = set_receive_buffer(fd, receive_buffer);
  if (result == 0) result = set_send_buffer(fd, send_buffer);
  return result == 0 ? fd : close_and_fail(fd, -result);
}

static napi_value give_socket(napi_env env, napi_callback_info info, int (*open)(int, int, int)) {
  napi_value values[ARGUMENTS_MAX];
  int protocol;
  int receive_buffer;
  int send_buffer;
  if (!take_arguments(env, info, 3, values)) return NULL;
  /* 0 is no protocol; IPPROTO_RAW (255) makes a socket that only sends. */
  if (!take_int(env, values[0], "protocol", 1, IPPROTO_RAW, &protocol)) return NULL;
  if (!take_int(env, values[1], "receiveBufferBytes", 0, BUFFER_BYTES_MAX, &receive_buffer)) return NULL;
  if (!take_int(env, values[2], "sendBufferBytes", 0, BUFFER_BYTES_MAX, &send_buffer)) return NULL;
  return give_number(env, open(protocol, receive_buffer, send_buffer));
}

napi_value raw_open6(napi_env env, napi_callback_info info) {
  return give_socket(env, info, open_raw6);
}

napi_value raw_open(napi_env env, napi_callback_info info) {
  return give_socket(env, info, open_raw);
}

/* Its filter is there before its address, so that not a single datagram waits in it. */
static int hold_port(int port) {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  struct sock_filter nothing = {.code = BPF_RET | BPF_K, .k = 0};
  struct sock_fprog program = {.len = 1, .filter = &nothing};
  if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) != 0) return close_and_fail(fd, errno);
  struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  if (bind(fd, (const struct sockaddr *)&name, sizeof name) != 0) return close_and_fail(fd, errno);
  return fd;
}

napi_value udp_hold(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  int port;
  if (!take_arguments(env, info, 1, values)) return NULL;
  if (!take_int(env, values[0], "port", 1, UINT16_MAX, &port)) return NULL;
  return give_number(env, hold_port(port));
}

napi_value raw_bind(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  int fd;
  int64_t address;
  if (!take_arguments(env, info, 2, values)) return NULL;
  if (!take_descriptor(env, values[0], &fd)) return NULL;
  if (!take_integer(env, values[1], "address", 0, UINT32_MAX, &address)) return NULL;
  struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl((uint32_t)address)};
  return give_number(env, bind(fd, (const struct sockaddr *)&name, sizeof name) == 0 ? 0 : -errno);
}

napi_value raw_bind6(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  int fd;
  struct column words;
  if (!take_arguments(env, info, 2, values)) return NULL;
  if (!take_descriptor(env, values[0], &fd)) return NULL;
  if (!take_uint32_column(env, values[1], "address", &words)) return NULL;
  if (words.count != 4) {
    (void)refuse_range(env, "address", "four words");
    return NULL;
  }
  struct sockaddr_in6 name = {.sin6_family = AF_INET6};
  for (size_t i = 0; i < 4; i++) name.sin6_addr.s6_addr32[i] = htonl(cell_u32(&words, i));
  return give_number(env, bind(fd, (const struct sockaddr *)&name, sizeof name) == 0 ? 0 : -errno);
}

napi_value raw_filter(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  int fd;
  struct column program;
  if (!take_arguments(env, info, 2, values)) return NULL;
  if (!take_descriptor(env, values[0], &fd)) return NULL;
  if (!take_uint32_column(env, values[1], "program", &program)) return NULL;
  if (program.count == 0 || program.count % 2 != 0 || program.count / 2 > FILTER_INSTRUCTIONS_MAX) {
    (void)refuse_range(env, "program", "1 to 512 pairs of numbers");
    return NULL;
  }
  struct sock_filter instructions[FILTER_INSTRUCTIONS_MAX];
  size_t count = program.count / 2;
  for (size_t i = 0; i < count; i++) {
    uint32_t head = cell_u32(&program, 2 * i);
    instructions[i].code = (uint16_t)(head & 0xffff);
    instructions[i].jt = (uint8_t)(head >> 16);
    instructions[i].jf = (uint8_t)(head >> 24);
    instructions[i].k = cell_u32(&program, 2 * i + 1);
  }
  struct sock_fprog whole = {.len = (unsigned short)count, .filter = instructions};
  int result = setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &whole, sizeof whole);
  return give_number(env, result == 0 ? 0 : -errno);
}

static int64_t receive_batch(int fd, const struct room *room) {
  struct mmsghdr messages[PACKETS_MAX];
  struct iovec iovecs[2 * PACKETS_MAX];
  memset(messages, 0, room->count * sizeof messages[0]);
  for (size_t i = 0; i < room->count; i++) {
    messages[i].msg_hdr.msg_iov = &iovecs[2 * i];
    messages[i].msg_hdr.msg_iovlen = room_iovecs(room, i, &iovecs[2 * i]);
  }
  int received;
  do {
    received = recvmmsg(fd, messages, (unsigned)room->count, MSG_DONTWAIT, NULL);
  } while (received < 0 && errno == EINTR);
  if (received < 0) return is_full_or_empty(errno) ? 0 : -errno;
  for (int i = 0; i < received; i++) (void)keep_packet(room, (size_t)i, messages[i].msg_len);
  return received;
}

napi_value raw_receive(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  int fd;
  struct room room;
  if (!take_arguments(env, info, 6, values)) return NULL;
  if (!take_descriptor(env, values[0], &fd)) return NULL;
  if (!take_room(env, values + 1, 0, &room)) return NULL;
  return give_number(env, room.count == 0 ? 0 : receive_batch(fd, &room));
}

/* What an outer IPv6 header is made of that the kernel has taken off: it hands a raw socket only what is behind it (RFC 3542 §3). */
struct ancillary {
  alignas(struct cmsghdr) uint8_t bytes[2 * CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

/* RFC 8200 §3, with the flow label left out. `length` counts the header. */
static void write_ipv6_header(uint8_t *header, struct msghdr *message, int protocol, size_t length) {
  const struct sockaddr_in6 *source = message->msg_name;
  size_t payload = length - IPV6_HEADER_BYTES;
  if (payload > UINT16_MAX) payload = UINT16_MAX;
  int traffic_class = 0;
  int hop_limit = 0;
  memset(header + 24, 0, 16);
  for (struct cmsghdr *item = CMSG_FIRSTHDR(message); item != NULL; item = CMSG_NXTHDR(message, item)) {
    if (item->cmsg_level != IPPROTO_IPV6) continue;
    if (item->cmsg_type == IPV6_TCLASS) memcpy(&traffic_class, CMSG_DATA(item), sizeof traffic_class);
    if (item->cmsg_type == IPV6_HOPLIMIT) memcpy(&hop_limit, CMSG_DATA(item), sizeof hop_limit);
    /* The address is the first field of in6_pktinfo. */
    if (item->cmsg_type == IPV6_PKTINFO) memcpy(header + 24, CMSG_DATA(item), 16);
  }
  header[0] = (uint8_t)(0x60 | (traffic_class >> 4 & 15));
  header[1] = (uint8_t)(traffic_class << 4 & 0xf0);
  header[2] = 0;
  header[3] = 0;
  header[4] = (uint8_t)(payload >> 8);
  header[5] = (uint8_t)payload;
  header[6] = (uint8_t)protocol;
  header[7] = (uint8_t)hop_limit;
  memcpy(header + 8, &source->sin6_addr, 16);
}

static int64_t receive_batch6(int fd, int protocol, const struct room *room) {
  struct mmsghdr messages[PACKETS_MAX];
  struct iovec iovecs[2 * PACKETS_MAX];
  struct sockaddr_in6 names[PACKETS_MAX];
  struct ancillary ancillary[PACKETS_MAX];
  memset(messages, 0, room->count * sizeof messages[0]);
  memset(names, 0, room->count * sizeof names[0]);
  for (size_t i = 0; i < room->count; i++) {
    struct msghdr *message = &messages[i].msg_hdr;
    message->msg_iov = &iovecs[2 * i];
    message->msg_iovlen = room_iovecs(room, i, &iovecs[2 * i]);
    /* The payload comes behind the place of the header. */
    iovecs[2 * i].iov_base = (uint8_t *)iovecs[2 * i].iov_base + IPV6_HEADER_BYTES;
    iovecs[2 * i].iov_len -= IPV6_HEADER_BYTES;
    message->msg_name = &names[i];
    message->msg_namelen = sizeof names[i];
    message->msg_control = ancillary[i].bytes;
    message->msg_controllen = sizeof ancillary[i].bytes;
  }
  int received;
  do {
    received = recvmmsg(fd, messages, (unsigned)room->count, MSG_DONTWAIT, NULL);
  } while (received < 0 && errno == EINTR);
  if (received < 0) return is_full_or_empty(errno) ? 0 : -errno;
  for (int i = 0; i < received; i++) {
    size_t length = IPV6_HEADER_BYTES + messages[i].msg_len;
    uint8_t *header = keep_packet(room, (size_t)i, length);
    write_ipv6_header(header, &messages[i].msg_hdr, protocol, length);
  }
  return received;
}

napi_value raw_receive6(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  int fd;
  int protocol;
  struct room room;
  if (!take_arguments(env, info, 7, values)) return NULL;
  if (!take_descriptor(env, values[0], &fd)) return NULL;
  if (!take_room(env, values + 1, 0, &room)) return NULL;
  if (!take_int(env, values[6], "protocol", 1, IPPROTO_RAW, &protocol)) return NULL;
  if (room.small_bytes < IPV6_HEADER_BYTES) {
    (void)refuse_range(env, "layout", "slots with room for an IPv6 header");
    return NULL;
  }
  return give_number(env, room.count == 0 ? 0 : receive_batch6(fd, protocol, &room));
}

union name {
  struct sockaddr_in ipv4;
  struct sockaddr_in6 ipv6;
};

/* Where a packet goes: an IPv6 one has it in its header, an IPv4 one may be sent elsewhere than its header says. */
static socklen_t name_of(const struct iovec *first, uint32_t address, union name *name) {
  const uint8_t *header = first->iov_base;
  memset(name, 0, sizeof *name);
  if (first->iov_len >= IPV6_HEADER_BYTES && header[0] >> 4 == 6) {
    name->ipv6.sin6_family = AF_INET6;
    memcpy(&name->ipv6.sin6_addr, header + 24, 16);
    return sizeof name->ipv6;
  }
  name->ipv4.sin_family = AF_INET;
  name->ipv4.sin_addr.s_addr = htonl(address);
  return sizeof name->ipv4;
}

/* sendmmsg stops at the first refused message and gives its errno only when that is the first of the call, as we promise. */
static int64_t send_batch(int fd, struct cargo *cargo, const struct column *address) {
  struct mmsghdr messages[PACKETS_MAX];
  union name names[PACKETS_MAX];
  memset(messages, 0, cargo->count * sizeof messages[0]);
  for (size_t j = 0; j < cargo->count; j++) {
    struct iovec *first = &cargo->iovecs[cargo->first[j]];
    messages[j].msg_hdr.msg_namelen = name_of(first, cell_u32(address, cargo->from + j), &names[j]);
    messages[j].msg_hdr.msg_name = &names[j];
    messages[j].msg_hdr.msg_iov = first;
    messages[j].msg_hdr.msg_iovlen = (size_t)(cargo->first[j + 1] - cargo->first[j]);
  }
  int sent;
  do {
    sent = sendmmsg(fd, messages, (unsigned)cargo->count, MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return is_full_or_empty(errno) ? 0 : -errno;
  return sent;
}

napi_value raw_send(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  int fd;
  struct column address;
  struct cargo cargo;
  if (!take_arguments(env, info, 8, values)) return NULL;
  if (!take_descriptor(env, values[0], &fd)) return NULL;
  if (!take_uint32_column(env, values[5], "address", &address)) return NULL;
  if (!take_cargo(env, values + 1, values[6], values[7], 0, &cargo)) return NULL;
  if (cargo.from + cargo.count > address.count) {
    (void)refuse_range(env, "address", "at least \"to\" long");
    return NULL;
  }
  return give_number(env, cargo.count == 0 ? 0 : send_batch(fd, &cargo, &address));
}

napi_value raw_overflow(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  int fd;
  if (!take_arguments(env, info, 1, values)) return NULL;
  if (!take_descriptor(env, values[0], &fd)) return NULL;
  /* SO_MEMINFO (4.12) rather than SO_RXQ_OVFL: no control message on each received packet. */
  uint32_t memory[SK_MEMINFO_VARS];
  memset(memory, 0, sizeof memory);
  socklen_t size = sizeof memory;
  if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &size) != 0) return give_number(env, -errno);
  return give_number(env, memory[SK_MEMINFO_DROPS]);
}
