use super::*;
use proptest::prelude::*;

fn check(text: &str, properties: &[(&str, &str)]) -> bool {
    let mut raw = Vec::new();
    for (key, value) in properties {
        assert!(halley_model::property::push(&mut raw, key, value));
    }
    let expression = Sql92::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let matched = expression.matches_raw(&raw);
    assert_eq!(matched, expression.matches(&Raw(&raw)), "both ways agree on {text}");
    matched
}

fn refused(text: &str) -> ParseError {
    Sql92::parse(text).expect_err(text)
}

#[test]
fn comparisons_convert_to_the_constants_type() {
    let p = [("a", "10"), ("f", "2.5"), ("s", "abc"), ("t", "true"), ("big", "3000000000")];
    for text in [
        "a = 10",
        "a <> 11",
        "a > 9",
        "a >= 10",
        "a < 11",
        "a <= 10",
        "9 < a",
        "a = 10L",
        "f > 2",
        "f = 2.5",
        "f < 3.0",
        "a = 10.0",
        "s = 'abc'",
        "s <> 'abd'",
        "t = TRUE",
        "t <> FALSE",
        "big > 2999999999",
        "a > f",
        "a = '10'",
        "a = +10",
        "-a IS NULL",
        "5 = 5.0",
        "1 < 2L",
    ] {
        // `f > 2` converts "2.5" to an int, which fails.
        assert_eq!(check(text, &p), text != "f > 2", "{text}");
    }
    for text in [
        "a = 11",
        "a > 10",
        "s = 'ABC'",
        "s > 1",
        "big = 5",
        "a = 'x'",
        "s > f",
        "TRUE = t",
        "1 = TRUE",
        "a BETWEEN 11 AND 12",
    ] {
        assert!(!check(text, &p), "{text}");
    }
}

#[test]
fn logic_has_three_values() {
    let p = [("a", "1")];
    for (text, expected) in [
        ("b = 1 OR a = 1", true),
        ("a = 1 OR b = 1", true),
        ("NOT (b = 1)", false),
        ("b IS NULL", true),
        ("a IS NULL", false),
        ("a IS NOT NULL AND b IS NULL", true),
        ("b = c", true),
        ("a = b", false),
        ("a <> b", true),
        ("b <> 1", false),
        ("b = 1 AND a = 2", false),
        ("NOT (b = 1 AND a = 2)", true),
        ("NOT (b = 1 AND a = 1)", false),
        ("a", false),
        ("NOT a", true),
        ("NOT b", false),
        ("TRUE", true),
        ("NULL OR TRUE", true),
        ("NULL", false),
    ] {
        assert_eq!(check(text, &p), expected, "{text}");
    }
}

#[test]
fn a_failed_conversion_fails_the_whole_expression() {
    let p = [("a", "x"), ("b", "1")];
    assert!(!check("a > 5 OR b = 1", &p));
    assert!(check("b = 1 OR a > 5", &p));
    assert!(!check("NOT (a > 5)", &p));
}

#[test]
fn lists_ranges_and_texts() {
    let p = [("region", "hangzhou"), ("price", "7"), ("empty", "")];
    for (text, expected) in [
        ("region IN ('hangzhou', 'beijing')", true),
        ("region NOT IN ('hangzhou')", false),
        ("missing IN ('x')", false),
        ("missing NOT IN ('x')", false),
        ("NOT (missing IN ('x'))", false),
        ("price BETWEEN 5 AND 7", true),
        ("price NOT BETWEEN 5 AND 7", false),
        ("price not between 8 and 9", true),
        ("region CONTAINS 'gzh'", true),
        ("region NOT CONTAINS 'gzh'", false),
        ("region STARTSWITH 'hang'", true),
        ("region ENDSWITH 'zhou'", true),
        ("region NOT ENDSWITH 'hang'", true),
        ("missing NOT CONTAINS 'x'", false),
        ("region CONTAINS ''", false),
        ("region NOT CONTAINS ''", false),
        ("empty = ''", true),
        ("'it''s' = 'it''s'", true),
    ] {
        assert_eq!(check(text, &p), expected, "{text}");
    }
}

