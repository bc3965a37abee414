/* The portable implementation: channels in words of 64 bits, exclusive or and population count.  It is what
   the others are compared with. */
#include <string.h>

#include "conv.h"

enum { FLOATS = 4, ACCUMULATORS = 8, PRODUCTS = 8 };

#include "input_gradient.h"
#include "kernel_gradient.h"

static int64_t words(const bnn_shape *s) { return (s->inputs + 63) / 64; }

static int runs_here(void) { return 1; }

static size_t kernel_bytes(const bnn_shape *s) {
  return (size_t)(s->height * s->width * s->outputs * words(s)) * sizeof(uint64_t) +
         (size_t)s->outputs * sizeof(float);
}

/* Packs the signs of n floats, step apart, of which absolute values from least on are allowed.  Channels beyond the
   last are zeros. */
static int pack(const float *x, int64_t n, int64_t step, uint32_t least, uint32_t span, uint64_t *packed) {
  int wrong = 0;
  memset(packed, 0, (size_t)((n + 63) / 64) * sizeof(uint64_t));
  for (int64_t i = 0; i < n; i++) {
    uint32_t bits;
    memcpy(&bits, x + i * step, sizeof bits);
    wrong |= (bits & 0x7fffffff) - least > span;
    packed[i / 64] |= (uint64_t)(bits <= 0x80000000) << (i % 64); /* the bits of -0.0f, whose sign is +1 */
  }
  return wrong;
}

/* -> [height, width, outputs, words], and the scale [outputs] */
static int pack_kernel(const bnn_shape *s, const float *kernel, const float *scale, void *packed) {
  const bnn_shape codes = {.reals = 0};
  int wrong = 0;
  uint64_t *to = packed;
  for (int64_t tap = 0; tap < s->height * s->width; tap++)
    for (int64_t o = 0; o < s->outputs; o++, to += words(s))
      wrong |= pack(kernel + tap * s->inputs * s->outputs + o, s->inputs, s->outputs, bnn_least(&codes),
                    bnn_span(&codes), to);
  float *scales = (float *)to;
  for (int64_t o = 0; o < s->outputs; o++) scales[o] = scale ? scale[o] : 1;
  return wrong;
}

/* One pixel. */
static size_t scratch_bytes(const bnn_shape *s, const bnn_strip *strip) {
  (void)strip;
  return (size_t)words(s) * sizeof(uint64_t);
}

static int64_t count(uint64_t word) {
#ifdef __GNUC__
  return __builtin_popcountll(word);
#else
  int64_t bits = 0;
  for (; word; word &= word - 1) bits++;
  return bits;
#endif
}

static int64_t product(const uint64_t *x, const uint64_t *kernel, int64_t inputs) {
  int64_t differ = 0;
  for (int64_t w = 0; w < (inputs + 63) / 64; w++) differ += count(x[w] ^ kernel[w]);
  return inputs - 2 * differ;
}

static int convolve(const bnn_shape *s, const bnn_strip *strip, const float *x, const void *packed, float *y,
                    void *scratch) {
  int wrong = 0;
  const int64_t out_rows = bnn_out_rows(s), out_columns = bnn_out_columns(s), last = s->inputs % 64;
  const float *scale = (const float *)((const uint64_t *)packed + s->height * s->width * s->outputs * words(s));
  for (int64_t image = strip->first; image < strip->first + strip->images; image++)
    for (int64_t p = strip->first_row; p < strip->first_row + strip->out_rows; p++)
      for (int64_t q = 0; q < out_columns; q++) {
        float *out = y + ((image * out_rows + p) * out_columns + q) * s->outputs;
        for (int64_t o = 0; o < s->outputs; o++) out[o] = 0;
        for (int64_t h = 0; h < s->height; h++)
          for (int64_t w = 0; w < s->width; w++) {
            int64_t r = p * s->stride + h - s->padding, c = q * s->stride + w - s->padding;
            uint64_t *pixel = scratch;
            if (r >= 0 && r < s->rows && c >= 0 && c < s->columns) {
              wrong |= pack(x + ((image * s->rows + r) * s->columns + c) * s->inputs, s->inputs, 1,
                            bnn_least(s), bnn_span(s), pixel);
            } else if (s->padding_value == 0) {
              continue;
            } else {
              memset(pixel, s->padding_value > 0 ? 0xff : 0, (size_t)words(s) * sizeof(uint64_t));
              if (last && s->padding_value > 0) pixel[words(s) - 1] = (UINT64_C(1) << last) - 1;
            }
            const uint64_t *kernel = (const uint64_t *)packed + (h * s->width + w) * s->outputs * words(s);
            for (int64_t o = 0; o < s->outputs; o++)
              out[o] += (float)product(pixel, kernel + o * words(s), s->inputs);
          }
        for (int64_t o = 0; o < s->outputs; o++) out[o] *= scale[o];
      }
  return wrong;
}

const bnn_kernels bnn_scalar = KERNELS("scalar");
