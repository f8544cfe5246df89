/* Raw sockets of both families. */
#ifndef ISTHMUS_RAW_H
#define ISTHMUS_RAW_H

#include <node_api.h>

napi_value raw_open(napi_env env, napi_callback_info info);
napi_value raw_open6(napi_env env, napi_callback_info info);
napi_value raw_bind6(napi_env env, napi_callback_info info);
napi_value raw_receive6(napi_env env, napi_callback_info info);
napi_value udp_hold(napi_env env, napi_callback_info info);
napi_value raw_bind(napi_env env, napi_callback_info info);
napi_value raw_filter(napi_env env, napi_callback_info info);
napi_value raw_receive(napi_env env, napi_callback_info info);
napi_value raw_send(napi_env env, napi_callback_info info);
napi_value raw_overflow(napi_env env, napi_callback_info info);

#endif
