#define _GNU_SOURCE
#include "load.h"

#include "system.h"

#include <arpa/inet.h>
#include <endian.h>
#include <linux/icmp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

/* Cells of `progress`, as src/io/native.ts names them. */
enum { TRIP_START, TRIP_INTERVAL, TRIP_SENT, TRIP_RECEIVED, TRIP_CELLS };
enum { OVER_UDP, OVER_ICMP };
enum { ICMP_BYTES = 8, IPV4_BYTES_MAX = 60, ECHOES_MAX = 16 };

struct icmp_echo {
  uint8_t type;
  uint8_t code;
  uint16_t checksum;
  uint16_t id;
  uint16_t sequence;
};
_Static_assert(sizeof(struct icmp_echo) == ICMP_BYTES, "an echo header has no padding");

static int open_icmp(const struct sockaddr_in *remote) {
  int fd = socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_ICMP);
  if (fd < 0) return -errno;
  struct icmp_filter replies = {.data = ~(UINT32_C(1) << ICMP_ECHOREPLY)};
  if (setsockopt(fd, SOL_RAW, ICMP_FILTER, &replies, sizeof replies) != 0) return close_and_fail(fd, errno);
  if (connect(fd, (const struct sockaddr *)remote, sizeof *remote) != 0) return close_and_fail(fd, errno);
  return fd;
}

napi_value icmp_open(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  int64_t address;
  if (!take_arguments(env, info, 1, values)) return NULL;
  if (!take_integer(env, values[0], "address", 0, UINT32_MAX, &address)) return NULL;
  struct sockaddr_in remote = {.sin_family = AF_INET, .sin_addr.s_addr = htonl((uint32_t)address)};
  return give_number(env, open_icmp(&remote));
}

/* Waits until `fd` is readable or `until`. ppoll, because poll counts whole milliseconds. */
static void wait_readable(int fd, int64_t until) {
  int64_t ns = until - monotonic_ns();
  if (ns <= 0) return;
  struct pollfd readable = {.fd = fd, .events = POLLIN};
  struct timespec timeout = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
  (void)ppoll(&readable, 1, &timeout, NULL);
}

static bool is_of_run(const uint8_t *payload, size_t length, uint32_t run, struct load_head *head) {
  if (length < sizeof *head) return false;
  memcpy(head, payload, sizeof *head);
  return ntohl(head->magic) == LOAD_MAGIC && ntohl(head->run) == run;
}

/* Only packets of the run are answered: what stands open to a network must not be made to answer for somebody else's address. */
static int64_t echo_slice(int fd, uint32_t run, int64_t until) {
  int64_t echoed = 0;
  while (monotonic_ns() < until) {
    uint8_t payload[LOAD_PAYLOAD_MAX];
    struct sockaddr_in from;
    socklen_t size = sizeof from;
    ssize_t length = recvfrom(fd, payload, sizeof payload, MSG_DONTWAIT, (struct sockaddr *)&from, &size);
    if (length < 0) {
      if (!is_passing(errno)) return -errno;
      wait_readable(fd, until);
      continue;
    }
    struct load_head head;
    if (!is_of_run(payload, (size_t)length, run, &head)) continue;
    if (sendto(fd, payload, (size_t)length, MSG_DONTWAIT, (const struct sockaddr *)&from, size) >= 0) echoed++;
  }
  return echoed;
}

napi_value echo_serve(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  int fd;
  int64_t run;
  int64_t until;
  if (!take_arguments(env, info, 3, values)) return NULL;
  if (!take_descriptor(env, values[0], &fd)) return NULL;
  if (!take_integer(env, values[1], "run", 0, UINT32_MAX, &run)) return NULL;
  if (!take_slice_end(env, values[2], &until)) return NULL;
  return give_number(env, echo_slice(fd, (uint32_t)run, until));
}

struct trips {
  int fd;
  int kind;
  size_t payload; /* of UDP, or behind the echo header of ICMP */
  uint32_t run;
  double *progress;
  double *microseconds;
  size_t count;
  int64_t until;
};

static uint16_t internet_checksum(const uint8_t *bytes, size_t length) {
  uint32_t sum = 0;
  for (size_t i = 0; i + 1 < length; i += 2) sum += (uint32_t)bytes[i] << 8 | bytes[i + 1];
  if (length % 2 != 0) sum += (uint32_t)bytes[length - 1] << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)~sum;
}

