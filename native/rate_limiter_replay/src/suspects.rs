//! Ids that look as if they were not those of clients.

use crate::address;
use crate::key;

/// How many ids look wrong, and the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suspects {
    /// Those without a valid address, if ids are addresses.
    pub not_addresses: u64,
    /// Those with a list of addresses in a field that is not the client's address.
    pub lists: u64,
    /// Those with an address and a port in such a field.
    pub ports: u64,
    /// The text of the first one.
    pub first: Option<Vec<u8>>,
}

impl Suspects {
    /// `ip_part` is the position of the client's address among the parts of each id.
    pub(crate) fn new<'a>(ids: impl Iterator<Item = &'a [u8]>, ip_part: Option<usize>) -> Self {
        let mut suspects = Self::default();
        for id in ids {
            for (at, part) in key::parts(id).into_iter().enumerate() {
                let Some(part) = part else { continue };
                let is_ip = Some(at) == ip_part;
                let count = if is_ip && !address::is_address(part) {
                    &mut suspects.not_addresses
                } else if !is_ip && address::is_list(part) {
                    &mut suspects.lists
                } else if !is_ip && address::has_port(part) {
                    &mut suspects.ports
                } else {
                    continue;
                };
                *count += 1;
                suspects.first.get_or_insert_with(|| part.to_vec());
            }
        }
        suspects
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Ids;

    #[test]
    fn ids_are_counted_by_what_is_wrong_with_them() {
        let mut ids = Ids::default();
        for text in [
            "10.0.0.1",
            "localhost:80",
            "10.0.0.1:5678",
            "10.0.0.1, 10.0.0.2",
        ] {
            let key = [
                &u32::try_from(text.len()).unwrap().to_le_bytes(),
                text.as_bytes(),
            ]
            .concat();
            ids.number(&key);
        }
        let suspects = |ip_part| Suspects::new((0..4).map(|id| ids.key(id)), ip_part);
        assert_eq!(suspects(Some(0)).not_addresses, 3);
        let other = suspects(None);
        assert_eq!((other.lists, other.ports), (1, 1));
        assert_eq!(other.first.as_deref(), Some(b"10.0.0.1:5678".as_slice()));
    }
}
