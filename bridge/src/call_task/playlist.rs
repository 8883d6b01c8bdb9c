//! How much of a call's `media` its callee has heard, item by item.

use domain::Heard;

/// What is known of one item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item {
    /// It is to be played, or is playing.
    Open,
    /// It was played to its end.
    Heard,
    /// It was not played to its end.
    NotHeard,
    /// Its end was not seen.
    Unseen,
}

/// The items of a call's `media`.
#[derive(Clone, Debug)]
pub struct Playlist {
    items: Vec<Item>,
    /// Every item that will be played is queued. Items that are not were given up.
    queued: bool,
}

impl Playlist {
    /// Of so many items, none of which is known to have been played.
    #[must_use]
    pub fn new(items: usize) -> Self {
        Self {
            items: vec![Item::Open; items],
            queued: false,
        }
    }

    /// The first `queued` items are queued, and no more will be.
    pub fn set_queued(&mut self, queued: usize) {
        self.queued = true;
        for item in self.items.iter_mut().skip(queued) {
            if *item == Item::Open {
                *item = Item::NotHeard;
            }
        }
    }

    /// The list was begun in an earlier life of the bridge.
    pub fn set_begun_before(&mut self) {
        self.queued = true;
    }

    /// One item is over, or the whole list if `item` is `None`. What was before it in the list and
    /// has not been heard of is over as well.
    pub fn finish(&mut self, item: Option<usize>, whole: bool, events_missed: bool) {
        let state = if whole { Item::Heard } else { Item::NotHeard };
        let Some(index) = item else {
            for item in self.items.iter_mut().filter(|item| **item == Item::Open) {
                *item = state;
            }
            return;
        };
        self.pass_over(index, events_missed);
        if let Some(item) = self.items.get_mut(index)
            && *item == Item::Open
        {
            *item = state;
        }
    }

    /// Nothing before this item is being played any more: an item that has not been heard of never
    /// finished, or its end was missed.
    pub fn pass_over(&mut self, before: usize, events_missed: bool) {
        let state = if events_missed {
            Item::Unseen
        } else {
            Item::NotHeard
        };
        for item in self.items.iter_mut().take(before) {
            if *item == Item::Open {
                *item = state;
            }
        }
    }

    /// Nothing is being played any more.
    pub fn pass_over_all(&mut self, events_missed: bool) {
        self.pass_over(self.items.len(), events_missed);
    }

    /// The items that may be playing or waiting, in order.
    pub fn open(&self) -> impl Iterator<Item = usize> {
        let open = |(index, item): (usize, &Item)| (*item == Item::Open).then_some(index);
        self.items.iter().enumerate().filter_map(open)
    }

    /// How many items are over: grows with each event.
    #[must_use]
    pub fn progress(&self) -> usize {
        self.items.len() - self.open().count()
    }

    /// Whether the list has been begun.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        self.queued
    }

    /// How much was heard, once the whole list is over.
    #[must_use]
    pub fn heard(&self) -> Option<Heard> {
        if !self.queued || self.items.contains(&Item::Open) {
            return None;
        }
        Some(if self.items.contains(&Item::NotHeard) {
            Heard::NotAll
        } else if self.items.contains(&Item::Unseen) {
            Heard::Unknown
        } else {
            Heard::All
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_heard_only_if_each_item_was() {
        for (results, expected) in [
            ([true, true, true], Heard::All),
            ([false, true, true], Heard::NotAll),
            ([true, true, false], Heard::NotAll),
        ] {
            let mut list = Playlist::new(3);
            list.set_queued(3);
            for (item, whole) in results.into_iter().enumerate() {
                assert_eq!(list.heard(), None);
                list.finish(Some(item), whole, false);
            }
            assert_eq!(list.heard(), Some(expected), "{results:?}");
        }
    }

    #[test]
    fn an_item_may_be_over_before_the_list_is_queued() {
        let mut list = Playlist::new(2);
        list.finish(Some(0), false, false);
        list.finish(Some(1), true, false);
        assert_eq!(list.heard(), None);
        list.set_queued(2);
        assert_eq!(list.heard(), Some(Heard::NotAll));
    }

    #[test]
    fn an_item_that_could_not_be_queued_was_not_heard() {
        let mut list = Playlist::new(2);
        list.set_queued(1);
        list.finish(Some(0), true, false);
        assert_eq!(list.heard(), Some(Heard::NotAll));
        let mut list = Playlist::new(2);
        list.set_queued(0);
        assert_eq!(list.heard(), Some(Heard::NotAll));
    }

    #[test]
    fn an_item_that_never_finishes_is_not_heard_and_one_that_was_missed_is_unknown() {
        for (missed, expected) in [(false, Heard::NotAll), (true, Heard::Unknown)] {
            let mut list = Playlist::new(3);
            list.set_queued(3);
            list.finish(Some(0), true, false);
            assert_eq!(list.open().collect::<Vec<_>>(), [1, 2]);
            list.finish(Some(2), true, missed);
            assert_eq!(list.heard(), Some(expected));
            let mut list = Playlist::new(2);
            list.set_queued(2);
            list.pass_over_all(missed);
            assert_eq!(list.heard(), Some(expected));
        }
    }

    #[test]
    fn a_list_that_was_begun_before_is_over_with_its_last_item() {
        let mut list = Playlist::new(3);
        list.set_begun_before();
        list.finish(Some(2), true, true);
        assert_eq!(list.heard(), Some(Heard::Unknown));
        // A playback of the whole list, of an earlier release.
        let mut list = Playlist::new(2);
        list.set_begun_before();
        list.finish(None, true, true);
        assert_eq!(list.heard(), Some(Heard::All));
    }
}
