// 8-bit matrices laid out as the factors of products, so that a product reads memory in order and nothing else.
//
// A word holds four numbers that a product multiplies at once: of one row if it sums over columns, of one column if it
// sums over rows. The words of `TILE_ROWS` rows of a left factor, or of `TILE_COLUMNS` columns of a right one, make a
// panel, step by step. The processor's instruction takes bytes without a sign on the left: 128 is added to each of
// those, and the zero point correction, 128 times the sum of each column of the right factor, is taken off each product again.

#pragma once

#include <algorithm>
#include <mutex>
#include <vector>

#include "threads.h"
#include "tiles.h"

extern "C" {

// The layouts that are wanted of a matrix: as the left factor, as the right one, and the same of the transposed matrix.
// Those that are null are not wanted.
struct Layouts {
    std::uint32_t *left, *left_transposed, *right, *right_transposed;
    std::int32_t *zero_point_correction, *zero_point_correction_transposed;  // of those on the right
};

}

constexpr std::int64_t WORD = 4;              // numbers
constexpr std::uint32_t SIGNS = 0x80808080u;  // added to each of four bytes, 128 flips its sign
constexpr std::int64_t GROUP = TILE_COLUMNS;  // rows that are packed at once

inline std::int64_t steps_of(std::int64_t sums) { return (sums + WORD - 1) / WORD; }

// Bytes between rows or panels, so that they do not follow each other in steps of a large power of two: what lies at the
// same place in each of them would share a few lines of the processor's cache.
constexpr std::int64_t GAP = 64;

// Words of a panel.
inline std::int64_t panel_size(std::int64_t width, std::int64_t sums) { return steps_of(sums) * width + GAP / WORD; }

inline std::int64_t packed_size(std::int64_t width, std::int64_t outer, std::int64_t sums) {
    return (outer + width - 1) / width * panel_size(width, sums);
}

// A row or column of a factor to all its steps.
struct Packed {
    const std::uint32_t *words;
    std::int64_t width, size;  // of a panel

    const std::uint32_t *at(std::int64_t outer) const { return words + outer / width * size; }
};

inline Packed packed_left(const std::uint32_t *words, std::int64_t sums) {
    return {words, TILE_ROWS, panel_size(TILE_ROWS, sums)};
}

inline Packed packed_right(const std::uint32_t *words, std::int64_t sums) {
    return {words, TILE_COLUMNS, panel_size(TILE_COLUMNS, sums)};
}

// Some of the rows of a matrix, at most `GROUP`: the first is number `first`, a multiple of a tile's rows.
struct Group {
    const std::int8_t *data;
    std::int64_t stride, first, rows, columns;
};

// Packs a group of a matrix' `rows` in the layouts that are wanted, and adds its part to `correction`, of `right`.
void pack_group(const Group &group, std::int64_t rows, const Layouts &layouts, std::int32_t *correction);

// Packs a matrix of 8-bit integers of which `write(row, to)` makes a row; each thread has its own, from `start()`.
template <typename Start>
void pack(std::int64_t rows, std::int64_t columns, const Layouts &layouts, int threads, const Start &start) {
    std::mutex adding;
    const std::int64_t padded = up_to_multiple(columns, TILE_COLUMNS);
    if (layouts.right) std::fill_n(layouts.zero_point_correction, padded, 0);
    share((rows + GROUP - 1) / GROUP, threads, [&](std::int64_t begin, std::int64_t end) {
        auto write = start();
        std::vector<std::int32_t> correction(layouts.right ? padded : 0);
        const std::int64_t stride = up_to_multiple(columns, sizeof(Words)) + GAP;
        std::vector<std::int8_t> space(GROUP * stride);
        for (std::int64_t first = begin * GROUP; first < std::min(end * GROUP, rows); first += GROUP) {
            const Group group{space.data(), stride, first, std::min(GROUP, rows - first), columns};
            for (std::int64_t row = 0; row < group.rows; ++row) write(first + row, space.data() + row * stride);
            pack_group(group, rows, layouts, correction.data());
        }
        const std::lock_guard<std::mutex> lock(adding);
        for (std::size_t at = 0; at < correction.size(); ++at) layouts.zero_point_correction[at] += correction[at];
    });
}
