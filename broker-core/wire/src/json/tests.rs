use super::*;
use proptest::prelude::*;

fn unescaped(raw: &str) -> String {
    let mut out = Vec::new();
    unescape(raw.as_bytes(), &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn escapes_are_undone() {
    assert_eq!(unescaped(r#"a\u0001b\"\\\/\b\f\n\r\t"#), "a\u{1}b\"\\/\u{8}\u{c}\n\r\t");
    assert_eq!(unescaped(r"\u00fc\ud83d\ude00"), "ü😀");
    assert_eq!(unescaped(r"\ud83dx\ude00"), "\u{fffd}x\u{fffd}");
    assert_eq!(unescaped(r"\ud83d\u0041"), "\u{fffd}A");
    assert_eq!(unescaped(r"\x \u12 \u00g0 \"), r"\x \u12 \u00g0 \");
}

#[test]
fn values_end_where_they_end() {
    let values = |text: &str| {
        let mut scanner = Scanner::new(text.as_bytes());
        let value = scanner.value();
        value.map(|value| (format!("{value:?}"), scanner.position()))
    };
    assert_eq!(values(" null ,").unwrap().0, "Null");
    assert_eq!(values(r#"{"a":["}",{}]} x"#).unwrap().1, 14);
    assert_eq!(values("-12.5e3}").unwrap().1, 7);
    for broken in ["", "  ", "\"abc", "\"abc\\", "\"abc\\\"", "{[", "}", ",", "{\"a"] {
        assert!(values(broken).is_err(), "{broken}");
    }
}

#[test]
fn bare_keys_are_quoted() {
    let quoted = |text: &str| String::from_utf8(quote_bare_keys(text.as_bytes()).into_owned()).unwrap();
    assert_eq!(quoted(r#"{0:"a:1",-1 : {x:[1,2,{3:4}]}}"#), r#"{"0":"a:1","-1" : {"x":[1,2,{"3":4}]}}"#);
    for standard in [r#"{"a":[1,2],"b":"{0:1}"}"#, "[1,2]", "", "{", "{,}", r#"{"a"#] {
        assert!(matches!(quote_bare_keys(standard.as_bytes()), Cow::Borrowed(_)), "{standard}");
    }
}

#[test]
fn bodies_are_read_in_both_forms() {
    type Map = std::collections::BTreeMap<u64, String>;
    assert_eq!(body::<Map>("x", br#"{0:"a"}"#), body::<Map>("x", br#"{"0":"a"}"#));
    let error = body::<Map>("route data", b"{0:").unwrap_err();
    assert!(error.to_string().contains("route data"), "{error}");
}

proptest! {
    #[test]
    fn the_search_agrees_with_a_loop(bytes in proptest::collection::vec(prop_oneof![Just(b'"'), Just(b'\\'), any::<u8>()], 0..40), at in 0usize..45) {
        let naive = bytes.iter().enumerate().skip(at).find(|(_, byte)| matches!(byte, b'"' | b'\\')).map(|(at, _)| at);
        prop_assert_eq!(quote_or_backslash(&bytes, at), naive);
    }

    #[test]
    fn unescaping_undoes_serde(text in ".{0,40}") {
        let quoted = serde_json::to_string(&text).unwrap();
        prop_assert_eq!(unescaped(&quoted[1..quoted.len() - 1]), text);
    }

    #[test]
    fn any_text_is_survived(text in "[\\[\\]{}\",:\\\\a-c0-3 u]{0,60}") {
        let mut scanner = Scanner::new(text.as_bytes());
        while scanner.value().is_ok() && scanner.more().is_ok() {}
        let _ = quote_bare_keys(text.as_bytes());
        unescape(text.as_bytes(), &mut Vec::new());
        // What serde takes for JSON must end where we say.
        if serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok() {
            let mut scanner = Scanner::new(text.as_bytes());
            prop_assert!(scanner.value().is_ok());
            prop_assert!(scanner.end().is_ok());
        }
    }
}
