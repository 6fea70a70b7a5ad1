// Products of bfloat16 matrices that fit into a processor's nearer caches.

#pragma once

#include "tiles.h"

// A tile of a product, in rows `stride` apart; what was there is added to it, if `add`.
inline void multiply_pair_tile(
    Left left, const std::uint32_t *panel, std::int64_t steps, bool add, float *c, std::int64_t stride) {
    const auto begin = [&](int row, Floats &low, Floats &high) {
        low = high = Floats{};
        if (!add) return;
        std::memcpy(&low, c + row * stride, sizeof low);
        std::memcpy(&high, c + row * stride + LANES, sizeof high);
    };
    const auto end = [&](int row, const Floats &low, const Floats &high) {
        std::memcpy(c + row * stride, &low, sizeof low);
        std::memcpy(c + row * stride + LANES, &high, sizeof high);
    };
    multiply_tile<Floats>(left, panel, steps, begin, end);
}

// `c`, of as many `rows` and `columns`, multiples of a tile's; `left(row)` is the left factor from that row on.
template <typename Rows>
inline void multiply_pairs(
    Rows left, Panels right, std::int64_t steps, std::int64_t rows, std::int64_t columns, float *c,
    std::int64_t c_stride) {
    for (std::int64_t column = 0; column < columns; column += TILE_COLUMNS)
        for (std::int64_t row = 0; row < rows; row += TILE_ROWS)
            multiply_pair_tile(left(row), right.at(column), steps, false, c + row * c_stride + column, c_stride);
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
