#include "arguments.h"

#include <stdio.h>
#include <string.h>

static bool refuse(napi_env env, const char *code, const char *name, const char *expected) {
  char message[192];
  (void)snprintf(message, sizeof message, "\"%s\" must be %s", name, expected);
  (void)napi_throw_type_error(env, code, message);
  return false;
}

bool refuse_type(napi_env env, const char *name, const char *expected) {
  return refuse(env, "ERR_INVALID_ARG_TYPE", name, expected);
}

bool refuse_range(napi_env env, const char *name, const char *expected) {
  return refuse(env, "ERR_OUT_OF_RANGE", name, expected);
}

bool take_arguments(napi_env env, napi_callback_info info, size_t wanted, napi_value values[ARGUMENTS_MAX]) {
  size_t count = ARGUMENTS_MAX;
  if (napi_get_cb_info(env, info, &count, values, NULL, NULL) != napi_ok) {
    return refuse_type(env, "arguments", "readable");
  }
  if (count < wanted) {
    char expected[64];
    (void)snprintf(expected, sizeof expected, "%zu values, got %zu", wanted, count);
    return refuse_type(env, "arguments", expected);
  }
  return true;
}

bool take_integer(napi_env env, napi_value value, const char *name, int64_t least, int64_t most, int64_t *result) {
  /* Through a double: napi_get_value_int32 would silently turn 1.5 into 1, 2^32 into 0 and NaN into 0. */
  double number;
  if (napi_get_value_double(env, value, &number) != napi_ok) return refuse_type(env, name, "a number");
  if (!(number >= (double)least && number <= (double)most) || (double)(int64_t)number != number) {
    char expected[96];
    (void)snprintf(expected, sizeof expected, "an integer from %lld to %lld", (long long)least, (long long)most);
    return refuse_range(env, name, expected);
  }
  *result = (int64_t)number;
  return true;
}

bool take_int(napi_env env, napi_value value, const char *name, int least, int most, int *result) {
  int64_t wide;
  if (!take_integer(env, value, name, least, most, &wide)) return false;
  *result = (int)wide;
  return true;
}

bool take_descriptor(napi_env env, napi_value value, int *fd) {
  return take_int(env, value, "fd", 0, INT32_MAX, fd);
}

bool take_boolean(napi_env env, napi_value value, const char *name, bool *result) {
  if (napi_get_value_bool(env, value, result) != napi_ok) return refuse_type(env, name, "a boolean");
  return true;
}

bool take_text(napi_env env, napi_value value, const char *name, char *out, size_t room, size_t *length) {
  size_t needed;
  if (napi_get_value_string_utf8(env, value, NULL, 0, &needed) != napi_ok) {
    return refuse_type(env, name, "a string");
  }
  if (needed == 0 || needed >= room) {
    char expected[64];
    (void)snprintf(expected, sizeof expected, "1 to %zu bytes of UTF-8", room - 1);
    return refuse_range(env, name, expected);
  }
  size_t copied;
  if (napi_get_value_string_utf8(env, value, out, room, &copied) != napi_ok) {
    return refuse_type(env, name, "a string");
  }
  if (memchr(out, 0, copied) != NULL) return refuse_range(env, name, "text without a NUL character");
  if (length != NULL) *length = copied;
  return true;
}

static bool take_array(napi_env env, napi_value value, const char *name, napi_typedarray_type wanted, const char *expected,
                       void **data, size_t *count) {
  bool is_typed_array = false;
  if (napi_is_typedarray(env, value, &is_typed_array) != napi_ok || !is_typed_array) {
    return refuse_type(env, name, expected);
  }
  napi_typedarray_type type;
  if (napi_get_typedarray_info(env, value, &type, count, data, NULL, NULL) != napi_ok || type != wanted) {
    return refuse_type(env, name, expected);
  }
  /* A detached buffer reads as empty, so every later range check refuses it. Not NULL: to that even 0 must not be added (C17 6.5.6). */
  static double nothing;
  if (*count == 0) *data = &nothing;
  return true;
}

bool take_bytes(napi_env env, napi_value value, const char *name, struct bytes *result) {
  void *data = NULL;
  if (!take_array(env, value, name, napi_uint8_array, "a Uint8Array", &data, &result->count)) return false;
  result->data = data;
  return true;
}

static bool take_column(napi_env env, napi_value value, const char *name, napi_typedarray_type wanted,
                        const char *expected, struct column *result) {
  void *data = NULL;
  if (!take_array(env, value, name, wanted, expected, &data, &result->count)) return false;
  result->data = data;
  return true;
}

bool take_int32_column(napi_env env, napi_value value, const char *name, struct column *result) {
  return take_column(env, value, name, napi_int32_array, "an Int32Array", result);
}

bool take_uint32_column(napi_env env, napi_value value, const char *name, struct column *result) {
  return take_column(env, value, name, napi_uint32_array, "a Uint32Array", result);
}

bool take_float64_column(napi_env env, napi_value value, const char *name, struct column *result) {
  return take_column(env, value, name, napi_float64_array, "a Float64Array", result);
}

napi_value give_number(napi_env env, int64_t number) {
  napi_value value = NULL;
  (void)napi_create_int64(env, number, &value);
  return value;
}
