#define _GNU_SOURCE
#include "netlink.h"

#include "arguments.h"
#include "system.h"

#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int open_netlink(uint32_t groups, int receive_buffer) {
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0) return -errno;
  int result = set_receive_buffer(fd, receive_buffer);
  if (result != 0) return close_and_fail(fd, -result);
  /* All three are wishes, since 4.12, 4.3 and 4.20: error texts, acknowledgements without the request, filtered dumps. */
  int on = 1;
  (void)setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
  (void)setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  (void)setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof on);
  struct sockaddr_nl name = {.nl_family = AF_NETLINK, .nl_groups = groups};
  if (bind(fd, (const struct sockaddr *)&name, sizeof name) != 0) return close_and_fail(fd, errno);
  return fd;
}

napi_value netlink_open(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  int64_t groups;
  int receive_buffer;
  if (!take_arguments(env, info, 2, values)) return NULL;
  if (!take_integer(env, values[0], "groups", 0, UINT32_MAX, &groups)) return NULL;
  if (!take_int(env, values[1], "receiveBufferBytes", 0, 1 << 30, &receive_buffer)) return NULL;
  return give_number(env, open_netlink((uint32_t)groups, receive_buffer));
}

napi_value netlink_send(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  int fd;
  int length;
  struct bytes message;
  if (!take_arguments(env, info, 3, values)) return NULL;
  if (!take_descriptor(env, values[0], &fd)) return NULL;
  if (!take_bytes(env, values[1], "message", &message)) return NULL;
  if (!take_int(env, values[2], "length", 1, INT32_MAX, &length)) return NULL;
  if ((size_t)length > message.count) {
    (void)refuse_range(env, "length", "at most the length of \"message\"");
    return NULL;
  }
  struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
  ssize_t sent;
  do {
    sent = sendto(fd, message.data, (size_t)length, MSG_DONTWAIT, (const struct sockaddr *)&kernel, sizeof kernel);
  } while (sent < 0 && errno == EINTR);
  /* Not 0 on EAGAIN as elsewhere: the whole request was refused, and a length of 0 would look like success. */
  return give_number(env, sent >= 0 ? sent : -errno);
}

static int64_t receive_one(int fd, const struct bytes *message) {
  for (;;) {
    struct sockaddr_nl sender;
    memset(&sender, 0, sizeof sender);
    socklen_t size = sizeof sender;
    ssize_t got = recvfrom(fd, message->data, message->count, MSG_DONTWAIT | MSG_TRUNC, (struct sockaddr *)&sender, &size);
    if (got < 0 && errno == EINTR) continue;
    /* ENOBUFS is not "nothing waits": notices were lost, and the subscriber has to read everything again. */
    if (got < 0) return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -errno;
    /* Any process may send to our port; only port 0 is the kernel. */
    if (sender.nl_pid != 0) continue;
    return (size_t)got <= message->count ? got : -EMSGSIZE;
  }
}

napi_value netlink_receive(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  int fd;
  struct bytes message;
  if (!take_arguments(env, info, 2, values)) return NULL;
  if (!take_descriptor(env, values[0], &fd)) return NULL;
  if (!take_bytes(env, values[1], "message", &message)) return NULL;
  if (message.count == 0) {
    (void)refuse_range(env, "message", "at least one byte long");
    return NULL;
  }
  return give_number(env, receive_one(fd, &message));
}
