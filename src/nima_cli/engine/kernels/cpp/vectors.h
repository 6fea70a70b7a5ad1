// Vectors of numbers that are kept in 32 or 16 bit and computed in 32; the compiler cuts them into the processor's own.

#pragma once

#include <cstdint>
#include <cstring>

constexpr int LANES = 16;
typedef float Floats __attribute__((vector_size(LANES * sizeof(float))));
typedef std::uint32_t Words __attribute__((vector_size(LANES * sizeof(std::uint32_t))));
typedef std::int32_t Integers __attribute__((vector_size(LANES * sizeof(std::int32_t))));
typedef std::int8_t Bytes __attribute__((vector_size(LANES)));
typedef std::int16_t Shorts __attribute__((vector_size(LANES * sizeof(std::int16_t))));
typedef std::uint16_t Halves __attribute__((vector_size(LANES * sizeof(std::uint16_t))));

typedef std::uint32_t FourWords __attribute__((vector_size(16)));
typedef std::uint8_t Octets __attribute__((vector_size(LANES)));

struct BFloat16 {
    std::uint16_t bits;
};

template <typename To, typename From>
inline To bits_of(const From &from) {
    static_assert(sizeof(To) == sizeof(From), "the same bits, seen as something else");
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}

// Reading and writing take a count because the last vector of a row may be a part of one; where it is LANES, which
// compilers see, nothing is left of the count.
inline Floats load(const float *from, int count, float rest = 0.0f) {
    Floats numbers = rest - Floats{};
    std::memcpy(&numbers, from, count * sizeof(float));
    return numbers;
}

inline Floats load(const BFloat16 *from, int count, float rest = 0.0f) {
    Halves halves = {};
    std::memcpy(&halves, from, count * sizeof(BFloat16));
    const Floats numbers = bits_of<Floats>(__builtin_convertvector(halves, Words) << 16);
    if (count == LANES) return numbers;
    Floats filled = rest - Floats{};
    for (int lane = 0; lane < count; ++lane) filled[lane] = numbers[lane];
    return filled;
}

// By way of 16 bit: GCC 12 widens fourfold one number at a time.
inline Floats load(const std::int8_t *from, int count) {
    Bytes bytes = {};
    std::memcpy(&bytes, from, count);
    return __builtin_convertvector(__builtin_convertvector(__builtin_convertvector(bytes, Shorts), Integers), Floats);
}

inline void store(float *to, const Floats &numbers, int count) { std::memcpy(to, &numbers, count * sizeof(float)); }

// To the nearest, of two the even one; what is no number stays none. The instruction takes numbers below 1e-38 for zero.
inline void store(BFloat16 *to, const Floats &numbers, int count) {
#ifdef __AVX512BF16__  // as assembly: the header of intrinsics takes a second to read
    Halves halves;
    asm("vcvtneps2bf16 %1, %0" : "=v"(halves) : "v"(numbers));
#else
    const Words words = bits_of<Words>(numbers);
    const Words rounded = (words + 0x7fffu + ((words >> 16) & 1u)) >> 16;
    const Halves halves = __builtin_convertvector(numbers == numbers ? rounded : (words >> 16) | 0x40u, Halves);
#endif
    std::memcpy(to, &halves, count * sizeof(BFloat16));
}

// To the nearest, of two the even one: adding 1.5 * 2^23 leaves that in the last bits of the sum.
inline void store(std::int8_t *to, const Floats &numbers, int count) {
    const Halves halves = __builtin_convertvector(bits_of<Words>(numbers + 12582912.0f), Halves);
    const Bytes bytes = __builtin_convertvector(halves, Bytes);  // in one go, compilers take number by number
    std::memcpy(to, &bytes, count);
}

// Calls `body(at, count)` for each vector of a row.
template <typename Body>
inline __attribute__((always_inline)) void across(std::int64_t width, Body body) {
    std::int64_t at = 0;
    for (; at + LANES <= width; at += LANES) body(at, LANES);
    if (at < width) body(at, static_cast<int>(width - at));
}

inline Floats greater(const Floats &one, const Floats &other) { return one > other ? one : other; }

