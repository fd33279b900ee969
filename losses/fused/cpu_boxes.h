/* The arguments of the passes, and a box of the volume: its arrays, its rows of the heads' data,
   the last step of the heads and its gradient. */

#include "cpu_lanes.h"

enum { BLOCK = 4, TILE = 8, MOST_CLASSES = 256 };

enum { NO_KL, STUDENT, TEACHER, TAUGHT };  /* a teacher comes twice: before and after its students */

typedef struct {
    const float *data, *weight, *bias;  /* logits, or feature and last step; weight 0 if whole */
    float *by_data;                     /* second pass: the gradient, of the size of data */
    int64_t channels, stride[3];        /* of data; of the last step, 1 or 2 each */
    int64_t supervised, branch, role;   /* their indices, -1 if none; see the enum */
    int64_t gathered_at;                /* place of the weight's, then the bias's gradient */
} Head;

typedef struct {
    int64_t num_heads, classes, first_class, batch, size[3], step[2];
    int64_t num_supervised, power;  /* power: T where exp(z) is exp(z / T)^T */
    float inverse_temperature;
    const uint8_t *label;
    const Head *heads;
    const float *by_overlap, *by_size, *by_entropy, *by_kl;  /* see plan.Slopes */
} Job;

typedef struct {
    int64_t sample, row, column, voxels;
} Box;

/* Arrays of one box. Rows of classes are of `pitch` values: its voxels, then zeros up to a multiple
   of LANES; rows of channels and of what the last step makes are of their own length. */
typedef struct {
    float *feature, *made, *by_data;             /* of the present head */
    float *logits, *gradient;                    /* of the present head */
    float *teacher_logits, *teacher, *behind;    /* of the branch's teacher */
    float *teacher_log_sum;
    int32_t *own;                                /* the label; -1 beyond the voxels */
} Space;
enum { NUM_ARRAYS = 10 };

static inline Ints load_label(const Space *s, int64_t i) {
    Ints own;
    memcpy(&own, s->own + i, sizeof own);
    return own;
}

static Box box_of(const Job *job, int64_t index) {
    int64_t rows = job->size[0] / job->step[0], columns = job->size[1] / job->step[1];
    Box box = {index / (rows * columns), index / columns % rows * job->step[0],
               index % columns * job->step[1], job->step[0] * job->step[1] * job->size[2]};
    return box;
}

static int64_t pitch_of(Box box) { return (box.voxels + LANES - 1) / LANES * LANES; }

static Space space_of(const Job *job, int64_t channels, float *scratch) {
    int64_t part = channels * pitch_of(box_of(job, 0)) + LANES;
    Space s;
    float **arrays[] = {&s.feature, &s.made, &s.by_data, &s.logits, &s.gradient, &s.teacher_logits,
                        &s.teacher, &s.behind, &s.teacher_log_sum};
    for (int64_t i = 0; i < NUM_ARRAYS - 1; i++) *arrays[i] = scratch + i * part;
    s.own = (int32_t *)(scratch + (NUM_ARRAYS - 1) * part);
    return s;
}

/* The box's rows of a head's data, to or from (channels, rows, columns, depth) with channels
   `pitch` apart. */
static void copy_rows(const Job *job, const Head *head, Box box, float *volume, float *channel,
                      int64_t pitch, int into_volume) {
    int64_t rows = job->step[0] / head->stride[0], columns = job->step[1] / head->stride[1];
    int64_t height = job->size[0] / head->stride[0], width = job->size[1] / head->stride[1];
    int64_t depth = job->size[2] / head->stride[2];
    for (int64_t c = 0; c < head->channels; c++, channel += pitch) {
        float *local = channel;
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < columns; j++, local += depth) {
                float *row = volume + (((box.sample * head->channels + c) * height
                                        + box.row / head->stride[0] + i) * width
                                       + box.column / head->stride[1] + j) * depth;
                if (into_volume) memcpy(row, local, depth * sizeof(float));
                else memcpy(local, row, depth * sizeof(float));
            }
    }
}

/* Between (classes, stride, rows, columns, depth) and (classes, voxels in the volume's order). */
static void reorder(const Job *job, const Head *head, float *made, float *logits, int64_t pitch,
                    int to_made) {
    int64_t double_depth = head->stride[2] == 2, depth = job->size[2] / head->stride[2];
    int64_t rows = job->step[0] / head->stride[0], columns = job->step[1] / head->stride[1];
    int64_t positions = rows * columns * depth;
    for (int64_t k = 0; k < job->classes; k++, logits += pitch)
        for (int64_t a = 0; a < head->stride[0]; a++)
            for (int64_t b = 0; b < head->stride[1]; b++, made += head->stride[2] * positions)
                for (int64_t i = 0; i < rows; i++)
                    for (int64_t j = 0; j < columns; j++) {
                        float *row = logits + ((i * head->stride[0] + a) * job->step[1]
                                               + j * head->stride[1] + b) * job->size[2];
                        float *even = made + (i * columns + j) * depth, *odd = even + positions;
                        for (int64_t d = 0; double_depth && !to_made && d < depth; d++)
                            row[2 * d] = even[d], row[2 * d + 1] = odd[d];
                        for (int64_t d = 0; double_depth && to_made && d < depth; d++)
                            even[d] = row[2 * d], odd[d] = row[2 * d + 1];
                        if (!double_depth && to_made) memcpy(even, row, depth * sizeof(float));
                        if (!double_depth && !to_made) memcpy(row, even, depth * sizeof(float));
                    }
}

