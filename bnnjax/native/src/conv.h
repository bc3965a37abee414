/* Binary convolution: y[b, p, q, o] = scale[o] times the sum of x[b, s p + h - d, s q + w - d, i] kernel[h, w, i, o],
   all +-1, and the gradients of <g, y> by x and by the kernel for scales of 1, where g is real.

   x is [images, rows, columns, inputs], kernel [height, width, inputs, outputs], y [images, out_rows,
   out_columns, outputs], s the stride and d the padding, whose pixels are 0, +1 or -1 in each channel.
   In place of x there may be real numbers whose signs it is; that of 0 and of -0 is +1.

   The sums of y are integers and those of the gradients have one order, so that every implementation gives the same
   bits, with any number of threads. */
#ifndef BNNJAX_CONV_H
#define BNNJAX_CONV_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
  int64_t images, rows, columns, inputs;
  int64_t height, width, outputs; /* of the kernel */
  int64_t stride, padding, padding_value;
  int64_t reals; /* whether x is the signs of what is given, which then may be anything but NaN */
} bnn_shape;

/* A code, given as its bits or as the number it is the sign of, is allowed where its absolute value's bits are in
   [least, least + span]. */
static inline uint32_t bnn_least(const bnn_shape *s) { return s->reals ? 0 : 0x3f800000; /* the bits of 1.0f */ }

static inline uint32_t bnn_span(const bnn_shape *s) { return s->reals ? 0x7f800000 : 0; /* those of infinity */ }

/* Rows [first_row, first_row + out_rows) of the output of images [first, first + images). */
typedef struct {
  int64_t first, images, first_row, out_rows;
} bnn_strip;

static inline int64_t bnn_out(int64_t size, int64_t kernel, int64_t stride, int64_t padding) {
  return (size + 2 * padding - kernel) / stride + 1;
}

static inline int64_t bnn_out_rows(const bnn_shape *s) {
  return bnn_out(s->rows, s->height, s->stride, s->padding);
}

static inline int64_t bnn_out_columns(const bnn_shape *s) {
  return bnn_out(s->columns, s->width, s->stride, s->padding);
}

/* One implementation.  Functions that read x return 0, or 1 where what they read is not allowed.  A scale may be
   NULL, which is 1. */
typedef struct {
  const char *name;
  int (*runs_here)(void);
  size_t (*kernel_bytes)(const bnn_shape *);
  int (*pack_kernel)(const bnn_shape *, const float *kernel, const float *scale, void *packed);
  size_t (*scratch_bytes)(const bnn_shape *, const bnn_strip *);
  int (*convolve)(const bnn_shape *, const bnn_strip *, const float *x, const void *packed, float *y,
                  void *scratch);
  size_t (*turned_bytes)(const bnn_shape *);
  void (*turn_kernel)(const bnn_shape *, const float *kernel, void *turned);
  size_t (*input_gradient_bytes)(const bnn_shape *); /* of scratch, as below */
  void (*input_gradient)(const bnn_shape *, int64_t first, int64_t images, const float *g, const void *turned,
                         float *dx, void *scratch);
  int64_t (*outputs_at_a_time)(const bnn_shape *);
  size_t (*kernel_gradient_bytes)(const bnn_shape *);
  int (*kernel_gradient)(const bnn_shape *, int64_t first, int64_t images, int64_t output, const float *x,
                         const float *g, float *dk, void *scratch);
} bnn_kernels;

/* All members, by the names that the files of the implementations give them. */
#define KERNELS(name)                                                                                              \
  {name, runs_here, kernel_bytes, pack_kernel, scratch_bytes, convolve, turned_bytes, turn_kernel,                \
   input_gradient_bytes, input_gradient, outputs_at_a_time, kernel_gradient_bytes, kernel_gradient}

/* Calls task(data, n) for all n in [0, tasks), by several threads if it can. */
typedef void bnn_parallel(void *pool, int64_t tasks, void (*task)(void *data, int64_t n), void *data);

/* The fastest implementation that runs here, or the one of that name; NULL if there is none. */
const bnn_kernels *bnn_choose(const char *name);

/* Whether an implementation agrees with the scalar one on a few small convolutions of all kinds. */
int bnn_agrees(const bnn_kernels *kernels);

/* What is wrong with a shape, or NULL. */
const char *bnn_wrong_with(const bnn_shape *shape);

/* Convolves; y is NaN where a code is not +-1, or a real number NaN.  Returns NULL, or what is wrong. */
const char *bnn_convolve(const bnn_kernels *kernels, const bnn_shape *shape, const float *x, const float *kernel,
                         const float *scale, float *y, bnn_parallel *parallel, void *pool, int64_t threads);

/* The gradient by x, for zeros as padding; the kernel may be real.  Returns NULL, or what is wrong. */
const char *bnn_input_gradient(const bnn_kernels *kernels, const bnn_shape *shape, const float *g, const float *kernel,
                               float *dx, bnn_parallel *parallel, void *pool, int64_t threads);

/* The gradient by the kernel, for zeros as padding; NaN where x is not allowed.  Returns NULL, or what is wrong. */
const char *bnn_kernel_gradient(const bnn_kernels *kernels, const bnn_shape *shape, const float *x, const float *g,
                                float *dk, bnn_parallel *parallel, void *pool, int64_t threads);

#endif
