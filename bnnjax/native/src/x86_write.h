/* Writing of sums as floats, with AVX2. */
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

/* sums[o * stride + pixel] * scale[o] -> y[pixel * step + o] */
static inline void write_8x8(const int16_t *sums, int64_t stride, float *y, int64_t step, int64_t pixels,
                             int64_t outputs, const float *scale) {
  __m128i a[8], b[8];
  for (int o = 0; o < 8; o++) a[o] = _mm_loadu_si128((const __m128i *)(sums + o * stride));
  for (int k = 0; k < 4; k++) {
    b[2 * k] = _mm_unpacklo_epi16(a[2 * k], a[2 * k + 1]);
    b[2 * k + 1] = _mm_unpackhi_epi16(a[2 * k], a[2 * k + 1]);
  }
  for (int k = 0; k < 2; k++) {
    a[4 * k] = _mm_unpacklo_epi32(b[4 * k], b[4 * k + 2]);
    a[4 * k + 1] = _mm_unpackhi_epi32(b[4 * k], b[4 * k + 2]);
    a[4 * k + 2] = _mm_unpacklo_epi32(b[4 * k + 1], b[4 * k + 3]);
    a[4 * k + 3] = _mm_unpackhi_epi32(b[4 * k + 1], b[4 * k + 3]);
  }
  for (int k = 0; k < 4; k++) {
    b[2 * k] = _mm_unpacklo_epi64(a[k], a[4 + k]);
    b[2 * k + 1] = _mm_unpackhi_epi64(a[k], a[4 + k]);
  }
  __m256 values[8];
  for (int k = 0; k < 8; k++)
    values[k] = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(b[k])), _mm256_loadu_ps(scale));
  if (pixels == 8 && outputs == 8) {
    for (int k = 0; k < 8; k++) _mm256_storeu_ps(y + k * step, values[k]);
  } else {
    for (int64_t k = 0; k < pixels; k++) memcpy(y + k * step, &values[k], (size_t)outputs * sizeof(float));
  }
}
