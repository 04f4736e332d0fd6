//! From the syntax tree to tests, where each operator and literal must fit its field.

use memchr::memmem::Finder;

use super::{
    error::{FilterFault, quoted},
    evaluate::{FilterInteger, FilterPart, FilterTest},
    json_path::{JsonPath, JsonPathStep},
    json_test::{JsonPathTest, JsonTest},
    lexer::FilterOperator,
    number::FilterNumber,
    parser::{FilterComparison, FilterField, FilterLiteral, FilterNode},
    text_test::TextTest,
};
use crate::time_text;

/// Compiles a tree; times before now count from `now_millis`.
///
/// The recursion is as deep as the tree, which the parser limits.
pub(super) fn compile(node: FilterNode, now_millis: i64) -> Result<FilterTest, FilterFault> {
    Ok(match node {
        FilterNode::All(nodes) => FilterTest::All(compile_each(nodes, now_millis)?),
        FilterNode::Any(nodes) => FilterTest::Any(compile_each(nodes, now_millis)?),
        FilterNode::Not(node) => negated(compile(*node, now_millis)?),
        FilterNode::Present(field) => present(field),
        FilterNode::Compare(comparison) => compare(comparison, now_millis)?,
    })
}

/// The order of tests is free, as they have no effects: cheap ones go first and spare the others.
fn compile_each(nodes: Vec<FilterNode>, now_millis: i64) -> Result<Vec<FilterTest>, FilterFault> {
    let mut tests = nodes.into_iter().map(|node| compile(node, now_millis)).collect::<Result<Vec<_>, _>>()?;
    tests.sort_by_key(FilterTest::cost);
    Ok(tests)
}

fn negated(test: FilterTest) -> FilterTest {
    FilterTest::Not(Box::new(test))
}

/// Records have no missing values, only empty ones.
fn empty_value() -> FilterTest {
    FilterTest::Text(FilterPart::Value, TextTest::Equal(Box::default()))
}

fn present(field: FilterField) -> FilterTest {
    match field {
        FilterField::Key => FilterTest::Text(FilterPart::Key, TextTest::Present),
        FilterField::Value => negated(empty_value()),
        FilterField::Header(name) => FilterTest::Header(name, TextTest::Present),
        FilterField::Time => FilterTest::TimePresent,
        FilterField::Path(steps) => json(steps, JsonTest::Present),
        FilterField::Topic | FilterField::Partition | FilterField::Offset => FilterTest::Always,
    }
}

fn json(steps: Vec<JsonPathStep>, test: JsonTest) -> FilterTest {
    FilterTest::Json(Box::new(JsonPathTest::new(JsonPath::new(steps), test)))
}

fn compare(comparison: FilterComparison, now_millis: i64) -> Result<FilterTest, FilterFault> {
    let (operator, not) = match comparison.operator {
        FilterOperator::NotEqual => (FilterOperator::Equal, true),
        FilterOperator::NotContains => (FilterOperator::Contains, true),
        operator => (operator, false),
    };
    let side = FilterSide {
        operator,
        operator_text: comparison.operator_text,
        operator_at: comparison.operator_at,
        literal: comparison.literal,
        literal_at: comparison.literal_at,
    };
    let test = match comparison.field {
        FilterField::Key => FilterTest::Text(FilterPart::Key, side.text()?),
        FilterField::Value => match side.text()? {
            TextTest::Missing => empty_value(),
            test => FilterTest::Text(FilterPart::Value, test),
        },
        FilterField::Topic => FilterTest::Text(FilterPart::Topic, side.text()?),
        FilterField::Header(name) => FilterTest::Header(name, side.text()?),
        FilterField::Partition => side.integer("partition", FilterInteger::Partition)?,
        FilterField::Offset => side.integer("offset", FilterInteger::Offset)?,
        FilterField::Time => side.time(now_millis)?,
        FilterField::Path(steps) => json(steps, side.json()?),
    };
    Ok(if not { negated(test) } else { test })
}

/// The operator and the literal of a comparison, without negation.
struct FilterSide {
    operator: FilterOperator,
    operator_text: String,
    operator_at: usize,
    literal: FilterLiteral,
    literal_at: usize,
}

impl FilterSide {
    fn wrong_literal<T>(&self, expected: &str) -> Result<T, FilterFault> {
        let message = format!("expected {expected} after `{}`", self.operator_text);
        Err(FilterFault::new(self.literal_at, message))
    }