/* result[r][i] = start[r / per_start] + sum over c of weights[c * by_c + r * by_r] * from[c][i], for
   rows of n from the first one on; up to LANES values behind the last one are overwritten. */
typedef struct {
    float *result;
    const float *start, *from, *weights;  /* start 0: from 0 on */
    int64_t rows, n, per_start, count, by_c, by_r;
} Product;

/* A few rows; their number is known when it is compiled, so that the sums stay in registers. */
static inline __attribute__((always_inline)) void multiply_rows(const Product *p, int64_t r,
                                                                int64_t number) {
    const float *weights = p->weights + r * p->by_r;
    for (int64_t i = 0; i < p->n; i += LANES) {
        int64_t at = i;
        if (i + LANES > p->n) at = p->n > LANES ? p->n - LANES : 0;  /* some once more */
        Floats sums[TILE] = {};
        for (int64_t j = 0; p->start && j < number; j++) sums[j] += p->start[(r + j) / p->per_start];
        for (int64_t c = 0; c < p->count; c++) {
            Floats x = load(p->from + c * p->n + at);
            for (int64_t j = 0; j < number; j++) sums[j] += x * weights[c * p->by_c + j * p->by_r];
        }
        for (int64_t j = 0; j < number; j++) store(p->result + (r + j) * p->n + at, sums[j]);
    }
}

static void multiply(Product p) {
    int64_t r = 0;
    for (; r + TILE <= p.rows; r += TILE) multiply_rows(&p, r, TILE);
    for (; r < p.rows; r++) multiply_rows(&p, r, 1);
}

/* sums[c][r] += the dot product of row c of f and row r of g. */
static void add_products(double *sums, const float *f, int64_t channels, const float *g,
                         int64_t rows, int64_t n) {
    for (int64_t c = 0; c < channels; c += BLOCK)
        for (int64_t r = 0; r < rows; r += BLOCK) {
            const float *fs[BLOCK], *gs[BLOCK];
            for (int64_t j = 0; j < BLOCK; j++) {
                fs[j] = f + (c + j < channels ? c + j : channels - 1) * n;
                gs[j] = g + (r + j < rows ? r + j : rows - 1) * n;
            }
            Floats products[BLOCK][BLOCK] = {};
            float rest[BLOCK][BLOCK] = {};
            int64_t i = 0;
            for (; i + LANES <= n; i += LANES)
                for (int64_t a = 0; a < BLOCK; a++)
                    for (int64_t b = 0; b < BLOCK; b++)
                        products[a][b] += load(fs[a] + i) * load(gs[b] + i);
            for (; i < n; i++)
                for (int64_t a = 0; a < BLOCK; a++)
                    for (int64_t b = 0; b < BLOCK; b++) rest[a][b] += fs[a][i] * gs[b][i];
            for (int64_t a = 0; a < BLOCK && c + a < channels; a++)
                for (int64_t b = 0; b < BLOCK && r + b < rows; b++)
                    sums[(c + a) * rows + r + b] += sum_of(products[a][b]) + rest[a][b];
        }
}

static int64_t made_rows(const Job *job, const Head *head) {
    return job->classes * head->stride[0] * head->stride[1] * head->stride[2];
}

static int64_t positions_of(Box box, const Head *head) {
    return box.voxels / (head->stride[0] * head->stride[1] * head->stride[2]);
}

/* The head's logits in the box. */
static void read_logits(const Job *job, const Head *head, Box box, const Space *s, float *logits) {
    int64_t pitch = pitch_of(box);
    if (!head->weight) {
        copy_rows(job, head, box, (float *)head->data, logits, pitch, 0);
        return;
    }
    int64_t rows = made_rows(job, head), positions = positions_of(box, head);
    copy_rows(job, head, box, (float *)head->data, s->feature, positions, 0);
    multiply((Product){.result = s->made, .rows = rows, .n = positions, .start = head->bias,
                       .per_start = rows / job->classes, .from = s->feature,
                       .count = head->channels, .weights = head->weight, .by_c = rows, .by_r = 1});
    reorder(job, head, s->made, logits, pitch, 0);
}

/* The gradient by the head's data to its volume, by its weight to the accumulators. */
static void write_gradient(const Job *job, const Head *head, Box box, const Space *s,
                           double *gathered) {
    int64_t pitch = pitch_of(box);
    if (!head->weight) {
        copy_rows(job, head, box, head->by_data, s->gradient, pitch, 1);
        return;
    }
    int64_t rows = made_rows(job, head), positions = positions_of(box, head);
    reorder(job, head, s->made, s->gradient, pitch, 1);
    add_products(gathered + head->gathered_at, s->feature, head->channels, s->made, rows,
                 positions);
    multiply((Product){.result = s->by_data, .rows = head->channels, .n = positions,
                       .from = s->made, .count = rows, .weights = head->weight, .by_c = 1,
                       .by_r = rows});
    copy_rows(job, head, box, head->by_data, s->by_data, positions, 1);
}

static void read_label(const Job *job, Box box, int32_t *own) {
    for (int64_t i = box.voxels; i < pitch_of(box); i++) own[i] = -1;
    for (int64_t i = 0; i < job->step[0]; i++)
        for (int64_t j = 0; j < job->step[1]; j++, own += job->size[2]) {
            const uint8_t *row = job->label + ((box.sample * job->size[0] + box.row + i)
                                               * job->size[1] + box.column + j) * job->size[2];
            for (int64_t d = 0; d < job->size[2]; d++) own[d] = row[d];
        }
}
