// Products of 8-bit matrices whose sums are scaled as soon as they are complete, and never written as integers.

#include "products.h"
#include "sizes.h"

namespace {

constexpr std::int64_t BLOCK_BYTES = 512 * 1024;  // of the left factor at once: a part of the second cache
constexpr std::int64_t MOST_ROWS = 256;

// Where a tile's results go.
template <typename Number>
class Target {
  public:
    Target(const Scaled &to, std::int64_t rows, std::int64_t columns, bool symmetric)
        : to_(to), rows_(rows), columns_(columns), symmetric_(symmetric) {}

    bool wants(std::int64_t row, std::int64_t column) const { return !symmetric_ || column + TILE_COLUMNS > row; }

    // Writes the part of a tile that the result has.
    void take(
        const std::uint32_t *left, const std::uint32_t *right, const std::int32_t *correction, std::int64_t steps,
        std::int64_t row, std::int64_t column) const {
        const std::int64_t height = std::min<std::int64_t>(TILE_ROWS, rows_ - row);
        const std::int64_t width = std::min<std::int64_t>(TILE_COLUMNS, columns_ - column);
        if (!symmetric_)
            return multiply_and_scale(
                left, right, correction, steps, to_, row, height, column, width, y(row) + column, to_.stride);
        Number found[TILE_ROWS][TILE_COLUMNS];
        multiply_and_scale(
            left, right, correction, steps, to_, row, height, column, width, found[0], TILE_COLUMNS);
        mirror(found, row, height, column, width);
    }

  private:
    Number *y(std::int64_t row) const { return static_cast<Number *>(to_.y) + row * to_.stride; }

    // Writes what is on the diagonal and above it, and the same below.
    void mirror(
        const Number (*found)[TILE_COLUMNS], std::int64_t row, std::int64_t height, std::int64_t column,
        std::int64_t width) const {
        for (std::int64_t at = 0; at < height; ++at) {
            const std::int64_t start = std::max<std::int64_t>(0, row + at - column);
            if (start < width) std::memcpy(y(row + at) + column + start, found[at] + start, (width - start) * sizeof(Number));
        }
        for (std::int64_t at = std::max<std::int64_t>(0, row - column); at < width; ++at) {
            Number *to = y(column + at) + row;
            const std::int64_t end = std::min(height, column + at - row);
            for (std::int64_t below = 0; below < end; ++below) to[below] = found[below][at];
        }
    }

    const Scaled &to_;
    std::int64_t rows_, columns_;
    bool symmetric_;
};

// Into how many rows `rows` are cut, a multiple of a tile's: few enough to be kept near, and as many pieces as all
// threads get equal parts of.
std::int64_t block_of(std::int64_t rows, std::int64_t sums, bool symmetric, int threads) {
    const std::int64_t most = symmetric ? MOST_ROWS / 4 : MOST_ROWS;
    const std::int64_t fitting = std::max<std::int64_t>(TILE_ROWS, std::min(BLOCK_BYTES / sums, most));
    const std::int64_t pieces = up_to_multiple((rows + fitting - 1) / fitting, threads);
    return up_to_multiple((rows + pieces - 1) / pieces, TILE_ROWS);
}

}  // namespace

extern "C" {

// How many words there are of a packed factor, with `outer` rows if it is on the left or else columns.
std::int64_t nima_packed_size(int on_the_left, std::int64_t outer, std::int64_t sums) {
    return packed_size(on_the_left ? TILE_ROWS : TILE_COLUMNS, outer, sums);
}

// How many numbers there are of a right factor's zero point correction.
std::int64_t nima_correction_size(std::int64_t columns) { return up_to_multiple(columns, TILE_COLUMNS); }

// The product `[rows, columns]` of two packed matrices, over `sums` columns of the left one. Of one that is known to be
// symmetric, what is below the diagonal is copied from above.
void nima_multiply_integers(
    int kind, const std::uint32_t *left, const std::uint32_t *right, const std::int32_t *correction, std::int64_t rows,
    std::int64_t sums, std::int64_t columns, int symmetric, const Scaled *scaled, int threads) {
    const Packed tiles = packed_left(left, sums), panels = packed_right(right, sums);
    const std::int64_t block = block_of(rows, sums, symmetric, threads), blocks = (rows + block - 1) / block;
    with_kind(kind, [&](auto number) {
        const Target<decltype(number)> target(*scaled, rows, columns, symmetric);
        const auto block_of_rows = [&](int, std::int64_t item) {
            // By turns from both ends: of half a square, the first have most columns and the last have fewest.
            const std::int64_t start = (item % 2 ? blocks - 1 - item / 2 : item / 2) * block;
            const std::int64_t end = std::min(start + block, rows);
            for (std::int64_t column = 0; column < columns; column += TILE_COLUMNS)
                for (std::int64_t row = start; row < end && target.wants(row, column); row += TILE_ROWS)
                    target.take(tiles.at(row), panels.at(column), correction, steps_of(sums), row, column);
        };
        share_by_turns(blocks, threads, [] { return 0; }, block_of_rows);
    });
}

}

NIMA_SIZE(Scaled)
