//! Links that are redeemed: the ledger says for whom.
//!
//! The audience of such a link is a one-time key. Everyone who sees the voucher has its secret, so its signature alone
//! says nothing. The first who redeems it is in a row of the ledger, and only a chain that goes on to that key counts.

use super::{Caveat, Grant, GrantError, VerifiedGrant};
use crate::{id::AccountId, ledger::rows::Redemption, time::LedgerTime};

impl Grant {
    /// The link that is redeemed, from 0, and when it ends. A verified chain has at most one.
    #[must_use]
    pub fn once(&self) -> Option<(usize, LedgerTime)> {
        self.all_once().next()
    }

    fn all_once(&self) -> impl Iterator<Item = (usize, LedgerTime)> + '_ {
        self.links.iter().enumerate().flat_map(|(place, link)| {
            link.caveats.iter().filter_map(move |caveat| match caveat {
                Caveat::Once { until_ms } => Some((place, *until_ms)),
                _ => None,
            })
        })
    }

    /// The account whose redemption the ledger has, if a link is redeemed.
    #[must_use]
    pub fn once_account(&self) -> Option<AccountId> {
        self.once().map(|(place, _)| self.links[place].audience.into())
    }

    /// One redemption for a chain: a node looks one row up for it.
    pub(super) fn check_once(&self) -> Result<(), GrantError> {
        match self.all_once().nth(1) {
            Some((link, _)) => Err(GrantError::OnceRepeated { link }),
            None => Ok(()),
        }
    }
}

impl VerifiedGrant {
    /// Whether the chain goes on to the key that its voucher was redeemed for.
    pub(super) fn check_redeemed(&self, row: Option<&Redemption>) -> Result<(), GrantError> {
        let grant = self.grant();
        let Some((place, until_ms)) = grant.once() else { return Ok(()) };
        let next = grant.links.get(place + 1).ok_or(GrantError::NotRedeemed)?;
        let once = grant.links[place].audience.into();
        let row = row.ok_or(GrantError::UnknownRedemption { once })?;
        if row.until_ms < until_ms {
            return Err(GrantError::RedemptionEnds);
        }
        if row.holder == next.audience { Ok(()) } else { Err(GrantError::RedeemedElsewhere) }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::{
        grant::{Access, Voucher, ability},
        id::{ChainId, ObjectId, PeerId},
        identity::Identity,
        wire::storage::{Fault, RefusalCode},
    };

    const CHAIN: ChainId = ChainId([3; 32]);
    const OBJECT: ObjectId = ObjectId([7; 16]);
    const ENDS: LedgerTime = LedgerTime(1_000);

    fn who(number: u8) -> Identity {
        Identity::from_seed(&[number; 64])
    }

    /// A voucher's grant, and those of its redeemer 2 and of 3 below.
    fn grants() -> [Grant; 3] {
        let (owner, once) = (who(1), Voucher::identity(&[9; 32]));
        let caveats = alloc::vec![
            Caveat::Object { object: OBJECT },
            Caveat::Abilities { set: ability::READ },
            Caveat::Once { until_ms: ENDS },
        ];
        let first = Grant::issue(&CHAIN, &owner.account_key(), once.peer(), caveats, &[1; 32]);
        let first = first.unwrap();
        let next = |from: &Grant, key: &Identity, to: u8| {
            let (key, to) = (key.access_key(), who(to).peer());
            from.delegate(&CHAIN, &key, to, Vec::new(), &[1; 32]).unwrap()
        };
        let second = next(&first, &once, 2);
        let third = next(&second, &who(2), 3);
        [first, second, third]
    }

    fn ask(grant: &Grant, row: Option<Redemption>, now_ms: u64) -> Result<(), GrantError> {
        let verified = grant.verify(&CHAIN).unwrap();
        let access = Access {
            owner: verified.root(),
            object: OBJECT,
            peer: verified.holder(),
            ability: ability::READ,
            cells: None,
            now_ms: LedgerTime(now_ms),
            paid: None,
            redeemed: row,
        };
        verified.authorize(&access).map(|allowed| assert_eq!(allowed.ends_ms, Some(ENDS)))
    }

    #[test]
    fn only_the_redeemer_and_those_below_hold_it() {
        let [first, second, third] = grants();
        let row = |to: u8, until_ms| Some(Redemption { holder: who(to).peer(), until_ms });
        let good = row(2, ENDS);
        assert_eq!(ask(&first, good, 5), Err(GrantError::NotRedeemed), "the one-time key itself");
        for grant in [&second, &third] {
            assert_eq!(ask(grant, good, 999), Ok(()));
            assert_eq!(
                ask(grant, row(2, LedgerTime::NEVER), 999),
                Ok(()),
                "for two vouchers at once"
            );
            assert_eq!(ask(grant, good, 1_000), Err(GrantError::Expired { time_ms: ENDS }));
            let once = Voucher::identity(&[9; 32]).peer().into();
            assert_eq!(ask(grant, None, 5), Err(GrantError::UnknownRedemption { once }));
            let early = row(2, LedgerTime(999));
            assert_eq!(ask(grant, early, 5), Err(GrantError::RedemptionEnds));
            for other in [1, 3, 4] {
                assert_eq!(ask(grant, row(other, ENDS), 5), Err(GrantError::RedeemedElsewhere));
            }
        }
        let faults = [
            (GrantError::NotRedeemed, RefusalCode::NotRedeemed, Fault::Transient),
            (GrantError::RedemptionEnds, RefusalCode::NotRedeemed, Fault::Transient),
            (GrantError::RedeemedElsewhere, RefusalCode::RedeemedElsewhere, Fault::Yours),
        ];
        for (error, code, fault) in faults {
            assert_eq!((error.code(), code.fault()), (code, fault));
        }
    }

    #[test]
    fn one_link_of_a_chain_is_redeemed() {
        let [_, second, _] = grants();
        let again = || alloc::vec![Caveat::Once { until_ms: ENDS }];
        let longer =
            second.delegate(&CHAIN, &who(2).access_key(), PeerId([4; 32]), again(), &[1; 32]);
        assert_eq!(longer, Err(GrantError::OnceRepeated { link: 2 }));
        let twice = [again(), again()].concat();
        let first = Grant::issue(&CHAIN, &who(1).account_key(), who(2).peer(), twice, &[1; 32]);
        assert_eq!(first, Err(GrantError::OnceRepeated { link: 0 }));
    }

    /// Everyone who saw the voucher could otherwise end what its redeemer has.
    #[test]
    fn the_one_time_key_revokes_nothing() {
        let [_, _, third] = grants();
        let verified = third.verify(&CHAIN).unwrap();
        let ids = verified.link_ids();
        let (owner, holder) = (who(1).account(), AccountId::from(who(2).peer()));
        let all: Vec<_> = verified.revocations().collect();
        let above = [(ids[0], owner), (ids[1], owner), (ids[2], owner), (ids[2], holder)];
        assert_eq!(all, above);
    }
}
