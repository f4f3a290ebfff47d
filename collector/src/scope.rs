//! What a reader may see, and the wrapper around a source that shows nothing else.
//!
//! In: a source of series and a [`Scope`]. Out: a source whose every selection also demands the scope's regions and sites.
//! Handlers can obtain no other source (see `auth.rs`). What reads no series asks [`Scope::allows`], or answers 403.

use std::fmt::Write as _;
use std::sync::Arc;

use model::{
    Labels, MatchOp, Matcher, MatcherError, RegionCode, Selection, SeriesSet, SeriesSource, SourceError,
    Timestamp,
};

/// The most regions and the most sites of one scope.
pub const ENTRIES_MAX: usize = 256;

/// Which regions and sites a reader may see. An empty list sets no bound of its kind; a region includes what lies in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    regions: Vec<RegionCode>,
    sites: Vec<String>,
}

impl Scope {
    /// Everything.
    pub const fn everything() -> Self {
        Self { regions: Vec::new(), sites: Vec::new() }
    }

    /// Only these regions (with what lies in them) and, of them, only these sites; an empty list sets no bound.
    pub fn new(mut regions: Vec<RegionCode>, mut sites: Vec<String>) -> Self {
        regions.sort_unstable();
        regions.dedup();
        sites.sort_unstable();
        sites.dedup();
        Self { regions, sites }
    }

    /// Whether the scope shows everything.
    pub fn is_everything(&self) -> bool {
        self.regions.is_empty() && self.sites.is_empty()
    }

    /// Whether something of this region and site may be seen. What bears no region or site is seen only by those whom no list
    /// bounds.
    pub fn allows(&self, region: Option<&RegionCode>, site: Option<&str>) -> bool {
        let region_fits = self.regions.is_empty()
            || region.is_some_and(|region| self.regions.iter().any(|wide| region.is_within(wide)));
        let site_fits =
            self.sites.is_empty() || site.is_some_and(|site| self.sites.iter().any(|have| have == site));
        region_fits && site_fits
    }

    /// A text that two scopes share only if they are equal: the key of caches.
    pub fn key(&self) -> String {
        let mut key = String::new();
        for region in &self.regions {
            write!(key, "r{region};").expect("a String takes everything");
        }
        for site in &self.sites {
            write!(key, "s{}:{site};", site.len()).expect("a String takes everything");
        }
        key
    }

    /// The scope as conditions on labels.
    pub(crate) fn matchers(&self) -> Result<Vec<Matcher>, MatcherError> {
        let mut matchers = Vec::new();
        if !self.regions.is_empty() {
            // A region code holds digits and dots only.
            let codes: Vec<String> =
                self.regions.iter().map(|code| code.as_str().replace('.', "\\.")).collect();
            let pattern = format!("({})(\\..+)?", codes.join("|"));
            matchers.push(Matcher::new("region", MatchOp::Regex, &pattern)?);
        }
        if !self.sites.is_empty() {
            let sites: Vec<String> = self.sites.iter().map(|site| quoted(site)).collect();
            matchers.push(Matcher::new("site", MatchOp::Regex, &sites.join("|"))?);
        }
        Ok(matchers)
    }

    /// The source as this scope shows it.
    pub fn wrap(&self, inner: Arc<dyn SeriesSource>) -> Result<Arc<dyn SeriesSource>, MatcherError> {
        if self.is_everything() {
            return Ok(inner);
        }
        Ok(Arc::new(Scoped { inner, matchers: self.matchers()? }))
    }
}

/// A text as a pattern that matches just it.
fn quoted(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 4);
    for symbol in text.chars() {
        if r"\.+*?()|[]{}^$#&-~".contains(symbol) {
            pattern.push('\\');
        }
        pattern.push(symbol);
    }
    pattern
}

/// See the module's text.
struct Scoped {
    inner: Arc<dyn SeriesSource>,
    matchers: Vec<Matcher>,
}

impl Scoped {
    fn narrowed(&self, matchers: &[Matcher]) -> Vec<Matcher> {
        matchers.iter().chain(&self.matchers).cloned().collect()
    }

