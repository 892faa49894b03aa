"""consensus.md: messages, statements, certificates, the guard, proposers, evidence."""

import ledger
from codec import GUARDS, concat, decode, encode, layout
from primitives import No, derive, signed

SMALL_MAX, BODY_MAX, MEMBERS_MAX, ROUND_MAX = 16_384, 1_064_960, 128, 1 << 30

layout("""
record Polka: height u64, round u32, block b32, signatures [CommitSignature]
choice RoundKind: 1 skip; 2 over
record RoundVote: step Step, block ?b32, validator u16, signature b64
record RoundVotes: height u64, round u32, kind RoundKind, votes [RoundVote]
record Body: bytes bytes
choice Message: 1 vote vote Vote; 2 proposal proposal Proposal, body Body; 3 polka polka Polka; \
    4 round_votes votes RoundVotes; 5 status height u64; 6 wanted height u64; \
    7 committed height u64, block b32, commit Commit, body Body
record Guard: height u64, round u32, step Step, digest b32
""")


def _body(reader):
    return {"bytes": reader.take(reader.count(BODY_MAX))}


GUARDS["Body"] = _body


def message(data):
    if len(data) > SMALL_MAX + (BODY_MAX if data[:1] in (b"\2", b"\7") else 0):
        raise No("TooLong")
    found = decode("Message", data)
    kind, count, steps, number = found["_"], 0, [], 0
    if kind == "vote":
        steps, number = [found["vote"]["step"]], found["vote"]["round"]
    elif kind == "proposal":
        number = found["proposal"]["round"]
    elif kind == "polka":
        count, number = len(found["polka"]["signatures"]), found["polka"]["round"]
    elif kind == "round_votes":
        votes = found["votes"]["votes"]
        count, number, steps = len(votes), found["votes"]["round"], [one["step"] for one in votes]
    elif kind == "committed":
        count, number = len(found["commit"]["signatures"]), found["commit"]["round"]
    if count > MEMBERS_MAX:
        raise No("TooManySignatures")
    if number > ROUND_MAX or any(step["_"] == "proposal" for step in steps):
        raise No("NoSuchPlace")
    return found


STEPS = ["", "proposal", "prevote", "precommit"]


def commit_digest(chain, height, number, block):
    return derive("symbolon 2026 commit v1", concat(chain, ("u64", height), ("u32", number), block))


def vote_digest(chain, vote):
    if vote["step"]["_"] == "precommit" and vote["block"] is not None:
        return commit_digest(chain, vote["height"], vote["round"], vote["block"])
    return derive("symbolon 2026 consensus vote v1", concat(
        chain, ("u64", vote["height"]), ("u32", vote["round"]), ("Step", vote["step"]), ("?b32", vote["block"])))


def proposal_digest(chain, one):
    return derive("symbolon 2026 consensus proposal v1", concat(
        chain, ("u64", one["height"]), ("u32", one["round"]), one["block"], ("?u32", one["locked_round"])))


def place(statement):
    step = statement.get("step", {"_": "proposal"})
    return statement["height"], statement["round"], STEPS.index(step["_"])


def proposer(chain, validators, height, number):
    members = validators["members"]
    return members[(ledger.first_place(chain, validators, height) + number) % len(members)]["key"]


def certified(digest, commit, validators):
    """More than two thirds of the power have signed, in the order of the set."""
    places, members = [one["validator"] for one in commit["signatures"]], validators["members"]
    if any(at >= len(members) for at in places) or any(a >= b for a, b in zip(places, places[1:])):
        raise No("Order")
    keys = [members[at]["key"] for at in places]
    if 3 * ledger.power(validators, keys) <= 2 * ledger.power(validators):
        raise No("TooLittlePower")
    for key, one in zip(keys, commit["signatures"]):
        if not signed(key, digest, one["signature"]):
            raise No("Signature")


def convicted(evidence, chain, validators):
    """The signer of two statements that exclude each other; without a set, whether or not it is a validator."""
    first, second = evidence["first"], evidence["second"]
    if evidence["_"] == "votes":
        signer, digest = "voter", vote_digest
    else:
        signer, digest = "proposer", proposal_digest
    if first[signer] != second[signer]:
        raise No("TwoSigners")
    if place(first) != place(second):
        raise No("TwoPlaces")
    if digest(chain, first) == digest(chain, second):
        raise No("Same")
    if validators and first[signer] not in [one["key"] for one in validators["members"]]:
        raise No("NotAMember")
    for one in (first, second):
        if not signed(one[signer], digest(chain, one), one["signature"]):
            raise No("Signature")
    return first[signer]


def guarded(last, at, digest):
    """The guard after a statement, if it may be signed."""
    if last is not None:
        if at < place(last):
            raise No("Earlier")
        if at == place(last) and digest != last["digest"]:
            raise No("Conflicting")
    return {"height": at[0], "round": at[1], "step": {"_": STEPS[at[2]]}, "digest": digest}


# Vectors.


def _hex(case, name):
    return bytes.fromhex(case[name])


def run_message(case):
    data = bytes([case["fill"]]) * case["length"] if "fill" in case else _hex(case, "bytes")
    found = message(data)
    return "ok" if encode_message(found) == data else "mismatch"


def encode_message(found):
    """The body's layout is read by a guard; its bytes are a count and themselves."""
    return encode("Message", found)


def run_statement(case):
    found, chain = message(_hex(case, "message")), _hex(case, "chain")
    if found["_"] == "vote":
        key, digest, signature = found["vote"]["voter"], vote_digest(chain, found["vote"]), found["vote"]["signature"]
    else:
        one = found["proposal"]
        key, digest, signature = one["proposer"], proposal_digest(chain, one), one["signature"]
    if digest.hex() != case["digest"]:
        return "OtherDigest"
    return "ok" if signed(key, digest, signature) else "Signature"


def run_certificate(case):
    commit, validators = decode("Commit", _hex(case, "commit")), decode("Validators", _hex(case, "validators"))
    digest = commit_digest(_hex(case, "chain"), case["height"], commit["round"], _hex(case, "block"))
    certified(digest, commit, validators)
    return "ok"


def run_guard(case):
    last = None if case["last"] is None else decode("Guard", _hex(case, "last"))
    after = guarded(last, (case["height"], case["round"], case["step"]), _hex(case, "digest"))
    return "ok" if encode("Guard", after).hex() == case["after"] else "OtherGuard"


def run_proposer(case):
    validators = decode("Validators", _hex(case, "validators"))
    found = proposer(_hex(case, "chain"), validators, case["height"], case["round"])
    return "ok" if found.hex() == case["proposer"] else "OtherProposer"


def run_evidence(case):
    evidence, validators = decode("Evidence", _hex(case, "evidence")), decode("Validators", _hex(case, "validators"))
    found = convicted(evidence, _hex(case, "chain"), validators)
    return "ok" if found.hex() == case["convicted"] else "OtherSigner"


VECTORS = {
    "consensus/messages.json": run_message, "consensus/statements.json": run_statement,
    "consensus/certificates.json": run_certificate, "consensus/guard.json": run_guard,
    "consensus/proposers.json": run_proposer, "consensus/evidence.json": run_evidence,
}
