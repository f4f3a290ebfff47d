//! One device of the settings, found by its name: for an engineer who looks at it with what the agent itself would use.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use profiles::{Budget, Class, Profile, Set, TablePlan};
use settings::Mistake;
use snmp::engine;
use snmp::round::Table;

use super::budgets::Moment;
use super::device::wanted;
use super::{Address, Common, Config, Context, Group, Plan, Shared};
use crate::inputs::CollectError;

/// See the module's text.
#[derive(Debug)]
pub struct Known {
    plan: Plan,
    shared: Shared,
    /// Other devices of the same address.
    also: Vec<String>,
}

/// Why a table is not asked for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The pause that its budget sets.
    pub pause: Duration,
    /// How long ago it was asked for.
    pub ago: Duration,
}

impl Known {
    /// The device of this name or address, in the groups' own lists or their files; none if there is none.
    ///
    /// # Errors
    /// The first thing that is wrong with the settings, placed from the section `inputs` on.
    pub fn find(
        configs: &[Config],
        common: &Common,
        context: &Context,
        name: &str,
    ) -> Result<Option<Self>, Mistake> {
        let shared = Shared::with(common, context).map_err(|mistake| mistake.under("snmp_common"))?;
        let (mut by_name, mut by_address) = (None, None);
        let mut all: Vec<(String, Address)> = Vec::new();
        for (index, config) in configs.iter().enumerate() {
            let group = Group::new(config.clone(), index, context.clone(), shared.clone());
            let plans = group.and_then(|mut group| group.plans());
            let plans = match plans {
                Ok(plans) => plans,
                // What is wrong with others is no matter of this one.
                Err(_) if by_name.is_some() => continue,
                Err(mistake) => return Err(mistake.item(index).under("snmp")),
            };
            for plan in plans {
                all.push((plan.name.clone(), plan.address.clone()));
                if plan.name == name && by_name.is_none() {
                    by_name = Some(plan);
                } else if by_address.is_none() && plan.address.is_called(name) {
                    by_address = Some(plan);
                }
            }
        }
        let known = |plan: Plan| {
            let others =
                all.into_iter().filter(|(name, address)| *name != plan.name && *address == plan.address);
            Self { also: others.map(|(name, _)| name).collect(), plan, shared }
        };
        Ok(by_name.or(by_address).map(known))
    }

    /// Other names under which the settings have the same address.
    pub fn also(&self) -> &[String] {
        &self.also
    }

    /// Whom the engine asks, with all credentials in their order; looks the address up.
    ///
    /// # Errors
    /// A name without an address.
    pub async fn target(&self) -> Result<engine::Target, CollectError> {
        let address = self.address().await?;
        let credentials = self.plan.credentials.iter().map(|credential| credential.get().0).collect();
        Ok(self.plan.engine_target(address, credentials))
    }

    async fn address(&self) -> Result<SocketAddr, CollectError> {
        match &self.plan.address {
            Address::Socket(address) => Ok(*address),
            Address::Name(host, port) => super::device::look_up(host, *port, self.plan.manner.timeout).await,
        }
    }

    /// The profiles that it is read by.
    pub fn set(&self) -> &Set {
        self.plan.library.set()
    }

    /// The profile that the settings name for it.
    pub fn profile(&self) -> Option<Arc<Profile>> {
        self.plan.profile.as_ref().and_then(|name| self.set().get(name).cloned())
    }

    /// What the settings say, in one line.
    pub fn says(&self) -> String {
        let manner = &self.plan.manner;
        let span = |duration| settings::Span::new(duration).to_string();
        let mut text = format!(
            "every {}, timeout {} to {}, {} retries, {} at once",
            span(manner.interval),
            span(manner.timeout),
            span(manner.timeout_max),
            manner.retries,
            manner.rate.in_flight_max
        );
        let mut add = |more: String| text.push_str(&more);
        if let Some(rate) = manner.rate.requests_per_second {
            add(format!(", {rate} requests a second"));
        }
        add(format!(", replies up to {} bytes", manner.reply_bytes_max));
        if let Some(site) = &self.plan.site {
            add(format!(", site {}", site.name));
            add(format!(" ({} at once", site.rate.in_flight_max));
            if let Some(rate) = site.rate.requests_per_second {
                add(format!(", {rate} requests a second"));
            }
            if let Some(bits) = site.rate.bits_per_second {
                add(format!(", {bits} bits a second"));
            }
            add(")".to_owned());
        }
        text
    }

    /// A table as the agent asks for it.
    pub fn table(&self, table: &TablePlan) -> Table {
        wanted(table, &self.plan)
    }

    /// Whether the budget of a table, or of a group of scalars, forbids asking for it now.
    pub fn waits(&self, name: &str, class: Class, budget: &Budget) -> Option<Wait> {
        let pause = super::polls::floor(class, budget);
        if pause.is_zero() {
            return None;
        }
        let ago = self.shared.core.budgets.last_asked(&self.plan.name, name, Moment::of(Instant::now()))?;
        (ago < pause).then_some(Wait { pause, ago })
    }

    /// It is about to be asked for: the agent takes it into account.
    ///
    /// # Errors
    /// What the system says if that cannot be kept: then it must not be asked for.
    pub fn note(&self, name: &str, class: Class, budget: &Budget) -> std::io::Result<()> {
        let budgets = &self.shared.core.budgets;
        if super::polls::floor(class, budget).is_zero() || !budgets.has_place() {
            return Ok(());
        }
        budgets.note(&self.plan.name, name, Moment::of(Instant::now()))
    }

    /// Why nobody knows when tables with a budget were last asked for.
    pub fn blind(&self) -> Option<String> {
        self.shared.core.budgets.fault()
    }

    /// What its credentials are called in the settings, in the order in which they are tried.
    pub fn credentials(&self) -> &[String] {
        &self.plan.credential_names
    }
}

impl Address {
    /// Whether people mean it by this text.
    fn is_called(&self, text: &str) -> bool {
        text.parse::<Self>().is_ok_and(|address| address == *self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_names_of_an_address_are_known() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("c"), "public").expect("a good disk");
        let group = |targets: &str| -> Config {
            let text = format!("community: {{file: c}}\ntargets: [{targets}]");
            settings::parse(&text, "group").expect("good settings")
        };
        let groups = [
            group("{address: 10.0.0.1, name: a}, {address: 10.0.0.2, name: b}"),
            group("{address: 10.0.0.1, name: c}, {address: \"10.0.0.1:1161\", name: d}"),
        ];
        let context = Context {
            instance: "here".to_owned(),
            labels: model::Labels::empty(),
            base: folder.path().into(),
            state: None,
            series_max: 1000,
        };
        let check = |name: &str, expected: &[&str]| {
            let known = Known::find(&groups, &Common::default(), &context, name).expect("good settings");
            assert_eq!(known.expect("it is there").also(), expected, "{name}");
        };
        check("a", &["c"]);
        check("c", &["a"]);
        check("b", &[]);
        check("10.0.0.1", &["c"]);
    }
}
