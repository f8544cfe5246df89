#define _GNU_SOURCE
#include "system.h"

#include <sys/socket.h>
#include <unistd.h>

static int set_buffer(int fd, int force, int plain, int bytes) {
  if (bytes == 0) return 0; /* 0 asks for the system's default */
  if (setsockopt(fd, SOL_SOCKET, force, &bytes, sizeof bytes) == 0) return 0;
  return setsockopt(fd, SOL_SOCKET, plain, &bytes, sizeof bytes) == 0 ? 0 : -errno;
}

int set_receive_buffer(int fd, int bytes) {
  return set_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, bytes);
}

int set_send_buffer(int fd, int bytes) {
  return set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, bytes);
}

int close_and_fail(int fd, int error) {
  (void)close(fd);
  return -error;
}
