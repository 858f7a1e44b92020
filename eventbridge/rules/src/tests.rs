use super::*;
use proptest::prelude::*;

const GOOD: &str = r#"
apiVersion: halley/v1
server: {data: d, durability: os, ingress: {listen: "127.0.0.1:0"}, broker: {listen: "127.0.0.1:10911", name: b1}}
buses:
  orders: {queues: 4}
routes:
  - {name: paid, bus: orders, when: [{exact: {type: shop.paid}}], publish: {topic: PAID, tag: "${subject}", keys: ["${id}", "x-${source}"]}}
targets:
  billing:
    http: {url: "http://127.0.0.1:9/hook", mode: structured, timeout: 5s, headers: {X-Key: abc}}
    limits: {maxInflight: 8}
rules:
  - name: big
    from: {bus: orders}
    when:
      - prefix: {source: /shop/}
      - any: [{suffix: {type: .paid}}, {sql92: "amount > 100"}]
      - not: {exact: {region: us}}
    to: billing
    delivery:
      order: key:subject
      retry: {maxAttempts: 3, maxAge: PT1H, backoff: {type: linear, initial: 100ms, max: 1s, jitter: none}, retryOn: [404, 5xx], respectRetryAfter: 1m}
      deadLetter: {topic: LETTERS}
  - {name: tagged, from: {topic: PAID, filter: {tag: "a || b"}}, to: billing}
tests:
  - {name: paid goes, bus: orders, event: {type: shop.paid, source: /shop/1, subject: a, data: {x: 1}}, expect: {match: [big, tagged], routes: paid}}
  - {name: us stays, bus: orders, event: {type: shop.paid, source: /shop/1, region: us}, expect: {noMatch: [big, tagged]}}
"#;

fn errors(text: &str) -> Vec<String> {
    let problems = load(text).expect_err(text);
    problems.iter().map(|p| format!("{}:{} {}", p.at.line, p.at.column, p.message)).collect()
}

#[test]
fn a_configuration_is_read_whole() {
    let config = load(GOOD).unwrap_or_else(|problems| {
        panic!("{}", problems.iter().map(|p| p.render("good.yaml", GOOD)).collect::<String>())
    });
    assert_eq!(config.server.data.as_deref(), Some("d"));
    assert_eq!(config.server.broker_name, "b1");
    assert_eq!(config.server.admin.port(), 9090);
    let orders = config.bus("orders").unwrap();
    assert_eq!(
        (orders.topic.as_str(), orders.queues, orders.order_key.as_deref()),
        ("BUS_orders", 4, Some("subject"))
    );
    assert_eq!(orders.routes.len(), 1);
    assert_eq!(config.bus("default").unwrap().topic.as_str(), "BUS_default");
    let rule = &config.rules[0];
    assert_eq!(rule.topic.as_str(), "BUS_orders");
    assert_eq!(rule.retry.max_attempts, 3);
    assert_eq!(rule.retry.max_age.as_secs(), 3600);
    assert!(
        rule.retry.statuses.contains(404)
            && rule.retry.statuses.contains(503)
            && !rule.retry.statuses.contains(429)
    );
    let target = config.targets.iter().find(|target| target.name == rule.target);
    assert_eq!(target.unwrap().max_inflight, 8);
    let outcomes = testing::run(&config);
    assert!(outcomes.iter().all(|outcome| outcome.failures.is_empty()), "{outcomes:?}");
}

#[test]
fn a_wrong_expectation_fails_its_test() {
    let config = load(&GOOD.replace("region: us}, expect", "region: eu}, expect")).unwrap();
    let outcomes = testing::run(&config);
    assert_eq!(outcomes[1].failures, ["the rule `big` matched, but should not"]);
}

#[test]
fn all_errors_are_reported_with_their_places() {
    let text = "buses:\n  orders: {tpoic: X, queues: 0}\ntargets:\n  t: {http: {url: ftp://x, mode: binray}}\nrules:\n  - {name: r, from: {bus: order}, to: s, when: [{exat: {type: a}}]}\n";
    assert_eq!(
        errors(text),
        [
            "2:12 unknown key `tpoic`",
            "2:30 expected a whole number from 1 to 65536",
            "4:19 expected `http://HOST…` or `https://HOST…`",
            "4:34 expected one of `binary`, `structured`",
            "6:50 unknown dialect `exat`",
        ]
    );
    let problems = load(text).unwrap_err();
    assert_eq!(problems[0].help.as_deref(), Some("did you mean `topic`?"));
    assert_eq!(problems[4].help.as_deref(), Some("did you mean `exact`?"));
}

