/*
 * As much of Node-API as the fuzzed entry points use, without Node: an engine would take most of the time and hide from AddressSanitizer
 * where arrays end. A value is what a caller in JavaScript could pass; arrays lie in memory of exactly their size.
 */
#ifndef ISTHMUS_FUZZ_NODE_API_H
#define ISTHMUS_FUZZ_NODE_API_H

#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum value_kind { VALUE_NUMBER, VALUE_ARRAY, VALUE_BOOLEAN, VALUE_OTHER };

struct value {
  enum value_kind kind;
  double number;
  napi_typedarray_type type;
  void *data;
  size_t count;
};

enum { VALUES_MAX = 12 };

struct call {
  size_t count;
  struct value values[VALUES_MAX];
};

typedef napi_value (*entry_point)(napi_env env, napi_callback_info info);

/* Calls `function`. Returns true with its number in `result`, or false when it threw a TypeError. Aborts on anything else. */
bool call_addon(entry_point function, const struct call *call, double *result);

struct value number_value(double number);
/* Memory of exactly `count` elements, zeroed; the caller frees `data`. */
struct value array_value(napi_typedarray_type type, size_t count);

/* Input that is read byte by byte; behind its end all are 0. */
struct reader {
  const uint8_t *data;
  size_t size;
  size_t at;
};

uint8_t read_byte(struct reader *reader);
uint16_t read_u16(struct reader *reader);
uint32_t read_u32(struct reader *reader);

/* The ones-complement sum of RFC 1071, the slow way: not the addon's. */
uint16_t slow_sum(const uint8_t *bytes, size_t length, uint32_t start);

/* Aborts, which libFuzzer reports with the input. */
void must(bool holds, const char *what);

#endif
