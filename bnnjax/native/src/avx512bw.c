/* AVX-512BW: 64 look-ups an instruction. */
#if defined(__AVX512BW__)
#include "x86_write.h"

enum { FLOATS = 16, ACCUMULATORS = 16, PRODUCTS = 24, LANES = 64 };
typedef __m512i vector;

static inline vector zero(void) { return _mm512_setzero_si512(); }
static inline vector load(const uint8_t *from) { return _mm512_loadu_si512(from); }
static inline vector load_table(const int8_t *from) {
  return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)from));
}
static inline vector look_up(vector table, vector index) { return _mm512_shuffle_epi8(table, index); }
/* In place: GCC copies registers otherwise. */
static inline void accumulate(vector *sum, vector x) {
  __asm__("vpaddb %1, %0, %0" : "+v"(*sum) : "v"(x));
}

static inline void widen(int16_t *sums, vector sum, int is_first) {
  vector half[2] = {_mm512_cvtepi8_epi16(_mm512_castsi512_si256(sum)),
                    _mm512_cvtepi8_epi16(_mm512_extracti64x4_epi64(sum, 1))};
  for (int k = 0; k < 2; k++) {
    int16_t *to = sums + 32 * k;
    _mm512_storeu_si512(to, is_first ? half[k] : _mm512_add_epi16(half[k], _mm512_loadu_si512(to)));
  }
}

static inline uint16_t signs_of_16(const float *x, int reals, int *wrong) {
  __m512 values = _mm512_loadu_ps(x);
  __mmask16 is_one = _mm512_cmp_ps_mask(_mm512_abs_ps(values), _mm512_set1_ps(1), _CMP_EQ_OQ);
  __mmask16 is_number = _mm512_cmp_ps_mask(values, values, _CMP_ORD_Q);
  *wrong |= (reals ? is_number : is_one) != 0xffff;
  return _mm512_cmp_ps_mask(values, _mm512_setzero_ps(), _CMP_GE_OQ);
}

#define MULTIPLY_ADD(x, y, z) _mm512_fmadd_ps(x, _mm512_set1_ps(y), z)
#include "lookup.h"
#include "input_gradient.h"
#include "kernel_gradient.h"

static int runs_here(void) { return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("fma"); }

const bnn_kernels bnn_avx512bw = KERNELS("avx512bw");
#endif
