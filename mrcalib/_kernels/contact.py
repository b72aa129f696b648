"""Where tumours touch vessels, slice by slice.

Slices are the first axis. ``code`` holds the number of the vessel at each voxel, 0 for none. Bit m of ``bits`` says whether
mask m of the tumour holds the voxel, so that up to 32 masks (raters and thresholds) are measured in one pass.
"""

from typing import Any

import numpy as np

from mrcalib._kernels._compile import kernel

OUTSIDE, WITHIN = 1, 2  # state of a pixel around or in a cross-section; 0 is a hole, or not yet known


@kernel
def _is_edge(code: Any, s: int, i: int, j: int) -> bool:
    """Whether one of the four neighbours of the pixel is not of its vessel, or it lies at the border of the image."""
    c = code[s, i, j]
    if i == 0 or j == 0 or i == code.shape[1] - 1 or j == code.shape[2] - 1:
        return True
    return bool(code[s, i - 1, j] != c or code[s, i + 1, j] != c or code[s, i, j - 1] != c or code[s, i, j + 1] != c)


@kernel
def _dilated(bits: Any, s: int, i: int, j: int) -> Any:
    """The masks that hold the pixel or one of its four neighbours: bit m is mask m dilated by a cross."""
    found = bits[s, i, j]
    if i > 0:
        found |= bits[s, i - 1, j]
    if j > 0:
        found |= bits[s, i, j - 1]
    if i < bits.shape[1] - 1:
        found |= bits[s, i + 1, j]
    if j < bits.shape[2] - 1:
        found |= bits[s, i, j + 1]
    return found


@kernel
def _beside(bits: Any, code: Any, c: Any, s: int, i: int, j: int) -> Any:
    """The masks whose dilation holds the pixel; none where it is an edge pixel of vessel ``c``."""
    if code[s, i, j] == c and _is_edge(code, s, i, j):
        return np.uint32(0)
    return _dilated(bits, s, i, j)


@kernel
def count_edge_contacts(bits: Any, code: Any, edges: Any, hits: Any) -> None:
    """Add the edge pixels of vessel c in slice s to ``edges[c, s]``, the contacts of mask m to ``hits[c, s, m]``.

    An edge pixel under a mask dilated by a cross counts once. Another counts for each of four two-tap kernels that finds
    the dilation, edge pixels removed, at the pixel or after it: in the row, in the column, on either diagonal; indices
    beyond the last repeat the last.
    """
    last_row, last_column = code.shape[1] - 1, code.shape[2] - 1
    for s in range(code.shape[0]):
        for i in range(code.shape[1]):
            for j in range(code.shape[2]):
                c = code[s, i, j]
                if c == 0 or not _is_edge(code, s, i, j):
                    continue
                edges[c, s] += 1
                down, right = min(i + 1, last_row), min(j + 1, last_column)
                # All masks at once, as bits; these are the places that the two-tap kernels look at.
                under = _dilated(bits, s, i, j)
                across = _beside(bits, code, c, s, i, right)
                below = _beside(bits, code, c, s, down, j)
                diagonal = _beside(bits, code, c, s, down, right)
                if under | across | below | diagonal == 0:
                    continue
                for m in range(hits.shape[2]):
                    bit = np.uint32(1) << np.uint32(m)
                    if under & bit:
                        hits[c, s, m] += 1
                        continue
                    # One diagonal kernel looks across the corner; the other finds the dilation in the row or in the column.
                    in_row, in_column = int((across & bit) != 0), int((below & bit) != 0)
                    hits[c, s, m] += in_row + in_column + int((diagonal & bit) != 0) + max(in_row, in_column)


@kernel
def _collect(code: Any, s: int, i: int, j: int, seen: Any, queue: Any) -> int:
    """Put the pixels of the 8-connected cross-section that holds (i, j) into ``queue``; return how many.

    The queue of the breadth-first search is the list of pixels itself: pixels are never removed from it.
    """
    c = code[s, i, j]
    queue[0, 0], queue[1, 0] = i, j
    seen[i, j] = True
    n = 1
    k = 0
    while k < n:
        for a in range(max(queue[0, k] - 1, 0), min(queue[0, k] + 2, code.shape[1])):
            for b in range(max(queue[1, k] - 1, 0), min(queue[1, k] + 2, code.shape[2])):
                if not seen[a, b] and code[s, a, b] == c:
                    seen[a, b] = True
                    queue[0, n], queue[1, n] = a, b
                    n += 1
        k += 1
    return n


