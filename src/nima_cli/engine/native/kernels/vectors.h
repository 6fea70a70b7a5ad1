// Vectors of numbers that are kept in 32 or 16 bit and computed in 32; the compiler cuts them into the processor's own.

#pragma once

#include <cstdint>
#include <cstring>

constexpr int LANES = 16;
typedef float Floats __attribute__((vector_size(LANES * sizeof(float))));
typedef float Eight __attribute__((vector_size(8 * sizeof(float))));
typedef float Four __attribute__((vector_size(4 * sizeof(float))));
typedef std::uint32_t Words __attribute__((vector_size(LANES * sizeof(std::uint32_t))));
typedef std::int32_t Integers __attribute__((vector_size(LANES * sizeof(std::int32_t))));
typedef std::int8_t Bytes __attribute__((vector_size(LANES)));
typedef std::uint16_t Halves __attribute__((vector_size(LANES * sizeof(std::uint16_t))));

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

inline Floats load(const std::int32_t *from, int count) {
    Integers numbers = {};
    std::memcpy(&numbers, from, count * sizeof(std::int32_t));
    return __builtin_convertvector(numbers, Floats);
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

inline float sum(const Floats &parts) {
    const auto *part = reinterpret_cast<const char *>(&parts);
    Eight eights[2];
    std::memcpy(eights, part, sizeof eights);
    const Eight eight = eights[0] + eights[1];
    Four fours[2];
    std::memcpy(fours, &eight, sizeof fours);
    const Four four = fours[0] + fours[1];
    return (four[0] + four[1]) + (four[2] + four[3]);
}

inline float greatest(const Floats &parts) {
    float found = parts[0];
    for (int lane = 1; lane < LANES; ++lane) found = parts[lane] > found ? parts[lane] : found;
    return found;
}

// e^x = 2^n e^r with |r| <= ln(2) / 2, and e^r as the polynomial of Cephes' expf: right to about one bit in the last
// place. Below -87 the result would be no normal number, and is zero.
inline Floats exponential(const Floats &given) {
    const Floats above = given < -87.0f ? -87.0f - Floats{} : given;
    const Floats x = above > 88.0f ? 88.0f - Floats{} : above;
    const Floats shifted = x * 1.44269504088896341f + 12582912.0f;  // 1.5 * 2^23: the sum's last bits are round(...)
    const Floats n = shifted - 12582912.0f;
    const Floats r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    Floats y = r * 1.9875691500e-4f + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * r * r + r + 1.0f;
    const Floats found = bits_of<Floats>(bits_of<Words>(y) + (bits_of<Words>(shifted) << 23));
    return given < -87.0f ? Floats{} : found;
}

// Calls `body` with a number of the type that Python means by `kind`: 0 float32, 1 bfloat16.
template <typename Body>
inline void with_kind(int kind, Body body) {
    if (kind == 0)
        body(float{});
    else
        body(BFloat16{});
}
