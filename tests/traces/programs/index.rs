fn main() {
    let values: Vec<u32> = std::env::args().map(|_| 1).collect();
    let handle = std::thread::Builder::new().name("worker".into()).spawn(move || values[7]);
    handle.unwrap().join().unwrap();
}
