#define _GNU_SOURCE
#include "wake.h"

#include "arguments.h"
#include "system.h"

#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* The result is a bit mask that must stay a non-negative int32. A worker polls three descriptors. */
enum { POLL_MAX = 31 };

/* The cells of `spent`, as WAIT_CELL in src/io/native.ts has them. */
enum { SPENT_CALLS, SPENT_MICROSECONDS, SPENT_CELLS };

/* Nobody gains by looking longer than a sleep and a wake-up cost; a wrong number must not burn a processor. */
enum { SPIN_MAX = 10000 };

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

struct waiting {
  struct pollfd polled[POLL_MAX];
  int count;
};

static bool take_waiting(napi_env env, const napi_value values[], struct waiting *waiting) {
  struct column fds;
  if (!take_int32_column(env, values[0], "fds", &fds)) return false;
  if (!take_int(env, values[1], "count", 0, POLL_MAX, &waiting->count)) return false;
  if ((size_t)waiting->count > fds.count) return refuse_range(env, "fds", "at least \"count\" long");
  for (int i = 0; i < waiting->count; i++) {
    /* poll(2) ignores negative descriptors; so a closed queue can be set to -1 without renumbering the others. */
    waiting->polled[i].fd = (int)cell(&fds, (size_t)i);
    waiting->polled[i].events = POLLIN;
    waiting->polled[i].revents = 0;
  }
  return true;
}

/* The mask of the ready ones, or -errno. */
static int32_t look(struct waiting *waiting, int timeout) {
  int ready = poll(waiting->polled, (nfds_t)waiting->count, timeout);
  if (ready < 0) return errno == EINTR ? 0 : -errno;
  int32_t mask = 0;
  for (int i = 0; i < waiting->count && ready > 0; i++) {
    if (waiting->polled[i].revents != 0) mask |= (int32_t)1 << i;
  }
  return mask;
}

napi_value wake_poll(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  struct waiting waiting;
  int timeout;
  if (!take_arguments(env, info, 3, values)) return NULL;
  if (!take_waiting(env, values, &waiting)) return NULL;
  if (!take_int(env, values[2], "timeoutMs", -1, INT32_MAX, &timeout)) return NULL;
  return give_number(env, look(&waiting, timeout));
}

static int64_t monotonic_us(void) {
  struct timespec now;
  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/*
 * Looks without sleeping for `spin` microseconds, then sleeps. Between two looks the processor is offered to whoever else wants to run
 * on it: on few cores that is the one whose answer is being waited for.
 */
static int32_t spin_then_sleep(struct waiting *waiting, int timeout, int spin, int32_t spent[SPENT_CELLS]) {
  int32_t calls = 1;
  int64_t start = monotonic_us();
  int32_t mask = look(waiting, spin > 0 ? 0 : timeout);
  if (mask == 0 && spin > 0) {
    do {
      (void)sched_yield();
      mask = look(waiting, 0);
      calls += 2;
    } while (mask == 0 && monotonic_us() - start < spin);
    if (mask == 0 && timeout != 0) {
      mask = look(waiting, timeout);
      calls++;
    }
  }
  int64_t waited = monotonic_us() - start;
  spent[SPENT_CALLS] = calls;
  spent[SPENT_MICROSECONDS] = waited < INT32_MAX ? (int32_t)waited : INT32_MAX;
  return mask;
}

napi_value wake_wait(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  struct waiting waiting;
  int timeout;
  int spin;
  struct column spent;
  if (!take_arguments(env, info, 5, values)) return NULL;
  if (!take_waiting(env, values, &waiting)) return NULL;
  if (!take_int(env, values[2], "timeoutMs", -1, INT32_MAX, &timeout)) return NULL;
  if (!take_int(env, values[3], "spinMicroseconds", 0, SPIN_MAX, &spin)) return NULL;
  if (!take_int32_column(env, values[4], "spent", &spent)) return NULL;
  if (spent.count < SPENT_CELLS) {
    (void)refuse_range(env, "spent", "at least 2 long");
    return NULL;
  }
  return give_number(env, spin_then_sleep(&waiting, timeout, spin, (int32_t *)spent.data));
}
