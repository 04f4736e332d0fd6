//! Syntax of filter expressions: from tokens to a tree.

use super::{
    error::{FilterFault, quoted},
    json_path::JsonPathStep,
    lexer::{FilterOperator, FilterToken, FilterTokenKind, tokens},
};

/// Parentheses and negations inside each other at most; the parser and the evaluation recurse this deep.
pub(super) const MAX_NESTING: usize = 64;

/// The syntax tree of an expression. Chains of one operator are flat, so its depth is the nesting.
#[derive(Debug)]
pub(super) enum FilterNode {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    /// A field alone.
    Present(FilterField),
    Compare(FilterComparison),
}

/// A field, an operator and a literal, with their places for messages.
#[derive(Debug)]
pub(super) struct FilterComparison {
    pub(super) field: FilterField,
    pub(super) operator: FilterOperator,
    /// The operator as the expression writes it.
    pub(super) operator_text: String,
    pub(super) operator_at: usize,
    pub(super) literal: FilterLiteral,
    pub(super) literal_at: usize,
}

/// A part of the record.
#[derive(Debug)]
pub(super) enum FilterField {
    Key,
    Value,
    Topic,
    Partition,
    Offset,
    Time,
    Header(String),
    Path(Vec<JsonPathStep>),
}

/// The right side of a comparison.
#[derive(Debug)]
pub(super) enum FilterLiteral {
    Text(String),
    /// A number or a time: the field decides.
    Bare(String),
    Bool(bool),
    Null,
}

/// Parses an expression.
pub(super) fn parse(text: &str) -> Result<FilterNode, FilterFault> {
    let mut parser = FilterParser { text, tokens: tokens(text)?, at: 0, nesting: 0 };
    let node = parser.any_of()?;
    let next = parser.peek();
    if next.kind == FilterTokenKind::End {
        return Ok(node);
    }
    let hint = if next.kind == FilterTokenKind::Close { ": no `(` is open" } else { "" };
    let message = format!("expected `and`, `or` or the end, found {}{hint}", parser.shown(&next));
    Err(FilterFault::new(next.start, message))
}

struct FilterParser<'t> {
    text: &'t str,
    tokens: Vec<FilterToken>,
    at: usize,
    nesting: usize,
}

