/* Waiting: eventfd, poll(2) for packet workers, a libuv watcher for the main thread. */
#ifndef ISTHMUS_WAKE_H
#define ISTHMUS_WAKE_H

#include <node_api.h>

napi_value wake_open(napi_env env, napi_callback_info info);
napi_value wake_signal(napi_env env, napi_callback_info info);
napi_value wake_drain(napi_env env, napi_callback_info info);
napi_value wake_poll(napi_env env, napi_callback_info info);
napi_value wake_wait(napi_env env, napi_callback_info info);
napi_value watch(napi_env env, napi_callback_info info);
napi_value unwatch(napi_env env, napi_callback_info info);

#endif