    /// Runs `ask` with every selection narrowed; no selection means every series, which becomes one narrowed selection.
    fn with<T>(&self, selections: &[Selection<'_>], ask: impl FnOnce(&[Selection<'_>]) -> T) -> T {
        let every = [Selection { matchers: &[], start: Timestamp::MIN, end: Timestamp::MAX }];
        let selections = if selections.is_empty() { &every } else { selections };
        let matchers: Vec<Vec<Matcher>> =
            selections.iter().map(|wide| self.narrowed(wide.matchers)).collect();
        let narrow: Vec<Selection<'_>> = selections
            .iter()
            .zip(&matchers)
            .map(|(wide, matchers)| Selection { matchers, start: wide.start, end: wide.end })
            .collect();
        ask(&narrow)
    }
}

impl SeriesSource for Scoped {
    fn select<'a>(
        &'a self,
        selection: &Selection<'_>,
    ) -> Result<Box<dyn SeriesSet + Send + 'a>, SourceError> {
        let matchers = self.narrowed(selection.matchers);
        self.inner.select(&Selection { matchers: &matchers, start: selection.start, end: selection.end })
    }

    fn select_parts<'a>(
        &'a self,
        selection: &Selection<'_>,
        series: usize,
    ) -> Result<Vec<Box<dyn SeriesSet + Send + 'a>>, SourceError> {
        let matchers = self.narrowed(selection.matchers);
        let narrow = Selection { matchers: &matchers, start: selection.start, end: selection.end };
        self.inner.select_parts(&narrow, series)
    }

    fn label_names(&self, selections: &[Selection<'_>], limit: usize) -> Result<Vec<String>, SourceError> {
        self.with(selections, |narrow| self.inner.label_names(narrow, limit))
    }

    fn label_values(
        &self,
        name: &str,
        selections: &[Selection<'_>],
        limit: usize,
    ) -> Result<Vec<String>, SourceError> {
        self.with(selections, |narrow| self.inner.label_values(name, narrow, limit))
    }

    fn series(&self, selections: &[Selection<'_>], limit: usize) -> Result<Vec<Labels>, SourceError> {
        self.with(selections, |narrow| self.inner.series(narrow, limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(regions: &[&str], sites: &[&str]) -> Scope {
        let regions = regions.iter().map(|code| code.parse().expect("a code")).collect();
        Scope::new(regions, sites.iter().map(|site| (*site).to_owned()).collect())
    }

    fn check(scope: &Scope, region: &str, site: &str, seen: bool) {
        let matchers = scope.matchers().expect("patterns from codes and quoted texts");
        let by_matchers = matchers
            .iter()
            .all(|matcher| matcher.matches(if matcher.name() == "region" { region } else { site }));
        assert_eq!(by_matchers, seen, "matchers of {scope:?} on {region} {site}");
        let region: Option<RegionCode> = region.parse().ok();
        let site = Some(site).filter(|site| !site.is_empty());
        assert_eq!(scope.allows(region.as_ref(), site), seen, "{scope:?} on {region:?} {site:?}");
    }

    #[test]
    fn a_region_shows_what_lies_in_it_and_nothing_beside_it() {
        let kudus = scope(&["33.19"], &[]);
        check(&kudus, "33.19", "kudus-1", true);
        check(&kudus, "33.19.01", "", true);
        check(&kudus, "33.1", "kudus-1", false);
        check(&kudus, "33", "kudus-1", false);
        check(&kudus, "", "kudus-1", false);
        check(&scope(&["33"], &[]), "33.19", "", true);
    }

    #[test]
    fn sites_are_texts_and_not_patterns() {
        let site = scope(&[], &["a.c", "dc|drc"]);
        check(&site, "33", "a.c", true);
        check(&site, "33", "abc", false);
        check(&site, "33", "dc", false);
        check(&site, "33", "dc|drc", true);
        check(&site, "33", "", false);
    }

    #[test]
    fn both_lists_must_be_satisfied_and_no_list_shows_everything() {
        let both = scope(&["33.19", "33.10"], &["kudus-1"]);
        check(&both, "33.19", "kudus-1", true);
        check(&both, "33.19", "kudus-2", false);
        check(&both, "33.20", "kudus-1", false);
        check(&Scope::everything(), "", "", true);
    }

    #[test]
    fn keys_tell_scopes_apart() {
        assert_ne!(scope(&[], &["a;s1:b"]).key(), scope(&[], &["a", "b"]).key());
        assert_eq!(scope(&["33", "34"], &[]).key(), scope(&["34", "33", "33"], &[]).key());
    }

    /// Remembers what it was asked for, and holds nothing.
    #[derive(Default)]
    struct Asked(std::sync::Mutex<Vec<String>>);

    impl Asked {
        fn note<T>(&self, selection: &Selection<'_>, nothing: T) -> Result<T, SourceError> {
            let matchers: Vec<String> = selection.matchers.iter().map(ToString::to_string).collect();
            self.0.lock().expect("nothing panics").push(matchers.join(" "));
            Ok(nothing)
        }

        fn note_all<T>(&self, selections: &[Selection<'_>], nothing: T) -> Result<T, SourceError> {
            // Nothing to choose by would be everything.
            assert!(!selections.is_empty());
            selections.iter().try_for_each(|selection| self.note(selection, ()))?;
            Ok(nothing)
        }
    }

    struct Nothing;

    impl SeriesSet for Nothing {
        fn advance(&mut self) -> Result<bool, SourceError> {
            Ok(false)
        }

        fn labels(&self) -> &Labels {
            unreachable!("there is no series")
        }

        fn read(&mut self, _: &mut model::Columns) -> Result<(), SourceError> {
            unreachable!("there is no series")
        }
    }

    impl SeriesSource for Asked {
        fn select<'a>(
            &'a self,
            selection: &Selection<'_>,
        ) -> Result<Box<dyn SeriesSet + Send + 'a>, SourceError> {
            self.note(selection, Box::new(Nothing))
        }

        fn select_parts<'a>(
            &'a self,
            selection: &Selection<'_>,
            _: usize,
        ) -> Result<Vec<Box<dyn SeriesSet + Send + 'a>>, SourceError> {
            self.note(selection, Vec::new())
        }

        fn label_names(&self, selections: &[Selection<'_>], _: usize) -> Result<Vec<String>, SourceError> {
            self.note_all(selections, Vec::new())
        }

        fn label_values(
            &self,
            _: &str,
            selections: &[Selection<'_>],
            _: usize,
        ) -> Result<Vec<String>, SourceError> {
            self.note_all(selections, Vec::new())
        }

        fn series(&self, selections: &[Selection<'_>], _: usize) -> Result<Vec<Labels>, SourceError> {
            self.note_all(selections, Vec::new())
        }
    }

    #[test]
    fn whatever_is_asked_of_a_scoped_source_is_narrowed() {
        let asked = Arc::new(Asked::default());
        let inner = Arc::clone(&asked) as Arc<dyn SeriesSource>;
        let source = scope(&["33.19"], &["kudus-1"]).wrap(inner).expect("good patterns");
        let wide = Selection { matchers: &[], start: Timestamp::MIN, end: Timestamp::MAX };
        drop(source.select(&wide).expect("nothing fails"));
        drop(source.select_parts(&wide, 1).expect("nothing fails"));
        source.label_names(&[], 0).expect("nothing fails");
        source.label_values("job", &[], 0).expect("nothing fails");
        source.series(&[], 0).expect("nothing fails");
        let several = [wide, wide, wide];
        source.label_names(&several, 0).expect("nothing fails");
        source.label_values("job", &several, 0).expect("nothing fails");
        source.series(&several, 0).expect("nothing fails");
        let all = asked.0.lock().expect("nothing panics");
        assert_eq!(all.len(), 2 + 3 + 3 * several.len());
        for matchers in &*all {
            assert!(matchers.contains("region=~") && matchers.contains("site=~"), "{matchers}");
        }
    }
}
