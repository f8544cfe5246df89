/* Cutting of what the TUN device hands over unsegmented: `segment` of src/io/native.ts. No system call. */
#ifndef ISTHMUS_SEGMENT_H
#define ISTHMUS_SEGMENT_H

#include <node_api.h>

napi_value segment(napi_env env, napi_callback_info info);

#endif
