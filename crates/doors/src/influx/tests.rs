use influxdb_line_protocol::{FieldValue, parse_lines};
use proptest::prelude::*;

use super::*;

const BOUNDS: Bounds = Bounds { lines: 0, fields: usize::MAX };

fn read(body: &str) -> Message {
    parse(body.as_bytes(), Precision::Nanoseconds, BOUNDS).unwrap()
}

fn labels(point: &Point) -> Vec<(&str, &str)> {
    point.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn fields(point: &Point) -> Vec<(&str, &Value)> {
    point.fields.iter().map(|field| (field.name.as_str(), &field.value)).collect()
}

#[test]
fn a_line_has_a_measurement_tags_fields_and_a_time() {
    let message = read("cpu,host=a,zone=eu idle=98.5,busy=3i,ok=t,note=\"a \\\"b\\\", c\",n=7u 1700000000123456789\n");
    let [point] = &message.points[..] else { panic!("{message:?}") };
    assert_eq!((point.name.as_str(), point.at), ("cpu", Some(1_700_000_000_123)));
    assert_eq!(labels(point), [("host", "a"), ("zone", "eu")]);
    let note = Value::Text("a \"b\", c".into());
    let expected = [
        ("idle", &Value::Gauge(98.5)),
        ("busy", &Value::Gauge(3.0)),
        ("ok", &Value::Gauge(1.0)),
        ("note", &note),
        ("n", &Value::Gauge(7.0)),
    ];
    assert_eq!(fields(point), expected);
}

#[test]
fn names_and_tags_are_unescaped() {
    let message = read(r"my\,c\ pu,ta\=g\ 1=v\,a\=l\\x fi\=eld=1");
    let point = &message.points[0];
    assert_eq!(point.name, "my,c pu");
    assert_eq!(labels(point), [("ta=g 1", r"v,a=l\\x")]);
    assert_eq!(point.fields[0].name, "fi=eld");
}

#[test]
fn comments_blank_lines_and_all_line_ends_are_read() {
    let message = read("# a comment\n\n a x=1\r\nb x=2 5 \r\n   \n#\nc x=\"1\n2\" 7\nd x=3");
    let found: Vec<_> = message.points.iter().map(|point| (point.line, point.name.as_str(), point.at)).collect();
    assert_eq!(found, [(0, "a", None), (1, "b", Some(0)), (2, "c", Some(0)), (3, "d", None)]);
    assert_eq!(message.points[2].fields[0].value, Value::Text("1\n2".into()));
    assert_eq!((message.lines, message.faults.len()), (4, 0));
}

#[test]
fn a_wrong_line_is_refused_alone() {
    for (line, reason) in [
        ("cpu", "missing fields"),
        ("cpu ", "missing fields"),
        (",a=b x=1", "missing measurement"),
        ("cpu,a x=1", "missing tag value"),
        ("cpu,a= x=1", "missing tag value"),
        ("cpu,=b x=1", "missing tag key"),
        ("cpu,a=b,a=c x=1", "duplicate tags"),
        ("cpu,a=b=c x=1", "invalid tag format"),
        ("cpu x", "invalid field format"),
        ("cpu x=", "missing field value"),
        ("cpu =1", "missing field key"),
        ("cpu x=1,", "invalid field format"),
        ("cpu x=NaN", "invalid number"),
        ("cpu x=inf", "invalid number"),
        ("cpu x=1e999", "out of range"),
        ("cpu x=1.5i", "invalid number"),
        ("cpu x=-1u", "invalid number"),
        ("cpu x=9223372036854775808i", "invalid number"),
        ("cpu x=1 1.5", "bad timestamp"),
        ("cpu x=1 9223372036854775808", "bad timestamp"),
        ("cpu x=1 1 2", "text after the timestamp"),
        ("cpu x=\"a\"b", "text after a closing quote"),
    ] {
        let message = read(&format!("a x=1\n{line}\nb x=1"));
        let names: Vec<_> = message.points.iter().map(|point| point.name.as_str()).collect();
        assert_eq!(names, ["a", "b"], "{line}");
        let [fault] = &message.faults[..] else { panic!("{line}: {message:?}") };
        assert!(fault.line == 1 && fault.detail.contains(reason), "{line}: {fault:?}");
    }
    let open = read("a x=1\nb x=\"c\nd x=1");
    assert_eq!((open.points.len(), open.faults.len()), (2, 1));
    assert!(open.faults[0].detail.contains("unbalanced quotes"));
    let message = parse(b"a x=1\n\xff x=1\nb,t=\xff x=1\nc x=2", Precision::Seconds, BOUNDS).unwrap();
    assert_eq!((message.points.len(), message.faults.len()), (2, 2), "{message:?}");
}

#[test]
fn every_precision_becomes_milliseconds() {
    for (text, time, expected) in [
        ("", "1500000", Some(1)),
        ("ns", "-1", Some(-1)),
        ("u", "1500", Some(1)),
        ("us", "1500", Some(1)),
        ("ms", "7", Some(7)),
        ("s", "7", Some(7_000)),
        ("m", "2", Some(120_000)),
        ("h", "1", Some(3_600_000)),
    ] {
        let precision = Precision::parse(text).unwrap();
        let message = parse(format!("a x=1 {time}").as_bytes(), precision, BOUNDS).unwrap();
        assert_eq!(message.points[0].at, expected, "{text}");
    }
    assert_eq!(Precision::parse("d"), None);
    let far = parse(b"a x=1 9223372036854775807", Precision::Hours, BOUNDS).unwrap();
    assert!(far.faults[0].detail.contains("outside range"));
}

#[test]
fn lines_and_fields_are_bounded() {
    let bounds = Bounds { lines: 2, fields: 3 };
    let read = |body: &str| parse(body.as_bytes(), Precision::Seconds, bounds).map(|message| message.lines);
    assert_eq!(read("a x=1\nb x=1"), Ok(2));
    assert_eq!(read("a x=1\nb x=1\nnonsense"), Err(TooMany::Lines(2)));
    assert_eq!(read("a x=1,y=2\nb x=1,y=2"), Err(TooMany::Fields(3)));
    let many = |count: usize| (0..count).map(|n| format!("f{n}=1")).collect::<Vec<_>>().join(",");
    assert_eq!(super::tests::read(&format!("a {}", many(MAX_PARTS))).faults.len(), 0);
    assert_eq!(super::tests::read(&format!("a {}", many(MAX_PARTS + 1))).faults.len(), 1);
    assert_eq!(super::tests::read(&format!("a,{} x=1", many(MAX_PARTS + 1))).faults.len(), 1);
}

/// Returns the lines as the other parser reads them; `None` for one that it refuses.
fn others(body: &str) -> Vec<Option<Point>> {
    let value = |value: FieldValue<'_>| match value {
        FieldValue::I64(number) => Value::Gauge(number as f64),
        FieldValue::U64(number) => Value::Gauge(number as f64),
        FieldValue::F64(number) => Value::Gauge(number),
        FieldValue::String(text) => Value::Text(text.as_str().to_owned()),
        FieldValue::Boolean(is) => Value::Gauge(f64::from(u8::from(is))),
    };
    let lines = parse_lines(body).map(|line| {
        let line = line.ok()?;
        let tags = line.series.tag_set.iter().flatten();
        Some(Point {
            line: 0,
            name: line.series.measurement.as_str().to_owned(),
            labels: tags.map(|(name, value)| (name.as_str().to_owned(), value.as_str().to_owned())).collect(),
            at: line.timestamp.map(|time| time.div_euclid(1_000_000)),
            fields: line
                .field_set
                .into_iter()
                .map(|(name, of)| Field { name: name.as_str().to_owned(), value: value(of) })
                .collect(),
        })
    });
    lines.collect()
}

