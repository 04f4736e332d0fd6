//! Tokens of filter expressions.

use super::{
    error::{FilterFault, quoted},
    json_path::JsonPathStep,
    json_scan::{JsonKey, unescape},
};

/// Steps of a path at most.
const MAX_STEPS: usize = 64;

/// Operators, of which a longer one stands before its own beginning.
const OPERATORS: [(&str, FilterTokenKind); 15] = [
    ("==", FilterTokenKind::Operator(FilterOperator::Equal)),
    ("!=", FilterTokenKind::Operator(FilterOperator::NotEqual)),
    ("<=", FilterTokenKind::Operator(FilterOperator::LessOrEqual)),
    (">=", FilterTokenKind::Operator(FilterOperator::GreaterOrEqual)),
    ("!~", FilterTokenKind::Operator(FilterOperator::NotContains)),
    ("=", FilterTokenKind::Operator(FilterOperator::Equal)),
    ("<", FilterTokenKind::Operator(FilterOperator::Less)),
    (">", FilterTokenKind::Operator(FilterOperator::Greater)),
    ("~", FilterTokenKind::Operator(FilterOperator::Contains)),
    ("&&", FilterTokenKind::And),
    ("||", FilterTokenKind::Or),
    ("!", FilterTokenKind::Not),
    ("(", FilterTokenKind::Open),
    (")", FilterTokenKind::Close),
    ("@", FilterTokenKind::Time),
];

/// An operator between a field and a literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FilterOperator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Contains,
    NotContains,
}

/// A token and the bytes of the expression that it has.
#[derive(Debug, Clone)]
pub(super) struct FilterToken {
    pub(super) kind: FilterTokenKind,
    pub(super) start: usize,
    pub(super) end: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FilterTokenKind {
    /// A name or a word such as `true`.
    Word,
    /// Anything that begins with a digit or a minus: a number or a time.
    Bare,
    /// A quoted text without its escapes.
    Text(String),
    Path(Vec<JsonPathStep>),
    Header(String),
    Time,
    Operator(FilterOperator),
    And,
    Or,
    Not,
    Open,
    Close,
    End,
}

/// Splits an expression into tokens, of which the last is [`FilterTokenKind::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<FilterToken>, FilterFault> {
    let mut lexer = FilterLexer { text, at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.take_while(char::is_whitespace);
        let start = lexer.at;
        let kind = lexer.token()?;
        let ended = kind == FilterTokenKind::End;
        tokens.push(FilterToken { kind, start, end: lexer.at });
        if ended {
            return Ok(tokens);
        }
    }
}

struct FilterLexer<'t> {
    text: &'t str,
    /// Always on the boundary of a character.
    at: usize,
}

