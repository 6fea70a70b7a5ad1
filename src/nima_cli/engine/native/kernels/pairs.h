// Products of bfloat16 matrices that fit into a processor's nearer caches.

#pragma once

#include "tiles.h"

// `c`, of as many `rows` and `columns`, multiples of a tile's; `left(row)` is the left factor from that row on.
template <typename Rows>
inline void multiply_pairs(
    Rows left, Panels right, std::int64_t steps, std::int64_t rows, std::int64_t columns, bool add, float *c,
    std::int64_t c_stride) {
    for (std::int64_t column = 0; column < columns; column += TILE_COLUMNS)
        for (std::int64_t row = 0; row < rows; row += TILE_ROWS)
            multiply_tile<Floats>(left(row), right.at(column), steps, add, c + row * c_stride + column, c_stride);
}

// Numbers of two rows as pairs, `[panels, TILE_COLUMNS]`.
inline void pair_rows(
    const BFloat16 *first, const BFloat16 *second, std::int64_t width, std::uint32_t *to, std::int64_t panel_stride) {
    for (std::int64_t column = 0; column < width; column += LANES) {
        Halves low, high;
        std::memcpy(&low, first + column, sizeof low);
        std::memcpy(&high, second + column, sizeof high);
        const Words words = __builtin_convertvector(low, Words) | __builtin_convertvector(high, Words) << 16;
        std::memcpy(to + column / TILE_COLUMNS * panel_stride + column % TILE_COLUMNS, &words, sizeof words);
    }
}
