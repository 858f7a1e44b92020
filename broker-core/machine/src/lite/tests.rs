use super::*;

const POLICY: Policy = Policy {
    subscriptions_max: 100,
    client_timeout: 180_000,
    full_after: 10_000,
    wildcard_full_after: 10_000,
};
const RULES: Rules = Rules {
    exclusive: false,
    reset_exclusive: false,
    reset_unsubscribed: false,
    wildcard: false,
    events_max: 10,
};

/// A world in which all queues have messages of which nothing is consumed, or none.
fn with_world<T>(now: Millis, end: u64, body: impl FnOnce(&Context<'_>) -> T) -> T {
    let queues =
        |parent: &str| vec![queue_of(parent, "a").unwrap().into(), queue_of(parent, "b").unwrap().into()];
    let world = World { end: &|_| end, committed: &|_, _| None, queues: &queues };
    body(&Context { now, policy: POLICY, world })
}

fn client(id: &str, rules: Rules) -> Client<'_> {
    Client { id, group: "g", topic: "t", rules }
}

fn queues(names: &[&str]) -> Vec<String> {
    names.iter().filter_map(|name| queue_of("t", name)).collect()
}

fn add(lite: &mut Lite, id: &str, rules: Rules, names: &[&str], end: u64) -> Vec<Effect> {
    let mut effects = Vec::new();
    with_world(0, end, |context| lite.add(context, client(id, rules), &queues(names), None, &mut effects))
        .unwrap();
    effects
}

fn events(lite: &mut Lite, now: Millis, id: &str) -> Vec<String> {
    std::iter::from_fn(|| lite.next_event(now, id))
        .map(|queue| parts_of(&queue).unwrap().1.to_owned())
        .collect()
}

fn wake(client: &str) -> Effect {
    Effect::Wake { client: client.into(), group: "g".into() }
}

#[test]
fn names_are_made_and_taken_apart() {
    assert_eq!(queue_of("t", "a").unwrap(), "%LMQ%$t$a");
    assert_eq!(parts_of("%LMQ%$t$a"), Some(("t", "a")));
    assert!(
        ["%LMQ%t", "%LMQ%$t", "%LMQ%$t$", "%LMQ%$$a", "%LMQ%$t$a$b"]
            .iter()
            .all(|name| parts_of(name).is_none())
    );
    assert_eq!((queue_of("", "a"), queue_of("t", "")), (None, None));
}

#[test]
fn a_message_is_one_event_of_one_client() {
    let mut lite = Lite::default();
    assert!(add(&mut lite, "c1", RULES, &["a", "b"], 0).is_empty());
    add(&mut lite, "c2", RULES, &["a"], 0);
    assert_eq!((lite.active(), lite.is_unused()), (3, false));
    let mut effects = Vec::new();
    for _ in 0..2 {
        lite.arrived(1, "%LMQ%$t$a", &POLICY, &mut effects);
        lite.arrived(1, "%LMQ%$t$none", &POLICY, &mut effects);
    }
    assert_eq!(effects.len(), 2);
    assert!(effects.contains(&wake("c1")) && effects.contains(&wake("c2")), "they take turns");
    assert_eq!(
        (events(&mut lite, 1, "c1"), events(&mut lite, 1, "c2")),
        (vec!["a".into()], vec!["a".into()])
    );
    // The same queue is one event, however often.
    for _ in 0..4 {
        lite.arrived(2, "%LMQ%$t$b", &POLICY, &mut effects);
    }
    assert_eq!(events(&mut lite, 2, "c1"), ["b"]);
    assert_eq!(lite.last_access("c1"), Some(2));
}

#[test]
fn who_subscribes_to_messages_has_them_at_once() {
    let mut lite = Lite::default();
    assert_eq!(add(&mut lite, "c", RULES, &["a"], 3), [wake("c")]);
    assert!(add(&mut lite, "c", RULES, &["a"], 3).is_empty(), "and once");
    let mut effects = Vec::new();
    let start = Some(Start::Back(2));
    with_world(0, 0, |context| lite.add(context, client("c", RULES), &queues(&["b"]), start, &mut effects))
        .unwrap();
    assert_eq!(
        effects,
        [Effect::Reset { group: "g".into(), queue: "%LMQ%$t$b".into(), start: Start::Back(2) }]
    );
}

#[test]
fn an_exclusive_group_has_one_client_for_each() {
    let mut lite = Lite::default();
    let rules = Rules { exclusive: true, reset_exclusive: true, ..RULES };
    add(&mut lite, "c1", rules, &["a"], 0);
    let effects = add(&mut lite, "c2", rules, &["a"], 0);
    let (group, queue): (Box<str>, Box<str>) = ("g".into(), "%LMQ%$t$a".into());
    assert_eq!(
        effects,
        [
            Effect::Unsubscribed { client: "c1".into(), group: group.clone(), queue: queue.clone() },
            Effect::Reset { group, queue, start: Start::First },
        ]
    );
    assert_eq!(lite.active(), 1);
    assert!(lite.queues_of_client("c1").is_none());
    assert_eq!(lite.queues_of_client("c2").unwrap().len(), 1);
}