#[test]
fn references_must_lead_somewhere() {
    let text = "targets:\n  billing: {http: {url: \"http://h/\"}}\nrules:\n  - {name: r, from: {bus: defalt}, to: biling}\n  - {name: r, from: {bus: default}, to: billing}\n";
    assert_eq!(
        errors(text),
        [
            "4:27 there is no bus named `defalt`",
            "4:40 there is no target named `biling`",
            "5:5 there is already a rule named `r`, in line 4"
        ]
    );
    let order = "targets: {t: {http: {url: \"http://h/\"}}}\nrules:\n  - {name: a, from: {bus: default}, to: t, delivery: {order: key:subject}}\n  - {name: b, from: {bus: default}, to: t, delivery: {order: key:source}}\n";
    assert_eq!(
        errors(order),
        ["4:62 the bus `default` is already ordered by `subject`, it cannot be ordered by `source` too"]
    );
}

#[test]
fn expressions_are_placed_inside_their_text() {
    let text = "targets: {t: {http: {url: \"http://h/\"}}}\nrules:\n  - name: r\n    from: {bus: default}\n    to: t\n    when:\n      - sql92: \"a > 1 AND b = \"\n";
    assert_eq!(errors(text), ["7:31 SQL92: expected a value, a name or an opening parenthesis"]);
}

#[test]
fn what_is_not_plain_yaml_is_refused() {
    assert_eq!(
        errors("a: &x [1]\nb: *x\n"),
        ["1:4 anchors and aliases (`&name`, `*name`) are not used here"]
    );
    assert_eq!(errors("buses: {}\nbuses: {}\n"), ["2:1 the key `buses` comes twice, first in line 1"]);
    assert_eq!(errors("buses: !x {}\n"), ["1:8 tags (`!name`) are not used here"]);
    assert!(errors("a: [1\n")[0].contains("this is not YAML"));
    assert!(errors(&"[".repeat(100))[0].contains("nested deeper"));
    assert_eq!(errors("buses: [a]\n"), ["1:8 expected a map, found a list"]);
    assert_eq!(errors("apiVersion: halley/v2\n"), ["1:13 expected `halley/v1`, found `halley/v2`"]);
    assert!(load("").is_ok() && load("# nothing\n").is_ok());
}

#[test]
fn keys_that_come_twice_hide_no_other_error() {
    assert_eq!(
        errors("buses: {a: {queues: 0, queues: 1}, a: {}}\ntargtes: {}\n"),
        [
            "1:21 expected a whole number from 1 to 65536",
            "1:24 the key `queues` comes twice, first in line 1",
            "1:36 the key `a` comes twice, first in line 1",
            "2:1 unknown key `targtes`",
        ]
    );
}

#[test]
fn topics_are_not_mixed_up() {
    assert_eq!(
        errors("buses:\n  a: {topic: T}\n  b: {topic: T}\n  c: {topic: BUS_default}\n"),
        [
            "3:3 the buses `a` and `b` have the same topic T",
            "4:3 the buses `default` and `c` have the same topic BUS_default"
        ]
    );
    let own = "routes: [{name: r, bus: default, publish: {topic: BUS_default}}]\n";
    assert_eq!(errors(own), ["1:10 the topic BUS_default is the bus's own, which has every event already"]);
    let target = "targets: {t: {http: {url: \"http://h/\"}}}\n";
    let round = format!("{target}rules: [{{name: r, from: {{topic: \"%DLQ%t\"}}, to: t}}]\n");
    assert_eq!(errors(&round), ["2:9 the rule `r` reads %DLQ%t, where its own dead letters go"]);
    let round = format!(
        "{target}rules: [{{name: r, from: {{topic: T}}, to: t, delivery: {{deadLetter: {{topic: T}}}}}}]\n"
    );
    assert_eq!(errors(&round), ["2:9 the rule `r` reads T, where its own dead letters go"]);
}

