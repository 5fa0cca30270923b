use std::ffi::OsStr;

use super::*;
use crate::catalog::chain::Source;
use crate::catalog::path::log_name;
use crate::files::Kind;

fn name(text: &str) -> LogName {
    log_name(OsStr::new(text)).unwrap().1
}

fn meta(inode: u64, len_bytes: u64) -> Meta {
    Meta {
        device: 1,
        inode,
        len_bytes,
        links: 1,
        modified_ns: 7,
        changed_ns: 7,
        kind: Kind::File,
    }
}

fn head(text: &str, stamp_ns: Option<i64>) -> Head {
    Head {
        bytes: text.as_bytes().to_vec(),
        identity: Identity::of(text.as_bytes()),
        stamp_ns,
        gzip_len: None,
    }
}

fn sighting(file: &str, inode: u64, text: &str, stamp_ns: Option<i64>) -> Sighting {
    Sighting {
        name: name(file),
        path: PathBuf::from(file),
        meta: meta(inode, text.len() as u64),
        content: Content::Head(head(text, stamp_ns)),
        handle: None,
    }
}

fn known(serial: u64, file: &str, inode: u64, text: &str, stamp_ns: Option<i64>) -> Known {
    let source = Source {
        path: PathBuf::from(file),
        gzip: false,
        handle: None,
    };
    let meta = meta(inode, text.len() as u64);
    let segment = Segment::new(serial, 1, source);
    if let Some(identity) = Identity::of(text.as_bytes()) {
        segment.identify(identity);
    }
    let named = Named {
        name: name(file),
        meta,
    };
    Known {
        segment: Arc::new(segment),
        last_name: named.name.clone(),
        names: vec![named],
        file: FileId::of(&meta),
        gzip: false,
        raw_len: meta.len_bytes,
        stamp_ns,
        prefix: Prefix::of(text.as_bytes()),
        held: false,
        found_at: Time::ZERO,
        grown_at: Time::ZERO,
        missed: false,
        truncated: false,
        cache_dropped: false,
    }
}

#[test]
fn content_decides_over_name_and_inode() {
    let before = [known(1, "0.log", 5, "a\n1", Some(1))];
    let now = [
        sighting("0.log.x1", 9, "a\n1", Some(1)),
        sighting("0.log", 5, "b\n1", Some(2)),
    ];
    assert_eq!(assign(&before, &now), [Some(0), None]);
}

#[test]
fn a_copy_is_known_by_its_timestamp_only() {
    let stamped = [known(1, "0.log", 5, "a\n1", Some(1))];
    let copies = |stamp| {
        [
            sighting("0.log.x1", 9, "a\n1", stamp),
            sighting("0.log", 5, "a\n1", stamp),
        ]
    };
    assert_eq!(assign(&stamped, &copies(Some(1))), [Some(0), Some(0)]);
    let plain = [known(1, "0.log", 5, "a\n1", None)];
    assert_eq!(assign(&plain, &copies(None)), [None, Some(0)]);
}

#[test]
fn what_was_lost_takes_no_new_content() {
    let before = [known(1, "0.log", 5, "a\n1", None)];
    before[0].segment.lose(Loss::Truncated);
    let now = [sighting("0.log", 5, "a\n1", None)];
    assert_eq!(assign(&before, &now), [None]);
}

#[test]
fn an_unfinished_head_is_continued_by_what_begins_with_it() {
    let before = [known(1, "0.log", 5, "half", None)];
    let longer = [sighting("0.log.x1", 5, "half a line\n", None)];
    assert_eq!(assign(&before, &longer), [Some(0)]);
    let other = [sighting("0.log", 5, "another\n", None)];
    assert_eq!(assign(&before, &other), [None]);
}

#[test]
fn a_file_and_its_compressed_form_are_one_new_segment() {
    let groups = group(vec![
        sighting("0.log.x1", 5, "a\n1", None),
        sighting("0.log.x1.gz", 6, "a\n1", None),
        sighting("0.log", 7, "a\n1", None),
    ]);
    let sizes: Vec<usize> = groups.iter().map(Vec::len).collect();
    assert_eq!(sizes, [2, 1]);
}

#[test]
fn new_segments_are_placed_by_time_and_the_live_one_last() {
    let before = [
        known(1, "0.log.x3", 5, "c\n", Some(30)),
        known(2, "0.log", 6, "e\n", Some(50)),
    ];
    assert_eq!(place(&before, &name("0.log.x1"), Some(10)), 0);
    assert_eq!(place(&before, &name("0.log.x4"), Some(40)), 1);
    assert_eq!(place(&before, &name("0.log.x1"), None), 0);
    assert_eq!(place(&before, &name("0.log"), None), 2);
}
