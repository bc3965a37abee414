/* The body of the implementations by table look-up; a file an instruction set defines vectors and includes it.

   Four channels of an image are a nibble, and so are those of a kernel: the first picks one of 16 entries of
   the table that the second names, the sum of their four products.  The nibbles of many pixels are bytes side
   by side, so that one instruction looks up as many products of four as a vector has bytes.

   The pixels of a strip are laid out in a line, row after row and image after image, each row with its left
   padding before it, which is at the same time the right padding of the row above; likewise between images.
   A tap of the kernel is then a constant distance.  Where the stride is s there are s^2 such lines, of every
   s-th row and column.  Sums at places that are no output are computed and left.

   Entries are halved where all are even, so that bytes hold 63 sums of four in place of 31. */
#include <string.h>

#include "conv.h"

enum { OUTPUTS = 4, VECTORS = 4, PAD = 0x80 /* which look-ups answer with 0 */ };

typedef struct {
  int64_t out_rows, out_columns;
  int64_t nibbles; /* of a pixel */
  int64_t steps;   /* nibbles that a kernel meets */
  int64_t line;    /* places from one row to the next */
  int64_t band;    /* rows from one image to the next */
  int64_t places;  /* up to the last that is an output */
  int64_t plane;   /* bytes from one nibble of a pixel to the next */
  int64_t groups;  /* of OUTPUTS */
  int halved;
} layout;

static int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

static layout layout_of(const bnn_shape *s, const bnn_strip *strip) {
  layout l;
  l.out_rows = bnn_out_rows(s);
  l.out_columns = bnn_out_columns(s);
  l.nibbles = divide_up(s->inputs, 4);
  l.steps = s->height * s->width * l.nibbles;
  l.line = larger(divide_up(s->columns + s->padding, s->stride), l.out_columns);
  int whole = strip->out_rows == l.out_rows;
  l.band = whole ? larger(divide_up(s->rows + s->padding, s->stride), l.out_rows)
                 : strip->out_rows + (s->height - 1) / s->stride;
  l.places = ((strip->images - 1) * l.band + strip->out_rows - 1) * l.line + l.out_columns;
  int64_t reach = (s->height - 1) / s->stride * l.line + (s->width - 1) / s->stride;
  int64_t rows = strip->images * l.band * l.line;
  int64_t end = divide_up(l.places, LANES) * LANES + reach;
  l.plane = divide_up(larger(end, rows), 64) * 64;
  l.groups = divide_up(s->outputs, OUTPUTS);
  l.halved = s->inputs % 2 == 0;
  return l;
}

/* A packed kernel: twice 16 tables of 16 bytes; the scale [outputs, rounded up to 8]; for each group and step which
   table each output takes. */
static int64_t scales(const bnn_shape *s) { return divide_up(s->outputs, 8) * 8; }

static size_t kernel_bytes(const bnn_shape *s) {
  bnn_strip strip = {0, 1, 0, 1};
  layout l = layout_of(s, &strip);
  return 2 * 256 + (size_t)scales(s) * sizeof(float) + (size_t)(l.groups * l.steps * OUTPUTS) * sizeof(uint16_t);
}

static void fill_tables(int8_t *tables, int bits, int halved) {
  for (int w = 0; w < 16; w++)
    for (int x = 0; x < 16; x++) {
      int sum = bits;
      for (int bit = 0; bit < bits; bit++) sum -= 2 * (((w ^ x) >> bit) & 1);
      tables[w * 16 + x] = (int8_t)(halved ? sum / 2 : sum);
    }
}

static int pack_kernel(const bnn_shape *s, const float *kernel, const float *scale, void *packed) {
  uint32_t wrong = 0;
  bnn_strip strip = {0, 1, 0, 1};
  layout l = layout_of(s, &strip);
  fill_tables(packed, 4, l.halved);
  fill_tables((int8_t *)packed + 256, (int)(s->inputs - 4 * (l.nibbles - 1)), l.halved);
  float *scaled = (float *)((int8_t *)packed + 512);
  for (int64_t o = 0; o < scales(s); o++) scaled[o] = (float)(1 << l.halved) * (scale && o < s->outputs ? scale[o] : 1);
  uint16_t *to = (uint16_t *)(scaled + scales(s));
  for (int64_t tap = 0; tap < s->height * s->width; tap++)
    for (int64_t nibble = 0; nibble < l.nibbles; nibble++)
      for (int64_t begin = 0; begin < l.groups * OUTPUTS; begin += 64) {
        uint16_t tables[64];
        int64_t outputs = s->outputs - begin < 64 ? s->outputs - begin : 64;
        for (int o = 0; o < 64; o++) tables[o] = nibble == l.nibbles - 1 ? 256 : 0;
        for (int64_t i = 4 * nibble; i < 4 * nibble + 4 && i < s->inputs; i++) {
          const float *from = kernel + (tap * s->inputs + i) * s->outputs + begin;
          for (int64_t o = 0; o < outputs; o++) {
            uint32_t bits;
            memcpy(&bits, from + o, sizeof bits);
            wrong |= (bits & 0x7fffffff) ^ 0x3f800000; /* the bits of 1.0f */
            tables[o] = (uint16_t)(tables[o] + ((~bits >> 31) << (4 + i % 4)));
          }
        }
        for (int64_t o = 0; o < outputs; o += OUTPUTS)
          memcpy(to + ((begin + o) / OUTPUTS * l.steps + tap * l.nibbles + nibble) * OUTPUTS, tables + o,
                 OUTPUTS * sizeof *to);
      }
  return wrong != 0;
}

