//! The setting `query.features`: parts of the language that Prometheus has behind feature flags, by its own names.
//!
//! In: names. Out: what the engine may read and do ([`promql::Features`]). Experimental functions are always on, as they change no other
//! query; start timestamps have no switch, because the store does not keep those of floats.

use promql::Features;
use serde::Deserialize;

/// A flag, as `--enable-feature` of Prometheus knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Feature {
    /// `limitk`, `info`, `mad_over_time`, ...: always on; may be named all the same.
    PromqlExperimentalFunctions,
    /// `[5m * 2]`.
    PromqlDurationExpr,
    /// `anchored` and `smoothed`.
    PromqlExtendedRangeSelectors,
    /// `fill`, `fill_left` and `fill_right`.
    PromqlBinopFillModifiers,
    /// Names are dropped at the end of a query.
    PromqlDelayedNameRemoval,
    /// `__type__` and `__unit__` go where the name goes.
    TypeAndUnitLabels,
}

/// See the module's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Vec<Feature>")]
pub struct Switches(Features);

impl From<Vec<Feature>> for Switches {
    fn from(wanted: Vec<Feature>) -> Self {
        let mut features = Features::default();
        for feature in wanted {
            match feature {
                Feature::PromqlExperimentalFunctions => features.functions = true,
                Feature::PromqlDurationExpr => features.durations = true,
                Feature::PromqlExtendedRangeSelectors => features.extended_ranges = true,
                Feature::PromqlBinopFillModifiers => features.fill = true,
                Feature::PromqlDelayedNameRemoval => features.delayed_name_removal = true,
                Feature::TypeAndUnitLabels => features.type_and_unit_labels = true,
            }
        }
        Self(features)
    }
}

impl Switches {
    /// For the engine.
    pub fn features(self) -> Features {
        self.0
    }

    /// Those that are on, in the order of their names, as Prometheus shows the flag.
    pub(super) fn names(self) -> String {
        let Features {
            functions,
            durations,
            extended_ranges,
            fill,
            type_and_unit_labels,
            start_timestamps: _,
            delayed_name_removal,
        } = self.0;
        let all = [
            (true, "exemplar-storage"),
            (fill, "promql-binop-fill-modifiers"),
            (delayed_name_removal, "promql-delayed-name-removal"),
            (durations, "promql-duration-expr"),
            (functions, "promql-experimental-functions"),
            (extended_ranges, "promql-extended-range-selectors"),
            (type_and_unit_labels, "type-and-unit-labels"),
        ];
        let on: Vec<&str> = all.into_iter().filter(|(is_on, _)| *is_on).map(|(_, name)| name).collect();
        on.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(names: &str, expected: &str) {
        let switches: Switches = serde_json::from_str(names).expect("names that are known");
        assert_eq!(switches.names(), expected, "{names}");
    }

    #[test]
    fn named_parts_are_on_and_shown() {
        check("[]", "exemplar-storage,promql-experimental-functions");
        check(
            r#"["promql-duration-expr", "promql-duration-expr", "promql-experimental-functions"]"#,
            "exemplar-storage,promql-duration-expr,promql-experimental-functions",
        );
        check(
            r#"["type-and-unit-labels", "promql-extended-range-selectors", "promql-delayed-name-removal",
                "promql-binop-fill-modifiers"]"#,
            "exemplar-storage,promql-binop-fill-modifiers,promql-delayed-name-removal,promql-experimental-functions,\
             promql-extended-range-selectors,type-and-unit-labels",
        );
        let error = serde_json::from_str::<Switches>(r#"["promql-anchored"]"#).expect_err("no such part");
        assert!(error.to_string().contains("promql-duration-expr"), "names what there is: {error}");
    }
}
