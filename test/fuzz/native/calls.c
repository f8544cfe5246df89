/*
 * Fuzzes the entry points that hand memory to the kernel, with arguments of any type, size and content. The kernel is played by this file:
 * it touches every byte that it is given, where AddressSanitizer sees it, and reads and answers what the input says.
 *
 * Input: the entry point, then its arguments, then what the kernel does.
 */
#define _GNU_SOURCE
#include "link.h"
#include "netlink.h"
#include "node-api.h"
#include "raw.h"
#include "segment.h"
#include "coalesce.h"
#include "tun.h"
#include "wake.h"

#include <errno.h>
#include <linux/filter.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* Arguments by letter: f descriptor, n number, b bytes, i int32, u uint32 array. */
static const struct {
  entry_point function;
  const char *arguments;
} ENTRY_POINTS[] = {
    {tun_receive, "fbiiinn"}, {tun_send, "fbiiinnn"},      {raw_receive, "fbiiin"},    {raw_send, "fbiiiunn"},
    {link_send, "fbiiiuiunn"}, {raw_filter, "fu"},          {netlink_send, "fbn"},      {netlink_receive, "fb"},
    {segment, "biiiinn"},      {coalesce, "biiiiiinnn"},    {wake_poll, "inn"},         {wake_wait, "innni"},
    {raw_overflow, "f"},       {tun_offload, "fn"},         {raw_bind, "fn"},           {wake_drain, "f"},
};

enum { ENTRY_POINT_COUNT = sizeof ENTRY_POINTS / sizeof ENTRY_POINTS[0], ARRAY_MAX = 600, BYTES_MAX = 4096 };

static struct reader kernel;
static volatile uint8_t seen;

static void touch(const void *bytes, size_t length) {
  for (size_t i = 0; i < length; i++) seen ^= ((const uint8_t *)bytes)[i];
}

/* Fills up to `length` bytes of `iovecs` with input; returns how many, or -1 with an errno. */
static ssize_t give(const struct iovec *iovecs, size_t count) {
  static const int ERRORS[] = {EAGAIN, EINTR, EBADF, ENOBUFS};
  /* It may fill all of the room, however little there is this time. */
  for (size_t i = 0; i < count; i++) touch(iovecs[i].iov_base, iovecs[i].iov_len);
  uint8_t what = read_byte(&kernel);
  if (kernel.at >= kernel.size || what < 8) {
    errno = kernel.at >= kernel.size ? EAGAIN : ERRORS[what % 4];
    return -1;
  }
  size_t left = what < 200 ? read_byte(&kernel) % 128 : read_u16(&kernel) % 4096;
  size_t got = 0;
  for (size_t i = 0; i < count; i++) {
    size_t part = left < iovecs[i].iov_len ? left : iovecs[i].iov_len;
    for (size_t k = 0; k < part; k++) ((uint8_t *)iovecs[i].iov_base)[k] = read_byte(&kernel);
    left -= part;
    got += part;
  }
  return (ssize_t)got;
}

static ssize_t take(const struct iovec *iovecs, size_t count) {
  ssize_t length = 0;
  for (size_t i = 0; i < count; i++) {
    touch(iovecs[i].iov_base, iovecs[i].iov_len);
    length += (ssize_t)iovecs[i].iov_len;
  }
  return length;
}

ssize_t __wrap_readv(int fd, const struct iovec *iovecs, int count);
ssize_t __wrap_readv(int fd, const struct iovec *iovecs, int count) {
  (void)fd;
  return give(iovecs, (size_t)count);
}

ssize_t __wrap_writev(int fd, const struct iovec *iovecs, int count);
ssize_t __wrap_writev(int fd, const struct iovec *iovecs, int count) {
  (void)fd;
  must(count >= 1 && count <= 1024, "as many iovecs as the kernel takes");
  return take(iovecs, (size_t)count);
}

int __wrap_recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, void *timeout);
int __wrap_recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, void *timeout) {
  (void)fd, (void)flags, (void)timeout;
  for (unsigned i = 0; i < count; i++) {
    ssize_t got = give(messages[i].msg_hdr.msg_iov, messages[i].msg_hdr.msg_iovlen);
    if (got < 0) return i > 0 ? (int)i : -1;
    messages[i].msg_len = (unsigned)got;
  }
  return (int)count;
}

int __wrap_sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags);
int __wrap_sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags) {
  (void)fd, (void)flags;
  unsigned taken = read_byte(&kernel) % (count + 1);
  for (unsigned i = 0; i < count; i++) {
    must(messages[i].msg_hdr.msg_iovlen <= 1024, "as many iovecs as the kernel takes");
    touch(messages[i].msg_hdr.msg_name, messages[i].msg_hdr.msg_namelen);
    messages[i].msg_len = (unsigned)take(messages[i].msg_hdr.msg_iov, messages[i].msg_hdr.msg_iovlen);
  }
  if (taken > 0) return (int)taken;
  errno = EAGAIN;
  return -1;
}

ssize_t __wrap_sendto(int fd, const void *bytes, size_t length, int flags, const struct sockaddr *name, socklen_t size);
ssize_t __wrap_sendto(int fd, const void *bytes, size_t length, int flags, const struct sockaddr *name, socklen_t size) {
  (void)fd, (void)flags;
  touch(bytes, length);
  touch(name, size);
  return (ssize_t)length;
}