/* Scratch: planes of nibbles, where each step begins in them, sums [outputs, VECTORS * LANES]. */
static size_t planes_bytes(const bnn_shape *s, const layout *l) {
  return (size_t)(s->stride * s->stride * l->nibbles * l->plane);
}

static size_t begins_bytes(const layout *l) { return (size_t)divide_up(l->steps, 16) * 16 * sizeof(int32_t); }

static size_t scratch_bytes(const bnn_shape *s, const bnn_strip *strip) {
  layout l = layout_of(s, strip);
  /* A read of sums for eight outputs may pass the last by seven rows. */
  size_t sums = (size_t)((divide_up(s->outputs, 8) * 8) * VECTORS * LANES + 8) * sizeof(int16_t);
  return planes_bytes(s, &l) + begins_bytes(&l) + sums;
}

/* Packs n pixels, step floats apart, into a byte a nibble, planes apart. */
static int pack_pixels(const bnn_shape *s, const layout *l, const float *x, int64_t n, int64_t step, uint8_t *to) {
  int wrong = 0;
  uint16_t signs[16];
  for (int64_t begin = 0; begin < n; begin += 16) {
    int64_t pixels = n - begin < 16 ? n - begin : 16;
    for (int64_t c = 0; c < s->inputs; c += 16) {
      const float *from = x + begin * step + c;
      int64_t channels = s->inputs - c < 16 ? s->inputs - c : 16;
      if (channels == 16) {
        for (int64_t k = 0; k < pixels; k++) signs[k] = signs_of_16(from + k * step, s->reals != 0, &wrong);
      } else {
        for (int64_t k = 0; k < pixels; k++) {
          signs[k] = 0;
          for (int64_t i = 0; i < channels; i++) {
            uint32_t bits;
            memcpy(&bits, from + k * step + i, sizeof bits);
            wrong |= (bits & 0x7fffffff) - bnn_least(s) > bnn_span(s);
            signs[k] |= (uint16_t)((bits <= 0x80000000) << i); /* the bits of -0.0f, whose sign is +1 */
          }
        }
      }
      for (int64_t nibble = 0; 4 * nibble < channels; nibble++) {
        uint8_t *plane = to + (c / 4 + nibble) * l->plane + begin;
        if (pixels == 16) {
          for (int k = 0; k < 16; k++) plane[k] = (uint8_t)(signs[k] >> (4 * nibble) & 15);
        } else {
          for (int64_t k = 0; k < pixels; k++) plane[k] = (uint8_t)(signs[k] >> (4 * nibble) & 15);
        }
      }
    }
  }
  return wrong;
}

static int pack_strip(const bnn_shape *s, const bnn_strip *strip, const layout *l, const float *x, uint8_t *planes) {
  int wrong = 0;
  memset(planes, s->padding_value == 0 ? PAD : s->padding_value > 0 ? 15 : 0, planes_bytes(s, l));
  if (s->padding_value > 0 && s->inputs % 4)
    for (int64_t phase = 0; phase < s->stride * s->stride; phase++)
      memset(planes + ((phase + 1) * l->nibbles - 1) * l->plane, (1 << s->inputs % 4) - 1, (size_t)l->plane);
  for (int64_t image = 0; image < strip->images; image++)
    for (int64_t row = 0; row < l->band * s->stride; row++) {
      int64_t from_row = strip->first_row * s->stride + row - s->padding;
      if (from_row < 0 || from_row >= s->rows) continue;
      const float *from = x + ((strip->first + image) * s->rows + from_row) * s->columns * s->inputs;
      for (int64_t phase = 0; phase < s->stride; phase++) {
        /* The first column of this phase that is no padding. */
        int64_t at = divide_up(s->padding > phase ? s->padding - phase : 0, s->stride);
        int64_t column = at * s->stride + phase - s->padding;
        if (column >= s->columns) continue;
        int64_t pixels = divide_up(s->columns - column, s->stride);
        uint8_t *to = planes + ((row % s->stride) * s->stride + phase) * l->nibbles * l->plane +
                      (image * l->band + row / s->stride) * l->line + at;
        wrong |= pack_pixels(s, l, from + column * s->inputs, pixels, s->stride * s->inputs, to);
      }
    }
  return wrong;
}

