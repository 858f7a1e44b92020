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
    assert_eq!(config.target_of(rule).unwrap().max_inflight, 8);
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
fn an_open_broker_needs_an_address_to_tell() {
    let problems = errors("server: {broker: {listen: \"0.0.0.0:10911\"}}\n");
    assert!(problems[0].contains("must be told which one"), "{problems:?}");
    let open = load("server: {ingress: {listen: \"0.0.0.0:8080\"}}\n").unwrap();
    assert_eq!(open.server.exposed()[0].0, "server.ingress.listen");
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