#[test]
fn names_are_case_sensitive_and_words_are_not() {
    let p = [("Ab", "1"), ("$_x9", "2")];
    assert!(check("Ab = 1 aNd $_x9 = 2", &p));
    assert!(!check("ab = 1", &p));
    assert!(check("/* c */ Ab -- line\n = 1", &p));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    assert_eq!(refused("a = ").at, 4);
    assert_eq!(refused("a > 'x'").at, 2);
    assert_eq!(refused("(a = 1").message, "expected a closing parenthesis");
    assert_eq!(refused("a = 'x").message, "the string is not closed");
    assert!(refused("a # 1").message.contains("'#'"));
    for text in [
        "",
        "1",
        "'x'",
        "-a",
        "a = NULL",
        "NULL <> a",
        "a BETWEEN 5 AND 1",
        "1 IN ('a')",
        "a IN ()",
        "a IN (1)",
        "a IS 5",
        "a = 99999999999999999999",
        "a = 0.0",
        "TRUE = 1",
        "TRUE > 1",
        "a > TRUE",
        "/* open",
        ".",
        "a CONTAINS 5",
        "NOT 5",
        "NOT b > 1",
    ] {
        refused(text);
    }
    let deep = "(".repeat(DEPTH_MAX + 1) + "a" + &")".repeat(DEPTH_MAX + 1);
    assert!(refused(&deep).message.contains("nested deeper"));
    assert!(refused(&"a".repeat(TEXT_BYTES_MAX + 1)).message.contains("at most"));
}

#[test]
fn what_follows_is_ignored_or_refused() {
    assert!(check("a = 1 b", &[("a", "1")]));
    assert_eq!(Sql92::parse_strict("a = 1 b = 2").unwrap_err().at, 6);
    assert!(Sql92::parse_strict("a = 1 -- end\n").is_ok());
    assert_eq!(Sql92::parse("a = 1 AND b > a").unwrap().names(), ["a", "b"]);
}

#[test]
fn many_names_are_found_too() {
    let names: Vec<String> = (0..40).map(|i| format!("n{i}")).collect();
    let text = names.iter().map(|name| format!("{name} = '{name}'")).collect::<Vec<_>>().join(" AND ");
    let values: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), name.as_str())).collect();
    assert!(check(&text, &values));
    assert!(!check(&text, &values[1..]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_text_is_parsed_or_refused(text in "[ a-c0-9'=<>()+.,NOTANDRINULBEWS/*\\-é]{0,60}") {
        if let Ok(expression) = Sql92::parse(&text) {
            let _ = expression.matches_raw(b"a\x011\x02b\x01x\x02");
        }
    }
}

#[test]
fn long_chains_do_not_nest() {
    let ors = vec!["a = 2"; 7000].join(" OR ");
    assert!(!check(&ors, &[("a", "1")]) && check(&(ors + " OR a = 1"), &[("a", "1")]));
    assert!(check(&vec!["a = 1"; 6000].join(" AND "), &[("a", "1")]));
    let comparisons = "a".to_owned() + &" = b".repeat(10_000);
    assert!(refused(&comparisons).message.contains("follow on"));
    assert!(refused(&("a".to_owned() + &" CONTAINS 'x'".repeat(1000))).message.contains("follow on"));
    let names: Vec<String> = (0..=NAMES_MAX).map(|i| format!("n{i}")).collect();
    assert!(refused(&names.join(" OR ")).message.contains("names"));
}

/// A value of BETWEEN that holds another BETWEEN must not double with each level.
#[test]
fn nested_ranges_stay_small() {
    let mut text = "a".to_owned();
    for _ in 0..40 {
        text = format!("-({text} BETWEEN 1 AND 2)");
    }
    assert!(!check(&format!("{text} IS NOT NULL"), &[("a", "1")]));
}

#[test]
fn ranges_have_three_values_and_may_fail() {
    let p = [("a", "5"), ("x", "word")];
    for (text, expected) in [
        ("a BETWEEN 6 AND none", false),
        ("NOT (a BETWEEN 6 AND none)", true),
        ("NOT (a BETWEEN 1 AND none)", false),
        ("NOT (a BETWEEN none AND 4)", true),
        ("a NOT BETWEEN 6 AND none", true),
        ("a NOT BETWEEN none AND 4", true),
        ("a NOT BETWEEN none AND 6", false),
        ("NOT (none BETWEEN 1 AND 2)", false),
        ("NOT (a BETWEEN 6 AND x)", true),
        ("NOT (a BETWEEN 1 AND x)", false),
        ("a NOT BETWEEN 6 AND x", true),
        ("none BETWEEN x AND x OR a = 5", true),
    ] {
        assert_eq!(check(text, &p), expected, "{text}");
    }
}
