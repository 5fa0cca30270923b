//! One situation each.

use longshore::record::Stream;

use super::model::{Kind, Model};
use super::rig::{ROOT, Rig, sink};

#[test]
fn a_docker_log_between_rename_and_reopen_is_found_once_it_is_there() {
    let mut rig = Rig::simple(vec![sink("a")]);
    let mut model = Model::new(&rig.files);
    let at = model.begin(true);
    model.line(at, Kind::Full, Stream::Stdout, b"one", false);
    assert!(model.rename(at));
    rig.start();
    rig.run_ms(9_000);
    model.reopen(at);
    rig.files.unmount(ROOT, false);
    rig.run_ms(16_000);
    rig.files.mount(ROOT);
    model.line(at, Kind::Full, Stream::Stdout, b"two", false);
    rig.run_until(60_000, |rig| rig.places[0].sink.lock().taken.len() == 2);
    let taken = rig.places[0].sink.lock().taken.clone();
    assert!(taken.iter().all(|taken| taken.at_ms < 40_000));
}

#[test]
fn what_is_not_mounted_for_a_while_is_still_known() {
    for rotated_ms in [0, 10, 30, 200, 622] {
        let mut rig = Rig::simple(vec![sink("a")]);
        let mut model = Model::new(&rig.files);
        let at = model.begin(false);
        model.line(at, Kind::Full, Stream::Stdout, b"one", false);
        rig.start();
        rig.run_ms(3_000);
        for _ in 0..2 {
            assert!(model.rename(at));
            model.line(at, Kind::Full, Stream::Stderr, b"late", false);
            model.reopen(at);
            model.line(at, Kind::Full, Stream::Stdout, b"next", false);
        }
        rig.run_ms(rotated_ms);
        // Compresses the file that is held open, unseen.
        assert!(model.rename(at));
        rig.files.unmount(ROOT, false);
        rig.run_ms(18_000);
        rig.files.mount(ROOT);
        rig.run_ms(10_000);
        rig.stop(5_000);
        rig.start();
        rig.run_ms(5_000);
        assert_eq!(rig.places[0].sink.lock().taken.len(), 5, "{rotated_ms}");
    }
}