fn name() -> impl Strategy<Value = String> {
    // Escapes of all kinds; a name neither begins with # nor ends in a backslash, which would escape what follows.
    prop::collection::vec(
        prop_oneof![4 => "[a-z0-9_.é-]", 1 => Just("\\,".to_owned()), 1 => Just("\\ ".to_owned())],
        1..6,
    )
    .prop_map(|parts| parts.concat())
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|number| format!("{number}i")),
        any::<u64>().prop_map(|number| format!("{number}u")),
        (-1e15f64..1e15).prop_map(|number| number.to_string()),
        (-1000i32..1000).prop_map(|number| number.to_string()),
        prop::sample::select(vec!["t", "T", "true", "True", "TRUE", "f", "F", "false", "False", "FALSE"])
            .prop_map(String::from),
        "[a-z ,=#\n]{0,6}".prop_map(|text| format!("\"{text}\"")),
        Just(r#""a\"b\\c\d""#.to_owned()),
    ]
}

fn line() -> impl Strategy<Value = String> {
    let tags = prop::collection::btree_map(name(), name(), 0..4);
    let fields = prop::collection::btree_map(name(), value(), 1..4);
    (name(), tags, fields, prop::option::of(any::<i64>())).prop_map(|(name, tags, fields, time)| {
        let tags: String = tags.iter().map(|(name, value)| format!(",{name}={value}")).collect();
        let fields = fields.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",");
        let time = time.map_or_else(String::new, |time| format!(" {time}"));
        format!("{name}{tags} {fields}{time}")
    })
}

proptest! {
    #[test]
    fn valid_lines_are_read_as_by_another_parser(lines in prop::collection::vec(line(), 0..6)) {
        let body = lines.join("\n");
        let mine = read(&body);
        prop_assert!(mine.faults.is_empty(), "{:?}", mine.faults);
        let mine: Vec<_> = mine.points.into_iter().map(|point| Some(Point { line: 0, ..point })).collect();
        prop_assert_eq!(mine, others(&body));
    }

    #[test]
    fn any_bytes_are_read_without_harm(body in prop::collection::vec(prop_oneof![
        8 => prop::sample::select(b"a,= \\\"\n1i.#".to_vec()), 1 => any::<u8>(),
    ], 0..200)) {
        let message = parse(&body, Precision::Seconds, BOUNDS).unwrap();
        prop_assert_eq!(message.lines, message.points.len() + message.faults.len());
        prop_assert!(message.points.iter().all(|point| !point.fields.is_empty() && !point.name.is_empty()));
    }
}
