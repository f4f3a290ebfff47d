//! What the settings deny: never asked, walked around, and approached in small steps.

use crate::oid::{Oid, OidRef};

/// The entry and the table that a column lies in, and three arcs above: denials in there count as near.
const NEAR_ARCS: usize = 5;
/// Far behind all rows that agents number, and yet a number that those with signed arcs can read.
const FAR: u32 = i32::MAX as u32;

/// Whether a name is denied, or lies below what is.
pub(super) fn denies(deny: &[Oid], name: OidRef<'_>) -> bool {
    deny.iter().any(|deny| name.strip_prefix(deny.view()).is_some())
}

/// Whether a column leads through something denied from here on.
pub(super) fn ahead(deny: &[Oid], column: OidRef<'_>, from: OidRef<'_>) -> bool {
    let lies_within = |deny: &&Oid| deny.view().strip_prefix(column).is_some_and(|index| !index.is_empty());
    let is_ahead = |deny: &Oid| deny.view() > from || from.strip_prefix(deny.view()).is_some();
    deny.iter().filter(lies_within).any(is_ahead)
}

/// Whether something denied lies near behind a column: a request that reads past the column's end may reach into it, because nobody
/// knows what a device has in between, nor how many rows it has today.
pub(super) fn borders(deny: &[Oid], column: OidRef<'_>) -> bool {
    let near = column.len().saturating_sub(NEAR_ARCS);
    let lies_behind = |deny: OidRef<'_>| deny > column && deny.strip_prefix(column).is_none();
    let shared = |deny: OidRef<'_>| deny.arcs().zip(column.arcs()).take_while(|(a, b)| a == b).count();
    deny.iter().map(Oid::view).any(|deny| lies_behind(deny) && shared(deny) >= near)
}

/// Where to go on after a name that is denied: behind everything below the same denial; none for a name that is allowed.
///
/// First the far end of what lies below is tried, which passes nothing over; an agent that answers from below once more is asked from
/// the next name beside it on.
pub(super) fn behind(deny: &[Oid], name: OidRef<'_>) -> Option<Oid> {
    // Of denials within each other the outermost reaches farthest.
    let under = deny.iter().filter(|deny| name.strip_prefix(deny.view()).is_some());
    let under = under.min_by_key(|deny| deny.view().len())?;
    let far = under.child(&[FAR]).ok().filter(|far| far.view() > name);
    Some(far.or_else(|| beside(under)).unwrap_or_else(|| name.to_oid()))
}

/// The next name that is no longer below.
fn beside(oid: &Oid) -> Option<Oid> {
    let mut arcs: Vec<u32> = oid.view().arcs().collect();
    while arcs.last() == Some(&u32::MAX) {
        arcs.pop();
    }
    *arcs.last_mut()? += 1;
    Oid::from_arcs(&arcs).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oid(text: &str) -> Oid {
        text.parse().expect("a good OID")
    }

    #[test]
    fn the_way_around_leads_on() {
        let check = |deny: &[&str], name: &str, expected: Option<&str>| {
            let deny: Vec<Oid> = deny.iter().map(|text| oid(text)).collect();
            let got = behind(&deny, oid(name).view());
            assert_eq!(got, expected.map(oid), "{name}");
            assert!(got.is_none_or(|got| got > oid(name)) || expected == Some(name), "{name}");
            assert_eq!(expected.is_some(), denies(&deny, oid(name).view()));
        };
        check(&["1.3.6"], "1.3.6.1", Some("1.3.6.2147483647"));
        check(&["1.3.6"], "1.3.6", Some("1.3.6.2147483647"));
        check(&["1.3.6"], "1.3.6.2147483647.1", Some("1.3.7"));
        check(&["1.3.6"], "1.3.6.4294967295", Some("1.3.7"));
        check(&["1.3.6.4294967295"], "1.3.6.4294967295.4294967295", Some("1.3.7"));
        check(&["1.3.6.1", "1.3.6"], "1.3.6.1.5", Some("1.3.6.2147483647"));
        check(&["1.3.6"], "1.3.5", None);
        check(&["2.4294967295"], "2.4294967295.4294967295", Some("2.4294967295.4294967295"));
    }

    #[test]
    fn what_lies_behind_borders() {
        let check = |deny: &str, column: &str, expected: bool| {
            assert_eq!(borders(&[oid(deny)], oid(column).view()), expected, "{deny} {column}");
        };
        let address = "1.3.6.1.2.1.4.20.1.5";
        check("1.3.6.1.2.1.4.21", address, true);
        check("1.3.6.1.2.1.4.24.4", address, true);
        check("1.3.6.1.2.1.17.4.3", address, true);
        // The next column, and a row of it.
        check("1.3.6.1.2.1.4.20.1.6", address, true);
        check("1.3.6.1.2.1.4.20.1.6.3", address, true);
        // Before the column, within it, around it, the column itself, far behind it.
        check("1.3.6.1.2.1.4.20.1.4", address, false);
        check("1.3.6.1.2.1.4.20.1.5.3", address, false);
        check("1.3.6.1.2.1.4", address, false);
        check(address, address, false);
        check("1.3.6.1.4.1.9.9", address, false);
        check("1.3.6.1.4.1.9.9.48.2", "1.3.6.1.4.1.9.9.48.1.1.1.5", true);
        check("1.3.6.1.4.1.9.10", "1.3.6.1.4.1.9.9.48.1.1.1.5", false);
        check("1.3.6", "1.3.5", true);
        assert!(!borders(&[], oid(address).view()));
    }

    #[test]
    fn what_lies_behind_is_not_walked_around() {
        let check = |deny: &str, column: &str, from: &str, expected: bool| {
            assert_eq!(ahead(&[oid(deny)], oid(column).view(), oid(from).view()), expected, "{deny} {from}");
        };
        check("1.3.6.1.2", "1.3.6.1", "1.3.6.1", true);
        check("1.3.6.1.2", "1.3.6.1", "1.3.6.1.2.7", true);
        check("1.3.6.1.2", "1.3.6.1", "1.3.6.1.3", false);
        check("1.3.6.1", "1.3.6.1", "1.3.6.1", false);
        check("1.3.6.2", "1.3.6.1", "1.3.6.1", false);
    }
}
