/* The gradient of the convolution by its input:

   dx[b, r, c, i] = sum of g[b, p, q, o] k[h, w, i, o]   over o and all p, q, h, w with s p + h - d = r, s q + w - d = c

   Where the stride is s, dx falls into s^2 phases of every s-th row and column; a phase is the convolution of g with
   the taps that meet it, turned.  The pixels of an image of g are laid out in a line a channel, each row with zeros
   before it, so that a tap is a constant distance; sums at places that are no pixel are computed and left.  The sum
   of a pixel begins with zero and takes 16 outputs after 16 others, of these taps in the order of h and w, and of a tap
   outputs in theirs, with fused multiply-adds: the same bits by every implementation. */
#include "floats.h"

enum { CHUNK = 16 /* outputs */, SUMS_BYTES = 1 << 16 /* which are kept at a time, where an image is smaller */ };

typedef struct {
  int64_t before, after; /* rows of zeros above and below an image */
  int64_t left, line;    /* zeros before a row, and places from one row to the next */
  int64_t plane;         /* places from one channel to the next */
  int64_t vectors, block;    /* of inputs that are summed at a time */
  int64_t channels;          /* inputs rounded up to blocks */
  int64_t places, images;    /* of a phase, rounded up to those that are summed at a time; images at a time */
} input_layout;