@kernel
def _extent(pixels: Any) -> tuple[int, int, int, int]:
    """First and last row, first and last column of the pixels."""
    top, bottom, left, right = pixels[0, 0], pixels[0, 0], pixels[1, 0], pixels[1, 0]
    for p in range(1, pixels.shape[1]):
        top, bottom = min(top, pixels[0, p]), max(bottom, pixels[0, p])
        left, right = min(left, pixels[1, p]), max(right, pixels[1, p])
    return top, bottom, left, right


@kernel
def _reach(offsets: Any) -> int:
    """The largest offset in a row or a column."""
    reach = 0
    for o in range(offsets.shape[0]):
        reach = max(reach, abs(offsets[o, 0]), abs(offsets[o, 1]))
    return reach


@kernel
def _mark(state: Any, pixels: Any) -> None:
    """Mark the pixels as WITHIN; ``state`` has a border of one pixel."""
    for p in range(pixels.shape[1]):
        state[pixels[0, p] + 1, pixels[1, p] + 1] = WITHIN


@kernel
def _flood(state: Any, stack: Any) -> None:
    """Mark what is 4-connected to the first pixel and not WITHIN as OUTSIDE; what then is neither is a hole."""
    stack[0, 0], stack[1, 0] = 0, 0
    state[0, 0] = OUTSIDE
    n = 1
    while n > 0:
        n -= 1
        i, j = stack[0, n], stack[1, n]
        for k in range(4):
            # Directions 0 to 3: down, up, right, left.
            a = i + (k == 0) - (k == 1)
            b = j + (k == 2) - (k == 3)
            if 0 <= a < state.shape[0] and 0 <= b < state.shape[1] and state[a, b] == 0:
                state[a, b] = OUTSIDE
                stack[0, n], stack[1, n] = a, b
                n += 1


@kernel
def _any_bit(bits: Any, s: int, top: int, bottom: int, left: int, right: int) -> Any:
    """The masks that have a pixel in these rows and columns, as far as they lie in the image."""
    found = np.uint32(0)
    for i in range(max(top, 0), min(bottom + 1, bits.shape[1])):
        for j in range(max(left, 0), min(right + 1, bits.shape[2])):
            found |= bits[s, i, j]
    return found


@kernel
def _face_length(state: Any, shape: Any, i: int, j: int, di: int, dj: int, straight: float, slant: float) -> float:
    """Length of the outline that belongs to the face of pixel (i, j) towards (di, dj).

    The outline joins the midpoints of faces, as marching squares does: two segments meet in each face, one on either side, and
    half of each belongs to it. A segment is straight if the outline goes on along the next pixel, and slanted if it turns a
    corner. At the border of the image it is taken as straight.
    """
    length = 0.0
    for side in (-1, 1):
        u, v = i + side * abs(dj), j + side * abs(di)
        beyond = u < 0 or v < 0 or u == shape[0] or v == shape[1]
        flat = beyond or (state[u + 1, v + 1] != OUTSIDE and state[u + di + 1, v + dj + 1] == OUTSIDE)
        length += 0.5 * (straight if flat else slant)
    return length


@kernel
def _measure(bits: Any, s: int, pixels: Any, state: Any, edges: Any, offsets: Any, starts: Any, touched: Any) -> float:
    """Length of the outline of the cross-section of ``pixels``; the part that mask m touches goes into ``touched[m]``."""
    n_rows, n_columns = bits.shape[1], bits.shape[2]
    slant = 0.5 * np.sqrt(edges[0] ** 2 + edges[1] ** 2)
    outline = 0.0
    touched[:] = 0.0
    for p in range(pixels.shape[1]):
        i, j = pixels[0, p], pixels[1, p]
        for k in range(4):
            di, dj = (k == 0) - (k == 1), (k == 2) - (k == 3)
            if not (0 <= i + di < n_rows and 0 <= j + dj < n_columns):
                continue
            # Faces towards holes and towards other pixels of the cross-section are not part of the outline.
            if state[i + di + 1, j + dj + 1] != OUTSIDE:
                continue
            length = _face_length(state, (n_rows, n_columns), i, j, di, dj, edges[1] if dj == 0 else edges[0], slant)
            outline += length
            found = np.uint32(0)
            for o in range(starts[k], starts[k + 1]):
                u, v = i + offsets[o, 0], j + offsets[o, 1]
                if 0 <= u < n_rows and 0 <= v < n_columns:
                    found |= bits[s, u, v]
            for m in range(touched.size):
                if found & (np.uint32(1) << np.uint32(m)):
                    touched[m] += length
    return outline