static int send_probe(const struct trips *trips, uint32_t sequence) {
  uint8_t message[ICMP_BYTES + LOAD_PAYLOAD_MAX];
  size_t lead = trips->kind == OVER_ICMP ? ICMP_BYTES : 0;
  size_t length = lead + trips->payload;
  memset(message, 0, length);
  struct load_head head = {
      .magic = htonl(LOAD_MAGIC), .run = htonl(trips->run), .sequence = htonl(sequence), .stamp = htobe64((uint64_t)monotonic_ns())};
  memcpy(message + lead, &head, sizeof head);
  if (lead > 0) {
    struct icmp_echo echo = {.type = ICMP_ECHO, .id = htons((uint16_t)trips->run), .sequence = htons((uint16_t)sequence)};
    memcpy(message, &echo, sizeof echo);
    echo.checksum = htons(internet_checksum(message, length));
    memcpy(message, &echo, sizeof echo);
  }
  ssize_t sent = send(trips->fd, message, length, MSG_DONTWAIT);
  return sent >= 0 || is_passing(errno) ? 0 : -errno;
}

/* Notes the trip of one reply. A raw socket hands over the IPv4 header too. */
static void take_reply(struct trips *trips, const uint8_t *message, size_t length) {
  int64_t now = monotonic_ns();
  size_t lead = 0;
  if (trips->kind == OVER_ICMP) {
    if (length < 1) return;
    lead = (size_t)(message[0] & 15) * 4 + ICMP_BYTES;
  }
  struct load_head head;
  if (length < lead || !is_of_run(message + lead, length - lead, trips->run, &head)) return;
  uint32_t sequence = ntohl(head.sequence);
  if (sequence >= trips->count || trips->microseconds[sequence] >= 0) return;
  trips->microseconds[sequence] = (double)(now - (int64_t)be64toh(head.stamp)) / 1000;
  trips->progress[TRIP_RECEIVED] += 1;
}

static int64_t trips_slice(struct trips *trips) {
  double *progress = trips->progress;
  for (;;) {
    int64_t now = monotonic_ns();
    bool all_sent = progress[TRIP_SENT] >= (double)trips->count;
    if (now >= trips->until || (all_sent && progress[TRIP_RECEIVED] >= progress[TRIP_SENT])) return 0;
    double due = progress[TRIP_START] + progress[TRIP_SENT] * progress[TRIP_INTERVAL];
    if (!all_sent && (double)now >= due) {
      int result = send_probe(trips, (uint32_t)progress[TRIP_SENT]);
      if (result < 0) return result;
      progress[TRIP_SENT] += 1;
      continue;
    }
    uint8_t message[IPV4_BYTES_MAX + ICMP_BYTES + LOAD_PAYLOAD_MAX];
    ssize_t length = recv(trips->fd, message, sizeof message, MSG_DONTWAIT);
    if (length >= 0) {
      take_reply(trips, message, (size_t)length);
      continue;
    }
    if (!is_passing(errno)) return -errno;
    wait_readable(trips->fd, !all_sent && due < (double)trips->until ? (int64_t)due : trips->until);
  }
}

static bool take_trips(napi_env env, const napi_value values[], struct trips *trips) {
  struct column progress;
  struct column microseconds;
  int payload;
  int64_t run;
  if (!take_descriptor(env, values[0], &trips->fd)) return false;
  if (!take_int(env, values[1], "kind", OVER_UDP, OVER_ICMP, &trips->kind)) return false;
  if (!take_int(env, values[2], "payloadBytes", sizeof(struct load_head), LOAD_PAYLOAD_MAX, &payload)) return false;
  if (!take_integer(env, values[3], "run", 0, UINT32_MAX, &run)) return false;
  if (!take_float64_column(env, values[4], "progress", &progress)) return false;
  if (progress.count < TRIP_CELLS) return refuse_range(env, "progress", "at least 4 long");
  if (!take_float64_column(env, values[5], "microseconds", &microseconds)) return false;
  trips->payload = (size_t)payload;
  trips->run = (uint32_t)run;
  trips->progress = (double *)(uintptr_t)progress.data;
  trips->microseconds = (double *)(uintptr_t)microseconds.data;
  trips->count = microseconds.count;
  for (size_t i = 0; i < TRIP_CELLS; i++) {
    double value = trips->progress[i];
    if (!(value >= 0 && value <= 9007199254740992.0)) return refuse_range(env, "progress", "cells from 0 to 2^53");
  }
  return true;
}

napi_value round_trips(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  struct trips trips;
  if (!take_arguments(env, info, 7, values)) return NULL;
  if (!take_trips(env, values, &trips)) return NULL;
  if (!take_slice_end(env, values[6], &trips.until)) return NULL;
  return give_number(env, trips_slice(&trips));
}
