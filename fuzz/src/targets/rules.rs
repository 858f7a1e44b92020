//! Configuration files.

use halley_rules::{load, testing};

/// A configuration: either it loads and its tests run, or every error can be shown with its place in the text.
pub fn yaml_config(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match load(text) {
        Ok(config) => {
            let _ = testing::run(&config);
            let _ = config.server.exposed();
        }
        Err(problems) => {
            assert!(!problems.is_empty(), "a refusal says why");
            for problem in problems {
                assert!(!problem.render("halley.yaml", text).is_empty());
            }
        }
    }
}

/// The quick start, every section, and what must be refused.
pub fn yaml_config_seeds() -> Vec<Vec<u8>> {
    let bomb = "a: &a [x, x, x, x]\nb: &b [*a, *a, *a, *a]\nc: &c [*b, *b, *b, *b]\nd: [*c, *c, *c, *c]\n";
    [
        include_str!("../../../examples/quickstart/halley.yaml"),
        EVERYTHING,
        bomb,
        "apiVersion: halley/v1\nbusses: {}\nbuses: {orders: {queues: many}}\nbuses: {}\n",
        "rules:\n  - {name: a, from: {bus: nowhere}, when: [{sql92: \"a >\"}], to: nobody}\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

const EVERYTHING: &str = "\
apiVersion: halley/v1
server:
  data: data
  namesrv: {listen: '127.0.0.1:9876'}
  broker: {listen: '127.0.0.1:10911', name: broker-a, cluster: DefaultCluster}
  ingress: {listen: '127.0.0.1:8080'}
  admin: {listen: '[::1]:9090'}
  durability: os
buses: {orders: {topic: ORDERS, queues: 2}}
routes:
  - name: paid
    bus: orders
    when: [{any: [{exact: {type: a}}, {suffix: {source: b}}]}, {not: {all: [{prefix: {id: c}}]}}]
    publish: {topic: PAID, tag: '${subject}', keys: ['${id}', x]}
targets:
  billing:
    http: {url: 'https://billing.local/hook', mode: structured, timeout: PT5S, headers: {x-token: secret}}
    limits: {maxInflight: 8}
rules:
  - name: tagged
    from: {topic: PAID, filter: {tag: 'a || b'}}
    to: billing
    delivery:
      order: key:subject
      retry:
        maxAttempts: 3
        maxAge: 1h
        backoff: {type: linear, initial: 1s, max: 1m, jitter: none}
        retryOn: [404, 5xx]
        respectRetryAfter: 10m
      deadLetter: {topic: DEAD}
  - {name: big, from: {topic: PAID, filter: {sql92: 'amount > 100'}}, when: [{tag: a}], to: billing}
tests:
  - {name: t, bus: orders, event: {type: a, source: xb, data: {n: 1}}, expect: {noMatch: [big], routes: [paid]}}
";