impl FilterParser<'_> {
    fn peek(&self) -> FilterToken {
        let end = FilterToken { kind: FilterTokenKind::End, start: self.text.len(), end: self.text.len() };
        self.tokens.get(self.at).cloned().unwrap_or(end)
    }

    fn next(&mut self) -> FilterToken {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn eat(&mut self, kind: &FilterTokenKind) -> bool {
        let found = self.tokens.get(self.at).is_some_and(|token| token.kind == *kind);
        self.at += usize::from(found);
        found
    }

    fn text_of(&self, token: &FilterToken) -> &str {
        self.text.get(token.start..token.end).unwrap_or_default()
    }

    fn shown(&self, token: &FilterToken) -> String {
        match token.kind {
            FilterTokenKind::End => "the end".to_owned(),
            _ => quoted(self.text_of(token)),
        }
    }

    fn any_of(&mut self) -> Result<FilterNode, FilterFault> {
        let first = self.all_of()?;
        let mut nodes = vec![first];
        while self.eat(&FilterTokenKind::Or) {
            nodes.push(self.all_of()?);
        }
        Ok(if nodes.len() == 1 { nodes.remove(0) } else { FilterNode::Any(nodes) })
    }

    fn all_of(&mut self) -> Result<FilterNode, FilterFault> {
        let first = self.unary()?;
        let mut nodes = vec![first];
        while self.eat(&FilterTokenKind::And) {
            nodes.push(self.unary()?);
        }
        Ok(if nodes.len() == 1 { nodes.remove(0) } else { FilterNode::All(nodes) })
    }

    fn unary(&mut self) -> Result<FilterNode, FilterFault> {
        let start = self.peek().start;
        if self.eat(&FilterTokenKind::Not) {
            let node = self.nested(start, Self::unary)?;
            return Ok(FilterNode::Not(Box::new(node)));
        }
        if !self.eat(&FilterTokenKind::Open) {
            return self.condition();
        }
        let node = self.nested(start, Self::any_of)?;
        let next = self.next();
        match next.kind {
            FilterTokenKind::Close => Ok(node),
            FilterTokenKind::End => Err(FilterFault::new(start, "unclosed `(`: expected `)`")),
            _ => {
                let message = format!("expected `and`, `or` or `)`, found {}", self.shown(&next));
                Err(FilterFault::new(next.start, message))
            }
        }
    }

    fn nested(
        &mut self,
        start: usize,
        parse: impl FnOnce(&mut Self) -> Result<FilterNode, FilterFault>,
    ) -> Result<FilterNode, FilterFault> {
        if self.nesting == MAX_NESTING {
            let message = format!("too deep: parentheses and negations nest at most {MAX_NESTING} times");
            return Err(FilterFault::new(start, message));
        }
        self.nesting += 1;
        let node = parse(self)?;
        self.nesting -= 1;
        Ok(node)
    }

    fn condition(&mut self) -> Result<FilterNode, FilterFault> {
        let token = self.next();
        if let FilterTokenKind::Text(text) = token.kind {
            return Ok(FilterNode::Compare(FilterComparison {
                field: FilterField::Value,
                operator: FilterOperator::Contains,
                operator_text: "~".to_owned(),
                operator_at: token.start,
                literal: FilterLiteral::Text(text),
                literal_at: token.start,
            }));
        }
        let field = self.field(token)?;
        let operator = self.peek();
        match operator.kind {
            FilterTokenKind::Operator(kind) => {
                self.at += 1;
                let operator_text = self.text_of(&operator).to_owned();
                let literal_at = self.peek().start;
                let literal = self.literal(&operator_text)?;
                let operator_at = operator.start;
                let operator = kind;
                Ok(FilterNode::Compare(FilterComparison {
                    field,
                    operator,
                    operator_text,
                    operator_at,
                    literal,
                    literal_at,
                }))
            }
            FilterTokenKind::Text(_) | FilterTokenKind::Bare => {
                let message = format!("expected an operator, such as `=`, before {}", self.shown(&operator));
                Err(FilterFault::new(operator.start, message))
            }
            _ => Ok(FilterNode::Present(field)),
        }
    }

    fn field(&self, token: FilterToken) -> Result<FilterField, FilterFault> {
        let shown = self.shown(&token);
        let word = self.text_of(&token);
        let message = match token.kind {
            FilterTokenKind::Path(steps) => return Ok(FilterField::Path(steps)),
            FilterTokenKind::Header(name) => return Ok(FilterField::Header(name)),
            FilterTokenKind::Time => return Ok(FilterField::Time),
            FilterTokenKind::Word => match word {
                "key" => return Ok(FilterField::Key),
                "value" => return Ok(FilterField::Value),
                "topic" => return Ok(FilterField::Topic),
                "partition" => return Ok(FilterField::Partition),
                "offset" => return Ok(FilterField::Offset),
                "header" => "expected a name after `header`: write header.NAME".to_owned(),
                _ => format!(
                    "unknown field {shown}: use key, value, header.NAME, .json.path, @, offset, partition or topic"
                ),
            },
            FilterTokenKind::End => {
                "expected a condition, such as key = \"ada\" or .order.total > 10".to_owned()
            }
            _ => format!("expected a field, such as key or .order.total, found {shown}"),
        };
        Err(FilterFault::new(token.start, message))
    }

    fn literal(&mut self, operator: &str) -> Result<FilterLiteral, FilterFault> {
        let token = self.next();
        let word = self.text_of(&token);
        let message = match token.kind {
            FilterTokenKind::Text(text) => return Ok(FilterLiteral::Text(text)),
            FilterTokenKind::Bare => return Ok(FilterLiteral::Bare(word.to_owned())),
            FilterTokenKind::Word if word.eq_ignore_ascii_case("true") => {
                return Ok(FilterLiteral::Bool(true));
            }
            FilterTokenKind::Word if word.eq_ignore_ascii_case("false") => {
                return Ok(FilterLiteral::Bool(false));
            }
            FilterTokenKind::Word if word.eq_ignore_ascii_case("null") => return Ok(FilterLiteral::Null),
            FilterTokenKind::End => format!("expected a value after `{operator}`"),
            FilterTokenKind::Word => {
                let shown = self.shown(&token);
                format!("expected a value after `{operator}`, found {shown}: text stands in quotes")
            }
            _ => format!("expected a value after `{operator}`, found {}", self.shown(&token)),
        };
        Err(FilterFault::new(token.start, message))
    }
}
