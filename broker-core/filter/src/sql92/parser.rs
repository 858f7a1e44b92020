//! From words to a tree, with the checks that RocketMQ makes when it builds one.

use super::{
    DEPTH_MAX, NAMES_MAX, ParseError, Sql92, TEXT_BYTES_MAX,
    evaluate::compare,
    length_bit,
    lexer::{self, Token, Word, error},
};

/// A part of an expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Constant(Constant),
    /// Index into the expression's names.
    Property(usize),
    /// A property where a truth value is needed: false, or unknown where it is absent.
    Truth(usize),
    Negate(Box<Node>),
    Not(Box<Node>),
    /// Two or more, flat: a long chain must not nest, since evaluation recurses.
    And(Vec<Node>),
    Or(Vec<Node>),
    /// The value is held once, so that nested ones do not double.
    Between {
        not: bool,
        value: Box<Node>,
        low: Box<Node>,
        high: Box<Node>,
    },
    Equal(Box<Node>, Box<Node>),
    Order(Order, Box<Node>, Box<Node>),
    Text {
        search: Search,
        not: bool,
        of: Box<Node>,
        text: String,
    },
    In {
        not: bool,
        property: usize,
        texts: Vec<String>,
    },
}

/// A value that stands in the text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Constant {
    Null,
    Boolean(bool),
    Integer(i32),
    Long(i64),
    Double(f64),
    String(String),
}

/// A comparison by order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
}

/// Where a text is searched in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Search {
    Anywhere,
    AtStart,
    AtEnd,
}

