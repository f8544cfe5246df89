/*
 * The boundary between JavaScript and the system calls: every argument is checked here once for type and range. A failed check
 * leaves a TypeError pending (code ERR_INVALID_ARG_TYPE or ERR_OUT_OF_RANGE) and returns false; the entry point then returns NULL.
 * Behind this boundary the static functions trust their sizes.
 *
 * Typed arrays over a SharedArrayBuffer: napi_get_typedarray_info gives their data pointer and length on Node 20 and on Node 24
 * like those over an ArrayBuffer, as long as its `arraybuffer` result is not asked for. napi_get_buffer_info does not promise it, so
 * it is not used. The memory belongs to the caller, who keeps the array alive during the call; nothing here holds on to it.
 */
#ifndef ISTHMUS_ARGUMENTS_H
#define ISTHMUS_ARGUMENTS_H

#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  ARGUMENTS_MAX = 10,
  /* Packets of one call. mmsghdr, iovec and address of this many are 24 KiB on the stack: small even for a worker's. */
  PACKETS_MAX = 256,
  /* What one packet may span: an IPv4 packet is at most 65,535 bytes, a vnet header goes before it. */
  ROOM_MAX = 131072,
};

struct bytes {
  uint8_t *data;
  size_t count;
};

struct column {
  const void *data; /* int32_t, uint32_t or double, as taken */
  size_t count;
};

/* Reads exactly `wanted` arguments; fewer are a TypeError, more are ignored as JavaScript does. */
bool take_arguments(napi_env env, napi_callback_info info, size_t wanted, napi_value values[ARGUMENTS_MAX]);

/* An integral number in [least, most]. */
bool take_integer(napi_env env, napi_value value, const char *name, int64_t least, int64_t most, int64_t *result);
bool take_int(napi_env env, napi_value value, const char *name, int least, int most, int *result);
bool take_descriptor(napi_env env, napi_value value, int *fd);
bool take_boolean(napi_env env, napi_value value, const char *name, bool *result);
/* UTF-8 text of 1 .. room - 1 bytes without a NUL inside; `length` may be NULL. */
bool take_text(napi_env env, napi_value value, const char *name, char *out, size_t room, size_t *length);
bool take_bytes(napi_env env, napi_value value, const char *name, struct bytes *result);
bool take_int32_column(napi_env env, napi_value value, const char *name, struct column *result);
bool take_uint32_column(napi_env env, napi_value value, const char *name, struct column *result);
bool take_float64_column(napi_env env, napi_value value, const char *name, struct column *result);

/* Always false, with a TypeError pending, so that a check can end in `return refuse(...)`. */
bool refuse_type(napi_env env, const char *name, const char *expected);
bool refuse_range(napi_env env, const char *name, const char *expected);

napi_value give_number(napi_env env, int64_t number);

/*
 * A column may lie in shared memory that another thread writes. Each cell is therefore read exactly once, into a local that is
 * checked and then used: a compiler must not read it again after the check.
 */
static inline int64_t cell(const struct column *column, size_t index) {
  return ((const volatile int32_t *)column->data)[index];
}
static inline uint32_t cell_u32(const struct column *column, size_t index) {
  return ((const volatile uint32_t *)column->data)[index];
}

#endif