inline Words greater(const Words &one, const Words &other) { return one > other ? one : other; }

// All lanes made one by `combine`, halves with halves: compilers take lane by lane otherwise.
template <typename Number, typename Vector, typename Combine>
inline Number fold(const Vector &lanes, Combine combine) {
    typedef Number Half __attribute__((vector_size(8 * sizeof(Number))));
    typedef Number Quarter __attribute__((vector_size(4 * sizeof(Number))));
    Half halves[2];
    std::memcpy(halves, &lanes, sizeof halves);
    const Half half = combine(halves[0], halves[1]);
    Quarter quarters[2];
    std::memcpy(quarters, &half, sizeof quarters);
    const Quarter quarter = combine(quarters[0], quarters[1]);
    return combine(combine(quarter[0], quarter[1]), combine(quarter[2], quarter[3]));
}

template <typename Number, typename Vector>
inline Number sum_of(const Vector &lanes) {
    return fold<Number>(lanes, [](auto one, auto other) { return one + other; });
}

inline float sum(const Floats &lanes) { return sum_of<float>(lanes); }

inline std::int32_t sum(const Integers &lanes) { return sum_of<std::int32_t>(lanes); }

inline float greatest(const Floats &lanes) {
    return fold<float>(lanes, [](auto one, auto other) { return one > other ? one : other; });
}

inline std::uint32_t greatest(const Words &lanes) {
    return fold<std::uint32_t>(lanes, [](auto one, auto other) { return one > other ? one : other; });
}

#ifdef __clang__
#define SHUFFLE(one, other, ...) __builtin_shufflevector(one, other, __VA_ARGS__)
#else
#define SHUFFLE(one, other, ...) __builtin_shuffle(one, other, FourWords{__VA_ARGS__})
#endif

// Rows of a square of words become its columns.
inline void transpose_square(FourWords (&rows)[4]) {
    const FourWords low[] = {SHUFFLE(rows[0], rows[1], 0, 4, 1, 5), SHUFFLE(rows[2], rows[3], 0, 4, 1, 5)};
    const FourWords high[] = {SHUFFLE(rows[0], rows[1], 2, 6, 3, 7), SHUFFLE(rows[2], rows[3], 2, 6, 3, 7)};
    rows[0] = SHUFFLE(low[0], low[1], 0, 1, 4, 5);
    rows[1] = SHUFFLE(low[0], low[1], 2, 3, 6, 7);
    rows[2] = SHUFFLE(high[0], high[1], 0, 1, 4, 5);
    rows[3] = SHUFFLE(high[0], high[1], 2, 3, 6, 7);
}
#undef SHUFFLE

// e^x = 2^n e^r with |r| <= ln(2) / 2, and e^r as the polynomial of Cephes' expf: right to about one bit in the last
// place, for numbers that are neither below -87 nor above 88.
inline Floats exponential_between(const Floats &x) {
    const Floats shifted = x * 1.44269504088896341f + 12582912.0f;  // 1.5 * 2^23: the sum's last bits are round(...)
    const Floats n = shifted - 12582912.0f;
    const Floats r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    Floats y = r * 1.9875691500e-4f + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * r * r + r + 1.0f;
    return bits_of<Floats>(bits_of<Words>(y) + (bits_of<Words>(shifted) << 23));
}

// Below -87 the result would be no normal number, and is zero.
inline Floats exponential(const Floats &given) {
    const Floats above = given < -87.0f ? -87.0f - Floats{} : given;
    const Floats found = exponential_between(above > 88.0f ? 88.0f - Floats{} : above);
    return given < -87.0f ? Floats{} : found;
}

// The same, in less time, of numbers that are not above 0; what is below -87 counts as that. What is no number stays none.
inline Floats exponential_of_negative(const Floats &given) {
    return exponential_between(-87.0f > given ? -87.0f - Floats{} : given);
}

// Calls `body` with a number of the type that Python means by `kind`: 0 float32, 1 bfloat16.
template <typename Body>
inline void with_kind(int kind, Body body) {
    if (kind == 0)
        body(float{});
    else
        body(BFloat16{});
}
