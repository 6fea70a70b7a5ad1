// Matrix products a tile at a time, of 16-bit or 8-bit numbers that have been laid out for it.
//
// Along the axis that is summed over, two bfloat16 or four 8-bit numbers that follow each other make one word.
// Processors with the instruction multiply the numbers of 16 words at once and add them to 16 sums.

#pragma once

#include "vectors.h"

constexpr int TILE_ROWS = 8, TILE_COLUMNS = 2 * LANES;  // 16 vectors of sums: enough to keep the instruction busy

inline std::int64_t up_to_multiple(std::int64_t size, std::int64_t of) { return (size + of - 1) / of * of; }

// Pairs of bfloat16.
inline void add_products(Floats &sums, const Words &left, const Words &right) {
#ifdef __AVX512BF16__
    asm("vdpbf16ps %2, %1, %0" : "+v"(sums) : "v"(right), "v"(left));
#else
    sums += bits_of<Floats>(left & 0xffff0000u) * bits_of<Floats>(right & 0xffff0000u);
    sums += bits_of<Floats>(left << 16) * bits_of<Floats>(right << 16);
#endif
}

// Four bytes, on the left without a sign.
inline void add_products(Integers &sums, const Words &left, const Words &right) {
#ifdef __AVX512VNNI__
    asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(left), "v"(right));
#else
    for (int byte = 0; byte < 4; ++byte) {
        const Integers unsigned_byte = bits_of<Integers>(left >> (8 * byte) & 0xffu);
        sums += unsigned_byte * (bits_of<Integers>(right << (24 - 8 * byte)) >> 24);
    }
#endif
}

// A left factor: the word of a row and a step of the sum is at `row * row_stride + step * step_stride`.
struct Left {
    const std::uint32_t *words;
    std::int64_t row_stride, step_stride;
};

// The words of a factor in panels of `TILE_COLUMNS` rows or columns, `[panels, steps, TILE_COLUMNS]`: what is read
// together lies together, whatever the sizes.
struct Panels {
    const std::uint32_t *words;
    std::int64_t panel_stride;

    const std::uint32_t *at(std::int64_t column) const {
        return words + column / TILE_COLUMNS * panel_stride + column % TILE_COLUMNS;
    }
};

// The products of `TILE_ROWS` rows and `TILE_COLUMNS` columns. `begin(row, low, high)` gives the two vectors of sums of a
// row what is to be added to, and `end(row, low, high)` takes them. Sums have names because compilers keep arrays of them
// in memory.
template <typename Vector, typename Begin, typename End>
inline __attribute__((always_inline)) void multiply_tile(
    Left a, const std::uint32_t *panel, std::int64_t steps, Begin begin, End end) {
#define EACH_ROW(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)
#define BEGIN(row)           \
    Vector low##row, high##row; \
    begin(row, low##row, high##row);
#define ADD(row)                                              \
    {                                                         \
        const Words word = left[row * a.row_stride] + Words{}; \
        add_products(low##row, word, first);                  \
        add_products(high##row, word, second);                \
    }
#define END(row) end(row, low##row, high##row);
    EACH_ROW(BEGIN)
    for (std::int64_t step = 0; step < steps; ++step) {
        const std::uint32_t *left = a.words + step * a.step_stride;
        Words first, second;
        std::memcpy(&first, panel + step * TILE_COLUMNS, sizeof first);
        std::memcpy(&second, panel + step * TILE_COLUMNS + LANES, sizeof second);
        EACH_ROW(ADD)
    }
    EACH_ROW(END)
#undef EACH_ROW
#undef BEGIN
#undef ADD
#undef END
}
