//! Number of distinct members of a set, in bounded memory.
//!
//! Up to [`EXACT_UP_TO`] members it is exact; then it is a HyperLogLog sketch (Flajolet, Fusy, Gandouet, Meunier 2007) of
//! 4 KiB, read by Ertl's estimator ("New cardinality estimation algorithms for HyperLogLog sketches", 2017, algorithm 6),
//! which has no bias at any count. Its standard error is 1.6 %: 95 % of all counts are within 3.2 %, nearly all within 5 %.

use std::f64::consts::LN_2;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::window::{Moment, Window};

/// Most members that are counted exactly; as many fit into the memory of the sketch.
pub(super) const EXACT_UP_TO: usize = 512;

/// Number of bits of a fingerprint that select the register.
const PRECISION: u32 = 12;

/// Registers of the sketch, a byte each.
const REGISTERS: usize = 1 << PRECISION;

/// Bits of a fingerprint that are left for a register.
const REST: u32 = u64::BITS - PRECISION;

/// Version of [`fingerprint`]. Fingerprints are stored in Redis and compared with those of later programs, so a change of the
/// function needs a new number: a set that was stored under another number starts empty instead of counting members twice.
const FINGERPRINT_VERSION: u32 = 1;

/// Members of a series of the type `set`. Read as `{"type":"set","count":..,"today":{"count":..}}`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(from = "KeptSet")]
pub(super) struct Set {
    fingerprint_version: u32,
    pub(super) window: Window<Distinct>,
    pub(super) today: Distinct,
}

impl Default for Set {
    fn default() -> Self {
        let (window, today) = Default::default();
        Self { fingerprint_version: FINGERPRINT_VERSION, window, today }
    }
}

/// Stored set of any version of this program.
#[derive(Deserialize)]
struct KeptSet {
    #[serde(default)]
    fingerprint_version: u32,
    window: Window<Distinct>,
    today: Distinct,
}

impl From<KeptSet> for Set {
    fn from(KeptSet { fingerprint_version, window, today }: KeptSet) -> Self {
        match fingerprint_version {
            FINGERPRINT_VERSION => Self { fingerprint_version, window, today },
            _ => Self::default(),
        }
    }
}

impl Set {
    /// Longest text of [`Set::read`] without its numbers, and the number of these.
    pub(super) const LENGTH: (usize, usize) = (50, 2);

    pub(super) fn add(&mut self, member: u64, moment: Moment) {
        self.window.add(moment.second(), |distinct| distinct.add(member));
        self.today.add(member);
    }

    /// Returns its memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.window.heap_bytes(Distinct::heap_bytes) + self.today.heap_bytes()
    }

    pub(super) fn read(&self, moment: Moment) -> Value {
        let mut window = Distinct::default();
        self.window.at(moment.second()).for_each(|(_, distinct)| window.merge(distinct));
        json!({"type": "set", "count": window.count(), "today": {"count": self.today.count()}})
    }
}

/// Returns the 64 bits that represent a member: its XXH3 hash, seeded with the member's type. `5` and `5.0` are one member,
/// `"5"` is another. `None` if the value cannot be a member of a set. See [`FINGERPRINT_VERSION`].
pub(super) fn fingerprint(member: &Value) -> Option<u64> {
    // One seed for each type, so that members of different types differ.
    const TEXT: u64 = 0;
    const WHOLE: u64 = 1;
    const LARGE: u64 = 2;
    const FRACTION: u64 = 3;
    let whole = |value: i64| xxh3_64_with_seed(&value.to_le_bytes(), WHOLE);
    Some(match member {
        Value::String(text) => xxh3_64_with_seed(text.as_bytes(), TEXT),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()?) {
            (Some(value), _, _) => whole(value),
            (None, Some(value), _) => xxh3_64_with_seed(&value.to_le_bytes(), LARGE),
            (None, None, value) if value.fract() == 0.0 && value.abs() < i64::MAX as f64 => whole(value as i64),
            (None, None, value) => xxh3_64_with_seed(&value.to_bits().to_le_bytes(), FRACTION),
        },
        _ => return None,
    })
}

