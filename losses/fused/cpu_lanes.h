/* A register of voxels: arithmetic, exp and log of as many as one holds. */

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
enum { LANES = 16 };
#elif defined(__AVX2__)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif
typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef int32_t Ints __attribute__((vector_size(4 * LANES)));

static inline Floats load(const float *from) {
    Floats x;
    memcpy(&x, from, sizeof x);
    return x;
}

static inline void store(float *to, Floats x) { memcpy(to, &x, sizeof x); }

static inline Floats where(Ints mask, Floats x) { return (Floats)(mask & (Ints)x); }

static inline Floats all_lanes(float x) { return (Floats){} + x; }

static inline Floats either(Ints mask, Floats x, Floats y) {
    return (Floats)((mask & (Ints)x) | (~mask & (Ints)y));
}

static inline float sum_of(Floats x) {
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) x[i] += x[i + half];
    return x[0];
}

/* exp of x <= 0 to 2 units in the last place, of x < -87 as of -87; NaN stays NaN. */
static inline Floats exponential(Floats x) {
    x = either(x < -87.0f, all_lanes(-87.0f), x);
    Ints n = __builtin_convertvector(x * 1.44269504f - 0.5f, Ints);
    Floats whole = __builtin_convertvector(n, Floats);
    Floats r = x - whole * 0.693359375f;
    r += whole * 2.12194440e-4f;
    Floats y = r * 1.9875691500e-4f + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * r * r + r + 1.0f;
    return y * (Floats)((n + 127) << 23);
}

/* Natural logarithm of normal x > 0; NaN stays NaN. */
static inline Floats logarithm(Floats x) {
    Ints exponent = ((Ints)x - 0x3F3504F3) >> 23;  /* mantissa in [0.707, 1.414) */
    Floats n = __builtin_convertvector(exponent, Floats);
    Floats r = (Floats)((Ints)x - (exponent << 23)) - 1.0f, square = r * r;
    Floats y = r * 7.0376836292e-2f - 1.1514610310e-1f;
    y = y * r + 1.1676998740e-1f;
    y = y * r - 1.2420140846e-1f;
    y = y * r + 1.4249322787e-1f;
    y = y * r - 1.6668057665e-1f;
    y = y * r + 2.0000714765e-1f;
    y = y * r - 2.4999993993e-1f;
    y = y * r + 3.3333331174e-1f;
    y = y * r * square - 2.12194440e-4f * n - 0.5f * square + r + 0.693359375f * n;
    return either(x != x, x, y);
}
