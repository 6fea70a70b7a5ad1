// Products of 8-bit matrices whose sums are scaled as soon as they are complete, and never written as integers.
//
// The processor's instruction takes bytes without a sign on the left: 128 is added to each of those, and 128 times the
// sum of each column of the right factor is taken off again.

#include <algorithm>
#include <memory>
#include <vector>

#include "rows.h"
#include "threads.h"
#include "tiles.h"

extern "C" {

// A matrix with rows `stride` apart, or one that such a matrix is the transposed of.
struct Integer8 {
    const std::int8_t *numbers;
    std::int64_t stride;
    int transposed;
};

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

namespace {

constexpr std::int64_t WORD = 4;                   // numbers
constexpr std::int64_t BLOCK_BYTES = 512 * 1024;   // of the left factor at once: a part of the second cache
constexpr std::int64_t MOST_ROWS = 256;
constexpr std::uint32_t SIGNS = 0x80808080u;       // added to each of four bytes, 128 flips its sign

// Of four numbers that follow each other, or of fewer and zeros.
std::uint32_t word_at(const std::int8_t *from, std::int64_t count) {
    std::uint32_t word = 0;
    std::memcpy(&word, from, count < WORD ? count : WORD);
    return word;
}

// Words of four rows of a matrix, or of fewer and zeros, for `width` of its columns, with other signs. Calls
// `store(column, words)` for each vector of columns; those beyond `width` hold zeros.
template <typename Store>
void words_of_rows(
    const std::int8_t *matrix, std::int64_t stride, std::int64_t rows, std::int64_t width, std::uint32_t signs,
    Store store) {
    typedef std::uint8_t Unsigned __attribute__((vector_size(LANES)));
    across(width, [&](std::int64_t column, int count) {
        Words words = {};
        for (std::int64_t row = 0; row < rows; ++row) {
            Unsigned bytes = {};
            std::memcpy(&bytes, matrix + row * stride + column, count);
            const Halves halves = __builtin_convertvector(bytes, Halves);  // in one go, compilers take byte by byte
            words |= __builtin_convertvector(halves, Words) << static_cast<std::uint32_t>(8 * row);
        }
        store(column, words ^ signs);
    });
}

std::unique_ptr<std::uint32_t[]> room_for_words(std::int64_t count) {
    return std::unique_ptr<std::uint32_t[]>(new std::uint32_t[count]);  // std::vector would write zeros first
}

// Some rows of the left factor with other signs, tile by tile, `[tiles, steps, TILE_ROWS]`.
class LeftBlock {
  public:
    LeftBlock(std::int64_t most_rows, std::int64_t sums)
        : sums_(sums), steps_((sums + WORD - 1) / WORD), words_(room_for_words(most_rows * steps_)) {}

    // Rows `[first, first + rows)` of the matrix.
    void take(const Integer8 &matrix, std::int64_t first, std::int64_t rows) {
        for (std::int64_t row = 0; row < rows; row += TILE_ROWS) {
            const std::int64_t count = std::min<std::int64_t>(TILE_ROWS, rows - row);
            if (count < TILE_ROWS) zero(words_.get() + row * steps_, TILE_ROWS * steps_);
            if (!matrix.transposed) take_rows(matrix, first + row, count, words_.get() + row * steps_);
        }
        if (matrix.transposed) take_columns(matrix, first, rows);
    }

    Left at(std::int64_t row) const { return {words_.get() + row * steps_, 1, TILE_ROWS}; }

  private:
    void take_rows(const Integer8 &matrix, std::int64_t first, std::int64_t rows, std::uint32_t *to) {
        for (std::int64_t row = 0; row < rows; ++row) {
            const std::int8_t *from = matrix.numbers + (first + row) * matrix.stride;
            for (std::int64_t step = 0; step < sums_ / WORD; ++step)
                to[step * TILE_ROWS + row] = word_at(from + step * WORD, WORD) ^ SIGNS;
            if (sums_ % WORD)
                to[(steps_ - 1) * TILE_ROWS + row] = word_at(from + (steps_ - 1) * WORD, sums_ % WORD) ^ SIGNS;
        }
    }

    void take_columns(const Integer8 &matrix, std::int64_t first, std::int64_t rows) {
        for (std::int64_t step = 0; step < steps_; ++step)
            words_of_rows(
                matrix.numbers + step * WORD * matrix.stride + first, matrix.stride,
                std::min(WORD, sums_ - step * WORD), rows, SIGNS, [&](std::int64_t row, const Words &words) {
                    std::uint32_t *to = words_.get() + row * steps_ + step * TILE_ROWS;
                    std::memcpy(to, &words, sizeof words / 2);
                    if (row + TILE_ROWS < rows)
                        std::memcpy(
                            to + TILE_ROWS * steps_, reinterpret_cast<const char *>(&words) + sizeof words / 2,
                            sizeof words / 2);
                });
    }

    std::int64_t sums_, steps_;
    std::unique_ptr<std::uint32_t[]> words_;
};

// The right factor in panels, and what the left one's other signs add to the sums of each column.
class RightPanels {
  public:
    RightPanels(std::int64_t sums, std::int64_t columns)
        : sums_(sums), steps_((sums + WORD - 1) / WORD), columns_(columns),
          panels_((columns + TILE_COLUMNS - 1) / TILE_COLUMNS),
          words_(room_for_words(panels_ * steps_ * TILE_COLUMNS)), excess_(panels_ * TILE_COLUMNS) {}

    void take(const Integer8 &matrix, int threads) {
        share(panels_, threads, [&](std::int64_t first, std::int64_t end) {
            for (std::int64_t panel = first; panel < end; ++panel) {
                const std::int64_t column = panel * TILE_COLUMNS;
                const std::int64_t columns = std::min<std::int64_t>(TILE_COLUMNS, columns_ - column);
                std::uint32_t *to = words_.get() + column * steps_;
                if (columns < TILE_COLUMNS) zero(to, TILE_COLUMNS * steps_);
                if (matrix.transposed)
                    take_rows(matrix, column, columns, to);
                else
                    take_columns(matrix, column, columns, to);
                sum_up(column);
            }
        });
    }

    std::int64_t steps() const { return steps_; }
    const std::uint32_t *at(std::int64_t column) const { return words_.get() + column * steps_; }
    const std::int32_t *excess(std::int64_t column) const { return excess_.data() + column; }

  private:
    void take_columns(const Integer8 &matrix, std::int64_t column, std::int64_t columns, std::uint32_t *to) {
        for (std::int64_t step = 0; step < steps_; ++step)
            words_of_rows(
                matrix.numbers + step * WORD * matrix.stride + column, matrix.stride,
                std::min(WORD, sums_ - step * WORD), columns, 0, [&](std::int64_t at, const Words &words) {
                    std::memcpy(to + step * TILE_COLUMNS + at, &words, sizeof words);
                });
    }

    void take_rows(const Integer8 &matrix, std::int64_t column, std::int64_t columns, std::uint32_t *to) {
        for (std::int64_t at = 0; at < columns; ++at) {
            const std::int8_t *from = matrix.numbers + (column + at) * matrix.stride;
            for (std::int64_t step = 0; step < sums_ / WORD; ++step)
                to[step * TILE_COLUMNS + at] = word_at(from + step * WORD, WORD);
            if (sums_ % WORD) to[(steps_ - 1) * TILE_COLUMNS + at] = word_at(from + (steps_ - 1) * WORD, sums_ % WORD);
        }
    }

    void sum_up(std::int64_t column) {
        Integers sums[2] = {};
        for (std::int64_t step = 0; step < steps_; ++step)
            for (int half = 0; half < 2; ++half) {
                Words words;
                std::memcpy(&words, at(column) + step * TILE_COLUMNS + half * LANES, sizeof words);
                add_products(sums[half], SIGNS + Words{}, words);
            }
        std::memcpy(excess_.data() + column, sums, sizeof sums);
    }

    std::int64_t sums_, steps_, columns_, panels_;
    std::unique_ptr<std::uint32_t[]> words_;
    std::vector<std::int32_t> excess_;
};

// Turns sums into results: `columns` of them in a row, from `column` of the result's row `row` on.
template <typename Number>
void scale_row(
    const std::int32_t *sums, const std::int32_t *excess, const Scaled &to, std::int64_t row, std::int64_t column,
    std::int64_t columns, Number *y) {
    const float scale = to.row_scales ? to.row_scales[row] : 1.0f;
    const Number *plus = to.plus ? static_cast<const Number *>(to.plus) + row * to.stride + column : nullptr;
    across(columns, [&](std::int64_t at, int count) {
        Integers sum, more;
        std::memcpy(&sum, sums + at, sizeof sum);
        std::memcpy(&more, excess + at, sizeof more);
        const Floats exact = __builtin_convertvector(sum - more, Floats);
        const Floats product = exact * scale * load(to.column_scales + column + at, count);
        store(y + at, plus ? product + load(plus + at, count) * to.factor : product, count);
    });
}

// Where a tile's results go.
template <typename Number>
class Target {
  public:
    Target(const Scaled &to, std::int64_t rows, std::int64_t columns, bool symmetric)
        : to_(to), rows_(rows), columns_(columns), symmetric_(symmetric) {}

    bool wants(std::int64_t row, std::int64_t column) const { return !symmetric_ || column + TILE_COLUMNS > row; }

    // Writes the part of a tile that the result has.
    void take(const std::int32_t *sums, const std::int32_t *excess, std::int64_t row, std::int64_t column) const {
        const std::int64_t height = std::min<std::int64_t>(TILE_ROWS, rows_ - row);
        const std::int64_t width = std::min<std::int64_t>(TILE_COLUMNS, columns_ - column);
        Number found[TILE_ROWS][TILE_COLUMNS];
        for (std::int64_t at = 0; at < height; ++at)
            scale_row(
                sums + at * TILE_COLUMNS, excess, to_, row + at, column, width,
                symmetric_ ? found[at] : y(row + at) + column);
        if (symmetric_) mirror(found, row, height, column, width);
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

// Whether this processor has the instruction, and none that multiplies larger pieces, which torch makes better use of.
int nima_integers_are_fast() {
#if defined(__AVX512VNNI__) && !defined(__AMX_INT8__)
    return 1;
#else
    return 0;
#endif
}

// The product `[rows, columns]` of two matrices, over `sums` columns of the left one. Of one that is known to be
// symmetric, what is below the diagonal is copied from above.
void nima_multiply_integers(
    int kind, const Integer8 *left, const Integer8 *right, std::int64_t rows, std::int64_t sums, std::int64_t columns,
    int symmetric, const Scaled *scaled, int threads) {
    RightPanels panels(sums, columns);
    panels.take(*right, threads);
    const std::int64_t block = block_of(rows, sums, symmetric, threads), blocks = (rows + block - 1) / block;
    with_kind(kind, [&](auto number) {
        const Target<decltype(number)> target(*scaled, rows, columns, symmetric);
        const auto block_of_rows = [&](LeftBlock &taken, std::int64_t item) {
            // By turns from both ends: of half a square, the first have most columns and the last have fewest.
            const std::int64_t start = (item % 2 ? blocks - 1 - item / 2 : item / 2) * block;
            const std::int64_t count = std::min(block, rows - start);
            taken.take(*left, start, count);
            std::int32_t tile[TILE_ROWS * TILE_COLUMNS];
            for (std::int64_t column = 0; column < columns; column += TILE_COLUMNS)
                for (std::int64_t row = 0; row < count && target.wants(start + row, column); row += TILE_ROWS) {
                    multiply_tile<Integers>(
                        taken.at(row), panels.at(column), panels.steps(), false, tile, TILE_COLUMNS);
                    target.take(tile, panels.excess(column), start + row, column);
                }
        };
        share_by_turns(blocks, threads, [&] { return LeftBlock(block, sums); }, block_of_rows);
    });
}

}
