/* The test of an implementation before it is used: does it give the bits of the scalar one? */
#include <stdlib.h>
#include <string.h>

#include "conv.h"

extern const bnn_kernels bnn_scalar;

/* images, rows, columns, inputs; kernel's rows, its columns, outputs; stride, padding, its value; reals */
static const bnn_shape SHAPES[] = {
    {2, 6, 7, 5, 3, 3, 6, 1, 1, 0, 0},   {1, 9, 8, 16, 3, 3, 12, 2, 1, 1, 1},  {3, 5, 5, 64, 1, 1, 9, 2, 0, 0, 0},
    {1, 7, 9, 3, 5, 3, 4, 1, 2, -1, 1}, {1, 4, 10, 70, 3, 3, 40, 1, 1, 0, 0},
};
enum { MOST = 30000 /* floats of an array */, THREADS = 2 };

static void one_by_one(void *pool, int64_t tasks, void (*task)(void *, int64_t), void *data) {
  (void)pool;
  for (int64_t n = 0; n < tasks; n++) task(data, n);
}

typedef struct {
  float x[MOST], kernel[MOST], g[MOST], result[MOST];
} arrays;

/* Computes y, dx or dk into a->result; returns how many bytes that are, or 0 if it failed. */
static size_t compute(const bnn_kernels *kernels, const bnn_shape *given, int what, arrays *a) {
  bnn_shape s = *given;
  if (what) s.padding_value = 0;
  const char *error;
  int64_t in_x = s.images * s.rows * s.columns * s.inputs, in_kernel = s.height * s.width * s.inputs * s.outputs;
  int64_t floats = s.images * bnn_out_rows(&s) * bnn_out_columns(&s) * s.outputs;
  if (what == 0) {
    error = bnn_convolve(kernels, &s, a->x, a->kernel, a->kernel, a->result, one_by_one, NULL, THREADS);
  } else if (what == 1) {
    error = bnn_input_gradient(kernels, &s, a->g, a->kernel, a->result, one_by_one, NULL, THREADS);
    floats = in_x;
  } else {
    error = bnn_kernel_gradient(kernels, &s, a->x, a->g, a->result, one_by_one, NULL, THREADS);
    floats = in_kernel;
  }
  return error ? 0 : (size_t)floats * sizeof(float);
}

int bnn_agrees(const bnn_kernels *kernels) {
  arrays *ours = malloc(2 * sizeof *ours), *theirs = ours + 1;
  uint32_t random = 1;
  int agrees = 1;
  if (!ours) return 0;
  for (int n = 0; n < MOST; n++) {
    random = random * 1664525u + 1013904223u;
    ours->x[n] = random >> 31 ? 1.0f : -1.0f;
    ours->kernel[n] = random >> 30 & 1 ? 1.0f : -1.0f;
    ours->g[n] = (float)(random >> 8 & 0xffff) / 256 - 128;
  }
  memcpy(theirs, ours, sizeof *ours);
  for (size_t n = 0; n < sizeof SHAPES / sizeof *SHAPES; n++)
    for (int what = 0; agrees && what < 3; what++) {
      size_t bytes = compute(kernels, &SHAPES[n], what, ours);
      agrees = bytes && compute(&bnn_scalar, &SHAPES[n], what, theirs) == bytes &&
               !memcmp(ours->result, theirs->result, bytes);
    }
  free(ours);
  return agrees;
}
