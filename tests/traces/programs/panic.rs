fn check(values: &[u32]) {
    assert_eq!(values.len(), 3, "so many values");
}

fn main() {
    check(&[1, 2]);
}
