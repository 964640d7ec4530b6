//! What the dashboard's lists and curves show of what there is: filters, order, pages, thinning. Pure, and the same for the same address.

pub mod axis;
pub mod curve;
pub mod income;
pub mod listings;
pub mod offers;
pub mod palette;
pub mod scripts;

/// A part of a list, cut for a screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Its number, from 1 on: the last page where a later one was asked for.
    pub number: usize,
    /// How many pages there are, one at least.
    pub pages: usize,
    /// How many items there are on all of them.
    pub total: usize,
}

impl<T> Page<T> {
    /// The page with this number of a list that is cut into pages of `size`.
    pub fn cut(all: Vec<T>, number: usize, size: usize) -> Self {
        let (total, size) = (all.len(), size.max(1));
        let pages = total.div_ceil(size).max(1);
        let number = number.clamp(1, pages);
        Self { items: all.into_iter().skip((number - 1) * size).take(size).collect(), number, pages, total }
    }
}

/// A value that stands in an address under one of a fixed list of names. The first is what counts when nothing, or something unknown, stands there.
pub trait Choice: Copy + PartialEq + 'static {
    /// All values with their names in the address and their words for people.
    const ALL: &'static [(Self, &'static str, &'static str)];

    /// The value of a name.
    fn named(name: &str) -> Self {
        Self::ALL.iter().find(|(_, known, _)| *known == name).map_or(Self::ALL[0].0, |(value, ..)| *value)
    }

    /// Its name in the address.
    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(value, ..)| *value == self).map_or("", |(_, name, _)| *name)
    }
}

/// Reads an address: gives the value of a name, if it stands there.
pub type Address<'a> = &'a dyn Fn(&str) -> Option<String>;

fn choice<C: Choice>(address: Address<'_>, name: &str) -> C {
    C::named(&address(name).unwrap_or_default())
}

fn number(address: Address<'_>, name: &str) -> Option<u64> {
    address(name)?.trim().parse().ok()
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    #[test]
    fn page__should_stay_within_the_list() {
        let check = |number, expect: (&[u8], usize, usize)| {
            let page = Page::cut(vec![1_u8, 2, 3, 4, 5], number, 2);
            assert_eq!((page.items.as_slice(), page.number, page.pages), expect, "page {number}");
            assert_eq!(page.total, 5);
        };
        check(1, (&[1, 2], 1, 3));
        check(3, (&[5], 3, 3));
        check(0, (&[1, 2], 1, 3));
        check(99, (&[5], 3, 3));
        assert_eq!(Page::<u8>::cut(Vec::new(), 1, 2), Page { items: Vec::new(), number: 1, pages: 1, total: 0 });
    }
}
