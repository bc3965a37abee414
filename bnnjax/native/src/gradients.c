/* The parts that the gradients are computed in. */
#include <math.h>
#include <stdlib.h>

#include "conv.h"

enum { MOST_TAPS = 1024, LINE = 64 /* bytes of a line of the cache, within which vectors should lie */ };

typedef struct {
  const bnn_kernels *kernels;
  const bnn_shape *shape;
  const float *real, *other; /* g, and x or the turned kernel */
  float *gradient;
  int64_t parts; /* of the images */
  int wrong, memory;
} work;

static const char *wrong_with(const bnn_shape *s) {
  const char *error = bnn_wrong_with(s);
  if (error) return error;
  if (s->padding_value) return "gradients are for zeros as padding";
  return s->height * s->width > MOST_TAPS ? "the kernel has too many taps" : NULL;
}

static void *allocate(size_t bytes) {
  void *memory = NULL;
  return posix_memalign(&memory, LINE, bytes ? bytes : 1) ? NULL : memory;
}

static void *allocate_for(work *w, size_t bytes) {
  void *scratch = allocate(bytes);
  if (!scratch) __atomic_store_n(&w->memory, 1, __ATOMIC_RELAXED);
  return scratch;
}

/* The first image of part n of the images. */
static int64_t begin_of(const work *w, int64_t n) { return w->shape->images * n / w->parts; }

static void do_input(void *data, int64_t n) {
  work *w = data;
  void *scratch = allocate_for(w, w->kernels->input_gradient_bytes(w->shape));
  int64_t first = begin_of(w, n);
  if (scratch)
    w->kernels->input_gradient(w->shape, first, begin_of(w, n + 1) - first, w->real, w->other, w->gradient, scratch);
  free(scratch);
}

const char *bnn_input_gradient(const bnn_kernels *kernels, const bnn_shape *s, const float *g, const float *kernel,
                               float *dx, bnn_parallel *parallel, void *pool, int64_t threads) {
  const char *error = wrong_with(s);
  if (error || s->images == 0) return error;
  float *turned = allocate(kernels->turned_bytes(s));
  if (!turned) return "out of memory";
  kernels->turn_kernel(s, kernel, turned);
  work w = {kernels, s, g, turned, dx, s->images < 4 * threads ? s->images : 4 * threads, 0, 0};
  parallel(pool, w.parts, do_input, &w);
  free(turned);
  return w.memory ? "out of memory" : NULL;
}

static int64_t floats_of_kernel(const bnn_shape *s) { return s->height * s->width * s->inputs * s->outputs; }

static void do_kernel(void *data, int64_t n) {
  work *w = data;
  void *scratch = allocate_for(w, w->kernels->kernel_gradient_bytes(w->shape));
  int64_t part = n % w->parts, first = begin_of(w, part);
  float *dk = w->gradient + part * floats_of_kernel(w->shape);
  int64_t output = n / w->parts * w->kernels->outputs_at_a_time(w->shape);
  if (scratch && w->kernels->kernel_gradient(w->shape, first, begin_of(w, part + 1) - first, output, w->other, w->real,
                                             dk, scratch))
    __atomic_store_n(&w->wrong, 1, __ATOMIC_RELAXED);
  free(scratch);
}

const char *bnn_kernel_gradient(const bnn_kernels *kernels, const bnn_shape *s, const float *x, const float *g,
                                float *dk, bnn_parallel *parallel, void *pool, int64_t threads) {
  const char *error = wrong_with(s);
  const int64_t size = floats_of_kernel(s), at_a_time = kernels->outputs_at_a_time(s);
  if (error) return error;
  (void)threads;
  /* How many parts there are, whose sums are then added in order, depends neither on threads nor on the
     implementation. */
  int64_t parts = 16 / ((s->outputs + 31) / 32);
  if (parts > s->images) parts = s->images;
  if (parts < 1) parts = 1;
  float *sums = parts > 1 ? allocate((size_t)(parts * size) * sizeof *sums) : dk;
  if (!sums) return "out of memory";
  work w = {kernels, s, g, x, sums, parts, 0, 0};
  parallel(pool, parts * ((s->outputs + at_a_time - 1) / at_a_time), do_kernel, &w);
  if (parts > 1)
    for (int64_t n = 0; n < size; n++) {
      float sum = sums[n];
      for (int64_t part = 1; part < parts; part++) sum += sums[part * size + n];
      dk[n] = sum;
    }
  if (sums != dk) free(sums);
  if (w.memory) return "out of memory";
  if (w.wrong)
    for (int64_t n = 0; n < size; n++) dk[n] = NAN;
  return NULL;
}