pub(super) fn parse(text: &str) -> Result<Sql92, ParseError> {
    if text.len() > TEXT_BYTES_MAX {
        let message =
            format!("the expression has {} bytes, at most {TEXT_BYTES_MAX} are allowed", text.len());
        return Err(error(TEXT_BYTES_MAX, message));
    }
    let mut parser = Parser { text, at: 0, depth: 0, chained: 0, names: Vec::new() };
    let root = parser.or()?;
    let root = parser.truth(root, 0)?;
    // One word is always looked at behind the expression, so that garbage right there is an error.
    let (next, token, _) = parser.peek()?;
    let used = if token == Token::End { text.len() } else { next };
    let lengths = parser.names.iter().fold(0, |lengths, name| lengths | length_bit(name.len()));
    Ok(Sql92 { root, names: parser.names, lengths, used })
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    /// Comparisons of comparisons without parentheses, such as `a = b = c`, in the whole expression.
    chained: usize,
    names: Vec<String>,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Result<(usize, Token<'a>, usize), ParseError> {
        lexer::next(self.text, self.at)
    }

    /// The word behind the next one.
    fn peek_second(&self) -> Result<Token<'a>, ParseError> {
        let (_, _, end) = self.peek()?;
        Ok(lexer::next(self.text, end)?.1)
    }

    /// Takes the next word if it is this one.
    fn take(&mut self, wanted: &Token<'_>) -> Result<bool, ParseError> {
        let (_, token, end) = self.peek()?;
        let found = token == *wanted;
        if found {
            self.at = end;
        }
        Ok(found)
    }

    fn expect(&mut self, wanted: &Token<'_>, name: &str) -> Result<(), ParseError> {
        if self.take(wanted)? { Ok(()) } else { Err(error(self.peek()?.0, format!("expected {name}"))) }
    }

    fn or(&mut self) -> Result<Node, ParseError> {
        let start = self.peek()?.0;
        let first = self.and()?;
        if !self.take(&Token::Word(Word::Or))? {
            return Ok(first);
        }
        let mut sides = vec![self.truth(first, start)?];
        loop {
            let start = self.peek()?.0;
            let side = self.and()?;
            sides.push(self.truth(side, start)?);
            if !self.take(&Token::Word(Word::Or))? {
                return Ok(Node::Or(sides));
            }
        }
    }

    fn and(&mut self) -> Result<Node, ParseError> {
        let start = self.peek()?.0;
        let first = self.equality()?;
        if !self.take(&Token::Word(Word::And))? {
            return Ok(first);
        }
        let mut sides = vec![self.truth(first, start)?];
        loop {
            let start = self.peek()?.0;
            let side = self.equality()?;
            sides.push(self.truth(side, start)?);
            if !self.take(&Token::Word(Word::And))? {
                return Ok(Node::And(sides));
            }
        }
    }

    fn equality(&mut self) -> Result<Node, ParseError> {
        let mut left = self.comparison()?;
        let mut links = 0;
        loop {
            let (at, token, end) = self.peek()?;
            self.chain(links, at)?;
            links += 1;
            left = match token {
                Token::Equal | Token::NotEqual => {
                    self.at = end;
                    let right = self.comparison()?;
                    check_equal(&left, &right, at)?;
                    let equal = Node::Equal(left.into(), right.into());
                    if token == Token::Equal { equal } else { Node::Not(equal.into()) }
                }
                Token::Word(Word::Is) => {
                    self.at = end;
                    let not = self.take(&Token::Word(Word::Not))?;
                    self.expect(&Token::Word(Word::Null), "NULL or NOT NULL behind IS")?;
                    let null = Node::Equal(left.into(), Node::Constant(Constant::Null).into());
                    if not { Node::Not(null.into()) } else { null }
                }
                _ => return Ok(left),
            };
        }
    }

    fn comparison(&mut self) -> Result<Node, ParseError> {
        let mut left = self.unary()?;
        let mut links = 0;
        loop {
            let (at, token, end) = self.peek()?;
            self.chain(links, at)?;
            links += 1;
            let not = token == Token::Word(Word::Not);
            let operator = if not { self.peek_second()? } else { token };
            left = match operator {
                Token::Greater | Token::GreaterEqual | Token::Less | Token::LessEqual if !not => {
                    self.at = end;
                    let right = self.unary()?;
                    ordered(order_of(&operator), left, right, at)?
                }
                Token::Word(word @ (Word::Contains | Word::StartsWith | Word::EndsWith)) => {
                    self.skip(1 + usize::from(not))?;
                    let search = match word {
                        Word::Contains => Search::Anywhere,
                        Word::StartsWith => Search::AtStart,
                        _ => Search::AtEnd,
                    };
                    Node::Text { search, not, of: left.into(), text: self.string()? }
                }
                Token::Word(Word::Between) => {
                    self.skip(1 + usize::from(not))?;
                    let low = self.unary()?;
                    self.expect(&Token::Word(Word::And), "AND between the bounds of BETWEEN")?;
                    let high = self.unary()?;
                    between(not, left, low, high, at)?
                }
                Token::Word(Word::In) => {
                    self.skip(1 + usize::from(not))?;
                    let texts = self.strings()?;
                    let Node::Property(property) = left else {
                        return Err(error(at, "IN needs a property's name before it"));
                    };
                    Node::In { not, property, texts }
                }
                _ => return Ok(left),
            };
        }
    }

    /// Counts what nests without parentheses, `links` being those before this one.
    fn chain(&mut self, links: usize, at: usize) -> Result<(), ParseError> {
        self.chained += usize::from(links > 1);
        if self.chained > DEPTH_MAX {
            return Err(error(at, format!("more than {DEPTH_MAX} comparisons follow on comparisons")));
        }
        Ok(())
    }

    fn unary(&mut self) -> Result<Node, ParseError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let message = format!("the expression is nested deeper than {DEPTH_MAX}");
            return Err(error(self.at, message));
        }
        let node = if self.take(&Token::Plus)? {
            self.unary()
        } else if self.take(&Token::Minus)? {
            self.unary().map(|node| Node::Negate(node.into()))
        } else if self.take(&Token::Word(Word::Not))? {
            let at = self.peek()?.0;
            let node = self.unary()?;
            self.truth(node, at).map(|node| Node::Not(node.into()))
        } else {
            self.primary()
        };
        self.depth -= 1;
        node
    }

    fn primary(&mut self) -> Result<Node, ParseError> {
        let (at, token, end) = self.peek()?;
        self.at = end;
        Ok(match token {
            Token::String(raw) => Node::Constant(Constant::String(unquote(raw))),
            Token::Integer(digits) => Node::Constant(integer(digits, at)?),
            Token::Float(digits) => Node::Constant(float(digits, at)?),
            Token::Word(Word::True) => Node::Constant(Constant::Boolean(true)),
            Token::Word(Word::False) => Node::Constant(Constant::Boolean(false)),
            Token::Word(Word::Null) => Node::Constant(Constant::Null),
            Token::Name(name) => Node::Property(self.slot(name, at)?),
            Token::Open => {
                let inner = self.or()?;
                self.expect(&Token::Close, "a closing parenthesis")?;
                inner
            }
            _ => return Err(error(at, "expected a value, a name or an opening parenthesis")),
        })
    }

    fn string(&mut self) -> Result<String, ParseError> {
        let (at, token, end) = self.peek()?;
        let Token::String(raw) = token else { return Err(error(at, "expected a string in single quotes")) };
        self.at = end;
        Ok(unquote(raw))
    }

    fn strings(&mut self) -> Result<Vec<String>, ParseError> {
        self.expect(&Token::Open, "an opening parenthesis behind IN")?;
        let mut texts = vec![self.string()?];
        while self.take(&Token::Comma)? {
            texts.push(self.string()?);
        }
        self.expect(&Token::Close, "a comma or a closing parenthesis")?;
        Ok(texts)
    }

    fn skip(&mut self, words: usize) -> Result<(), ParseError> {
        for _ in 0..words {
            self.at = self.peek()?.2;
        }
        Ok(())
    }

    fn slot(&mut self, name: &str, at: usize) -> Result<usize, ParseError> {
        if let Some(known) = self.names.iter().position(|known| known == name) {
            return Ok(known);
        }
        if self.names.len() == NAMES_MAX {
            return Err(error(at, format!("the expression has more than {NAMES_MAX} names")));
        }
        self.names.push(name.to_owned());
        Ok(self.names.len() - 1)
    }

    /// `node` where a truth value is needed (`SelectorParser.asBooleanExpression`).
    fn truth(&self, node: Node, at: usize) -> Result<Node, ParseError> {
        match node {
            Node::Property(slot) => Ok(Node::Truth(slot)),
            node if is_boolean(&node) => Ok(node),
            _ => Err(error(at, "this is a value, but a condition is needed")),
        }
    }
}

