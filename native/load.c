#define _GNU_SOURCE
#include "load.h"

#include "system.h"

#include <arpa/inet.h>
#include <endian.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

/* Cells of `progress`, as src/io/native.ts names them. */
enum { SEND_START, SEND_PER_SECOND, SEND_SENT, SEND_REFUSED, SEND_CURSOR, SEND_CELLS };
/* Cells of `counts`. */
enum { COUNT_PACKETS, COUNT_BYTES, COUNT_DUPLICATES, COUNT_REORDERED, COUNT_FOREIGN, COUNT_CELLS };

enum {
  /* Of one flow in `flows`: the sequence number that comes next, then a bit for each of the last WINDOW numbers. */
  WINDOW = 256,
  FLOW_WORDS = 1 + WINDOW / 32,
  /* A sender that is ahead sleeps at least this long, or the burst at each wake-up would be one packet, and a core gone for nothing. */
  AHEAD_NS = 50 * 1000,
  /* A full send buffer is looked at again this soon. */
  FULL_MS = 1,
  /* A receiver that waits in poll(2) would be woken for each packet, at the cost of the path under test; one that looks now and then is
   * not, and its buffer holds what comes meanwhile. */
  LOOK_NS = 300 * 1000,
};

static const uint8_t filler[LOAD_PAYLOAD_MAX];

static void sleep_ns(int64_t ns) {
  if (ns <= 0) return;
  const struct timespec pause = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
  (void)nanosleep(&pause, NULL);
}

bool take_slice_end(napi_env env, napi_value value, int64_t *until) {
  if (!take_integer(env, value, "untilNs", 0, (INT64_C(1) << 53) - 1, until)) return false;
  int64_t latest = monotonic_ns() + LOAD_SLICE_NS;
  if (*until > latest) *until = latest;
  return true;
}

bool take_address(napi_env env, const napi_value values[], int least, struct sockaddr_in *name) {
  int64_t address;
  int port;
  if (!take_integer(env, values[0], "address", 0, UINT32_MAX, &address)) return false;
  if (!take_int(env, values[1], "port", least, UINT16_MAX, &port)) return false;
  memset(name, 0, sizeof *name);
  name->sin_family = AF_INET;
  name->sin_addr.s_addr = htonl((uint32_t)address);
  name->sin_port = htons((uint16_t)port);
  return true;
}

static int open_udp(const struct sockaddr_in *local, const struct sockaddr_in *remote, int buffer) {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  if (bind(fd, (const struct sockaddr *)local, sizeof *local) != 0) return close_and_fail(fd, errno);
  bool connects = remote->sin_port != 0;
  if (connects && connect(fd, (const struct sockaddr *)remote, sizeof *remote) != 0) return close_and_fail(fd, errno);
  int result = set_receive_buffer(fd, buffer);
  if (result == 0) result = set_send_buffer(fd, buffer);
  return result == 0 ? fd : close_and_fail(fd, -result);
}

napi_value udp_open(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  struct sockaddr_in local;
  struct sockaddr_in remote;
  int buffer;
  if (!take_arguments(env, info, 5, values)) return NULL;
  if (!take_address(env, values, 0, &local)) return NULL;
  if (!take_address(env, values + 2, 0, &remote)) return NULL;
  if (!take_int(env, values[4], "bufferBytes", 0, LOAD_BUFFER_MAX, &buffer)) return NULL;
  return give_number(env, open_udp(&local, &remote, buffer));
}

struct sender {
  int fds[LOAD_FLOWS_MAX];
  size_t flows;
  int32_t sizes[LOAD_BATCH];
  size_t size_count;
  uint32_t *sequence;
  double *progress;
  uint32_t run;
  int64_t until;
};

/* How many packets are due at `now`; without a rate there is always a whole batch. */
static int64_t due_packets(const struct sender *sender, int64_t now) {
  double rate = sender->progress[SEND_PER_SECOND];
  if (!(rate > 0)) return LOAD_BATCH;
  double due = ((double)now - sender->progress[SEND_START]) * rate / 1e9 - sender->progress[SEND_SENT];
  if (!(due >= 1)) return 0;
  return due > LOAD_BATCH ? LOAD_BATCH : (int64_t)due;
}

static int64_t until_due(const struct sender *sender, int64_t now) {
  const double *progress = sender->progress;
  double due_at = progress[SEND_START] + (progress[SEND_SENT] + 1) * 1e9 / progress[SEND_PER_SECOND];
  double ahead = due_at - (double)now;
  if (!(ahead > AHEAD_NS)) ahead = AHEAD_NS;
  return ahead > (double)(sender->until - now) ? sender->until - now : (int64_t)ahead;
}

