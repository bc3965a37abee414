/* Custom calls of XLA's: (x, kernel, scale) -> y, (g, kernel) -> dx and (x, g) -> dk, float32, with the attributes
   implementation, padding, padding_value, reals and stride. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "conv.h"
#include "xla/ffi/api/c_api.h"

/* The fastest implementation that runs here, or the one of that name; NULL where there is none that is right. */
const char *bnn_find(const char *name) {
  const bnn_kernels *kernels = bnn_choose(name);
  return kernels && bnn_agrees(kernels) ? kernels->name : NULL;
}

/* Tasks that threads share.  Those of XLA's pool may begin when all is done, so that the last one frees. */
typedef struct {
  pthread_mutex_t lock;
  pthread_cond_t all_done;
  int64_t tasks, next, done, holders;
  void (*task)(void *, int64_t);
  void *data;
} shared;

static void take_tasks(shared *work) {
  pthread_mutex_lock(&work->lock);
  while (work->next < work->tasks) {
    int64_t n = work->next++;
    pthread_mutex_unlock(&work->lock);
    work->task(work->data, n);
    pthread_mutex_lock(&work->lock);
    if (++work->done == work->tasks) pthread_cond_signal(&work->all_done);
  }
  pthread_mutex_unlock(&work->lock);
}

static void let_go(shared *work) {
  pthread_mutex_lock(&work->lock);
  int is_last = --work->holders == 0;
  pthread_mutex_unlock(&work->lock);
  if (!is_last) return;
  pthread_mutex_destroy(&work->lock);
  pthread_cond_destroy(&work->all_done);
  free(work);
}

static void help(void *data) {
  take_tasks(data);
  let_go(data);
}

typedef struct {
  const XLA_FFI_Api *api;
  XLA_FFI_ExecutionContext *context;
  int64_t threads;
} xla_pool;

static int is_error(const XLA_FFI_Api *api, XLA_FFI_Error *error) {
  if (!error) return 0;
  XLA_FFI_Error_Destroy_Args args = {XLA_FFI_Error_Destroy_Args_STRUCT_SIZE, NULL, error};
  api->XLA_FFI_Error_Destroy(&args);
  return 1;
}

static xla_pool pool_of(const XLA_FFI_CallFrame *frame) {
  xla_pool pool = {frame->api, frame->ctx, 1};
  XLA_FFI_ThreadPool_NumThreads_Args args = {XLA_FFI_ThreadPool_NumThreads_Args_STRUCT_SIZE, NULL, frame->ctx,
                                             &pool.threads};
  if (is_error(frame->api, frame->api->XLA_FFI_ThreadPool_NumThreads(&args)) || pool.threads < 1) pool.threads = 1;
  return pool;
}

static void in_parallel(void *data, int64_t tasks, void (*task)(void *, int64_t), void *task_data) {
  xla_pool *pool = data;
  int64_t helpers = (pool->threads < tasks ? pool->threads : tasks) - 1;
  shared *work = malloc(sizeof *work);
  if (!work) {
    for (int64_t n = 0; n < tasks; n++) task(task_data, n);
    return;
  }
  *work = (shared){.tasks = tasks, .holders = helpers + 1, .task = task, .data = task_data};
  pthread_mutex_init(&work->lock, NULL);
  pthread_cond_init(&work->all_done, NULL);
  for (int64_t n = 0; n < helpers; n++) {
    XLA_FFI_ThreadPool_Schedule_Args args = {XLA_FFI_ThreadPool_Schedule_Args_STRUCT_SIZE, NULL, pool->context, help,
                                             work};
    if (is_error(pool->api, pool->api->XLA_FFI_ThreadPool_Schedule(&args))) let_go(work);
  }
  take_tasks(work);
  pthread_mutex_lock(&work->lock);
  while (work->done < work->tasks) pthread_cond_wait(&work->all_done, &work->lock);
  pthread_mutex_unlock(&work->lock);
  let_go(work);
}

static XLA_FFI_Error *failed(const XLA_FFI_Api *api, const char *message) {
  XLA_FFI_Error_Create_Args args = {XLA_FFI_Error_Create_Args_STRUCT_SIZE, NULL, message,
                                    XLA_FFI_Error_Code_INVALID_ARGUMENT};
  return api->XLA_FFI_Error_Create(&args);
}

/* The attribute of that name and type; NULL if there is none. */
static const void *attribute(const XLA_FFI_Attrs *attrs, const char *name, XLA_FFI_AttrType type) {
  for (int64_t n = 0; n < attrs->size; n++) {
    const XLA_FFI_ByteSpan *found = attrs->names[n];
    if (found->len == strlen(name) && !memcmp(found->ptr, name, found->len))
      return attrs->types[n] == type ? attrs->attrs[n] : NULL;
  }
  return NULL;
}

static int read_integer(const XLA_FFI_Attrs *attrs, const char *name, int64_t *value) {
  const XLA_FFI_Scalar *scalar = attribute(attrs, name, XLA_FFI_AttrType_SCALAR);
  if (!scalar || scalar->dtype != XLA_FFI_DataType_S64) return 0;
  *value = *(const int64_t *)scalar->value;
  return 1;
}

