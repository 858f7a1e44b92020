use super::*;
use halley_model::record::Place;

const NOW: Millis = 1_700_000_000_000;

fn raw(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in pairs {
        assert!(property::push(&mut out, key, value));
    }
    out
}

fn due(pairs: &[(&str, &str)]) -> Result<Due, Illegal> {
    Due::of(&raw(pairs), NOW)
}

fn record(properties: &[u8]) -> Vec<u8> {
    let host = "127.0.0.1:10911".parse().unwrap();
    let body = RecordBody {
        topic: TIMER_TOPIC,
        queue: 0,
        flag: 0,
        system_flag: 0,
        born: NOW,
        born_host: host,
        reconsume_times: 0,
        prepared_offset: 0,
        body: b"x",
        properties,
        dispatched: false,
    };
    let mut out = Vec::new();
    body.encode(&Place { queue_offset: 0, log_offset: 0, stored: NOW, store_host: host }, &mut out);
    out
}

#[test]
fn what_producers_ask_for() {
    assert_eq!(due(&[("TAGS", "a")]), Ok(Due::Now));
    assert_eq!(due(&[("DELAY", "3"), ("TIMER_DELAY_SEC", "9")]), Ok(Due::Level(3)));
    assert_eq!(due(&[("DELAY", "99")]), Ok(Due::Level(18)));
    assert_eq!(due(&[("DELAY", "0"), ("TIMER_DELAY_SEC", "9")]), Ok(Due::At(NOW + 9_000)));
    assert_eq!(due(&[("TIMER_DELAY_MS", "15")]), Ok(Due::At(NOW + 15)));
    let later = (NOW + 1).to_string();
    assert_eq!(due(&[("TIMER_DELIVER_MS", &later)]), Ok(Due::At(NOW + 1)));
    assert_eq!(due(&[("TIMER_DELIVER_MS", &NOW.to_string())]), Ok(Due::Now));
    assert_eq!(due(&[("TIMER_DELIVER_MS", &later), ("TIMER_OUT_MS", &later)]), Ok(Due::Now));
    assert_eq!(due(&[("TIMER_DELIVER_MS", "soon")]), Err(Illegal));
    assert_eq!(due(&[("TIMER_DELAY_MS", &(DELAY_MS_MAX + 1).to_string())]), Err(Illegal));
    assert_eq!(due(&[("TIMER_DELAY_SEC", &i64::MAX.to_string())]), Err(Illegal));
    assert_eq!(due(&[("TIMER_DELIVER_MS", "5"), ("TIMER_DEL_UNIQKEY", "k")]), Err(Illegal));
}

#[test]
fn a_level_waits_and_comes_back() {
    let asked = raw(&[("TAGS", "a"), ("DELAY", "2"), ("REAL_TOPIC", "forged"), ("TIMER_DELAY_MS", "1")]);
    let mut stored = Vec::new();
    Due::Level(2).detour(&asked, "orders", 3, NOW, &mut stored);
    let bytes = record(&stored);
    let waiting = Waiting::of(RecordView::parse(&bytes).unwrap());
    assert_eq!((waiting.at, waiting.recalls), (NOW + 5_000, None));
    assert_eq!(waiting.destination(), Some(("orders", 3)));
    let mut delivered = Vec::new();
    waiting.delivered(NOW + 5_000, false, &mut delivered);
    assert_eq!(delivered, raw(&[("TAGS", "a"), ("REAL_TOPIC", "orders"), ("REAL_QID", "3")]));
}

#[test]
fn a_timer_waits_and_comes_back() {
    let asked = raw(&[("UNIQ_KEY", "K1"), ("TIMER_DELAY_MS", "40"), ("TIMER_OUT_MS", "1")]);
    let mut stored = Vec::new();
    Due::At(NOW + 40).detour(&asked, "orders", 0, NOW, &mut stored);
    let bytes = record(&stored);
    let waiting = Waiting::of(RecordView::parse(&bytes).unwrap());
    assert_eq!(waiting.at, NOW + 40);
    assert!(waiting.is_recalled_by("orders_K1") && waiting.is_recalled_by("K1"));
    assert!(!waiting.is_recalled_by("other_K1") && !waiting.is_recalled_by("orders_"));
    let mut delivered = Vec::new();
    waiting.delivered(NOW + 41, false, &mut delivered);
    let (out, enqueued, dequeued) = ((NOW + 40).to_string(), NOW.to_string(), (NOW + 41).to_string());
    let expected = [
        ("UNIQ_KEY", "K1"),
        ("TIMER_DELAY_MS", "40"),
        ("TIMER_OUT_MS", &out),
        ("TIMER_ENQUEUE_MS", &enqueued),
        ("REAL_TOPIC", "orders"),
        ("REAL_QID", "0"),
        ("TIMER_DEQUEUE_MS", &dequeued),
    ];
    assert_eq!(delivered, raw(&expected));
    delivered.clear();
    waiting.delivered(NOW + 41, true, &mut delivered);
    let dispatched = [expected[0], expected[1], expected[2], expected[3], ("WAIT", "false"), expected[6]];
    assert_eq!(delivered, raw(&dispatched));
}

#[test]
fn what_is_recalled_is_done_and_not_delivered() {
    let waiting = |key: &str, recalls: Option<&str>| {
        let mut stored = Vec::new();
        let mut asked = raw(&[("UNIQ_KEY", key), ("TIMER_DELAY_MS", "40")]);
        if let Some(recalls) = recalls {
            property::push(&mut asked, property::TIMER_DELETE_KEY, recalls);
        }
        Due::At(NOW + 40).detour(&asked, "orders", 2, NOW, &mut stored);
        record(&stored)
    };
    let messages = [waiting("K1", None), waiting("K2", None), b"damaged".to_vec()];
    let recalls = [waiting("R", Some("orders_K1"))];
    let timers: Vec<_> = (0..3).map(|offset| Timer::message(NOW + 40, offset)).collect();
    let recall = Timer::recall(NOW + 40, 3);
    let batch = Batch { recalls: vec![recall], messages: timers.clone(), recalls_end: true };
    let (delivered, done) = deliveries(&batch, &recalls, &messages, NOW + 41, false);
    let [only] = &delivered[..] else { panic!("{delivered:?}") };
    assert_eq!((only.body().topic, only.body().queue), ("orders", 2));
    assert_eq!(property::get(only.body().properties, "UNIQ_KEY"), Some("K2"));
    assert_eq!(done, [&timers[..], &[recall]].concat());
    let (_, done) = deliveries(&batch, &recalls, &messages[..1], NOW + 41, false);
    assert_eq!(done, timers[..1]);
}
