/* The gradient of the convolution by its kernel, for some images and a block of outputs:

   dk[h, w, i, o] += sum of x[b, s p + h - d, s q + w - d, i] g[b, p, q, o]   over b, p, q

   Four neighbouring pixels of g are a quad.  The 16 sums +-g_0 +-g_1 +-g_2 +-g_3 are tabulated for all outputs
   of a block; the signs of the four pixels of x that a tap meets pick one of them, so that one addition takes
   the place of four products (the method of four Russians).

   The sum of eight quads that follow one another begins with zero and is added to that of those before: the same
   bits by every implementation.

   Pixels of x in the padding to the left and right count as +1 there; what that is too much does not depend
   on i and is taken off at the end.  Rows in the padding are left out. */
#include "floats.h"

enum { SUMS = 16, TABLES = 8 /* which a core's first cache holds */ };

typedef struct {
  int64_t quads;    /* of a row of g */
  int64_t columns;  /* of x from which four signs are taken */
  int64_t vectors;  /* of a block of outputs: 1 or 2 */
  int64_t block;    /* its outputs */
  int64_t channels; /* inputs, rounded up to those that are summed at a time */
  int64_t images;   /* whose signs are kept at a time */
} gradient_layout;

static gradient_layout gradient_layout_of(const bnn_shape *s) {
  gradient_layout l;
  l.quads = (bnn_out_columns(s) + 3) / 4;
  l.columns = s->stride * 4 * (l.quads - 1) + s->width;
  l.vectors = s->outputs > FLOATS ? 2 : 1;
  l.block = l.vectors * FLOATS;
  int64_t inputs = ACCUMULATORS / l.vectors, of_image = bnn_out_rows(s) * l.quads;
  l.channels = (s->inputs + inputs - 1) / inputs * inputs;
  l.images = TABLES > of_image ? TABLES / of_image : 1;
  return l;
}

static int64_t outputs_at_a_time(const bnn_shape *s) { return gradient_layout_of(s).block; }

/* Scratch: sums [taps, channels, block], what is too much [taps, block], tables [tables, 16, block], signs of a
   row [columns, channels], and the sum of a table, in bytes, that four signs from a column on ask for [images, rows
   of x, columns, channels]. */
static size_t kernel_gradient_bytes(const bnn_shape *s) {
  gradient_layout l = gradient_layout_of(s);
  int64_t taps = s->height * s->width;
  return (size_t)((taps * (l.channels + 1) + TABLES * SUMS) * l.block) * sizeof(float) +
         (size_t)((l.columns + 3 * s->stride + l.images * s->rows * l.columns) * l.channels) * sizeof(uint16_t);
}

/* Finds the sums that the signs of an image ask for.  Columns beyond it count as +1; `signs` has that there. */
static int find_places(const bnn_shape *s, const gradient_layout *l, const float *x, uint16_t *restrict signs,
                       uint16_t *restrict places) {
  const uint16_t bytes = (uint16_t)(l->block * (int64_t)sizeof(float));
  const int64_t step = s->stride * l->channels, columns = l->columns + 3 * s->stride - s->padding;
  const uint32_t least = bnn_least(s), span = bnn_span(s);
  uint32_t wrong = 0;
  for (int64_t row = 0; row < s->rows; row++, places += l->columns * l->channels) {
    for (int64_t c = 0; c < s->columns && c < columns; c++) {
      const float *pixel = x + (row * s->columns + c) * s->inputs;
      uint16_t *to = signs + (s->padding + c) * l->channels;
      for (int64_t i = 0; i < s->inputs; i++) {
        uint32_t bits;
        memcpy(&bits, pixel + i, sizeof bits);
        wrong |= (bits & 0x7fffffff) - least > span;
        to[i] = bits > 0x80000000 ? 0 : bytes; /* the bits of -0.0f, which counts as +1 */
      }
    }
    for (int64_t n = 0; n < l->columns * l->channels; n++)
      places[n] = (uint16_t)(signs[n] + 2 * signs[n + step] + 4 * signs[n + 2 * step] + 8 * signs[n + 3 * step]);
  }
  return wrong != 0;
}

/* The 16 sums of a quad of pixels, of which some may be missing; block is how many floats a pixel has. */
static void fill_sums(const float *g, int64_t step, int64_t pixels, int64_t there, int64_t block, float *table) {
  for (int64_t v = 0; v < block; v += FLOATS) {
    floats pixel[4], low[4], high[4];
    for (int64_t k = 0; k < 4; k++) {
      pixel[k] = (floats){0};
      if (k >= pixels) continue;
      if (there - v >= FLOATS) pixel[k] = load_floats(g + k * step + v);
      else if (there > v) memcpy(&pixel[k], g + k * step + v, (size_t)(there - v) * sizeof(float));
    }
    for (int c = 0; c < 4; c++) {
      low[c] = (c & 1 ? pixel[0] : -pixel[0]) + (c & 2 ? pixel[1] : -pixel[1]);
      high[c] = (c & 1 ? pixel[2] : -pixel[2]) + (c & 2 ? pixel[3] : -pixel[3]);
    }
    for (int c = 0; c < SUMS; c++) store_floats(table + c * block + v, low[c & 3] + high[c >> 2]);
  }
}

