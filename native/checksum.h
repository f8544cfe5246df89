/* The internet checksum (RFC 1071) of packets that are cut or merged here, where each payload byte is read once and nothing is copied. */
#ifndef ISTHMUS_CHECKSUM_H
#define ISTHMUS_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/*
 * The folded ones-complement sum of the 16-bit words in bytes[0 .. length), high byte first; an odd last byte counts as a high one.
 * Below 2^16, so that many of them may be added up before the next fold. Any alignment, any length below 2^31.
 */
uint32_t checksum_sum(const uint8_t *bytes, size_t length);

/* Folds the carries of a sum back in. Intact data with its checksum folds to 0xffff. */
static inline uint16_t checksum_fold(uint32_t sum) {
  sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

#endif
