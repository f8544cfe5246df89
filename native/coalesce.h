/* Merging of received packets before they are written to the TUN device: `coalesce` of src/io/native.ts. No system call. */
#ifndef ISTHMUS_COALESCE_H
#define ISTHMUS_COALESCE_H

#include <node_api.h>

napi_value coalesce(napi_env env, napi_callback_info info);

#endif