/// Estimate of the number of distinct members. The same members make the same set, in any order and any parts.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Distinct {
    /// Fingerprints of the members, sorted, each once.
    Exact(Vec<u64>),
    /// Registers: the largest number of leading zeros of the fingerprints that chose it, plus one.
    Sketch(#[serde(with = "registers")] Box<[u8; REGISTERS]>),
}

impl Default for Distinct {
    fn default() -> Self {
        Self::Exact(Vec::new())
    }
}

impl Distinct {
    /// Adds a member by its fingerprint.
    pub(super) fn add(&mut self, member: u64) {
        match self {
            Self::Sketch(registers) => register(registers, member),
            Self::Exact(members) => {
                if let Err(at) = members.binary_search(&member) {
                    if members.len() < EXACT_UP_TO {
                        members.insert(at, member);
                    } else {
                        self.sketch();
                        self.add(member);
                    }
                }
            }
        }
    }

    /// Adds all members of another set.
    pub(super) fn merge(&mut self, other: &Self) {
        match other {
            Self::Exact(members) => members.iter().for_each(|member| self.add(*member)),
            Self::Sketch(others) => {
                self.sketch();
                if let Self::Sketch(registers) = self {
                    registers.iter_mut().zip(others.iter()).for_each(|(mine, other)| *mine = (*mine).max(*other));
                }
            }
        }
    }

    /// Returns the bytes on the heap.
    fn heap_bytes(&self) -> usize {
        match self {
            Self::Exact(members) => members.capacity() * size_of::<u64>(),
            Self::Sketch(_) => REGISTERS,
        }
    }

    /// Returns the number of members.
    pub(super) fn count(&self) -> u64 {
        match self {
            Self::Exact(members) => members.len() as u64,
            Self::Sketch(registers) => estimate(registers).round() as u64,
        }
    }

    fn sketch(&mut self) {
        if let Self::Exact(members) = self {
            let mut registers = Box::new([0; REGISTERS]);
            members.iter().for_each(|member| register(&mut registers, *member));
            *self = Self::Sketch(registers);
        }
    }
}

/// Registers as one text: a JSON list of numbers would take three times the room.
mod registers {
    use data_encoding::BASE64;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::REGISTERS;

    pub(super) fn serialize<S: Serializer>(registers: &[u8; REGISTERS], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(registers))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<[u8; REGISTERS]>, D::Error> {
        let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        let bytes = BASE64.decode(text.as_bytes()).map_err(D::Error::custom)?;
        bytes.into_boxed_slice().try_into().map_err(|_| D::Error::custom("not as many registers as there are"))
    }
}

fn register(registers: &mut [u8; REGISTERS], member: u64) {
    let zeros = (member << PRECISION).leading_zeros().min(REST) as u8;
    let chosen = &mut registers[(member >> REST) as usize];
    *chosen = (*chosen).max(zeros + 1);
}

fn estimate(registers: &[u8; REGISTERS]) -> f64 {
    let m = REGISTERS as f64;
    let mut histogram = [0u32; REST as usize + 2];
    registers.iter().for_each(|register| histogram[usize::from(*register)] += 1);
    let mut z = m * tau(1.0 - f64::from(histogram[REST as usize + 1]) / m);
    for count in histogram[1..=REST as usize].iter().rev() {
        z = 0.5 * (z + f64::from(*count));
    }
    z += m * sigma(f64::from(histogram[0]) / m);
    m * m / (2.0 * LN_2 * z)
}

