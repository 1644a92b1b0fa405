//! Query parameters: known ones only, single or repeated.
//!
//! ```text
//! ?channels=a,b      ?channels=a&channels=b      ?channels[]=a&channels[]=b      ?channels[0]=a&channels[1]=b
//! ```
//!
//! All forms mean the same. [`typed_query`](super::typed_query) parses a query into a struct. Unknown parameters are refused by name: if they were ignored, `?channel=a` would get the
//! default channels without a hint at the mistake.

use std::{fmt::Display, str::FromStr};

use actix_web::{HttpRequest, web};

use super::problem::Problem;
use crate::spelling;

/// Credentials, which every path accepts. `access` reads them.
const CREDENTIALS: [&str; 2] = ["token", "ticket"];

/// Parameters without a meaning for a server: scripts, test tools and links add them to avoid caches or for statistics.
/// Those with the prefix [`CAMPAIGN`] are of the same kind.
const PASSED_OVER: [&str; 9] = ["_", "t", "ts", "cb", "rnd", "nocache", "cachebuster", "fbclid", "gclid"];

/// Prefix of the parameters of campaigns.
const CAMPAIGN: &str = "utm_";

/// Parameters of one request, in order.
#[derive(Debug, Default)]
pub struct Params {
    pairs: Vec<(String, String)>,
}

impl Params {
    /// Parses the query of a path with the parameters `known`.
    ///
    /// # Errors
    /// 400 that names an unknown parameter, and the known ones.
    pub fn read(request: &HttpRequest, known: &[&str]) -> Result<Self, Problem> {
        let params = Self::read_any(request)?;
        params.check_names(known).map(|()| params)
    }

    /// Checks that all names are among those of `known`.
    ///
    /// # Errors
    /// 400 that names an unknown parameter, and the known ones.
    pub(super) fn check_names(&self, known: &[&str]) -> Result<(), Problem> {
        match self.pairs.iter().find(|(name, _)| !is_known(name, known)) {
            None => Ok(()),
            Some((name, _)) => Err(unknown(name, known)),
        }
    }

    /// Parses a query without a check of the names.
    ///
    /// # Errors
    /// 400 for an invalid query.
    pub fn read_any(request: &HttpRequest) -> Result<Self, Problem> {
        let query = request.query_string();
        if query.is_empty() {
            return Ok(Self::default());
        }
        let pairs = web::Query::<Vec<(String, String)>>::from_query(query);
        let mut pairs =
            pairs.map_err(|_| Problem::bad_request("the query can't be read: write name=value&name=value"))?;
        pairs.iter_mut().for_each(|(name, _)| name.truncate(bare(name).len()));
        Ok(Self { pairs: pairs.into_inner() })
    }

    /// Returns all values of a parameter.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.pairs.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Returns the value of a parameter that may occur once.
    ///
    /// # Errors
    /// 400 if it occurs several times.
    pub fn one(&self, name: &str) -> Result<Option<&str>, Problem> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (first, None) => Ok(first),
            (_, Some(_)) => Err(Problem::bad_request(format!("{name}: it occurs more than once"))),
        }
    }

    /// Returns the values of a parameter that is a list, separated by commas.
    pub fn list(&self, name: &str) -> Option<String> {
        let mut values = self.all(name);
        let first = values.next()?.to_owned();
        Some(values.fold(first, |list, value| list + "," + value))
    }

    /// Parses a whole number.
    ///
    /// # Errors
    /// 400 for any other value.
    pub fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, Problem> {
        let number = self.one(name)?.map(str::parse).transpose();
        number.map_err(|_| bad(name, &"write a whole number"))
    }
}

/// Creates the 400 for the value of a parameter.
pub fn bad(name: &str, error: &dyn Display) -> Problem {
    Problem::bad_request(format!("{name}: {error}"))
}

/// Returns `channels` for `channels[]` and `channels[0]`.
fn bare(name: &str) -> &str {
    let inner = name.strip_suffix(']').and_then(|name| name.rsplit_once('['));
    inner.filter(|(_, index)| index.bytes().all(|byte| byte.is_ascii_digit())).map_or(name, |(name, _)| name)
}

fn is_known(name: &str, known: &[&str]) -> bool {
    known.contains(&name)
        || CREDENTIALS.contains(&name)
        || PASSED_OVER.contains(&name)
        || name.starts_with(CAMPAIGN)
        || name.is_empty()
}

fn unknown(name: &str, known: &[&str]) -> Problem {
    let shown: String = name.chars().take(60).collect();
    let nearest = spelling::nearest(name, known.iter().copied().chain(CREDENTIALS));
    let hint = nearest.map_or_else(String::new, |nearest| format!("did you mean {nearest}? "));
    let known = match known {
        [] => "this path has none".to_owned(),
        known => format!("there are {}", known.join(", ")),
    };
    Problem::bad_request(format!("there is no parameter {shown:?} here: {hint}{known}"))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    const KNOWN: &[&str] = &["channels", "since", "limit"];

    fn read(query: &str) -> Result<Params, String> {
        let request = TestRequest::with_uri(&format!("/x{query}")).to_http_request();
        Params::read(&request, KNOWN).map_err(|problem| problem.detail)
    }

    #[test]
    fn a_list_is_written_in_any_of_the_usual_ways() {
        for query in [
            "?channels=a,b",
            "?channels=a&channels=b",
            "?channels[]=a&channels[]=b",
            "?channels%5B0%5D=a&channels%5B1%5D=b",
            "?channels=a%2Cb",
        ] {
            assert_eq!(read(query).unwrap().list("channels").as_deref(), Some("a,b"), "{query}");
        }
        assert_eq!(read("").unwrap().list("channels"), None);
    }

    #[test]
    fn unknown_parameters_are_refused_by_name() {
        for (query, parts) in [
            ("?channel=a", ["\"channel\"", "did you mean channels?", "channels, since, limit"]),
            ("?Since=a", ["\"Since\"", "did you mean since?", ""]),
            ("?colour=1", ["\"colour\"", "there are", ""]),
            ("?channels[x]=1", ["\"channels[x]\"", "", ""]),
        ] {
            let detail = read(query).unwrap_err();
            parts.iter().for_each(|part| assert!(detail.contains(part), "{query}: {detail}"));
        }
        for query in ["?_=171", "?t=1", "?utm_source=x", "?token=a&ticket=b", "?&", "?since="] {
            assert!(read(query).is_ok(), "{query}");
        }
    }

    #[test]
    fn the_fault_of_a_value_is_described() {
        let params = read("?since=a&since=b&limit=abc").unwrap();
        assert!(params.one("since").unwrap_err().detail.contains("more than once"));
        assert_eq!(params.number::<usize>("limit").unwrap_err().detail, "limit: write a whole number");
    }
}
