#include "node-api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One call at a time, so one of each is enough. */
static bool has_thrown;
static struct value returned;

static struct value *of(napi_value value) { return (struct value *)value; }

bool call_addon(entry_point function, const struct call *call, double *result) {
  has_thrown = false;
  struct call copy = *call;
  napi_value value = function(NULL, (napi_callback_info)&copy);
  must((value == NULL) == has_thrown, "a call returns a number or throws");
  if (has_thrown) return false;
  *result = of(value)->number;
  return true;
}

napi_status NAPI_CDECL napi_get_cb_info(napi_env env, napi_callback_info info, size_t *count, napi_value *values, napi_value *self,
                                        void **data) {
  (void)env, (void)self, (void)data;
  struct call *call = (struct call *)info;
  static struct value undefined = {.kind = VALUE_OTHER};
  for (size_t i = 0; i < *count; i++) values[i] = (napi_value)(i < call->count ? &call->values[i] : &undefined);
  *count = call->count;
  return napi_ok;
}

napi_status NAPI_CDECL napi_get_value_double(napi_env env, napi_value value, double *result) {
  (void)env;
  if (of(value)->kind != VALUE_NUMBER) return napi_number_expected;
  *result = of(value)->number;
  return napi_ok;
}

napi_status NAPI_CDECL napi_get_value_bool(napi_env env, napi_value value, bool *result) {
  (void)env;
  if (of(value)->kind != VALUE_BOOLEAN) return napi_boolean_expected;
  *result = of(value)->number != 0;
  return napi_ok;
}

napi_status NAPI_CDECL napi_get_value_string_utf8(napi_env env, napi_value value, char *text, size_t room, size_t *length) {
  (void)env, (void)value, (void)text, (void)room, (void)length;
  return napi_string_expected;
}

napi_status NAPI_CDECL napi_is_typedarray(napi_env env, napi_value value, bool *result) {
  (void)env;
  *result = of(value)->kind == VALUE_ARRAY;
  return napi_ok;
}

napi_status NAPI_CDECL napi_get_typedarray_info(napi_env env, napi_value value, napi_typedarray_type *type, size_t *length, void **data,
                                                napi_value *buffer, size_t *offset) {
  (void)env, (void)buffer, (void)offset;
  if (of(value)->kind != VALUE_ARRAY) return napi_invalid_arg;
  *type = of(value)->type;
  *length = of(value)->count;
  *data = of(value)->data;
  return napi_ok;
}

napi_status NAPI_CDECL napi_throw_type_error(napi_env env, const char *code, const char *message) {
  (void)env;
  must(!has_thrown, "one error at a time");
  must(strcmp(code, "ERR_INVALID_ARG_TYPE") == 0 || strcmp(code, "ERR_OUT_OF_RANGE") == 0, "an error has its code");
  must(strlen(message) > 0, "an error says something");
  has_thrown = true;
  return napi_ok;
}

napi_status NAPI_CDECL napi_create_int64(napi_env env, int64_t number, napi_value *result) {
  (void)env;
  returned = number_value((double)number);
  *result = (napi_value)&returned;
  return napi_ok;
}

struct value number_value(double number) { return (struct value){.kind = VALUE_NUMBER, .number = number}; }

struct value array_value(napi_typedarray_type type, size_t count) {
  size_t size = type == napi_uint8_array ? 1 : type == napi_float64_array ? 8 : 4;
  /* Not less than a byte, so that an empty array has an address too. */
  void *data = calloc(count * size + (count == 0), 1);
  must(data != NULL, "memory");
  return (struct value){.kind = VALUE_ARRAY, .type = type, .data = data, .count = count};
}

uint8_t read_byte(struct reader *reader) { return reader->at < reader->size ? reader->data[reader->at++] : 0; }

uint16_t read_u16(struct reader *reader) {
  uint16_t high = read_byte(reader);
  return (uint16_t)(high << 8 | read_byte(reader));
}

uint32_t read_u32(struct reader *reader) {
  uint32_t high = read_u16(reader);
  return high << 16 | read_u16(reader);
}

uint16_t slow_sum(const uint8_t *bytes, size_t length, uint32_t start) {
  uint64_t sum = start;
  for (size_t i = 0; i < length; i++) sum += (uint64_t)bytes[i] * (i % 2 == 0 ? 256 : 1);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)sum;
}

void must(bool holds, const char *what) {
  if (holds) return;
  (void)fprintf(stderr, "wrong: %s\n", what);
  abort();
}