/* Hands `count` packets of the flow whose turn it is to the kernel. Returns how many it took, or -errno. */
static int send_flow(struct sender *sender, size_t flow, size_t count, int64_t now) {
  struct mmsghdr messages[LOAD_BATCH];
  struct iovec pieces[LOAD_BATCH][2];
  struct load_head heads[LOAD_BATCH];
  memset(messages, 0, count * sizeof messages[0]);
  size_t turn = (size_t)sender->progress[SEND_CURSOR];
  for (size_t i = 0; i < count; i++) {
    heads[i] = (struct load_head){
        .magic = htonl(LOAD_MAGIC),
        .run = htonl(sender->run),
        .flow = htons((uint16_t)flow),
        .sequence = htonl(sender->sequence[flow] + (uint32_t)i),
        .stamp = htobe64((uint64_t)now),
    };
    size_t payload = (size_t)sender->sizes[(turn + i) % sender->size_count];
    pieces[i][0] = (struct iovec){.iov_base = &heads[i], .iov_len = sizeof heads[i]};
    pieces[i][1] = (struct iovec){.iov_base = (void *)(uintptr_t)filler, .iov_len = payload - sizeof heads[i]};
    messages[i].msg_hdr.msg_iov = pieces[i];
    messages[i].msg_hdr.msg_iovlen = 2;
  }
  int sent = sendmmsg(sender->fds[flow], messages, (unsigned)count, MSG_DONTWAIT);
  return sent >= 0 ? sent : -errno;
}

static int64_t send_slice(struct sender *sender) {
  double *progress = sender->progress;
  for (;;) {
    int64_t now = monotonic_ns();
    if (now >= sender->until) return 0;
    int64_t due = due_packets(sender, now);
    if (due == 0) {
      sleep_ns(until_due(sender, now));
      continue;
    }
    /* Whole cursors are packets; the flow changes with each call. */
    size_t flow = (size_t)(progress[SEND_SENT] + progress[SEND_REFUSED]) % sender->flows;
    int sent = send_flow(sender, flow, (size_t)due, now);
    if (sent > 0) {
      sender->sequence[flow] += (uint32_t)sent;
      progress[SEND_SENT] += sent;
      progress[SEND_CURSOR] = (double)(((size_t)progress[SEND_CURSOR] + (size_t)sent) % sender->size_count);
      continue;
    }
    if (sent < 0 && !is_passing(-sent)) return sent;
    progress[SEND_REFUSED] += 1;
    struct pollfd full = {.fd = sender->fds[flow], .events = POLLOUT};
    (void)poll(&full, 1, FULL_MS);
  }
}

static bool take_sender(napi_env env, const napi_value values[], struct sender *sender) {
  struct column fds;
  struct column sizes;
  struct column sequence;
  struct column progress;
  int64_t run;
  if (!take_int32_column(env, values[0], "fds", &fds)) return false;
  if (fds.count == 0 || fds.count > LOAD_FLOWS_MAX) return refuse_range(env, "fds", "1 to 64 descriptors");
  if (!take_int32_column(env, values[1], "payloadBytes", &sizes)) return false;
  if (sizes.count == 0 || sizes.count > LOAD_BATCH) return refuse_range(env, "payloadBytes", "1 to 64 sizes");
  if (!take_uint32_column(env, values[2], "sequence", &sequence)) return false;
  if (sequence.count < fds.count) return refuse_range(env, "sequence", "as long as \"fds\"");
  if (!take_float64_column(env, values[3], "progress", &progress)) return false;
  if (progress.count < SEND_CELLS) return refuse_range(env, "progress", "at least 5 long");
  if (!take_integer(env, values[4], "run", 0, UINT32_MAX, &run)) return false;
  for (size_t i = 0; i < fds.count; i++) {
    int64_t fd = cell(&fds, i);
    if (fd < 0) return refuse_range(env, "fds", "open descriptors");
    sender->fds[i] = (int)fd;
  }
  for (size_t i = 0; i < sizes.count; i++) {
    int64_t size = cell(&sizes, i);
    if (size < (int64_t)sizeof(struct load_head) || size > LOAD_PAYLOAD_MAX) {
      return refuse_range(env, "payloadBytes", "from 24 to 8972");
    }
    sender->sizes[i] = (int32_t)size;
  }
  sender->flows = fds.count;
  sender->size_count = sizes.count;
  sender->sequence = (uint32_t *)(uintptr_t)sequence.data;
  sender->progress = (double *)(uintptr_t)progress.data;
  sender->run = (uint32_t)run;
  /* They index and count here, so what is no count must not get further: NaN, negative, beyond what a double counts exactly. */
  for (size_t i = 0; i < SEND_CELLS; i++) {
    double value = sender->progress[i];
    if (!(value >= 0 && value <= 9007199254740992.0)) return refuse_range(env, "progress", "cells from 0 to 2^53");
  }
  return true;
}