@kernel
def _elongation(box: Any, edges: Any) -> float:
    """How many times as long as wide the pixels that are not OUTSIDE are: the ratio of their principal standard deviations.

    Pixels are rectangles with sides ``edges``: 1/12 is the variance of a uniform distribution on one of unit length. The
    principal variances are the eigenvalues of the 2 x 2 matrix of covariances.
    """
    rows, columns = box.shape
    n, i_sum, j_sum, ii, jj, ij = 0, 0, 0, 0, 0, 0
    for i in range(rows):
        for j in range(columns):
            if box[i, j] != OUTSIDE:
                # Twice the distance from the middle: whole numbers, so that a mirrored shape gives the same result.
                u, v = 2 * i - (rows - 1), 2 * j - (columns - 1)
                n, i_sum, j_sum = n + 1, i_sum + u, j_sum + v
                ii, jj, ij = ii + u * u, jj + v * v, ij + u * v
    mean_i, mean_j = i_sum / n, j_sum / n
    tall = (0.25 * (ii / n - mean_i**2) + 1 / 12) * edges[0] ** 2
    wide = (0.25 * (jj / n - mean_j**2) + 1 / 12) * edges[1] ** 2
    slanted = 0.25 * (ij / n - mean_i * mean_j) * edges[0] * edges[1]
    middle, half = 0.5 * (tall + wide), np.sqrt(0.25 * (tall - wide) ** 2 + slanted**2)
    return float(np.sqrt((middle + half) / (middle - half)))


@kernel
def largest_contact(
    bits: Any, code: Any, edges: Any, min_pixels: Any, max_elongation: Any, offsets: Any, starts: Any, out: Any
) -> None:
    """Raise ``out[c, m]`` to the largest share of the outline of a cross-section of vessel c that mask m touches.

    A cross-section is 8-connected, and its holes count as filled. It counts if it has at least ``min_pixels`` pixels, holes
    aside, and is at most ``max_elongation`` times as long as wide. How long it is is not known where the image's border
    cuts it off: then it counts only if there is no limit (infinity). If any counts, the share is at least 0.

    The outline runs through the midpoints of the faces between the cross-section and the pixels around it. ``edges`` are the
    (height, width) of a pixel. Each face has half of the two segments that meet there; faces at the image's border have none.
    Mask m touches the face towards direction k (down, up, right, left) if it holds a pixel at one of
    ``offsets[starts[k] : starts[k + 1]]`` from the pixel within.
    """
    n_rows, n_columns = code.shape[1], code.shape[2]
    queue = np.empty((2, n_rows * n_columns), np.int64)
    stack = np.empty((2, (n_rows + 2) * (n_columns + 2)), np.int64)
    state = np.empty((n_rows + 2, n_columns + 2), np.uint8)
    seen = np.empty((n_rows, n_columns), np.bool_)
    touched = np.empty(out.shape[1], np.float64)
    reach = _reach(offsets)
    for s in range(code.shape[0]):
        seen[:] = False
        for i in range(n_rows):
            for j in range(n_columns):
                c = code[s, i, j]
                if c == 0 or seen[i, j]:
                    continue
                n = _collect(code, s, i, j, seen, queue)
                if n < min_pixels:
                    continue
                pixels = queue[:, :n]
                top, bottom, left, right = _extent(pixels)
                cut_off = top == 0 or left == 0 or bottom == n_rows - 1 or right == n_columns - 1
                if cut_off and max_elongation < np.inf:
                    continue
                # Most cross-sections have no tumour near them; of these the first one that counts makes the share 0.
                near = _any_bit(bits, s, top - reach, bottom + reach, left - reach, right + reach)
                if near == 0 and out[c, 0] >= 0:
                    continue
                # ``state`` is the slice with a border of one pixel, so that all that surrounds the cross-section is connected.
                box = state[top : bottom + 3, left : right + 3]
                box[:] = 0
                _mark(state, pixels)
                _flood(box, stack)
                if _elongation(box, edges) > max_elongation:
                    continue
                for m in range(touched.size):
                    out[c, m] = max(out[c, m], 0.0)
                if near == 0:
                    continue
                outline = _measure(bits, s, pixels, state, edges, offsets, starts, touched)
                if outline > 0:
                    for m in range(touched.size):
                        out[c, m] = max(out[c, m], touched[m] / outline)
