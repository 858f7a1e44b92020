use super::*;

const QUEUES: Queues = Queues { read: 4, write: 4, permission: 6, system_flag: 0 };

fn broker(name: &str, id: u64) -> Registration {
    Registration {
        member: Member { cluster: "c".into(), name: name.into(), id, address: format!("{name}-{id}:10911") },
        ha_address: Some(format!("{name}-{id}:10912")),
        zone: None,
        silence_max: None,
        acting_master: Some(false),
        version: DataVersion { counter: 1, ..DataVersion::default() },
        topics: vec![("t".into(), QUEUES), ("u".into(), QUEUES)],
        filter_servers: Some(Vec::new()),
        mappings: Vec::new(),
        connection: Some(ConnectionId(id)),
    }
}

fn register(routes: &mut Routes, registration: Registration) -> Registered {
    routes.register(0, registration, &mut Vec::new()).unwrap()
}

fn names(routes: &Routes, topic: &str) -> Vec<String> {
    let route = routes.route(topic).unwrap_or_default();
    route.brokers.into_iter().map(|broker| broker.name).collect()
}

fn permission(routes: &Routes, topic: &str, broker: &str) -> i32 {
    let route = routes.route(topic).unwrap();
    route.queues.iter().find(|(name, _)| **name == *broker).unwrap().1.permission
}

#[test]
fn topics_lead_to_their_brokers_until_these_leave() {
    let mut routes = Routes::default();
    for (at, name) in ["b", "a"].into_iter().enumerate() {
        register(&mut routes, Registration { connection: Some(ConnectionId(at as u64)), ..broker(name, 0) });
    }
    assert_eq!(names(&routes, "t"), ["a", "b"]);
    let mut effects = Vec::new();
    routes.unregister(&[broker("a", 0).member], &mut effects);
    assert_eq!(names(&routes, "t"), ["b"]);
    routes.closed(ConnectionId(1), &mut effects);
    assert_eq!(names(&routes, "t"), ["b"], "the connection of one who had left already");
    routes.closed(ConnectionId(0), &mut effects);
    assert!(routes.route("t").is_none() && routes.topics().next().is_none());
    assert!(routes.brokers().next().is_none() && effects.is_empty());
}

#[test]
fn the_silent_are_forgotten_and_the_local_one_never() {
    let mut routes = Routes::default();
    register(
        &mut routes,
        Registration { connection: None, silence_max: Some(Millis::MAX), ..broker("here", 0) },
    );
    register(&mut routes, broker("a", 0));
    register(
        &mut routes,
        Registration { silence_max: Some(1000), connection: Some(ConnectionId(9)), ..broker("b", 0) },
    );
    let mut effects = Vec::new();
    routes.tick(1000, &mut effects);
    assert_eq!(names(&routes, "t"), ["a", "b", "here"]);
    routes.tick(1001, &mut effects);
    assert_eq!(names(&routes, "t"), ["a", "here"]);
    routes.heartbeat(50_000, "c", "a-0:10911");
    routes.tick(170_000, &mut effects);
    assert_eq!(names(&routes, "t"), ["a", "here"]);
    routes.tick(Millis::MAX, &mut effects);
    assert_eq!(names(&routes, "t"), ["here"]);
}

#[test]
fn a_change_alone_is_refused_before_all_was_told() {
    let mut routes = Routes::default();
    let one = Registration { topics: vec![("v".into(), QUEUES)], ..broker("a", 0) };
    assert_eq!(routes.register(0, one.clone(), &mut Vec::new()), Err(SingleTopicFirst));
    assert!(routes.brokers().next().is_none());
    register(&mut routes, broker("a", 0));
    register(&mut routes, one);
    assert_eq!(routes.topics().collect::<Vec<_>>(), ["t", "u", "v"]);
}

#[test]
fn wiped_permissions_stay_wiped_while_the_broker_says_nothing_new() {
    let mut routes = Routes::default();
    register(&mut routes, broker("a", 0));
    register(&mut routes, broker("b", 0));
    assert_eq!((routes.wipe_write("a"), routes.wipe_write("nobody")), (2, 0));
    register(&mut routes, broker("a", 0));
    assert_eq!((permission(&routes, "t", "a"), permission(&routes, "t", "b")), (4, 6));
    let change = DataVersion { counter: 2, ..DataVersion::default() };
    register(
        &mut routes,
        Registration { version: change, topics: vec![("u".into(), QUEUES)], ..broker("a", 0) },
    );
    assert_eq!((permission(&routes, "t", "a"), permission(&routes, "u", "a")), (4, 6));
    register(&mut routes, Registration { version: change, ..broker("a", 0) });
    assert_eq!(permission(&routes, "t", "a"), 4);
    assert_eq!(routes.add_write("a"), 2);
    assert_eq!(permission(&routes, "t", "a"), 6);
    assert_eq!(routes.version("c", "a-0:10911"), Some(change));
}

