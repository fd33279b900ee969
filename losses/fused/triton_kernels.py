"""The two passes of losses.fused.loss as Triton kernels.

losses.fused.torch_passes says what the steps mean.

A program takes blocks of cells of one sample. A cell is the smallest box that the strides of the
heads at hand divide, so all voxels of a block that have the same offset in their cell use the same
slice of each last step's weight. What a program sums, it adds to a row of its own, block by block:
no atomics, and the order of every sum is fixed. All arithmetic is float32.

Arguments of both kernels, on a grid (programs, samples):
    heads: for each (data, weight, bias, by_sample, by_channel, by_voxel): the tensors of the head,
        data in place of weight and bias where logits are whole; then the strides of data.
    rows: of each sample and program.
    index: of the first head among those with a Dice-CE, in their order; branch: of the KL.
    SPECS: of each head (channels, stride), channels 0 where logits are whole.
    CELL: its size.
    SUPERVISED: whether the heads have a Dice-CE.
"""

# ruff: noqa: N803, N806  (Triton's constants are in capitals, as everywhere)

import triton
import triton.language as tl

ONE = tl.constexpr((1, 1, 1))
STUDENT, TEACHER = tl.constexpr(1), tl.constexpr(2)  # roles in the KL; 0 for none


@triton.jit(do_not_specialize=["index", "branch"])
def sums_kernel(heads, label, rows, index, branch, size_x, size_y, size_z, inverse_temperature,
                SPECS: tl.constexpr, CELL: tl.constexpr, SUPERVISED: tl.constexpr,
                COUNTS: tl.constexpr, K: tl.constexpr, FIRST_CLASS: tl.constexpr,
                NUM_SUPERVISED: tl.constexpr, ROW: tl.constexpr, PADDED: tl.constexpr,
                BLOCK: tl.constexpr):
    """First pass of one branch, its teacher last, or of one head without a KL.

    A row has losses.fused.plan.Sums in their order; COUNTS says whether the label's voxels are
    counted here.
    """
    LAST: tl.constexpr = len(heads) - 1
    VOXELS: tl.constexpr = CELL[0] * CELL[1] * CELL[2]
    size = (size_x, size_y, size_z)
    classes = tl.arange(0, PADDED)
    row = rows + (tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)).to(tl.int64) * ROW
    counts = row + 2 * NUM_SUPERVISED * K
    for item in range(tl.program_id(0), _blocks(size, CELL, BLOCK) * VOXELS, tl.num_programs(0)):
        again = item != tl.program_id(0)  # there is something to add to
        offset = _offset(item % VOXELS, 0, ONE, CELL)
        voxels = _voxels(item // VOXELS, offset, size, CELL, BLOCK)
        hit = _hit(label, voxels, size, classes)
        live = voxels[3][None, :]
        logits = _logits(heads[LAST], voxels, offset, size, classes, _item(SPECS, LAST), K,
                         PADDED, BLOCK)
        if COUNTS:
            _add(counts + classes, tl.sum(tl.where(hit, 1.0, 0.0), 1), classes < K, again)
        if SUPERVISED:
            _add_supervised(logits, hit, live, row, index + LAST, classes, again, K,
                            NUM_SUPERVISED)
        if LAST > 0:
            log_teacher, teacher = _softmax(logits * inverse_temperature, classes, FIRST_CLASS, K)
            kl = 0.0
            for student in tl.static_range(LAST):
                logits = _logits(heads[student], voxels, offset, size, classes,
                                 _item(SPECS, student), K, PADDED, BLOCK)
                if SUPERVISED:
                    _add_supervised(logits, hit, live, row, index + student, classes, again, K,
                                    NUM_SUPERVISED)
                log_probs, probs = _softmax(logits * inverse_temperature, classes, FIRST_CLASS, K)
                kl += _total(tl.where(live, teacher * (log_teacher - log_probs), 0.0))
            _add(counts + K + NUM_SUPERVISED + branch, kl, True, again)
        elif branch >= 0:
            tl.store(counts + K + NUM_SUPERVISED + branch, 0.0)
        tl.debug_barrier()  # what is stored here is loaded for the next block


@triton.jit
def _add_supervised(logits, hit, live, row, index, classes, again, K: tl.constexpr,
                    NUM_SUPERVISED: tl.constexpr):
    log_probs, probs = _softmax(logits, classes, 0, K)
    overlap = row + index * K + classes
    _add(overlap, tl.sum(tl.where(hit, probs, 0.0), 1), classes < K, again)
    _add(overlap + NUM_SUPERVISED * K, tl.sum(tl.where(live, probs, 0.0), 1), classes < K, again)
    _add(row + (2 * NUM_SUPERVISED + 1) * K + index, -_total(tl.where(hit, log_probs, 0.0)), True,
         again)


@triton.jit(do_not_specialize=["index", "branch"])
def gradients_kernel(heads, by_data, label, rows, scratch, slopes, index, branch, size_x, size_y,
                     size_z, inverse_temperature, SPECS: tl.constexpr, CELL: tl.constexpr,
                     SUPERVISED: tl.constexpr, ROLE: tl.constexpr, K: tl.constexpr,
                     FIRST_CLASS: tl.constexpr, NUM_SUPERVISED: tl.constexpr, ROW: tl.constexpr,
                     PADDED: tl.constexpr, BLOCK: tl.constexpr):
    """Second pass of the first head; a STUDENT's teacher or a TEACHER's students follow it.

    `by_data` has the strides of data. A row has the gradients of weight and bias. `slopes` are
    losses.fused.plan.Slopes in their order. `scratch`, (channels, BLOCK) of each program, keeps
    the gradient of data while the logits' voxels that make it come one after the other.
    """
    SPEC: tl.constexpr = _item(SPECS, 0)
    STRIDE: tl.constexpr = _item(SPEC, 1)
    VOXELS: tl.constexpr = STRIDE[0] * STRIDE[1] * STRIDE[2]  # of the logits, per voxel of data
    PARTS: tl.constexpr = CELL[0] * CELL[1] * CELL[2] // VOXELS
    size = (size_x, size_y, size_z)
    classes = tl.arange(0, PADDED)
    program = (tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)).to(tl.int64)
    row, scratch = rows + program * ROW, scratch + program * SPEC[0] * BLOCK
    kl_at = slopes + 2 * NUM_SUPERVISED * K * tl.num_programs(1) + NUM_SUPERVISED + branch
    for item in range(tl.program_id(0), _blocks(size, CELL, BLOCK) * PARTS, tl.num_programs(0)):
        for voxel in range(VOXELS):
            offset = _offset(item % PARTS, voxel, STRIDE, CELL)
            voxels = _voxels(item // PARTS, offset, size, CELL, BLOCK)
            logits = _logits(heads[0], voxels, offset, size, classes, SPEC, K, PADDED, BLOCK)
            grad = tl.zeros((PADDED, BLOCK), tl.float32)
            if SUPERVISED:
                grad += _by_supervision(logits, _hit(label, voxels, size, classes), slopes, index,
                                        classes, K, NUM_SUPERVISED)
            if ROLE == STUDENT:
                grad += tl.load(kl_at) * _of_student(
                    logits, heads, voxels, offset, size, classes, inverse_temperature, SPECS, K,
                    FIRST_CLASS, PADDED, BLOCK)
            if ROLE == TEACHER:
                grad += tl.load(kl_at) * _of_teacher(
                    logits, heads, voxels, offset, size, classes, inverse_temperature, SPECS, K,
                    FIRST_CLASS, PADDED, BLOCK)
            grad = tl.where(voxels[3][None, :] & (classes < K)[:, None], grad, 0.0)
            _scatter(grad, heads[0], by_data, row, scratch, voxel, voxels, size, classes,
                     item != tl.program_id(0), SPEC, K, BLOCK)
            tl.debug_barrier()  # what is stored here is loaded for the next voxel


@triton.jit
def _by_supervision(logits, hit, slopes, index, classes, K: tl.constexpr,
                    NUM_SUPERVISED: tl.constexpr):
    """The gradient of the Dice-CE by a head's logits (PADDED, BLOCK)."""
    log_probs, probs = _softmax(logits, classes, 0, K)
    by_class = NUM_SUPERVISED * tl.num_programs(1) * K
    at = slopes + (index * tl.num_programs(1) + tl.program_id(1)) * K + classes
    by_overlap = tl.load(at, mask=classes < K, other=0.0)
    by_size = tl.load(at + by_class, mask=classes < K, other=0.0)
    by_prob = by_size[:, None] + tl.where(hit, by_overlap[:, None], 0.0)
    by_prob -= tl.sum(probs * by_prob, 0)[None, :]
    by_entropy = tl.load(slopes + 2 * by_class + index)
    return probs * by_prob + by_entropy * (probs - tl.where(hit, 1.0, 0.0))


@triton.jit
def _of_student(logits, heads, voxels, offset, size, classes, inverse_temperature,
                SPECS: tl.constexpr, K: tl.constexpr, FIRST_CLASS: tl.constexpr,
                PADDED: tl.constexpr, BLOCK: tl.constexpr):
    """The gradient of T x KL by the logits of the student heads[0], whose teacher is heads[1]."""
    log_probs, probs = _softmax(logits * inverse_temperature, classes, FIRST_CLASS, K)
    logits = _logits(heads[1], voxels, offset, size, classes, _item(SPECS, 1), K, PADDED, BLOCK)
    log_teacher, teacher = _softmax(logits * inverse_temperature, classes, FIRST_CLASS, K)
    return probs - teacher


@triton.jit
def _of_teacher(logits, heads, voxels, offset, size, classes, inverse_temperature,
                SPECS: tl.constexpr, K: tl.constexpr, FIRST_CLASS: tl.constexpr,
                PADDED: tl.constexpr, BLOCK: tl.constexpr):
    """The gradient of T x KL by the logits of the teacher heads[0], whose students follow it."""
    log_probs, probs = _softmax(logits * inverse_temperature, classes, FIRST_CLASS, K)
    behind = tl.zeros((PADDED, BLOCK), tl.float32)  # sum over students of teacher - student
    for student in tl.static_range(1, len(heads)):
        logits = _logits(heads[student], voxels, offset, size, classes, _item(SPECS, student), K,
                         PADDED, BLOCK)
        log_student, student_probs = _softmax(logits * inverse_temperature, classes, FIRST_CLASS,
                                              K)
        behind += log_probs - log_student
    return probs * (behind - tl.sum(probs * behind, 0)[None, :])


@triton.jit
def _scatter(grad, head, by_data, row, scratch, voxel, voxels, size, classes, again,
             SPEC: tl.constexpr, K: tl.constexpr, BLOCK: tl.constexpr):
    """Put a gradient (PADDED, BLOCK) where it belongs: of the logits, or through the last step."""
    CHANNELS: tl.constexpr = SPEC[0]
    STRIDE: tl.constexpr = _item(SPEC, 1)
    VOXELS: tl.constexpr = STRIDE[0] * STRIDE[1] * STRIDE[2]
    at = _at(head, voxels, size, SPEC)
    live = voxels[3]
    if CHANNELS == 0:
        at = at[None, :] + classes.to(tl.int64)[:, None] * head[4]
        tl.store(by_data + at, grad.to(by_data.dtype.element_ty),
                 mask=live[None, :] & (classes < K)[:, None])
    else:
        here = classes * VOXELS + voxel
        _add(row + CHANNELS * K * VOXELS + classes, tl.sum(grad, 1), classes < K,
             again | (voxel > 0))
        for channel in range(CHANNELS):
            in_weight = channel * K * VOXELS + here
            feature = tl.load(head[0] + at, mask=live, other=0.0).to(tl.float32)
            weight = tl.load(head[1] + in_weight, mask=classes < K, other=0.0).to(tl.float32)
            _add(row + in_weight, tl.sum(grad * feature[None, :], 1), classes < K, again)
            total = tl.sum(grad * weight[:, None], 0)
            if VOXELS > 1:
                kept = scratch + channel * BLOCK + tl.arange(0, BLOCK)
                total += tl.load(kept, mask=live & (voxel > 0), other=0.0)
                tl.store(kept, total, mask=live & (voxel < VOXELS - 1))
            tl.store(by_data + at, total.to(by_data.dtype.element_ty),
                     mask=live & (voxel == VOXELS - 1))
            at += head[4]


@triton.jit
def _logits(head, voxels, offset, size, classes, SPEC: tl.constexpr, K: tl.constexpr,
            PADDED: tl.constexpr, BLOCK: tl.constexpr):
    """A head's logits (PADDED, BLOCK); of no meaning outside the volume and the classes."""
    CHANNELS: tl.constexpr = SPEC[0]
    STRIDE: tl.constexpr = _item(SPEC, 1)
    VOXELS: tl.constexpr = STRIDE[0] * STRIDE[1] * STRIDE[2]
    at = _at(head, voxels, size, SPEC)
    live = voxels[3]
    if CHANNELS == 0:
        at = at[None, :] + classes.to(tl.int64)[:, None] * head[4]
        return tl.load(head[0] + at, mask=live[None, :] & (classes < K)[:, None],
                       other=0.0).to(tl.float32)
    else:
        here = (offset[0] % STRIDE[0] * STRIDE[1] + offset[1] % STRIDE[1]) * STRIDE[2]
        here = classes * VOXELS + here + offset[2] % STRIDE[2]
        bias = tl.load(head[2] + classes, mask=classes < K, other=0.0).to(tl.float32)
        logits = tl.zeros((PADDED, BLOCK), tl.float32) + bias[:, None]
        for channel in range(CHANNELS):
            feature = tl.load(head[0] + at, mask=live, other=0.0).to(tl.float32)
            weight = tl.load(head[1] + channel * K * VOXELS + here, mask=classes < K,
                             other=0.0).to(tl.float32)
            logits += weight[:, None] * feature[None, :]
            at += head[4]
        return logits


@triton.jit
def _softmax(logits, classes, FIRST: tl.constexpr, K: tl.constexpr):
    """Log-probabilities and probabilities over the classes FIRST..K-1, 0 for the others."""
    known = ((classes >= FIRST) & (classes < K))[:, None]
    logits = tl.where(known, logits, -float("inf"))
    logits -= tl.max(logits, 0)[None, :]
    log_probs = tl.where(known, logits - tl.log(tl.sum(tl.exp(logits), 0))[None, :], 0.0)
    return log_probs, tl.where(known, tl.exp(log_probs), 0.0)


@triton.jit
def _blocks(size, CELL: tl.constexpr, BLOCK: tl.constexpr):
    return tl.cdiv((size[0] // CELL[0]) * (size[1] // CELL[1]) * (size[2] // CELL[2]), BLOCK)


@triton.jit
def _offset(part, voxel, STRIDE: tl.constexpr, CELL: tl.constexpr):
    """In the cell, of a voxel of the logits within the part that belongs to one voxel of data."""
    columns = CELL[1] // STRIDE[1]
    depth = CELL[2] // STRIDE[2]
    return (part // (columns * depth) * STRIDE[0] + voxel // (STRIDE[1] * STRIDE[2]),
            part // depth % columns * STRIDE[1] + voxel // STRIDE[2] % STRIDE[1],
            part % depth * STRIDE[2] + voxel % STRIDE[2])


@triton.jit
def _voxels(block, offset, size, CELL: tl.constexpr, BLOCK: tl.constexpr):
    """The voxels at an offset in each cell of a block: x, y, z and whether they exist."""
    cell = block * BLOCK + tl.arange(0, BLOCK)
    columns = size[1] // CELL[1]
    depth = size[2] // CELL[2]
    x = cell // (columns * depth)
    return (x * CELL[0] + offset[0], cell // depth % columns * CELL[1] + offset[1],
            cell % depth * CELL[2] + offset[2], x < size[0] // CELL[0])


@triton.jit
def _at(head, voxels, size, SPEC: tl.constexpr):
    """Where the data behind these voxels is, of channel 0."""
    STRIDE: tl.constexpr = _item(SPEC, 1)
    voxel = voxels[0] // STRIDE[0] * (size[1] // STRIDE[1]) + voxels[1] // STRIDE[1]
    voxel = voxel * (size[2] // STRIDE[2]) + voxels[2] // STRIDE[2]
    return tl.program_id(1).to(tl.int64) * head[3] + voxel.to(tl.int64) * head[5]


@triton.jit
def _hit(label, voxels, size, classes):
    """Where each class is the label, (PADDED, BLOCK)."""
    voxel = (voxels[0] * size[1] + voxels[1]) * size[2] + voxels[2]
    sample = label + tl.program_id(1).to(tl.int64) * size[0] * size[1] * size[2]
    own = tl.load(sample + voxel, mask=voxels[3], other=0)
    return (own[None, :] == classes[:, None]) & voxels[3][None, :]


@triton.jit
def _add(at, value, mask, again):
    """Add to what is there, if there is something."""
    tl.store(at, tl.load(at, mask=mask & again, other=0.0) + value, mask=mask)


@triton.jit
def _total(values):
    return tl.sum(tl.sum(values, 1), 0)


@triton.constexpr_function
def _item(table, index):
    """A tuple in a constant table, or a row of one; by [] Triton would make variables of it."""
    return table[index]
