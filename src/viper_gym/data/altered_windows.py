"""Windows that no video shows: what comes before them is altered, or what stands still is."""

from __future__ import annotations

import numpy as np

ANY_CODE = 0.15  # share of still cells in `show_any_code`


def show_any_code(
    windows: np.ndarray, share: float, codebook_size: int, rng: np.random.Generator
) -> np.ndarray:
    """In a share of the windows, cells that do not change show any code, in all of their frames.

    A model that has learned by heart which codes its videos hold does not copy one that is new in
    its place, and what stands still where nobody stood costs as much as what moves. First frames
    are changed, too, and trained on as they are: what a frame alone is worth gets less certain.

    Args:
        windows: codes (B, L, h, w).
        share: of the windows, 0…1; in those, `ANY_CODE` of the still cells.

    Returns:
        Windows (B, L, h, w).
    """
    if not share:
        return windows
    still = (windows == windows[:, :1]).all(1)  # (B, h, w)
    chosen = still & (rng.random(still.shape) < ANY_CODE)
    chosen &= (rng.random(len(windows)) < share)[:, None, None]
    codes = rng.integers(codebook_size, size=still.shape)
    return np.where(chosen[:, None], codes[:, None], windows)


def replace_context(
    windows: np.ndarray,
    frozen: float,
    empty: float,
    pictures: np.ndarray,
    bare: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Give some windows a past that no expert has: what would the expert do next?

    Expert videos hold hardly any stillness outside the goal and never an empty picture. A
    model that has not seen what follows finds "still" after "still" likely anywhere, and
    "nothing" after "nothing" certain. In a share of the windows the frames before one of them
    become copies of it (frozen), half of the time only in a rectangle, as if a part had stopped
    and the others went on; or copies that lack something (`_with_hole`), up to the empty picture;
    the rest stays real. Copies end where the expert moves on, so that windows in which nothing
    moves stay as they are. The replaced frames themselves are not trained on, nor is a frame that
    copies equal.

    Args:
        windows: codes (B, L, h, w).
        frozen: share of the windows that move, 0…1.
        empty: share of the windows, 0…1.
        pictures: codes (B, h, w) of each row's empty picture (`empty_codes`).
        bare: bool (B, h, w), which cells of a row are seen empty (`Windows.bare`).

    Returns:
        Windows (B, L, h, w), and float32 weights of their frames (B, L), 0 where replaced.
    """
    B, L = windows.shape[:2]
    real, windows, weights = windows, windows.copy(), np.ones((B, L), np.float32)
    if L < 3:
        return windows, weights
    draw = rng.random((B,))
    moves = (windows[:, 2:] != windows[:, 1:-1]).any((2, 3))  # (B, L - 2): frames 1 … L - 2
    for row in np.flatnonzero(draw < frozen + empty):
        if draw[row] < frozen:
            if moves[row].any():
                last = 1 + int(rng.choice(np.flatnonzero(moves[row])))
                windows[row, :last], whole = _stopped(windows[row, : last + 2], rng)
                weights[row, int(whole) : last + 1] = 0.0  # a whole copy is a real first frame
        else:
            last = int(rng.integers(1, L - 1))
            hole = _with_hole(real[row, last], pictures[row], bare[row], real, rng)
            windows[row, :last] = hole
            weights[row, :last] = 0.0
    return windows, weights


def _stopped(frames: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, bool]:
    """Frames before the last but one, as copies of it, or in a rectangle that moves right after it.

    Codes (n + 2, h, w) -> (n, h, w), and whether they are copies as a whole.
    """
    before, stop, after = frames[:-2], frames[-2], frames[-1]
    top, bottom, left, right = _rectangle(stop.shape, rng)
    part = np.s_[top:bottom, left:right]
    all_of_it = stop[part].size == stop.size
    if rng.random() < 0.5 or all_of_it or (stop[part] == after[part]).all():
        return np.broadcast_to(stop, before.shape), True
    stopped = before.copy()
    stopped[:, top:bottom, left:right] = stop[part]
    return stopped, False


def _rectangle(shape: tuple[int, ...], rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Rows from, to and columns from, to (exclusive), at least one of each."""
    (top, bottom), (left, right) = (np.sort(rng.choice(n + 1, 2, replace=False)) for n in shape)
    return int(top), int(bottom), int(left), int(right)


def _with_hole(
    picture: np.ndarray,
    empty: np.ndarray,
    bare: np.ndarray,
    codes: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """A picture (h, w) that lacks something; one of four, each as often.

    The empty picture; `picture` without what moves, which keeps a goal that lies still; `picture`
    with a rectangle of the empty one, as if a part of the body were gone; or with a rectangle of
    any codes: what is under a part that never leaves its cell has codes that no frame shows.
    """
    kind = rng.integers(4)
    if kind == 1:
        holed = np.where(bare, empty, picture)
    else:
        top, bottom, left, right = _rectangle(picture.shape, rng)
        part, holed = np.s_[top:bottom, left:right], picture.copy()
        holed[part] = empty[part] if kind == 2 else rng.choice(codes.ravel(), picture[part].shape)
    return empty if kind == 0 or (holed == picture).all() else holed
