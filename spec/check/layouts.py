"""The layouts of ledger.md and wire.md: rows, actions, blocks, messages."""

from codec import GUARDS, layout
from primitives import No

layout("""
record Params: epoch_ms u64, validity_blocks_max u64, storage_fee_bp u16, repair_reserve_bp u16, sale_fee_bp u16, \\
  custody_fee_bp u16, delivery_ms u64, window_ms_min u64, deal_epochs_max u64, faucet u128, faucet_blocks u64
record Genesis: params Params, authority b32, time_ms u64, onion b32
record Facts: time_ms u64, reveal b32, onion_next ?b32
record Header: chain b32, height u64, parent b32, facts Facts, transactions_root b32, state_root b32, validators b32
record SignedHeader: header Header, signature b64

choice Access: 1 granted; 2 public
record DealTerms: deal b16, owner b32, object b16, segment u32, required u8, total u8, length u64, access Access, \\
  epochs u64
record Acceptance: node b32, index u8, root b32, price u128, expires_ms u64, signature b64
record PublicRef: manifest Manifest, key b32, hash b32
record Split: account b32, share_bp u16
record Terms: title text, price u128, licence b32, access_ms u64, window_ms u64, splits [Split], preview_cells u8, \\
  document PublicRef, manifest Manifest, cells u64, vault b16, capsule Capsule, pad b32, mandate Link

choice Action: 1 Faucet; 2 Transfer to b32, amount u128; 3 PlaceHold payee b32, amount u128, expires_ms u64; \\
  4 ReleaseHold payer b32, id b16, amount u128; 5 VoidHold payer b32, id b16; \\
  10 RegisterNode payout b32, addresses [text], custody_key ?b32, price u128, capacity u64; \\
  11 OpenDeal opening b32, terms DealTerms, acceptances [Acceptance], cost_max u128; 12 EndDeal deal b16; \\
  13 Prove epoch u64, leaves [LeafProof]; \\
  20 OpenVault vault b16, key VaultKey, custodians [CustodyAcceptance]; 21 List listing b16, terms Terms; \\
  22 Preview listing b16, preview PublicRef; 23 EndListing listing b16; \\
  24 Order order b16, listing b16, holder b32, delivery DeliveryKey, price u128, licence b32; \\
  25 PostRelease order b16, release Release; 26 Acknowledge order b16, custodians bytes; \\
  30 Revoke link b16; 31 SetRoot expected_version u64, blob bytes
record Transaction: chain b32, sender b32, id b16, valid_until u64, action Action, signature b64

record Nothing:
record Chain: id b32, params Params, authority b32, genesis_ms u64, time_ms u64, height u64, epoch u64, \\
  epoch_started_ms u64, epoch_beacon b32, beacon b32, onion b32, change_next u64
record Pools: storage u128, repair u128, treasury u128, issued u128
record Account: balance u128, faucet_height u64
record Seen: digest b32, height u64
choice HoldKey: 1 deal deal b16; 2 order order b16; 3 request payer b32, id b16
record Hold: payer b32, payee ?b32, amount u128, expires_ms u64
record Node: payout b32, addresses [text], custody_key ?b32, price u128, capacity u64, used u64, slots u32, \\
  longest u64, slot_bytes u64, table b32, rate u128, passed_epoch ?u64, passed u64, missed u64, missed_in_row u32
record Slot: deal b16, index u8, root b32, length u64, rate u128
choice SlotChange: 1 join deal b16; 2 leave deal b16
choice DealState: 1 offered; 2 active; 3 completed; 4 cancelled
record DealSlot: node b32, root b32, price u128, position ?u32
record Deal: owner b32, object b16, segment u32, required u8, length u64, access Access, start u64, end u64, \\
  rate u128, shards [?DealSlot], state DealState
record Vault: owner b32, key VaultKey, custodians [b32]
choice ListingState: 1 open; 2 ended
record Listing: seller b32, terms Terms, state ListingState, listed_ms u64, preview_seed ?b32, preview ?PublicRef, \\
  sold u64
choice OrderState: 1 paid; 2 delivered; 3 settled; 4 refunded
record PostedRelease: index u8, u b32, v b32
record Order: listing b16, buyer b32, holder b32, delivery DeliveryKey, amount u128, state OrderState, \\
  ordered_ms u64, access_until_ms u64, due_ms u64, releases [PostedRelease]
record Revocation: height u64
record Root: version u64, blob bytes

choice Place: 0 outside; 1 account account b32; 2 hold hold HoldKey; 3 storage; 4 repair; 5 treasury
choice Reason: 1 faucet; 2 transfer; 3 hold; 4 deal deal b16; 5 proven node b32, epoch u64; \\
  6 missed node b32, epoch u64; 7 sale order b16; 8 fee
choice Event: 1 moved from Place, to Place, amount u128, reason Reason; 2 epoch_began epoch u64; \\
  3 deal_ended deal b16; 4 preview_picked listing b16; 5 order_paid order b16; 6 order_delivered order b16; \\
  7 order_settled order b16; 8 order_refunded order b16; 9 revoked link b16, by b32
record Block: header SignedHeader, transactions [Transaction], events [Event]

record PeerAddress: id b32, addresses [text]
record LedgerTicket: chain b32, authority b32, address PeerAddress

record HistoryPlace: height u64, number u32
choice LedgerRequest: 1 Submit transaction Transaction; 2 Head; 3 Rows keys [bytes]; \\
  4 Scan prefix bytes, after ?bytes, limit u32; 5 Follow height u64, events u64; \\
  6 History account b32, before HistoryPlace, limit u32; 7 Sale order b16
record ProvenRow: key bytes, value ?bytes, path bytes
record HistoryLine: height u64, number u32, time_ms u64, event Event
choice LedgerResponse: 0 Refused message text; 1 Outcome height u64, status Status; 2 Head header SignedHeader; \\
  3 Rows header SignedHeader, rows [ProvenRow], more bool; 4 Block block Block, more bool; \\
  5 Events events [Event], more bool; 6 History lines [HistoryLine]; \\
  7 Sale link Link, block b32

record DeletionReceipt: deal b16, index u8, node b32, root b32, time_ms u64, signature b64
record Refusal: code RefusalCode, fault Fault, message text
record SliceHead: length u32, path [b32]
choice Fault: 1 ours; 2 yours; 3 nobodys
choice StorageRequest: 1 Info; 2 Store terms DealTerms, index u8, price u128, grant Grant; \\
  3 Read deal b16, index u8, first u32, count u32, grant ?Grant; \\
  4 ReadCell deal b16, index u8, cell u32, grant ?Grant; 5 Check deal b16, index u8, grant ?Grant; \\
  6 Delete deal b16, index u8, grant Grant; \\
  10 KeepShare vault b16, owner b32, key VaultKey, index u8, share bytes, signature b64; 11 Release order b16
choice StorageResponse: 0 Refused refusal Refusal; 1 Info chain b32, node b32, price u128, free u64; 2 Ready; \\
  3 Accepted acceptance Acceptance; 4 Slices count u32; 5 Held length ?u64, root ?b32; \\
  6 Deleted receipt DeletionReceipt; 10 InCustody acceptance CustodyAcceptance; 11 Released release Release
choice RefusalCode: 1 malformed; 2 wrong_chain; 3 not_allowed; 4 not_your_grant; 5 out_of_time; 6 revoked; \\
  7 quota_used; 8 not_found; 9 full; 10 price_too_low; 11 busy; 12 cannot_pay; 13 damaged; 14 stale; 15 internal; \\
  16 conflict; 17 not_paid; 18 bound
choice Status: 0 Applied; 1 WrongChain; 2 TooLarge; 3 BadSignature; 4 Expired; 5 TooFarAhead; 6 IdReused; \\
  10 BadField; 11 BadProof; 12 BadAcceptance; 13 BadLabel; \\
  20 UnknownNode; 21 UnknownDeal; 22 UnknownVault; 23 UnknownListing; 24 UnknownOrder; 25 UnknownHold; \\
  26 NotYours; 27 Exists; 28 RootMoved; \\
  30 ListingEnded; 31 TermsChanged; 32 OrderClosed; 33 DealClosed; 34 WrongEpoch; 35 AlreadyProven; 36 NodeFull; \\
  37 AcceptanceExpired; 38 TooEarly; 39 TooLate; \\
  40 FaucetClosed; 41 FaucetEmpty; 42 BalanceTooLow; 43 Overflow
""")

ADDRESSES_MAX, ADDRESS_BYTES_MAX = 16, 256


def _peer_address(reader):
    out = reader.plain("PeerAddress")
    if len(out["addresses"]) > ADDRESSES_MAX:
        raise No("TooMany")
    if any(len(text.encode()) > ADDRESS_BYTES_MAX for text in out["addresses"]):
        raise No("TooMany")
    return out


GUARDS["PeerAddress"] = _peer_address