napi_value load_send(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  struct sender sender;
  if (!take_arguments(env, info, 6, values)) return NULL;
  if (!take_sender(env, values, &sender)) return NULL;
  if (!take_slice_end(env, values[5], &sender.until)) return NULL;
  return give_number(env, send_slice(&sender));
}

enum sight { NEW, LATE, AGAIN };

/* What a sequence number is to its flow: the highest so far or above, one that was overtaken, or one that was here before. */
static enum sight note(uint32_t *flow, uint32_t sequence) {
  uint32_t *bits = flow + 1;
  uint32_t next = flow[0];
  uint32_t mask = UINT32_C(1) << (sequence % 32);
  uint32_t *word = &bits[sequence % WINDOW / 32];
  if (sequence >= next) {
    uint32_t from = sequence - next >= WINDOW ? sequence - WINDOW + 1 : next;
    for (uint32_t skipped = from; skipped != sequence; skipped++) {
      bits[skipped % WINDOW / 32] &= ~(UINT32_C(1) << (skipped % 32));
    }
    *word |= mask;
    flow[0] = sequence + 1;
    return NEW;
  }
  /* So old that its bit is another's: taken for overtaken, which is by far more common. */
  if (next - sequence > WINDOW) return LATE;
  if ((*word & mask) != 0) return AGAIN;
  *word |= mask;
  return LATE;
}

static void count_packet(const struct load_head *head, uint32_t length, uint32_t run, uint32_t *flows, size_t flow_count,
                         double *counts) {
  uint16_t flow = ntohs(head->flow);
  bool ours = length >= sizeof *head && ntohl(head->magic) == LOAD_MAGIC && ntohl(head->run) == run && flow < flow_count;
  if (!ours) {
    counts[COUNT_FOREIGN] += 1;
    return;
  }
  enum sight sight = note(flows + (size_t)flow * FLOW_WORDS, ntohl(head->sequence));
  if (sight == AGAIN) {
    counts[COUNT_DUPLICATES] += 1;
    return;
  }
  counts[COUNT_PACKETS] += 1;
  counts[COUNT_BYTES] += length;
  if (sight == LATE) counts[COUNT_REORDERED] += 1;
}

static int64_t receive_slice(int fd, uint32_t *flows, size_t flow_count, double *counts, uint32_t run, int64_t until) {
  struct mmsghdr messages[LOAD_BATCH];
  struct iovec pieces[LOAD_BATCH];
  struct load_head heads[LOAD_BATCH];
  memset(heads, 0, sizeof heads);
  for (;;) {
    int64_t now = monotonic_ns();
    if (now >= until) return 0;
    memset(messages, 0, sizeof messages);
    for (size_t i = 0; i < LOAD_BATCH; i++) {
      pieces[i] = (struct iovec){.iov_base = &heads[i], .iov_len = sizeof heads[i]};
      messages[i].msg_hdr.msg_iov = &pieces[i];
      messages[i].msg_hdr.msg_iovlen = 1;
    }
    /* MSG_TRUNC: the length of the whole datagram, of which only the head is copied. */
    int received = recvmmsg(fd, messages, LOAD_BATCH, MSG_DONTWAIT | MSG_TRUNC, NULL);
    if (received < 0 && !is_passing(errno)) return -errno;
    for (int i = 0; i < received; i++) count_packet(&heads[i], messages[i].msg_len, run, flows, flow_count, counts);
    if (received < LOAD_BATCH) sleep_ns(until - now > LOOK_NS ? LOOK_NS : until - now);
  }
}

napi_value load_receive(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  int fd;
  struct column flows;
  struct column counts;
  int64_t run;
  int64_t until;
  if (!take_arguments(env, info, 5, values)) return NULL;
  if (!take_descriptor(env, values[0], &fd)) return NULL;
  if (!take_uint32_column(env, values[1], "flows", &flows)) return NULL;
  if (!take_float64_column(env, values[2], "counts", &counts)) return NULL;
  if (counts.count < COUNT_CELLS) {
    (void)refuse_range(env, "counts", "at least 5 long");
    return NULL;
  }
  if (!take_integer(env, values[3], "run", 0, UINT32_MAX, &run)) return NULL;
  if (!take_slice_end(env, values[4], &until)) return NULL;
  uint32_t *states = (uint32_t *)(uintptr_t)flows.data;
  double *cells = (double *)(uintptr_t)counts.data;
  return give_number(env, receive_slice(fd, states, flows.count / FLOW_WORDS, cells, (uint32_t)run, until));
}