static const bnn_kernels *read_kernels(const XLA_FFI_Attrs *attrs) {
  const XLA_FFI_ByteSpan *span = attribute(attrs, "implementation", XLA_FFI_AttrType_STRING);
  char name[16] = {0};
  if (!span || span->len >= sizeof name) return NULL;
  memcpy(name, span->ptr, span->len);
  return bnn_choose(name);
}

static int is_float(const XLA_FFI_Buffer *buffer, int64_t axes) {
  return buffer->dtype == XLA_FFI_DataType_F32 && buffer->rank == axes;
}

/* Whether a call only asks what it is; then it is answered. */
static int asks_what_it_is(const XLA_FFI_CallFrame *frame) {
  if (!frame->extension_start || frame->extension_start->type != XLA_FFI_Extension_Metadata) return 0;
  XLA_FFI_Metadata *metadata = ((XLA_FFI_Metadata_Extension *)frame->extension_start)->metadata;
  metadata->api_version.major_version = XLA_FFI_API_MAJOR;
  metadata->api_version.minor_version = XLA_FFI_API_MINOR;
  metadata->traits = 0;
  return 1;
}

typedef struct {
  const bnn_kernels *kernels;
  bnn_shape shape;
  const XLA_FFI_Buffer *first, *second, *result;
  xla_pool pool;
} request;

/* Reads a frame with that many arguments.  x, kernel and y say which of the first two arguments and the result these,
   or their gradients, are.  Returns NULL, or what is wrong. */
static const char *read_request(const XLA_FFI_CallFrame *frame, int64_t arguments, int x_at, int kernel_at, int y_at,
                                request *r) {
  r->kernels = read_kernels(&frame->attrs);
  if (!r->kernels) return "this CPU lacks the instructions of the implementation that was named";
  if (frame->args.size != arguments || frame->rets.size != 1) return "expected other numbers of arguments and results";
  const XLA_FFI_Buffer *buffers[3] = {frame->args.args[0], frame->args.args[1], frame->rets.rets[0]};
  for (int n = 0; n < 3; n++)
    if (!is_float(buffers[n], 4)) return "arrays must be float32 with four axes";
  const XLA_FFI_Buffer *x = buffers[x_at], *kernel = buffers[kernel_at], *y = buffers[y_at];
  bnn_shape *s = &r->shape;
  *s = (bnn_shape){.images = x->dims[0],       .rows = x->dims[1],       .columns = x->dims[2],
                   .inputs = x->dims[3],       .height = kernel->dims[0], .width = kernel->dims[1],
                   .outputs = kernel->dims[3]};
  if (!read_integer(&frame->attrs, "stride", &s->stride) || !read_integer(&frame->attrs, "padding", &s->padding) ||
      !read_integer(&frame->attrs, "padding_value", &s->padding_value) ||
      !read_integer(&frame->attrs, "reals", &s->reals))
    return "expected the 64-bit attributes padding, padding_value, reals and stride";
  if (kernel->dims[2] != s->inputs || s->stride < 1 || y->dims[0] != s->images || y->dims[1] != bnn_out_rows(s) ||
      y->dims[2] != bnn_out_columns(s) || y->dims[3] != s->outputs)
    return "shapes of the arrays do not fit";
  r->first = buffers[0];
  r->second = buffers[1];
  r->result = buffers[2];
  r->pool = pool_of(frame);
  return NULL;
}

XLA_FFI_Error *bnn_xla_convolve(XLA_FFI_CallFrame *frame) {
  if (asks_what_it_is(frame)) return NULL;
  request r;
  const char *error = read_request(frame, 3, 0, 1, 2, &r);
  if (error) return failed(frame->api, error);
  const XLA_FFI_Buffer *scale = frame->args.args[2];
  if (!is_float(scale, 1) || scale->dims[0] != r.shape.outputs)
    return failed(frame->api, "the scale must be float32, one for each output");
  error = bnn_convolve(r.kernels, &r.shape, r.first->data, r.second->data, scale->data, r.result->data, in_parallel,
                       &r.pool, r.pool.threads);
  return error ? failed(frame->api, error) : NULL;
}

typedef const char *gradient(const bnn_kernels *, const bnn_shape *, const float *first, const float *second,
                             float *result, bnn_parallel *, void *pool, int64_t threads);

static XLA_FFI_Error *differentiate(XLA_FFI_CallFrame *frame, gradient *function, int x_at, int kernel_at, int y_at) {
  if (asks_what_it_is(frame)) return NULL;
  request r;
  const char *error = read_request(frame, 2, x_at, kernel_at, y_at, &r);
  if (!error)
    error = function(r.kernels, &r.shape, r.first->data, r.second->data, r.result->data, in_parallel, &r.pool,
                     r.pool.threads);
  return error ? failed(frame->api, error) : NULL;
}

XLA_FFI_Error *bnn_xla_input_gradient(XLA_FFI_CallFrame *frame) {
  return differentiate(frame, bnn_input_gradient, 2, 1, 0);
}

XLA_FFI_Error *bnn_xla_kernel_gradient(XLA_FFI_CallFrame *frame) {
  return differentiate(frame, bnn_kernel_gradient, 0, 2, 1);
}