#[test]
fn a_replica_hears_of_its_master_and_may_act_for_it() {
    let mut routes = Routes::default();
    routes.set(RouteSettings {
        support_acting_master: true,
        notify_min_broker_id_changed: true,
        ..RouteSettings::default()
    });
    let acting = |id| Registration { acting_master: Some(true), ..broker("a", id) };
    let mut effects = Vec::new();
    register(&mut routes, acting(0));
    let told = register(&mut routes, acting(1));
    assert_eq!(told.master_address.as_deref(), Some("a-0:10911"));
    assert_eq!(told.ha_address.as_deref(), Some("a-0:10912"));
    routes.unregister(&[acting(0).member], &mut effects);
    let [Effect::NotifyMinBrokerId(notice)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((notice.id, notice.offline.as_deref()), (1, Some("a-0:10911")));
    assert_eq!(notice.to, ["a-1:10911"]);
    let route = routes.route("t").unwrap();
    assert_eq!(route.brokers[0].addresses, BTreeMap::from([(0, "a-1:10911".to_owned())]));
    assert_eq!(permission(&routes, "t", "a"), 4);
    effects.clear();
    routes.register(0, acting(0), &mut effects).unwrap();
    let [Effect::NotifyMinBrokerId(notice)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((notice.id, &notice.to[..]), (0, &["a-1:10911".to_owned()][..]));
    assert_eq!(permission(&routes, "t", "a"), 6);
}

#[test]
fn who_was_elected_later_keeps_the_id() {
    let mut routes = Routes::default();
    let at = |address: &str, state_version| {
        let mut registration = broker("a", 0);
        registration.member.address = address.into();
        registration.version.state_version = state_version;
        registration
    };
    register(&mut routes, at("new", 2));
    assert_eq!(register(&mut routes, at("old", 1)), Registered::default());
    assert_eq!(routes.broker("a").unwrap().addresses[&0], "new");
    register(&mut routes, at("newer", 3));
    assert_eq!(routes.broker("a").unwrap().addresses[&0], "newer");
}

#[test]
fn topics_are_told_and_forgotten_one_by_one() {
    let mut routes = Routes::default();
    register(&mut routes, broker("a", 0));
    let unit = Queues { system_flag: 3, ..QUEUES };
    routes.register_topic("n", &[("a".into(), unit), ("nobody".into(), unit)]);
    assert!(routes.route("n").is_none());
    routes.register_topic("n", &[("a".into(), unit)]);
    routes.register_topic("s", &[("a".into(), Queues { system_flag: 2, ..QUEUES })]);
    assert_eq!(routes.unit_topics().collect::<Vec<_>>(), ["n"]);
    assert_eq!(routes.unit_subscription_topics().collect::<Vec<_>>(), ["n", "s"]);
    assert_eq!(routes.unit_subscription_only_topics().collect::<Vec<_>>(), ["s"]);
    assert_eq!(routes.topics_of("c").count(), 4);
    assert_eq!(routes.topics_of("d").count(), 0);
    routes.delete_topic("n", Some("d"));
    assert!(routes.route("n").is_some());
    routes.delete_topic("n", Some("c"));
    routes.delete_topic("s", None);
    assert_eq!(routes.topics().collect::<Vec<_>>(), ["t", "u"]);
    let settings = RouteSettings { delete_topic_with_broker_registration: true, ..RouteSettings::default() };
    routes.set(settings);
    register(&mut routes, Registration { topics: vec![("u".into(), QUEUES)], ..broker("a", 0) });
    assert_eq!(routes.topics().collect::<Vec<_>>(), ["u"]);
}

#[test]
fn a_zone_keeps_its_own_and_the_masterless() {
    let mut routes = Routes::default();
    let filters = Some(vec!["f:1".to_owned()]);
    register(&mut routes, Registration { zone: Some("Z1".into()), ..broker("near", 0) });
    register(
        &mut routes,
        Registration { zone: Some("z2".into()), filter_servers: filters, ..broker("far", 0) },
    );
    register(&mut routes, Registration { acting_master: Some(true), ..broker("lost", 1) });
    let mut route = routes.route("t").unwrap();
    assert_eq!(route.filter_servers.len(), 1);
    route.keep_zone("z1");
    assert_eq!(route.brokers.iter().map(|broker| broker.name.as_str()).collect::<Vec<_>>(), ["lost", "near"]);
    assert_eq!(route.queues.len(), 2);
    assert!(route.filter_servers.is_empty());
}
