//! The value of an expression for one message. Nothing is allocated.

use super::parser::{Constant, Node, Order, Search};
use std::cmp::Ordering;

/// What a part of an expression is worth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    Boolean(bool),
    Integer(i32),
    Long(i64),
    Double(f64),
    String(&'a str),
}

/// RocketMQ throws here, and the message does not match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failed;

pub(super) fn is_true<'a>(root: &'a Node, property: &impl Fn(usize) -> Option<&'a str>) -> bool {
    matches!(evaluate(root, property), Ok(Value::Boolean(true)))
}

fn evaluate<'a>(node: &'a Node, property: &impl Fn(usize) -> Option<&'a str>) -> Result<Value<'a>, Failed> {
    Ok(match node {
        Node::Constant(constant) => constant.value(),
        Node::Property(slot) => property(*slot).map_or(Value::Null, Value::String),
        Node::Truth(slot) => property(*slot).map_or(Value::Null, |_| Value::Boolean(false)),
        Node::Negate(inner) => negate(evaluate(inner, property)?),
        Node::Not(inner) => match truth(evaluate(inner, property)?)? {
            None => Value::Null,
            Some(value) => Value::Boolean(!value),
        },
        Node::And(sides) => logic(sides, false, property)?,
        Node::Or(sides) => logic(sides, true, property)?,
        Node::Between { not, value, low, high } => {
            let value = evaluate(value, property)?;
            if value == Value::Null {
                return Ok(Value::Null);
            }
            between(*not, value, low, high, property)?
        }
        Node::Equal(left, right) => match (&**left, &**right) {
            // What most expressions are made of; the other arm comes to the same.
            (Node::Property(slot), Node::Constant(Constant::String(text))) => {
                property(*slot).map_or(Value::Null, |value| Value::Boolean(value == text))
            }
            (left, right) => equal(evaluate(left, property)?, evaluate(right, property)?)?,
        },
        Node::Order(order, left, right) => match (&**left, &**right) {
            // As above.
            (Node::Property(slot), Node::Constant(Constant::Integer(number))) => match property(*slot) {
                None => Value::Null,
                Some(value) => {
                    let value: i32 = value.parse().map_err(|_| Failed)?;
                    Value::Boolean(order.holds(value.cmp(number)))
                }
            },
            (left, right) => {
                let left = evaluate(left, property)?;
                if left == Value::Null {
                    return Ok(Value::Null);
                }
                ordered(*order, left, evaluate(right, property)?)?
            }
        },
        Node::Text { search, not, of, text } => match evaluate(of, property)? {
            Value::String(value) if !text.is_empty() => Value::Boolean(found(*search, value, text) != *not),
            _ => Value::Boolean(false),
        },
        Node::In { not, property: slot, texts } => match property(*slot) {
            None => Value::Null,
            Some(value) => Value::Boolean(texts.iter().any(|text| text == value) != *not),
        },
    })
}

impl Constant {
    pub(super) fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Boolean(value) => Value::Boolean(*value),
            Self::Integer(value) => Value::Integer(*value),
            Self::Long(value) => Value::Long(*value),
            Self::Double(value) => Value::Double(*value),
            Self::String(value) => Value::String(value),
        }
    }
}

/// AND (`decisive` false) and OR (`decisive` true): the first decisive side decides, so that a failure behind it goes
/// unseen.
fn logic<'a>(
    sides: &'a [Node],
    decisive: bool,
    property: &impl Fn(usize) -> Option<&'a str>,
) -> Result<Value<'a>, Failed> {
    let mut known = true;
    for side in sides {
        match truth(evaluate(side, property)?)? {
            Some(value) if value == decisive => return Ok(Value::Boolean(decisive)),
            Some(_) => {}
            None => known = false,
        }
    }
    Ok(if known { Value::Boolean(!decisive) } else { Value::Null })
}

/// `value >= low AND value <= high`, or `value < low OR value > high`, of a value that is there; as in [`logic`], a
/// lower bound that decides leaves the upper one unseen.
fn between<'a>(
    not: bool,
    value: Value<'a>,
    low: &'a Node,
    high: &'a Node,
    property: &impl Fn(usize) -> Option<&'a str>,
) -> Result<Value<'a>, Failed> {
    let (at_low, at_high) =
        if not { (Order::Less, Order::Greater) } else { (Order::GreaterEqual, Order::LessEqual) };
    let from = ordered(at_low, value, evaluate(low, property)?)?;
    if from == Value::Boolean(not) {
        return Ok(from);
    }
    let to = ordered(at_high, value, evaluate(high, property)?)?;
    Ok(if to == Value::Boolean(not) || from != Value::Null { to } else { from })
}

fn truth(value: Value<'_>) -> Result<Option<bool>, Failed> {
    match value {
        Value::Null => Ok(None),
        Value::Boolean(value) => Ok(Some(value)),
        // The parser lets only conditions stand here.
        _ => Err(Failed),
    }
}