fn is_boolean(node: &Node) -> bool {
    match node {
        Node::Constant(Constant::Null | Constant::Boolean(_)) => true,
        Node::Constant(_) | Node::Property(_) | Node::Negate(_) => false,
        Node::Truth(_)
        | Node::Not(_)
        | Node::And(_)
        | Node::Or(_)
        | Node::Between { .. }
        | Node::Equal(..)
        | Node::Order(..)
        | Node::Text { .. }
        | Node::In { .. } => true,
    }
}

fn order_of(token: &Token<'_>) -> Order {
    match token {
        Token::Greater => Order::Greater,
        Token::GreaterEqual => Order::GreaterEqual,
        Token::Less => Order::Less,
        _ => Order::LessEqual,
    }
}

fn ordered(order: Order, left: Node, right: Node, at: usize) -> Result<Node, ParseError> {
    check_ordered([&left, &right], at)?;
    Ok(Node::Order(order, left.into(), right.into()))
}

fn check_ordered<const N: usize>(sides: [&Node; N], at: usize) -> Result<(), ParseError> {
    let comparable = |side: &Node| !is_boolean(side) && !matches!(side, Node::Constant(Constant::String(_)));
    if sides.into_iter().all(comparable) {
        return Ok(());
    }
    Err(error(at, "only numbers and properties can be compared by <, <=, >, >= and BETWEEN"))
}

fn between(not: bool, value: Node, low: Node, high: Node, at: usize) -> Result<Node, ParseError> {
    check_ordered([&value, &low, &high], at)?;
    if !not
        && let (Node::Constant(low), Node::Constant(high)) = (&low, &high)
        && compare(&high.value(), &low.value()).is_ok_and(|order| order < 0)
    {
        return Err(error(at, "the lower bound of BETWEEN is above the upper one"));
    }
    Ok(Node::Between { not, value: value.into(), low: low.into(), high: high.into() })
}

/// `ComparisonExpression.checkEqualOperand` and `checkEqualOperandCompatability`.
fn check_equal(left: &Node, right: &Node, at: usize) -> Result<(), ParseError> {
    for side in [left, right] {
        if *side == Node::Constant(Constant::Null) {
            return Err(error(at, "NULL cannot be compared by = or <>, use IS NULL"));
        }
    }
    match (left, right) {
        (Node::Constant(Constant::Boolean(_)), Node::Constant(Constant::Boolean(_))) => Ok(()),
        (Node::Constant(Constant::Boolean(_)), Node::Constant(_)) => {
            Err(error(at, "a truth value cannot be compared with a number or string"))
        }
        _ => Ok(()),
    }
}

fn unquote(raw: &str) -> String {
    raw.replace("''", "'")
}

fn integer(digits: &str, at: usize) -> Result<Constant, ParseError> {
    let value: i64 =
        digits.parse().map_err(|_| error(at, format!("{digits} does not fit into a 64-bit number")))?;
    Ok(i32::try_from(value).map_or(Constant::Long(value), Constant::Integer))
}

/// RocketMQ refuses floats below the smallest positive one, 0.0 among them (`ConstantExpression.createFloat`).
fn float(digits: &str, at: usize) -> Result<Constant, ParseError> {
    match digits.parse::<f64>() {
        Ok(value) if value > 0.0 && value.is_finite() => Ok(Constant::Double(value)),
        _ => Err(error(at, format!("{digits} is zero, or too large or small for a 64-bit float"))),
    }
}
