use serde_json::json;

use super::*;

fn moment(ms: u64, day: i8) -> Moment {
    Moment { elapsed: Duration::from_millis(ms), day: jiff::civil::date(2026, 3, day) }
}

fn sample(metric: &str, kind: &str, value: Value, labels: Value) -> Sample {
    Sample::parse(metric, kind, &value, labels.as_object().unwrap()).unwrap()
}

fn add(table: &mut SeriesTable, sample: Sample) -> Result<(), Refusal> {
    table.need(&sample).map(|need| table.add(sample, need, Lifetime::default(), Duration::ZERO))
}

fn read(table: &mut SeriesTable) -> Vec<(String, Value)> {
    let updates = table.read_due();
    updates.iter().for_each(|update| table.written(update));
    updates.into_iter().map(|update| (format!("{}.{}", update.channel, update.field), update.value)).collect()
}

#[test]
fn a_label_set_is_a_series_of_its_own_and_counts_in_the_whole() {
    let mut table = SeriesTable::new(0);
    table.advance(moment(0, 1));
    for (region, value) in [("eu", 1), ("us", 2), ("eu", 3)] {
        add(&mut table, sample("shop.sold", "counter", json!(value), json!({"region": region}))).unwrap();
    }
    let totals: Vec<_> = read(&mut table).into_iter().map(|(name, value)| (name, value["total"].clone())).collect();
    let expected = [("", 6), ("{region=\"eu\"}", 4), ("{region=\"us\"}", 2)];
    assert_eq!(totals, expected.map(|(labels, total)| (format!("metrics.shop.sold{labels}"), json!(total))));
    assert!(read(&mut table).is_empty(), "read once");
}

#[test]
fn the_number_of_series_is_bounded_and_existing_ones_continue() {
    let mut table = SeriesTable::new(3);
    table.advance(moment(0, 1));
    let labelled = |region: &str| sample("shop.sold", "counter", json!(1), json!({"region": region}));
    add(&mut table, labelled("eu")).unwrap();
    add(&mut table, labelled("us")).unwrap();
    for n in 0..1_000 {
        assert_eq!(add(&mut table, labelled(&format!("r{n}"))), Err(Refusal::TooManySeries(3)));
    }
    add(&mut table, labelled("us")).unwrap();
    add(&mut table, sample("shop.sold", "counter", json!(1), json!({}))).unwrap();
    assert_eq!((table.len(), read(&mut table)[0].1["total"].clone()), (3, json!(4)));
    // A first sample with labels makes two: neither is created if only one fits.
    let mut table = SeriesTable::new(1);
    table.advance(moment(0, 1));
    assert!(add(&mut table, labelled("eu")).is_err() && table.is_empty());
}

#[test]
fn the_first_sample_fixes_the_type() {
    let mut table = SeriesTable::new(0);
    table.advance(moment(0, 1));
    add(&mut table, sample("a.b", "gauge", json!(1), json!({}))).unwrap();
    for labels in [json!({}), json!({"x": "y"})] {
        let refused = add(&mut table, sample("a.b", "counter", json!(1), labels)).unwrap_err();
        assert!(refused.to_string().contains("is a gauge"), "{refused}");
    }
    add(&mut table, sample("a.c", "counter", json!(1), json!({}))).unwrap();
}

#[test]
fn nothing_is_due_once_the_windows_are_empty_and_the_day_has_started() {
    let mut table = SeriesTable::new(0);
    table.advance(moment(1_500, 1));
    assert_eq!((table.next_second(), table.waits_for_midnight()), (None, false));
    add(&mut table, sample("a.b", "gauge", json!(5), json!({}))).unwrap();
    assert_eq!(read(&mut table)[0].1["min"], json!(5));
    for second in 2..=11 {
        assert_eq!(table.next_second(), Some(Duration::from_secs(second)));
        table.advance(moment(second * 1_000, 1));
        assert!(read(&mut table).is_empty(), "it reads the same in second {second}");
    }
    table.advance(moment(12_000, 1));
    let expected = json!({"type": "gauge", "last": 5, "min": null, "max": null, "avg": null, "today": {"min": 5, "max": 5, "avg": 5}});
    assert_eq!(read(&mut table)[0].1, expected);
    assert_eq!((table.next_second(), table.waits_for_midnight()), (None, true));
    table.advance(moment(20_000, 2));
    assert_eq!(read(&mut table)[0].1["today"], json!({"min": null, "max": null, "avg": null}));
    assert_eq!((table.next_second(), table.waits_for_midnight()), (None, false));
}