static int64_t floor_divide(int64_t a, int64_t b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

static input_layout input_layout_of(const bnn_shape *s) {
  input_layout l;
  const int64_t rows = bnn_out_rows(s), columns = bnn_out_columns(s), d = s->padding;
  const int64_t phase_rows = (s->rows - 1) / s->stride + 1, phase_columns = (s->columns - 1) / s->stride + 1;
  const int64_t up = -floor_divide(d - s->height + 1, s->stride), left = -floor_divide(d - s->width + 1, s->stride);
  const int64_t down = (d + s->stride - 1) / s->stride, right = down;
  l.before = up > 0 ? up : 0;
  l.left = left > 0 ? left : 0;
  l.after = phase_rows + down > rows ? phase_rows + down - rows : 0;
  l.line = l.left + (phase_columns + right > columns ? phase_columns + right : columns);
  l.plane = (l.before + rows + l.after + 1) * l.line + PRODUCTS;
  l.vectors = s->inputs > FLOATS ? 2 : 1;
  l.block = l.vectors * FLOATS;
  l.channels = (s->inputs + l.block - 1) / l.block * l.block;
  const int64_t pixels = PRODUCTS / l.vectors;
  l.places = ((phase_rows - 1) * l.line + phase_columns + pixels - 1) / pixels * pixels;
  l.images = SUMS_BYTES / (l.places * l.block * (int64_t)sizeof(float));
  if (l.images < 1) l.images = 1;
  return l;
}

/* A packed kernel: [channels / block, chunks of outputs, taps, CHUNK, block]. */
static size_t turned_bytes(const bnn_shape *s) {
  int64_t outputs = (s->outputs + CHUNK - 1) / CHUNK * CHUNK;
  return (size_t)(input_layout_of(s).channels * s->height * s->width * outputs) * sizeof(float);
}

static void turn_kernel(const bnn_shape *s, const float *kernel, void *packed) {
  const input_layout l = input_layout_of(s);
  float *to = packed;
  for (int64_t begin = 0; begin < l.channels; begin += l.block)
    for (int64_t chunk = 0; chunk < s->outputs; chunk += CHUNK)
      for (int64_t tap = 0; tap < s->height * s->width; tap++)
        for (int64_t o = chunk; o < chunk + CHUNK; o++)
          for (int64_t i = begin; i < begin + l.block; i++)
            *to++ = i < s->inputs && o < s->outputs ? kernel[(tap * s->inputs + i) * s->outputs + o] : 0;
}

/* Scratch: sums [images, places, block] and images of g [images, outputs, before + rows + after, line]. */
static size_t input_gradient_bytes(const bnn_shape *s) {
  const input_layout l = input_layout_of(s);
  return (size_t)(l.images * (l.places * l.block + l.plane * s->outputs)) * sizeof(float);
}

/* Adds to the sums of neighbouring places; vectors is a constant where this is inlined. */
static inline __attribute__((always_inline)) void sum_taps(const int vectors, int64_t taps, const int64_t *away,
                                                           const float *const *kernels, int64_t outputs, int64_t plane,
                                                           const float *g, float *sums) {
  const int pixels = PRODUCTS / vectors;
  floats sum[PRODUCTS];
#pragma GCC unroll 32
  for (int k = 0; k < PRODUCTS; k++) sum[k] = load_floats(sums + k * FLOATS);
  for (int64_t t = 0; t < taps; t++) {
    const float *from = g + away[t], *kernel = kernels[t];
    for (int64_t o = 0; o < outputs; o++, from += plane, kernel += vectors * FLOATS) {
      floats weights[2];
#pragma GCC unroll 2
      for (int v = 0; v < vectors; v++) weights[v] = load_floats(kernel + v * FLOATS);
#pragma GCC unroll 32
      for (int k = 0; k < pixels; k++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) sum[k * vectors + v] = multiply_add(weights[v], from[k], sum[k * vectors + v]);
    }
  }
#pragma GCC unroll 32
  for (int k = 0; k < PRODUCTS; k++) store_floats(sums + k * FLOATS, sum[k]);
}

/* Lays out an image of g; what is around its rows is zero already. */
static void lay_out(const bnn_shape *s, const input_layout *l, const float *g, float *planes) {
  typedef float four __attribute__((vector_size(16)));
  typedef float any_four __attribute__((vector_size(16), aligned(4), may_alias));
  const int64_t columns = bnn_out_columns(s), outputs = s->outputs;
  for (int64_t row = 0; row < bnn_out_rows(s); row++, g += columns * outputs) {
    float *to = planes + (l->before + row) * l->line + l->left;
    for (int64_t q = 0; q < columns; q += 4)
      for (int64_t o = 0; o < outputs; o += 4) {
        const float *from = g + q * outputs + o;
        if (columns - q < 4 || outputs - o < 4) {
          for (int64_t n = 0; n < 16; n++)
            if (q + n / 4 < columns && o + n % 4 < outputs)
              to[(o + n % 4) * l->plane + q + n / 4] = from[n / 4 * outputs + n % 4];
          continue;
        }
        four a[4], b[4];
        for (int k = 0; k < 4; k++) a[k] = *(const any_four *)(from + k * outputs);
        b[0] = __builtin_shufflevector(a[0], a[1], 0, 4, 1, 5);
        b[1] = __builtin_shufflevector(a[0], a[1], 2, 6, 3, 7);
        b[2] = __builtin_shufflevector(a[2], a[3], 0, 4, 1, 5);
        b[3] = __builtin_shufflevector(a[2], a[3], 2, 6, 3, 7);
        for (int k = 0; k < 2; k++) {
          *(any_four *)(to + (o + 2 * k) * l->plane + q) = __builtin_shufflevector(b[k], b[k + 2], 0, 1, 4, 5);
          *(any_four *)(to + (o + 2 * k + 1) * l->plane + q) = __builtin_shufflevector(b[k], b[k + 2], 2, 3, 6, 7);
        }
      }
  }
}

/* Writes a phase, whose first pixel is (row, column), for the channels of a block. */
static void write_phase(const bnn_shape *s, const input_layout *l, int64_t row, int64_t column, int64_t channel,
                        const float *sums, float *dx) {
  const int64_t there = s->inputs - channel < l->block ? s->inputs - channel : l->block;
  for (int64_t r = row; r < s->rows; r += s->stride, sums += l->line * l->block)
    for (int64_t c = column, q = 0; c < s->columns; c += s->stride, q++) {
      float *to = dx + (r * s->columns + c) * s->inputs + channel;
      const float *from = sums + q * l->block;
      if (there == l->block)
        for (int64_t v = 0; v < l->block; v += FLOATS) store_floats(to + v, load_floats(from + v));
      else memcpy(to, from, (size_t)there * sizeof *to);
    }
}

/* -> dx of some images. */
static void input_gradient(const bnn_shape *s, int64_t first, int64_t images, const float *g, const void *packed,
                           float *dx, void *scratch) {
  enum { MOST_TAPS = 1024 };
  const input_layout l = input_layout_of(s);
  const int64_t taps = s->height * s->width, pixels = PRODUCTS / l.vectors, in_image = s->outputs * l.plane;
  const int64_t of_chunk = taps * CHUNK * l.block;
  float *sums = scratch, *planes = sums + l.images * l.places * l.block;
  memset(planes, 0, (size_t)(l.images * in_image) * sizeof *planes);
  for (int64_t begin = first; begin < first + images; begin += l.images) {
    const int64_t now = first + images - begin < l.images ? first + images - begin : l.images;
    for (int64_t n = 0; n < now; n++)
      lay_out(s, &l, g + (begin + n) * bnn_out_rows(s) * bnn_out_columns(s) * s->outputs, planes + n * in_image);
    for (int64_t row = 0; row < s->stride && row < s->rows; row++)
      for (int64_t column = 0; column < s->stride && column < s->columns; column++) {
        int64_t away[MOST_TAPS], tap[MOST_TAPS], met = 0;
        for (int64_t h = 0; h < s->height; h++)
          for (int64_t w = 0; w < s->width; w++) {
            int64_t p = row + s->padding - h, q = column + s->padding - w;
            if (p % s->stride || q % s->stride) continue;
            tap[met] = h * s->width + w;
            away[met++] = (l.before + p / s->stride) * l.line + l.left + q / s->stride;
          }
        const float *kernel = packed;
        for (int64_t channel = 0; channel < l.channels; channel += l.block) {
          memset(sums, 0, (size_t)(now * l.places * l.block) * sizeof *sums);
          for (int64_t chunk = 0; chunk < s->outputs; chunk += CHUNK, kernel += of_chunk) {
            const int64_t outputs = s->outputs - chunk < CHUNK ? s->outputs - chunk : CHUNK;
            const float *kernels[MOST_TAPS];
            for (int64_t t = 0; t < met; t++) kernels[t] = kernel + tap[t] * CHUNK * l.block;
            for (int64_t n = 0; n < now; n++)
              for (int64_t place = 0; place < l.places; place += pixels) {
                const float *from = planes + n * in_image + chunk * l.plane + place;
                float *to = sums + (n * l.places + place) * l.block;
                if (l.vectors == 2) sum_taps(2, met, away, kernels, outputs, l.plane, from, to);
                else sum_taps(1, met, away, kernels, outputs, l.plane, from, to);
              }
          }
          for (int64_t n = 0; n < now; n++)
            write_phase(s, &l, row, column, channel, sums + n * l.places * l.block,
                        dx + (begin + n) * s->rows * s->columns * s->inputs);
        }
      }
  }
}