    /// Reads an unquoted literal as a number, for a field that has texts and numbers.
    fn number(&self, bare: &str) -> Result<FilterNumber, FilterFault> {
        FilterNumber::parse(bare.as_bytes()).ok_or_else(|| {
            let message = format!("expected a number, found {}: text stands in quotes", quoted(bare));
            FilterFault::new(self.literal_at, message)
        })
    }

    fn text(self) -> Result<TextTest, FilterFault> {
        let text = match &self.literal {
            FilterLiteral::Text(text) => text.as_str(),
            FilterLiteral::Bare(bare) => {
                let number = self.number(bare)?;
                if !matches!(self.operator, FilterOperator::Equal | FilterOperator::Contains) {
                    return Ok(TextTest::Number(self.operator, number));
                }
                bare
            }
            FilterLiteral::Null if self.operator == FilterOperator::Equal => return Ok(TextTest::Missing),
            FilterLiteral::Null if self.operator == FilterOperator::Contains => {
                return self.wrong_literal("text");
            }
            FilterLiteral::Bool(bool) => match self.operator {
                FilterOperator::Equal | FilterOperator::Contains if *bool => "true",
                FilterOperator::Equal | FilterOperator::Contains => "false",
                _ => return self.wrong_literal("a number or text"),
            },
            FilterLiteral::Null => return self.wrong_literal("a number or text"),
        };
        Ok(match self.operator {
            FilterOperator::Equal => TextTest::Equal(text.as_bytes().into()),
            FilterOperator::Contains => TextTest::Contains(Box::new(Finder::new(text).into_owned())),
            operator => TextTest::Order(operator, text.as_bytes().into()),
        })
    }

    fn integer(self, name: &str, field: FilterInteger) -> Result<FilterTest, FilterFault> {
        self.refuse_contains(name, "a number")?;
        match &self.literal {
            FilterLiteral::Bare(bare) => Ok(FilterTest::Integer(field, self.operator, self.number(bare)?)),
            _ => self.wrong_literal("a number"),
        }
    }

    fn time(self, now_millis: i64) -> Result<FilterTest, FilterFault> {
        self.refuse_contains("@", "a time")?;
        let text = match &self.literal {
            FilterLiteral::Text(text) | FilterLiteral::Bare(text) => text,
            FilterLiteral::Null if self.operator == FilterOperator::Equal => {
                return Ok(negated(FilterTest::TimePresent));
            }
            _ => return self.wrong_literal("a time, such as -1h or 2026-01-31,"),
        };
        let millis = time_text::parse(text, now_millis).map_err(|message| {
            FilterFault::new(self.literal_at, format!("{message}; found {}", quoted(text)))
        })?;
        Ok(FilterTest::Time(self.operator, millis))
    }

    fn refuse_contains(&self, name: &str, kind: &str) -> Result<(), FilterFault> {
        if self.operator != FilterOperator::Contains {
            return Ok(());
        }
        let operator = &self.operator_text;
        let message = format!("`{operator}` searches text, and {name} is {kind}: use =, !=, <, <=, > or >=");
        Err(FilterFault::new(self.operator_at, message))
    }

    fn json(self) -> Result<JsonTest, FilterFault> {
        match (&self.literal, self.operator) {
            (FilterLiteral::Text(text), FilterOperator::Equal) => {
                Ok(JsonTest::TextEqual(text.as_bytes().into()))
            }
            (FilterLiteral::Text(text), FilterOperator::Contains) => {
                Ok(JsonTest::TextContains(Box::new(Finder::new(text).into_owned())))
            }
            (FilterLiteral::Text(text), operator) => {
                Ok(JsonTest::TextOrder(operator, text.as_bytes().into()))
            }
            (_, FilterOperator::Contains) => self.wrong_literal("text in quotes"),
            (FilterLiteral::Bare(bare), operator) => Ok(JsonTest::Number(operator, self.number(bare)?)),
            (FilterLiteral::Bool(bool), FilterOperator::Equal) => Ok(JsonTest::Bool(*bool)),
            (FilterLiteral::Null, FilterOperator::Equal) => Ok(JsonTest::Null),
            (FilterLiteral::Bool(_) | FilterLiteral::Null, _) => self.wrong_literal("a number or text"),
        }
    }
}
