/*
 * Registration. The addon keeps no global state, so that it loads in the main thread and in any number of workers. NAPI_MODULE_INIT
 * exports a well-known symbol instead of registering in a constructor, which is what makes loading it more than once possible.
 */
#include "coalesce.h"
#include "link.h"
#include "load.h"
#include "netlink.h"
#include "raw.h"
#include "segment.h"
#include "tun.h"
#include "unix.h"
#include "wake.h"

#include <stddef.h>

#define FUNCTION(name, call) {name, NULL, call, NULL, NULL, NULL, napi_enumerable, NULL}

NAPI_MODULE_INIT() {
  /* The names are the interface Native of src/io/native.ts; test/system/io checks that the two agree. */
  const napi_property_descriptor functions[] = {
      FUNCTION("tunOpen", tun_open),
      FUNCTION("tunPersist", tun_persist),
      FUNCTION("tunOffload", tun_offload),
      FUNCTION("tunReceive", tun_receive),
      FUNCTION("tunSend", tun_send),
      FUNCTION("coalesce", coalesce),
      FUNCTION("rawOpen", raw_open),
      FUNCTION("rawBind", raw_bind),
      FUNCTION("rawOpen6", raw_open6),
      FUNCTION("rawBind6", raw_bind6),
      FUNCTION("rawReceive6", raw_receive6),
      FUNCTION("rawFilter", raw_filter),
      FUNCTION("rawReceive", raw_receive),
      FUNCTION("rawSend", raw_send),
      FUNCTION("rawOverflow", raw_overflow),
      FUNCTION("udpHold", udp_hold),
      FUNCTION("segment", segment),
      FUNCTION("linkOpen", link_open),
      FUNCTION("linkListen", link_listen),
      FUNCTION("linkSend", link_send),
      FUNCTION("wakeOpen", wake_open),
      FUNCTION("wakeSignal", wake_signal),
      FUNCTION("wakeDrain", wake_drain),
      FUNCTION("poll", wake_poll),
      FUNCTION("wait", wake_wait),
      FUNCTION("watch", watch),
      FUNCTION("unwatch", unwatch),
      FUNCTION("netlinkOpen", netlink_open),
      FUNCTION("netlinkSend", netlink_send),
      FUNCTION("netlinkReceive", netlink_receive),
      FUNCTION("udpOpen", udp_open),
      FUNCTION("icmpOpen", icmp_open),
      FUNCTION("loadSend", load_send),
      FUNCTION("loadReceive", load_receive),
      FUNCTION("echoServe", echo_serve),
      FUNCTION("roundTrips", round_trips),
      FUNCTION("tcpListen", tcp_listen),
      FUNCTION("tcpConnect", tcp_connect),
      FUNCTION("streamSend", stream_send),
      FUNCTION("streamReceive", stream_receive),
      FUNCTION("unixDatagram", unix_datagram),
      FUNCTION("close", close_descriptor),
      FUNCTION("deviceIndex", device_index),
  };
  if (napi_define_properties(env, exports, sizeof functions / sizeof functions[0], functions) != napi_ok) return NULL;
  return exports;
}
