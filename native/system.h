/* What the entry points share about system calls. One rule for results: n, or the negated errno. */
#ifndef ISTHMUS_SYSTEM_H
#define ISTHMUS_SYSTEM_H

#include <errno.h>
#include <stdbool.h>

/* The kernel has no room or no data now: no failure, and the caller tries again later. */
static inline bool is_full_or_empty(int error) {
  return error == EAGAIN || error == EWOULDBLOCK || error == ENOBUFS;
}

/* Buffers beyond net.core.{r,w}mem_max need CAP_NET_ADMIN (SO_*BUFFORCE); without it the kernel caps silently what it grants. */
int set_receive_buffer(int fd, int bytes);
int set_send_buffer(int fd, int bytes);

/* Closes `fd` and returns the negated `error`: how an opener leaves half way. */
int close_and_fail(int fd, int error);

#endif
