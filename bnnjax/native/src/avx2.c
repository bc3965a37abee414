/* AVX2: 32 look-ups an instruction. */
#if defined(__AVX2__)
#include "x86_write.h"

enum { FLOATS = 8, ACCUMULATORS = 8, PRODUCTS = 12, LANES = 32 };
typedef __m256i vector;

static inline vector zero(void) { return _mm256_setzero_si256(); }
static inline vector load(const uint8_t *from) { return _mm256_loadu_si256((const vector *)from); }
static inline vector load_table(const int8_t *from) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)from));
}
static inline vector look_up(vector table, vector index) { return _mm256_shuffle_epi8(table, index); }
/* In place: GCC copies registers otherwise. */
static inline void accumulate(vector *sum, vector x) {
  __asm__("vpaddb %1, %0, %0" : "+x"(*sum) : "x"(x));
}

static inline void widen(int16_t *sums, vector sum, int is_first) {
  vector half[2] = {_mm256_cvtepi8_epi16(_mm256_castsi256_si128(sum)),
                    _mm256_cvtepi8_epi16(_mm256_extracti128_si256(sum, 1))};
  for (int k = 0; k < 2; k++) {
    vector *to = (vector *)(sums + 16 * k);
    _mm256_storeu_si256(to, is_first ? half[k] : _mm256_add_epi16(half[k], _mm256_loadu_si256(to)));
  }
}

static inline uint16_t signs_of_16(const float *x, int reals, int *wrong) {
  const __m256 none = _mm256_setzero_ps(), one = _mm256_set1_ps(1), sign = _mm256_set1_ps(-0.0f);
  int bits = 0, allowed = 0;
  for (int k = 0; k < 2; k++) {
    __m256 values = _mm256_loadu_ps(x + 8 * k);
    bits |= _mm256_movemask_ps(_mm256_cmp_ps(values, none, _CMP_GE_OQ)) << (8 * k);
    __m256 is_one = _mm256_cmp_ps(_mm256_andnot_ps(sign, values), one, _CMP_EQ_OQ);
    __m256 is_number = _mm256_cmp_ps(values, values, _CMP_ORD_Q);
    allowed |= _mm256_movemask_ps(reals ? is_number : is_one) << (8 * k);
  }
  *wrong |= allowed != 0xffff;
  return (uint16_t)bits;
}

#define MULTIPLY_ADD(x, y, z) _mm256_fmadd_ps(x, _mm256_set1_ps(y), z)
#include "lookup.h"
#include "input_gradient.h"
#include "kernel_gradient.h"

static int runs_here(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

const bnn_kernels bnn_avx2 = KERNELS("avx2");
#endif
