//! Queries as types: each field of a struct is a parameter.
//!
//! The fields are the known parameters. A field is a number, a text, a word of an enum, an `Option` of one of these, or a
//! list for a parameter that may be repeated.

use std::{
    fmt,
    future::{Ready, ready},
};

use actix_web::{FromRequest, HttpRequest, dev::Payload};
use serde::{
    Deserialize, Deserializer,
    de::{
        self, DeserializeOwned, IntoDeserializer, Visitor,
        value::{MapDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};
use utoipa::ToSchema;

use super::{
    problem::Problem,
    query::{self, Params},
};

/// Parses the query of `request`.
///
/// # Errors
/// 400 that names an unknown, missing, repeated or invalid parameter.
pub fn read<T: DeserializeOwned>(request: &HttpRequest) -> Result<T, Problem> {
    let params = Params::read_any(request)?;
    T::deserialize(Query(&params)).map_err(|Fault(problem)| problem)
}

/// Query of a path without parameters. As an extractor it is for handlers that don't authorize the caller;
/// [`Authorized`](super::authorized::Authorized) reads the query itself.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct NoParameters {}

impl FromRequest for NoParameters {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(read(request))
    }
}

/// Largest number of entries on a page.
const MAX_PAGE: usize = 200;

/// Number of entries on a page: 1 to 200, default 50. Values out of range are clamped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(value_type = u64, minimum = 0, maximum = 18_446_744_073_709_551_615_u64, format = "uint64", example = 50)]
pub struct PageSize(pub usize);

impl Default for PageSize {
    fn default() -> Self {
        Self(50)
    }
}

impl<'de> Deserialize<'de> for PageSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        usize::deserialize(deserializer).map(|size| Self(size.clamp(1, MAX_PAGE)))
    }
}

/// Deserializer of the struct.
struct Query<'de>(&'de Params);

impl<'de> Deserializer<'de> for Query<'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Fault> {
        Err(de::Error::custom("a query is read into a struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let Self(params) = self;
        params.check_names(names)?;
        let present = names.iter().filter(|name| params.all(name).next().is_some());
        visitor.visit_map(MapDeserializer::new(present.map(|&name| (name, Parameter { params, name }))))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
        seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// Deserializer of one field.
#[derive(Clone, Copy)]
struct Parameter<'de> {
    params: &'de Params,
    name: &'static str,
}

impl<'de> Parameter<'de> {
    /// Returns the value of a parameter that may occur once.
    fn text(self) -> Result<&'de str, Fault> {
        Ok(self.params.one(self.name)?.unwrap_or_default())
    }

    /// Adds the name of the parameter to an error about its value.
    fn named(self, Fault(problem): Fault) -> Fault {
        query::bad(self.name, &problem.detail).into()
    }
}

impl<'de> IntoDeserializer<'de, Fault> for Parameter<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Parameter<'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_borrowed_str(self.text()?).map_err(|fault| self.named(fault))
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let number = self.params.number(self.name)?.unwrap_or_default();
        visitor.visit_u64(number).map_err(|fault| self.named(fault))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let all = SeqDeserializer::new(self.params.all(self.name));
        visitor.visit_seq(all).map_err(|fault: Fault| self.named(fault))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let word = IntoDeserializer::<Fault>::into_deserializer(self.text()?);
        visitor.visit_enum(word).map_err(|fault| self.named(fault))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 f32 f64 char str string bytes byte_buf unit unit_struct tuple tuple_struct map
        struct identifier ignored_any
    }
}

/// Error of a query: the response.
#[derive(Debug)]
struct Fault(Problem);

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.detail)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(Problem::bad_request(message.to_string()))
    }

    fn missing_field(name: &'static str) -> Self {
        query::bad(name, &"is missing").into()
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Orders {
        before: String,
        state: Option<State>,
        #[serde(default)]
        limit: PageSize,
        #[serde(default)]
        field: Vec<String>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum State {
        Open,
        Closed,
    }

    fn read_text(query: &str) -> Result<Orders, String> {
        let request = TestRequest::with_uri(&format!("/x?{query}")).to_http_request();
        read(&request).map_err(|problem| problem.detail)
    }

    #[test]
    fn fields_are_parameters() {
        let orders = read_text("before=b&state=open&limit=7&field=x&field[]=y").unwrap();
        let field = vec!["x".to_owned(), "y".to_owned()];
        assert_eq!(orders, Orders { before: "b".into(), state: Some(State::Open), limit: PageSize(7), field });
        let least = read_text("before=").unwrap();
        assert_eq!(least, Orders { before: String::new(), state: None, limit: PageSize(50), field: Vec::new() });
    }

    #[test]
    fn the_size_of_a_page_is_clamped() {
        for (text, size) in [("0", 1), ("1", 1), ("200", 200), ("201", 200), ("18446744073709551615", 200)] {
            assert_eq!(read_text(&format!("before=b&limit={text}")).unwrap().limit, PageSize(size), "{text}");
        }
    }

    #[test]
    fn errors_name_the_parameter() {
        for (query, part) in [
            ("", "before: is missing"),
            ("before=a&before=b", "before: it occurs more than once"),
            ("before=a&state=ajar", "state: unknown variant `ajar`, expected `open` or `closed`"),
            ("before=a&limit=-1", "limit: write a whole number"),
            ("befor=a", "did you mean before?"),
        ] {
            let detail = read_text(query).unwrap_err();
            assert!(detail.contains(part), "{query}: {detail}");
        }
    }
}