#[test]
fn order_reaches_the_bus_through_topics_and_routes() {
    let text = |other: &str| {
        format!(
            "targets: {{t: {{http: {{url: \"http://h/\"}}}}}}
routes: [{{name: r, bus: default, publish: {{topic: PAID}}}}]
rules:
  - {{name: a, from: {{topic: PAID}}, to: t, delivery: {{order: key:subject}}}}
  - {{name: b, from: {{topic: BUS_default}}, to: t, delivery: {{order: {other}}}}}
  - {{name: c, from: {{topic: CLIENTS}}, to: t, delivery: {{order: key:source}}}}
"
        )
    };
    let config = load(&text("key:subject")).unwrap();
    assert_eq!(config.bus("default").unwrap().order_key.as_deref(), Some("subject"));
    assert_eq!(
        errors(&text("key:id")),
        ["5:68 the bus `default` is already ordered by `subject`, it cannot be ordered by `id` too"]
    );
}

#[test]
fn a_test_finds_its_bus() {
    let text =
        GOOD.replace("paid goes, bus: orders", "paid goes").replace("us stays, bus: orders", "us stays");
    let config = load(&text).unwrap();
    assert!(config.tests.iter().all(|case| case.bus == "orders"));
    assert!(testing::run(&config).iter().all(|outcome| outcome.failures.is_empty()));
}

#[test]
fn large_files_are_read_and_their_errors_bounded() {
    let buses: String = (0..20_000).map(|i| format!("  b{i}: {{queues: 1}}\n")).collect();
    assert_eq!(load(&format!("buses:\n{buses}")).unwrap().buses.len(), 20_001);
    let keys: String = (0..20_000).map(|i| format!("k{i}: 1\n")).collect();
    assert_eq!(errors(&keys).len(), ERRORS_MAX);
    let deep = errors(&format!("buses: {}", "[".repeat(200_000)));
    assert!(deep[0].contains("recursion limit") || deep[0].contains("nested deeper"), "{deep:?}");
    assert!(errors(&format!("x: {}", "- ".repeat(100_000))).len() <= ERRORS_MAX);
}

/// Rows of Knative's filter dialect tables, `pkg/eventfilter/subscriptionsapi`, in words of our own.
#[test]
fn dialects_mean_what_knative_means() {
    let text = |when: &str| {
        format!(
            "targets: {{t: {{http: {{url: \"http://h/\"}}}}}}
rules: [{{name: r, from: {{bus: default}}, to: t, when: [{when}]}}]
tests: [{{name: x, event: {{type: shop.paid, source: /shop/1, count: 5}}, expect: {{match: r}}}}]
"
        )
    };
    for (when, expected) in [
        ("{exact: {type: shop.paid}}", true),
        ("{exact: {type: shop.paid, source: /shop/1}}", true),
        ("{exact: {type: shop.paid, source: /shop/2}}", false),
        ("{exact: {absent: x}}", false),
        ("{not: {exact: {absent: x}}}", true),
        ("{prefix: {type: shop.paid}}", true),
        ("{prefix: {type: hop}}", false),
        ("{suffix: {type: .paid, source: \"1\"}}", true),
        ("{suffix: {absent: x}}", false),
        ("{all: [{prefix: {type: shop}}, {suffix: {type: lost}}]}", false),
        ("{any: [{prefix: {type: x}}, {suffix: {type: paid}}]}", true),
        ("{not: {any: [{exact: {type: a}}, {exact: {type: b}}]}}", true),
        ("{sql92: \"type = 'shop.paid' AND count > 4\"}", true),
        ("{sql92: \"ce_type = 'shop.paid'\"}", true),
        ("{sql92: \"count > 5\"}", false),
        ("{tag: a}", false),
        ("{tag: \"*\"}", true),
        ("{prefix: {type: shop}}, {prefix: {type: x}}", false),
    ] {
        let config = load(&text(when)).unwrap();
        assert_eq!(testing::run(&config)[0].failures.is_empty(), expected, "{when}");
    }
    for when in
        ["{exact: {}}", "{any: []}", "{exact: {Type: x}}", "{exact: {type: x}, prefix: {type: x}}", "{}", "x"]
    {
        assert!(!errors(&text(when)).is_empty(), "{when}");
    }
}