ssize_t __wrap_recvfrom(int fd, void *bytes, size_t length, int flags, struct sockaddr *name, socklen_t *size);
ssize_t __wrap_recvfrom(int fd, void *bytes, size_t length, int flags, struct sockaddr *name, socklen_t *size) {
  (void)fd, (void)flags;
  memset(name, read_byte(&kernel) & 1, *size);
  struct iovec iovec = {.iov_base = bytes, .iov_len = length};
  ssize_t got = give(&iovec, 1);
  /* MSG_TRUNC: what was there, whatever of it fitted. */
  return got < 0 ? got : got + (read_byte(&kernel) & 1) * 1000;
}

int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t size);
int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t size) {
  (void)fd, (void)level, (void)name;
  touch(value, size);
  if (name == SO_ATTACH_FILTER) {
    const struct sock_fprog *program = value;
    touch(program->filter, program->len * sizeof program->filter[0]);
  }
  return 0;
}

int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *size);
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *size) {
  (void)fd, (void)level, (void)name;
  memset(value, read_byte(&kernel), *size);
  return 0;
}

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout) {
  (void)timeout;
  int ready = 0;
  for (nfds_t i = 0; i < count; i++) {
    fds[i].revents = (short)(fds[i].fd >= 0 ? read_byte(&kernel) & POLLIN : 0);
    ready += fds[i].revents != 0;
  }
  return ready;
}

int __wrap_bind(int fd, const struct sockaddr *name, socklen_t size);
int __wrap_bind(int fd, const struct sockaddr *name, socklen_t size) {
  (void)fd;
  touch(name, size);
  return 0;
}

int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...) {
  (void)fd, (void)request;
  return 0;
}

ssize_t __wrap_read(int fd, void *bytes, size_t length);
ssize_t __wrap_read(int fd, void *bytes, size_t length) {
  (void)fd;
  memset(bytes, 1, length);
  return (ssize_t)length;
}

static double read_number(struct reader *reader) {
  uint8_t kind = read_byte(reader);
  if (kind < 160) return read_byte(reader) % 80;
  if (kind < 200) return read_u16(reader);
  if (kind < 240) return (int32_t)read_u32(reader);
  static const double ODD[] = {-1, 0.5, 4294967296.0, 1e300, -1e300, 2147483647, 2147483648.0, 9007199254740992.0};
  return kind == 255 ? __builtin_nan("") : ODD[kind % 8];
}

/* Of the array of bytes and the column before: what makes an offset and a length end just there is hardly found by chance. */
enum { REMEMBERED = 16 };
static int32_t slab_bytes;
static int32_t column_before[REMEMBERED];

static int32_t read_cell(struct reader *reader, const int32_t *cells, size_t i) {
  uint8_t kind = read_byte(reader);
  int32_t off = read_byte(reader) % 3 - 1;
  if (kind >= 240 && i < REMEMBERED) return slab_bytes - column_before[i] + off;
  if (kind >= 224 && i >= 2) return slab_bytes - (cells[i - 2] % 4096) + off;
  double number = read_number(reader);
  return number >= -2147483648.0 && number <= 2147483647.0 ? (int32_t)number : -1;
}

/* Mostly small arrays: what lies just inside or just outside is then no rare chance either. */
static size_t read_count(struct reader *reader, bool is_bytes) {
  if (read_byte(reader) < 200) return read_byte(reader) % (is_bytes ? 128 : 16);
  return read_u16(reader) % (is_bytes ? BYTES_MAX : ARRAY_MAX);
}

static struct value read_array(struct reader *reader, napi_typedarray_type type) {
  bool is_bytes = type == napi_uint8_array;
  size_t count = read_count(reader, is_bytes);
  struct value value = array_value(type, count);
  size_t given = read_byte(reader);
  if (is_bytes) slab_bytes = (int32_t)count;
  int32_t *cells = value.data;
  for (size_t i = 0; i < count && i < given; i++) {
    if (is_bytes) ((uint8_t *)value.data)[i] = read_byte(reader);
    else if (type == napi_float64_array) ((double *)value.data)[i] = read_number(reader);
    else cells[i] = read_cell(reader, cells, i);
  }
  if (is_bytes || type == napi_float64_array) return value;
  for (size_t i = 0; i < REMEMBERED; i++) column_before[i] = i < count ? cells[i] % 4096 : 0;
  return value;
}

static struct value read_argument(struct reader *reader, char letter) {
  static const char LETTERS[] = "fnbiud";
  uint8_t other = read_byte(reader);
  if (other >= 250) letter = LETTERS[read_byte(reader) % 6];
  switch (letter) {
    case 'f': return number_value(1000);
    case 'n': return number_value(read_number(reader));
    case 'b': return read_array(reader, napi_uint8_array);
    case 'i': return read_array(reader, napi_int32_array);
    case 'u': return read_array(reader, napi_uint32_array);
    default: return read_array(reader, napi_float64_array);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct reader reader = {.data = data, .size = size};
  slab_bytes = 0;
  memset(column_before, 0, sizeof column_before);
  uint8_t which = read_byte(&reader) % ENTRY_POINT_COUNT;
  const char *letters = ENTRY_POINTS[which].arguments;
  struct call call = {.count = strlen(letters)};
  for (size_t i = 0; i < call.count; i++) call.values[i] = read_argument(&reader, letters[i]);
  if (read_byte(&reader) >= 250) call.count--;
  /* A spin takes the time that it says. */
  if (ENTRY_POINTS[which].function == wake_wait && call.values[3].number > 20 && call.values[3].number <= 10000) call.values[3].number = 20;
  kernel = reader;
  double result;
  (void)call_addon(ENTRY_POINTS[which].function, &call, &result);
  for (size_t i = 0; i < strlen(letters); i++) {
    if (call.values[i].kind == VALUE_ARRAY) free(call.values[i].data);
  }
  return 0;
}