fn sigma(mut x: f64) -> f64 {
    if x >= 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z <= before {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x).powi(2) * y;
        if z >= before {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(members: impl IntoIterator<Item = u64>) -> Distinct {
        let mut distinct = Distinct::default();
        members.into_iter().for_each(|member| distinct.add(fingerprint(&json!(member)).unwrap()));
        distinct
    }

    #[test]
    fn members_differ_by_value_and_type() {
        let print = |member: Value| fingerprint(&member);
        assert_eq!(print(json!(5)), print(json!(5.0)));
        assert_ne!(print(json!(5)), print(json!("5")));
        assert_ne!(print(json!(u64::MAX)), print(json!(u64::MAX - 1)));
        assert_ne!(print(json!(0.1)), print(json!(0.2)));
        assert_ne!(print(json!(i64::MAX as f64)), print(json!(i64::MAX)), "as a float it is one more");
        assert_eq!([json!(null), json!(true), json!([])].map(print), [None; 3]);
    }

    #[test]
    fn the_fingerprint_of_a_member_is_the_same_in_every_version() {
        let fingerprints =
            [json!("ada"), json!(-5), json!(u64::MAX), json!(0.1)].map(|member| fingerprint(&member).unwrap());
        // As Python's xxhash computes them: xxh3_64_intdigest(b"ada", 0), of 8 bytes, little-endian, of the others.
        let expected = [
            7_574_285_342_802_214_959,
            1_861_904_458_836_059_765,
            7_614_535_501_727_829_113,
            8_391_718_119_991_528_222,
        ];
        assert_eq!(fingerprints, expected);
    }

    #[test]
    fn a_set_of_another_fingerprint_version_starts_empty() {
        let mut set = Set::default();
        set.today.add(7);
        let kept = serde_json::to_value(&set).unwrap();
        let restore = |kept: Value| serde_json::from_value::<Set>(kept).unwrap().today.count();
        assert_eq!(restore(kept.clone()), 1);
        let mut other = kept;
        other["fingerprint_version"] = json!(0);
        assert_eq!(restore(other.clone()), 0);
        other.as_object_mut().unwrap().remove("fingerprint_version");
        assert_eq!(restore(other), 0, "kept before fingerprints had a version");
    }

    #[test]
    fn it_is_exact_up_to_the_limit() {
        assert_eq!(of((0..512).chain(0..512)).count(), 512);
        assert!(matches!(of(0..512), Distinct::Exact(_)));
        assert!(matches!(of(0..513), Distinct::Sketch(_)));
        assert_eq!(Distinct::default().count(), 0);
    }

    #[test]
    fn the_error_is_as_documented_at_every_count() {
        for count in [513u64, 1_000, 4_096, 10_240, 20_000, 100_000] {
            let errors: Vec<f64> = (0..20u64)
                .map(|series| of((0..count).map(|n| series << 40 | n)).count() as f64 / count as f64 - 1.0)
                .collect();
            let deviation = (errors.iter().map(|error| error * error).sum::<f64>() / errors.len() as f64).sqrt();
            assert!(deviation < 0.025, "{count}: {deviation}");
            assert!(errors.iter().all(|error| error.abs() < 0.05), "{count}: {errors:?}");
        }
    }

    proptest! {
        #[test]
        fn order_and_parts_make_no_difference(members in proptest::collection::vec(0u64..3_000, 0..2_000), parts in 1usize..12) {
            let whole = of(members.iter().copied());
            let mut merged = Distinct::default();
            for chunk in members.chunks(members.len().div_ceil(parts).max(1)).rev() {
                merged.merge(&of(chunk.iter().rev().copied()));
            }
            prop_assert_eq!(merged.count(), whole.count());
            let distinct = members.iter().collect::<std::collections::HashSet<_>>().len();
            let error = (whole.count() as f64 - distinct as f64).abs() / distinct.max(1) as f64;
            prop_assert!(if distinct <= EXACT_UP_TO { error == 0.0 } else { error < 0.06 }, "{} for {}", whole.count(), distinct);
        }
    }
}
