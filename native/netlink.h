/* rtnetlink sockets: datagrams in and out. Messages are built and parsed in TypeScript. */
#ifndef ISTHMUS_NETLINK_H
#define ISTHMUS_NETLINK_H

#include <node_api.h>

napi_value netlink_open(napi_env env, napi_callback_info info);
napi_value netlink_send(napi_env env, napi_callback_info info);
napi_value netlink_receive(napi_env env, napi_callback_info info);

#endif
