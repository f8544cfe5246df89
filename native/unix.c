#define _GNU_SOURCE
#include "unix.h"

#include "arguments.h"
#include "system.h"

#include <net/if.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { TEXT_MAX = 4096 };

static int64_t send_datagram(const struct sockaddr_un *name, socklen_t size, const char *text, size_t length) {
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -errno;
  ssize_t sent;
  do {
    sent = sendto(fd, text, length, MSG_NOSIGNAL, (const struct sockaddr *)name, size);
  } while (sent < 0 && errno == EINTR);
  int64_t result = sent >= 0 ? sent : -errno;
  (void)close(fd);
  return result;
}

napi_value unix_datagram(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  struct sockaddr_un name;
  char text[TEXT_MAX];
  size_t path_length;
  size_t length;
  memset(&name, 0, sizeof name);
  name.sun_family = AF_UNIX;
  if (!take_arguments(env, info, 2, values)) return NULL;
  if (!take_text(env, values[0], "path", name.sun_path, sizeof name.sun_path, &path_length)) return NULL;
  if (!take_text(env, values[1], "text", text, sizeof text, &length)) return NULL;
  /* An abstract name starts with NUL and is not terminated: its length is part of the name. */
  if (name.sun_path[0] == '@') name.sun_path[0] = 0;
  socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path_length);
  return give_number(env, send_datagram(&name, size, text, length));
}

napi_value close_descriptor(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  int fd;
  if (!take_arguments(env, info, 1, values)) return NULL;
  if (!take_descriptor(env, values[0], &fd)) return NULL;
  /* EINTR is not retried here: Linux has released the number by then, and a second close could hit another thread's. */
  return give_number(env, close(fd) == 0 || errno == EINTR ? 0 : -errno);
}

napi_value device_index(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  char name[IFNAMSIZ];
  if (!take_arguments(env, info, 1, values)) return NULL;
  if (!take_text(env, values[0], "name", name, sizeof name, NULL)) return NULL;
  unsigned index = if_nametoindex(name);
  return give_number(env, index != 0 ? (int64_t)index : -errno);
}