impl<'t> FilterLexer<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn eat(&mut self, expected: &str) -> bool {
        let found = self.rest().starts_with(expected);
        if found {
            self.at += expected.len();
        }
        found
    }

    fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let length = rest.find(|character| !belongs(character)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    fn token(&mut self) -> Result<FilterTokenKind, FilterFault> {
        let Some(first) = self.peek() else { return Ok(FilterTokenKind::End) };
        match first {
            '"' | '\'' => self.quoted(first).map(FilterTokenKind::Text),
            '.' => self.path().map(FilterTokenKind::Path),
            '-' | '0'..='9' => self.bare(),
            _ if first == '_' || first.is_alphabetic() => self.word(),
            _ => self.operator(first),
        }
    }

    fn operator(&mut self, first: char) -> Result<FilterTokenKind, FilterFault> {
        if let Some((_, kind)) = OPERATORS.iter().find(|(operator, _)| self.eat(operator)) {
            return Ok(kind.clone());
        }
        let hint = match first {
            '&' => "write `&&` or `and`",
            '|' => "write `||` or `or`",
            '[' => "a path begins with a point, such as `.[0]`",
            '“' | '”' | '„' | '‘' | '’' | '`' => "text stands in \"quotes\" or 'quotes'",
            _ => "expected a field, an operator or a value",
        };
        Err(FilterFault::new(
            self.at,
            format!("unexpected {}: {hint}", quoted(first.encode_utf8(&mut [0; 4]))),
        ))
    }

    fn bare(&mut self) -> Result<FilterTokenKind, FilterFault> {
        let start = self.at;
        let text = self.take_while(|c| c.is_alphanumeric() || matches!(c, '-' | '+' | '.' | ':' | '_'));
        if text.starts_with('-') && !text.trim_start_matches('-').starts_with(|c: char| c.is_ascii_digit()) {
            return Err(FilterFault::new(start, "expected a number or a time after `-`"));
        }
        Ok(FilterTokenKind::Bare)
    }

    fn word(&mut self) -> Result<FilterTokenKind, FilterFault> {
        let word = self.take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
        Ok(if word == "header" && self.eat(".") {
            FilterTokenKind::Header(self.header()?)
        } else if word.eq_ignore_ascii_case("and") {
            FilterTokenKind::And
        } else if word.eq_ignore_ascii_case("or") {
            FilterTokenKind::Or
        } else if word.eq_ignore_ascii_case("not") {
            FilterTokenKind::Not
        } else {
            FilterTokenKind::Word
        })
    }

    fn header(&mut self) -> Result<String, FilterFault> {
        if let Some(quote @ ('"' | '\'')) = self.peek() {
            return self.quoted(quote);
        }
        let name = self.take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
        if name.is_empty() {
            let message = "expected the name of a header, such as header.origin or header.\"odd name\"";
            return Err(FilterFault::new(self.at, message));
        }
        Ok(name.to_owned())
    }

    /// Reads `.name`, `."name"`, `[0]` and `[]` until another character comes.
    fn path(&mut self) -> Result<Vec<JsonPathStep>, FilterFault> {
        let start = self.at;
        let mut steps = Vec::new();
        loop {
            if self.eat("[") {
                steps.push(self.index()?);
            } else if self.eat(".") {
                // An array at the top has no name before its index.
                if !(steps.is_empty() && self.peek() == Some('[')) {
                    steps.push(JsonPathStep::Key(JsonKey::new(self.key()?)));
                }
            } else {
                return Ok(steps);
            }
            if steps.len() > MAX_STEPS {
                return Err(FilterFault::new(start, format!("a path has at most {MAX_STEPS} steps")));
            }
        }
    }

    fn key(&mut self) -> Result<String, FilterFault> {
        if let Some(quote @ ('"' | '\'')) = self.peek() {
            return self.quoted(quote);
        }
        let name = self.take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '$'));
        if name.is_empty() {
            let message = "expected a key after `.`, such as .total or .\"odd key\"";
            return Err(FilterFault::new(self.at, message));
        }
        Ok(name.to_owned())
    }

    fn index(&mut self) -> Result<JsonPathStep, FilterFault> {
        let start = self.at;
        let digits = self.take_while(|c| c.is_ascii_digit());
        if !self.eat("]") {
            let message = "expected an index and `]`: [0] is the first element, [] any element";
            return Err(FilterFault::new(self.at, message));
        }
        if digits.is_empty() {
            return Ok(JsonPathStep::Each);
        }
        let index = digits.parse().map(JsonPathStep::Index);
        index.map_err(|_| FilterFault::new(start, format!("expected an index up to {}", u32::MAX)))
    }

    /// Reads a text in quotes, without its escapes.
    fn quoted(&mut self, quote: char) -> Result<String, FilterFault> {
        let start = self.at;
        let body = self.rest().get(1..).unwrap_or_default();
        let mut escape = false;
        let end = body.find(|character| {
            let closes = character == quote && !escape;
            escape = character == '\\' && !escape;
            closes
        });
        let Some(raw) = end.and_then(|end| body.get(..end)) else {
            return Err(FilterFault::new(start, format!("unclosed text: expected another {quote}")));
        };
        self.at += raw.len() + 2;
        let other = quote == '\'';
        let bytes = unescape(raw.as_bytes(), other).map_err(|at| {
            FilterFault::new(
                start + 1 + at,
                "unknown escape: use \\\" \\\\ \\/ \\b \\f \\n \\r \\t or \\u00e9",
            )
        })?;
        String::from_utf8(bytes).map_err(|_| FilterFault::new(start, "expected text in UTF-8"))
    }
}
