// See packing.h. A file of its own, because what is compiled into each of its users makes a first step wait.

#include "packing.h"
#include "sizes.h"

namespace {

// Of four numbers that follow each other, or of fewer and zeros.
std::uint32_t word_at(const std::int8_t *from, std::int64_t count) {
    std::uint32_t word = 0;
    std::memcpy(&word, from, count < WORD ? count : WORD);
    return word;
}

// Words along rows: those of a step lie beside each other.
template <int WIDTH>
void pack_along_rows(const Group &group, std::uint32_t signs, std::uint32_t *words) {
    const std::int64_t size = panel_size(WIDTH, group.columns);
    for (std::int64_t row = 0; row < group.rows; row += WORD) {
        const std::int8_t *from = group.data + row * group.stride;
        const std::int64_t place = group.first + row, rows = std::min(WORD, group.rows - row);
        std::uint32_t *to = words + place / WIDTH * size + place % WIDTH;
        std::int64_t at = 0;
        if (rows == WORD)
            for (; at + WORD * WORD <= group.columns; at += WORD * WORD) {
                FourWords square[WORD];
                for (int line = 0; line < WORD; ++line)
                    std::memcpy(&square[line], from + line * group.stride + at, sizeof square[line]);
                transpose_square(square);
                for (int step = 0; step < WORD; ++step, to += WIDTH) {
                    square[step] ^= signs;
                    std::memcpy(to, &square[step], sizeof square[step]);
                }
            }
        for (; at < group.columns; at += WORD, to += WIDTH)
            for (std::int64_t line = 0; line < rows; ++line)
                to[line] = word_at(from + line * group.stride + at, group.columns - at) ^ signs;
    }
}

// Words of four rows, or of fewer and zeros, for a vector of columns or `count` of them.
Words words_of_rows(const std::int8_t *from, std::int64_t stride, std::int64_t rows, int count) {
    Words words = {};
    for (std::int64_t row = 0; row < rows; ++row) {
        Octets bytes = {};
        std::memcpy(&bytes, from + row * stride, count);
        const Halves halves = __builtin_convertvector(bytes, Halves);  // in one go, compilers take byte by byte
        words |= __builtin_convertvector(halves, Words) << static_cast<std::uint32_t>(8 * row);
    }
    return words;
}

// Calls `store(step, words)` for words along a vector of columns, or `count` of them, from `column` on.
template <typename Store>
inline __attribute__((always_inline)) void along_columns(
    const Group &group, std::int64_t column, int count, Store store) {
    const std::int8_t *from = group.data + column;
    std::int64_t row = 0, step = group.first / WORD;
    for (; row + WORD <= group.rows; row += WORD, ++step)
        store(step, words_of_rows(from + row * group.stride, group.stride, WORD, count));
    if (row < group.rows) store(step, words_of_rows(from + row * group.stride, group.stride, group.rows - row, count));
}

void pack_left_transposed(const Group &group, std::int64_t sums, std::uint32_t *words) {
    const std::int64_t size = panel_size(TILE_ROWS, sums);
    across(group.columns, [&](std::int64_t column, int count) {
        std::uint32_t *to = words + column / TILE_ROWS * size, *next = to + size;
        along_columns(group, column, count, [&](std::int64_t step, const Words &found) {
            const Words flipped = found ^ SIGNS;
            std::memcpy(to + step * TILE_ROWS, &flipped, sizeof flipped / 2);
            if (count > TILE_ROWS)
                std::memcpy(
                    next + step * TILE_ROWS, reinterpret_cast<const char *>(&flipped) + sizeof flipped / 2,
                    sizeof flipped / 2);
        });
    });
}

// Adds to `correction`.
void pack_right(const Group &group, std::int64_t sums, std::uint32_t *words, std::int32_t *correction) {
    const std::int64_t size = panel_size(TILE_COLUMNS, sums);
    across(group.columns, [&](std::int64_t column, int count) {
        std::uint32_t *to = words + column / TILE_COLUMNS * size + column % TILE_COLUMNS;
        Integers sum;
        std::memcpy(&sum, correction + column, sizeof sum);
        along_columns(group, column, count, [&](std::int64_t step, const Words &found) {
            std::memcpy(to + step * TILE_COLUMNS, &found, sizeof found);
            add_products(sum, SIGNS + Words{}, found);
        });
        std::memcpy(correction + column, &sum, sizeof sum);
    });
}

std::int32_t correction_of(const std::int8_t *row, std::int64_t columns) {
    Integers sums = {};
    for (std::int64_t at = 0; at < columns; at += sizeof(Words)) {
        Words words = {};
        std::memcpy(&words, row + at, std::min<std::int64_t>(sizeof words, columns - at));
        add_products(sums, SIGNS + Words{}, words);
    }
    return sum(sums);
}

}  // namespace

void pack_group(const Group &group, std::int64_t rows, const Layouts &layouts, std::int32_t *correction) {
    if (layouts.left) pack_along_rows<TILE_ROWS>(group, SIGNS, layouts.left);
    if (layouts.left_transposed) pack_left_transposed(group, rows, layouts.left_transposed);
    if (layouts.right) pack_right(group, rows, layouts.right, correction);
    if (!layouts.right_transposed) return;
    pack_along_rows<TILE_COLUMNS>(group, 0, layouts.right_transposed);
    for (std::int64_t row = 0; row < group.rows; ++row)
        layouts.zero_point_correction_transposed[group.first + row] =
            correction_of(group.data + row * group.stride, group.columns);
}

NIMA_SIZE(Layouts)
