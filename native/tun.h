/* TUN device queues. */
#ifndef ISTHMUS_TUN_H
#define ISTHMUS_TUN_H

#include <node_api.h>

/* struct virtio_net_hdr is 10 bytes, virtio_net_hdr_mrg_rxbuf 12, the v1 hash header 20, with room for what follows. */
enum { VNET_HEADER_MAX = 64 };

napi_value tun_open(napi_env env, napi_callback_info info);
napi_value tun_persist(napi_env env, napi_callback_info info);
napi_value tun_offload(napi_env env, napi_callback_info info);
napi_value tun_receive(napi_env env, napi_callback_info info);
napi_value tun_send(napi_env env, napi_callback_info info);

#endif
