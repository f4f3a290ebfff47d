//! Names of metrics with their type and help, each once in the process: a million series share a hundred.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use hashbrown::HashTable;
use model::MetricMetadata;

/// A metric's name and what is known of it.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) name: Box<str>,
    pub(crate) metadata: Option<Arc<MetricMetadata>>,
}

struct Known {
    table: HashTable<Arc<Named>>,
    hasher: RandomState,
    /// Looked through for names that nobody uses any more when there are so many.
    purge_at: usize,
}

/// Names below which nothing is looked through.
const PURGE_AT_MIN: usize = 1024;

static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(|| {
    let (table, hasher) = (HashTable::new(), RandomState::new());
    Mutex::new(Known { table, hasher, purge_at: PURGE_AT_MIN })
});

impl Named {
    /// The one of this name whose metadata `is` it; `make` makes that where there is none yet.
    pub(super) fn of(
        name: &str,
        is: impl Fn(Option<&Arc<MetricMetadata>>) -> bool,
        make: impl FnOnce() -> Option<Arc<MetricMetadata>>,
    ) -> Arc<Self> {
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let hash = known.hasher.hash_one(name);
        let same = |named: &Arc<Self>| *named.name == *name && is(named.metadata.as_ref());
        if let Some(named) = known.table.find(hash, same) {
            return named.clone();
        }
        let Known { table, hasher, purge_at } = &mut *known;
        if table.len() >= *purge_at {
            table.retain(|named| Arc::strong_count(named) > 1);
            *purge_at = (2 * table.len()).max(PURGE_AT_MIN);
            table.shrink_to(*purge_at, |named| hasher.hash_one(&*named.name));
        }
        let named = Arc::new(Self { name: name.into(), metadata: make() });
        table.insert_unique(hash, named.clone(), |named| hasher.hash_one(&*named.name));
        named
    }

    /// The one of this name and metadata.
    pub(super) fn with(name: &str, metadata: Option<&Arc<MetricMetadata>>) -> Arc<Self> {
        let same = |known: Option<&Arc<MetricMetadata>>| match (known, metadata) {
            (Some(known), Some(metadata)) => Arc::ptr_eq(known, metadata) || known == metadata,
            (known, metadata) => known.is_none() && metadata.is_none(),
        };
        Self::of(name, same, || metadata.cloned())
    }
}

#[cfg(test)]
mod tests {
    use model::MetricKind;

    use super::*;

    #[test]
    fn names_are_shared_and_given_back() {
        let metadata = |help: &str| {
            Some(Arc::new(MetricMetadata { kind: MetricKind::Gauge, help: help.into(), unit: String::new() }))
        };
        let first = Named::with("names_test", metadata("a").as_ref());
        assert!(Arc::ptr_eq(&first, &Named::with("names_test", metadata("a").as_ref())));
        assert!(!Arc::ptr_eq(&first, &Named::with("names_test", metadata("b").as_ref())));
        assert!(!Arc::ptr_eq(&first, &Named::with("names_test", None)));
        let gone = Arc::downgrade(&Named::with("names_test_gone", None));
        for number in 0..=2 * PURGE_AT_MIN {
            Named::with(&format!("names_test_{number}"), None);
        }
        assert!(gone.upgrade().is_none(), "what nobody uses is forgotten");
        assert!(Arc::ptr_eq(&first, &Named::with("names_test", metadata("a").as_ref())));
    }
}