static void find_begins(const bnn_shape *s, const layout *l, int32_t *begins) {
  for (int64_t h = 0; h < s->height; h++)
    for (int64_t w = 0; w < s->width; w++) {
      int64_t phase = (h % s->stride) * s->stride + w % s->stride;
      int64_t away = h / s->stride * l->line + w / s->stride;
      for (int64_t nibble = 0; nibble < l->nibbles; nibble++)
        *begins++ = (int32_t)((phase * l->nibbles + nibble) * l->plane + away);
    }
}

/* Sums for OUTPUTS outputs at vectors * LANES places; vectors is a constant where this is inlined. */
static inline __attribute__((always_inline)) void sum_products(const int vectors, const layout *l,
                                                               const uint8_t *places, const int32_t *begins,
                                                               const int8_t *tables, const uint16_t *kernel,
                                                               int16_t *sums) {
  const int64_t period = l->halved ? 63 : 31;
  for (int64_t step = 0; step < l->steps;) {
    int64_t end = step + period < l->steps ? step + period : l->steps;
    int is_first = step == 0;
    vector sum[OUTPUTS][VECTORS];
#pragma GCC unroll 4
    for (int o = 0; o < OUTPUTS; o++)
#pragma GCC unroll 4
      for (int v = 0; v < vectors; v++) sum[o][v] = zero();
    for (; step < end; step++) {
      const uint8_t *from = places + begins[step];
      vector pixels[VECTORS];
#pragma GCC unroll 4
      for (int v = 0; v < vectors; v++) pixels[v] = load(from + v * LANES);
#pragma GCC unroll 4
      for (int o = 0; o < OUTPUTS; o++) {
        vector table = load_table(tables + kernel[step * OUTPUTS + o]);
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) accumulate(&sum[o][v], look_up(table, pixels[v]));
      }
    }
#pragma GCC unroll 4
    for (int o = 0; o < OUTPUTS; o++)
#pragma GCC unroll 4
      for (int v = 0; v < vectors; v++)
        widen(sums + o * VECTORS * LANES + v * LANES, sum[o][v], is_first);
  }
}

/* Writes outputs at the places [begin, end) of the line, which sums begin with. */
static void write_outputs(const bnn_shape *s, const bnn_strip *strip, const layout *l, const int16_t *sums,
                          int64_t begin, int64_t end, const float *scale, float *y) {
  for (int64_t row = begin / l->line; row * l->line < end; row++) {
    int64_t image = row / l->band, p = row % l->band;
    if (p >= strip->out_rows || image >= strip->images) continue;
    int64_t first = begin > row * l->line ? begin - row * l->line : 0;
    int64_t last = end - row * l->line < l->out_columns ? end - row * l->line : l->out_columns;
    float *out = y + (((strip->first + image) * l->out_rows + strip->first_row + p) * l->out_columns) * s->outputs;
    for (int64_t q = first; q < last; q += 8) {
      int64_t pixels = last - q < 8 ? last - q : 8;
      const int16_t *from = sums + row * l->line + q - begin;
      for (int64_t o = 0; o < s->outputs; o += 8) {
        int64_t outputs = s->outputs - o < 8 ? s->outputs - o : 8;
        write_8x8(from + o * VECTORS * LANES, VECTORS * LANES, out + q * s->outputs + o, s->outputs, pixels, outputs,
                  scale + o);
      }
    }
  }
}

static int convolve(const bnn_shape *s, const bnn_strip *strip, const float *x, const void *packed, float *y,
                    void *scratch) {
  const layout l = layout_of(s, strip);
  uint8_t *planes = scratch;
  int32_t *begins = (int32_t *)(planes + planes_bytes(s, &l));
  int16_t *sums = (int16_t *)((uint8_t *)begins + begins_bytes(&l));
  const int8_t *tables = packed;
  const float *scale = (const float *)(tables + 512);
  const uint16_t *kernel = (const uint16_t *)(scale + scales(s));
  int wrong = pack_strip(s, strip, &l, x, planes);
  find_begins(s, &l, begins);
  for (int64_t place = 0; place < l.places;) {
    int64_t left = divide_up(l.places - place, LANES);
    int vectors = left >= 4 ? 4 : left >= 2 ? 2 : 1;
    for (int64_t group = 0; group < l.groups; group++) {
      const uint16_t *ours = kernel + group * l.steps * OUTPUTS;
      int16_t *to = sums + group * OUTPUTS * VECTORS * LANES;
      const uint8_t *from = planes + place;
      if (vectors == 4) sum_products(4, &l, from, begins, tables, ours, to);
      else if (vectors == 2) sum_products(2, &l, from, begins, tables, ours, to);
      else sum_products(1, &l, from, begins, tables, ours, to);
    }
    int64_t end = place + vectors * LANES;
    write_outputs(s, strip, &l, sums, place, end < l.places ? end : l.places, scale, y);
    place = end;
  }
  return wrong;
}
