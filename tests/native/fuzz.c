/* Compares all implementations that run here with the scalar one, on random convolutions, and on the gradients of
   every fifth, which the scalar one takes long for: fuzz CASES SEED. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conv.h"

static uint64_t state;

static int64_t between(int64_t least, int64_t most) { /* splitmix64 */
  uint64_t z = state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return least + (int64_t)((z ^ z >> 31) % (uint64_t)(most - least + 1));
}

static float *codes(int64_t n) {
  float *x = malloc((size_t)n * sizeof *x);
  for (int64_t k = 0; k < n; k++) x[k] = between(0, 1) ? 1.0f : -1.0f;
  return x;
}

static void one_by_one(void *pool, int64_t tasks, void (*task)(void *, int64_t), void *data) {
  (void)pool;
  for (int64_t n = 0; n < tasks; n++) task(data, n);
}

static float *reals(int64_t n) {
  float *x = malloc((size_t)n * sizeof *x);
  for (int64_t k = 0; k < n; k++) x[k] = (float)between(-9999, 9999) / 1000;
  return x;
}

typedef const char *function(const bnn_kernels *, const bnn_shape *, const float *, const float *, float *,
                             bnn_parallel *, void *, int64_t);

/* The convolution, with a scale that the kernel begins with, or without one. */
static const char *convolve(const bnn_kernels *kernels, const bnn_shape *s, const float *x, const float *kernel,
                            float *y, bnn_parallel *parallel, void *pool, int64_t threads) {
  return bnn_convolve(kernels, s, x, kernel + s->outputs, s->outputs % 2 ? NULL : kernel, y, parallel, pool, threads);
}

/* Calls a function by all implementations; their n results must have the same bits. */
static const char *compare(function *f, const bnn_shape *s, const float *first, const float *second, int64_t n,
                           int64_t *compared) {
  static const char *const NAMES[] = {"avx2", "avx512bw", "neon"};
  size_t bytes = (size_t)n * sizeof(float);
  float *expected = malloc(bytes), *y = malloc(bytes);
  const char *error = f(bnn_choose("scalar"), s, first, second, expected, one_by_one, NULL, 1);
  for (size_t k = 0; !error && k < sizeof NAMES / sizeof *NAMES; k++) {
    const bnn_kernels *kernels = bnn_choose(NAMES[k]);
    if (!kernels) continue;
    memset(y, 0xff, bytes); /* NaN */
    error = f(kernels, s, first, second, y, one_by_one, NULL, between(1, 5));
    ++*compared;
    if (!error && memcmp(y, expected, bytes)) error = "other sums";
  }
  free(expected);
  free(y);
  return error;
}

int main(int argc, char **argv) {
  int64_t cases = argc > 1 ? atoll(argv[1]) : 100, compared = 0;
  state = argc > 2 ? (uint64_t)atoll(argv[2]) : 0;
  for (int64_t n = 0; n < cases; n++) {
    bnn_shape s;
    s.height = between(1, 7);
    s.width = between(1, 7);
    s.padding = between(0, 3);
    s.padding_value = between(-1, 1);
    s.stride = between(1, 3);
    s.images = between(0, 6);
    int64_t rows = s.height - 2 * s.padding, columns = s.width - 2 * s.padding;
    s.rows = between(rows > 1 ? rows : 1, 20);
    s.columns = between(columns > 1 ? columns : 1, between(0, 9) ? 20 : 80);
    s.inputs = between(1, between(0, 3) ? 40 : 200);
    s.outputs = between(1, 40);
    s.reals = between(0, 1);
    int64_t in_x = s.images * s.rows * s.columns * s.inputs, in_kernel = s.height * s.width * s.inputs * s.outputs;
    int64_t in_y = s.images * bnn_out_rows(&s) * bnn_out_columns(&s) * s.outputs;
    float *x = s.reals ? reals(in_x) : codes(in_x), *g = reals(in_y), *real = reals(in_kernel);
    float *kernel = codes(s.outputs + in_kernel);
    for (int64_t o = 0; o < s.outputs; o++) kernel[o] *= (float)between(0, 99) / 7;
    for (int64_t k = 0; s.reals && k < in_x; k += 7) x[k] *= 0.0f; /* 0 or -0 */
    const char *what = "y", *error = compare(convolve, &s, x, kernel, in_y, &compared);
    const bnn_shape given = s;
    s.padding_value = 0;
    if (!error && n % 5 == 0) what = "dx", error = compare(bnn_input_gradient, &s, g, real, in_x, &compared);
    if (!error && n % 5 == 0) what = "dk", error = compare(bnn_kernel_gradient, &s, x, g, in_kernel, &compared);
    free(x);
    free(kernel);
    free(g);
    free(real);
    if (error) {
      printf("%s of %s: images %lld, %lld x %lld x %lld, kernel %lld x %lld x %lld, stride %lld, padding %lld with "
             "%lld\n",
             error, what, (long long)s.images, (long long)s.rows, (long long)s.columns, (long long)s.inputs,
             (long long)s.height, (long long)s.width, (long long)s.outputs, (long long)s.stride,
             (long long)s.padding, (long long)given.padding_value);
      return 1;
    }
  }
  printf("%lld\n", (long long)compared);
  return 0;
}
