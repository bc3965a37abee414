/* Compares all implementations that run here with the scalar one, on random convolutions: fuzz CASES SEED. */
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

int main(int argc, char **argv) {
  static const char *const NAMES[] = {"avx2", "avx512bw", "neon"};
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
    int64_t outputs = s.images * bnn_out_rows(&s) * bnn_out_columns(&s) * s.outputs;
    float *x = codes(s.images * s.rows * s.columns * s.inputs);
    float *kernel = codes(s.height * s.width * s.inputs * s.outputs);
    float *expected = malloc((size_t)outputs * sizeof *expected), *y = malloc((size_t)outputs * sizeof *y);
    const char *error = bnn_convolve(bnn_choose("scalar"), &s, x, kernel, expected, one_by_one, NULL, 1);
    for (size_t k = 0; !error && k < sizeof NAMES / sizeof *NAMES; k++) {
      const bnn_kernels *kernels = bnn_choose(NAMES[k]);
      if (!kernels) continue;
      memset(y, 0xff, (size_t)outputs * sizeof *y); /* NaN */
      error = bnn_convolve(kernels, &s, x, kernel, y, one_by_one, NULL, between(1, 5));
      compared++;
      if (!error && memcmp(y, expected, (size_t)outputs * sizeof *y)) error = "other sums";
    }
    free(x);
    free(kernel);
    free(expected);
    free(y);
    if (error) {
      printf("%s: images %lld, %lld x %lld x %lld, kernel %lld x %lld x %lld, stride %lld, padding %lld with %lld\n",
             error, (long long)s.images, (long long)s.rows, (long long)s.columns, (long long)s.inputs,
             (long long)s.height, (long long)s.width, (long long)s.outputs, (long long)s.stride,
             (long long)s.padding, (long long)s.padding_value);
      return 1;
    }
  }
  printf("%lld\n", (long long)compared);
  return 0;
}
