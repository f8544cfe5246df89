/*
 * The load generator of `isthmus bench`: sending, receiving and echoing in C, so that JavaScript never limits what is measured.
 * Unlike the rest of the addon these functions block, each at most LOAD_SLICE_NS, whatever moment the caller names: the thread that calls
 * them does nothing else, but has to hear of a stop. Moments are nanoseconds of CLOCK_MONOTONIC in a double, exact to 2 ns for centuries.
 */
#ifndef ISTHMUS_LOAD_H
#define ISTHMUS_LOAD_H

#include "arguments.h"
#include "system.h"

#include <netinet/in.h>
#include <stdint.h>
#include <time.h>

enum {
  LOAD_SLICE_NS = 200 * 1000 * 1000,
  LOAD_MAGIC = 0x49535448,
  /* Payload of a jumbo frame: no path of interest carries more in one packet. */
  LOAD_PAYLOAD_MAX = 8972,
  /* One sendmmsg or recvmmsg, like the gateway's own. */
  LOAD_BATCH = 64,
  LOAD_FLOWS_MAX = 64,
  LOAD_BUFFER_MAX = 1 << 30,
};

/*
 * How the payload of every packet begins, in network order:
 *
 *    0       4       8          10         12         16        24
 *    | magic |  run  |   flow   |  unused  | sequence |  stamp  |
 *
 * `run` tells the packets of one measurement from those that an earlier one left in some queue. `stamp` is the sender's clock.
 */
struct load_head {
  uint32_t magic;
  uint32_t run;
  uint16_t flow;
  uint16_t unused;
  uint32_t sequence;
  uint64_t stamp;
};
_Static_assert(sizeof(struct load_head) == 24, "the head has no padding");

static inline int64_t monotonic_ns(void) {
  struct timespec now;
  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Also an ICMP error about an earlier packet, which a connected socket reports at the next call: the packet is missing, nothing is over. */
static inline bool is_passing(int error) {
  return error == EINTR || is_full_or_empty(error) || error == ECONNREFUSED || error == EHOSTUNREACH || error == ENETUNREACH;
}

/* A moment of this machine's uptime, cut to one slice from now. */
bool take_slice_end(napi_env env, napi_value value, int64_t *until);
/* An address and a port, in host order; port 0 where `least` is 0 leaves it open. */
bool take_address(napi_env env, const napi_value values[], int least, struct sockaddr_in *name);

napi_value udp_open(napi_env env, napi_callback_info info);
napi_value icmp_open(napi_env env, napi_callback_info info);
napi_value load_send(napi_env env, napi_callback_info info);
napi_value load_receive(napi_env env, napi_callback_info info);
napi_value echo_serve(napi_env env, napi_callback_info info);
napi_value round_trips(napi_env env, napi_callback_info info);
napi_value tcp_listen(napi_env env, napi_callback_info info);
napi_value tcp_connect(napi_env env, napi_callback_info info);
napi_value stream_send(napi_env env, napi_callback_info info);
napi_value stream_receive(napi_env env, napi_callback_info info);

#endif
