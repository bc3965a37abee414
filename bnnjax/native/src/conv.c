/* The choice of an implementation, and the parts that a convolution is done in. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "conv.h"

extern const bnn_kernels bnn_scalar;
#if defined(__x86_64__)
extern const bnn_kernels bnn_avx2, bnn_avx512bw;
static const bnn_kernels *const FASTEST_FIRST[] = {&bnn_avx512bw, &bnn_avx2, &bnn_scalar};
#elif defined(__aarch64__)
extern const bnn_kernels bnn_neon;
static const bnn_kernels *const FASTEST_FIRST[] = {&bnn_neon, &bnn_scalar};
#else
static const bnn_kernels *const FASTEST_FIRST[] = {&bnn_scalar};
#endif

enum { MOST_PLACES = 2048 }; /* of a strip, whose planes should stay in the cache of a core */

const bnn_kernels *bnn_choose(const char *name) {
  for (size_t n = 0; n < sizeof(FASTEST_FIRST) / sizeof(*FASTEST_FIRST); n++) {
    const bnn_kernels *kernels = FASTEST_FIRST[n];
    if (kernels->runs_here() && (!name || !strcmp(name, kernels->name))) return kernels;
  }
  return NULL;
}

const char *bnn_wrong_with(const bnn_shape *s) {
  int64_t sizes[] = {s->rows, s->columns, s->inputs, s->height, s->width, s->outputs, s->stride};
  for (size_t n = 0; n < sizeof(sizes) / sizeof(*sizes); n++)
    if (sizes[n] < 1) return "sizes must be at least 1";
  if (s->images < 0 || s->padding < 0) return "images and padding must not be negative";
  if (s->padding_value < -1 || s->padding_value > 1) return "padding must be with 0, +1 or -1";
  if (s->rows + 2 * s->padding < s->height || s->columns + 2 * s->padding < s->width)
    return "the kernel is larger than the padded image";
  return NULL;
}

typedef struct {
  const bnn_kernels *kernels;
  const bnn_shape *shape;
  const float *x;
  const void *packed;
  float *y;
  int64_t images, rows; /* of a strip */
  int64_t in_image;     /* strips */
  int wrong, memory;
} work;

static void do_strip(void *data, int64_t n) {
  work *w = data;
  bnn_strip strip = {n / w->in_image * w->images, w->images, n % w->in_image * w->rows, w->rows};
  int64_t images = w->shape->images - strip.first, rows = bnn_out_rows(w->shape) - strip.first_row;
  if (strip.images > images) strip.images = images;
  if (strip.out_rows > rows) strip.out_rows = rows;
  void *scratch = malloc(w->kernels->scratch_bytes(w->shape, &strip));
  if (!scratch) {
    __atomic_store_n(&w->memory, 1, __ATOMIC_RELAXED);
    return;
  }
  if (w->kernels->convolve(w->shape, &strip, w->x, w->packed, w->y, scratch))
    __atomic_store_n(&w->wrong, 1, __ATOMIC_RELAXED);
  free(scratch);
}

const char *bnn_convolve(const bnn_kernels *kernels, const bnn_shape *s, const float *x, const float *kernel,
                         const float *scale, float *y, bnn_parallel *parallel, void *pool, int64_t threads) {
  const char *error = bnn_wrong_with(s);
  if (error || s->images == 0) return error;
  if (s->height * s->width * s->inputs > INT16_MAX) return "more products in a sum than 16 bits hold";
  work w = {kernels, s, x, NULL, y, 1, bnn_out_rows(s), 1, 0, 0};
  void *packed = malloc(kernels->kernel_bytes(s));
  if (!packed) return "out of memory";
  w.packed = packed;
  w.wrong = kernels->pack_kernel(s, kernel, scale, packed);
  int64_t places = bnn_out_rows(s) * bnn_out_columns(s);
  if (s->images >= 2 * threads) {
    int64_t most = MOST_PLACES / places > 1 ? MOST_PLACES / places : 1;
    int64_t fair = s->images / (2 * threads);
    w.images = most < fair ? most : fair;
  } else if (threads > 1) {
    w.rows = (bnn_out_rows(s) + threads - 1) / threads;
    w.in_image = (bnn_out_rows(s) + w.rows - 1) / w.rows;
  }
  parallel(pool, (s->images + w.images - 1) / w.images * w.in_image, do_strip, &w);
  free(packed);
  if (w.memory) return "out of memory";
  if (w.wrong)
    for (int64_t n = 0; n < s->images * places * s->outputs; n++) y[n] = NAN;
  return NULL;
}
