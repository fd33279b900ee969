/* The two passes of losses/fused/loss.py for the CPU, in float32. losses/fused/torch_passes.py is
   the same in torch operations and says what the steps mean.

   The volume is cut into boxes (cpu_boxes.h) of one or two rows, a few columns and the whole depth,
   so that a head's box stays in the processor's inner caches. A register of voxels (cpu_lanes.h)
   goes at a time from logits to sums or to the gradient. A worker takes a range of boxes and has
   accumulators of its own: nothing is shared, and the order of every sum is fixed. */

#include "cpu_boxes.h"

/* e = exp(scale * (logits - their largest)) of LANES voxels; what they sum to. */
static inline Floats exponentials(const float *logits, int64_t classes, int64_t pitch, float scale,
                                  Floats *e, Floats *largest) {
    Floats top = load(logits), sum = {};
    for (int64_t k = 1; k < classes; k++) {
        Floats x = load(logits + k * pitch);
        top = either(x > top, x, top);
    }
    for (int64_t k = 0; k < classes; k++) {
        e[k] = exponential(scale * (load(logits + k * pitch) - top));
        sum += e[k];
    }
    *largest = top;
    return sum;
}

/* The exponentials at 1 from those at T in e, where `power` is T; what they sum to. */
static inline Floats raised(int64_t classes, int64_t power, Floats *e) {
    Floats sum = {};
    for (int64_t k = 0; k < classes; k++) {
        e[k] = power == 2 ? e[k] * e[k] : e[k] * e[k] * e[k];
        sum += e[k];
    }
    return sum;
}

/* The teacher's probabilities at T, of the classes of the KL. */
static void keep_teacher(const Job *job, const Space *s, int64_t pitch) {
    int64_t skip = job->first_class, classes = job->classes - skip;
    float scale = job->inverse_temperature;
    Floats e[MOST_CLASSES], top;
    for (int64_t i = 0; i < pitch; i += LANES) {
        const float *logits = s->teacher_logits + skip * pitch + i;
        Floats sum = exponentials(logits, classes, pitch, scale, e, &top), factor = 1.0f / sum;
        for (int64_t k = 0; k < classes; k++) store(s->teacher + k * pitch + i, e[k] * factor);
        store(s->teacher_log_sum + i, scale * top + logarithm(sum));
    }
}

/* Sums of one head in one box: overlap and size (K), entropy and KL. */
typedef struct {
    Floats overlap[MOST_CLASSES], size[MOST_CLASSES], entropy, kl;
} BoxSums;

static void add_up(const Job *job, const Head *head, Box box, const Space *s, const float *logits,
                   BoxSums *sums) {
    int64_t K = job->classes, skip = job->first_class, pitch = pitch_of(box);
    float scale = job->inverse_temperature;
    Floats e[MOST_CLASSES], top, sum;
    memset(sums->overlap, 0, K * sizeof(Floats));
    memset(sums->size, 0, K * sizeof(Floats));
    sums->entropy = sums->kl = (Floats){};
    for (int64_t i = 0; i < pitch; i += LANES) {
        const float *here = logits + i;
        if (head->role == STUDENT) {
            sum = exponentials(here + skip * pitch, K - skip, pitch, scale, e, &top);
            Floats apart = scale * top + logarithm(sum) - load(s->teacher_log_sum + i);
            for (int64_t k = skip; k < K; k++) {
                Floats ahead = load(s->teacher_logits + k * pitch + i) - load(here + k * pitch);
                sums->kl += load(s->teacher + (k - skip) * pitch + i) * (scale * ahead + apart);
            }
        }
        if (head->supervised < 0) continue;
        if (head->role == STUDENT && job->power) sum = raised(K, job->power, e);
        else sum = exponentials(here, K, pitch, 1.0f, e, &top);
        Ints own = load_label(s, i);
        Floats factor = where(own >= 0, 1.0f / sum);  /* 0 beyond the voxels */
        sums->entropy += where(own >= 0, top + logarithm(sum));
        for (int64_t k = 0; k < K; k++) {
            Floats p = e[k] * factor;
            sums->size[k] += p;
            sums->overlap[k] += where(own == (int32_t)k, p);
            sums->entropy -= where(own == (int32_t)k, load(here + k * pitch));
        }
    }
}

/* First pass. result: overlap and size (S, B, K), count (B, K), cross-entropy (S), KL (2). */
void dsd_sums(const Job *job, int64_t first, int64_t last, int64_t channels, float *scratch,
              double *result) {
    int64_t K = job->classes, by_head = job->batch * K;
    double *overlap = result, *size = overlap + job->num_supervised * by_head;
    double *count = size + job->num_supervised * by_head, *entropy = count + by_head;
    double *kl = entropy + job->num_supervised;
    Space s = space_of(job, channels, scratch);
    BoxSums sums;
    for (int64_t index = first; index < last; index++) {
        Box box = box_of(job, index);
        read_label(job, box, s.own);
        for (int64_t i = 0; i < box.voxels; i++) count[box.sample * K + s.own[i]]++;
        for (int64_t h = 0; h < job->num_heads; h++) {
            const Head *head = job->heads + h;
            int is_teacher = head->role == TEACHER;
            if (head->supervised < 0 && head->role != STUDENT && !is_teacher) continue;
            float *logits = s.logits;
            if (is_teacher || head->role == TAUGHT) logits = s.teacher_logits;
            if (head->role != TAUGHT) read_logits(job, head, box, &s, logits);
            if (is_teacher) {
                keep_teacher(job, &s, pitch_of(box));
                continue;
            }
            add_up(job, head, box, &s, logits, &sums);
            if (head->role == STUDENT) kl[head->branch] += sum_of(sums.kl);
            if (head->supervised < 0) continue;
            entropy[head->supervised] += sum_of(sums.entropy);
            int64_t at = head->supervised * by_head + box.sample * K;
            for (int64_t k = 0; k < K; k++) {
                size[at + k] += sum_of(sums.size[k]);
                overlap[at + k] += sum_of(sums.overlap[k]);
            }
        }
    }
}

