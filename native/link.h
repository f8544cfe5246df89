/* Packets sent through a packet socket (packet(7)), straight to a next hop that TypeScript knows: past routing and netfilter. */
#ifndef ISTHMUS_LINK_H
#define ISTHMUS_LINK_H

#include <node_api.h>

napi_value link_open(napi_env env, napi_callback_info info);
napi_value link_listen(napi_env env, napi_callback_info info);
napi_value link_send(napi_env env, napi_callback_info info);

#endif
