//! What the first stage reads, refuses and bounds.

use super::*;

fn environment(name: &str) -> Option<String> {
    match name {
        "PORT" => Some("9600".to_owned()),
        "EVIL" => Some("a: [1\n- &x *y".to_owned()),
        _ => None,
    }
}

fn parse(text: &str) -> (Option<Node>, Vec<String>) {
    let mut report = Report::new("f");
    let node = read(text, &environment, &mut report);
    let lines = report.into_mistakes();
    (node, lines.iter().map(ToString::to_string).collect())
}

fn mistakes(text: &str) -> Vec<String> {
    parse(text).1
}

fn entries(node: &Node) -> &[Entry] {
    match &node.value {
        Value::Map(entries) => entries,
        other => panic!("not a mapping: {other:?}"),
    }
}

fn scalar(node: &Node) -> &Scalar {
    match &node.value {
        Value::Scalar(scalar) => scalar,
        other => panic!("not a scalar: {other:?}"),
    }
}

#[test]
fn nodes_know_their_places() {
    let (node, mistakes) = parse("# c\na: 1\nb:\n  - x\n  - {c: 'd'}\ne:\n");
    assert_eq!(mistakes, Vec::<String>::new());
    let node = node.unwrap();
    let [a, b, e] = entries(&node) else {
        panic!("three keys: {node:?}")
    };
    assert_eq!(a.place, Place { line: 2, column: 1 });
    assert_eq!(a.value.place, Place { line: 2, column: 4 });
    let Value::List(items) = &b.value.value else {
        panic!("a list")
    };
    assert_eq!(items[0].place, Place { line: 4, column: 5 });
    let c = &entries(&items[1])[0];
    assert_eq!(c.place, Place { line: 5, column: 6 });
    assert!(!scalar(&c.value).plain);
    assert_eq!(e.value.place, e.place);
    assert!(scalar(&e.value).is_null());
}

#[test]
fn an_empty_text_is_an_empty_mapping() {
    for text in ["", "\u{feff}", "# only a comment\n", "---\n", "~", "\r\n"] {
        let (node, mistakes) = parse(text);
        assert_eq!(mistakes, Vec::<String>::new(), "{text:?}");
        assert_eq!(entries(&node.unwrap()), []);
    }
}

#[test]
fn a_variable_never_becomes_structure() {
    let (node, mistakes) = parse("a: ${EVIL}\nb: \"${PORT}\"\nc: ${PORT}\n");
    assert_eq!(mistakes, Vec::<String>::new());
    let node = node.unwrap();
    let [a, b, c] = entries(&node) else {
        panic!("three keys: {node:?}")
    };
    assert_eq!(scalar(&a.value).text, "a: [1\n- &x *y");
    assert_eq!(scalar(&b.value).text, "9600");
    assert!(scalar(&c.value).substituted && scalar(&c.value).plain);
}

#[test]
fn everything_refused_is_reported_at_its_place_and_reading_goes_on() {
    let text = "a: &x 1\nb: *x\nc: !!str 2\nd: ${NONE}\n? [k]\n: v\na: 3\ne: ${x-y}\nf: ok\n";
    let (node, mistakes) = parse(text);
    let node = node.unwrap();
    assert_eq!(
        mistakes,
        [
            "f:1:4: a: anchors (&name) are not allowed",
            "f:2:4: b: aliases (*name) are not allowed; quote the value if it begins with `*`",
            "f:3:4: c: tags (!name) are not allowed; quote the value if it begins with `!`",
            "f:4:4: d: the environment variable NONE is not set; set it, or give a default: \
             ${NONE:-default}",
            "f:5:3: a key must be a plain text, without anchor, tag or structure",
            "f:7:1: a: given twice; the first is on line 1",
            "f:8:4: e: found ${x-y}; allowed is ${NAME} or ${NAME:-default} with a NAME of letters, \
             digits and underscores; write $${ where no variable is meant",
        ]
    );
    assert_eq!(entries(&node).last().map(|e| e.key.as_str()), Some("f"));
}

#[test]
fn broken_yaml_is_reported_with_its_place() {
    let found = mistakes("a: 1\n  b: 2\n");
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("f:2:"), "{found:?}");
    assert!(found[0].contains("not YAML"), "{found:?}");
    assert_eq!(
        mistakes("a: 1\n---\nb: 2\n"),
        ["f:2:1: a second YAML document; allowed is one"]
    );
}

#[test]
fn size_depth_and_nodes_are_bounded() {
    let long = format!("a: {}", "x".repeat(TEXT_BYTES_MAX));
    assert!(mistakes(&long)[0].contains("a config may have"));
    let deep = format!("a: {}{}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
    assert!(mistakes(&deep)[0].contains("nested more than"));
    let fits = DEPTH_MAX - 1;
    let fitting = format!("a: {}{}", "[".repeat(fits), "]".repeat(fits));
    assert_eq!(mistakes(&fitting), Vec::<String>::new());
    let many = format!("a: [{}]", "1,".repeat(NODES_MAX));
    assert!(mistakes(&many)[0].contains("values in one config"));
}