#[test]
fn a_complete_subscription_replaces_what_was() {
    let mut lite = Lite::default();
    add(&mut lite, "c", RULES, &["a", "b"], 0);
    let mut effects = Vec::new();
    with_world(0, 0, |context| lite.replace(context, client("c", RULES), &queues(&["b", "d"]), &mut effects))
        .unwrap();
    assert_eq!(lite.queues_of_client("c").unwrap().collect::<Vec<_>>(), ["%LMQ%$t$b", "%LMQ%$t$d"]);
    let rules = Rules { reset_unsubscribed: true, ..RULES };
    lite.remove(0, client("c", rules), &queues(&["b", "z"]), &mut effects);
    assert_eq!(
        effects,
        [Effect::Reset { group: "g".into(), queue: "%LMQ%$t$b".into(), start: Start::First }]
    );
    lite.leave(0, "c", &POLICY, &mut effects);
    assert_eq!((lite.active(), lite.is_unused()), (0, true));
}

#[test]
fn events_that_nobody_fetches_go_to_others() {
    let mut lite = Lite::default();
    add(&mut lite, "c1", RULES, &["a"], 1);
    assert!(lite.has_events("c1"));
    add(&mut lite, "c2", RULES, &["a"], 0);
    let mut effects = Vec::new();
    with_world(10_000, 0, |context| lite.tick(context, &mut effects));
    assert!(effects.is_empty());
    with_world(10_001, 0, |context| lite.tick(context, &mut effects));
    assert_eq!(effects, [wake("c2")]);
    assert!(!lite.has_events("c1") && lite.has_events("c2"));
    // With nobody else they come back to the client that left them.
    effects.clear();
    lite.leave(10_002, "c2", &POLICY, &mut effects);
    assert_eq!(effects, [wake("c1")]);
    // A client that does not repeat itself is gone.
    with_world(180_001, 0, |context| lite.tick(context, &mut effects));
    assert!(lite.is_unused());
}

#[test]
fn what_does_not_fit_is_shown_later() {
    let mut lite = Lite::default();
    let names: Vec<String> = (0..30).map(|number| format!("q{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    add(&mut lite, "c", RULES, &names, 1);
    assert_eq!(events(&mut lite, 1, "c").len(), 10);
    let mut effects = Vec::new();
    with_world(9_999, 1, |context| lite.tick(context, &mut effects));
    assert!(events(&mut lite, 9_999, "c").is_empty());
    with_world(10_000, 1, |context| lite.tick(context, &mut effects));
    assert_eq!(events(&mut lite, 10_000, "c").len(), 10);
}

#[test]
fn a_group_may_want_all() {
    let mut lite = Lite::default();
    let rules = Rules { wildcard: true, ..RULES };
    let mut effects = Vec::new();
    with_world(0, 0, |context| {
        assert_eq!(
            lite.add(context, client("c", rules), &queues(&["a"]), None, &mut effects),
            Err(Refused::Wildcard)
        );
        lite.replace(context, client("c", rules), &[], &mut effects).unwrap();
    });
    assert!(effects.is_empty());
    with_world(5_000, 1, |context| lite.tick(context, &mut effects));
    assert_eq!(events(&mut lite, 5_000, "c"), ["a", "b"]);
    lite.arrived(5_000, "%LMQ%$t$x", &POLICY, &mut effects);
    lite.arrived(5_000, "%LMQ%$u$x", &POLICY, &mut effects);
    assert_eq!(events(&mut lite, 5_000, "c"), ["x"]);
    assert_eq!(lite.subscribers_of("%LMQ%$t$x"), BTreeSet::from([("g".into(), "*".into())]));
}

#[test]
fn there_is_a_bound() {
    let mut lite = Lite::default();
    let policy = Policy { subscriptions_max: 1, ..POLICY };
    let world = World { end: &|_| 0, committed: &|_, _| None, queues: &|_| Vec::new() };
    let context = Context { now: 0, policy, world };
    let mut effects = Vec::new();
    lite.add(&context, client("c", RULES), &queues(&["a"]), None, &mut effects).unwrap();
    let refused = lite.add(&context, client("d", RULES), &queues(&["a"]), None, &mut effects).unwrap_err();
    assert_eq!(refused.to_string(), "lite subscription quota exceeded 1");
    lite.forget_queue("%LMQ%$t$a");
    assert_eq!((lite.active(), lite.queues_of_client("c").unwrap().len()), (0, 0));
}
