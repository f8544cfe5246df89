/* Datagrams to unix sockets, and what is left: closing, device indexes. */
#ifndef ISTHMUS_UNIX_H
#define ISTHMUS_UNIX_H

#include <node_api.h>

napi_value unix_datagram(napi_env env, napi_callback_info info);
napi_value close_descriptor(napi_env env, napi_callback_info info);
napi_value device_index(napi_env env, napi_callback_info info);

#endif
