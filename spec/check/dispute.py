"""market.md, "Disputes": what a listing says of keys and cells, and how bytes prove that it is not so."""

import content
from codec import concat, decode
from content import CELL, TAG, Layout, cell_key, content_path_holds, content_root, keys, open_cell, shard_mask
from custody import listing_key, shown_point
from primitives import No, chacha20, derive
from proof import part_holds

UPHELD, DISMISSED = True, False


# The leaf list.


def mask_hash(index_key):
    return derive("symbolon 2026 listed mask v1", index_key)


def mask_leaf(segment, masks):
    return derive("symbolon 2026 listed masks v1", concat(("u32", segment), *masks))


def plan_of(of):
    return Layout(of["required"], of["total"], of["length"])


def list_bytes(plan):
    return 96 * plan.cells + 32 * plan.segments * plan.total


def read_list(of, masks_root, data):
    """The parts of each leaf and the hashes of each segment's masks, after checks that they are the listed ones."""
    plan = plan_of(of)
    if len(data) != list_bytes(plan):
        raise No("Length")
    hashes = [data[at : at + 32] for at in range(0, len(data), 32)]
    parts = [dict(zip(("key", "sealed", "plain"), hashes[at : at + 3])) for at in range(0, 3 * plan.cells, 3)]
    masks = [hashes[at : at + plan.total] for at in range(3 * plan.cells, len(hashes), plan.total)]
    if content_root([content.leaf_of(number, one) for number, one in enumerate(parts)]) != of["content_root"]:
        raise No("Cells")
    if content_root([mask_leaf(number, one) for number, one in enumerate(masks)]) != masks_root:
        raise No("Masks")
    return parts, masks


def other_key(of, parts, masks, file_key):
    """The first listed key that is not the one of this file key, or None."""
    plan, mask_key = plan_of(of), keys(file_key)["mask_key"]
    for number, one in enumerate(parts):
        if content.key_hash(cell_key(file_key, *plan.place(number)[:2])) != one["key"]:
            return "cell", number
    for segment, listed in enumerate(masks):
        if listed != own_masks(mask_key, segment, plan.total):
            return "mask", segment
    return None


def own_masks(mask_key, segment, total):
    return [mask_hash(shard_mask(mask_key, segment, index)) for index in range(total)]


# Openings. What does not lead to the listed roots proves nothing: `No`.


class Place:
    """Where a cell of a file is."""

    def __init__(self, of, number):
        self.plan = plan_of(of)
        self.segment, self.in_segment, _, room, self.end = self.plan.place(number)
        self.stripe, self.shard = divmod(self.in_segment, of["required"])
        self.sealed_bytes = room + TAG


def leaf_holds(of, opening):
    place = Place(of, opening["cell"])
    own = content.leaf_of(opening["cell"], opening["parts"])
    content_path_holds(of["content_root"], opening["cell"], place.plan.cells, own, opening["path"])
    return place


def masks_hold(of, root, segment, masks, path):
    plan = plan_of(of)
    if len(masks) != plan.total:
        raise No("Place")
    content_path_holds(root, segment, plan.segments, mask_leaf(segment, masks), path)


def kept_holds(of, place, root, kept, path):
    plan = place.plan
    length = plan.last_shard_length if place.segment == plan.segments - 1 else content.STRIPES * CELL
    part_holds(root, length, CELL, place.stripe, kept, path)


def unmasked(index_key, place, kept):
    return chacha20(index_key, place.stripe * CELL, kept)


# Complaints that carry their whole proof: whether they are upheld.


def judge_key(terms, releases, delivery, context, shown, fault):
    of, masks_root = terms["manifest"], terms["masks_root"]
    point = shown_point(shown, terms["capsule"], releases, len(releases), delivery, context)
    if point == bytes(32):
        return UPHELD
    file_key = bytes(one ^ other for one, other in zip(terms["pad"], listing_key(point)))
    found = keys(file_key)
    if fault["_"] == "file":
        return (found["commitment"], found["object"]) != (of["commitment"], of["object"])
    if fault["_"] == "cell":
        place = leaf_holds(of, fault["leaf"])
        return content.key_hash(cell_key(file_key, place.segment, place.in_segment)) != fault["leaf"]["parts"]["key"]
    masks = fault["masks"]
    masks_hold(of, masks_root, masks["segment"], masks["masks"], masks["path"])
    return masks["masks"] != own_masks(found["mask_key"], masks["segment"], len(masks["masks"]))


def judge_cell(of, leaf, key, sealed):
    place, parts = leaf_holds(of, leaf), leaf["parts"]
    if content.key_hash(key) != parts["key"]:
        raise No("Hash")
    if content.sealed_hash(sealed) != parts["sealed"]:
        raise No("Hash")
    try:
        plain = open_cell(key, place.end, sealed, place.sealed_bytes - TAG)
    except No:
        return UPHELD
    return content.plain_hash(key, plain) != parts["plain"]


def judge_kept(terms, leaf, masks, index_key, root, kept, path):
    of = terms["manifest"]
    place = leaf_holds(of, leaf)
    masks_hold(of, terms["masks_root"], masks["segment"], masks["masks"], masks["path"])
    if masks["segment"] != place.segment:
        raise No("Place")
    if masks["masks"][place.shard] != mask_hash(index_key):
        raise No("Hash")
    kept_holds(of, place, root, kept, path)
    return content.sealed_hash(unmasked(index_key, place, kept)) != leaf["parts"]["sealed"]


# A cell that nodes are asked for.


def asked_place(terms, leaf, index_keys, path):
    place = leaf_holds(terms["manifest"], leaf)
    masks = [mask_hash(key) for key in index_keys]
    masks_hold(terms["manifest"], terms["masks_root"], place.segment, masks, path)
    return place


def judge_answers(of, place, sealed, index_keys, answers):
    """Whether the answers, by shard, give another cell: that of its own shard, or what those of enough others give."""
    opened = {index: unmasked(index_keys[index], place, kept) for index, kept in answers.items()}
    if place.shard in opened:
        return content.sealed_hash(opened[place.shard]) != sealed
    cells = [opened.get(index) for index in range(of["total"])]
    return content.sealed_hash(content.recover(of["required"], of["total"], cells)[place.shard]) != sealed


# Vectors.


def run_list(case):
    of = decode("Manifest", bytes.fromhex(case["manifest"]))
    parts, masks = read_list(of, bytes.fromhex(case["masks_root"]), bytes.fromhex(case["list"]))
    other = other_key(of, parts, masks, bytes.fromhex(case["file_key"]))
    return f"Other{other[0].title()}{other[1]}" if other else "ok"


VECTORS = {"content/leaf_list.json": run_list}