#[test]
fn the_room_of_a_series_is_known_in_advance() {
    let mut table = SeriesTable::new(0);
    table.advance(moment(0, 1));
    let one = sample("a.b", "timing", json!(1.0 / 3.0), json!({"x": "\"\\\n\u{1}é"}));
    let need = table.need(&one).unwrap();
    let channel = one.channel.clone();
    table.add(one, need, Lifetime::default(), Duration::ZERO);
    assert_eq!((table.room(&channel), table.bound(&channel, 0)), (need.room, need.room));
    let fields: Map<String, Value> = {
        let updates = table.read_due();
        updates.iter().for_each(|update| table.written(update));
        updates.into_iter().map(|update| (update.field.to_string(), update.value)).collect()
    };
    let bytes = Value::Object(fields.clone()).to_string().len();
    assert!(bytes <= need.room + 2);
    assert_eq!(table.bound(&channel, bytes), need.room + 1, "braces, less the comma that the last field has not");
    for n in 0..5 {
        let again = sample("a.b", "timing", json!(f64::from(n) / 7.0), json!({"x": "\"\\\n\u{1}é"}));
        add(&mut table, again).unwrap();
        let updates = table.read_due();
        updates.iter().for_each(|update| table.written(update));
        let fields: Map<_, _> = updates.into_iter().map(|update| (update.field.to_string(), update.value)).collect();
        let bytes = Value::Object(fields).to_string().len();
        assert_eq!(table.bound(&channel, bytes), need.room + 1, "however often it is written");
    }
    table.overwritten(&channel, Some(&fields));
    assert_eq!(table.bound(&channel, 2), need.room + 2);
}

/// Returns a table that continues all series of `table`, at `moment`.
fn handed_over(table: &mut SeriesTable, moment: Moment) -> SeriesTable {
    let mut next = SeriesTable::new(0);
    for (_, dump) in table.dump(true) {
        next.restore(serde_json::from_str(&dump).unwrap(), None, moment, Continued::default());
    }
    next
}

#[test]
fn another_table_continues_dumped_series() {
    let mut table = SeriesTable::new(0);
    table.advance(moment(0, 1));
    for n in 0..700 {
        for (kind, value) in [("gauge", json!(n)), ("counter", json!(0.1)), ("timing", json!(n)), ("set", json!(n))] {
            add(&mut table, sample(&format!("shop.{kind}"), kind, value, json!({"region": "eu"}))).unwrap();
        }
    }
    let mut next = handed_over(&mut table, moment(3_500, 1));
    table.advance(moment(3_500, 1));
    for table in [&mut table, &mut next] {
        add(table, sample("shop.timing", "timing", json!(5_000), json!({}))).unwrap();
        add(table, sample("shop.set", "set", json!("new"), json!({}))).unwrap();
    }
    // The checked table reads only changes, the other one all series.
    let read_all = |table: &mut SeriesTable| {
        let mut all = read(table);
        all.sort_by(|one, other| one.0.cmp(&other.0));
        all
    };
    let (mine, others) = (read_all(&mut table), read_all(&mut next));
    for one in &mine {
        assert!(others.contains(one), "{one:?} in {others:?}");
    }
    // The window empties at the same time.
    for table in [&mut table, &mut next] {
        table.advance(moment(20_000, 1));
    }
    let (mine, others) = (read_all(&mut table), read_all(&mut next));
    assert_eq!(mine, others);
    assert_eq!(mine.len(), 8);
}

#[test]
fn figures_dumped_yesterday_do_not_count_for_today() {
    let mut table = SeriesTable::new(0);
    table.advance(moment(0, 1));
    add(&mut table, sample("shop.sold", "counter", json!(4), json!({}))).unwrap();
    let mut next = handed_over(&mut table, moment(60_000, 2));
    let all = read(&mut next);
    assert_eq!((&all[0].1["total"], &all[0].1["today"]["total"]), (&json!(4), &json!(0)));
    assert_eq!(table.dump(true).iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["metrics.shop sold"]);
    assert!(table.dump(false).is_empty() && !table.is_empty());
    add(&mut table, sample("shop.sold", "counter", json!(1), json!({}))).unwrap();
    assert_eq!(table.dump(false).len(), 1, "the changes since");
}

#[test]
fn the_day_of_a_continued_series_ends_at_midnight() {
    let mut table = SeriesTable::new(0);
    table.advance(moment(0, 1));
    add(&mut table, sample("shop.sold", "counter", json!(4), json!({}))).unwrap();
    let mut next = handed_over(&mut table, moment(20_000, 1));
    assert!(next.waits_for_midnight());
    table.advance(moment(20_000, 1));
    assert_eq!(next.bytes(), table.bytes());
    read(&mut next);
    next.advance(moment(60_000, 2));
    assert_eq!(read(&mut next)[0].1["today"]["total"], json!(0));
}

#[test]
fn a_table_counts_the_memory_of_its_series() {
    let keeps = |kind: &str, samples: u32| {
        let mut table = SeriesTable::new(0);
        table.advance(moment(0, 1));
        for n in 0..samples {
            add(&mut table, sample("a.b", kind, json!(n), json!({}))).unwrap();
        }
        table.bytes()
    };
    for kind in ["gauge", "counter"] {
        let bytes = keeps(kind, 1);
        assert!((64..2_000).contains(&bytes) && keeps(kind, 1_000) == bytes, "{kind}: {bytes}");
    }
    // Once for the current second and once for the day.
    let members = 2 * 8 * 500;
    assert!((members..2 * members).contains(&keeps("set", 500)), "{}", keeps("set", 500));
    assert!((8_192..12_000).contains(&keeps("set", 5_000)), "{}", keeps("set", 5_000));
    assert!(keeps("timing", 1_000) > keeps("timing", 1) + 1_000);
}
