#define _GNU_SOURCE
#include "load.h"

#include "system.h"

#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
  /* What one send or recv moves: more does not fit the cache beside the gateway's own data. */
  CHUNK_BYTES = 65536,
  /* The kernel's TCP_MIN_MSS, and the most that it takes. */
  MSS_MIN = 88,
  MSS_MAX = 32767,
  CONGESTION_NAME_MAX = 16,
};

static const uint8_t filler[CHUNK_BYTES];

static int open_listener(const struct sockaddr_in *name) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  int on = 1;
  if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0) return close_and_fail(fd, errno);
  if (bind(fd, (const struct sockaddr *)name, sizeof *name) != 0) return close_and_fail(fd, errno);
  if (listen(fd, LOAD_FLOWS_MAX) != 0) return close_and_fail(fd, errno);
  return fd;
}

napi_value tcp_listen(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  struct sockaddr_in name;
  if (!take_arguments(env, info, 2, values)) return NULL;
  if (!take_address(env, values, 0, &name)) return NULL;
  return give_number(env, open_listener(&name));
}

static int open_stream(const struct sockaddr_in *name, int mss, const char *congestion, size_t length) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  if (setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, congestion, (socklen_t)length) != 0) return close_and_fail(fd, errno);
  /* Before the connection: it bounds what both ends may send, and stands in our SYN. */
  if (mss != 0 && setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &mss, sizeof mss) != 0) return close_and_fail(fd, errno);
  if (connect(fd, (const struct sockaddr *)name, sizeof *name) != 0 && errno != EINPROGRESS) {
    return close_and_fail(fd, errno);
  }
  return fd;
}

napi_value tcp_connect(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  struct sockaddr_in name;
  int mss;
  char congestion[CONGESTION_NAME_MAX];
  size_t length;
  if (!take_arguments(env, info, 4, values)) return NULL;
  if (!take_address(env, values, 1, &name)) return NULL;
  if (!take_int(env, values[2], "mss", 0, MSS_MAX, &mss)) return NULL;
  if (mss != 0 && mss < MSS_MIN) {
    (void)refuse_range(env, "mss", "0, or from 88 to 32767");
    return NULL;
  }
  if (!take_text(env, values[3], "congestion", congestion, sizeof congestion, &length)) return NULL;
  return give_number(env, open_stream(&name, mss, congestion, length));
}

static int wait_ready(struct pollfd *polled, size_t count, int64_t until) {
  int64_t ns = until - monotonic_ns();
  if (ns < 0) ns = 0;
  struct timespec timeout = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
  int ready = ppoll(polled, (nfds_t)count, &timeout, NULL);
  return ready < 0 && errno != EINTR ? -errno : 0;
}

static int64_t send_slice(struct pollfd *polled, size_t count, double *bytes, int64_t until) {
  while (monotonic_ns() < until) {
    int result = wait_ready(polled, count, until);
    if (result < 0) return result;
    for (size_t i = 0; i < count; i++) {
      if (polled[i].revents == 0) continue;
      polled[i].revents = 0;
      ssize_t sent = send(polled[i].fd, filler, sizeof filler, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent > 0) bytes[0] += (double)sent;
      else if (sent < 0 && errno != EINTR && !is_full_or_empty(errno)) return -errno;
    }
  }
  return 0;
}

/* Fills `polled` from a column of descriptors; negative ones are passed over by poll(2). */
static bool take_streams(napi_env env, napi_value value, short events, struct column *fds, struct pollfd *polled) {
  if (!take_int32_column(env, value, "fds", fds)) return false;
  if (fds->count == 0 || fds->count > LOAD_FLOWS_MAX) return refuse_range(env, "fds", "1 to 64 descriptors");
  for (size_t i = 0; i < fds->count; i++) polled[i] = (struct pollfd){.fd = (int)cell(fds, i), .events = events};
  return true;
}

static bool take_byte_count(napi_env env, napi_value value, double **bytes) {
  struct column column;
  if (!take_float64_column(env, value, "bytes", &column)) return false;
  if (column.count < 1) return refuse_range(env, "bytes", "at least 1 long");
  *bytes = (double *)(uintptr_t)column.data;
  return true;
}

napi_value stream_send(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  struct column fds;
  struct pollfd polled[LOAD_FLOWS_MAX];
  double *bytes = NULL;
  int64_t until;
  if (!take_arguments(env, info, 3, values)) return NULL;
  if (!take_streams(env, values[0], POLLOUT, &fds, polled)) return NULL;
  if (!take_byte_count(env, values[1], &bytes)) return NULL;
  if (!take_slice_end(env, values[2], &until)) return NULL;
  return give_number(env, send_slice(polled, fds.count, bytes, until));
}

/* Puts a waiting connection into a free cell, or closes it where there is none. One that broke before it was taken is no error. */
static int accept_one(int listener, struct pollfd *polled, size_t count) {
  int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) return is_passing(errno) || errno == ECONNABORTED ? 0 : -errno;
  for (size_t i = 0; i < count; i++) {
    if (polled[i].fd >= 0) continue;
    polled[i] = (struct pollfd){.fd = fd, .events = POLLIN};
    return 0;
  }
  (void)close(fd);
  return 0;
}

static void drain_one(struct pollfd *stream, double *bytes) {
  uint8_t chunk[CHUNK_BYTES];
  ssize_t got = recv(stream->fd, chunk, sizeof chunk, MSG_DONTWAIT);
  if (got > 0) {
    bytes[0] += (double)got;
    return;
  }
  if (got < 0 && (errno == EINTR || is_full_or_empty(errno))) return;
  /* Ended or broken: the sender knows why, the receiver only counts. */
  (void)close(stream->fd);
  stream->fd = -1;
}

static int64_t drain_slice(struct pollfd *polled, size_t count, double *bytes, int64_t until) {
  /* The listener stands first. */
  while (monotonic_ns() < until) {
    int result = wait_ready(polled, count, until);
    if (result < 0) return result;
    if (polled[0].revents != 0) result = accept_one(polled[0].fd, polled + 1, count - 1);
    if (result < 0) return result;
    for (size_t i = 1; i < count; i++) {
      if (polled[i].fd >= 0 && polled[i].revents != 0) drain_one(&polled[i], bytes);
      polled[i].revents = 0;
    }
  }
  return 0;
}

napi_value stream_receive(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  int listener;
  struct column fds;
  struct pollfd polled[1 + LOAD_FLOWS_MAX];
  double *bytes = NULL;
  int64_t until;
  if (!take_arguments(env, info, 4, values)) return NULL;
  if (!take_descriptor(env, values[0], &listener)) return NULL;
  if (!take_streams(env, values[1], POLLIN, &fds, polled + 1)) return NULL;
  if (!take_byte_count(env, values[2], &bytes)) return NULL;
  if (!take_slice_end(env, values[3], &until)) return NULL;
  polled[0] = (struct pollfd){.fd = listener, .events = POLLIN};
  int64_t result = drain_slice(polled, fds.count + 1, bytes, until);
  int32_t *cells = (int32_t *)(uintptr_t)fds.data;
  for (size_t i = 0; i < fds.count; i++) cells[i] = polled[i + 1].fd;
  return give_number(env, result);
}