fn negate(value: Value<'_>) -> Value<'_> {
    match value {
        Value::Integer(value) => Value::Integer(value.wrapping_neg()),
        Value::Long(value) => Value::Long(value.wrapping_neg()),
        Value::Double(value) => Value::Double(-value),
        _ => Value::Null,
    }
}

fn found(search: Search, value: &str, text: &str) -> bool {
    match search {
        Search::Anywhere => memchr::memmem::find(value.as_bytes(), text.as_bytes()).is_some(),
        Search::AtStart => value.starts_with(text),
        Search::AtEnd => value.ends_with(text),
    }
}

fn equal<'a>(left: Value<'a>, right: Value<'a>) -> Result<Value<'a>, Failed> {
    Ok(match (left, right) {
        (Value::Null, Value::Null) => Value::Boolean(true),
        (Value::Null, _) => Value::Null,
        (_, Value::Null) => Value::Boolean(false),
        _ => Value::Boolean(compare(&left, &right)? == 0),
    })
}

fn ordered<'a>(order: Order, left: Value<'a>, right: Value<'a>) -> Result<Value<'a>, Failed> {
    if right == Value::Null {
        return Ok(Value::Null);
    }
    let compared = match (left, right) {
        // Strings have no order, but both may be numbers.
        (Value::String(left), Value::String(right)) => {
            sign(java_double(left)?.total_cmp(&java_double(right)?))
        }
        _ => compare(&left, &right)?,
    };
    Ok(Value::Boolean(order.holds(compared.cmp(&0))))
}

impl Order {
    fn holds(self, compared: Ordering) -> bool {
        match self {
            Self::Greater => compared.is_gt(),
            Self::GreaterEqual => compared.is_ge(),
            Self::Less => compared.is_lt(),
            Self::LessEqual => compared.is_le(),
        }
    }
}

/// `ComparisonExpression.__compare`: a string becomes what it is compared with, numbers the wider type; what cannot
/// be compared is "less".
pub(super) fn compare(left: &Value<'_>, right: &Value<'_>) -> Result<i32, Failed> {
    use Value::{Boolean, Double, Integer, Long, Null, String};
    Ok(match (*left, *right) {
        (Null, _) | (_, Null) => return Err(Failed),
        (Boolean(left), Boolean(right)) => sign(left.cmp(&right)),
        (String(left), String(right)) => sign(left.cmp(right)),
        (String(left), Boolean(right)) => sign(left.eq_ignore_ascii_case("true").cmp(&right)),
        // Java casts the truth value to a string here, and throws.
        (Boolean(_), String(_)) => return Err(Failed),
        (Boolean(_), _) | (_, Boolean(_)) => -1,
        (Integer(left), Integer(right)) => sign(left.cmp(&right)),
        (Integer(left), Long(right)) => sign(i64::from(left).cmp(&right)),
        (Long(left), Integer(right)) => sign(left.cmp(&i64::from(right))),
        (Long(left), Long(right)) => sign(left.cmp(&right)),
        (Double(left), Double(right)) => sign(left.total_cmp(&right)),
        (Integer(left), Double(right)) => sign(f64::from(left).total_cmp(&right)),
        (Double(left), Integer(right)) => sign(left.total_cmp(&f64::from(right))),
        (Long(left), Double(right)) => sign((left as f64).total_cmp(&right)),
        (Double(left), Long(right)) => sign(left.total_cmp(&(right as f64))),
        (String(left), Integer(right)) => sign(left.parse::<i32>().map_err(|_| Failed)?.cmp(&right)),
        (Integer(left), String(right)) => sign(left.cmp(&right.parse().map_err(|_| Failed)?)),
        (String(left), Long(right)) => sign(left.parse::<i64>().map_err(|_| Failed)?.cmp(&right)),
        (Long(left), String(right)) => sign(left.cmp(&right.parse().map_err(|_| Failed)?)),
        (String(left), Double(right)) => sign(java_double(left)?.total_cmp(&right)),
        (Double(left), String(right)) => sign(left.total_cmp(&java_double(right)?)),
    })
}

fn sign(order: Ordering) -> i32 {
    order as i32
}

/// `Double.valueOf(String)` of the JDK: trimmed, with an optional `f` or `d` behind it; hexadecimal floats, which
/// nobody writes into properties, are not read.
fn java_double(text: &str) -> Result<f64, Failed> {
    let text = text.trim_matches(|c| c <= ' ');
    let (sign, digits) = match text.as_bytes().first() {
        Some(b'-') => (-1.0, &text[1..]),
        Some(b'+') => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    match digits {
        "NaN" => return Ok(f64::NAN),
        "Infinity" => return Ok(sign * f64::INFINITY),
        _ => {}
    }
    let digits = digits.strip_suffix(['f', 'F', 'd', 'D']).unwrap_or(digits);
    // Rust also reads "inf" and "nan" in any case, and a second sign.
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Err(Failed);
    }
    digits.parse::<f64>().map(|value| sign * value).map_err(|_| Failed)
}
