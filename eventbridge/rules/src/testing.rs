//! Running a configuration's own tests.

use crate::{Config, Facts, config::TestCase};
use serde::Serialize;
use std::borrow::Cow;

/// How a test went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// The test.
    pub name: String,
    /// What was other than expected; empty for a passed test.
    pub failures: Vec<String>,
}

/// Runs all tests of a configuration, in its order.
pub fn run(config: &Config) -> Vec<Outcome> {
    config
        .tests
        .iter()
        .map(|case| Outcome { name: case.name.clone(), failures: failures(config, case) })
        .collect()
}

fn failures(config: &Config, case: &TestCase) -> Vec<String> {
    let Some(bus) = config.bus(&case.bus) else { return vec![format!("there is no bus `{}`", case.bus)] };
    let event = TestEvent { case, tag: None };
    let matched_routes: Vec<_> = bus.routes.iter().filter(|route| route.matches(&event)).collect();
    // The copies of the event: in the bus's topic, and where its routes publish it.
    let mut copies = vec![(&bus.topic, event)];
    for route in &matched_routes {
        let tag = route.tag.as_ref().map(|tag| tag.fill(&TestEvent { case, tag: None }));
        copies.push((&route.topic, TestEvent { case, tag }));
    }
    let matches = |name: &str| {
        let rule = config.rules.iter().find(|rule| rule.name == name);
        rule.is_some_and(|rule| {
            copies.iter().any(|(topic, event)| **topic == rule.topic && rule.matches(event))
        })
    };
    let mut failures = Vec::new();
    for name in case.matches.iter().filter(|name| !matches(name)) {
        failures.push(format!("the rule `{name}` did not match, but should"));
    }
    for name in case.no_match.iter().filter(|name| matches(name)) {
        failures.push(format!("the rule `{name}` matched, but should not"));
    }
    if let Some(expected) = &case.routes {
        let found: Vec<_> = matched_routes.iter().map(|route| route.name.as_str()).collect();
        if !(found.len() == expected.len() && expected.iter().all(|name| found.contains(&name.as_str()))) {
            failures.push(format!(
                "the routes [{}] matched, expected [{}]",
                found.join(", "),
                expected.join(", ")
            ));
        }
    }
    failures
}

struct TestEvent<'a> {
    case: &'a TestCase,
    tag: Option<String>,
}

impl TestEvent<'_> {
    fn value(&self, name: &str) -> Option<&str> {
        self.case.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl Facts for TestEvent<'_> {
    fn attribute(&self, name: &str) -> Option<Cow<'_, str>> {
        self.value(name).map(Cow::Borrowed)
    }

    fn property(&self, name: &str) -> Option<&str> {
        match name {
            "TAGS" => self.tag(),
            name => self.value(name).or_else(|| self.value(name.strip_prefix("ce_")?)),
        }
    }

    fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }
}
