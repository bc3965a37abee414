/* Vectors of FLOATS floats, by the compiler's own vectors; an instruction set's file says how many.  It has registers
   for ACCUMULATORS of them, or for PRODUCTS where little else is held. */
#ifndef BNNJAX_FLOATS_H
#define BNNJAX_FLOATS_H

#include <math.h>
#include <string.h>

typedef float floats __attribute__((vector_size(4 * FLOATS)));
typedef float any_floats __attribute__((vector_size(4 * FLOATS), aligned(4), may_alias));

static inline floats load_floats(const float *from) { return *(const any_floats *)from; }
static inline void store_floats(float *to, floats x) { *(any_floats *)to = x; }

/* x y + z, rounded once; by MULTIPLY_ADD, where an instruction set has it. */
static inline floats multiply_add(floats x, float y, floats z) {
#ifdef MULTIPLY_ADD
  return MULTIPLY_ADD(x, y, z);
#else
  for (int k = 0; k < FLOATS; k++) z[k] = fmaf(x[k], y, z[k]);
  return z;
#endif
}

#endif
