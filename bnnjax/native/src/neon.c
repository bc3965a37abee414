/* NEON: 16 look-ups an instruction. */
#if defined(__aarch64__)
#include <arm_neon.h>
#include <stdint.h>
#include <string.h>

enum { FLOATS = 4, ACCUMULATORS = 16, PRODUCTS = 24, LANES = 16 };
typedef int8x16_t vector;

static inline vector zero(void) { return vdupq_n_s8(0); }
static inline vector load(const uint8_t *from) { return vreinterpretq_s8_u8(vld1q_u8(from)); }
static inline vector load_table(const int8_t *from) { return vld1q_s8(from); }
static inline vector look_up(vector table, vector index) {
  return vqtbl1q_s8(table, vreinterpretq_u8_s8(index));
}
static inline void accumulate(vector *sum, vector x) { *sum = vaddq_s8(*sum, x); }

static inline void widen(int16_t *sums, vector sum, int is_first) {
  int16x8_t half[2] = {vmovl_s8(vget_low_s8(sum)), vmovl_s8(vget_high_s8(sum))};
  for (int k = 0; k < 2; k++)
    vst1q_s16(sums + 8 * k, is_first ? half[k] : vaddq_s16(half[k], vld1q_s16(sums + 8 * k)));
}

static inline uint16_t signs_of_16(const float *x, int reals, int *wrong) {
  static const uint32_t BITS[4] = {1, 2, 4, 8};
  const uint32x4_t bits = vld1q_u32(BITS);
  uint32_t signs = 0;
  for (int k = 0; k < 4; k++) {
    float32x4_t values = vld1q_f32(x + 4 * k);
    signs |= vaddvq_u32(vandq_u32(vcgezq_f32(values), bits)) << (4 * k);
    uint32x4_t is_one = vceqq_f32(vabsq_f32(values), vdupq_n_f32(1)), is_number = vceqq_f32(values, values);
    *wrong |= vminvq_u32(reals ? is_number : is_one) == 0;
  }
  return (uint16_t)signs;
}

/* sums[o * stride + pixel] * scale[o] -> y[pixel * step + o] */
static inline void write_8x8(const int16_t *sums, int64_t stride, float *y, int64_t step, int64_t pixels,
                             int64_t outputs, const float *scale) {
  float values[8][8];
  for (int o = 0; o < 8; o++) {
    int16x8_t row = vld1q_s16(sums + o * stride);
    for (int k = 0; k < 8; k++) values[k][o] = (float)row[k] * scale[o];
  }
  for (int64_t k = 0; k < pixels; k++) memcpy(y + k * step, values[k], (size_t)outputs * sizeof(float));
}

#define MULTIPLY_ADD(x, y, z) vfmaq_n_f32(z, x, y)
#include "lookup.h"
#include "input_gradient.h"
#include "kernel_gradient.h"

static int runs_here(void) { return 1; }

const bnn_kernels bnn_neon = KERNELS("neon");
#endif