/* Adds to the sums of all channels, for one tap, what n tables hold; vectors is a constant where inlined. */
static inline __attribute__((always_inline)) void add_places(const int vectors, int64_t n, const char *const *tables,
                                                             const uint16_t *const *places, int64_t away,
                                                             int64_t channels, float *sums) {
  const int inputs = ACCUMULATORS / vectors;
  for (int64_t i = 0; i < channels; i += inputs, sums += ACCUMULATORS * FLOATS) {
    floats sum[ACCUMULATORS];
#pragma GCC unroll 16
    for (int k = 0; k < ACCUMULATORS; k++) sum[k] = (floats){0};
    for (int64_t t = 0; t < n; t++) {
      const uint16_t *place = places[t] + away + i;
      __asm__("" : "+r"(place)); /* GCC keeps the distance of each k in a register otherwise */
#pragma GCC unroll 16
      for (int k = 0; k < inputs; k++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++)
          sum[k * vectors + v] += load_floats((const float *)(tables[t] + place[k]) + v * FLOATS);
    }
#pragma GCC unroll 16
    for (int k = 0; k < ACCUMULATORS; k++)
      store_floats(sums + k * FLOATS, load_floats(sums + k * FLOATS) + sum[k]);
  }
}

/* Adds to `extra` what counts as +1 beside the row of x that each tap meets. */
static void add_extra(const bnn_shape *s, const float *g, int64_t p, int64_t there, int64_t block, float *extra) {
  const int64_t out_columns = bnn_out_columns(s);
  for (int64_t w = 0; w < s->width; w++) {
    /* The columns [first, last) of g meet columns of x. */
    int64_t first = s->padding > w ? (s->padding - w + s->stride - 1) / s->stride : 0;
    int64_t last = s->columns + s->padding > w ? (s->columns + s->padding - w - 1) / s->stride + 1 : 0;
    for (int64_t q = 0; q < out_columns; q++) {
      if (q == first && last > q) q = last;
      if (q >= out_columns) break;
      for (int64_t h = 0; h < s->height; h++) {
        int64_t row = s->stride * p + h - s->padding;
        if (row < 0 || row >= s->rows) continue;
        for (int64_t o = 0; o < there; o++) extra[(h * s->width + w) * block + o] += g[q * s->outputs + o];
      }
    }
  }
}

/* -> dk[taps, inputs, outputs], of some images and of the block of outputs that begins with `output`. */
static int kernel_gradient(const bnn_shape *s, int64_t first, int64_t images, int64_t output, const float *x,
                           const float *g, float *dk, void *scratch) {
  const gradient_layout l = gradient_layout_of(s);
  const int64_t taps = s->height * s->width, out_rows = bnn_out_rows(s), out_columns = bnn_out_columns(s);
  const int64_t there = s->outputs - output < l.block ? s->outputs - output : l.block;
  const int64_t row_places = l.columns * l.channels;
  float *sums = scratch, *extra = sums + taps * l.channels * l.block, *tables = extra + taps * l.block;
  uint16_t *signs = (uint16_t *)(tables + TABLES * SUMS * l.block);
  const int64_t in_row = (l.columns + 3 * s->stride) * l.channels;
  uint16_t *places = signs + in_row;
  int wrong = 0;
  for (int64_t n = 0; n < in_row; n++) signs[n] = (uint16_t)(l.block * (int64_t)sizeof(float));
  memset(sums, 0, (size_t)(taps * (l.channels + 1) * l.block) * sizeof(float));
  for (int64_t begin = first; begin < first + images; begin += l.images) {
    const int64_t now = first + images - begin < l.images ? first + images - begin : l.images;
    for (int64_t n = 0; n < now; n++)
      wrong |= find_places(s, &l, x + (begin + n) * s->rows * s->columns * s->inputs, signs,
                           places + n * s->rows * row_places);
    int64_t image = 0, p = 0, quad = 0; /* of the next table */
    while (image < now) {
      int64_t count = 0, rows_of[TABLES];
      const uint16_t *image_of[TABLES];
      for (; count < TABLES && image < now; count++) {
        const float *line = g + ((begin + image) * out_rows + p) * out_columns * s->outputs + output;
        fill_sums(line + 4 * quad * s->outputs, s->outputs, out_columns - 4 * quad, there, l.block,
                  tables + count * SUMS * l.block);
        if (quad == 0) add_extra(s, line, p, there, l.block, extra);
        rows_of[count] = s->stride * p - s->padding;
        image_of[count] = places + image * s->rows * row_places + quad * 4 * s->stride * l.channels;
        if (++quad < l.quads) continue;
        quad = 0;
        if (++p < out_rows) continue;
        p = 0;
        image++;
      }
      for (int64_t h = 0; h < s->height; h++) {
        const char *met[TABLES];
        const uint16_t *where[TABLES];
        int64_t n = 0;
        for (int64_t t = 0; t < count; t++) {
          const int64_t row = rows_of[t] + h;
          if (row < 0 || row >= s->rows) continue;
          met[n] = (const char *)(tables + t * SUMS * l.block);
          where[n++] = image_of[t] + row * row_places;
        }
        for (int64_t w = 0; w < s->width; w++) {
          float *to = sums + (h * s->width + w) * l.channels * l.block;
          if (l.vectors == 2) add_places(2, n, met, where, w * l.channels, l.channels, to);
          else add_places(1, n, met, where, w * l.channels, l.channels, to);
        }
      }
    }
  }
  for (int64_t tap = 0; tap < taps; tap++)
    for (int64_t i = 0; i < s->inputs; i++)
      for (int64_t o = 0; o < there; o++)
        dk[(tap * s->inputs + i) * s->outputs + output + o] =
            sums[(tap * l.channels + i) * l.block + o] - extra[tap * l.block + o];
  return wrong;
}
