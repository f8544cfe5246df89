#define _GNU_SOURCE
#include "wake.h"

#include "arguments.h"
#include "system.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* The result is a bit mask that must stay a non-negative int32. A worker polls three descriptors. */
enum { POLL_MAX = 31 };

napi_value wake_open(napi_env env, napi_callback_info info) {
  (void)info;
  int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  return give_number(env, fd >= 0 ? fd : -errno);
}

napi_value wake_signal(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  int fd;
  if (!take_arguments(env, info, 1, values)) return NULL;
  if (!take_descriptor(env, values[0], &fd)) return NULL;
  const uint64_t one = 1;
  ssize_t put;
  do {
    put = write(fd, &one, sizeof one);
  } while (put < 0 && errno == EINTR);
  /* EAGAIN: the counter is at its maximum, so the other side is as awake as it can be. */
  return give_number(env, put >= 0 || errno == EAGAIN ? 0 : -errno);
}

napi_value wake_drain(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  int fd;
  if (!take_arguments(env, info, 1, values)) return NULL;
  if (!take_descriptor(env, values[0], &fd)) return NULL;
  uint64_t count;
  ssize_t got;
  do {
    got = read(fd, &count, sizeof count);
  } while (got < 0 && errno == EINTR);
  return give_number(env, got >= 0 || errno == EAGAIN ? 0 : -errno);
}

napi_value wake_poll(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  struct column fds;
  int count;
  int timeout;
  if (!take_arguments(env, info, 3, values)) return NULL;
  if (!take_int32_column(env, values[0], "fds", &fds)) return NULL;
  if (!take_int(env, values[1], "count", 0, POLL_MAX, &count)) return NULL;
  if (!take_int(env, values[2], "timeoutMs", -1, INT32_MAX, &timeout)) return NULL;
  if ((size_t)count > fds.count) {
    (void)refuse_range(env, "fds", "at least \"count\" long");
    return NULL;
  }
  struct pollfd polled[POLL_MAX];
  for (int i = 0; i < count; i++) {
    /* poll(2) ignores negative descriptors; so a closed queue can be set to -1 without renumbering the others. */
    polled[i].fd = (int)cell(&fds, (size_t)i);
    polled[i].events = POLLIN;
    polled[i].revents = 0;
  }
  int ready = poll(polled, (nfds_t)count, timeout);
  if (ready < 0) return give_number(env, errno == EINTR ? 0 : -errno);
  int32_t mask = 0;
  for (int i = 0; i < count; i++) {
    if (polled[i].revents != 0) mask |= (int32_t)1 << i;
  }
  return give_number(env, mask);
}