/* The gradient by one head's logits in one box; by_bias (K) gains its sums, unless it is 0.

   It has up to three parts, by probabilities p at 1 and q at T:
   of a student's KL, c (q - teacher), and for its teacher (logits apart) / T is added to `behind`;
   of a teacher behind its students, c teacher (behind - sum teacher behind);
   of the Dice-CE, p (G - sum p G) + e (p - own), G = by_size + by_overlap where own. */
static void add_gradient(const Job *job, const Head *head, Box box, const Space *s,
                         const float *logits, double *by_bias) {
    int64_t K = job->classes, skip = job->first_class, pitch = pitch_of(box);
    float scale = job->inverse_temperature;
    float by_kl = head->branch < 0 ? 0 : job->by_kl[head->branch];
    int64_t at = (head->supervised * job->batch + box.sample) * K;
    Floats e[MOST_CLASSES], gradient[MOST_CLASSES], sums[MOST_CLASSES], top, sum;
    memset(sums, 0, K * sizeof(Floats));
    for (int64_t i = 0; i < pitch; i += LANES) {
        const float *here = logits + i;
        float *teacher = s->teacher + i, *behind = s->behind + i;
        for (int64_t k = 0; k < K; k++) gradient[k] = (Floats){};
        if (head->role == STUDENT) {
            sum = exponentials(here + skip * pitch, K - skip, pitch, scale, e, &top);
            Floats factor = 1.0f / sum;
            for (int64_t k = 0; k < K - skip; k++) {
                int64_t there = (k + skip) * pitch;
                gradient[k + skip] = by_kl * (e[k] * factor - load(teacher + k * pitch));
                store(behind + k * pitch, load(behind + k * pitch)
                      + scale * (load(s->teacher_logits + there + i) - load(here + there)));
            }
        }
        if (head->role == TAUGHT) {
            Floats dot = {};
            for (int64_t k = 0; k < K - skip; k++)
                dot += load(teacher + k * pitch) * load(behind + k * pitch);
            for (int64_t k = 0; k < K - skip; k++)
                gradient[k + skip] = by_kl * load(teacher + k * pitch)
                                     * (load(behind + k * pitch) - dot);
        }
        Ints own = load_label(s, i);
        if (head->supervised >= 0) {
            const float *by_size = job->by_size + at, *by_overlap = job->by_overlap + at;
            float by_entropy = job->by_entropy[head->supervised];
            if (head->role == STUDENT && job->power) sum = raised(K, job->power, e);
            else sum = exponentials(here, K, pitch, 1.0f, e, &top);
            Floats factor = 1.0f / sum, dot = {};
            for (int64_t k = 0; k < K; k++) {
                e[k] *= factor;
                Floats slope = by_size[k] + where(own == (int32_t)k, all_lanes(by_overlap[k]));
                dot += e[k] * slope;
            }
            for (int64_t k = 0; k < K; k++) {
                Ints is_own = own == (int32_t)k;
                Floats slope = by_size[k] + by_entropy - dot
                               + where(is_own, all_lanes(by_overlap[k]));
                gradient[k] += e[k] * slope - where(is_own, all_lanes(by_entropy));
            }
        }
        for (int64_t k = 0; k < K; k++) {
            store(s->gradient + k * pitch + i, gradient[k]);
            sums[k] += where(own >= 0, gradient[k]);
        }
    }
    for (int64_t k = 0; by_bias && k < K; k++) by_bias[k] += sum_of(sums[k]);
}

/* Second pass. gathered: gradients by weights and biases, where each head says. */
void dsd_gradients(const Job *job, int64_t first, int64_t last, int64_t channels, float *scratch,
                   double *gathered) {
    Space s = space_of(job, channels, scratch);
    for (int64_t index = first; index < last; index++) {
        Box box = box_of(job, index);
        int64_t pitch = pitch_of(box);
        read_label(job, box, s.own);
        for (int64_t h = 0; h < job->num_heads; h++) {
            const Head *head = job->heads + h;
            if (head->role == TEACHER) {
                read_logits(job, head, box, &s, s.teacher_logits);
                keep_teacher(job, &s, pitch);
                memset(s.behind, 0, (job->classes - job->first_class) * pitch * sizeof(float));
                continue;
            }
            if (!head->by_data && head->role != STUDENT) continue;
            float *logits = s.logits;
            if (head->role == TAUGHT) {  /* its logits are there, its feature is another's by now */
                logits = s.teacher_logits;
                if (head->weight)
                    copy_rows(job, head, box, (float *)head->data, s.feature,
                              positions_of(box, head), 0);
            } else {
                read_logits(job, head, box, &s, logits);
            }
            double *by_bias = 0;
            if (head->weight)
                by_bias = gathered + head->gathered_at + head->channels * made_rows(job, head);
            add_gradient(job, head, box, &s, logits, by_bias);
            if (head->by_data) write_gradient(job, head, box, &s, gathered);
        }
    }
}
