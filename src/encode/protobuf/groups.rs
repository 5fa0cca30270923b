//! Payloads of groups: messages that hold a head, which says what the items behind it share, and the items.
//!
//! Invariant: a group has its head, and an item or more; one that would have none leaves nothing behind. A payload that is
//! cut out of another has each wanted item once, in order, under its own head. Bytes that are no groups end the cut
//! where they begin.

use std::ops::Range;

use super::{close, open, put_bytes, take_field};

/// The fields of one kind of group, all of which have a length.
#[derive(Clone, Copy, Debug)]
pub struct Groups {
    /// The group, in the payload.
    pub group: u8,
    /// The head, in the group.
    pub head: u8,
    /// An item, in the group.
    pub item: u8,
}

/// Where a group lies that is being written.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// Its beginning.
    start: usize,
    /// Its length.
    len: usize,
    /// Its first item.
    items: usize,
}

impl Groups {
    /// Begins a group with this head.
    pub fn open(&self, head: &[u8], out: &mut Vec<u8>) -> Group {
        let start = out.len();
        let len = open(self.group, out);
        put_bytes(self.head, head, out);
        Group {
            start,
            len,
            items: out.len(),
        }
    }

    /// Makes a payload of some items of another, whose numbers are in `keep`, ascending.
    pub fn cut(&self, whole: &[u8], keep: &[Range<u32>], out: &mut Vec<u8>) {
        let mut keep = keep.iter().cloned().flatten().peekable();
        let mut number = 0;
        let mut left = whole;
        while keep.peek().is_some()
            && let Some((tag, group, rest)) = take_field(left)
            && tag == self.group
            && let Some((tag, head, mut items)) = take_field(group)
            && tag == self.head
        {
            let mut made = None;
            while let Some((tag, _, behind)) = take_field(items)
                && tag == self.item
            {
                if keep.next_if_eq(&number).is_some() {
                    made.get_or_insert_with(|| self.open(head, out));
                    let item = items.len() - behind.len();
                    out.extend_from_slice(items.get(..item).unwrap_or_default());
                }
                number += 1;
                items = behind;
            }
            if let Some(made) = made {
                made.close(out);
            }
            left = rest;
        }
    }
}

impl Group {
    /// Ends it where `out` does. One without items leaves nothing; one that was itself taken back is none.
    pub fn close(self, out: &mut Vec<u8>) {
        if out.len() == self.items {
            out.truncate(self.start);
        } else if out.len() > self.start {
            close(self.len, out);
        }
    }
}
