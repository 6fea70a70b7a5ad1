// Tiles of products of 8-bit matrices, and what becomes of their sums.

#pragma once

#include "packing.h"

extern "C" {

// What becomes of sums: times the scales of their row, where there are any, and column; and, where there is `plus`,
// which may be `y` itself, that times `factor` besides. The rows of both are `stride` apart.
struct Scaled {
    const float *row_scales, *column_scales;
    const void *plus;
    float factor;
    void *y;
    std::int64_t stride;
};

}

// Writes a vector of sums as results, or the first `count` of them: those from `column` of row `row` on, to `y`.
template <typename Number>
inline void scale(
    const Integers &sums, const Scaled &to, std::int64_t row, std::int64_t column, int count, Number *y) {
    const float factor = to.row_scales ? to.row_scales[row] : 1.0f;
    const Floats product = __builtin_convertvector(sums, Floats) * factor * load(to.column_scales + column, count);
    if (!to.plus) return store(y, product, count);
    const Number *plus = static_cast<const Number *>(to.plus) + row * to.stride + column;
    store(y, product + load(plus, count) * to.factor, count);
}

// Writes the results of a tile that has its first `columns` columns from `column` on, in rows `stride` apart.
template <typename Number>
inline void multiply_and_scale(
    const std::uint32_t *left, const std::uint32_t *right, const std::int32_t *correction, std::int64_t steps,
    const Scaled &to, std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns, Number *y,
    std::int64_t stride) {
    const auto begin = [&](int, Integers &low, Integers &high) {
        std::memcpy(&low, correction + column, sizeof low);
        std::memcpy(&high, correction + column + LANES, sizeof high);
        low = -low;
        high = -high;
    };
    if (rows >= TILE_ROWS && columns >= TILE_COLUMNS) {
        for (int at = 0; at < TILE_ROWS; ++at) __builtin_prefetch(y + at * stride, 1);  // fetched while it multiplies
        const auto write = [&](int at, const Integers &low, const Integers &high) {
            scale(low, to, row + at, column, LANES, y + at * stride);
            scale(high, to, row + at, column + LANES, LANES, y + at * stride + LANES);
        };
        return multiply_tile<Integers>({left, 1, TILE_ROWS}, right, steps, begin, write);
    }
    const auto write_part = [&](int at, const Integers &low, const Integers &high) {
        if (at >= rows) return;
        scale(low, to, row + at, column, static_cast<int>(std::min<std::int64_t>(LANES, columns)), y + at * stride);
        if (columns > LANES)
            scale(
                high, to, row + at, column + LANES, static_cast<int>(std::min<std::int64_t>(LANES, columns - LANES)),
                y + at * stride + LANES);
    };
    multiply_tile<Integers>({left, 1, TILE_ROWS}, right, steps, begin, write_part);
}
