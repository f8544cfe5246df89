#define _GNU_SOURCE
#include "wake.h"

#include "arguments.h"

#include <stdlib.h>
#include <uv.h>

/*
 * The one thing with a life of its own. It is made by watch(), belongs to the environment that made it, and is freed only in the
 * close callback of its uv_poll_t, because libuv holds the handle until then. Two ways lead there, and `closing` lets one of them
 * win: unwatch(), and the environment's teardown (a worker that ends while it still watches).
 *
 *   watch() --> active --> unwatch() or teardown --> uv_close --> on_closed: freed
 */
struct watcher {
  uv_poll_t poll;
  napi_env env;
  napi_ref ready;
  napi_async_context context;
  napi_async_cleanup_hook_handle hook;
  bool closing;
};

static const napi_type_tag WATCHER_TAG = {0x6f1d4b8a2c3e4f50u, 0x9a7b5c3d1e2f4a6bu};

static void on_closed(uv_handle_t *handle) {
  struct watcher *watcher = handle->data;
  /* In teardown Node waits for this call before it frees the environment; outside, it only takes the hook off. */
  if (watcher->hook != NULL) (void)napi_remove_async_cleanup_hook(watcher->hook);
  free(watcher);
}

static void stop(struct watcher *watcher) {
  if (watcher->closing) return;
  watcher->closing = true;
  (void)uv_poll_stop(&watcher->poll);
  (void)napi_delete_reference(watcher->env, watcher->ready);
  (void)napi_async_destroy(watcher->env, watcher->context);
  uv_close((uv_handle_t *)&watcher->poll, on_closed);
}

static void on_teardown(napi_async_cleanup_hook_handle hook, void *data) {
  (void)hook;
  stop(data);
}

static void on_ready(uv_poll_t *poll, int status, int events) {
  (void)events;
  struct watcher *watcher = poll->data;
  /*
   * libuv stops a poll handle that meets POLLERR. A netlink socket has that once after its buffer overflowed, and goes on: the error is
   * news for the reader, who meets it in its next call, and the watch must outlive it.
   */
  if (status < 0) (void)uv_poll_start(poll, UV_READABLE, on_ready);
  napi_env env = watcher->env;
  napi_handle_scope scope;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  napi_value ready;
  napi_value receiver;
  napi_value ignored;
  if (napi_get_reference_value(env, watcher->ready, &ready) == napi_ok && ready != NULL &&
      napi_get_global(env, &receiver) == napi_ok &&
      napi_make_callback(env, watcher->context, receiver, ready, 0, NULL, &ignored) == napi_pending_exception) {
    /* Nobody below us could catch it: it becomes an uncaughtException, as from any other callback of the event loop. */
    napi_value thrown;
    if (napi_get_and_clear_last_exception(env, &thrown) == napi_ok) (void)napi_fatal_exception(env, thrown);
  }
  (void)napi_close_handle_scope(env, scope);
}

static napi_value fail(napi_env env, int error) {
  (void)napi_throw_error(env, uv_err_name(error), uv_strerror(error));
  return NULL;
}

/* What the watcher holds in JavaScript. False leaves nothing behind. */
static bool hold(napi_env env, struct watcher *watcher, napi_value ready, napi_value *object) {
  napi_value name;
  if (napi_create_string_utf8(env, "isthmus:watch", NAPI_AUTO_LENGTH, &name) != napi_ok) return false;
  if (napi_create_object(env, object) != napi_ok) return false;
  if (napi_type_tag_object(env, *object, &WATCHER_TAG) != napi_ok) return false;
  if (napi_async_init(env, NULL, name, &watcher->context) != napi_ok) return false;
  if (napi_create_reference(env, ready, 1, &watcher->ready) != napi_ok) {
    (void)napi_async_destroy(env, watcher->context);
    return false;
  }
  if (napi_wrap(env, *object, watcher, NULL, NULL, NULL) != napi_ok) {
    (void)napi_delete_reference(env, watcher->ready);
    (void)napi_async_destroy(env, watcher->context);
    return false;
  }
  return true;
}

napi_value watch(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  int fd;
  napi_valuetype type;
  if (!take_arguments(env, info, 2, values)) return NULL;
  if (!take_descriptor(env, values[0], &fd)) return NULL;
  if (napi_typeof(env, values[1], &type) != napi_ok || type != napi_function) {
    (void)refuse_type(env, "ready", "a function");
    return NULL;
  }
  uv_loop_t *loop;
  /* A libuv whose handle outgrew the headers we were built with would write beyond ours; 1.x promises not to. */
  if (napi_get_uv_event_loop(env, &loop) != napi_ok || uv_handle_size(UV_POLL) > sizeof(uv_poll_t)) {
    return fail(env, UV_ENOSYS);
  }
  struct watcher *watcher = calloc(1, sizeof *watcher);
  if (watcher == NULL) return fail(env, UV_ENOMEM);
  watcher->env = env;
  int result = uv_poll_init(loop, &watcher->poll, fd);
  if (result != 0) {
    free(watcher);
    return fail(env, result);
  }
  watcher->poll.data = watcher;
  napi_value object;
  if (!hold(env, watcher, values[1], &object)) {
    watcher->closing = true;
    uv_close((uv_handle_t *)&watcher->poll, on_closed);
    return fail(env, UV_ENOMEM);
  }
  if (napi_add_async_cleanup_hook(env, on_teardown, watcher, &watcher->hook) != napi_ok) watcher->hook = NULL;
  result = uv_poll_start(&watcher->poll, UV_READABLE, on_ready);
  if (result != 0 || watcher->hook == NULL) {
    void *unused;
    (void)napi_remove_wrap(env, object, &unused);
    stop(watcher);
    return fail(env, result != 0 ? result : UV_ENOMEM);
  }
  return object;
}

napi_value unwatch(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  bool ours = false;
  if (!take_arguments(env, info, 1, values)) return NULL;
  napi_valuetype type;
  /* The type first: the tag check itself would throw at undefined, without a code. */
  if (napi_typeof(env, values[0], &type) != napi_ok || type != napi_object ||
      napi_check_object_type_tag(env, values[0], &WATCHER_TAG, &ours) != napi_ok || !ours) {
    (void)refuse_type(env, "watcher", "what watch() returned");
    return NULL;
  }
  void *watcher = NULL;
  /* Already unwatched: nothing is wrapped any more, and a second call does nothing. */
  if (napi_remove_wrap(env, values[0], &watcher) == napi_ok) stop(watcher);
  return NULL;
}