#[test]
fn an_open_broker_needs_an_address_to_tell() {
    let problems = errors("server: {broker: {listen: \"0.0.0.0:10911\"}}\n");
    assert!(problems[0].contains("must be told which one"), "{problems:?}");
    let open = load("server: {ingress: {listen: \"0.0.0.0:8080\"}}\n").unwrap();
    assert_eq!(open.server.exposed()[0].0, "server.ingress.listen");
}

#[test]
fn roles_are_chosen() {
    let server = |text: &str| load(text).unwrap_or_else(|problems| panic!("{text}: {problems:?}")).server;
    let all = server("");
    assert!(all.namesrv.is_some() && all.broker.is_some() && all.ingress.is_some());
    let names = server("server: {broker: false}\n");
    assert!(names.namesrv.is_some() && names.broker.is_none() && names.ingress.is_none());
    let broker = server("server: {ingress: false, broker: {id: 1, namesrv: [\"a:9876\", \"[::1]:9876\"]}}\n");
    assert!(broker.namesrv.is_none() && broker.ingress.is_none());
    assert_eq!(
        (broker.broker_id, &broker.register_at[..]),
        (1, &["a:9876".to_owned(), "[::1]:9876".to_owned()][..])
    );
    assert_eq!(names.tls, config::TlsSection::default());
    assert_eq!(names.retention, config::Retention::default());
    let kept = server(
        "server: {segment: 16MiB, retention: {age: 36h, size: 500GiB, disk: {clean: 60%, refuse: 95%}}}\n",
    );
    let retention = config::Retention {
        age_ms: Some(129_600_000),
        size: Some(500 << 30),
        clean: 60,
        forced: 85,
        refuse: 95,
    };
    assert_eq!((kept.segment_bytes, kept.retention), (16 << 20, retention));
    let all = server("server: {retention: {age: forever, size: any}}\n").retention;
    assert_eq!((all.age_ms, all.size), (None, None));
    assert_eq!((names.replay, names.scrub), (Some(128 << 20), Some(config::Scrub::default())));
    let reads = server("server: {replay: 1GiB, scrub: {rate: 1MiB, every: 1d}}\n");
    let scrub = config::Scrub { rate: 1 << 20, every_ms: 86_400_000 };
    assert_eq!((reads.replay, reads.scrub), (Some(1 << 30), Some(scrub)));
    let off = server("server: {replay: any, scrub: false}\n");
    assert_eq!((off.replay, off.scrub), (None, None));
    let buses =
        load("buses: {a: {retention: 36h, durability: os}, b: {retention: forever}, c: {}}\n").unwrap().buses;
    let kept = |name: &str| {
        let bus = buses.iter().find(|bus| bus.name == name).unwrap();
        (bus.retention_ms, bus.durability)
    };
    assert_eq!(kept("a"), (Some(129_600_000), Some(config::Durability::Os)));
    assert_eq!((kept("b"), kept("c")), ((Some(u64::MAX), None), (None, None)));
    let tls = server("server: {tls: {mode: enforcing, cert: c.pem, key: k.pem}}\n").tls;
    assert_eq!(tls.mode, config::TlsMode::Enforcing);
    assert_eq!(tls.files, Some(config::TlsFiles { cert: "c.pem".into(), key: "k.pem".into() }));
    let both = server("server: {namesrv: {listen: \"127.0.0.1:1\"}, broker: {namesrv: [\"a:9876\"]}}\n");
    assert_eq!(both.namesrv.unwrap().port(), 1);
    for (text, expected) in [
        (
            "server: {namesrv: false, broker: false}\n",
            "1:9 neither a name server nor a broker: nothing is left to run",
        ),
        (
            "server: {broker: false, ingress: {}}\n",
            "1:34 the ingress stores events in the broker of its process, and `broker` is false",
        ),
        ("server: {tls: {mode: enforced}}\n", "1:22 expected one of `disabled`, `permissive`, `enforcing`"),
        (
            "server: {retention: {age: 3}}\n",
            "1:27 expected a duration with its unit, such as `5s`, `500ms`, `1h30m` or `PT5S`",
        ),
        ("server: {retention: {size: 3}}\n", "1:28 `3` is not a size"),
        (
            "server: {retention: {size: 3MiB}}\n",
            "1:28 `3MiB` is not between 67108864 and 18446744073709551615 bytes",
        ),
        (
            "server: {retention: {disk: {clean: 75}}}\n",
            "1:36 `75` is not a part of the disk from `10%` to `100%`",
        ),
        (
            "server: {retention: {disk: {clean: 90%}}}\n",
            "1:28 `clean` (90%) is at most `forced` (85%), and that at most `refuse` (90%)",
        ),
        ("server: {tls: {cert: a.pem}}\n", "1:15 `cert` and `key` go together"),
        (
            "server: {broker: {namesrv: [a]}}\n",
            "1:29 `a` is not a host and port such as `names.example.org:9876`",
        ),
        (
            "server: {broker: {namesrv: [\"a:0\"]}}\n",
            "1:29 `a:0` is not a host and port such as `names.example.org:9876`",
        ),
        ("server: {broker: {id: -1}}\n", "1:23 expected a whole number from 0 to 2147483647"),
        ("server: {broker: true}\n", "1:18 expected a map, found a single value"),
    ] {
        assert_eq!(errors(text), [expected], "{text}");
    }
    let rules = GOOD.replace("broker: {", "broker: false, namesrv: {");
    assert!(
        errors(&rules).iter().any(|error| error.contains("rules read the broker")),
        "{:?}",
        errors(&rules)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_text_is_read_or_refused(text in "[a-z:{}\\[\\], \n\"&*!#>|-]{0,200}") {
        if let Err(problems) = load(&text) {
            for problem in problems {
                let _ = problem.render("x", &text);
            }
        }
    }
}

/// The same rule on a stored event and on a client's message.
#[test]
fn conditions_see_events_and_messages_alike() {
    use halley_event::EventView;
    use halley_model::{RecordView, record::Place};

    let stored = |properties: &[u8]| {
        let host = ([127, 0, 0, 1], 10911).into();
        let body = halley_model::RecordBody {
            topic: "T",
            queue: 3,
            flag: 0,
            system_flag: 0,
            born: 0,
            born_host: host,
            reconsume_times: 0,
            prepared_offset: 0,
            body: b"x",
            properties,
            dispatched: false,
        };
        let mut bytes = Vec::new();
        body.encode(&Place { queue_offset: 7, log_offset: 0, stored: 0, store_host: host }, &mut bytes);
        bytes
    };
    let event = stored(
        b"ce_specversion\x011.0\x02ce_id\x011\x02ce_source\x01/s\x02ce_type\x01a.b\x02ce_amount\x015\x02amount\x011\x02TAGS\x01red\x02",
    );
    let message = stored(b"UNIQ_KEY\x01U\x02TAGS\x01red\x02amount\x015\x02type\x01own\x02");
    for (when, of_event, of_message) in [
        ("{exact: {type: a.b}}", true, false),
        ("{exact: {type: org.apache.rocketmq.message, id: U, rocketmqtag: red}}", false, true),
        ("{exact: {source: /rocketmq/c/T, rocketmqqueueid: 3, rocketmqoffset: 7}}", false, true),
        ("{exact: {amount: 5}}", true, false),
        ("{sql92: \"amount > 4\"}", true, true),
        ("{sql92: \"type = 'own'\"}", false, true),
        ("{sql92: \"TAGS IN ('red')\"}", true, true),
        ("{tag: \"blue || red\"}", true, true),
        ("{not: {tag: red}}", false, false),
    ] {
        let config = load(&format!(
            "targets: {{t: {{http: {{url: \"http://h/\"}}}}}}\nrules: [{{name: r, from: {{topic: T}}, to: t, when: [{when}]}}]\n"
        ))
        .unwrap();
        let matches =
            |bytes: &[u8]| config.rules[0].matches(&EventView::new(RecordView::parse(bytes).unwrap(), "c"));
        assert_eq!((matches(&event), matches(&message)), (of_event, of_message), "{when}");
    }
}
